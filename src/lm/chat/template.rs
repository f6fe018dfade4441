//! A chat template is a program, and a model folder may be hostile: what a template may use, and what it may spend.

use std::cell::Cell;
use std::thread;

use anyhow::{Context, Result};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{Environment, Error, ErrorKind, Value};

/// What one rendering may spend. One unit pays for one instruction or for 64 bytes of text, so that this bounds time and memory (16
/// MiB) alike; a real template takes some tens for each message. The one thing that minijinja 3.1 charges for only afterwards is
/// text made of a list that holds itself many times over (`[a, a]`, thirty times): such a template can still hang.
pub const FUEL: u64 = 250_000;

/// Stack of the threads that render. A template can put lists into lists as long as its fuel lasts, and the engine walks and drops
/// such values recursively: about 1 KiB for each of 40,000 levels, where a thread of a pool has 2 MiB. Only what is used is ever
/// taken from memory.
const STACK: usize = 64 << 20;

/// The longest text that `tojson` writes, in bytes.
const LONGEST_JSON: usize = 16 << 20;

/// The widest indentation that `tojson` gives, in spaces.
const LARGEST_INDENT: usize = 64;

thread_local! {
    /// Whether this thread was made by [`deep`].
    static DEEP: Cell<bool> = const { Cell::new(false) };
}

/// Runs work on a thread whose stack no template can overflow. Work that renders often should be wrapped as a whole: inside of
/// another call this one costs nothing.
///
/// # Errors
/// What the work returns; or where no thread can be made.
pub fn deep<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    if DEEP.get() {
        return work();
    }
    thread::scope(|scope| {
        let marked = || {
            DEEP.set(true);
            work()
        };
        let thread =
            thread::Builder::new().stack_size(STACK).spawn_scoped(scope, marked).context("a thread for chat templates")?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Jinja as transformers sets it up: blocks trimmed, Python's string methods, and `raise_exception`.
pub fn environment(template: String) -> Result<Environment<'static>> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(|state, value, method, arguments| {
        // Filters pay for the text they are given; Python's methods should too.
        state.consume_fuel(value.as_str().map_or(0, |text| text.len() as u64 / 64))?;
        minijinja_contrib::pycompat::unknown_method_callback(state, value, method, arguments)
    });
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_filter("tojson", tojson);
    // Its indentation grows with the square of the depth, and no template needs it.
    environment.remove_filter("pprint");
    environment.add_template_owned("chat", template)?;
    Ok(environment)
}

/// `tojson` without HTML escapes, as transformers overrides it.
fn tojson(value: Value, kwargs: Kwargs) -> Result<Value, Error> {
    let broken = |e: &dyn std::fmt::Display| Error::new(ErrorKind::BadSerialization, e.to_string());
    let indent: Option<usize> = kwargs.get("indent")?;
    kwargs.assert_all_used()?;
    let mut out = Bounded(Vec::new());
    match indent {
        None => {
            let mut serializer = serde_json::Serializer::with_formatter(&mut out, Spaced);
            serde::Serialize::serialize(&value, &mut serializer).map_err(|e| broken(&e))?;
        }
        Some(width) => {
            let spaces = vec![b' '; width.min(LARGEST_INDENT)];
            let formatter = serde_json::ser::PrettyFormatter::with_indent(&spaces);
            let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
            serde::Serialize::serialize(&value, &mut serializer).map_err(|e| broken(&e))?;
        }
    }
    Ok(Value::from_safe_string(String::from_utf8(out.0).map_err(|e| broken(&e))?))
}

/// Text that stops growing: a small value can refer to itself often enough to fill any memory when it is written out.
struct Bounded(Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > LONGEST_JSON {
            return Err(std::io::Error::other(format!("tojson writes at most {LONGEST_JSON} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Python's `json.dumps` puts a space behind `,` and `:`.
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}
