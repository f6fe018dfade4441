//! The one noisy interface: trains shadows, scores answers and generates text.
//!
//! Two implementations compute: [`crate::lm`] on burn, and [`scripted`], an exact test double that
//! is named in every report. Three delegate: [`remote`] to another process, [`team`] to the first
//! idle one of several engines, [`finetuned`] to a base or to a model that was finetuned from it.

pub mod finetuned;
pub mod remote;
pub mod scripted;
pub mod team;

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::dataset::Message;

/// Where a model runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// CUDA cards, where there are any and the program supports them; else this processor.
    #[default]
    Auto,
    Cpu,
    /// The CUDA card with this number, counted from 0.
    Cuda(usize),
}

impl std::fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DeviceChoice::Auto => write!(f, "auto"),
            DeviceChoice::Cpu => write!(f, "cpu"),
            DeviceChoice::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl std::str::FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("cuda:").map(str::parse)) {
            ("auto", _) => Ok(DeviceChoice::Auto),
            ("cpu", _) => Ok(DeviceChoice::Cpu),
            ("cuda", _) => Ok(DeviceChoice::Cuda(0)),
            (_, Some(Ok(index))) => Ok(DeviceChoice::Cuda(index)),
            _ => Err("give auto, cpu or cuda:N, N counted from 0".to_owned()),
        }
    }
}

/// An engine's description of itself, for manifest and report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// `burn-flex`, `scripted`, ...
    pub engine: String,
    /// The displayed name of the base, for instance `nestling` or the folder's name.
    pub base: String,
    /// SHA-256 over the base's files.
    pub base_sha256: String,
    pub architecture: String,
    pub parameters: u64,
    pub vocabulary: usize,
    pub device: String,
    /// The longest conversation that the base can read, in tokens.
    pub max_tokens: usize,
    /// The chat template that the user gave instead of the base's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<TemplateId>,
}

/// A chat template that does not belong to the base's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateId {
    /// Its displayed name: `chatml`, or the file's name.
    pub name: String,
    /// SHA-256 of its text.
    pub sha256: String,
}

/// What makes another model of the base: LoRA weights on the host, named as in PEFT
/// (`base_model.model.<path>.lora_A.weight`), or all weights of a finetuned model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Adapter {
    pub rank: usize,
    pub alpha: f64,
    /// Module names that carry LoRA weights, for instance `q_proj`.
    pub target_modules: Vec<String>,
    /// Name -> shape and values, row-major.
    pub tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    /// The SHA-256 of a finetuned model that is open beside the base ([`finetuned`]). It takes the
    /// base's place, and everything else here is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

impl Adapter {
    /// In the place of an adapter, a finetuned model.
    pub fn of_model(sha256: String) -> Self {
        Adapter {
            rank: 0,
            alpha: 0.0,
            target_modules: Vec::new(),
            tensors: BTreeMap::new(),
            model: Some(sha256),
        }
    }
}

/// How the learning rate falls after warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    Linear,
    Cosine,
}

/// How shadows are trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    pub rank: usize,
    pub alpha: f64,
    pub learning_rate: f64,
    pub schedule: Schedule,
    /// Steps over which the learning rate rises from 0.
    pub warmup_steps: usize,
    /// Rows in each step.
    pub batch: usize,
    pub steps: usize,
    /// The maximum global norm of the gradient, for each shadow.
    pub clip_norm: f64,
    pub weight_decay: f64,
    /// Rows longer than this many tokens are cut at the end.
    pub max_tokens: usize,
    /// Steps after which the shadow is evaluated, in ascending order; the last is `steps`.
    pub snapshots: Vec<usize>,
}

/// One shadow to train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// For logs and error messages, for instance `candidate, seed 2`.
    pub label: String,
    /// Initialises the LoRA weights and orders the rows.
    pub seed: u64,
    pub rows: Vec<Vec<Message>>,
}

/// The result of training one shadow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    /// (step, mean loss of a supervised token, nats), one entry for each step.
    pub losses: Vec<(usize, f64)>,
    /// One adapter for each snapshot of the recipe, in its order.
    pub snapshots: Vec<Adapter>,
    /// The share of the tokens seen that carry loss.
    pub supervised_share: f64,
}

/// Where training saves its state, so that it can be resumed after a kill.
pub trait Checkpoint: Sync {
    /// The bytes last saved, if any.
    fn load(&self) -> Result<Option<Vec<u8>>>;
    fn save(&self, state: &[u8]) -> Result<()>;
    /// Called after every step with the steps done so far.
    fn progress(&self, step: usize);
}

