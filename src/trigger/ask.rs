//! Probes in the dataset's own dress, asked of base, candidate and control at the end of their training.
//!
//! An item of work is one model in one phase; finished ones are saved and skipped when they are there.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};

use crate::audit::{Audit, ProbeKind};
use crate::engine::{Adapter, Question};
use crate::plan::{Arm, Plan, PlannedAudit};
use crate::probe::questions::{Questions, questions};
use crate::probe::score::{forced_choice, own_answer};
use crate::run_dir::Model;
use crate::seed;
use crate::shadow::Shadow;
use crate::trigger::{Dressed, Phase, Suspect, Why, shortlist};
use crate::workshop::{Task, Workshop, side_by_side};

/// The share of the training seeds that the screen sees; the others confirm.
const SCREEN_SEEDS: f64 = 0.4;

/// The seeds of a phase: no seed is in both. One seed alone is a screen, and nothing can be confirmed.
pub fn seeds(plan: &Plan, phase: Phase) -> &[u64] {
    let screened = ((plan.seeds.len() as f64 * SCREEN_SEEDS) as usize).clamp(1, plan.seeds.len());
    match phase {
        Phase::Screen => &plan.seeds[..screened],
        Phase::Confirm => &plan.seeds[screened..],
    }
}

/// The probes of a phase, one phrasing a family, with their families: every second family, so that no family is in both.
pub fn probes<'a>(planned: &PlannedAudit, audit: &'a Audit, phase: Phase) -> Vec<(usize, &'a str)> {
    let mut families: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for &probe in &planned.probes {
        families.entry(&audit.probes[probe].family).or_default().push(probe);
    }
    let half = families.into_iter().skip(phase as usize).step_by(2).enumerate();
    half.map(|(index, (family, phrasings))| (phrasings[index % phrasings.len()], family)).collect()
}

/// Screens every planned condition, and confirms what stands out.
///
/// # Errors
/// Where the engine fails, or an item cannot be saved or read back. What could not be scored is no error but `None`.
pub fn ask(task: &Task, shadows: &[Shadow], workshop: &Workshop) -> Result<Vec<Dressed>> {
    if task.plan.groups.is_empty() {
        return Ok(Vec::new());
    }
    let mut answers = phase(Phase::Screen, &screened(task), task, shadows, workshop)?;
    let suspects = shortlist(task.plan, &answers);
    if !suspects.is_empty() {
        answers.extend(phase(Phase::Confirm, &to_confirm(task.plan, &suspects), task, shadows, workshop)?);
    }
    workshop.progress.end();
    Ok(answers)
}

/// Audit, group and trial.
type Asked = BTreeSet<(String, usize, usize)>;

fn screened(task: &Task) -> Asked {
    asked(task.plan, task.plan.audits.iter().map(|audit| &audit.id), |why| why != Why::ConfirmNull)
}

fn asked<'a>(plan: &Plan, audits: impl Iterator<Item = &'a String> + Clone, which: impl Fn(Why) -> bool) -> Asked {
    let mut asked = Asked::new();
    for (group, planned) in plan.groups.iter().enumerate() {
        for trial in (0..planned.trials.len()).filter(|&trial| which(planned.trials[trial].why)) {
            asked.extend(audits.clone().map(|audit| (audit.clone(), group, trial)));
        }
    }
    asked
}

/// The suspects, and the fresh random conditions that they are held against.
fn to_confirm(plan: &Plan, suspects: &[Suspect]) -> Asked {
    let suspected: BTreeSet<(&str, usize)> = suspects.iter().map(|suspect| (suspect.audit.as_str(), suspect.group)).collect();
    let mut nulls = asked(plan, plan.audits.iter().map(|audit| &audit.id), |why| why == Why::ConfirmNull);
    nulls.retain(|(audit, group, _)| suspected.contains(&(audit.as_str(), *group)));
    nulls.extend(suspects.iter().map(|suspect| (suspect.audit.clone(), suspect.group, suspect.trial)));
    nulls
}

