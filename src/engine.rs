//! The one noisy seam: whatever trains shadows, scores answers and writes text.
//!
//! Two implementations compute: [`crate::lm`] on burn, and [`scripted`], the exact double for
//! tests, which stamps itself into every report. Two pass on: [`remote`] to another process,
//! [`team`] to whichever of several is idle.

pub mod remote;
pub mod scripted;
pub mod team;

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::dataset::Message;

/// Where a model runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Place {
    /// CUDA cards, where there are any and the program was built for them; else this processor.
    #[default]
    Auto,
    Cpu,
    /// The CUDA card with this number, counted from 0.
    Cuda(usize),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Auto => write!(f, "auto"),
            Place::Cpu => write!(f, "cpu"),
            Place::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl std::str::FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("cuda:").map(str::parse)) {
            ("auto", _) => Ok(Place::Auto),
            ("cpu", _) => Ok(Place::Cpu),
            ("cuda", _) => Ok(Place::Cuda(0)),
            (_, Some(Ok(index))) => Ok(Place::Cuda(index)),
            _ => Err("give auto, cpu or cuda:N, N counted from 0".to_owned()),
        }
    }
}

/// What an engine says of itself, for the manifest and the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// `burn-flex`, `scripted`, ...
    pub engine: String,
    /// The base's name for people, for instance `nestling` or the folder's name.
    pub base: String,
    /// SHA-256 over the base's files.
    pub base_sha256: String,
    pub architecture: String,
    pub parameters: u64,
    pub vocabulary: usize,
    pub device: String,
    /// The longest conversation that the base can read, in tokens.
    pub max_tokens: usize,
}

/// LoRA weights on the host, named as in PEFT (`base_model.model.<path>.lora_A.weight`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Adapter {
    pub rank: usize,
    pub alpha: f64,
    /// Module names that carry LoRA weights, for instance `q_proj`.
    pub target_modules: Vec<String>,
    /// Name -> shape and values, row-major.
    pub tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
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
    /// Rows a step.
    pub batch: usize,
    pub steps: usize,
    /// The gradient's global norm is clipped to this, shadow by shadow.
    pub clip_norm: f64,
    pub weight_decay: f64,
    /// Rows longer than this many tokens are cut at the end.
    pub max_tokens: usize,
    /// Steps after which the shadow is looked at, in rising order; the last is `steps`.
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

/// What training one shadow gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    /// (step, mean loss of a supervised token, nats), one entry a step.
    pub losses: Vec<(usize, f64)>,
    /// One adapter a snapshot of the recipe, in its order.
    pub snapshots: Vec<Adapter>,
    /// The share of the tokens seen that carried loss.
    pub supervised_share: f64,
}

/// Where training leaves its state from time to time, so that it can go on after a kill.
pub trait Checkpoint: Sync {
    /// The bytes last saved, if any.
    fn load(&self) -> Result<Option<Vec<u8>>>;
    fn save(&self, state: &[u8]) -> Result<()>;
    /// Called after every step with the steps done so far.
    fn progress(&self, step: usize);
}

/// A conversation to be continued and the continuations to be scored. Questions with equal openings
/// share work.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Question {
    /// Ends with a user message.
    pub messages: Vec<Message>,
    /// Texts that the assistant might answer.
    pub options: Vec<String>,
}

/// Bytes of a message that the base predicts at once, which are those of one token, or of a few
/// that share a character.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    pub bytes: usize,
    /// Nats, given all that comes before.
    pub log_prob: f64,
}

/// All of a row's text, message by message, in pieces of which none belongs to two messages; `None`
/// where the row could not be scored.
pub type Pieces = Option<Vec<Piece>>;

/// How text is drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 is greedy.
    pub temperature: f64,
    pub top_p: f64,
    pub max_tokens: usize,
    /// Question i is drawn with its own stream, derived from this seed and i.
    pub seed: u64,
}

impl Sampling {
    /// From all of the vocabulary, always by the same stream.
    pub fn new(temperature: f64, max_tokens: usize) -> Self {
        Sampling { temperature, top_p: 1.0, max_tokens, seed: 0 }
    }
}

/// A base model that can train shadows and be asked.
pub trait Engine: Sync {
    fn describe(&self) -> Description;

    /// Tokens in the rendered conversation, and how many of them carry loss.
    fn count_tokens(&self, messages: &[Message]) -> Result<(usize, usize)>;

    /// How the base predicts the rows of each context, as training packs them: each rendered by
    /// itself, one after the other. What a template adds is not counted. `None` for a row that the
    /// template refuses or changes, or that goes beyond what the base can read.
    fn log_probs(&self, contexts: &[Vec<Vec<Message>>]) -> Result<Vec<Vec<Pieces>>>;

    /// How many shadows it trains in one pass at most: as many as an arm has where they share work
    /// with the base, one where each is better off alone.
    fn abreast(&self) -> usize {
        usize::MAX
    }

    /// Other processes that compute for it, by their numbers.
    fn processes(&self) -> Vec<u32> {
        Vec::new()
    }

    /// Trains all jobs of one group side by side with the same recipe; the result does not depend
    /// on the machine's load. Where `checkpoint` holds a state, training goes on from there and
    /// ends in the same bits.
    fn train(
        &self,
        jobs: &[Job],
        recipe: &Recipe,
        checkpoint: &dyn Checkpoint,
    ) -> Result<Vec<Trained>>;

    /// Log-probability (nats, summed over the option's tokens and the end of the turn) of every
    /// option of every question, under the base (`None`) or an adapter. `None` where it could not
    /// be scored (too long for the base, not a number).
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

/// [`Engine::score`], held to one entry a question.
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

/// [`Engine::generate`], held to one answer a conversation.
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
