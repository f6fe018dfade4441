//! The inputs of the report in the run folder, written at the end of a run.

use anyhow::{Result, ensure};

use crate::audit::{self, Audit, is_id};
use crate::detect::Conditions;
use crate::plan::Plan;
use crate::probe::Answers;
use crate::run_dir::RunDir;
use crate::train::TrainingRecord;

const TRAININGS: &str = "trainings.jsonl";
const ANSWERS: &str = "answers.jsonl.zst";
const CONDITION_SAMPLES: &str = "condition_samples.jsonl";
const SAMPLES: &str = "samples.jsonl";
const CONTEXT_QUESTIONS: &str = "context_questions.jsonl";
const HEALTH: &str = "health.jsonl";
/// The detected conditions, where conditions are tried.
pub const CONDITIONS: &str = "conditions.json";

/// Everything that a report is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    pub plan: Plan,
    pub audits: Vec<Audit>,
    pub trainings: Vec<TrainingRecord>,
    pub answers: Answers,
    /// The detected conditions; `None` where no conditions were tried.
    pub detected: Option<Conditions>,
}

impl Saved {
    /// Reads everything that a report is made from.
    ///
    /// # Errors
    /// Where the run is not finished, a file is damaged, or the plan was changed after the run.
    pub fn read(run: &RunDir) -> Result<Saved> {
        let mut plan = run.plan()?;
        // The built-in ones need not be there: their hashes say whether they are those of the run.
        let audits: Vec<Audit> = match run.read_json("audits.json")? {
            Some(audits) => audits,
            None => {
                let is_of_run =
                    |one: &Audit| plan.audits.iter().any(|audit| audit.sha256 == one.sha256);
                audit::built_in()?.into_iter().filter(is_of_run).collect()
            }
        };
        let planned = plan.audits.iter().map(|audit| (&audit.id, &audit.sha256));
        ensure!(
            planned.eq(audits.iter().map(|audit| (&audit.id, &audit.sha256))),
            "{}: audits.json is missing, or has other audits than the plan",
            run.root().display()
        );
        ensure!(
            audits.iter().all(|audit| is_id(&audit.id)),
            "audits.json has an audit whose id is not a file name"
        );
        let trainings: Vec<TrainingRecord> = run.read_lines(TRAININGS)?;
        // A run that ended at an early look trained the first seeds only.
        if !plan.looks.is_empty() && !plan.stops() {
            plan.seeds.retain(|seed| trainings.iter().any(|record| record.seed == *seed));
            ensure!(
                plan.looks.contains(&plan.seeds.len()),
                "{}: {TRAININGS} has {} seeds, after which the plan computes no verdict",
                run.root().display(),
                plan.seeds.len()
            );
        }
        Ok(Saved {
            trainings,
            answers: Answers {
                answers: run.read_lines(ANSWERS)?,
                samples: run.read_lines(SAMPLES)?,
                health: run.read_lines(HEALTH)?,
                condition_samples: run.lines_if_there(CONDITION_SAMPLES)?,
                context_questions: run.lines_if_there(CONTEXT_QUESTIONS)?,
            },
            detected: run.read_json(CONDITIONS)?,
            plan,
            audits,
        })
    }
}

/// Saves everything that a report is made from.
///
/// # Errors
/// Where a file cannot be written.
pub fn save_answers(run: &RunDir, trainings: &[TrainingRecord], answers: &Answers) -> Result<()> {
    run.write_lines(TRAININGS, trainings)?;
    run.write_lines(SAMPLES, &answers.samples)?;
    run.write_lines(CONTEXT_QUESTIONS, &answers.context_questions)?;
    run.write_lines(HEALTH, &answers.health)?;
    if !answers.condition_samples.is_empty() {
        run.write_lines(CONDITION_SAMPLES, &answers.condition_samples)?;
    }
    // Last: a run with this file is finished.
    run.write_lines(ANSWERS, &answers.answers)
}
