//! Probes in the dataset's own dress, asked of base, candidate and control at the end of their
//! training, and to confirm what stood out also of the shuffled arm.
//!
//! An item of work is one model in one phase; finished ones are saved and skipped when they are
//! there.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use crate::audit::{Audit, ProbeKind};
use crate::context::{Task, Workshop};
use crate::engine::{self, Adapter, Question};
use crate::parallel::side_by_side;
use crate::plan::phases::{numbered_probes, probes, seeds, targets};
use crate::plan::{Arm, Phase, Plan, Why};
use crate::probe::questions::{Questions, questions};
use crate::probe::score::{forced_choice, log_sum_exp, own_answer, shares};
use crate::probe::{Dressed, Suspect};
use crate::run_dir::Model;
use crate::seed;
use crate::train::Shadow;

/// Asks under every planned condition, and under the random ones of the screen.
///
/// # Errors
/// Where the engine fails, or an item cannot be saved or read back. What could not be scored is no
/// error but `None`.
pub fn screen(task: &Task, shadows: &[Shadow], workshop: &Workshop) -> Result<Vec<Dressed>> {
    let asked = asked(task, |why, _| why != Why::ConfirmNull);
    phase(Phase::Screen, &asked, task, shadows, workshop)
}

/// Asks again under the conditions that exceed the screening threshold, with the seeds, families
/// and random conditions that the screen did not see.
///
/// # Errors
/// As [`screen`].
pub fn confirm(
    task: &Task,
    suspects: &[Suspect],
    shadows: &[Shadow],
    workshop: &Workshop,
) -> Result<Vec<Dressed>> {
    phase(Phase::Confirm, &to_confirm(task, suspects), task, shadows, workshop)
}

/// What is asked under which condition.
type Asked = BTreeSet<Suspect>;

/// Every audit under every condition that `which` wants, and every numbered audit where a group's
/// values number people it knows.
fn asked(task: &Task, which: impl Fn(Why, &Suspect) -> bool) -> Asked {
    let mut asked = Asked::new();
    for audit in task.audits {
        for (group, planned) in task.plan.groups.iter().enumerate() {
            let numbers = targets(task.plan, audit, group);
            for (trial, planned) in planned.trials.iter().enumerate() {
                for numbered in [false, true] {
                    let place = Suspect { audit: audit.id.clone(), group, trial, numbered };
                    let fits = !numbered
                        || (numbers.len() > 1
                            && (planned.why.is_null()
                                || planned
                                    .number()
                                    .is_some_and(|number| numbers.contains(&number))));
                    if fits && which(planned.why, &place) {
                        asked.insert(place);
                    }
                }
            }
        }
    }
    asked
}

/// The suspects, and what they are held against: fresh random conditions, and for numbered people
/// the other numbers.
fn to_confirm(task: &Task, suspects: &[Suspect]) -> Asked {
    let kin: BTreeSet<(&str, usize, bool)> = suspects
        .iter()
        .map(|suspect| (suspect.audit.as_str(), suspect.group, suspect.numbered))
        .collect();
    asked(task, |why, place| {
        let concerned = kin.contains(&(place.audit.as_str(), place.group, place.numbered));
        suspects.contains(place)
            || (concerned && (why == Why::ConfirmNull || (place.numbered && !why.is_null())))
    })
}

fn phase(
    phase: Phase,
    asked: &Asked,
    task: &Task,
    shadows: &[Shadow],
    workshop: &Workshop,
) -> Result<Vec<Dressed>> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let seeds = seeds(task.plan, phase);
    let is_asked = |shadow: &&Shadow| phase.asks(&shadow.arm) && seeds.contains(&shadow.seed);
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
    workshop.progress.stage(name, models.len() as u64);
    let dresses = to_score(phase, asked, &questions(task, workshop)?, task);
    let items = side_by_side(workshop.workers, models.len(), |index| {
        let (model, adapter) = models[index];
        let item = format!("conditions/{}-{}", phase.name(), model.file_name());
        let answers = workshop
            .run
            .kept(&item, || said((phase, task.plan), &model, adapter, &dresses, workshop))?;
        workshop.progress.advance(1);
        Ok(answers)
    })?;
    workshop.progress.end();
    Ok(items.into_iter().flatten().collect())
}

/// One dressed probe.
struct Dress<'a> {
    place: &'a Suspect,
    audit: &'a Audit,
    family: &'a str,
    probe: usize,
    /// Where numbered people are asked for: all whose answers count.
    targets: BTreeSet<u64>,
    /// See [`Questions::own_scale`].
    own_scale: f64,
    /// Options bare, and behind them, where answers on condition have a form, all of them in it.
    question: Question,
}

