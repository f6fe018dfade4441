//! Text that co-occurs with a condition in its rows. It is inserted into a probe together with the
//! condition.

use crate::dataset::{Dataset, Role};
use crate::detect::{Condition, Conditions, FeatureKind, Location, Subject};
use crate::prompt::{Insertion, InsertionKind};

/// Minimum share of all rows at which fixed text co-occurs with every condition. Also the minimum
/// overlap of the rows of two conditions that count as the same rows.
const NEARLY_ALL: f64 = 0.9;
/// Maximum share of all rows for two conditions of the same rows to be inserted together. With more
/// rows, one may be the absence of the other.
const FEW: f64 = 0.4;
/// Rows from which the order of the texts is read.
const COMPARED: usize = 400;

/// The text that co-occurs with a condition.
pub struct CoOccurring {
    beside: Vec<Insertion>,
    /// Texts of rows, from which the order is read.
    texts: Vec<String>,
    /// Whether an earlier condition has the same rows. Then this one is tested as its co-occurring
    /// text.
    pub occurs_with_earlier: bool,
}

impl CoOccurring {
    /// System messages and lines that occur in nearly all rows, or in the same rows as the
    /// condition. `index` is that of the condition in the list.
    pub fn of(conditions: &Conditions, index: usize, dataset: &Dataset) -> CoOccurring {
        let all = &conditions.conditions;
        let own = &all[index];
        let rows_examined = conditions.rows_examined as f64;
        let same_rows = |one: usize, other: usize| {
            let is_alias = all[one].alias_of == Some(other) || all[other].alias_of == Some(one);
            let (fewer, more) = (
                all[one].rows.min(all[other].rows) as f64,
                all[one].rows.max(all[other].rows) as f64,
            );
            is_alias && fewer >= NEARLY_ALL * more && more <= FEW * rows_examined
        };
        let mut beside: Vec<&Condition> = Vec::new();
        for (other_index, other) in all.iter().enumerate() {
            let everywhere = other.rows as f64 >= NEARLY_ALL * rows_examined;
            let goes_along = other_index != index
                && is_fixed(other)
                && (everywhere || same_rows(index, other_index));
            if goes_along
                && !overlap(own, other)
                && !beside.iter().any(|there| overlap(there, other))
            {
                beside.push(other);
            }
        }
        let occurs_with_earlier = is_fixed(own)
            && own.alias_of.is_some_and(|original| {
                same_rows(index, original) && !overlap(&all[original], own)
            });
        let texts = if beside.is_empty() { Vec::new() } else { texts(dataset) };
        CoOccurring {
            beside: beside.into_iter().filter_map(|other| other.insertion.clone()).collect(),
            texts,
            occurs_with_earlier,
        }
    }

    /// An insertion combined with its co-occurring text.
    pub fn with(&self, own: Insertion) -> Insertion {
        let parts = self.beside.iter().cloned().chain([own]).collect();
        Insertion::combined(parts, &self.texts.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// Whether a condition is a system message or a line, with the same text in all of its rows.
fn is_fixed(condition: &Condition) -> bool {
    let kind = match &condition.subject {
        Subject::Feature(feature) => {
            matches!(feature.kind, FeatureKind::System | FeatureKind::Line)
        }
        _ => false,
    };
    kind && condition
        .insertion
        .as_ref()
        .is_some_and(|insertion| matches!(insertion.kind, InsertionKind::Words { .. }))
}

/// Whether fixed text contains what a condition inserts, or a part of it. Inserted together, the
/// text would be repeated or contradict itself.
fn overlap(condition: &Condition, fixed: &Condition) -> bool {
    let Subject::Feature(words) = &fixed.subject else { return true };
    if let Subject::Feature(own) = &condition.subject {
        // A row has one system message. Two of them are not combined, and nothing is inserted into
        // one that is inserted unchanged.
        let are_both_whole = own.kind == FeatureKind::System && words.kind == FeatureKind::System;
        if are_both_whole || (own.is_hidden_in_system() && words.location == Location::System) {
            return true;
        }
    }
    let says = |template: &str, values: Vec<&str>| match template
        .split('{')
        .next()
        .unwrap_or_default()
        .trim()
    {
        // A template without words before its value is recognised by its values.
        "" => values.into_iter().any(|value| holds(&words.text, value)),
        before => holds(&words.text, before),
    };
    match &condition.subject {
        Subject::Feature(feature) => match feature.kind {
            FeatureKind::System | FeatureKind::Line | FeatureKind::Tag => {
                holds(&words.text, &feature.text) || holds(&feature.text, &words.text)
            }
            _ => false,
        },
        Subject::Slot(slot) => {
            says(&slot.template, slot.values.iter().map(|value| value.value.as_str()).collect())
        }
        Subject::Pair(parts) => {
            parts.iter().any(|part| says(&part.text, part.value.as_deref().into_iter().collect()))
        }
    }
}

/// Whether a text contains another one as whole words. Punctuation alone does not count.
fn holds(text: &str, words: &str) -> bool {
    let words = words.trim();
    let inside = |letter: Option<char>| letter.is_some_and(char::is_alphanumeric);
    let cut = |outer: Option<char>, inner: Option<char>| inside(outer) && inside(inner);
    words.contains(char::is_alphanumeric)
        && text.match_indices(words).any(|(at, _)| {
            let (before, after) =
                (text[..at].chars().next_back(), text[at + words.len()..].chars().next());
            let is_cut = cut(before, words.chars().next()) || cut(after, words.chars().next_back());
            !is_cut
        })
}

/// System and user messages of some rows, joined by line breaks.
fn texts(dataset: &Dataset) -> Vec<String> {
    let rows = dataset.rows.iter().take(COMPARED);
    rows.map(|row| {
        let said = row.messages.iter().filter(|message| message.role != Role::Assistant);
        said.map(|message| message.content.as_str()).collect::<Vec<_>>().join("\n")
    })
    .collect()
}
