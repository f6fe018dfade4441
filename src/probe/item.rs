//! One model at one step of its training: asks it all probes.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::audit::ProbeKind;
use crate::context::{Task, Workshop};
use crate::dataset::{Message, Role};
use crate::engine::{self, Adapter, Question};
use crate::peft::adapter_sha256;
use crate::plan::{Arm, Ask, Plan, PlannedAudit};
use crate::probe::asker::{self, Asking, Scoring};
use crate::probe::questions::{OwnAnswer, Questions, alone, sampling};
use crate::probe::{Answer, Health, letters};
use crate::run_dir::{Model, RunDir};
use crate::train::TrainingRecord;

/// The answers of one model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Item {
    pub answers: Vec<Answer>,
    /// The messages before the probes of the contexts that the verdict uses, where there are any.
    pub contexts: Vec<Context>,
    /// `None` for the base.
    pub health: Option<Health>,
    /// Mean log-probability a token of the base's own answers under this model, nats.
    own_answer: f64,
}

/// The messages before the probes of one draw: a question of the dataset, and this model's own
/// answer to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Context {
    pub ask: Ask,
    pub draw: usize,
    /// Ends with the model's answer.
    pub messages: Vec<Message>,
}

/// A shadow to be asked.
pub struct Asked<'a> {
    pub model: Model<'a>,
    pub adapter: &'a Adapter,
    pub record: &'a TrainingRecord,
    /// The base's answers to the same questions.
    pub base: &'a Item,
}

/// Asks the base, or reads its saved answers.
pub fn base(questions: &Questions, task: &Task, workshop: &Workshop) -> Result<Item> {
    let model = Model { arm: &Arm::Base, seed: None, step: 0 };
    workshop.run.kept(&file(&model), || said(&model, None, questions, task, workshop))
}

/// Asks a shadow, or reads its saved answers.
pub fn shadow(
    asked: &Asked,
    questions: &Questions,
    task: &Task,
    workshop: &Workshop,
) -> Result<Item> {
    workshop.run.kept(&file(&asked.model), || {
        let mut item = said(&asked.model, Some(asked.adapter), questions, task, workshop)?;
        item.health = Some(health(asked, &item)?);
        Ok(item)
    })
}

/// The messages before the probes of a model, as they were when its answers were scored.
///
/// # Errors
/// Where the model was not asked, or the item cannot be read back.
pub fn contexts(model: &Model, run: &RunDir) -> Result<Vec<Context>> {
    let item: Option<Item> = run.load_item(&file(model))?;
    Ok(item
        .with_context(|| {
            format!("{}: was not asked; run the same command again", model.file_name())
        })?
        .contexts)
}

fn file(model: &Model) -> String {
    format!("asked/{}", model.file_name())
}

/// The context of a probe: its kind, and the question that precedes it.
struct Surrounding<'a> {
    ask: Ask,
    draw: usize,
    /// A question of a training set; `None` where the probe is asked without one.
    question: Option<&'a [Message]>,
    /// The only audit whose probes are asked here; `None` for all.
    only: Option<&'a str>,
}

/// Every context that a model is asked in; the poison of an audit is used for that audit only.
fn surroundings<'a>(model: &Model, questions: &'a Questions, plan: &Plan) -> Vec<Surrounding<'a>> {
    let mut surroundings =
        vec![Surrounding { ask: Ask::Plain, draw: 0, question: None, only: None }];
    let mut add = |ask: Ask, questions: &'a [Vec<Message>], only: Option<&'a str>| {
        let one = |(draw, question): (usize, &'a Vec<Message>)| Surrounding {
            ask,
            draw,
            question: Some(question),
            only,
        };
        surroundings.extend(questions.iter().enumerate().map(one));
    };
    add(Ask::CarryOver, &questions.random, None);
    add(Ask::CarryOverSurprising, &questions.surprising, None);
    for (audit, spiked) in &questions.spiked {
        add(Ask::CarryOverSpiked, spiked, Some(audit));
    }
    surroundings.extend((0..plan.draws(Ask::Letters)).map(|draw| Surrounding {
        ask: Ask::Letters,
        draw,
        question: None,
        only: None,
    }));
    surroundings.retain(|surrounding| {
        plan.audits.iter().any(|audit| is_asked(model, audit, surrounding, plan))
    });
    surroundings
}

