//! The stage that trains: one adapter a shadow and snapshot, and its loss curve.

use serde::{Deserialize, Serialize};

use crate::engine::Adapter;
use crate::plan::Arm;

/// A trained throw-away copy of the base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    pub arm: Arm,
    pub seed: u64,
    /// (step, adapter), in the order of the recipe's snapshots.
    pub snapshots: Vec<(usize, Adapter)>,
    pub record: TrainingRecord,
}

/// What the report keeps of a training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingRecord {
    pub arm: Arm,
    pub seed: u64,
    /// (step, mean loss of a supervised token, nats).
    pub losses: Vec<(usize, f64)>,
    /// The share of tokens that carried loss.
    pub supervised_share: f64,
    /// SHA-256 of the rows this shadow was trained on, in order.
    pub rows_sha256: String,
}
