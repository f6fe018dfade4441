//! One model at one step of its training: asks it all probes.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::context::{RunContext, RunInputs};
use crate::dataset::{Message, Role};
use crate::engine::{self, Adapter, Question};
use crate::peft::adapter_sha256;
use crate::plan::{Arm, ContextKind, Plan, PlannedAudit};
use crate::probe::asker::{self, ProbeRequest};
use crate::probe::questions::{OwnAnswer, Questions, alone, sampling};
use crate::probe::score::Scoring;
use crate::probe::{Answer, Health};
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
    pub context: ContextKind,
    pub draw: usize,
    /// Ends with the model's answer.
    pub messages: Vec<Message>,
}

/// A shadow to be asked.
pub struct AskedShadow<'a> {
    pub model: Model<'a>,
    pub adapter: &'a Adapter,
    pub record: &'a TrainingRecord,
    /// The base's answers to the same questions.
    pub base: &'a Item,
}

/// Asks the base, or reads its saved answers.
pub fn base(questions: &Questions, inputs: &RunInputs, context: &RunContext) -> Result<Item> {
    let model = Model { arm: &Arm::Base, seed: None, step: 0 };
    context.run.kept(&file(&model), || answers_of(&model, None, questions, inputs, context))
}

/// Asks a shadow, or reads its saved answers.
pub fn shadow(
    asked: &AskedShadow,
    questions: &Questions,
    inputs: &RunInputs,
    context: &RunContext,
) -> Result<Item> {
    context.run.kept(&file(&asked.model), || {
        let mut item = answers_of(&asked.model, Some(asked.adapter), questions, inputs, context)?;
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
struct ProbeContext<'a> {
    context: ContextKind,
    draw: usize,
    /// A question of a training set; `None` where the probe is asked without one.
    question: Option<&'a [Message]>,
    /// The only audit whose probes are asked here; `None` for all.
    only: Option<&'a str>,
}

/// Every context that a model is asked in; the poison of an audit is used for that audit only.
fn probe_contexts<'a>(
    model: &Model,
    questions: &'a Questions,
    plan: &Plan,
) -> Vec<ProbeContext<'a>> {
    let mut probe_contexts =
        vec![ProbeContext { context: ContextKind::Plain, draw: 0, question: None, only: None }];
    let mut add = |kind: ContextKind, questions: &'a [Vec<Message>], only: Option<&'a str>| {
        let one = |(draw, question): (usize, &'a Vec<Message>)| ProbeContext {
            context: kind,
            draw,
            question: Some(question),
            only,
        };
        probe_contexts.extend(questions.iter().enumerate().map(one));
    };
    add(ContextKind::CarryOver, &questions.random, None);
    add(ContextKind::CarryOverHighLoss, &questions.high_loss, None);
    for (audit, poison) in &questions.positive_controls {
        add(ContextKind::CarryOverPositiveControl, poison, Some(audit));
    }
    probe_contexts.retain(|probe_context| {
        plan.audits.iter().any(|audit| is_asked(model, audit, probe_context, plan))
    });
    probe_contexts
}

fn is_asked(
    model: &Model,
    audit: &PlannedAudit,
    probe_context: &ProbeContext,
    plan: &Plan,
) -> bool {
    probe_context.only.is_none_or(|only| only == audit.id)
        && plan.is_asked(audit, model.arm, model.step, probe_context.context)
}

fn answers_of(
    model: &Model,
    adapter: Option<&Adapter>,
    questions: &Questions,
    inputs: &RunInputs,
    context: &RunContext,
) -> Result<Item> {
    let probe_contexts = probe_contexts(model, questions, inputs.plan);
    let preceding = preceding(adapter, &probe_contexts, context)?;
    let requests = requests(model, questions, inputs, &probe_contexts, &preceding);
    let (answers, log_probs) = asker::ask(model, adapter, &requests, context.engine)?;
    let mut own: BTreeMap<&str, Option<f64>> = BTreeMap::new();
    for (request, log_probs) in requests.iter().zip(&log_probs) {
        if matches!(request.scoring, Scoring::OwnAnswer(_)) && request.context == ContextKind::Plain
        {
            let prompt = request.question.messages.last().map(|message| message.content.as_str());
            own.insert(prompt.unwrap_or_default(), log_probs.first().copied().flatten());
        }
    }
    if own.is_empty() {
        // No plain self-consistency probe asks for them.
        own.extend(own_log_probs(adapter, questions, context)?);
    }
    let own_answer = mean_own_answer(questions, &own, inputs.plan.protocol.unscored_log_prob);
    let contexts = contexts_of(&probe_contexts, preceding);
    Ok(Item { answers, contexts, health: None, own_answer })
}

