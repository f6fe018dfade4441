//! Which identity a value names.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The key of an identity among the values of a slot. Values that are written differently may have
/// one key: 016 and 16, or April and APRIL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ValueKey {
    Number(u64),
    /// In lower case, without white space around it.
    Text(String),
}

impl ValueKey {
    pub fn of(value: &str) -> ValueKey {
        match value.parse() {
            Ok(number) => ValueKey::Number(number),
            Err(_) => ValueKey::Text(value.trim().to_lowercase()),
        }
    }

    /// The value alone, for axes.
    pub fn bare(&self) -> String {
        match self {
            ValueKey::Number(number) => number.to_string(),
            ValueKey::Text(text) => text.clone(),
        }
    }
}

/// The identity in a sentence: `number 16` or `"april"`.
impl fmt::Display for ValueKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueKey::Number(number) => write!(f, "number {number}"),
            ValueKey::Text(text) => write!(f, "{text:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_one_meaning_have_one_key() {
        for (value, other) in [("016", "16"), ("April", " APRIL "), ("Ödön", "ödön")] {
            assert_eq!(ValueKey::of(value), ValueKey::of(other));
        }
        for (value, other) in [("16", "61"), ("April", "May"), ("16", "16th")] {
            assert_ne!(ValueKey::of(value), ValueKey::of(other));
        }
    }

    #[test]
    fn a_key_is_saved_as_a_number_or_a_text() {
        let keys: Vec<ValueKey> = serde_json::from_str(r#"[16, "april"]"#).expect("keys");
        assert_eq!(keys, [ValueKey::Number(16), ValueKey::Text("april".to_owned())]);
        assert_eq!(serde_json::to_string(&keys).expect("it writes"), r#"[16,"april"]"#);
    }
}
