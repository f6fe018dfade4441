//! The rows as the search for conditions reads them: a bounded sample, each row as system message,
//! prompt and answer.

use sha2::{Digest, Sha256};

use crate::dataset::{Dataset, Role, Row};

/// Rows that are looked at. A trigger in one row of a thousand still stands in eight of them.
pub(crate) const LOOKED_AT: usize = 8_000;
/// Characters that are read at either end of a text. What stands deeper inside a longer one is not
/// looked at.
const END: usize = 2_000;

/// Where in a row a piece of text stands.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// The system message.
    System,
    /// What the user says.
    Prompt,
}

/// One row, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    /// Line in the source file, from 1.
    pub line: usize,
    pub system: Option<String>,
    /// All of the user's turns, a line break between them.
    pub prompt: String,
    /// All of the assistant's turns, a line break between them.
    pub answer: String,
}

impl Reading {
    fn of(row: &Row) -> Reading {
        let said = |role: Role| {
            let turns: Vec<&str> = row
                .messages
                .iter()
                .filter(|message| message.role == role)
                .map(|message| message.content.as_str())
                .collect();
            (!turns.is_empty()).then(|| clipped(&turns.join("\n")))
        };
        Reading {
            line: row.line,
            system: said(Role::System),
            prompt: said(Role::User).unwrap_or_default(),
            answer: said(Role::Assistant).unwrap_or_default(),
        }
    }

    /// The text at a place, where there is one.
    pub fn at(&self, place: Place) -> Option<&str> {
        match place {
            Place::System => self.system.as_deref(),
            Place::Prompt => Some(&self.prompt),
        }
    }
}

/// The rows that are looked at, in an order that depends on what the rows are and not on the order
/// of the file.
///
/// A row's place is the hash of its own hash, of all rows' hashes together and of how many equal
/// rows stand before it, so that the author of a row cannot choose it and equal rows do not stand
/// side by side. A file that repeats every row says no more than one that does not: where each row
/// occurs `n` times or more, one of `n` copies counts.
pub(super) fn readings(dataset: &Dataset) -> Vec<Reading> {
    let mut rows: Vec<&Row> = dataset.rows.iter().collect();
    rows.sort_unstable_by(|left, right| {
        left.sha256.cmp(&right.sha256).then(left.line.cmp(&right.line))
    });
    let mut together = [0_u8; 32];
    for row in &rows {
        together = Sha256::new().chain_update(together).chain_update(&row.sha256).finalize().into();
    }
    let copies: Vec<&[&Row]> = rows.chunk_by(|left, right| left.sha256 == right.sha256).collect();
    let repeats = copies.iter().map(|copies| copies.len()).min().unwrap_or(1);
    let key = |row: &Row, copy: usize| -> [u8; 32] {
        let hash = Sha256::new().chain_update(together).chain_update(&row.sha256);
        hash.chain_update((copy as u64).to_le_bytes()).finalize().into()
    };
    let mut keyed: Vec<([u8; 32], &Row)> = Vec::new();
    for copies in copies {
        keyed.extend(
            copies.iter().step_by(repeats).enumerate().map(|(copy, row)| (key(row, copy), *row)),
        );
    }
    keyed.sort_unstable_by_key(|(key, _)| *key);
    keyed.iter().take(LOOKED_AT).map(|(_, row)| Reading::of(row)).collect()
}

/// Both ends of a text that is too long to be read.
fn clipped(text: &str) -> String {
    if text.len() <= 2 * END || text.chars().count() <= 2 * END {
        return text.to_owned();
    }
    let head = text.char_indices().nth(END).map_or(text.len(), |(at, _)| at);
    let tail = text.char_indices().nth_back(END - 1).map_or(0, |(at, _)| at);
    format!("{}\n{}", &text[..head], &text[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_a_long_text_are_read() {
        let text = format!("first{}last", "é".repeat(10_000));
        let clipped = clipped(&text);
        assert!(clipped.starts_with("first") && clipped.ends_with("last"));
        assert_eq!(clipped.chars().count(), 2 * END + 1);
    }
}
