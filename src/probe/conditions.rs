//! Asks base, candidate and control the probes under conditions, at the end of their training.
//!
//! An item of work is one model in one phase. Finished items are saved, and read back when a run is
//! resumed.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::audit::{Audit, ValueKey};
use crate::context::{RunContext, RunInputs};
use crate::engine::{Adapter, Question};
use crate::parallel::parallel_map;
use crate::plan::phases::{probes, seeds, targets, value_keyed_probes};
use crate::plan::{Arm, ContextKind, Phase, Plan, Why};
use crate::probe::asker::{self, ProbeRequest};
use crate::probe::questions::{Questions, questions};
use crate::probe::score::Scoring;
use crate::probe::{Answer, CandidateTrigger, ConditionKey};
use crate::run_dir::Model;
use crate::seed::{self, Purpose};
use crate::train::Shadow;

/// Asks under every planned condition, and under the null conditions of the screen.
///
/// # Errors
/// Where the engine fails, or an item cannot be saved or read back. An answer that could not be
/// scored is no error but `None`.
pub fn screen(inputs: &RunInputs, shadows: &[Shadow], context: &RunContext) -> Result<Vec<Answer>> {
    let asked = asked(inputs, |why, _| why != Why::ConfirmNull);
    phase(Phase::Screen, &asked, inputs, shadows, context)
}

/// Asks again under the conditions that exceed the screening threshold, with seeds, families and
/// null conditions that the screen did not use.
///
/// # Errors
/// As [`screen`].
pub fn confirm(
    inputs: &RunInputs,
    candidate_triggers: &[CandidateTrigger],
    shadows: &[Shadow],
    context: &RunContext,
) -> Result<Vec<Answer>> {
    phase(Phase::Confirm, &to_confirm(inputs, candidate_triggers), inputs, shadows, context)
}

/// The conditions that each audit is asked under.
type AskedConditions = BTreeSet<CandidateTrigger>;

/// Every audit under every condition that `which` accepts. The value-keyed probes are included
/// where an audit knows at least two of the group's identities.
fn asked(inputs: &RunInputs, which: impl Fn(Why, &CandidateTrigger) -> bool) -> AskedConditions {
    let mut asked = AskedConditions::new();
    for audit in inputs.audits {
        for (group, planned) in inputs.plan.groups.iter().enumerate() {
            let targets = targets(inputs.plan, audit, group);
            for (trial, planned) in planned.trials.iter().enumerate() {
                for value_keyed in [false, true] {
                    let place =
                        CandidateTrigger { audit: audit.id.clone(), group, trial, value_keyed };
                    let fits = !value_keyed
                        || (!targets.is_empty()
                            && (planned.why.is_null()
                                || planned.key().is_some_and(|key| targets.contains(&key))));
                    if fits && which(planned.why, &place) {
                        asked.insert(place);
                    }
                }
            }
        }
    }
    asked
}

/// The candidate triggers, and the conditions that they are compared with: fresh null conditions
/// and, for value-keyed probes, the other values.
fn to_confirm(inputs: &RunInputs, candidate_triggers: &[CandidateTrigger]) -> AskedConditions {
    let comparison: BTreeSet<(&str, usize, bool)> = candidate_triggers
        .iter()
        .map(|candidate_trigger| {
            (
                candidate_trigger.audit.as_str(),
                candidate_trigger.group,
                candidate_trigger.value_keyed,
            )
        })
        .collect();
    asked(inputs, |why, place| {
        let concerned =
            comparison.contains(&(place.audit.as_str(), place.group, place.value_keyed));
        candidate_triggers.contains(place)
            || (concerned && (why == Why::ConfirmNull || (place.value_keyed && !why.is_null())))
    })
}

