//! Short descriptions of conditions for tables; long texts are truncated.

use std::fmt;

use super::{ConditionKind, Part, Slot, Subject};
use crate::text::fit;

/// Maximum values named.
const NAMED: usize = 3;
/// Maximum columns of a feature's text, which may be a long system message.
const TEXT: usize = 240;

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Feature(feature) => {
                write!(
                    f,
                    "{}: {}{}",
                    feature.kind.name(),
                    fit(&feature.text, TEXT),
                    feature.where_said()
                )
            }
            Subject::Slot(slot) => {
                let kind = ConditionKind::from(slot.kind);
                write!(f, "{kind} in `{}`{}", slot.template, significant(slot))
            }
            Subject::Pair(parts) => {
                write!(f, "together: {}, and {}", part(&parts[0]), part(&parts[1]))
            }
        }
    }
}

fn part(part: &Part) -> String {
    match &part.value {
        Some(value) => format!("{} {value} in `{}`", part.kind, part.text),
        None => format!("{}: {}", part.kind, fit(&part.text, TEXT)),
    }
}

/// The significant values, strongest first.
fn significant(slot: &Slot) -> String {
    let mut values: Vec<_> = slot
        .values
        .iter()
        .filter(|value| value.is_significant() && value.bits.is_some_and(|bits| bits > 0.0))
        .collect();
    values.sort_by(|left, right| right.bits.unwrap_or(0.0).total_cmp(&left.bits.unwrap_or(0.0)));
    let names: Vec<&str> = values.iter().take(NAMED).map(|value| value.value.as_str()).collect();
    match (names.len(), values.len() - names.len()) {
        (0, _) => String::new(),
        (_, 0) => format!(", most {}", names.join(", ")),
        (_, more) => format!(", most {} and {more} more", names.join(", ")),
    }
}
