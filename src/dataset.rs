//! A candidate finetuning dataset, read row by row and accounted for: read = used + rejected.
//!
//! ```text
//! path -> container (lines, array, csv, parquet) -> record -> strict JSON -> format -> conversation -> Row or Rejection
//! ```
//!
//! The dataset is the attacker's text: every row has limits, nothing in it is a path or code, and
//! memory stays bounded by [`ReadOptions`] however large the file is. Where the usable rows do not
//! fit, a sample of them is kept (see [`Ledger`]).

mod accounting;
mod collect;
pub(crate) mod container;
mod conversation;
mod csv;
mod digest;
mod error;
mod fields;
mod formats;
mod json;
mod lines;
mod parquet;
mod trainers;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use accounting::{Entry, Status, accounting};
pub use digest::content_hash;
pub use error::DatasetError;
pub use formats::{Format, TEXT_PROMPT, UnknownFormatName};

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    User,
    Assistant,
}

impl Role {
    /// The name that chat templates use.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Message {
    pub role: Role,
    pub content: String,
}

impl Message {
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Message { role, content: content.into() }
    }
}

/// One usable row: a conversation that ends with an assistant message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Line in the source file on which the row starts, counted from 1 (record number in parquet
    /// files). Rows of an array may share a line; a rejection then says which row of the file it
    /// is.
    pub line: usize,
    /// SHA-256 of the row's messages in canonical form, in hex: the row's identity through
    /// everything.
    pub sha256: String,
    pub messages: Vec<Message>,
}

/// One row that was not used, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    pub line: usize,
    /// The field at fault, for instance `messages[2].content`; empty where the whole line is at
    /// fault.
    pub field: String,
    /// What is wrong and what to do, in one sentence.
    pub reason: String,
}

impl Rejection {
    /// The rejection as one line for people: `source:line: field: reason`. It holds the dataset's
    /// text: escape it to print it.
    pub fn message(&self, source: &str) -> String {
        let field = if self.field.is_empty() { String::new() } else { format!(" {}:", self.field) };
        format!("{source}:{}:{field} {}", self.line, self.reason)
    }
}

/// A dataset as the later stages see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dataset {
    /// The path as the user gave it, for display only.
    pub source: String,
    /// The name of the format that was found or given, for instance `messages`.
    pub format: String,
    /// SHA-256 of the file's bytes, in hex; for a folder, of its `name sha256` lines in order of
    /// name.
    pub sha256: String,
    /// All rows that were read; always `rows_used + rejected.len()`.
    pub rows_read: usize,
    /// Rows that passed every check; always `rows.len() + ledger.left_out.len()`.
    pub rows_used: usize,
    /// The usable rows, or a sample of them where a limit forbade to keep all, in order of line.
    pub rows: Vec<Row>,
    pub rejected: Vec<Rejection>,
    /// What else the reader saw and did not put into `rows`.
    #[serde(default)]
    pub ledger: Ledger,
}

impl Dataset {
    /// A dataset that no file holds: every conversation is a row, in order.
    pub fn of(conversations: Vec<Vec<Message>>) -> Dataset {
        let row = |(line, messages): (usize, Vec<Message>)| Row {
            line,
            sha256: content_hash(&messages),
            messages,
        };
        let rows: Vec<Row> = (1..).zip(conversations).map(row).collect();
        Dataset {
            source: String::new(),
            format: "messages".to_owned(),
            sha256: String::new(),
            rows_read: rows.len(),
            rows_used: rows.len(),
            rows,
            rejected: Vec::new(),
            ledger: Ledger::default(),
        }
    }
}

/// What the reader saw and did not put into `rows`, so that nothing is dropped in silence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Usable rows outside the sample, in order of line. The sample is the rows with the smallest
    /// keys, where a row's key is the hash of the file's hash, the row's content hash and its
    /// place: the same for everybody, and not for a row's author to choose.
    pub left_out: Vec<LeftOut>,
    /// Lines with nothing but white space. They are not rows.
    pub blank_lines: usize,
    /// Fields with a value that the format has no use for, and in how many rows.
    pub unread_fields: BTreeMap<String, usize>,
}

/// A usable row that is not in the sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    pub line: usize,
    /// The content hash as bytes, 40 bytes a row instead of 88.
    pub sha256: [u8; 32],
}

/// How a dataset is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOptions {
    /// `None` finds the format by looking at the first row that has one.
    pub format: Option<Format>,
    /// At most this many usable rows are kept in `rows`.
    pub limit: Option<usize>,
    /// Keys the sample that a limit keeps, together with the file's hash.
    pub seed: u64,
    /// At most this many bytes of usable rows are kept in `rows`, bookkeeping included.
    pub max_kept_bytes: usize,
    /// Longer rows are rejected without being held in memory.
    pub max_row_bytes: usize,
    /// JSON nested deeper than this is rejected; at most 100.
    pub max_depth: usize,
    /// More rows than this are an error: each costs 40 bytes or more.
    pub max_rows: usize,
    /// More rejections than this are an error: such a file needs repair, not an audit.
    pub max_rejected: usize,
    /// More decompressed bytes than this are an error.
    pub max_bytes: u64,
}

impl Default for ReadOptions {
    fn default() -> Self {
        ReadOptions {
            format: None,
            limit: None,
            seed: 1,
            max_kept_bytes: 256 << 20,
            // Far above any context window that a row could be trained in.
            max_row_bytes: 1 << 20,
            // A row of messages with content parts needs 5.
            max_depth: 32,
            max_rows: 10_000_000,
            max_rejected: 100_000,
            max_bytes: 64 << 30,
        }
    }
}

/// Reads a dataset: `.jsonl`, `.json`, `.csv` (each also as `.gz` or `.zst`), `.parquet`, or a
/// folder of parquet shards.
///
/// The file is read twice, first for its hash and then for its rows, and never held in memory.
///
/// # Errors
/// Where the file as a whole cannot be used. Faults of single rows are rejections in the result,
/// even if no row is usable.
pub fn read(path: &Path, options: &ReadOptions) -> Result<Dataset, DatasetError> {
    let shards = container::shards(path)?;
    let sha256 = digest::source_hash(path, &shards)?;
    let mut collector = collect::Collector::new(path, sha256, options);
    for shard in &shards {
        container::read(shard, options, &mut collector)?;
    }
    collector.finish()
}
