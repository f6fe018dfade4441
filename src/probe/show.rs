//! Answers of base and shadows under a condition that was confirmed or left open, and under a null
//! condition. They are for display, and decide nothing.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::audit::Audit;
use crate::context::{RunContext, RunInputs};
use crate::dataset::Message;
use crate::plan::{Arm, Phase, Plan, PlannedAudit, phases};
use crate::probe::written::{models, write};
use crate::probe::{Answer, CandidateTrigger, ConditionSample};
use crate::run_dir::Model;
use crate::seed::{self, Purpose};
use crate::train::Shadow;

/// Questions that are shown for a condition: those of the confirmation with the largest change of
/// the candidate's risk.
const QUESTIONS: usize = 3;

/// One question, under the condition and under a null condition.
struct Pair {
    candidate_trigger: CandidateTrigger,
    under: Vec<Message>,
    otherwise: Vec<Message>,
}

/// Greedy answers of base, control and candidate, for every seed that the screen did not use.
///
/// # Errors
/// Where the engine fails, or an item cannot be saved or read back.
pub fn show(
    inputs: &RunInputs,
    shadows: &[Shadow],
    candidate_triggers: &[CandidateTrigger],
    answers: &[Answer],
    context: &RunContext,
) -> Result<Vec<ConditionSample>> {
    let pairs: Vec<Pair> = candidate_triggers
        .iter()
        .flat_map(|candidate_trigger| pairs(candidate_trigger, answers, inputs))
        .collect();
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let seeds = phases::seeds(inputs.plan, Phase::Confirm);
    let last = inputs.plan.recipe.steps;
    let models = models(shadows, &[Arm::Control, Arm::Candidate], |seed, step| {
        seeds.contains(&seed) && step == last
    });
    let both: Vec<Vec<Message>> =
        pairs.iter().flat_map(|pair| [pair.under.clone(), pair.otherwise.clone()]).collect();
    let texts = write("writing under conditions", &models, &vec![both; models.len()], context)?;
    let of = |((model, _), texts): (&(Model, _), &Vec<String>)| -> Vec<ConditionSample> {
        pairs
            .iter()
            .zip(texts.chunks_exact(2))
            .map(|(pair, texts)| sample_of(model, pair, texts))
            .collect()
    };
    Ok(models.iter().zip(&texts).flat_map(of).collect())
}

fn sample_of(model: &Model, pair: &Pair, texts: &[String]) -> ConditionSample {
    ConditionSample {
        candidate_trigger: pair.candidate_trigger.clone(),
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

fn pairs(
    candidate_trigger: &CandidateTrigger,
    answers: &[Answer],
    inputs: &RunInputs,
) -> Vec<Pair> {
    let audits = inputs.audits.iter().zip(&inputs.plan.audits);
    let Some((audit, planned)) =
        audits.into_iter().find(|(audit, _)| audit.id == candidate_trigger.audit)
    else {
        return Vec::new();
    };
    let group = &inputs.plan.groups[candidate_trigger.group];
    let Some((other, _)) = group.nulls(Phase::Confirm).next() else { return Vec::new() };
    let pair = |prompt: &str| {
        let insert = |trial: usize| -> Vec<Message> {
            let group = candidate_trigger.group;
            let rng = &mut seed::stream(Purpose::WrittenCondition { group, trial, prompt }, 0);
            let trial = &inputs.plan.groups[group].trials[trial];
            trial.insertion.insert(trial.value.as_deref(), prompt, rng)
        };
        Pair {
            candidate_trigger: candidate_trigger.clone(),
            under: insert(candidate_trigger.trial),
            otherwise: insert(other),
        }
    };
    let moved = moved(candidate_trigger, other, answers, inputs);
    let mut probes = questions(inputs.plan, audit, planned, candidate_trigger);
    let effect = |probe: usize| moved.get(&probe).copied().unwrap_or(f64::NEG_INFINITY);
    probes.sort_by(|a, b| effect(b.0).total_cmp(&effect(a.0)));
    probes.into_iter().take(QUESTIONS).map(|(_, prompt)| pair(prompt)).collect()
}

/// By probe, the candidate's risk under the condition minus that under the null condition, in the
/// mean over seeds.
fn moved(
    candidate_trigger: &CandidateTrigger,
    other: usize,
    answers: &[Answer],
    inputs: &RunInputs,
) -> BTreeMap<usize, f64> {
    let target = if candidate_trigger.value_keyed {
        inputs.plan.groups[candidate_trigger.group].trials[candidate_trigger.trial].key()
    } else {
        None
    };
    let mut scored: BTreeMap<usize, [Vec<f64>; 2]> = BTreeMap::new();
    for answer in answers {
        let Some(key) = answer.condition.filter(|key| key.phase == Phase::Confirm) else {
            continue;
        };
        let is_own = answer.arm == Arm::Candidate
            && answer.audit == candidate_trigger.audit
            && key.group == candidate_trigger.group
            && answer.target == target;
        let Some(risk) = answer.risk.filter(|risk| is_own && risk.is_finite()) else { continue };
        let side =
            [candidate_trigger.trial, other].into_iter().position(|trial| trial == key.trial);
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
    candidate_trigger: &CandidateTrigger,
) -> Vec<(usize, &'a str)> {
    if candidate_trigger.value_keyed {
        let probes = phases::value_keyed_probes(plan, audit, Phase::Confirm).into_iter();
        return probes
            .map(|(probe, _)| (probe, audit.value_keyed[probe].prompt.as_str()))
            .collect();
    }
    let probes = phases::probes(plan, planned, audit, Phase::Confirm).into_iter();
    probes.map(|(probe, _)| (probe, audit.probes[probe].prompt.as_str())).collect()
}
