//! The stage that trains: one adapter a shadow and snapshot, and its loss curve.
//!
//! A group is one arm with all its seeds. Groups train side by side; each finished one is saved and skipped when it is there.

mod group;
pub(crate) mod rows;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::engine::Adapter;
use crate::plan::{Arm, Plan};
use crate::workshop::{Task, Workshop, side_by_side};

pub use rows::CONTROL_TEMPERATURE;

/// A trained throw-away copy of the base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    pub arm: Arm,
    pub seed: u64,
    /// (step, adapter), in the order of the recipe's snapshots.
    pub snapshots: Vec<(usize, Adapter)>,
    pub record: TrainingRecord,
}

impl Shadow {
    /// An adapter that was trained elsewhere, in the candidate's place.
    pub fn given(plan: &Plan, adapter: Adapter) -> Shadow {
        let (arm, seed) = (Arm::Candidate, plan.seeds[0]);
        let record =
            TrainingRecord { arm: arm.clone(), seed, losses: Vec::new(), supervised_share: 0.0, rows_sha256: String::new() };
        Shadow { arm, seed, snapshots: vec![(plan.recipe.steps, adapter)], record }
    }
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

/// Trains every shadow of the plan: arm by arm, seed by seed.
///
/// # Errors
/// Where the engine fails, a loss is not a number, or an item cannot be saved or read back.
pub fn train(task: &Task, workshop: &Workshop) -> Result<Vec<Shadow>> {
    let arms: Vec<&Arm> = task.plan.trained_arms().collect();
    workshop.progress.stage("training shadows", (task.plan.recipe.steps * task.plan.cost.shadows) as u64);
    let groups = side_by_side(workshop.workers, arms.len(), |index| group::train(arms[index], task, workshop))?;
    workshop.progress.end();
    Ok(groups.into_iter().flatten().collect())
}
