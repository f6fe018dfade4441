//! Reads a candidate finetuning dataset row by row and accounts for every row: read = used +
//! rejected.
//!
//! ```text
//! path -> container (lines, array, csv, parquet) -> record -> strict JSON -> format
//!      -> conversation -> Row or Rejection
//! ```
//!
//! The dataset is untrusted text. Every row has size limits, and nothing in it is used as a path or
//! as code. Memory is bounded by [`ReadOptions`] for files of any size. Usable rows that exceed the
//! limits are sampled (see [`Ledger`]).

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

/// The author of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    User,
    Assistant,
}

impl Role {
    /// The name as used by chat templates.
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
    /// Line in the source file on which the row starts, counted from 1; record number in parquet
    /// files. Rows of an array may share a line. A rejection then also names the row's index in the
    /// file.
    pub line: usize,
    /// SHA-256 of the row's messages in canonical form, in hex. It identifies the row in all later
    /// stages.
    pub sha256: String,
    pub messages: Vec<Message>,
}

/// A row that was not used, and the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    pub line: usize,
    /// The invalid field, for instance `messages[2].content`; empty where the whole line is
    /// invalid.
    pub field: String,
    /// The problem and its remedy, in one sentence.
    pub reason: String,
}

impl Rejection {
    /// The rejection as one line: `source:line: field: reason`. It contains text from the dataset
    /// and must be escaped before printing.
    pub fn message(&self, source: &str) -> String {
        let field = if self.field.is_empty() { String::new() } else { format!(" {}:", self.field) };
        format!("{source}:{}:{field} {}", self.line, self.reason)
    }
}

/// A dataset as used by the later stages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dataset {
    /// The path as the user gave it, for display only.
    pub source: String,
    /// The name of the detected or given format, for instance `messages`.
    pub format: String,
    /// SHA-256 of the file's bytes, in hex. For a folder, of its lines `name sha256`, ordered by
    /// name.
    pub sha256: String,
    /// All rows that were read; always `rows_used + rejected.len()`.
    pub rows_read: usize,
    /// Rows that passed every check; always `rows.len() + ledger.left_out.len()`.
    pub rows_used: usize,
    /// The usable rows, or a sample of them where a limit applies, ordered by line.
    pub rows: Vec<Row>,
    pub rejected: Vec<Rejection>,
    /// Rows and fields that are not part of `rows`.
    #[serde(default)]
    pub ledger: Ledger,
}

impl Dataset {
    /// A dataset without a file: every conversation is a row, in order.
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

/// What was read but is not part of `rows`, so that nothing is dropped silently.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Usable rows outside the sample, ordered by line. The sample consists of the rows with the
    /// smallest keys. A key is a hash of the file's hash, the seed, the row's content hash and its
    /// position. So the sample is reproducible, and a row's author cannot influence it.
    pub left_out: Vec<LeftOut>,
    /// Lines of white space only. They are not rows.
    pub blank_lines: usize,
    /// Non-empty fields that the format does not use, with their number of rows.
    pub unread_fields: BTreeMap<String, usize>,
}

/// A usable row that is not in the sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    pub line: usize,
    /// The content hash as bytes: 40 bytes per row instead of 88.
    pub sha256: [u8; 32],
}

/// Options and limits for reading a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOptions {
    /// `None` detects the format from the first row that has one.
    pub format: Option<Format>,
    /// Maximum usable rows kept in `rows`.
    pub limit: Option<usize>,
    /// Seed of the sample under a limit, combined with the file's hash.
    pub seed: u64,
    /// Maximum bytes of usable rows kept in `rows`, including overhead.
    pub max_kept_bytes: usize,
    /// Longer rows are rejected without being held in memory.
    pub max_row_bytes: usize,
    /// JSON nested deeper than this is rejected; at most 100.
    pub max_depth: usize,
    /// Maximum rows; more are an error. Each costs 40 bytes or more.
    pub max_rows: usize,
    /// Maximum rejections; more are an error, since such a file needs repair.
    pub max_rejected: usize,
    /// Maximum decompressed bytes; more are an error.
    pub max_bytes: u64,
}

impl Default for ReadOptions {
    fn default() -> Self {
        ReadOptions {
            format: None,
            limit: None,
            seed: 1,
            max_kept_bytes: 256 << 20,
            // Far above any context window used for training.
            max_row_bytes: 1 << 20,
            // A row of messages with content parts needs 5.
            max_depth: 32,
            max_rows: 10_000_000,
            max_rejected: 100_000,
            max_bytes: 64 << 30,
        }
    }
}

/// Why a base cannot use a row; `None` where it can. An error ends the reading.
pub type RowRejection<'a> = dyn Fn(&[Message]) -> anyhow::Result<Option<String>> + 'a;

/// Reads a dataset: `.jsonl`, `.json`, `.csv` (each also as `.gz` or `.zst`), `.parquet`, or a
/// folder of parquet shards.
///
/// The file is read twice, first for its hash and then for its rows. It is never held in memory as
/// a whole.
///
/// # Errors
/// Where the file as a whole cannot be used. Invalid rows are rejections in the result, even if no
/// row is usable.
pub fn read(path: &Path, options: &ReadOptions) -> Result<Dataset, DatasetError> {
    read_for(path, options, &|_| Ok(None))
}

/// Whether there is something to read at this path, in microseconds: for an error before a base is
/// loaded.
///
/// # Errors
/// As [`read`], where there is no such file or the folder cannot be read.
pub fn locate(path: &Path) -> Result<(), DatasetError> {
    container::shards(path).map(|_| ())
}

/// As [`read`], for a base: rows that it cannot use are rejected before a limit takes a sample. So
/// their number does not depend on the limit.
///
/// # Errors
/// As [`read`], and where the base fails.
pub fn read_for(
    path: &Path,
    options: &ReadOptions,
    rejection: &RowRejection<'_>,
) -> Result<Dataset, DatasetError> {
    let shards = container::shards(path)?;
    let sha256 = digest::source_hash(path, &shards)?;
    let mut collector = collect::Collector::new(path, sha256, options, rejection);
    for shard in &shards {
        container::read(shard, options, &mut collector)?;
    }
    collector.finish()
}