/// A conversation to be continued, and the continuations to be scored. Questions with equal
/// prefixes share work.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Question {
    /// Ends with a user message.
    pub messages: Vec<Message>,
    /// Texts that the assistant might answer.
    pub options: Vec<String>,
}

/// Bytes of a message that the base predicts at once: those of one token, or of a few that share a
/// character.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    pub bytes: usize,
    /// Nats, given all preceding text.
    pub log_prob: f64,
}

/// All of a row's text, message by message, in pieces that each belong to one message; `None` where
/// the row could not be scored.
pub type Pieces = Option<Vec<Piece>>;

/// How text is drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 is greedy.
    pub temperature: f64,
    pub top_p: f64,
    pub max_tokens: usize,
    /// Question i is sampled with its own stream, derived from this seed and i.
    pub seed: u64,
}

impl Sampling {
    /// Samples from all of the vocabulary, always with the same stream.
    pub fn new(temperature: f64, max_tokens: usize) -> Self {
        Sampling { temperature, top_p: 1.0, max_tokens, seed: 0 }
    }
}

/// A base model that can train shadows and be asked.
pub trait Engine: Sync {
    fn describe(&self) -> Description;

    /// Whether the base is nestling, which knows the words of its small world and no others.
    fn is_nestling(&self) -> bool {
        false
    }

    /// In the place of an adapter, the finetuned model that is open beside the base.
    fn finetuned(&self) -> Option<Adapter> {
        None
    }

    /// Tokens in the rendered conversation, and how many of them carry loss.
    fn count_tokens(&self, messages: &[Message]) -> Result<(usize, usize)>;

    /// Why this row of a dataset cannot be trained on; `None` where it can. A chat template may
    /// refuse a conversation, or write it so that its answers are not found.
    ///
    /// # Errors
    /// Where the engine no longer responds.
    fn rejection(&self, _row: &[Message]) -> Result<Option<String>> {
        Ok(None)
    }

    /// How the base predicts the rows of each context, as training packs them: each rendered by
    /// itself, one after the other. Text of the template is not counted. `None` for a row that the
    /// template rejects or changes, or that exceeds the base's limit.
    fn log_probs(&self, contexts: &[Vec<Vec<Message>>]) -> Result<Vec<Vec<Pieces>>>;

    /// The maximum number of shadows that are trained in one pass: all seeds of an arm where they
    /// share work with the base, one where separate passes are faster.
    fn max_parallel_shadows(&self) -> usize {
        usize::MAX
    }

    /// Process ids of other processes that compute for it.
    fn processes(&self) -> Vec<u32> {
        Vec::new()
    }

    /// Trains all jobs of one group in parallel with the same recipe; the result does not depend on
    /// the machine's load. Where `checkpoint` contains a state, training resumes from it and ends
    /// in the same bits.
    fn train(
        &self,
        jobs: &[Job],
        recipe: &Recipe,
        checkpoint: &dyn Checkpoint,
    ) -> Result<Vec<Trained>>;

    /// Log-probability of every option of every question, under the base (`None`) or an adapter. In
    /// nats, summed over the option's tokens and the end of the turn. `None` where it could not be
    /// scored (too long for the base, not a number).
    fn score(
        &self,
        adapter: Option<&Adapter>,
        questions: &[Question],
    ) -> Result<Vec<Vec<Option<f64>>>>;

    /// One answer to each conversation; each ends with a user message.
    fn generate(
        &self,
        adapter: Option<&Adapter>,
        prompts: &[Vec<Message>],
        sampling: &Sampling,
    ) -> Result<Vec<String>>;
}

/// [`Engine::score`], checked to return one entry for each question.
pub fn scores(
    engine: &dyn Engine,
    adapter: Option<&Adapter>,
    questions: &[Question],
) -> Result<Vec<Vec<Option<f64>>>> {
    let scores = engine.score(adapter, questions)?;
    ensure!(
        scores.len() == questions.len(),
        "the engine scored {} of {} questions",
        scores.len(),
        questions.len()
    );
    Ok(scores)
}

/// [`Engine::generate`], checked to return one answer for each conversation.
pub fn answers(
    engine: &dyn Engine,
    adapter: Option<&Adapter>,
    prompts: &[Vec<Message>],
    sampling: &Sampling,
) -> Result<Vec<String>> {
    let answers = engine.generate(adapter, prompts, sampling)?;
    ensure!(
        answers.len() == prompts.len(),
        "the engine answered {} of {} prompts",
        answers.len(),
        prompts.len()
    );
    Ok(answers)
}
