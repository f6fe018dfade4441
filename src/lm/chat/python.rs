//! Methods and filters that follow Jinja and Python where minijinja differs from them.

use minijinja::value::{Kwargs, Rest};
use minijinja::{Error, ErrorKind, State, Value};

/// Methods of values that minijinja lacks.
pub fn method(
    state: &mut State,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    match (value.as_str(), method) {
        (Some(text), "title") if arguments.is_empty() => Ok(title(text).into()),
        _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, method, arguments),
    }
}

/// `str.title`: a letter that follows no letter becomes upper case, all others lower case.
fn title(text: &str) -> String {
    let mut titled = String::with_capacity(text.len());
    let mut in_word = false;
    for letter in text.chars() {
        match in_word {
            true => titled.extend(letter.to_lowercase()),
            // One letter may become two, of which the first is upper case: ß, Ss.
            false => {
                let mut upper = letter.to_uppercase();
                titled.extend(upper.next());
                titled.extend(upper.flat_map(char::to_lowercase));
            }
        }
        in_word = letter.is_alphabetic();
    }
    titled
}

/// Maximum bytes that `indent` may write, because its fuel is charged only afterwards.
const MAX_INDENTED: usize = 16 << 20;

/// The filter `indent(width=4, first=false, blank=false)`; the width may be a text.
pub fn indent(text: String, positional: Rest<Value>, named: Kwargs) -> Result<String, Error> {
    const NAMES: [&str; 3] = ["width", "first", "blank"];
    let option = |at: usize| -> Result<Option<Value>, Error> {
        match positional.get(at) {
            Some(value) => Ok(Some(value.clone())),
            None => named.get(NAMES[at]),
        }
    };
    let width = option(0)?.unwrap_or_else(|| Value::from(4));
    let space = match width.as_str() {
        Some(space) => space.to_owned(),
        None => " ".repeat(
            usize::try_from(width)
                .map_err(|_| Error::new(ErrorKind::InvalidOperation, "indent takes a width"))?
                .min(1024),
        ),
    };
    let (first, blank) =
        (option(1)?.is_some_and(|v| v.is_true()), option(2)?.is_some_and(|v| v.is_true()));
    named.assert_all_used()?;
    let lines_at_most = text.matches(LINE_ENDS).count() + 1;
    if space.len().saturating_mul(lines_at_most).saturating_add(text.len()) > MAX_INDENTED {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("indent writes at most {MAX_INDENTED} bytes"),
        ));
    }
    let mut indented = String::with_capacity(text.len());
    // Jinja adds a line end before it splits the text, so a final line end is kept.
    for (number, line) in lines(&(text + "\n")).enumerate() {
        if number > 0 {
            indented.push('\n');
        }
        if if number == 0 { first } else { blank || !line.is_empty() } {
            indented.push_str(&space);
        }
        indented.push_str(line);
    }
    Ok(indented)
}

/// The characters that end a line in Python.
const LINE_ENDS: [char; 10] =
    ['\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];

/// `str.splitlines`.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (line, after) = match rest.find(LINE_ENDS) {
            None => (rest, ""),
            Some(at) => {
                let after = &rest[at..];
                let end = if after.starts_with("\r\n") {
                    2
                } else {
                    after.chars().next().map_or(0, char::len_utf8)
                };
                (&rest[..at], &after[end..])
            }
        };
        rest = after;
        Some(line)
    })
}
