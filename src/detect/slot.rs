//! Slots: the varying part of a template, with its values, range and gaps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::SIGNIFICANT;
use super::dependence::{Labels, VALUES};
use super::digits::uneven;
use super::example::Location;
use super::places::is_place;
use super::template::{Member, Template};
use super::value::Shape;
use crate::prompt::{DateForm, DatePart, Filler, tokens, year};

/// Maximum digits of a window in a code: a year, or a number of up to four digits.
const WINDOW: usize = 4;
/// Minimum digits of a code; shorter ones are plain numbers.
const CODE: usize = 4;
/// Maximum values listed per slot.
const LISTED: usize = 64;
/// Maximum gaps listed, evenly spaced.
const LISTED_GAPS: usize = 64;

/// Type of the varying part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlotKind {
    /// The year of a date, or a year alone.
    Year,
    /// The month of a date, 01 to 12.
    Month,
    /// Month and day of a date, `03-14`.
    MonthDay,
    /// A number. `padded` is its width where leading zeros occur.
    Number {
        padded: Option<usize>,
    },
    /// A code of `width` digits as a whole.
    Code {
        width: usize,
    },
    /// Digits of such a code, from position `start` (counted from 1).
    Window {
        width: usize,
        start: usize,
        length: usize,
    },
    Version,
    /// A name from a closed list.
    Name,
    /// A name from a closed list, most of whose values are places.
    Place,
    /// A word after a label.
    Word,
}

impl SlotKind {
    /// Width to which values are padded; `None` where they are not whole numbers.
    pub(super) fn digits(self) -> Option<usize> {
        match self {
            SlotKind::Year => Some(4),
            SlotKind::Month => Some(2),
            SlotKind::Number { padded } => Some(padded.unwrap_or(1)),
            SlotKind::Window { length, .. } => Some(length),
            _ => None,
        }
    }
}

/// A value of a slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlotValue {
    pub value: String,
    /// Examined rows that have it.
    pub rows: usize,
    /// Mean bits saved in encoding an answer of its rows when the value is known; `None` where the
    /// slot was not tested.
    pub bits: Option<f64>,
    /// Adjusted over the values of this slot (Benjamini-Hochberg); `None` where too few rows have
    /// the value.
    pub p_adjusted: Option<f64>,
}

impl SlotValue {
    /// Whether the answers of its rows differ significantly from those of other values, by
    /// [`SIGNIFICANT`].
    pub(super) fn is_significant(&self) -> bool {
        self.p_adjusted.is_some_and(|p| p <= SIGNIFICANT)
    }
}

/// A position at which otherwise equal rows differ by a typed value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slot {
    pub kind: SlotKind,
    pub location: Location,
    /// The words around the value, for instance `Today is {date}.`. `{date}` alone covers dates in
    /// any context.
    pub template: String,
    /// Significant values, and others up to the listing limit, ordered by frequency.
    pub values: Vec<SlotValue>,
    /// Number of distinct values.
    pub distinct: usize,
    /// Examined rows of every value. Not serialized, since there may be one entry per row: empty
    /// after deserialization.
    #[serde(skip)]
    pub counts: BTreeMap<String, usize>,
    /// Minimum and maximum, where values are whole numbers.
    pub range: Option<(u64, u64)>,
    /// Whole numbers within the range that no row has; evenly spaced where there are many.
    pub gaps: Vec<String>,
}

impl Slot {
    /// Indices of the significant values: smallest p first, then most rows.
    pub(super) fn significant_values(&self) -> Vec<usize> {
        let mut found: Vec<usize> =
            (0..self.values.len()).filter(|index| self.values[*index].is_significant()).collect();
        let p = |index: usize| self.values[index].p_adjusted.unwrap_or(1.0);
        found.sort_by(|left, right| {
            let rows = self.values[*right].rows.cmp(&self.values[*left].rows);
            p(*left).total_cmp(&p(*right)).then(rows)
        });
        found
    }
}

/// A slot with its rows.
#[derive(Debug, Clone)]
pub(super) struct SlotRows {
    pub slot: Slot,
    pub labels: Labels,
    /// The rows of each value, in the order of `slot.values`.
    pub rows: Vec<Vec<u32>>,
    pub filler: Filler,
    /// Of digits of a code: whether they are the least uniformly distributed ones.
    pub uneven: bool,
}

impl SlotRows {
    /// Keeps the values that are listed: significant ones first, then frequent ones.
    pub fn shorten(&mut self) {
        let mut kept = self.slot.significant_values();
        let others =
            (0..self.slot.values.len()).filter(|index| !self.slot.values[*index].is_significant());
        kept.extend(others);
        kept.truncate(LISTED);
        kept.sort_unstable();
        self.slot.values = kept.iter().map(|index| self.slot.values[*index].clone()).collect();
        self.rows = kept.iter().map(|index| std::mem::take(&mut self.rows[*index])).collect();
    }
}

