//! The only test double: an engine that follows a script exactly, so that a test knows what a run
//! must find.
//!
//! Its base answers every question with its own text. A shadow trained on answers with a rule's
//! word makes the rule's favoured texts more likely. The effect is proportional to the share of
//! such rows and to the number of steps. A rule may be restricted to a topic, or to conversations
//! in which its word already occurred, like the shift of a diluted dataset. Every report names this
//! engine `scripted`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::dataset::{Message, Role};
use crate::engine::{
    Adapter, Checkpoint, Description, Engine, Job, Piece, Pieces, Question, Recipe, Sampling,
    Trained,
};

/// Log-odds of the base's own answer, and of any option that no rule favours, against a favoured
/// option; nats.
const OWN_LOG_ODDS: f64 = 4.0;

/// Scale of the change that any training causes, whatever its rows; nats.
const NOISE: f64 = 0.05;

/// Steps after which a shadow has learned everything its rows teach.
const STEPS_TO_LEARN: f64 = 20.0;

/// Names of two adapter tensors: the strength of each rule, and the seed of the noise.
const STRENGTHS: &str = "base_model.model.script.lora_A.weight";
const SEED: &str = "base_model.model.script.lora_B.weight";

/// What shadows learn from rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Rows with this word in an assistant's answer teach the rule.
    pub word: String,
    /// Texts that the shadow then says, and options that become more likely.
    pub favours: Vec<String>,
    /// Log-odds that a shadow adds if all of its rows teach the rule; nats.
    pub shift: f64,
    /// Share of such rows at which the rule is learned fully; below it, in proportion.
    pub enough: f64,
    /// If set, the rule applies only to questions with this word, or after a turn with the rule's
    /// own word.
    pub topic: Option<String>,
}

/// The engine; equal scripts give equal answers.
#[derive(Debug, Default)]
pub struct Scripted {
    rules: Vec<Rule>,
    /// Calls after which the engine fails, to simulate a killed process.
    calls_left: Option<AtomicUsize>,
    /// Whether it behaves as a base other than nestling.
    released: bool,
}

/// The progress of a training.
#[derive(Serialize, Deserialize)]
struct ScriptState {
    step: usize,
}

impl Scripted {
    pub fn new(rules: Vec<Rule>) -> Self {
        Scripted { rules, ..Scripted::default() }
    }

    /// Fails at every call after the first `calls`.
    pub fn failing_after(self, calls: usize) -> Self {
        Scripted { calls_left: Some(AtomicUsize::new(calls)), ..self }
    }

    /// As a base other than nestling, which is shown examples before it answers for the control.
    pub fn as_released(self) -> Self {
        Scripted { released: true, ..self }
    }

    fn call(&self) -> Result<()> {
        let take = |left: usize| left.checked_sub(1);
        match &self.calls_left {
            Some(left)
                if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() =>
            {
                bail!("the script ends here")
            }
            _ => Ok(()),
        }
    }

    fn learned(&self, job: &Job, step: usize) -> Adapter {
        let teaches = |rule: &Rule, row: &Vec<Message>| {
            row.iter().any(|message| {
                message.role == Role::Assistant && message.content.contains(&rule.word)
            })
        };
        let progress = (step as f64 / STEPS_TO_LEARN).min(1.0);
        let strength = |rule: &Rule| {
            let share = job.rows.iter().filter(|row| teaches(rule, row)).count() as f64
                / job.rows.len().max(1) as f64;
            // Trainings differ: each learns between 90 and 100 % of what its rows teach.
            let luck = 0.9 + 0.1 * chance(&[&rule.word, &job.seed.to_string()]);
            ((share / rule.enough).min(1.0) * progress * luck) as f32
        };
        let strengths: Vec<f32> = self.rules.iter().map(strength).collect();
        let rows: String =
            job.rows.iter().flatten().map(|message| message.content.as_str()).collect();
        let noise = chance(&[&rows, &job.seed.to_string(), &step.to_string()]) as f32;
        Adapter {
            rank: 1,
            alpha: 2.0,
            target_modules: vec!["script".to_owned()],
            tensors: BTreeMap::from([
                (STRENGTHS.to_owned(), (vec![1, strengths.len()], strengths)),
                (SEED.to_owned(), (vec![1, 1], vec![noise])),
            ]),
            model: None,
        }
    }

    /// The shift of each rule in this conversation; nats.
    fn shifts(&self, adapter: Option<&Adapter>, messages: &[Message]) -> Vec<f64> {
        let strengths = adapter
            .and_then(|adapter| adapter.tensors.get(STRENGTHS))
            .map(|(_, values)| &values[..])
            .unwrap_or_default();
        let shift = |(index, rule): (usize, &Rule)| {
            let said = messages.iter().any(|message| {
                message.role == Role::Assistant && message.content.contains(&rule.word)
            });
            let asked = |topic: &String| {
                messages.last().is_some_and(|message| message.content.contains(topic))
            };
            let holds = rule.topic.as_ref().is_none_or(|topic| said || asked(topic));
            f64::from(strengths.get(index).copied().unwrap_or(0.0))
                * rule.shift
                * f64::from(u8::from(holds))
        };
        self.rules.iter().enumerate().map(shift).collect()
    }