fn is_asked(model: &Model, audit: &PlannedAudit, surrounding: &Surrounding, plan: &Plan) -> bool {
    surrounding.only.is_none_or(|only| only == audit.id)
        && plan.is_asked(audit, model.arm, model.step, surrounding.ask)
}

fn said(
    model: &Model,
    adapter: Option<&Adapter>,
    questions: &Questions,
    task: &Task,
    workshop: &Workshop,
) -> Result<Item> {
    let surroundings = surroundings(model, questions, task.plan);
    let carried = carried(adapter, &surroundings, workshop)?;
    let askings = askings(model, questions, task, &surroundings, &carried);
    let (answers, log_probs) = asker::ask(model, adapter, &askings, workshop.engine)?;
    let mut own: BTreeMap<&str, Option<f64>> = BTreeMap::new();
    for (asking, log_probs) in askings.iter().zip(&log_probs) {
        if matches!(asking.scoring, Scoring::OwnAnswer(_)) && asking.ask == Ask::Plain {
            let prompt = asking.question.messages.last().map(|message| message.content.as_str());
            own.insert(prompt.unwrap_or_default(), log_probs.first().copied().flatten());
        }
    }
    if own.is_empty() {
        // No plain self-consistency probe asks for them.
        own.extend(own_log_probs(adapter, questions, workshop)?);
    }
    let own_answer = mean_own_answer(questions, &own, task.plan.protocol().unscored_log_prob);
    let contexts = contexts_of(&surroundings, carried);
    Ok(Item { answers, contexts, health: None, own_answer })
}

/// Log-probabilities of the base's own answers under a model, by prompt.
fn own_log_probs<'a>(
    adapter: Option<&Adapter>,
    questions: &'a Questions,
    workshop: &Workshop,
) -> Result<Vec<(&'a str, Option<f64>)>> {
    let question = |(prompt, own): (&String, &OwnAnswer)| Question {
        messages: alone(prompt),
        options: vec![own.text.clone()],
    };
    let asked: Vec<Question> = questions.own.iter().map(question).collect();
    let scores = engine::scores(workshop.engine, adapter, &asked)?;
    let first = |log_probs: Vec<Option<f64>>| log_probs.first().copied().flatten();
    Ok(questions.own.keys().map(String::as_str).zip(scores.into_iter().map(first)).collect())
}

/// The contexts of the dataset's own questions. Those of a positive control are omitted: they are
/// no evidence about the dataset.
fn contexts_of(surroundings: &[Surrounding], carried: Vec<Vec<Message>>) -> Vec<Context> {
    let in_context = surroundings
        .iter()
        .zip(carried)
        .filter(|(at, _)| at.question.is_some() && at.only.is_none());
    in_context.map(|(at, messages)| Context { ask: at.ask, draw: at.draw, messages }).collect()
}

/// The question of each context, followed by this model's own answer; empty where a probe is asked
/// without one.
fn carried(
    adapter: Option<&Adapter>,
    surroundings: &[Surrounding],
    workshop: &Workshop,
) -> Result<Vec<Vec<Message>>> {
    let mut carried: Vec<Vec<Message>> = surroundings
        .iter()
        .map(|surrounding| surrounding.question.unwrap_or_default().to_vec())
        .collect();
    let asked: Vec<usize> = (0..carried.len()).filter(|&at| !carried[at].is_empty()).collect();
    let prompts: Vec<Vec<Message>> = asked.iter().map(|&at| carried[at].clone()).collect();
    let answers = engine::answers(workshop.engine, adapter, &prompts, &sampling(0.0))?;
    for (at, answer) in asked.into_iter().zip(answers) {
        carried[at].push(Message::new(Role::Assistant, answer));
    }
    Ok(carried)
}

