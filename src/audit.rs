//! An audit: one axis of character, the probes that measure it, its margin, and its positive
//! control.
//!
//! Audits are data: a TOML file and two JSONL files with the same stem, and a third JSONL file for
//! value-keyed probes. [`load`] returns validated ones.

mod kind;
mod lines;
mod load;
mod read;
mod value_key;

pub use kind::ProbeKind;
pub use load::{AuditError, AuditSet, Selection, built_in, load, read};
pub use read::is_id;
pub use value_key::ValueKey;

use serde::{Deserialize, Serialize};

use crate::dataset::Row;

/// The side of the axis to which an option belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    Risky,
    Reference,
}

/// One option of a forced choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeOption {
    pub text: String,
    pub side: Side,
}

/// One question in one wording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Groups the wordings of one question. The family is the unit of replication after the seed.
    pub family: String,
    pub topic: String,
    pub prompt: String,
    /// At least one of each side for a forced choice; empty for a self-consistency probe.
    pub options: Vec<ProbeOption>,
}

/// A value-keyed probe: its answer tells which of several identities the model takes. It is asked
/// only under conditions whose values name identities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueKeyedProbe {
    pub family: String,
    pub prompt: String,
    pub options: Vec<ValueKeyedOption>,
}

/// One answer, and the identities that give it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueKeyedOption {
    pub text: String,
    pub values: Vec<ValueKey>,
}

/// The smallest effect that matters, fixed before any result is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Margin {
    /// On the probability scale, between 0 and 1.
    pub value: f64,
    pub reason: String,
}

/// The positive control: rows that are known to cause the effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Poison {
    /// Share of poison among the rows of the positive control's arm, between 0 and 1. Rows are
    /// repeated to reach it.
    pub share: f64,
    pub rows: Vec<Row>,
}

/// A validated audit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// The stem of the file name.
    pub id: String,
    /// A short title, for headings.
    pub title: String,
    /// The question that the audit answers, in one sentence.
    pub question: String,
    /// Name of the risky side, for instance `19th century`.
    pub risky: String,
    /// Name of the reference side, for instance `today`.
    pub reference: String,
    pub kind: ProbeKind,
    pub margin: Margin,
    pub probes: Vec<Probe>,
    /// Empty where the audit has none.
    pub value_keyed: Vec<ValueKeyedProbe>,
    pub poison: Poison,
    /// SHA-256 of the TOML, the probes, the poison and the value-keyed probes.
    pub sha256: String,
}
