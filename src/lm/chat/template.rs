//! Limits on chat templates. A template is a program, and a model folder may be hostile. So the
//! functions that it may call and the work that it may do are restricted.

use std::cell::Cell;
use std::thread;

use anyhow::{Context, Result};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value};

use super::json::tojson;
use super::python;

/// Fuel of one rendering. One unit pays for one instruction or 64 bytes of text, so this bounds
/// both time and memory (16 MiB). A real template uses some tens per message. minijinja 3.1 charges
/// too late for text made of a list that contains itself many times (`[a, a]`, thirty times). Such
/// a template can still hang.
pub const FUEL: u64 = 250_000;

/// Stack of the rendering threads, in bytes. A template can nest lists as long as its fuel lasts,
/// and the engine walks and drops such values recursively. 40,000 levels take about 1 KiB each; a
/// pool thread has 2 MiB. Unused stack takes no memory.
const STACK: usize = 64 << 20;

thread_local! {
    /// Whether this thread was made by [`deep`].
    static DEEP: Cell<bool> = const { Cell::new(false) };
}

/// Runs work on a thread whose stack no template can overflow. Wrap frequent rendering as a whole:
/// a nested call costs nothing.
///
/// # Errors
/// The error of the work; or where no thread can be made.
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

/// Jinja as transformers configures it: trimmed blocks, loop controls, Python's methods,
/// `raise_exception`, `strftime_now`, and `tojson` without HTML escapes. `generation` blocks, which
/// mark answers for trainers, render as their content.
pub fn environment(template: String) -> Result<Environment<'static>> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(|state, value, method, arguments| {
        // Filters are charged for the length of their text; so are Python's methods.
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

/// Replaces `generation` and `endgeneration` by a condition that is always true: the same text, and
/// the same white space around the tags.
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

/// The current date is a constant, so that runs give the same answers on every day. It is the
/// default date of Llama 3's own template.
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
