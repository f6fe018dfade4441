//! The time and memory of a plan on this machine, estimated from a small part of the work. Only
//! this module reads a clock.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::Result;
use serde::Serialize;

use crate::audit::Probe;
use crate::context::RunInputs;
use crate::dataset::{Message, Role};
use crate::engine::{Checkpoint, Engine, Job, Question, Recipe, Sampling};
use crate::parallel::parallel_map;
use crate::plan::{ContextKind, Plan};
use crate::probe::written::FAMILIES;
use crate::train::rows::{answered_turns, control_prompts};

/// Steps that are trained to measure the speed.
const STEPS: usize = 2;

/// Rows that are trained on and answered to measure the speed.
const ROWS: usize = 64;

/// Prompts of probes that are scored.
const PROMPTS: usize = 32;

/// An estimate for this machine and its current load.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CostEstimate {
    /// The whole run.
    pub seconds: f64,
    pub training_seconds: f64,
    pub asking_seconds: f64,
    /// Peak memory of all processes together, in bytes; `None` where the system does not report it.
    pub peak_bytes: Option<u64>,
}

struct NoCheckpoint;

impl Checkpoint for NoCheckpoint {
    fn load(&self) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
    fn save(&self, _: &[u8]) -> Result<()> {
        Ok(())
    }
    fn progress(&self, _: usize) {}
}

/// Trains a few steps of as many groups as run in parallel, asks a few questions, and extrapolates.
pub fn measure(inputs: &RunInputs, engine: &dyn Engine, workers: usize) -> Result<CostEstimate> {
    let RunInputs { plan, dataset, .. } = *inputs;
    let groups = plan.trained_arms().count();
    let at_once = workers.clamp(1, groups.max(1));
    let rows: Vec<Vec<Message>> =
        dataset.rows.iter().take(ROWS).map(|row| row.messages.clone()).collect();

    let questions = questions(inputs);
    let mut tokens = 0;
    for question in &questions {
        tokens += engine.count_tokens(&question.messages)?.0;
        for option in &question.options {
            tokens += engine
                .count_tokens(&[
                    question.messages[0].clone(),
                    Message::new(Role::Assistant, option),
                ])?
                .1;
        }
    }
    // Once without timing, for what the engine loads on first use.
    engine.score(None, &questions[..questions.len().min(1)])?;
    let scoring = timed(|| parallel_map(workers, workers, |_| engine.score(None, &questions)))?;
    let seconds_a_token = scoring / (tokens * workers).max(1) as f64;
    let turns = answered_turns(&rows);
    let answered = |seed: Option<u64>, max_tokens: usize| -> Result<f64> {
        let prompts = control_prompts(&rows, &turns, seed)?;
        let sampling = Sampling { temperature: 1.0, top_p: 1.0, max_tokens, seed: 0 };
        let seconds = timed(|| engine.generate(None, &prompts, &sampling))?;
        Ok(seconds / prompts.len().max(1) as f64)
    };
    let generating = answered(None, 64)?;
    let mut longest = plan.protocol.least_control_tokens;
    for row in &rows {
        longest = longest.max(engine.count_tokens(row)?.1);
    }
    let controls = if plan.control_examples {
        answered(plan.seeds.first().copied(), longest)? * plan.seeds.len() as f64
    } else {
        generating
    };

    let recipe =
        Recipe { steps: STEPS, warmup_steps: 1, snapshots: vec![STEPS], ..plan.recipe.clone() };
    let together = engine.max_parallel_shadows().clamp(1, plan.seeds.len());
    let jobs: Vec<Job> = plan.seeds[..together]
        .iter()
        .map(|&seed| Job { label: "calibration".to_owned(), seed, rows: rows.clone() })
        .collect();
    let training =
        timed(|| parallel_map(at_once, at_once, |_| engine.train(&jobs, &recipe, &NoCheckpoint)))?
            * plan.seeds.len() as f64
            / together as f64;
    let adapter = engine.train(
        &jobs[..1],
        &Recipe { steps: 1, snapshots: vec![1], ..recipe.clone() },
        &NoCheckpoint,
    )?;

    let answers = plan.dataset.rows_trained * turns.len() / rows.len().max(1);
    let rounds = groups.div_ceil(at_once) as f64;
    let training_seconds =
        training * (plan.recipe.steps as f64 / STEPS as f64) * rounds + controls * answers as f64;
    let asking_seconds = plan.cost.scoring_tokens as f64 * seconds_a_token
        + generating * (carry_over_answers(plan) + displayed_answers(plan)) as f64 / at_once as f64;
    let values: usize = adapter
        .iter()
        .flat_map(|trained| &trained.snapshots)
        .flat_map(|adapter| adapter.tensors.values())
        .map(|(_, values)| values.len())
        .sum();
    let adapters =
        (values * size_of::<f32>() * plan.cost.shadows * plan.recipe.snapshots.len()) as u64;
    Ok(CostEstimate {
        seconds: training_seconds + asking_seconds,
        training_seconds,
        asking_seconds,
        peak_bytes: peak_so_far(engine).map(|peak| peak + adapters),
    })
}

/// Some prompts, with every probe of every audit that uses them, so that work is shared between
/// them as in a run.
fn questions(inputs: &RunInputs) -> Vec<Question> {
    let audits = inputs.audits.iter().zip(&inputs.plan.audits);
    let probes: Vec<&Probe> = audits
        .flat_map(|(audit, planned)| planned.probes.iter().map(|&probe| &audit.probes[probe]))
        .collect();
    let prompts: BTreeSet<&str> = probes.iter().map(|probe| probe.prompt.as_str()).collect();
    let some: BTreeSet<&str> =
        prompts.iter().step_by(prompts.len().div_ceil(PROMPTS).max(1)).copied().collect();
    let question = |probe: &Probe| Question {
        messages: vec![Message::new(Role::User, &probe.prompt)],
        options: match &probe.options[..] {
            [] => vec![probe.prompt.clone()],
            options => options.iter().map(|option| option.text.clone()).collect(),
        },
    };
    probes.into_iter().filter(|probe| some.contains(probe.prompt.as_str())).map(question).collect()
}

/// Answers to questions of the dataset and of the poisons, the sum over models.
fn carry_over_answers(plan: &Plan) -> usize {
    let carry_overs =
        plan.contexts().iter().filter(|context| **context != ContextKind::Plain).count();
    let compared = carry_overs * (1 + 2 * plan.seeds.len() * plan.recipe.snapshots.len());
    let own = plan.audits.iter().filter(|audit| plan.has_own_control(audit)).count();
    let controls = own * (1 + 2 * plan.seeds.len());
    plan.carry_over_draws * (compared + controls)
}

/// Answers that are generated for display, the sum over models.
fn displayed_answers(plan: &Plan) -> usize {
    plan.audits.len() * FAMILIES * (1 + 2 * plan.seeds.len())
}

#[allow(
    clippy::disallowed_methods,
    reason = "the estimate is a measurement of this machine, and no report holds it"
)]
fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64())
}

/// Peak memory of this process and of the engine's processes, in bytes, as Linux reports it.
fn peak_so_far(engine: &dyn Engine) -> Option<u64> {
    let of = |process: String| {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
    };
    std::iter::once("self".to_owned())
        .chain(engine.processes().iter().map(u32::to_string))
        .map(of)
        .sum()
}
