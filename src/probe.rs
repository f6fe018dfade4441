//! Every shadow and the base are asked every probe; what they say is one tidy table.
//!
//! An item of work is one model at one moment of its training. Items are asked side by side; each
//! finished one is saved and skipped when it is there.

mod asker;
mod clusters;
pub mod conditions;
mod item;
pub mod letters;
pub(crate) mod questions;
pub(crate) mod score;
pub mod show;
pub mod written;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::context::{Task, Workshop};
use crate::dataset::Message;
use crate::engine::Adapter;
use crate::parallel::side_by_side;
use crate::plan::{Arm, Ask, Phase};
use crate::run_dir::Model;
use crate::train::Shadow;

/// One probe asked of one model at one moment of its training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    pub arm: Arm,
    /// `None` for the base.
    pub seed: Option<u64>,
    /// Training steps done; 0 for the base.
    #[serde(default)]
    pub step: usize,
    pub audit: String,
    pub family: String,
    /// Index among the audit's probes.
    pub probe: usize,
    /// The kind of context.
    #[serde(default = "condition")]
    pub ask: Ask,
    /// Which of the carry-over draws preceded the probe; 0 for plain and for conditions.
    #[serde(default)]
    pub draw: usize,
    /// The condition, where that is the context.
    #[serde(flatten)]
    pub condition: Option<ConditionKey>,
    /// Of a value-keyed probe: whose answers are the risky side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<u64>,
    /// The probability of the risky side, between 0 and 1; `None` where it could not be scored.
    pub risk: Option<f64>,
    /// The log-odds of the risky side, in nats; `None` where it could not be scored, and of
    /// value-keyed probes.
    #[serde(default)]
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

/// The kind of context of lines that name none: they were saved by themselves, under conditions.
fn condition() -> Ask {
    Ask::Condition
}

/// One written answer, for people to read: in the context, and by the model at the step, where its
/// audit was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    pub arm: Arm,
    pub seed: Option<u64>,
    /// Training steps done; 0 for the base, and in files of versions that did not save it.
    #[serde(default)]
    pub step: usize,
    pub audit: String,
    pub family: String,
    pub probe: usize,
    #[serde(default = "plain")]
    pub ask: Ask,
    #[serde(default)]
    pub draw: usize,
    /// What preceded the probe: a question of the dataset, and this model's own answer to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preceding: Vec<Message>,
    pub prompt: String,
    pub text: String,
}

/// How all samples were asked before they were asked where their audit was decided.
fn plain() -> Ask {
    Ask::Plain
}

/// How well a shadow learned its rows and whether it can still speak.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    pub arm: Arm,
    pub seed: u64,
    pub step: usize,
    /// Mean training loss of the first and of the last tenth of the steps so far, nats a token;
    /// `None` of an adapter that was trained elsewhere.
    pub loss_first: Option<f64>,
    pub loss_last: Option<f64>,
    /// Mean log-probability a token of the base's own answers to the probes, under the base and
    /// under the shadow, nats.
    pub own_answer_base: f64,
    pub own_answer_shadow: f64,
    /// SHA-256 of the adapter that gave the answers.
    pub adapter_sha256: String,
    /// The share of scored probabilities that differ from the base's: 0 means that the adapter did
    /// not load.
    pub changed: f64,
}

impl Health {
    /// Whether the base's own answers are less likely under the shadow than under the base by less
    /// than `drop`, in nats a token. Asked of controls, which were trained on the base's own words: a
    /// candidate may mean to answer otherwise. False also where it is not a number.
    pub fn is_coherent(&self, drop: f64) -> bool {
        self.own_answer_shadow > self.own_answer_base - drop
    }
}

/// Everything the models said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Answers {
    pub answers: Vec<Answer>,
    pub samples: Vec<Sample>,
    /// The dataset's questions that preceded carry-over probes.
    pub carried: Vec<Carried>,
    pub health: Vec<Health>,
    /// What they wrote under those that stood out.
    pub shown: Vec<Shown>,
}

