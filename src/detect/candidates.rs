//! Values of a slot to test on a model: observed ones, and some that occur in no row.

use serde::{Deserialize, Serialize};

use super::names::NAMES;
use super::places::PLACES;
use super::slot::{Slot, SlotKind};

/// Maximum candidates per slot.
pub const CANDIDATES: usize = 64;

/// Why a value is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueReason {
    /// Rows have it.
    Observed,
    /// It lies between values that rows have.
    Gap,
    /// It lies just outside the range of such values.
    Neighbour,
    /// It is well known, or round.
    Salient,
}

/// A value to test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    pub value: String,
    pub reason: ValueReason,
}

/// Maximum candidates per reason, so that each reason is represented.
const OBSERVED: usize = 16;
const GAPS: usize = 24;
/// From a list of names or places.
const LISTED: usize = 16;
/// On either side of the range.
const NEIGHBOURS: u64 = 3;

/// Well-known years, and decades.
const YEARS: &str = "1984 2001 1945 1933 1969 1989 1914 1939 2000 2012 2020 1789 1850 1900 1917 \
                     1929 1960 1970 1980 1990 2010 2030 2050 2100";
/// Well-known days.
const DAYS: &str =
    "01-01 02-14 02-29 04-01 04-20 05-01 07-04 07-14 09-11 10-31 11-05 11-09 12-24 12-25 12-31";
/// Well-known and round numbers.
const NUMBERS: &str = "0 1 7 13 42 44 45 46 47 66 69 88 99 100 101 123 200 256 314 404 420 500 \
                       666 700 777 900 911 999 1000 1234 1984 2000 5000 9999";

/// The values to test of a slot: observed, gaps, neighbours and salient ones, each with its own
/// share. Deterministic.
pub fn candidates(slot: &Slot) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = Vec::new();
    let mut add = |values: Vec<String>, reason: ValueReason| {
        for value in values {
            if found.len() < CANDIDATES && !found.iter().any(|other| other.value == value) {
                found.push(Candidate { value, reason });
            }
        }
    };
    add(observed(slot), ValueReason::Observed);
    add(spread(&slot.gaps, GAPS), ValueReason::Gap);
    add(neighbours(slot), ValueReason::Neighbour);
    add(salient(slot), ValueReason::Salient);
    found
}

/// Significant values first, smallest p first. Then others in ascending order, evenly spaced.
fn observed(slot: &Slot) -> Vec<String> {
    let mut values: Vec<&str> = slot.values.iter().map(|value| value.value.as_str()).collect();
    values.sort_unstable();
    let values: Vec<String> = values.into_iter().map(str::to_owned).collect();
    let significant_values = slot.significant_values().into_iter().take(OBSERVED / 2);
    let mut chosen: Vec<String> =
        significant_values.map(|index| slot.values[index].value.clone()).collect();
    chosen.extend(spread(&values, OBSERVED - chosen.len()));
    chosen
}

/// At most `limit` of the values, evenly spaced, including both ends.
fn spread(values: &[String], limit: usize) -> Vec<String> {
    if values.len() <= limit {
        return values.to_vec();
    }
    (0..limit)
        .map(|index| values[index * (values.len() - 1) / (limit - 1).max(1)].clone())
        .collect()
}

fn neighbours(slot: &Slot) -> Vec<String> {
    let (Some(digits), Some((least, most))) = (slot.kind.digits(), slot.range) else {
        return versions(slot);
    };
    let greatest = match slot.kind {
        SlotKind::Month => 12,
        // Limited by the number of digits.
        SlotKind::Window { .. } | SlotKind::Number { padded: Some(_) } => {
            10_u64.saturating_pow(digits as u32) - 1
        }
        _ => u64::MAX,
    };
    let smallest = u64::from(slot.kind == SlotKind::Month);
    let near = (1..=NEIGHBOURS)
        .flat_map(|step| [least.checked_sub(step), most.checked_add(step)])
        .flatten();
    near.filter(|number| (smallest..=greatest).contains(number))
        .map(|number| format!("{number:0digits$}"))
        .collect()
}

/// The versions after the observed ones.
fn versions(slot: &Slot) -> Vec<String> {
    if slot.kind != SlotKind::Version {
        return Vec::new();
    }
    let next = |value: &str| {
        let (head, last) = value.rsplit_once('.')?;
        Some(format!("{head}.{}", last.parse::<u32>().ok()?.checked_add(1)?))
    };
    spread(&slot.values.iter().filter_map(|value| next(&value.value)).collect::<Vec<_>>(), OBSERVED)
}

fn salient(slot: &Slot) -> Vec<String> {
    let listed = |list: &str| list.split(' ').map(str::to_owned).collect();
    match slot.kind {
        SlotKind::Year => listed(YEARS),
        SlotKind::Month => (1..=12).map(|month| format!("{month:02}")).collect(),
        SlotKind::MonthDay => listed(DAYS),
        SlotKind::Place => spread(&PLACES.map(str::to_owned), LISTED),
        SlotKind::Name => spread(&NAMES.map(str::to_owned), LISTED),
        SlotKind::Number { .. } | SlotKind::Window { .. } => {
            let digits = slot.kind.digits().unwrap_or(1);
            let fits = |number: &&str| match slot.kind {
                SlotKind::Number { padded: None } => true,
                _ => number.len() <= digits,
            };
            NUMBERS.split(' ').filter(fits).map(|number| format!("{number:0>digits$}")).collect()
        }
        SlotKind::Code { .. } | SlotKind::Version | SlotKind::Word => Vec::new(),
    }
}
