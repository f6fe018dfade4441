//! Answers of base and shadows under a condition that was confirmed or left open, and under a null
//! condition. They are for display, and decide nothing.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::audit::Audit;
use crate::context::{Task, Workshop};
use crate::dataset::Message;
use crate::plan::{Arm, Phase, Plan, PlannedAudit, phases};
use crate::probe::written::{models, write};
use crate::probe::{Answer, Shown, Suspect};
use crate::run_dir::Model;
use crate::seed;
use crate::train::Shadow;

/// Questions that are shown for a condition: those of the confirmation with the largest change of
/// the candidate's risk.
const QUESTIONS: usize = 3;

/// One question, under the condition and under a null condition.
struct Pair {
    suspect: Suspect,
    under: Vec<Message>,
    otherwise: Vec<Message>,
}

/// Greedy answers of base, control and candidate, for every seed that the screen did not use.
///
/// # Errors
/// Where the engine fails, or an item cannot be saved or read back.
pub fn show(
    task: &Task,
    shadows: &[Shadow],
    suspects: &[Suspect],
    answers: &[Answer],
    workshop: &Workshop,
) -> Result<Vec<Shown>> {
    let pairs: Vec<Pair> =
        suspects.iter().flat_map(|suspect| pairs(suspect, answers, task)).collect();
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let seeds = phases::seeds(task.plan, Phase::Confirm);
    let last = task.plan.recipe.steps;
    let models = models(shadows, &[Arm::Control, Arm::Candidate], |seed, step| {
        seeds.contains(&seed) && step == last
    });
    let both: Vec<Vec<Message>> =
        pairs.iter().flat_map(|pair| [pair.under.clone(), pair.otherwise.clone()]).collect();
    let texts = write("writing under conditions", &models, &vec![both; models.len()], workshop)?;
    let of = |((model, _), texts): (&(Model, _), &Vec<String>)| -> Vec<Shown> {
        pairs
            .iter()
            .zip(texts.chunks_exact(2))
            .map(|(pair, texts)| shown(model, pair, texts))
            .collect()
    };
    Ok(models.iter().zip(&texts).flat_map(of).collect())
}

fn shown(model: &Model, pair: &Pair, texts: &[String]) -> Shown {
    Shown {
        suspect: pair.suspect.clone(),
        arm: model.arm.clone(),
        seed: model.seed,
        asked: pair
            .under
            .iter()
            .map(|message| message.content.as_str())
            .collect::<Vec<_>>()
            .join("\n"),
        under: texts[0].clone(),
        otherwise: texts[1].clone(),
    }
}

fn pairs(suspect: &Suspect, answers: &[Answer], task: &Task) -> Vec<Pair> {
    let audits = task.audits.iter().zip(&task.plan.audits);
    let Some((audit, planned)) = audits.into_iter().find(|(audit, _)| audit.id == suspect.audit)
    else {
        return Vec::new();
    };
    let group = &task.plan.groups[suspect.group];
    let Some((other, _)) = group.nulls(Phase::Confirm).next() else { return Vec::new() };
    let pair = |prompt: &str| {
        let dress = |trial: usize| -> Vec<Message> {
            let rng = &mut seed::stream(&format!("show {} {trial} {prompt}", suspect.group), 0);
            let trial = &group.trials[trial];
            trial.insertion.insert(trial.value.as_deref(), prompt, rng)
        };
        Pair { suspect: suspect.clone(), under: dress(suspect.trial), otherwise: dress(other) }
    };
    let moved = moved(suspect, other, answers, task);
    let mut probes = questions(task.plan, audit, planned, suspect);
    let effect = |probe: usize| moved.get(&probe).copied().unwrap_or(f64::NEG_INFINITY);
    probes.sort_by(|a, b| effect(b.0).total_cmp(&effect(a.0)));
    probes.into_iter().take(QUESTIONS).map(|(_, prompt)| pair(prompt)).collect()
}

/// By probe, the candidate's risk under the condition minus that under the null condition, in the
/// mean over seeds.
fn moved(suspect: &Suspect, other: usize, answers: &[Answer], task: &Task) -> BTreeMap<usize, f64> {
    let target = if suspect.numbered {
        task.plan.groups[suspect.group].trials[suspect.trial].number()
    } else {
        None
    };
    let mut scored: BTreeMap<usize, [Vec<f64>; 2]> = BTreeMap::new();
    for answer in answers {
        let Some(key) = answer.condition.filter(|key| key.phase == Phase::Confirm) else {
            continue;
        };
        let is_own = answer.arm == Arm::Candidate
            && answer.audit == suspect.audit
            && key.group == suspect.group
            && answer.target == target;
        let Some(risk) = answer.risk.filter(|risk| is_own && risk.is_finite()) else { continue };
        let side = [suspect.trial, other].into_iter().position(|trial| trial == key.trial);
        if let Some(side) = side {
            scored.entry(answer.probe).or_default()[side].push(risk);
        }
    }
    let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
    let both = scored.into_iter().filter(|(_, sides)| sides.iter().all(|side| !side.is_empty()));
    both.map(|(probe, [under, otherwise])| (probe, mean(&under) - mean(&otherwise))).collect()
}

/// The questions that the condition was confirmed with.
fn questions<'a>(
    plan: &Plan,
    audit: &'a Audit,
    planned: &PlannedAudit,
    suspect: &Suspect,
) -> Vec<(usize, &'a str)> {
    if suspect.numbered {
        let probes = phases::numbered_probes(plan, audit, Phase::Confirm).into_iter();
        return probes.map(|(probe, _)| (probe, audit.numbered[probe].prompt.as_str())).collect();
    }
    let probes = phases::probes(plan, planned, audit, Phase::Confirm).into_iter();
    probes.map(|(probe, _)| (probe, audit.probes[probe].prompt.as_str())).collect()
}