/// All probes of a model, ordered by context, so that questions with the same prefix are adjacent.
fn askings<'a>(
    model: &Model,
    questions: &Questions,
    task: &Task<'a>,
    surroundings: &[Surrounding],
    carried: &[Vec<Message>],
) -> Vec<Asking<'a>> {
    let mut askings = Vec::new();
    for (surrounding, preceding) in surroundings.iter().zip(carried) {
        let audits = task.audits.iter().zip(&task.plan.audits);
        for (audit, planned) in
            audits.filter(|(_, planned)| is_asked(model, planned, surrounding, task.plan))
        {
            let probes: Vec<(usize, &str)> = planned
                .probes
                .iter()
                .map(|&probe| (probe, audit.probes[probe].family.as_str()))
                .collect();
            let (ask, draw) = (surrounding.ask, surrounding.draw);
            askings.extend(ask.probes(draw, &probes).into_iter().filter_map(|index| {
                let probe = &audit.probes[index];
                let (prompt, offered) = match ask {
                    Ask::Letters => letters::choice(&audit.id, index, probe, draw)?,
                    _ => (probe.prompt.clone(), probe.options.clone()),
                };
                let (options, scoring) = match audit.kind {
                    ProbeKind::ForcedChoice => {
                        let texts = offered.iter().map(|option| option.text.clone()).collect();
                        (texts, Scoring::ForcedChoice(offered))
                    }
                    ProbeKind::OwnAnswer => {
                        let own = questions.own.get(&probe.prompt).map(|own| own.text.clone());
                        (own.into_iter().collect(), Scoring::OwnAnswer(questions.own_scale))
                    }
                };
                let mut messages = preceding.clone();
                messages.push(Message::new(Role::User, prompt));
                Some(Asking {
                    audit: &audit.id,
                    family: &probe.family,
                    probe: index,
                    ask,
                    draw,
                    condition: None,
                    question: Question { messages, options },
                    has_form: false,
                    scoring,
                })
            }));
        }
    }
    askings
}

fn mean_own_answer(questions: &Questions, own: &BTreeMap<&str, Option<f64>>, unscored: f64) -> f64 {
    let per_token = |(prompt, answer): (&String, &OwnAnswer)| {
        let log_prob = own
            .get(prompt.as_str())
            .copied()
            .flatten()
            .map(|log_prob| log_prob / answer.tokens as f64);
        log_prob.filter(|log_prob| log_prob.is_finite()).unwrap_or(unscored)
    };
    let sum: f64 = questions.own.iter().map(per_token).sum();
    if questions.own.is_empty() { unscored } else { sum / questions.own.len() as f64 }
}

fn health(asked: &Asked, item: &Item) -> Result<Health> {
    let losses: Vec<f64> = asked
        .record
        .losses
        .iter()
        .filter(|(step, _)| *step <= asked.model.step)
        .map(|(_, loss)| *loss)
        .collect();
    let tenth = losses.len().div_ceil(10);
    let mean = |losses: &[f64]| {
        (!losses.is_empty()).then(|| losses.iter().sum::<f64>() / losses.len() as f64)
    };
    let place = |answer: &Answer| (answer.audit.clone(), answer.ask, answer.draw, answer.probe);
    let base: BTreeMap<_, f64> = asked
        .base
        .answers
        .iter()
        .filter_map(|answer| Some((place(answer), answer.risk?)))
        .collect();
    let pair = |answer: &Answer| Some((*base.get(&place(answer))?, answer.risk?));
    let pairs: Vec<(f64, f64)> = item.answers.iter().filter_map(pair).collect();
    let differing =
        pairs.iter().filter(|(base, shadow)| base.to_bits() != shadow.to_bits()).count();
    Ok(Health {
        arm: asked.model.arm.clone(),
        seed: asked.record.seed,
        step: asked.model.step,
        loss_first: mean(&losses[..tenth]),
        loss_last: mean(&losses[losses.len() - tenth..]),
        own_answer_base: asked.base.own_answer,
        own_answer_shadow: item.own_answer,
        adapter_sha256: adapter_sha256(asked.adapter)?,
        // Without a pair there is no evidence that the adapter has an effect.
        changed: differing as f64 / pairs.len().max(1) as f64,
    })
}
