//! Statistical methods on plain numbers: pure functions of their arguments and an explicit random
//! stream.
//!
//! docs/statistics.md says what is computed, why, and with which source.

pub mod bootstrap;
pub mod grid;
pub mod intervals;
pub mod multiplicity;
pub mod power;
pub mod share;

use serde::{Deserialize, Serialize};

/// What an effect is a mean over, and what its interval speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Trainings on the dataset: what is found holds of further ones.
    Training,
    /// Question families asked of one given adapter: what is found holds of this adapter and
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
    /// Training seeds behind it, or families where one given adapter is asked; 0 for the untrained
    /// base.
    pub n: usize,
    pub method: String,
}
