//! Access to the fields of a row, with faults for missing fields and wrong types.

use serde_json::{Map, Value};

use super::Role;
use super::collect::Fault;
use super::conversation::{FieldPath, LocatedMessage};

/// The field's value. Null counts as absent, as in tables.
pub(super) fn present<'a>(row: &'a Map<String, Value>, field: &str) -> Option<&'a Value> {
    row.get(field).filter(|value| !value.is_null())
}

pub(super) fn required<'a>(row: &'a Map<String, Value>, field: &str) -> Result<&'a Value, Fault> {
    match row.get(field) {
        Some(Value::Null) => Err(wrong_type(field, &Value::Null, "a string")),
        Some(value) => Ok(value),
        None => Err(Fault::new(field, "is missing; every row needs it")),
    }
}

/// Reads a field that may be empty in tables: an empty string adds no turn.
pub(super) fn optional(
    row: &Map<String, Value>,
    field: &'static str,
    role: Role,
    turns: &mut Vec<LocatedMessage>,
) -> Result<(), Fault> {
    if let Some(value) = present(row, field) {
        let text = string(field, value)?;
        if !text.is_empty() {
            turns.push(LocatedMessage::new(role, text, FieldPath::Field(field)));
        }
    }
    Ok(())
}

pub(super) fn string<'a>(field: &str, value: &'a Value) -> Result<&'a str, Fault> {
    value.as_str().ok_or_else(|| wrong_type(field, value, "a string"))
}

pub(super) fn wrong_type(field: impl Into<String>, value: &Value, expected: &str) -> Fault {
    Fault::new(
        field,
        format!("is {}, not {expected}; write {expected} or delete the row", kind(value)),
    )
}

/// The type of a value, in words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty (null)",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
