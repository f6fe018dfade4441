//! A candidate finetuning dataset, read row by row and accounted for: read = used + rejected.

use serde::{Deserialize, Serialize};

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
    /// Line in the source file, counted from 1 (record number in tabular files).
    pub line: usize,
    /// SHA-256 of the row's messages in canonical form, in hex: the row's identity through everything.
    pub sha256: String,
    pub messages: Vec<Message>,
}

/// One row that was not used, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    pub line: usize,
    /// The field at fault, for instance `messages[2].content`; empty where the whole line is at fault.
    pub field: String,
    /// What is wrong and what to do, in one sentence.
    pub reason: String,
}

/// A dataset as the later stages see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dataset {
    /// The path as the user gave it, for display only.
    pub source: String,
    /// The name of the format that was found or given, for instance `messages`.
    pub format: String,
    /// SHA-256 of the file's bytes, in hex.
    pub sha256: String,
    /// All rows that were read; always `rows_used + rejected.len()`.
    pub rows_read: usize,
    /// Rows that passed every check. `rows` holds all of them unless a limit kept a sample.
    pub rows_used: usize,
    pub rows: Vec<Row>,
    pub rejected: Vec<Rejection>,
}
