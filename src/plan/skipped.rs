//! Conditions that are not tested.

use serde::{Deserialize, Serialize};

/// A condition that is not tested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    pub name: String,
    pub why: SkipReason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SkipReason {
    /// The answers depend on it, and it cannot be tested. It is wording, cannot be inserted into a
    /// probe, or has too few null conditions.
    Unfit,
    /// The answers depend on it, and it exceeds the maximum number: with it nothing is clean.
    CrowdedOut,
    /// A slot without measured dependence that exceeds the maximum number.
    Independent,
}