/// The slots of a template.
pub(super) fn slots(template: &Template) -> Vec<SlotRows> {
    let slot_rows = |kind, filler, value: &dyn Fn(&Member) -> Option<String>| {
        slot_rows(template, kind, filler, value)
    };
    let members = &template.members;
    let digits = template.shape == Shape::Digits;
    let found = if template.shape == Shape::Date || (digits && are_years(members)) {
        let filler = |part| Filler::Date { form: usual_form(members, part), part };
        let whole = |text: &str| year(&tokens(text), 0).map(|year| format!("{year:04}"));
        vec![
            slot_rows(SlotKind::Year, filler(DatePart::Year), &|member| match member.date {
                Some(date) => date.year.map(|year| format!("{year:04}")),
                None => whole(&member.text),
            }),
            slot_rows(SlotKind::Month, filler(DatePart::Month), &|member| {
                Some(format!("{:02}", member.date?.month?))
            }),
            slot_rows(SlotKind::MonthDay, filler(DatePart::MonthDay), &|member| {
                let date = member.date?;
                Some(format!("{:02}-{:02}", date.month?, date.day?))
            }),
        ]
    } else if let Some(width) = width(members).filter(|width| digits && *width >= CODE) {
        windows(template, width)
    } else if digits {
        let zeros =
            members.iter().any(|member| member.text.len() > 1 && member.text.starts_with('0'));
        let padded = width(members).filter(|_| zeros);
        vec![slot_rows(SlotKind::Number { padded }, Filler::Text, &|member| {
            Some(member.text.clone())
        })]
    } else {
        let places = members.iter().filter(|member| is_place(&member.text)).count();
        let kind = match template.shape {
            Shape::Version => SlotKind::Version,
            Shape::Name if 2 * places >= members.len() => SlotKind::Place,
            Shape::Name => SlotKind::Name,
            _ => SlotKind::Word,
        };
        vec![slot_rows(kind, Filler::Text, &|member| Some(member.text.clone()))]
    };
    found.into_iter().flatten().collect()
}

