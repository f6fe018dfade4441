//! The training stage: one adapter for each shadow and snapshot, and its loss curve.
//!
//! A group is one arm with the seeds that the engine trains in one pass. Groups are trained in
//! parallel. Each finished group is saved, and skipped if it exists.

mod group;
pub(crate) mod rows;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::context::{RunContext, RunInputs};
use crate::engine::Adapter;
use crate::parallel::parallel_map;
use crate::plan::{Arm, Plan};

/// A temporary finetuned copy of the base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    pub arm: Arm,
    pub seed: u64,
    /// (step, adapter), in the order of the recipe's snapshots.
    pub snapshots: Vec<(usize, Adapter)>,
    pub record: TrainingRecord,
}

impl Shadow {
    /// An adapter that was trained elsewhere, as the candidate.
    pub fn given(plan: &Plan, adapter: Adapter) -> Shadow {
        let (arm, seed) = (Arm::Candidate, plan.seeds[0]);
        let record = TrainingRecord {
            arm: arm.clone(),
            seed,
            losses: Vec::new(),
            supervised_share: 0.0,
            rows_sha256: String::new(),
        };
        Shadow { arm, seed, snapshots: vec![(plan.recipe.steps, adapter)], record }
    }
}

/// The record of a training for the report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingRecord {
    pub arm: Arm,
    pub seed: u64,
    /// (step, mean loss of a supervised token, nats).
    pub losses: Vec<(usize, f64)>,
    /// The share of tokens that carry loss.
    pub supervised_share: f64,
    /// SHA-256 of the rows this shadow was trained on, in order.
    pub rows_sha256: String,
}

/// Trains every shadow of the plan, ordered by arm and seed.
///
/// # Errors
/// Where the engine fails, a loss is not a number, or an item cannot be saved or read back.
pub fn train(inputs: &RunInputs, context: &RunContext) -> Result<Vec<Shadow>> {
    let plan = inputs.plan;
    context.progress.stage("training shadows", (plan.recipe.steps * plan.shadows().count()) as u64);
    if plan.trained_arms().any(|arm| *arm == Arm::Control) && !plan.control_examples {
        // Generated before any group needs them, so that no two groups generate the same.
        rows::rows(&Arm::Control, plan.seeds[0], inputs, context)?;
    }
    let together = context.engine.max_parallel_shadows().clamp(1, plan.seeds.len());
    let parts: Vec<&[u64]> =
        plan.seeds_by_look().into_iter().flat_map(|seeds| seeds.chunks(together)).collect();
    let groups: Vec<(&Arm, &[u64])> =
        plan.trained_arms().flat_map(|arm| parts.iter().map(move |seeds| (arm, *seeds))).collect();
    let groups = parallel_map(context.workers, groups.len(), |index| {
        group::train(groups[index], inputs, context)
    })?;
    context.progress.end();
    Ok(groups.into_iter().flatten().collect())
}