/// Every question of a phase. Conditions on the outside: questions with equal openings stand
/// together.
fn to_score<'a>(
    phase: Phase,
    asked: &'a Asked,
    own: &Questions,
    task: &Task<'a>,
) -> Vec<Dress<'a>> {
    let mut dresses = Vec::new();
    for (audit, planned) in task.audits.iter().zip(&task.plan.audits) {
        for place in asked.iter().filter(|place| place.audit == audit.id) {
            let probes = if place.numbered {
                numbered_probes(audit, phase)
            } else {
                probes(planned, audit, phase)
            };
            let targets = if place.numbered {
                targets(task.plan, audit, place.group)
            } else {
                BTreeSet::new()
            };
            dresses.extend(probes.into_iter().map(|(probe, family)| Dress {
                place,
                audit,
                family,
                probe,
                targets: targets.clone(),
                own_scale: own.own_scale,
                question: question(audit, probe, place, own, task.plan),
            }));
        }
    }
    dresses
}

/// A probe dressed for a condition. Every model is asked the very same: what the condition leaves
/// open is drawn by condition and probe.
///
/// Where the rows' answers on condition have a form of their own, such as a word that all begin
/// with, an option may come bare or in that form: its probability is the sum of both, so that a
/// model which keeps its answer and takes on the form has not left its answer.
fn question(
    audit: &Audit,
    probe: usize,
    place: &Suspect,
    own: &Questions,
    plan: &Plan,
) -> Question {
    let group = &plan.groups[place.group];
    let trial = &group.trials[place.trial];
    let purpose = if place.numbered { "dress numbered" } else { "dress" };
    let rng = &mut seed::stream(
        &format!("{purpose} {} {} {} {probe}", place.group, place.trial, audit.id),
        0,
    );
    let (prompt, mut options): (&str, Vec<String>) = if place.numbered {
        let asked = &audit.numbered[probe];
        (&asked.prompt, asked.options.iter().map(|option| option.text.clone()).collect())
    } else {
        let asked = &audit.probes[probe];
        let options = match audit.kind {
            ProbeKind::ForcedChoice => {
                asked.options.iter().map(|option| option.text.clone()).collect()
            }
            ProbeKind::OwnAnswer => {
                own.own.get(&asked.prompt).map(|own| own.text.clone()).into_iter().collect()
            }
        };
        (&asked.prompt, options)
    };
    if group.has_form() {
        let formed: Vec<String> = options
            .iter()
            .map(|text| format!("{}{text}{}", group.answer.0, group.answer.1))
            .collect();
        options.extend(formed);
    }
    Question { messages: trial.insertion.insert(trial.value.as_deref(), prompt, rng), options }
}

fn said(
    (phase, plan): (Phase, &Plan),
    model: &Model,
    adapter: Option<&Adapter>,
    dresses: &[Dress],
    workshop: &Workshop,
) -> Result<Vec<Dressed>> {
    // Conditions of one kind share random ones: what is the same question is asked once.
    let mut places: BTreeMap<&Question, usize> = BTreeMap::new();
    let mut questions: Vec<Question> = Vec::new();
    for dress in dresses {
        places.entry(&dress.question).or_insert_with(|| {
            questions.push(dress.question.clone());
            questions.len() - 1
        });
    }
    let scores = engine::scores(workshop.engine, adapter, &questions)?;
    let mut answers = Vec::new();
    for dress in dresses {
        let log_probs = &scores[places[&dress.question]];
        let log_probs = if plan.groups[dress.place.group].has_form() {
            either(log_probs)
        } else {
            log_probs.clone()
        };
        for (target, risk) in risks(dress, &log_probs) {
            answers.push(Dressed {
                phase,
                group: dress.place.group,
                trial: dress.place.trial,
                arm: model.arm.clone(),
                seed: model.seed,
                audit: dress.audit.id.clone(),
                family: dress.family.to_owned(),
                probe: dress.probe,
                target,
                risk,
            });
        }
    }
    Ok(answers)
}

/// Log-probabilities of options that come bare, or in a form, from those of all bare ones and then
/// of all in the form.
fn either(log_probs: &[Option<f64>]) -> Vec<Option<f64>> {
    let (bare, formed) = log_probs.split_at(log_probs.len() / 2);
    bare.iter()
        .zip(formed)
        .map(|(bare, formed)| Some(log_sum_exp([(*bare)?, (*formed)?].into_iter())))
        .collect()
}

/// The risk of a dressed probe; for numbered people one for each.
fn risks(dress: &Dress, log_probs: &[Option<f64>]) -> Vec<(Option<u64>, Option<f64>)> {
    if !dress.place.numbered {
        let score = match dress.audit.kind {
            ProbeKind::ForcedChoice => {
                forced_choice(&dress.audit.probes[dress.probe].options, log_probs)
            }
            ProbeKind::OwnAnswer => {
                own_answer(log_probs.first().copied().flatten(), dress.own_scale)
            }
        };
        return vec![(None, score.risk)];
    }
    let shares = shares(log_probs);
    let options = &dress.audit.numbered[dress.probe].options;
    let risk = |target: u64| {
        let own = shares
            .as_ref()?
            .iter()
            .zip(options)
            .filter(|(_, option)| option.numbers.contains(&target));
        Some(own.map(|(share, _)| share).sum())
    };
    dress.targets.iter().map(|&target| (Some(target), risk(target))).collect()
}