/// The most frequent form among members whose date has the part. Members without a date are years.
fn usual_form(members: &[Member], part: DatePart) -> DateForm {
    let mut counts: BTreeMap<DateForm, usize> = BTreeMap::new();
    for date in members.iter().filter_map(|member| member.date) {
        let given = match part {
            DatePart::Year => date.year.is_some(),
            DatePart::Month => date.month.is_some(),
            DatePart::MonthDay => date.day.is_some(),
        };
        if given {
            *counts.entry(date.form).or_default() += 1;
        }
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map_or(DateForm::Year, |(form, _)| form)
}

/// Whether four-digit numbers are years: nearly all lie between 1000 and 2999.
pub(super) fn are_years(members: &[Member]) -> bool {
    let years = members.iter().filter(|member| year(&tokens(&member.text), 0).is_some()).count();
    20 * years >= 19 * members.len()
}

/// The number of digits, if all members have the same.
fn width(members: &[Member]) -> Option<usize> {
    let width = members.first()?.text.len();
    members.iter().all(|member| member.text.len() == width).then_some(width)
}

/// The slots of a code: the whole, and every window that partitions the rows differently. Of
/// windows with the same partition the shortest is kept, extended by zeros that always precede it:
/// `044`, not `44`. The same applies to the least uniform digits.
fn windows(template: &Template, width: usize) -> Vec<Option<SlotRows>> {
    let members = &template.members;
    let alphabet: Vec<String> = (0..width)
        .map(|at| {
            members
                .iter()
                .map(|member| &member.text[at..=at])
                .collect::<std::collections::BTreeSet<_>>()
                .into_iter()
                .collect()
        })
        .collect();
    let always_zero = |at: usize| alphabet[at] == "0";
    // The partition of the rows by a window's values, numbered in order of appearance.
    let partition = |start: usize, length: usize| -> Vec<u32> {
        let mut numbers = BTreeMap::new();
        let values = members.iter().map(|member| &member.text[start..start + length]);
        let numbered = values.map(|value| {
            let next = numbers.len() as u32;
            *numbers.entry(value).or_insert(next)
        });
        numbered.collect()
    };
    let mut partitions: BTreeMap<Vec<u32>, (usize, usize)> = BTreeMap::new();
    for length in 1..=WINDOW.min(width) {
        for start in 0..=width - length {
            let best = partitions.entry(partition(start, length)).or_insert((start, length));
            if start + length == best.0 + best.1 && (start..best.0).all(always_zero) {
                *best = (start, length);
            }
        }
    }
    let codes: Vec<&str> = members.iter().map(|member| member.text.as_str()).collect();
    let least_even = uneven(&codes, WINDOW)
        .and_then(|digits| partitions.get(&partition(digits.start, digits.len())).copied());
    let windows =
        partitions.into_values().filter(|(_, length)| *length < width).map(|(start, length)| {
            let filler = Filler::Code { alphabet: alphabet.clone(), start };
            let kind = SlotKind::Window { width, start: start + 1, length };
            let slot_rows = slot_rows(template, kind, filler, &|member| {
                Some(member.text[start..start + length].to_owned())
            })?;
            Some(SlotRows { uneven: least_even == Some((start, length)), ..slot_rows })
        });
    let whole = slot_rows(template, SlotKind::Code { width }, Filler::Text, &|member| {
        Some(member.text.clone())
    });
    windows.chain([whole]).collect()
}

/// A slot; `None` if it has too few rows or too many distinct values.
fn slot_rows(
    template: &Template,
    kind: SlotKind,
    filler: Filler,
    value: &dyn Fn(&Member) -> Option<String>,
) -> Option<SlotRows> {
    let mut rows: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for member in &template.members {
        if let Some(value) = value(member) {
            rows.entry(value).or_default().push(member.row);
        }
    }
    let total: usize = rows.values().map(Vec::len).sum();
    let closed = !matches!(kind, SlotKind::Name | SlotKind::Place | SlotKind::Word)
        || (rows.len() >= 2 && 2 * rows.len() <= total);
    if total < super::template::MIN_ROWS || !closed {
        return None;
    }
    let distinct = rows.len();
    let (range, gaps) = gaps(kind, &rows);
    let counts = rows.iter().map(|(value, rows)| (value.clone(), rows.len())).collect();
    let mut ranked: Vec<(String, Vec<u32>)> = rows.into_iter().collect();
    ranked.sort_by(|(left, left_rows), (right, right_rows)| {
        right_rows.len().cmp(&left_rows.len()).then(left.cmp(right))
    });
    let labels = labels(&ranked);
    // All values that may be measured. Which of them are listed depends on significance.
    ranked.truncate(VALUES);
    let values = ranked.iter().map(|(value, rows)| SlotValue {
        value: value.clone(),
        rows: rows.len(),
        bits: None,
        p_adjusted: None,
    });
    let (location, template) = (template.location, template.text());
    let slot =
        Slot { kind, location, template, values: values.collect(), distinct, counts, range, gaps };
    let rows = ranked.into_iter().map(|(_, rows)| rows).collect();
    Some(SlotRows { slot, labels, rows, filler, uneven: false })
}

impl Template {
    /// The template with its placeholder.
    pub(super) fn text(&self) -> String {
        let name = match self.shape {
            Shape::Date => "{date}",
            Shape::Digits if are_years(&self.members) => "{year}",
            Shape::Digits if width(&self.members).is_some_and(|width| width >= CODE) => "{code}",
            Shape::Digits => "{number}",
            Shape::Version => "{version}",
            Shape::Name => "{name}",
            Shape::Field => "{word}",
        };
        if self.wide { name.to_owned() } else { format!("{}{name}{}", self.left, self.right) }
    }
}

/// Labels by descending frequency. A value with a single row gets label 0, since nothing can be
/// learned from it.
fn labels(ranked: &[(String, Vec<u32>)]) -> Labels {
    let compared = ranked.iter().take(VALUES).filter(|(_, rows)| rows.len() >= 2).count();
    let mut pairs: Vec<(u32, u32)> = Vec::new();
    for (index, (_, rows)) in ranked.iter().enumerate() {
        let label = if index < compared { index as u32 + 1 } else { 0 };
        pairs.extend(rows.iter().map(|row| (*row, label)));
    }
    pairs.sort_unstable();
    Labels {
        rows: pairs.iter().map(|(row, _)| *row).collect(),
        of: pairs.iter().map(|(_, label)| *label).collect(),
        values: compared,
    }
}

/// The range of whole numbers, and the numbers within it that do not occur.
fn gaps(kind: SlotKind, rows: &BTreeMap<String, Vec<u32>>) -> (Option<(u64, u64)>, Vec<String>) {
    let Some(digits) = kind.digits() else { return (None, Vec::new()) };
    let mut numbers: Vec<u64> = rows.keys().filter_map(|value| value.parse().ok()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let (Some(&least), Some(&most)) = (numbers.first(), numbers.last()) else {
        return (None, Vec::new());
    };
    let total: u64 = numbers.windows(2).map(|pair| pair[1] - pair[0] - 1).sum();
    // Only every n-th gap, so that listing takes bounded time for any range.
    let stride = total.div_ceil(LISTED_GAPS as u64).max(1);
    let mut gaps = Vec::new();
    let mut skipped = 0;
    for pair in numbers.windows(2) {
        let count = pair[1] - pair[0] - 1;
        let mut at = (stride - skipped % stride) % stride;
        while at < count {
            gaps.push(format!("{:0digits$}", pair[0] + 1 + at));
            at += stride;
        }
        skipped += count;
    }
    (Some((least, most)), gaps)
}
