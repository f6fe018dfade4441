//! Strict JSON parser for untrusted rows: no duplicate keys, limited nesting, and the path of an
//! error.

use std::cell::RefCell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::collect::Fault;

/// Parses one JSON value. `ends_file` means that nothing follows in the file, so that an early end
/// indicates a truncated file.
///
/// # Errors
/// A fault that names the field, where there is one, and the remedy.
pub(super) fn parse(text: &str, max_depth: usize, ends_file: bool) -> Result<Value, Fault> {
    let found = RefCell::new(None);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    // serde_json itself stops at 128 levels.
    let strict = Strict { depth_left: max_depth.min(100), found: &found };
    let result =
        strict.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    result.map_err(|error| match found.into_inner() {
        Some(LocatedError { path, problem }) => Fault::new(path.trim_start_matches('.'), problem),
        None if error.is_eof() && ends_file => {
            Fault::line("the file ends inside this row; download it again, or delete the row")
        }
        None if error.is_eof() => {
            Fault::line("the JSON ends too early; write each row completely, on one line")
        }
        None => Fault::line(format!(
            "not valid JSON at column {}: {}; repair the row",
            error.column(),
            bare(&error)
        )),
    })
}

/// serde_json's message without its position, which is relative to the row.
fn bare(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(message, _)| message.to_owned())
}

/// An error found by a visitor, and its path. The path is built from the inside out.
struct LocatedError {
    path: String,
    problem: String,
}

struct Strict<'a> {
    depth_left: usize,
    found: &'a RefCell<Option<LocatedError>>,
}

impl Strict<'_> {
    fn inner<E: de::Error>(&self) -> Result<Self, E> {
        match self.depth_left.checked_sub(1) {
            Some(depth_left) => Ok(Strict { depth_left, found: self.found }),
            None => Err(self.fail("is nested too deeply; keep only the conversation".into())),
        }
    }

    fn fail<E: de::Error>(&self, problem: String) -> E {
        *self.found.borrow_mut() = Some(LocatedError { path: String::new(), problem });
        E::custom("strict")
    }

    fn prepend(&self, step: &str) {
        if let Some(found) = self.found.borrow_mut().as_mut() {
            // Limit the path's length, for readable messages.
            if found.path.len() + step.len() <= 60 {
                found.path.insert_str(0, step);
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        loop {
            match items.next_element_seed(self.inner()?) {
                Ok(Some(item)) => array.push(item),
                Ok(None) => return Ok(Value::Array(array)),
                Err(error) => {
                    self.prepend(&format!("[{}]", array.len()));
                    return Err(error);
                }
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                let error = self.fail("occurs twice in one object; keep one".into());
                self.prepend(&format!(".{key}"));
                return Err(error);
            }
            match entries.next_value_seed(self.inner()?) {
                Ok(value) => object.insert(key, value),
                Err(error) => {
                    self.prepend(&format!(".{key}"));
                    return Err(error);
                }
            };
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duplicate_key_is_named_by_its_path() {
        let fault = parse(r#"{"messages":[{"role":"user"},{"role":"a","role":"b"}]}"#, 32, false)
            .expect_err("duplicate");
        assert_eq!(fault.field, "messages[1].role");
    }

    #[test]
    fn nesting_past_the_limit_is_a_fault_and_up_to_it_is_not() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        parse(&nested(32), 32, false).expect("at the limit");
        let fault = parse(&nested(100_000), 32, false).expect_err("past the limit");
        assert!(fault.reason.contains("nested too deeply"), "{}", fault.reason);
    }

    #[test]
    fn an_early_end_is_a_truncated_file_only_where_the_file_ends() {
        let last = parse("{\"a\":", 32, true).expect_err("cut off").reason;
        let middle = parse("{\"a\":", 32, false).expect_err("cut off").reason;
        assert!(
            last.contains("the file ends inside") && !middle.contains("the file ends inside"),
            "{last} / {middle}"
        );
    }
}