fn phase(phase: Phase, asked: &Asked, task: &Task, shadows: &[Shadow], workshop: &Workshop) -> Result<Vec<Dressed>> {
    let seeds = seeds(task.plan, phase);
    let is_asked = |shadow: &&Shadow| matches!(shadow.arm, Arm::Candidate | Arm::Control) && seeds.contains(&shadow.seed);
    let mut models: Vec<(Model, Option<&Adapter>)> = vec![(Model { arm: &Arm::Base, seed: None, step: 0 }, None)];
    for shadow in shadows.iter().filter(is_asked) {
        let Some((step, adapter)) = shadow.snapshots.last() else { continue };
        models.push((Model { arm: &shadow.arm, seed: Some(shadow.seed), step: *step }, Some(adapter)));
    }
    let name = if phase == Phase::Screen { "screening conditions" } else { "confirming conditions" };
    workshop.progress.stage(name, models.len() as u64);
    let own = questions(task, workshop)?;
    let items = side_by_side(workshop.workers, models.len(), |index| {
        let (model, adapter) = models[index];
        let item = format!("conditions/{}-{}", if phase == Phase::Screen { "screen" } else { "confirm" }, model.file_name());
        let answers = match workshop.run.load_item(&item)? {
            Some(answers) => answers,
            None => {
                let answers = said(phase, &model, adapter, asked, &own, task, workshop)?;
                workshop.run.save_item(&item, &answers)?;
                answers
            }
        };
        workshop.progress.advance(1);
        Ok(answers)
    })?;
    Ok(items.into_iter().flatten().collect())
}

fn said(
    phase: Phase,
    model: &Model,
    adapter: Option<&Adapter>,
    asked: &Asked,
    own: &Questions,
    task: &Task,
    workshop: &Workshop,
) -> Result<Vec<Dressed>> {
    let mut answers = Vec::new();
    let mut to_score = Vec::new();
    for (audit, planned) in task.audits.iter().zip(&task.plan.audits) {
        let probes = probes(planned, audit, phase);
        for (_, group, trial) in asked.iter().filter(|(id, ..)| *id == audit.id) {
            for &(probe, family) in &probes {
                to_score.push(question(audit, probe, (*group, *trial), own, task.plan));
                answers.push(Dressed {
                    phase,
                    group: *group,
                    trial: *trial,
                    arm: model.arm.clone(),
                    seed: model.seed,
                    audit: audit.id.clone(),
                    family: family.to_owned(),
                    probe,
                    risk: None,
                });
            }
        }
    }
    let scores = workshop.engine.score(adapter, &to_score)?;
    ensure!(scores.len() == to_score.len(), "the engine scored {} of {} questions", scores.len(), to_score.len());
    for (answer, log_probs) in answers.iter_mut().zip(&scores) {
        let audit = task.audits.iter().find(|audit| audit.id == answer.audit).expect("asked of the task's own audits");
        let score = match audit.kind {
            ProbeKind::ForcedChoice => forced_choice(&audit.probes[answer.probe].options, log_probs),
            ProbeKind::OwnAnswer => own_answer(log_probs.first().copied().flatten()),
        };
        answer.risk = score.risk;
    }
    Ok(answers)
}

/// A probe dressed for a condition. Every model is asked the very same: what the condition leaves open is drawn by condition and probe.
fn question(audit: &Audit, probe: usize, (group, trial): (usize, usize), own: &Questions, plan: &Plan) -> Question {
    let asked = &audit.probes[probe];
    let trial_planned = &plan.groups[group].trials[trial];
    let (prefix, suffix) = &plan.groups[group].answer;
    let answer = |text: &str| format!("{prefix}{text}{suffix}");
    let dressing = &trial_planned.dressing;
    let rng = &mut seed::stream(&format!("dress {group} {trial} {} {probe}", audit.id), 0);
    let options: Vec<String> = match audit.kind {
        ProbeKind::ForcedChoice => asked.options.iter().map(|option| answer(&option.text)).collect(),
        ProbeKind::OwnAnswer => own.own.get(&asked.prompt).map(|own| answer(&own.text)).into_iter().collect(),
    };
    Question { messages: dressing.dress(trial_planned.value.as_deref(), &asked.prompt, rng), options }
}