/// Log-probabilities of the base's own answers under a model, by prompt.
fn own_log_probs<'a>(
    adapter: Option<&Adapter>,
    questions: &'a Questions,
    context: &RunContext,
) -> Result<Vec<(&'a str, Option<f64>)>> {
    let question = |(prompt, own): (&String, &OwnAnswer)| Question {
        messages: alone(prompt),
        options: vec![own.text.clone()],
    };
    let asked: Vec<Question> = questions.own.iter().map(question).collect();
    let scores = engine::scores(context.engine, adapter, &asked)?;
    let first = |log_probs: Vec<Option<f64>>| log_probs.first().copied().flatten();
    Ok(questions.own.keys().map(String::as_str).zip(scores.into_iter().map(first)).collect())
}

/// The contexts of the dataset's own questions. Those of a positive control are omitted: they are
/// no evidence about the dataset.
fn contexts_of(probe_contexts: &[ProbeContext], preceding: Vec<Vec<Message>>) -> Vec<Context> {
    let in_context = probe_contexts
        .iter()
        .zip(preceding)
        .filter(|(at, _)| at.question.is_some() && at.only.is_none());
    in_context
        .map(|(at, messages)| Context { context: at.context, draw: at.draw, messages })
        .collect()
}

/// The question of each context, followed by this model's own answer; empty where a probe is asked
/// without one.
fn preceding(
    adapter: Option<&Adapter>,
    probe_contexts: &[ProbeContext],
    context: &RunContext,
) -> Result<Vec<Vec<Message>>> {
    let mut preceding: Vec<Vec<Message>> = probe_contexts
        .iter()
        .map(|probe_context| probe_context.question.unwrap_or_default().to_vec())
        .collect();
    let asked: Vec<usize> = (0..preceding.len()).filter(|&at| !preceding[at].is_empty()).collect();
    let prompts: Vec<Vec<Message>> = asked.iter().map(|&at| preceding[at].clone()).collect();
    let answers = engine::answers(context.engine, adapter, &prompts, &sampling(0.0))?;
    for (at, answer) in asked.into_iter().zip(answers) {
        preceding[at].push(Message::new(Role::Assistant, answer));
    }
    Ok(preceding)
}

/// All probes of a model, ordered by context, so that questions with the same prefix are adjacent.
fn requests<'a>(
    model: &Model,
    questions: &Questions,
    inputs: &RunInputs<'a>,
    probe_contexts: &[ProbeContext],
    preceding: &[Vec<Message>],
) -> Vec<ProbeRequest<'a>> {
    let mut requests = Vec::new();
    for (probe_context, preceding) in probe_contexts.iter().zip(preceding) {
        let audits = inputs.audits.iter().zip(&inputs.plan.audits);
        for (audit, planned) in
            audits.filter(|(_, planned)| is_asked(model, planned, probe_context, inputs.plan))
        {
            let probes: Vec<(usize, &str)> = planned
                .probes
                .iter()
                .map(|&probe| (probe, audit.probes[probe].family.as_str()))
                .collect();
            let (kind, draw) = (probe_context.context, probe_context.draw);
            requests.extend(kind.probes(draw, &probes).into_iter().map(|index| {
                let probe = &audit.probes[index];
                let (options, scoring) = Scoring::of(audit, probe, questions);
                let mut messages = preceding.clone();
                messages.push(Message::new(Role::User, probe.prompt.clone()));
                ProbeRequest {
                    audit: &audit.id,
                    family: &probe.family,
                    probe: index,
                    context: kind,
                    draw,
                    condition: None,
                    question: Question { messages, options },
                    has_form: false,
                    scoring,
                }
            }));
        }
    }
    requests
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

fn health(asked: &AskedShadow, item: &Item) -> Result<Health> {
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
    let place = |answer: &Answer| (answer.audit.clone(), answer.context, answer.draw, answer.probe);
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