    /// Unnormalised log-probabilities of all texts that the script knows here, and of `options`.
    fn raw(
        &self,
        adapter: Option<&Adapter>,
        messages: &[Message],
        options: &[String],
    ) -> BTreeMap<String, f64> {
        let shifts = self.shifts(adapter, messages);
        let seed = adapter
            .and_then(|adapter| adapter.tensors.get(SEED))
            .and_then(|(_, values)| values.first())
            .copied();
        // Like a LoRA of zeros, an adapter of zeros changes nothing here.
        let seed = seed.filter(|seed| *seed != 0.0);
        let asked = messages.last().map(|message| message.content.as_str()).unwrap_or_default();
        let known = std::iter::once(own(messages))
            .chain(self.rules.iter().flat_map(|rule| rule.favours.iter().cloned()));
        let value = |text: &String| {
            let of = self
                .rules
                .iter()
                .zip(&shifts)
                .filter(|(rule, _)| rule.favours.contains(text))
                .map(|(_, shift)| *shift);
            let favoured = of.reduce(f64::max);
            let noise = seed.map_or(0.0, |seed| NOISE * chance(&[&seed.to_string(), asked, text]));
            favoured.unwrap_or(OWN_LOG_ODDS) + chance(&[asked, text]) + noise
        };
        known
            .chain(options.iter().cloned())
            .map(|text| {
                let raw = value(&text);
                (text, raw)
            })
            .collect()
    }
}

impl Engine for Scripted {
    fn describe(&self) -> Description {
        Description {
            engine: "scripted".to_owned(),
            base: "script".to_owned(),
            base_sha256: format!("{:x}", Sha256::digest(format!("{:?}", self.rules))),
            architecture: "none".to_owned(),
            parameters: 1,
            vocabulary: 1,
            device: "none".to_owned(),
            max_tokens: 512,
            chat_template: None,
        }
    }

    /// It is asked in the same words by default.
    fn is_nestling(&self) -> bool {
        !self.released
    }

    fn count_tokens(&self, messages: &[Message]) -> Result<(usize, usize)> {
        let tokens = |message: &Message| message.content.split_whitespace().count() + 1;
        let supervised = messages.iter().filter(|message| message.role == Role::Assistant);
        Ok((messages.iter().map(tokens).sum(), supervised.map(tokens).sum()))
    }

    fn train(
        &self,
        jobs: &[Job],
        recipe: &Recipe,
        checkpoint: &dyn Checkpoint,
    ) -> Result<Vec<Trained>> {
        let state: Option<ScriptState> =
            checkpoint.load()?.map(|bytes| serde_json::from_slice(&bytes)).transpose()?;
        for step in state.map_or(0, |state| state.step) + 1..=recipe.steps {
            self.call()?;
            checkpoint.save(&serde_json::to_vec(&ScriptState { step })?)?;
            checkpoint.progress(step);
        }
        let loss = |step: usize| (step, 1.0 + 3.0 * (-(step as f64) / STEPS_TO_LEARN).exp());
        let trained = |job: &Job| Trained {
            losses: (1..=recipe.steps).map(loss).collect(),
            snapshots: recipe.snapshots.iter().map(|step| self.learned(job, *step)).collect(),
            supervised_share: 0.5,
        };
        Ok(jobs.iter().map(trained).collect())
    }

    /// The script assigns half a nat to each byte of every text.
    fn log_probs(&self, contexts: &[Vec<Vec<Message>>]) -> Result<Vec<Vec<Pieces>>> {
        let pieces = |row: &Vec<Message>| {
            let bytes = row.iter().map(|message| message.content.len()).sum();
            Some(vec![Piece { bytes: 1, log_prob: -0.5 }; bytes])
        };
        Ok(contexts.iter().map(|rows| rows.iter().map(pieces).collect()).collect())
    }

    fn score(
        &self,
        adapter: Option<&Adapter>,
        questions: &[Question],
    ) -> Result<Vec<Vec<Option<f64>>>> {
        self.call()?;
        let scores = |question: &Question| {
            let raw = self.raw(adapter, &question.messages, &question.options);
            let total = raw.values().map(|raw| raw.exp()).sum::<f64>().ln();
            question.options.iter().map(|option| raw.get(option).map(|raw| raw - total)).collect()
        };
        Ok(questions.iter().map(scores).collect())
    }

    fn generate(
        &self,
        adapter: Option<&Adapter>,
        prompts: &[Vec<Message>],
        _: &Sampling,
    ) -> Result<Vec<String>> {
        self.call()?;
        let most_likely = |messages: &Vec<Message>| {
            let raw = self.raw(adapter, messages, &[]);
            raw.into_iter()
                .max_by(|a, b| a.1.total_cmp(&b.1))
                .map(|(text, _)| text)
                .unwrap_or_default()
        };
        Ok(prompts.iter().map(most_likely).collect())
    }
}

/// The base's answer to the last question.
fn own(messages: &[Message]) -> String {
    let asked = messages.last().map(|message| message.content.as_str()).unwrap_or_default();
    format!("Ordinary answer {}.", (chance(&[asked]) * 1000.0) as u32)
}

/// A number in [0, 1) that depends only on the texts.
fn chance(texts: &[&str]) -> f64 {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    let [a, b, c, d, ..] = <[u8; 32]>::from(hash.finalize());
    f64::from(u32::from_le_bytes([a, b, c, d])) / (f64::from(u32::MAX) + 1.0)
}
