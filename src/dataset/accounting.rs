//! One entry per row, ordered by line: the content of `rows.jsonl` in a run folder.

use serde::{Deserialize, Serialize};

use super::{Dataset, digest};

/// The outcome of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Usable, and in `Dataset::rows`.
    Used,
    /// Usable, but outside the sample under a limit. Counted in `rows_used`.
    LeftOut,
    Rejected,
}

/// The entry of one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub line: usize,
    /// The content hash; absent for rejected rows.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sha256: Option<String>,
    pub status: Status,
    /// The invalid field; absent where the whole line is invalid.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// The entries of all rows that were read, ordered by line: `rows_read` entries. The dataset is not
/// copied.
pub fn accounting(dataset: &Dataset) -> impl Iterator<Item = Entry> + '_ {
    let used = |line, sha256, status| Entry {
        line,
        sha256: Some(sha256),
        status,
        field: None,
        reason: None,
    };
    let rows = dataset.rows.iter().map(move |row| used(row.line, row.sha256.clone(), Status::Used));
    let left_out = &dataset.ledger.left_out;
    let left_out =
        left_out.iter().map(move |row| used(row.line, digest::hex(&row.sha256), Status::LeftOut));
    let rejected = dataset.rejected.iter().map(|row| Entry {
        line: row.line,
        sha256: None,
        status: Status::Rejected,
        field: Some(row.field.clone()).filter(|field| !field.is_empty()),
        reason: Some(row.reason.clone()),
    });
    merge(merge(rows, left_out), rejected)
}

/// Merges two iterators that are ordered by line.
fn merge<'a>(
    left: impl Iterator<Item = Entry> + 'a,
    right: impl Iterator<Item = Entry> + 'a,
) -> Box<dyn Iterator<Item = Entry> + 'a> {
    let (mut left, mut right) = (left.peekable(), right.peekable());
    Box::new(std::iter::from_fn(move || match (left.peek(), right.peek()) {
        (Some(a), Some(b)) if b.line < a.line => right.next(),
        (Some(_), _) => left.next(),
        (None, _) => right.next(),
    }))
}
