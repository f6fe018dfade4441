//! What the report is made from, in the run folder: written when all is asked, read by every report.

use anyhow::{Context, Result, ensure};

use crate::audit::{Audit, is_id};
use crate::detect::Conditions;
use crate::plan::Plan;
use crate::probe::Answers;
use crate::run_dir::RunDir;
use crate::train::TrainingRecord;

const TRAININGS: &str = "trainings.jsonl";
const ANSWERS: &str = "answers.jsonl.zst";
const DRESSED: &str = "dressed.jsonl.zst";
const SHOWN: &str = "shown.jsonl";
const SAMPLES: &str = "samples.jsonl";
const CARRIED: &str = "carried.jsonl";
const HEALTH: &str = "health.jsonl";
/// What was mined of the dataset, where conditions are tried.
pub const CONDITIONS: &str = "conditions.json";

/// Everything that a report is made from, read back.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    pub plan: Plan,
    pub audits: Vec<Audit>,
    pub trainings: Vec<TrainingRecord>,
    pub answers: Answers,
    /// What was mined of the dataset; `None` where no conditions were tried.
    pub mined: Option<Conditions>,
}

impl Saved {
    /// Reads everything that the report is made from.
    ///
    /// # Errors
    /// Where the run is not finished, a file is damaged, or the plan is not the one that was run.
    pub fn read(run: &RunDir) -> Result<Saved> {
        let plan = run.plan()?;
        let audits: Vec<Audit> = run
            .read_json("audits.json")?
            .with_context(|| format!("{} has no audits.json; run again", run.root().display()))?;
        let planned = plan.audits.iter().map(|audit| (&audit.id, &audit.sha256));
        ensure!(
            planned.eq(audits.iter().map(|audit| (&audit.id, &audit.sha256))),
            "audits.json has other audits than the plan"
        );
        ensure!(
            audits.iter().all(|audit| is_id(&audit.id)),
            "audits.json has an audit whose id is not a file name"
        );
        Ok(Saved {
            trainings: run.read_lines(TRAININGS)?,
            answers: Answers {
                answers: run.read_lines(ANSWERS)?,
                samples: run.read_lines(SAMPLES)?,
                health: run.read_lines(HEALTH)?,
                // A plan without conditions asks nothing under any.
                dressed: if plan.groups.is_empty() { Vec::new() } else { run.read_lines(DRESSED)? },
                shown: run.lines_if_there(SHOWN)?,
                carried: run.lines_if_there(CARRIED)?,
            },
            mined: run.read_json(CONDITIONS)?,
            plan,
            audits,
        })
    }
}

/// Saves everything that the report is made from. What was asked under conditions is saved also
/// where it is nothing, as long as conditions were planned: a file that is missing must not pass
/// for one without answers.
///
/// # Errors
/// Where a file cannot be written.
pub fn save_answers(
    run: &RunDir,
    plan: &Plan,
    trainings: &[TrainingRecord],
    answers: &Answers,
) -> Result<()> {
    run.write_lines(TRAININGS, trainings)?;
    run.write_lines(SAMPLES, &answers.samples)?;
    run.write_lines(CARRIED, &answers.carried)?;
    run.write_lines(HEALTH, &answers.health)?;
    if !plan.groups.is_empty() {
        run.write_lines(DRESSED, &answers.dressed)?;
    }
    if !answers.shown.is_empty() {
        run.write_lines(SHOWN, &answers.shown)?;
    }
    // Last: a run that has them is finished.
    run.write_lines(ANSWERS, &answers.answers)
}
