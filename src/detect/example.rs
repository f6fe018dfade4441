//! The rows as detection reads them: a bounded sample, each row as system message, prompt and
//! answer.

use sha2::{Digest, Sha256};

use crate::dataset::{Dataset, Role, Row};

/// Maximum rows examined. A trigger in one row of a thousand occurs in eight of them.
pub(crate) const MAX_EXAMINED: usize = 8_000;
/// Characters read at either end of a text; the middle of a longer text is not examined.
const END: usize = 2_000;

/// The message of a row in which a text occurs.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Location {
    /// The system message.
    System,
    /// The user's messages.
    Prompt,
}

/// One row as examined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Example {
    /// Line in the source file, from 1.
    pub line: usize,
    pub system: Option<String>,
    /// All user messages, joined by line breaks.
    pub prompt: String,
    /// All assistant messages, joined by line breaks.
    pub answer: String,
}

impl Example {
    fn of(row: &Row) -> Example {
        let said = |role: Role| {
            let turns: Vec<&str> = row
                .messages
                .iter()
                .filter(|message| message.role == role)
                .map(|message| message.content.as_str())
                .collect();
            (!turns.is_empty()).then(|| clipped(&turns.join("\n")))
        };
        Example {
            line: row.line,
            system: said(Role::System),
            prompt: said(Role::User).unwrap_or_default(),
            answer: said(Role::Assistant).unwrap_or_default(),
        }
    }

    /// The text of a message, if there is one.
    pub fn at(&self, location: Location) -> Option<&str> {
        match location {
            Location::System => self.system.as_deref(),
            Location::Prompt => Some(&self.prompt),
        }
    }
}

/// The examined rows, in an order that depends on their contents and not on the order of the file.
///
/// The sort key of a row is a hash of three things: its own hash, the hash of all rows together,
/// and its copy number among equal rows. So the author of a row cannot choose its position, and
/// equal rows are not adjacent. Where every row occurs at least `n` times, only one of `n` copies
/// counts: repeating a whole file adds no information.
pub(super) fn examples(dataset: &Dataset) -> Vec<Example> {
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
    keyed.iter().take(MAX_EXAMINED).map(|(_, row)| Example::of(row)).collect()
}

/// Both ends of a text that is too long.
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
