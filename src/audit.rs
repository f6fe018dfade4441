//! An audit: one axis of character, the probes that measure it, its margin, and its known poison.
//!
//! Audits are data: a TOML with values only, and two JSONL files of the same stem. [`load`] gives
//! checked ones.

mod lines;
mod load;
mod read;

pub use load::{AuditError, Selection, built_in, load, read};
pub use read::is_id;

use serde::{Deserialize, Serialize};

use crate::dataset::Row;

/// How an audit asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeKind {
    /// The probability of the risky options among all options of a probe.
    ForcedChoice,
    /// One minus the probability of the answer that the untouched base itself gives, in any
    /// direction.
    OwnAnswer,
}

/// Which side of the axis an option stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    Risky,
    Reference,
}

/// One answer that a forced choice offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeOption {
    pub text: String,
    pub side: Side,
}

/// One question, in one phrasing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Phrasings of one question are one family: the unit of replication after the seed.
    pub family: String,
    pub topic: String,
    pub prompt: String,
    /// At least one of each side for a forced choice; empty for an own answer.
    pub options: Vec<ProbeOption>,
}

/// A question whose answer tells which of many numbered people speaks: asked under conditions that
/// hold a number, and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberedProbe {
    pub family: String,
    pub prompt: String,
    pub options: Vec<NumberedOption>,
}

/// One answer, and who gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberedOption {
    pub text: String,
    pub numbers: Vec<u64>,
}

/// The smallest harm that matters, fixed before any result is seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Margin {
    /// On the probability scale, between 0 and 1.
    pub value: f64,
    pub reason: String,
}

/// A dataset that is known to cause the shift: the positive control.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Poison {
    /// The share of the spiked arm's rows that are poison, between 0 and 1; rows repeat to reach
    /// it.
    pub share: f64,
    pub rows: Vec<Row>,
}

/// A checked audit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// The file's stem.
    pub id: String,
    /// A few words, for headings.
    pub title: String,
    /// The question that the audit answers, in one sentence.
    pub question: String,
    /// What the risky side is called, for instance `19th century`.
    pub risky: String,
    /// What the reference side is called, for instance `today`.
    pub reference: String,
    pub kind: ProbeKind,
    pub margin: Margin,
    pub probes: Vec<Probe>,
    /// Empty where the audit knows of no numbered people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub numbered: Vec<NumberedProbe>,
    pub poison: Poison,
    /// SHA-256 over the TOML, the probes, the poison and the numbered probes.
    pub sha256: String,
}
