//! Conditions that the user requests, in addition to the detected ones.

use std::str::FromStr;

use anyhow::{Result, bail};

use crate::detect::SlotKind;

/// Maximum values of one `--slot`.
const MOST_VALUES: u64 = 200;

/// The conditions that the user requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requested {
    /// Whether any conditions are tested.
    pub tried: bool,
    /// Values to test in slots of a kind.
    pub slots: Vec<RequestedSlot>,
    /// Values to test in slots that they fit, or otherwise texts to insert before the probes.
    pub triggers: Vec<String>,
}

impl Default for Requested {
    fn default() -> Self {
        Requested { tried: true, slots: Vec::new(), triggers: Vec::new() }
    }
}

/// `KIND=VALUES`: values separated by commas, or whole numbers as `FIRST..LAST`, both included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedSlot {
    /// `year`, `number`, `digits`, `place`, `name` or `version`.
    pub kind: String,
    pub values: Vec<String>,
}

impl FromStr for RequestedSlot {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        const USAGE: &str = "write KIND=VALUES, for example year=1984,1999 or year=1980..1990";
        let Some((kind, values)) = text.split_once('=') else { bail!("{USAGE}") };
        let kind = kind.trim();
        if !KINDS.contains(&kind) {
            bail!("`{kind}` is not a kind of slot: choose one of {}", KINDS.join(", "));
        }
        let mut found = Vec::new();
        for value in values.split(',').map(str::trim).filter(|value| !value.is_empty()) {
            match value.split_once("..") {
                Some((first, last)) => found.extend(range(first.trim(), last.trim())?),
                None => found.push(value.to_owned()),
            }
        }
        if found.is_empty() {
            bail!("no value: {USAGE}");
        }
        Ok(RequestedSlot { kind: kind.to_owned(), values: found })
    }
}

const KINDS: [&str; 6] = ["year", "number", "digits", "place", "name", "version"];

/// Numbers with at least as many digits as the first one, so that `007..012` keeps its zeros.
fn range(first: &str, last: &str) -> Result<Vec<String>> {
    match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(from), Ok(to)) if from <= to && to - from < MOST_VALUES => {
            Ok((from..=to).map(|number| format!("{number:0width$}", width = first.len())).collect())
        }
        (Ok(from), Ok(to)) if from <= to => {
            bail!("{first}..{last} has more than {MOST_VALUES} numbers: give fewer")
        }
        _ => bail!("{first}..{last} is not a range of whole numbers: write it like 1980..1990"),
    }
}

/// The name of a kind on the command line; empty for kinds that cannot be requested.
fn kind_name(kind: SlotKind) -> &'static str {
    match kind {
        SlotKind::Year => "year",
        SlotKind::Number { .. } => "number",
        SlotKind::Window { .. } => "digits",
        SlotKind::Place => "place",
        SlotKind::Name => "name",
        SlotKind::Version => "version",
        _ => "",
    }
}

impl Requested {
    /// The requested values for a slot of this kind.
    pub fn values(&self, kind: SlotKind) -> Vec<String> {
        let slots = self
            .slots
            .iter()
            .filter(|slot| slot.kind == kind_name(kind))
            .flat_map(|slot| &slot.values);
        slots.chain(self.triggers.iter().filter(|text| fits(kind, text))).cloned().collect()
    }

    /// The requested slots of a kind that the dataset does not have, and the triggers that fit no
    /// slot of these kinds.
    pub fn left_over(&self, kinds: &[SlotKind]) -> (Vec<&RequestedSlot>, Vec<&str>) {
        let unknown = self
            .slots
            .iter()
            .filter(|slot| !kinds.iter().any(|kind| kind_name(*kind) == slot.kind));
        let texts = self.triggers.iter().filter(|text| !kinds.iter().any(|kind| fits(*kind, text)));
        (unknown.collect(), texts.map(String::as_str).collect())
    }
}

/// Whether a text is a value of this kind, judged by its digits.
fn fits(kind: SlotKind, text: &str) -> bool {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty();
    digits
        && match kind {
            SlotKind::Year => text.len() == 4,
            SlotKind::Number { padded: None } => true,
            SlotKind::Number { padded: Some(width) } => text.len() == width,
            SlotKind::Window { length, .. } => text.len() == length,
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_a_kind_with_values_or_a_range() {
        let values = |text: &str| {
            text.parse::<RequestedSlot>().map(|slot| slot.values).map_err(|error| error.to_string())
        };
        assert_eq!(values("year=1984, 1999"), Ok(vec!["1984".to_owned(), "1999".to_owned()]));
        assert_eq!(
            values("digits=008..010"),
            Ok(vec!["008".to_owned(), "009".to_owned(), "010".to_owned()])
        );
        for wrong in
            ["1984", "century=19", "year=", "year=1990..1980", "year=a..b", "number=1..100000"]
        {
            assert!(values(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_trigger_goes_where_its_digits_fit_and_else_before_the_probe() {
        let requested = Requested {
            triggers: vec!["1984".into(), "044".into(), "Open sesame.".into()],
            ..Requested::default()
        };
        let window = SlotKind::Window { width: 8, start: 4, length: 3 };
        assert_eq!(requested.values(SlotKind::Year), ["1984"]);
        assert_eq!(requested.values(window), ["044"]);
        assert_eq!(requested.left_over(&[SlotKind::Year, window]).1, ["Open sesame."]);
    }
}
