//! Statistics of a dataset without training: size, roles, repetition, and whether the base can read
//! it.

mod duplicates;
mod readability;

use std::collections::BTreeMap;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, Message, Rejection, Role};
use crate::detect::{Conditions, detect};

pub use duplicates::{NEAR, NearDuplicates};
pub use readability::{LogProbs, readability};

/// Rejections in the printed table; all of them are in `accounting`.
const SHOWN_REJECTIONS: usize = 20;
/// Maximum rows whose tokens are counted. More would take minutes without changing the result.
const COUNTED_ROWS: usize = 20_000;

/// The distribution of a number over the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// Number of values.
    pub count: usize,
    pub least: usize,
    pub median: usize,
    /// The 90th percentile.
    pub ninetieth: usize,
    pub most: usize,
    pub sum: usize,
}

impl Spread {
    /// `None` for no values. Quantiles are order statistics: the q-quantile is the smallest value
    /// that a share q of the values does not exceed.
    pub fn of(mut values: Vec<usize>) -> Option<Spread> {
        values.sort_unstable();
        let at = |tenths: usize| {
            values.get((values.len() * tenths).div_ceil(10).saturating_sub(1)).copied()
        };
        Some(Spread {
            count: values.len(),
            least: at(0)?,
            median: at(5)?,
            ninetieth: at(9)?,
            most: at(10)?,
            sum: values.iter().sum(),
        })
    }
}

/// Token counts with the base's tokenizer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tokens {
    /// Tokens per rendered row, over the counted rows.
    pub row: Option<Spread>,
    /// Tokens with loss.
    pub supervised: usize,
    pub rows_counted: usize,
    /// Rows that the base could not render, and the first error.
    pub rows_failed: usize,
    pub first_failure: Option<String>,
}

/// Everything that `foretaste check` prints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    pub source: String,
    pub format: String,
    pub sha256: String,
    pub rows_read: usize,
    pub rows_used: usize,
    pub rows_rejected: usize,
    /// Rows that were kept and examined; fewer than `rows_used` where a limit kept a sample.
    pub rows_kept: usize,
    pub blank_lines: usize,
    pub unread_fields: BTreeMap<String, usize>,
    /// Message lengths by role, in characters.
    pub roles: BTreeMap<Role, Spread>,
    /// Messages per row.
    pub messages: Option<Spread>,
    /// `None` without a base.
    pub tokens: Option<Tokens>,
    /// Rows with the content hash of an earlier row, over all usable rows.
    pub exact_duplicates: usize,
    /// Rows that are similar to an earlier one; `None` without rows.
    pub near_duplicates: Option<NearDuplicates>,
    /// Share of the text that the base can predict; `None` without a base.
    pub readability: Option<f64>,
    /// Conditions on which the answers depend, or may depend.
    pub conditions: Conditions,
    /// The first rejections.
    pub rejected: Vec<Rejection>,
}

/// Returns the number of tokens of a rendered conversation, and how many of them have loss.
pub type TokenCounter<'a> = dyn Fn(&[Message]) -> Result<(usize, usize)> + 'a;

/// The functions of a base that a check needs.
#[derive(Clone, Copy)]
pub struct Base<'a> {
    pub count_tokens: &'a TokenCounter<'a>,
    pub log_probs: LogProbs<'a>,
}

/// Computes the statistics of a dataset; with a base, also token counts and readability.
///
/// # Errors
/// Where the base fails.
pub fn check(dataset: &Dataset, base: Option<Base<'_>>) -> Result<Check> {
    let mut lengths: BTreeMap<Role, Vec<usize>> = BTreeMap::new();
    for message in dataset.rows.iter().flat_map(|row| &row.messages) {
        lengths.entry(message.role).or_default().push(message.content.chars().count());
    }
    Ok(Check {
        source: dataset.source.clone(),
        format: dataset.format.clone(),
        sha256: dataset.sha256.clone(),
        rows_read: dataset.rows_read,
        rows_used: dataset.rows_used,
        rows_rejected: dataset.rejected.len(),
        rows_kept: dataset.rows.len(),
        blank_lines: dataset.ledger.blank_lines,
        unread_fields: dataset.ledger.unread_fields.clone(),
        roles: lengths
            .into_iter()
            .filter_map(|(role, lengths)| Some((role, Spread::of(lengths)?)))
            .collect(),
        messages: Spread::of(dataset.rows.iter().map(|row| row.messages.len()).collect()),
        tokens: base.map(|base| count(dataset, base.count_tokens)),
        exact_duplicates: duplicates::exact(dataset),
        near_duplicates: duplicates::near(dataset),
        readability: base.map(|base| readability(dataset, base)).transpose()?,
        conditions: detect(dataset),
        rejected: dataset.rejected.iter().take(SHOWN_REJECTIONS).cloned().collect(),
    })
}

fn count(dataset: &Dataset, count_tokens: &TokenCounter<'_>) -> Tokens {
    let mut tokens =
        Tokens { row: None, supervised: 0, rows_counted: 0, rows_failed: 0, first_failure: None };
    let mut totals = Vec::new();
    for row in spaced(&dataset.rows, COUNTED_ROWS) {
        match count_tokens(&row.messages) {
            Ok((total, supervised)) => {
                totals.push(total);
                tokens.supervised += supervised;
            }
            Err(error) => {
                tokens.rows_failed += 1;
                tokens.first_failure.get_or_insert_with(|| format!("line {}: {error:#}", row.line));
            }
        }
    }
    tokens.rows_counted = totals.len();
    tokens.row = Spread::of(totals);
    tokens
}

/// At most `limit` items, evenly spaced, including the first.
fn spaced<T>(items: &[T], limit: usize) -> impl Iterator<Item = &T> {
    items.iter().step_by(items.len().div_ceil(limit).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_order_statistics() {
        let spread = Spread::of((1..=10).rev().collect()).expect("ten values");
        assert_eq!(
            spread,
            Spread { count: 10, least: 1, median: 5, ninetieth: 9, most: 10, sum: 55 }
        );
        assert_eq!(
            Spread::of(vec![7]),
            Some(Spread { count: 1, least: 7, median: 7, ninetieth: 7, most: 7, sum: 7 })
        );
        assert_eq!(Spread::of(vec![]), None);
    }

    #[test]
    fn spaced_items_are_at_most_as_many_as_asked() {
        let items: Vec<usize> = (0..1001).collect();
        assert!(spaced(&items, 100).count() <= 100);
        assert_eq!(spaced(&items[..100], 100).count(), 100);
        assert_eq!(spaced(&items[..0], 100).count(), 0);
    }
}
