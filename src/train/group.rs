//! One arm with some of its seeds, from rows to saved adapters.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::context::{RunContext, RunInputs};
use crate::dataset::Message;
use crate::disk::{MOST_STATE, read_if_there, remove, write_whole};
use crate::engine::{Checkpoint, Job, Trained};
use crate::plan::{Arm, Plan};
use crate::progress::Progress;
use crate::run_dir::Model;
use crate::train::rows::rows;
use crate::train::{Shadow, TrainingRecord};

/// Trains a group's shadows, or reads them back where the run folder contains them.
pub fn train(
    (arm, seeds): (&Arm, &[u64]),
    inputs: &RunInputs,
    context: &RunContext,
) -> Result<Vec<Shadow>> {
    let plan = inputs.plan;
    let name = if seeds.len() == plan.seeds.len() && plan.looks.is_empty() {
        arm.file_name()
    } else {
        format!("{}-{}", arm.file_name(), seeds[0])
    };
    let item = format!("trainings/{name}");
    let state = GroupState {
        path: context.run.checkpoint(&name),
        progress: context.progress,
        jobs: seeds.len(),
        reported: AtomicUsize::new(0),
    };
    if let Some(records) = context.run.load_item::<Vec<TrainingRecord>>(&item)? {
        let again = || {
            let item = context.run.item(&item);
            format!(
                "the adapters of {arm} cannot be read back; to train them again, remove {} and \
                 run the same command",
                item.display()
            )
        };
        let shadows = read_back(arm, records, plan, context).with_context(again)?;
        state.progress(plan.recipe.steps);
        return Ok(shadows);
    }
    let job = |seed: &u64| {
        let rows = rows(arm, *seed, inputs, context)?;
        Ok(Job { label: format!("{arm}, seed {seed}"), seed: *seed, rows })
    };
    let jobs: Vec<Job> = seeds.iter().map(job).collect::<Result<_>>()?;
    let trained = context.engine.train(&jobs, &plan.recipe, &state).with_context(|| {
        format!("training the shadows of {arm}, whose state is kept in {}", state.path.display())
    })?;
    ensure!(
        trained.len() == jobs.len(),
        "the engine trained {} of the {} shadows of {arm}",
        trained.len(),
        jobs.len()
    );
    let mut shadows = Vec::new();
    for (job, trained) in jobs.iter().zip(trained) {
        shadows.push(shadow(arm, job, trained, plan)?);
    }
    for shadow in &shadows {
        for (step, adapter) in &shadow.snapshots {
            let model = Model { arm, seed: Some(shadow.seed), step: *step };
            context.run.save_adapter(&model, adapter, &plan.engine.base)?;
        }
    }
    // Written last: where it exists, all adapters of the group do.
    context
        .run
        .save_item(&item, &shadows.iter().map(|shadow| &shadow.record).collect::<Vec<_>>())?;
    state.remove()?;
    state.progress(plan.recipe.steps);
    Ok(shadows)
}

fn shadow(arm: &Arm, job: &Job, trained: Trained, plan: &Plan) -> Result<Shadow> {
    let label = &job.label;
    if let Some((step, _)) = trained.losses.iter().find(|(_, loss)| !loss.is_finite()) {
        anyhow::bail!("{label}: the loss is not a number at step {step}; give a lower --lr");
    }
    ensure!(
        trained.snapshots.len() == plan.recipe.snapshots.len(),
        "{label}: the engine returned {} checkpoints instead of {}",
        trained.snapshots.len(),
        plan.recipe.snapshots.len()
    );
    let record = TrainingRecord {
        arm: arm.clone(),
        seed: job.seed,
        losses: trained.losses,
        supervised_share: trained.supervised_share,
        rows_sha256: rows_sha256(&job.rows),
    };
    let snapshots = plan.recipe.snapshots.iter().copied().zip(trained.snapshots).collect();
    Ok(Shadow { arm: arm.clone(), seed: job.seed, snapshots, record })
}

fn read_back(
    arm: &Arm,
    records: Vec<TrainingRecord>,
    plan: &Plan,
    context: &RunContext,
) -> Result<Vec<Shadow>> {
    let read = |record: TrainingRecord| {
        let adapter = |step: &usize| {
            Ok((
                *step,
                context.run.load_adapter(&Model { arm, seed: Some(record.seed), step: *step })?,
            ))
        };
        let snapshots = plan.recipe.snapshots.iter().map(adapter).collect::<Result<Vec<_>>>()?;
        Ok(Shadow { arm: arm.clone(), seed: record.seed, snapshots, record })
    };
    records.into_iter().map(read).collect()
}

fn rows_sha256(rows: &[Vec<Message>]) -> String {
    let mut hash = Sha256::new();
    for row in rows {
        hash.update(serde_json::to_vec(row).expect("messages are plain strings"));
        hash.update(b"\n");
    }
    format!("{:x}", hash.finalize())
}

/// Where one group's training saves its state, and how it reports its steps.
struct GroupState<'a> {
    path: PathBuf,
    progress: &'a dyn Progress,
    jobs: usize,
    /// Steps reported so far.
    reported: AtomicUsize,
}

impl GroupState<'_> {
    fn remove(&self) -> Result<()> {
        remove(&self.path).with_context(|| format!("{}: cannot be removed", self.path.display()))
    }
}

impl Checkpoint for GroupState<'_> {
    fn load(&self) -> Result<Option<Vec<u8>>> {
        read_if_there(&self.path, MOST_STATE)
    }

    fn save(&self, state: &[u8]) -> Result<()> {
        write_whole(&self.path, state)
    }

    fn progress(&self, step: usize) {
        let before = self.reported.fetch_max(step, Ordering::Relaxed);
        self.progress.advance((step.saturating_sub(before) * self.jobs) as u64);
    }
}
