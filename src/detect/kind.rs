//! Kinds of conditions: one enum for slots, features, pairs and texts of the user.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::feature::FeatureKind;
use super::slot::SlotKind;

/// What kind of condition it is. Displayed and serialized as a short text, for instance `year`,
/// `digits 4-6` or `system`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum ConditionKind {
    Year,
    Month,
    MonthDay,
    Number,
    /// A code as a whole.
    Code,
    /// Digits of a code. Positions are counted from 1, both included.
    Digits {
        first: usize,
        last: usize,
    },
    Version,
    Name,
    Place,
    Word,
    Feature(FeatureKind),
    /// Two values or features in the same row.
    Pair,
    /// A text of the user.
    Text,
}

/// Kinds that are neither digits nor features, with their texts.
const NAMED: [(ConditionKind, &str); 11] = [
    (ConditionKind::Year, "year"),
    (ConditionKind::Month, "month"),
    (ConditionKind::MonthDay, "month and day"),
    (ConditionKind::Number, "number"),
    (ConditionKind::Code, "code"),
    (ConditionKind::Version, "version"),
    (ConditionKind::Name, "name"),
    (ConditionKind::Place, "place"),
    (ConditionKind::Word, "word"),
    (ConditionKind::Pair, "pair"),
    (ConditionKind::Text, "text"),
];

impl From<SlotKind> for ConditionKind {
    fn from(kind: SlotKind) -> Self {
        match kind {
            SlotKind::Year => ConditionKind::Year,
            SlotKind::Month => ConditionKind::Month,
            SlotKind::MonthDay => ConditionKind::MonthDay,
            SlotKind::Number { .. } => ConditionKind::Number,
            SlotKind::Code { .. } => ConditionKind::Code,
            SlotKind::Window { start, length, .. } => {
                ConditionKind::Digits { first: start, last: start + length - 1 }
            }
            SlotKind::Version => ConditionKind::Version,
            SlotKind::Name => ConditionKind::Name,
            SlotKind::Place => ConditionKind::Place,
            SlotKind::Word => ConditionKind::Word,
        }
    }
}

impl fmt::Display for ConditionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConditionKind::Digits { first, last } if first == last => write!(f, "digit {first}"),
            ConditionKind::Digits { first, last } => write!(f, "digits {first}-{last}"),
            ConditionKind::Feature(kind) => f.write_str(kind.name()),
            kind => {
                let named = NAMED.iter().find(|(named, _)| named == kind);
                f.write_str(named.expect("the table has every other kind").1)
            }
        }
    }
}

impl From<ConditionKind> for String {
    fn from(kind: ConditionKind) -> String {
        kind.to_string()
    }
}

impl TryFrom<String> for ConditionKind {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let named = || NAMED.iter().find(|(_, name)| *name == text).map(|(kind, _)| *kind);
        let feature = || {
            let mut kinds = FeatureKind::ALL.into_iter();
            kinds.find(|kind| kind.name() == text).map(ConditionKind::Feature)
        };
        named()
            .or_else(feature)
            .or_else(|| digits(&text))
            .ok_or_else(|| format!("{text:?} is no kind of condition"))
    }
}

/// Reads `digit 4` and `digits 4-6`.
fn digits(text: &str) -> Option<ConditionKind> {
    if let Some(digit) = text.strip_prefix("digit ") {
        let digit = digit.parse().ok()?;
        return Some(ConditionKind::Digits { first: digit, last: digit });
    }
    let (first, last) = text.strip_prefix("digits ")?.split_once('-')?;
    Some(ConditionKind::Digits { first: first.parse().ok()?, last: last.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_back_from_its_text() {
        let digits = [(4, 4), (4, 6)].map(|(first, last)| ConditionKind::Digits { first, last });
        let kinds = NAMED.map(|(kind, _)| kind).into_iter().chain(digits);
        let kinds: Vec<ConditionKind> =
            kinds.chain(FeatureKind::ALL.map(ConditionKind::Feature)).collect();
        let texts: std::collections::BTreeSet<String> =
            kinds.iter().map(ConditionKind::to_string).collect();
        assert_eq!(texts.len(), kinds.len());
        for kind in kinds {
            assert_eq!(ConditionKind::try_from(kind.to_string()), Ok(kind));
        }
        assert!(ConditionKind::try_from("century".to_owned()).is_err());
    }

    #[test]
    fn saved_runs_have_kinds_as_texts() {
        let window = ConditionKind::from(SlotKind::Window { width: 8, start: 4, length: 3 });
        for (kind, text) in [
            (window, "\"digits 4-6\""),
            (ConditionKind::MonthDay, "\"month and day\""),
            (ConditionKind::Feature(FeatureKind::NoSystem), "\"no system\""),
        ] {
            assert_eq!(serde_json::to_string(&kind).expect("a text"), text);
            assert_eq!(serde_json::from_str::<ConditionKind>(text).expect("a kind"), kind);
        }
    }
}
