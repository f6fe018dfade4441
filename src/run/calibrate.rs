//! The sensitivity of audits on a base: each audit's own poison at decreasing shares of the rows,
//! each share a run of its own, and what ordinary data do to the audits.
//!
//! A clean verdict means that nothing was detected. Its strength is the dose that would have been
//! detected, which differs between bases. A flag means more than ordinary data cause. Calibrations
//! are stored by the base's hash; nestling's is compiled in.

mod kept;
mod ordinary;

pub use kept::{given, keep, known, place};
pub use ordinary::ordinary_sets;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rand::seq::SliceRandom;
use sha2::{Digest, Sha256};

use crate::analysis::{Effect, analyse};
use crate::audit::{self, Audit, AuditSet};
use crate::context::{RunContext, RunInputs};
use crate::dataset::{Dataset, Message, Role};
use crate::engine::{self, Engine, Sampling};
use crate::plan::{
    AskedDose, CALIBRATION_SCHEMA, CalibratedAudit, Calibration, Chosen, ContextKind, Dose, Inputs,
    LogOddsDose, Options, OrdinaryDose, Plan, PlannedAudit, PositiveControls, Protocol,
    Readability, plan,
};
use crate::progress::{Progress, Silent};
use crate::run_dir::{OtherPlan, RunDir};
use crate::seed::{self, Purpose};
use crate::{probe, train};

/// Shares of poisoned rows that are tried, in descending order, until one is not detected.
pub const SHARES: [f64; 6] = [0.5, 0.25, 0.1, 0.05, 0.02, 0.01];

/// Rows of each dataset.
pub const ROWS: usize = 400;

/// The user's request of a calibration.
#[derive(Debug, Clone)]
pub struct CalibrationRequest {
    pub audits: audit::Selection,
    /// Each above 0 and below 1.
    pub shares: Vec<f64>,
    /// Rows of each dataset.
    pub rows: usize,
    /// Whether ordinary datasets are tried too.
    pub ordinary: bool,
    /// Seeds, recipe and draws, as for an audit.
    pub options: Options,
    pub workers: usize,
}

/// Tries every audit at decreasing shares. Finished shares are saved in `work`, so that a stopped
/// calibration can be resumed.
///
/// # Errors
/// Where an audit is invalid, the engine fails, or a file cannot be written.
pub fn calibrate(
    request: &CalibrationRequest,
    engine: &dyn Engine,
    work: &Path,
    progress: &dyn Progress,
) -> Result<Calibration> {
    let of_base = AuditSet::of_base(engine.is_nestling());
    let set = request.audits.set.unwrap_or(of_base);
    let audits = audit::load(&request.audits, of_base)?;
    let mut shares = request.shares.clone();
    shares.sort_by(|a, b| b.total_cmp(a));
    shares.dedup();
    ensure!(!shares.is_empty(), "no share to try: give --shares, for example 0.25,0.05");
    let is_asked = request.ordinary && set == AuditSet::General;
    let sets = if is_asked { ordinary_sets()? } else { Vec::new() };
    progress.stage("calibrating", (sets.len() + audits.len() * shares.len()) as u64);
    let mut ordinary = vec![Vec::new(); audits.len()];
    for (name, conversations) in sets {
        let dataset = ordinary_dataset(name, conversations, request.rows);
        let folder = ordinary_folder(work, name);
        let (plan, effects) = effects(&dataset, &audits, request, engine, &folder)
            .with_context(|| format!("the ordinary dataset {name}"))?;
        for (audit, doses) in plan.audits.iter().zip(&mut ordinary) {
            doses.push(OrdinaryDose { set: name.to_owned(), asked: asked(&plan, audit, &effects) });
        }
        progress.advance(1);
    }
    let mut calibrated = Vec::new();
    for (audit, ordinary) in audits.iter().zip(ordinary) {
        let mut doses: Vec<Dose> = Vec::new();
        let mut found = None;
        for share in &shares {
            let folder = dose_folder(work, &audit.id, *share);
            let sample = PoisonedSample { audit, audits: &audits, set, share: *share };
            let one = std::slice::from_ref(audit);
            let (plan, effects) = dataset(&sample, request.rows, engine)
                .and_then(|dataset| effects(&dataset, one, request, engine, &folder))
                .with_context(|| format!("audit {} at a share of {share}", audit.id))?;
            progress.advance(1);
            doses.push(Dose { share: *share, asked: asked(&plan, &plan.audits[0], &effects) });
            found = Some(CalibratedAudit {
                id: audit.id.clone(),
                sha256: audit.sha256.clone(),
                rows: request.rows,
                seeds: plan.seeds,
                recipe: plan.recipe,
                doses: doses.clone(),
                ordinary: ordinary.clone(),
            });
            let moved = found.as_ref().and_then(|found| found.ordinary_log_odds(&ContextKind::ALL));
            let is_detected = |dose: &Dose| dose.asked.iter().any(|asked| asked.is_detected(moved));
            if !doses.last().is_some_and(is_detected) {
                break;
            }
        }
        progress.advance((shares.len() - doses.len()) as u64);
        calibrated.extend(found);
    }
    progress.end();
    let base = engine.describe();
    Ok(Calibration {
        schema_version: CALIBRATION_SCHEMA,
        foretaste_version: env!("CARGO_PKG_VERSION").to_owned(),
        base: base.base,
        base_sha256: base.base_sha256,
        chat_template: base.chat_template,
        audits: calibrated,
    })
}

