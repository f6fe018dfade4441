//! Statistical methods on plain numbers: pure functions of their arguments.
//!
//! docs/statistics.md describes what is computed, why, and from which source.

pub mod grid;
pub mod intervals;
pub mod multiplicity;
pub mod power;
pub mod share;

use serde::{Deserialize, Serialize};

/// What an effect is a mean over, and what its interval generalizes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Trainings on the dataset: the result generalizes to further trainings.
    Training,
    /// Question families of one given adapter: the result holds for this adapter and generalizes to
    /// further questions.
    Family,
}

/// A number with its uncertainty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    pub point: f64,
    pub lower: f64,
    pub upper: f64,
    /// Two-sided confidence level of the interval, for instance 0.9: its ends are one-sided 95 %
    /// bounds.
    pub level: f64,
    /// Number of training seeds, or of families for a given adapter; 0 for the base.
    pub n: usize,
    pub method: String,
}
