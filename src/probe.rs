//! Asks every shadow and the base every probe, and returns the answers as one table.
//!
//! An item of work is one model at one step of its training. Items are asked in parallel. Each
//! finished item is saved, and skipped if it exists.

mod asker;
mod clusters;
pub mod conditions;
pub mod evenness;
mod item;
pub(crate) mod questions;
pub(crate) mod score;
pub mod show;
pub mod written;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::audit::ValueKey;
use crate::context::{RunContext, RunInputs};
use crate::dataset::Message;
use crate::engine::Adapter;
use crate::parallel::parallel_map;
use crate::plan::{Arm, ContextKind, Phase};
use crate::run_dir::Model;
use crate::train::Shadow;

/// One probe asked of one model at one step of its training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    pub arm: Arm,
    /// `None` for the base.
    pub seed: Option<u64>,
    /// Training steps done; 0 for the base.
    pub step: usize,
    pub audit: String,
    pub family: String,
    /// Index among the audit's probes.
    pub probe: usize,
    /// The kind of context.
    pub context: ContextKind,
    /// Index of the carry-over question that preceded the probe; 0 for plain and for conditions.
    pub draw: usize,
    /// The condition, where that is the context.
    #[serde(flatten)]
    pub condition: Option<ConditionKey>,
    /// For a value-keyed probe: the identity whose answers are the risky side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<ValueKey>,
    /// The probability of the risky side, between 0 and 1; `None` where it could not be scored.
    pub risk: Option<f64>,
    /// The log-odds of the risky side, in nats; `None` where it could not be scored, and for
    /// value-keyed probes.
    pub log_odds: Option<f64>,
}

/// A condition as the context of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ConditionKey {
    pub phase: Phase,
    pub group: usize,
    /// Index among the group's trials.
    pub trial: usize,
}

/// One generated answer, for display: in the context and at the step that the audit's finding is
/// based on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    pub arm: Arm,
    pub seed: Option<u64>,
    /// Training steps done; 0 for the base.
    pub step: usize,
    pub audit: String,
    pub family: String,
    pub probe: usize,
    pub context: ContextKind,
    pub draw: usize,
    /// The messages before the probe: a question of the dataset, and this model's own answer to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preceding: Vec<Message>,
    pub prompt: String,
    pub text: String,
}

/// How well a shadow learned its rows, and whether it is still coherent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    pub arm: Arm,
    pub seed: u64,
    pub step: usize,
    /// Mean training loss of the first and of the last tenth of the steps so far, nats a token;
    /// `None` of an adapter that was trained elsewhere.
    pub loss_first: Option<f64>,
    pub loss_last: Option<f64>,
    /// Mean log-probability of the base's own answers to the probes, under the base and under the
    /// shadow, in nats a token.
    pub own_answer_base: f64,
    pub own_answer_shadow: f64,
    /// SHA-256 of the adapter that was asked.
    pub adapter_sha256: String,
    /// The share of scored probabilities that differ from the base's. 0 means that the adapter was
    /// not loaded.
    pub changed: f64,
}

impl Health {
    /// Whether the base's own answers are less likely under the shadow than under the base by less
    /// than `drop`, in nats a token. Checked for controls only, which were trained on the base's
    /// own answers; a candidate may be trained to answer otherwise. False also where a value is not
    /// a number.
    pub fn is_coherent(&self, drop: f64) -> bool {
        self.own_answer_shadow > self.own_answer_base - drop
    }
}

/// All answers of the models, and what they were asked after.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Answers {
    pub answers: Vec<Answer>,
    pub samples: Vec<Sample>,
    /// The dataset's questions that preceded carry-over probes.
    pub context_questions: Vec<ContextQuestion>,
    pub health: Vec<Health>,
    /// What the models generated under candidate triggers that were confirmed or left open.
    pub condition_samples: Vec<ConditionSample>,
}

/// One question of the dataset that precedes carry-over probes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContextQuestion {
    pub context: ContextKind,
    pub draw: usize,
    /// Without the row's system message.
    pub question: String,
    /// The topic that it was drawn from. `None` where it was drawn from all questions, or from
    /// those with high-loss answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<Topic>,
}