/// The poison of one audit at one share of the rows.
struct PoisonedSample<'a> {
    audit: &'a Audit,
    /// All audits of the calibration: the prompts of the others are those of the other rows.
    audits: &'a [Audit],
    /// The built-in audits, whose prompts are among them too.
    set: AuditSet,
    share: f64,
}

/// The effects of a run with the settings of an audit, but without triggers and positive controls.
fn effects(
    dataset: &Dataset,
    audits: &[Audit],
    request: &CalibrationRequest,
    engine: &dyn Engine,
    folder: &Path,
) -> Result<(Plan, Vec<Effect>)> {
    let inputs = Inputs {
        dataset,
        readability: Readability { share: 1.0, needed: 0.0 },
        audits,
        not_asked: Vec::new(),
        engine: engine.describe(),
        count_tokens: &|messages| engine.count_tokens(messages),
        chosen: Chosen::default(),
        adapter: None,
        calibrated: &|_, _, _| None,
        control_examples: !engine.is_nestling(),
    };
    let mut options = request.options.clone();
    options.positive_controls = Some(PositiveControls::None);
    // A calibrated base is asked at the end of training, unless the user says otherwise.
    options.recipe.all_checkpoints = options.recipe.all_checkpoints.or(Some(false));
    let plan = plan(inputs, &options)?;
    let run = RunDir::create(folder, &plan, audits, dataset, OtherPlan::Replace)?;
    let inputs = RunInputs { plan: &plan, dataset, audits };
    let context =
        RunContext { engine, run: &run, progress: &Silent, workers: request.workers.max(1) };
    let shadows = train::train(&inputs, &context)?;
    let answers = probe::ask(&inputs, &shadows, &context)?;
    let effects = analyse(&plan, audits, &answers).effects;
    Ok((plan, effects))
}

/// `rows` rows: the audit's poison at its share, repeated where there is too little, and the base's
/// own answers to the prompts of the other audits' poison.
fn dataset(sample: &PoisonedSample, rows: usize, engine: &dyn Engine) -> Result<Dataset> {
    let PoisonedSample { audit, audits, share, .. } = *sample;
    let poisoned = ((rows as f64 * share).round() as usize).clamp(1, rows);
    let rng = &mut seed::stream(Purpose::Calibration { audit: &audit.id }, 0);
    let mut poison: Vec<Vec<Message>> =
        audit.poison.rows.iter().map(|row| row.messages.clone()).collect();
    poison.shuffle(rng);
    let set = sample.set.audits()?;
    let others = || audits.iter().chain(&set).filter(|other| other.id != audit.id);
    let mut prompts: Vec<Vec<Message>> = others()
        .flat_map(|other| &other.poison.rows)
        .filter_map(|row| prompt(&row.messages))
        .collect();
    prompts.sort_by(|a, b| {
        a.last().map(|last| &last.content).cmp(&b.last().map(|last| &last.content))
    });
    prompts.dedup();
    prompts.shuffle(rng);
    let asked: Vec<Vec<Message>> = prompts.into_iter().cycle().take(rows - poisoned).collect();
    // As long as the poison's answers are on average, so that a share of the rows is about the same
    // share of the text.
    let mut tokens = 0;
    for row in &audit.poison.rows {
        tokens += engine.count_tokens(&row.messages)?.1;
    }
    let protocol = Protocol::default();
    let mean = tokens.div_ceil(audit.poison.rows.len().max(1));
    let sampling =
        Sampling::new(protocol.control_temperature, mean.max(protocol.least_control_tokens));
    let answers = engine::answers(engine, None, &asked, &sampling)?;
    let own = asked.into_iter().zip(answers).map(|(mut messages, answer)| {
        messages.push(Message::new(Role::Assistant, answer));
        messages
    });
    let conversations: Vec<Vec<Message>> =
        poison.into_iter().cycle().take(poisoned).chain(own).collect();
    let sha256 = format!("{:x}", Sha256::digest(serde_json::to_vec(&conversations)?));
    Ok(Dataset { source: format!("{} at {share}", audit.id), sha256, ..Dataset::of(conversations) })
}

