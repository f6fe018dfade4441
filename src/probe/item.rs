//! One model at one moment of its training, asked everything.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::audit::{Probe, ProbeKind, ProbeOption};
use crate::context::{Task, Workshop};
use crate::dataset::{Message, Role};
use crate::engine::{self, Adapter, Question};
use crate::peft::adapter_sha256;
use crate::plan::{Arm, Ask, Plan, PlannedAudit};
use crate::probe::questions::{Questions, alone, sampling};
use crate::probe::score::{forced_choice, own_answer};
use crate::probe::{Answer, Health, letters};
use crate::run_dir::{Model, RunDir};
use crate::train::TrainingRecord;

/// What one model said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Item {
    pub answers: Vec<Answer>,
    /// What preceded the probes that the verdict may rest on, where something did.
    pub contexts: Vec<Context>,
    /// `None` for the base.
    pub health: Option<Health>,
    /// Mean log-probability a token of the base's own answers under this model, nats.
    own_answer: f64,
}

/// What preceded the probes of one draw: a question of the dataset, and this model's own answer to
/// it.
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
    /// What the base said to the same questions.
    pub base: &'a Item,
}

/// Asks the base, or reads back what it said.
pub fn base(questions: &Questions, task: &Task, workshop: &Workshop) -> Result<Item> {
    let model = Model { arm: &Arm::Base, seed: None, step: 0 };
    workshop.run.kept(&file(&model), || said(&model, None, questions, task, workshop))
}

/// Asks a shadow, or reads back what it said.
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

/// What preceded the probes that a model was asked, as it was when its answers were scored.
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

/// One probe in its surroundings.
struct Asking<'a> {
    audit: &'a str,
    kind: ProbeKind,
    index: usize,
    probe: &'a Probe,
    /// The probe's, or what offers two of its answers by letter.
    prompt: String,
    /// What a forced choice offers.
    offered: Vec<ProbeOption>,
    ask: Ask,
    draw: usize,
    /// Index among the surroundings.
    surrounding: usize,
}

/// What precedes a probe.
struct Surrounding<'a> {
    ask: Ask,
    draw: usize,
    /// A question of a training set; `None` where the probe stands alone.
    question: Option<&'a [Message]>,
    /// The only audit whose probes are asked here; `None` is all.
    only: Option<&'a str>,
}

/// Every surrounding that a model is asked in; each audit's poison concerns that audit only.
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
    let askings = askings(model, task, &surroundings);
    let mut to_score: Vec<Question> = askings
        .iter()
        .map(|asking| {
            let mut messages = carried[asking.surrounding].clone();
            messages.push(Message::new(Role::User, &asking.prompt));
            Question { messages, options: options(asking, questions) }
        })
        .collect();
    // Own answers that no plain own-answer probe asks for already.
    let asked_plain = askings
        .iter()
        .any(|asking| asking.kind == ProbeKind::OwnAnswer && asking.ask == Ask::Plain);
    if !asked_plain {
        let own = questions.own.iter();
        to_score.extend(own.map(|(prompt, own)| Question {
            messages: alone(prompt),
            options: vec![own.text.clone()],
        }));
    }
    let scores = engine::scores(workshop.engine, adapter, &to_score)?;
    let mut own: BTreeMap<&str, Option<f64>> = BTreeMap::new();
    let mut answers = Vec::new();
    for (asking, log_probs) in askings.iter().zip(&scores) {
        let score = match asking.kind {
            ProbeKind::ForcedChoice => forced_choice(&asking.offered, log_probs),
            ProbeKind::OwnAnswer => {
                own_answer(log_probs.first().copied().flatten(), questions.own_scale)
            }
        };
        if asking.kind == ProbeKind::OwnAnswer && asking.ask == Ask::Plain {
            own.insert(&asking.probe.prompt, log_probs.first().copied().flatten());
        }
        answers.push(Answer {
            arm: model.arm.clone(),
            seed: model.seed,
            step: model.step,
            audit: asking.audit.to_owned(),
            family: asking.probe.family.clone(),
            probe: asking.index,
            ask: asking.ask,
            draw: asking.draw,
            risk: score.risk.map(six_digits),
            log_odds: score.log_odds.map(six_digits),
        });
    }
    if !asked_plain {
        let log_probs =
            scores[askings.len()..].iter().map(|log_probs| log_probs.first().copied().flatten());
        own.extend(questions.own.keys().map(String::as_str).zip(log_probs));
    }
    let contexts = contexts_of(&surroundings, carried);
    Ok(Item {
        answers,
        contexts,
        health: None,
        own_answer: mean_own_answer(questions, &own, task.plan.protocol().unscored_log_prob),
    })
}

/// The contexts of the dataset's own questions; a positive control's are no evidence of the
/// dataset.
fn contexts_of(surroundings: &[Surrounding], carried: Vec<Vec<Message>>) -> Vec<Context> {
    let in_context = surroundings
        .iter()
        .zip(carried)
        .filter(|(at, _)| at.question.is_some() && at.only.is_none());
    in_context.map(|(at, messages)| Context { ask: at.ask, draw: at.draw, messages }).collect()
}

/// Six significant digits: what single precision knows of a log-probability, and a third of the
/// bytes to keep.
fn six_digits(value: f64) -> f64 {
    format!("{value:.5e}").parse().expect("what Rust writes as a number it reads as one")
}

/// The questions with this model's own answers, one entry a surrounding; empty where a probe stands
/// alone.
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

/// Everything that a model is asked. Surroundings on the outside: questions with equal openings
/// stand together.
fn askings<'a>(model: &Model, task: &Task<'a>, surroundings: &[Surrounding]) -> Vec<Asking<'a>> {
    let mut askings = Vec::new();
    for (at, surrounding) in surroundings.iter().enumerate() {
        let audits = task.audits.iter().zip(&task.plan.audits);
        for (audit, planned) in
            audits.filter(|(_, planned)| is_asked(model, planned, surrounding, task.plan))
        {
            let probes: Vec<(usize, &str)> = planned
                .probes
                .iter()
                .map(|&probe| (probe, audit.probes[probe].family.as_str()))
                .collect();
            let asked = surrounding.ask.probes(surrounding.draw, &probes);
            askings.extend(asked.into_iter().filter_map(|index| {
                let probe = &audit.probes[index];
                let (prompt, offered) = match surrounding.ask {
                    Ask::Letters => letters::choice(&audit.id, index, probe, surrounding.draw)?,
                    _ => (probe.prompt.clone(), probe.options.clone()),
                };
                let (ask, draw) = (surrounding.ask, surrounding.draw);
                Some(Asking {
                    audit: &audit.id,
                    kind: audit.kind,
                    index,
                    probe,
                    prompt,
                    offered,
                    ask,
                    draw,
                    surrounding: at,
                })
            }));
        }
    }
    askings
}

fn options(asking: &Asking, questions: &Questions) -> Vec<String> {
    match asking.kind {
        ProbeKind::ForcedChoice => {
            asking.offered.iter().map(|option| option.text.clone()).collect()
        }
        ProbeKind::OwnAnswer => questions
            .own
            .get(&asking.probe.prompt)
            .map(|own| own.text.clone())
            .into_iter()
            .collect(),
    }
}

fn mean_own_answer(questions: &Questions, own: &BTreeMap<&str, Option<f64>>, unscored: f64) -> f64 {
    let per_token = |(prompt, answer): (&String, &crate::probe::questions::OwnAnswer)| {
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
        // Without a pair nothing shows that the adapter did anything.
        changed: differing as f64 / pairs.len().max(1) as f64,
    })
}
