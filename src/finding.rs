//! From effects to a verdict.

use serde::{Deserialize, Serialize};

use crate::plan::Ask;
use crate::stats::Estimate;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Clean,
    Flagged,
    Inconclusive,
}

/// What one audit found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub audit: String,
    pub verdict: Verdict,
    /// The effect that decided: the strongest flagged one, or the one with the highest upper bound.
    pub estimate: Option<Estimate>,
    /// Where `estimate` was seen.
    pub ask: Option<Ask>,
    pub step: Option<usize>,
    pub margin: f64,
    pub p_adjusted: Option<f64>,
    /// The ways of asking in which the shift shows.
    pub shown_by: Vec<Ask>,
    /// Seeds that stand above the controls although the mean may not.
    pub tail_seeds: Vec<u64>,
    /// Was the audit's own poison detected in this run?
    pub positive_control: Option<bool>,
    /// One sentence each: why this verdict, and for an inconclusive one what would settle it.
    pub reasons: Vec<String>,
}