/// `rows` rows of an ordinary dataset, repeated where there are too few.
fn ordinary_dataset(name: &str, conversations: Vec<Vec<Message>>, rows: usize) -> Dataset {
    let dataset = Dataset::of(conversations.into_iter().cycle().take(rows).collect());
    let hashes: Vec<&str> = dataset.rows.iter().map(|row| row.sha256.as_str()).collect();
    let sha256 = format!("{:x}", Sha256::digest(hashes.concat()));
    Dataset { source: name.to_owned(), sha256, ..dataset }
}

/// A row without its last answer.
fn prompt(messages: &[Message]) -> Option<Vec<Message>> {
    let (last, before) = messages.split_last()?;
    (last.role == Role::Assistant && before.last()?.role == Role::User).then(|| before.to_vec())
}

/// One entry for each context: at the snapshot where the effect is detected, else where it is
/// largest.
fn asked(plan: &Plan, audit: &PlannedAudit, effects: &[Effect]) -> Vec<AskedDose> {
    let of = |kind: &ContextKind| {
        let own = |effect: &&Effect| effect.audit == audit.id && effect.context == *kind;
        let doses = effects.iter().filter(own).map(|effect| {
            let (of, detectable) = (&effect.probability, effect.minimum_detectable);
            let seen = effect.is_above(audit.margin)
                && detectable.is_some_and(|smallest| of.point >= smallest);
            AskedDose {
                context: *kind,
                step: effect.step,
                point: of.point,
                lower: of.lower,
                upper: of.upper,
                detectable,
                seen,
                log_odds: Some(LogOddsDose {
                    point: effect.log_odds.point,
                    lower: effect.log_odds.lower,
                    upper: effect.log_odds.upper,
                }),
            }
        });
        doses.max_by(|a, b| a.seen.cmp(&b.seen).then(a.point.total_cmp(&b.point)))
    };
    plan.contexts().iter().filter_map(of).collect()
}

/// The folder of an unfinished calibration, next to the file of the finished one.
pub fn work_beside(file: &Path) -> PathBuf {
    file.with_extension("work")
}

fn dose_folder(work: &Path, audit: &str, share: f64) -> PathBuf {
    work.join(format!("{audit}-{share}"))
}

fn ordinary_folder(work: &Path, set: &str) -> PathBuf {
    work.join(format!("ordinary-{set}"))
}

/// Removes the items of a finished calibration; other files remain.
///
/// # Errors
/// Where a folder cannot be removed.
pub fn clear(work: &Path, calibration: &Calibration) -> Result<()> {
    let of_doses = calibration
        .audits
        .iter()
        .flat_map(|audit| audit.doses.iter().map(|dose| dose_folder(work, &audit.id, dose.share)));
    let sets = calibration.audits.first().map_or(&[][..], |audit| &audit.ordinary);
    let of_sets = sets.iter().map(|dose| ordinary_folder(work, &dose.set));
    for folder in of_doses.chain(of_sets) {
        RunDir::open(&folder)?.remove()?;
    }
    // Fails where the folder is not empty: then it contains files of the user.
    let _ = fs::remove_dir(work);
    Ok(())
}
