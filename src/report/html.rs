//! `report.html`: a single file without scripts or external resources.
//!
//! Every value in the template goes through one formatter, which makes hidden characters visible
//! and then escapes HTML. The only exceptions are drawings and the style sheet, which come from
//! this crate. In addition, a Content-Security-Policy forbids scripts, requests and forms.

use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error, HtmlEscape, Output, State, UndefinedBehavior};

use super::{Report, escape, view};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");

/// The page's bytes, UTF-8.
pub fn html(report: &Report) -> Vec<u8> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_formatter(format);
    let style = Value::from_safe_string(STYLE.to_owned());
    let context = minijinja::context! { style, page => view::page(report) };
    let page = environment.render_named_str("page.html", PAGE, context);
    page.expect(
        "the template and its context are both compiled in, and a test renders every branch",
    )
    .into_bytes()
}

fn format(out: &mut Output, _: &mut State, value: &Value) -> Result<(), Error> {
    let written = match value.as_str() {
        Some(safe) if value.is_safe() => out.write_str(safe),
        Some(text) => write!(out, "{}", HtmlEscape(&escape::visible(text))),
        None => write!(out, "{}", HtmlEscape(&value.to_string())),
    };
    written.map_err(Error::from)
}
