//! A chat template is a program, and a model folder may be hostile: what a template may use, and
//! what it may spend.

use std::cell::Cell;
use std::thread;

use anyhow::{Context, Result};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value};

use super::json::tojson;
use super::python;

/// What one rendering may spend. One unit pays for one instruction or for 64 bytes of text, so that
/// this bounds time and memory (16 MiB) alike; a real template takes some tens for each message.
/// The one thing that minijinja 3.1 charges for only afterwards is text made of a list that holds
/// itself many times over (`[a, a]`, thirty times): such a template can still hang.
pub const FUEL: u64 = 250_000;

/// Stack of the threads that render. A template can put lists into lists as long as its fuel lasts,
/// and the engine walks and drops such values recursively: about 1 KiB for each of 40,000 levels,
/// where a thread of a pool has 2 MiB. Only what is used is ever taken from memory.
const STACK: usize = 64 << 20;

thread_local! {
    /// Whether this thread was made by [`deep`].
    static DEEP: Cell<bool> = const { Cell::new(false) };
}

/// Runs work on a thread whose stack no template can overflow. Work that renders often should be
/// wrapped as a whole: inside of another call this one costs nothing.
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
        let thread = thread::Builder::new()
            .stack_size(STACK)
            .spawn_scoped(scope, marked)
            .context("a thread for chat templates")?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Jinja as transformers sets it up: blocks trimmed, loop controls, Python's methods,
/// `raise_exception`, `strftime_now`, `tojson` without HTML escapes, and `generation` blocks, which
/// mark an answer for trainers and render as what is in them.
pub fn environment(template: String) -> Result<Environment<'static>> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(|state, value, method, arguments| {
        // Filters pay for the text they are given; Python's methods should too.
        state.consume_fuel(value.as_str().map_or(0, |text| text.len() as u64 / 64))?;
        python::method(state, value, method, arguments)
    });
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("strftime_now", strftime_now);
    environment.add_filter("tojson", tojson);
    environment.add_filter("indent", python::indent);
    // Its indentation grows with the square of the depth, and no template needs it.
    environment.remove_filter("pprint");
    environment.add_template_owned("chat", without_generation_tags(&template))?;
    Ok(environment)
}

/// `generation` and `endgeneration` as a condition that always holds: the same text, and the same
/// care of white space around the tags.
fn without_generation_tags(template: &str) -> String {
    let mut plain = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        plain.push_str(before);
        let Some(length) = tag[2..].find("%}").map(|at| at + 2) else { break };
        let inside = &tag[2..length];
        let word = inside.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim();
        let put = match word {
            "generation" => inside.replace("generation", " if true "),
            "endgeneration" => inside.replace("endgeneration", " endif "),
            _ => inside.to_owned(),
        };
        plain.push_str("{%");
        plain.push_str(&put);
        plain.push_str("%}");
        rest = &tag[length + 2..];
    }
    plain.push_str(rest);
    plain
}

/// The date that templates are told is always this one: a run gives the same answers on every day.
/// It is the day that Llama 3's own template names where it is told none.
fn strftime_now(format: &str) -> Result<String, Error> {
    use std::fmt::Write;
    let day = chrono::NaiveDate::from_ymd_opt(2024, 7, 26).and_then(|day| day.and_hms_opt(0, 0, 0));
    let day = day.ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "no such day"))?;
    let mut text = String::new();
    let written = write!(text, "{}", day.format(format));
    written.map_err(|_| {
        Error::new(
            ErrorKind::InvalidOperation,
            format!("strftime_now does not know the format {format:?}"),
        )
    })?;
    Ok(text)
}
