//! Combines the two sides of one insertion: an opening with its ending, and a tag with adjacent
//! punctuation.

use std::collections::{BTreeMap, BTreeSet};

use super::example::Example;
use super::feature::{FeatureKind, FeatureMap, FeatureRows};
use super::template::MIN_ROWS;
use crate::prompt::{Insertion, InsertionKind};

/// The longest opening and the longest ending for each set of rows. With a tag they may be one
/// insertion, such as `<q>` and `</q>`.
pub(super) struct Edges {
    openings: BTreeMap<Vec<u32>, (String, Insertion)>,
    endings: BTreeMap<Vec<u32>, (String, Insertion)>,
}

impl Edges {
    pub fn of(found: &FeatureMap) -> Edges {
        let longest = |kind: FeatureKind| {
            let mut by_rows: BTreeMap<Vec<u32>, (String, Insertion)> = BTreeMap::new();
            for (feature, (rows, insertion)) in
                found.iter().filter(|(feature, _)| feature.kind == kind)
            {
                let Some(insertion) = insertion.clone().filter(|_| rows.len() >= MIN_ROWS) else {
                    continue;
                };
                if by_rows.get(rows).is_none_or(|(text, _)| text.len() < feature.text.len()) {
                    by_rows.insert(rows.clone(), (feature.text.clone(), insertion));
                }
            }
            by_rows
        };
        Edges { openings: longest(FeatureKind::Opening), endings: longest(FeatureKind::Ending) }
    }

    /// Extends a tag by adjacent punctuation, and an opening by the ending that occurs in the same
    /// rows.
    pub fn whole(&self, candidate: FeatureRows, examples: &[Example]) -> FeatureRows {
        let FeatureRows { mut feature, rows, mut insertion } = candidate;
        let (opening, ending) = (self.openings.get(&rows), self.endings.get(&rows));
        if feature.kind == FeatureKind::Tag {
            let only_marks = |(text, _): &&(String, Insertion)| {
                text.split_once(&feature.text).is_some_and(|(left, right)| {
                    !format!("{left}{right}").contains(char::is_alphanumeric)
                })
            };
            if let Some((text, other)) = opening.filter(only_marks).or(ending.filter(only_marks)) {
                (feature.text, insertion) = (text.clone(), Some(other.clone()));
            }
        }
        let opens = opening.is_some_and(|(text, _)| *text == feature.text);
        if let Some((_, other)) =
            ending.filter(|(text, _)| opens && are_around(examples, &rows, (&feature.text, text)))
        {
            insertion = insertion
                .map(|insertion| InsertionKind::Both(Box::new([other.clone(), insertion])).into());
        }
        FeatureRows { feature, rows, insertion }
    }
}

/// Whether the texts between an opening and an ending differ.
fn are_around(examples: &[Example], rows: &[u32], (opening, ending): (&str, &str)) -> bool {
    let between = |row: &u32| {
        let rest = examples[*row as usize].prompt.trim_start().strip_prefix(opening)?;
        let between = rest[..rest.rfind(ending)?].trim();
        between.contains(char::is_alphanumeric).then_some(between)
    };
    rows.iter().filter_map(between).collect::<BTreeSet<_>>().len() >= 2
}