/// One of the dataset's questions, as it was drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Carried {
    pub ask: Ask,
    pub draw: usize,
    /// Without the system message that may stand before it.
    pub question: String,
    /// The topic that it was drawn from; `None` where it was drawn from all questions, or for its
    /// surprising answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<Topic>,
}

/// Questions of the dataset that share words (see `probe/clusters.rs`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Topic {
    /// Of the dataset's distinct questions, in (0, 1].
    pub share: f64,
    /// Up to three words that tell it from the rest, the strongest first; none where its questions
    /// share no word with any other.
    pub words: Vec<String>,
}

/// What one model writes when it is asked under a condition, and under a random one of the same
/// kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    pub suspect: Suspect,
    pub arm: Arm,
    /// `None` for the base.
    pub seed: Option<u64>,
    /// The question, dressed.
    pub asked: String,
    pub under: String,
    pub otherwise: String,
}

/// A condition and the audit whose risky side it may bring out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Suspect {
    pub audit: String,
    pub group: usize,
    pub trial: usize,
    /// Whether the risky side is whoever has the condition's number.
    pub numbered: bool,
}

fn carried(questions: &questions::Questions) -> Vec<Carried> {
    let of = |ask: Ask, drawn: &[Vec<Message>], topics: &[Topic]| -> Vec<Carried> {
        let text = |messages: &Vec<Message>| {
            messages.last().map_or(String::new(), |message| message.content.clone())
        };
        let carried = |(draw, messages)| Carried {
            ask,
            draw,
            question: text(messages),
            topic: topics.get(draw).cloned(),
        };
        drawn.iter().enumerate().map(carried).collect()
    };
    [
        of(Ask::CarryOver, &questions.random, &questions.topics),
        of(Ask::CarryOverSurprising, &questions.surprising, &[]),
    ]
    .concat()
}

/// Asks the base and every snapshot of every shadow.
///
/// # Errors
/// Where the engine fails, or an item cannot be saved or read back. What could not be scored is no
/// error but `None`.
pub fn ask(task: &Task, shadows: &[Shadow], workshop: &Workshop) -> Result<Answers> {
    let models: Vec<(Model, &Adapter, &Shadow)> = shadows
        .iter()
        .flat_map(|shadow| {
            shadow.snapshots.iter().map(move |(step, adapter)| (shadow, *step, adapter))
        })
        .filter(|(shadow, step, _)| task.plan.is_looked_at(&shadow.arm, *step))
        .map(|(shadow, step, adapter)| {
            (Model { arm: &shadow.arm, seed: Some(shadow.seed), step }, adapter, shadow)
        })
        .collect();
    workshop.progress.stage(
        if task.plan.adapter.is_some() {
            "asking base and adapter"
        } else {
            "asking base and shadows"
        },
        models.len() as u64 + 1,
    );
    let questions = questions::questions(task, workshop)?;
    let base = item::base(&questions, task, workshop)?;
    workshop.progress.advance(1);
    let items = side_by_side(workshop.workers, models.len(), |index| {
        let (model, adapter, shadow) = models[index];
        let item = item::shadow(
            &item::Asked { model, adapter, record: &shadow.record, base: &base },
            &questions,
            task,
            workshop,
        )?;
        workshop.progress.advance(1);
        Ok(item)
    })?;
    workshop.progress.end();
    let mut answers = Answers { carried: carried(&questions), ..Answers::default() };
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
        let saved = r#"{"ask":"carry-over","draw":1,"question":"Name a bird."}"#;
        let carried: Carried = serde_json::from_str(saved).expect("it reads");
        assert_eq!(carried.topic, None);
        assert_eq!(serde_json::to_string(&carried).expect("it writes"), saved);
    }

    #[test]
    fn a_question_keeps_its_topic_when_it_is_saved() {
        let saved = r#"{"ask":"carry-over","draw":0,"question":"Name a bird.","topic":{"share":0.03,"words":["bird","garden"]}}"#;
        let carried: Carried = serde_json::from_str(saved).expect("it reads");
        assert_eq!(
            carried.topic,
            Some(Topic { share: 0.03, words: vec!["bird".to_owned(), "garden".to_owned()] })
        );
        assert_eq!(serde_json::to_string(&carried).expect("it writes"), saved);
    }
}