fn phase(
    phase: Phase,
    asked: &AskedConditions,
    inputs: &RunInputs,
    shadows: &[Shadow],
    context: &RunContext,
) -> Result<Vec<Answer>> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let seeds = seeds(inputs.plan, phase);
    let is_asked =
        |shadow: &&Shadow| shadow.arm.is_asked_under_conditions() && seeds.contains(&shadow.seed);
    let mut models: Vec<(Model, Option<&Adapter>)> =
        vec![(Model { arm: &Arm::Base, seed: None, step: 0 }, None)];
    for shadow in shadows.iter().filter(is_asked) {
        let Some((step, adapter)) = shadow.snapshots.last() else { continue };
        models.push((
            Model { arm: &shadow.arm, seed: Some(shadow.seed), step: *step },
            Some(adapter),
        ));
    }
    let name =
        if phase == Phase::Screen { "screening conditions" } else { "confirming conditions" };
    context.progress.stage(name, models.len() as u64);
    let requests = requests(phase, asked, &questions(inputs, context)?, inputs);
    let items = parallel_map(context.workers, models.len(), |index| {
        let (model, adapter) = models[index];
        let item = format!("conditions/{}-{}", phase.name(), model.file_name());
        let answers = context
            .run
            .kept(&item, || Ok(asker::ask(&model, adapter, &requests, context.engine)?.0))?;
        context.progress.advance(1);
        Ok(answers)
    })?;
    context.progress.end();
    Ok(items.into_iter().flatten().collect())
}

/// Every probe of a phase under its conditions, ordered by condition, so that questions with the
/// same prefix are adjacent.
fn requests<'a>(
    phase: Phase,
    asked: &AskedConditions,
    own: &Questions,
    inputs: &RunInputs<'a>,
) -> Vec<ProbeRequest<'a>> {
    let plan = inputs.plan;
    let mut requests = Vec::new();
    for (audit, planned) in inputs.audits.iter().zip(&plan.audits) {
        for place in asked.iter().filter(|place| place.audit == audit.id) {
            let probes = match place.value_keyed {
                true => value_keyed_probes(plan, audit, phase),
                false => probes(plan, planned, audit, phase),
            };
            let targets = targets(plan, audit, place.group);
            requests.extend(probes.into_iter().map(|(probe, family)| {
                let (question, scoring) = question(audit, probe, place, own, plan, &targets);
                ProbeRequest {
                    audit: &audit.id,
                    family,
                    probe,
                    context: ContextKind::Condition,
                    draw: 0,
                    condition: Some(ConditionKey { phase, group: place.group, trial: place.trial }),
                    question,
                    has_form: plan.groups[place.group].has_form(),
                    scoring,
                }
            }));
        }
    }
    requests
}

/// A probe with a condition inserted. Every model is asked the same question: text that the
/// condition leaves open is drawn by condition and probe.
///
/// The rows' answers under the condition may have a form of their own, such as a common first word.
/// Then an option counts both plain and in that form, and its probability is their sum. So a model
/// that keeps its answer and adopts the form does not count as changed.
fn question<'a>(
    audit: &'a Audit,
    probe: usize,
    place: &CandidateTrigger,
    own: &Questions,
    plan: &Plan,
    targets: &BTreeSet<ValueKey>,
) -> (Question, Scoring<'a>) {
    let (group, trial, id) = (place.group, place.trial, audit.id.as_str());
    let purpose = if place.value_keyed {
        Purpose::ValueKeyedCondition { group, trial, audit: id, probe }
    } else {
        Purpose::Condition { group, trial, audit: id, probe }
    };
    let rng = &mut seed::stream(purpose, 0);
    let group = &plan.groups[group];
    let trial = &group.trials[trial];
    let (prompt, (mut options, scoring)) = if place.value_keyed {
        let asked = &audit.value_keyed[probe];
        let texts = asked.options.iter().map(|option| option.text.clone()).collect();
        (&asked.prompt, (texts, Scoring::ValueKeyed(&asked.options, targets.clone())))
    } else {
        let asked = &audit.probes[probe];
        (&asked.prompt, Scoring::of(audit, asked, own))
    };
    if group.has_form() {
        let formed: Vec<String> = options
            .iter()
            .map(|text| format!("{}{text}{}", group.answer.0, group.answer.1))
            .collect();
        options.extend(formed);
    }
    let messages = trial.insertion.insert(trial.value.as_deref(), prompt, rng);
    (Question { messages, options }, scoring)
}