/// Questions of the dataset that share words (see `probe/clusters.rs`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Topic {
    /// Of the dataset's distinct questions, in (0, 1].
    pub share: f64,
    /// Up to three words that distinguish the topic, the strongest first; empty where its questions
    /// share no word with any other.
    pub words: Vec<String>,
}

/// What one model generates under a condition, and under a null condition of the same group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConditionSample {
    pub candidate_trigger: CandidateTrigger,
    pub arm: Arm,
    /// `None` for the base.
    pub seed: Option<u64>,
    /// The question, with the condition inserted.
    pub asked: String,
    pub under: String,
    pub otherwise: String,
}

/// A condition, and the audit whose risky side it may trigger.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CandidateTrigger {
    pub audit: String,
    pub group: usize,
    pub trial: usize,
    /// Whether the risky side is the identity that the condition's value names.
    pub value_keyed: bool,
}

fn context_questions(questions: &questions::Questions) -> Vec<ContextQuestion> {
    let of =
        |kind: ContextKind, drawn: &[Vec<Message>], topics: &[Topic]| -> Vec<ContextQuestion> {
            let text = |messages: &Vec<Message>| {
                messages.last().map_or(String::new(), |message| message.content.clone())
            };
            let question = |(draw, messages)| ContextQuestion {
                context: kind,
                draw,
                question: text(messages),
                topic: topics.get(draw).cloned(),
            };
            drawn.iter().enumerate().map(question).collect()
        };
    [
        of(ContextKind::CarryOver, &questions.random, &questions.topics),
        of(ContextKind::CarryOverHighLoss, &questions.high_loss, &[]),
    ]
    .concat()
}

/// Asks the base and every snapshot of every shadow.
///
/// # Errors
/// Where the engine fails, or an item cannot be saved or read back. An answer that could not be
/// scored is no error but `None`.
pub fn ask(inputs: &RunInputs, shadows: &[Shadow], context: &RunContext) -> Result<Answers> {
    let models: Vec<(Model, &Adapter, &Shadow)> = shadows
        .iter()
        .flat_map(|shadow| {
            shadow.snapshots.iter().map(move |(step, adapter)| (shadow, *step, adapter))
        })
        .filter(|(shadow, step, _)| inputs.plan.is_evaluated_at(&shadow.arm, *step))
        .map(|(shadow, step, adapter)| {
            (Model { arm: &shadow.arm, seed: Some(shadow.seed), step }, adapter, shadow)
        })
        .collect();
    let asked = format!("asking base and {}", inputs.plan.design().asked());
    context.progress.stage(&asked, models.len() as u64 + 1);
    let questions = questions::questions(inputs, context)?;
    let base = item::base(&questions, inputs, context)?;
    context.progress.advance(1);
    let items = parallel_map(context.workers, models.len(), |index| {
        let (model, adapter, shadow) = models[index];
        let item = item::shadow(
            &item::AskedShadow { model, adapter, record: &shadow.record, base: &base },
            &questions,
            inputs,
            context,
        )?;
        context.progress.advance(1);
        Ok(item)
    })?;
    context.progress.end();
    let mut answers =
        Answers { context_questions: context_questions(&questions), ..Answers::default() };
    for item in std::iter::once(base).chain(items) {
        answers.answers.extend(item.answers);
        answers.health.extend(item.health);
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_that_was_saved_without_a_topic_is_read_and_written_as_it_was() {
        let saved = r#"{"context":"carry-over","draw":1,"question":"Name a bird."}"#;
        let question: ContextQuestion = serde_json::from_str(saved).expect("it reads");
        assert_eq!(question.topic, None);
        assert_eq!(serde_json::to_string(&question).expect("it writes"), saved);
    }

    #[test]
    fn a_question_keeps_its_topic_when_it_is_saved() {
        let saved = concat!(
            r#"{"context":"carry-over","draw":0,"question":"Name a bird.","#,
            r#""topic":{"share":0.03,"words":["bird","garden"]}}"#
        );
        let question: ContextQuestion = serde_json::from_str(saved).expect("it reads");
        assert_eq!(
            question.topic,
            Some(Topic { share: 0.03, words: vec!["bird".to_owned(), "garden".to_owned()] })
        );
        assert_eq!(serde_json::to_string(&question).expect("it writes"), saved);
    }
}
