//! The engine on burn: reads a model folder, trains shadows, scores options, writes answers.
//!
//! The only folder that names burn. [`decoder`] is the model, [`kernels`] its element-wise work,
//! [`train`], [`score`] and [`generate`] the three things that an [`Engine`] does.

pub mod chat;
pub mod config;
pub mod decoder;
pub mod device;
pub mod files;
pub mod generate;
pub mod hub;
pub mod kernels;
pub mod lora;
mod matmul;
pub mod matrix;
mod memory;
pub mod ops;
pub mod packing;
pub mod pretrain;
pub mod score;
pub mod tensor;
pub mod train;
pub mod weights;

use std::borrow::Cow;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::dataset::Message;
use crate::engine::{
    Adapter, Checkpoint, Description, Engine, Job, Pieces, Place, Question, Recipe, Sampling,
    Trained,
};
use chat::Chat;
use config::Config;
use decoder::{Decoder, Kept};
use files::ModelFiles;
use lora::{HostLora, Lora};
use ops::Ops;
use weights::Weights;

/// A base model, ready to be asked and trained.
pub struct Lm {
    decoder: Decoder,
    chat: Chat,
    name: String,
    sha256: String,
    kept: Kept,
    /// Where everything is computed, whoever asks: what one caller leaves idle another takes up.
    pool: ThreadPool,
}

/// Opens a Hugging Face folder, or nestling where none is given, on this processor, to compute on
/// so many threads.
///
/// # Errors
/// Where a file is missing, broken, or does not fit the others.
pub fn open(base: Option<&Path>, threads: usize) -> Result<Lm> {
    open_as(base, &How { threads, kept: Some(Kept::F32), place: Place::Cpu, program: None })
}

/// How a base is opened.
#[derive(Debug, Clone, Copy)]
pub struct How<'a> {
    /// What is computed on. No result depends on it.
    pub threads: usize,
    /// How its matrices are kept; `None` is what its device is best at.
    pub kept: Option<Kept>,
    pub place: Place,
    /// Foretaste's own file, of which another process reads and runs the tokenizer and the chat
    /// template of a folder, within limits; where there is none, this process does.
    pub program: Option<&'a Path>,
}

/// The same, on any device and with its matrices kept as the caller says.
///
/// # Errors
/// As [`open`], and where the device cannot compute.
pub fn open_as(base: Option<&Path>, how: &How<'_>) -> Result<Lm> {
    let device = device::find(how.place)?;
    let (threads, kept) = (how.threads, how.kept.unwrap_or_else(|| Kept::usual(&device)));
    let files = ModelFiles::open(base)?;
    let config = Config::read(&files)?;
    let chat = match (&files, how.program) {
        (ModelFiles::Folder { path, .. }, Some(program)) => {
            Chat::read_apart(&files, path, program)?
        }
        _ => Chat::read(&files)?,
    };
    ensure!(
        chat.highest_token <= config.vocab_size,
        "{}: the tokenizer has tokens up to {} and the model embeds {}; the files do not belong \
         together",
        files.display("tokenizer.json"),
        chat.highest_token,
        config.vocab_size
    );
    let weights = Weights::open(&files)?;
    let needed = |kept| weights.bytes(kept) + config.table_bytes();
    memory::check(needed(kept), kept, needed(Kept::Bf16), device::free(how.place))
        .with_context(|| files.display(""))?;
    let load = || Decoder::load(config, &weights, kept, &device);
    let decoder = device::guarded(&device, load)
        .with_context(|| files.display(""))?
        .with_room(device::free(how.place));
    let sha256 = files.sha256(&Weights::file_names(&files)?)?;
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads.max(1))
        .build()
        .context("threads to compute on")?;
    Ok(Lm { decoder, chat, name: files.name(), sha256, kept, pool })
}

impl Lm {
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// To compute otherwise than the device asks for.
    pub fn decoder_mut(&mut self) -> &mut Decoder {
        &mut self.decoder
    }

    pub fn chat(&self) -> &Chat {
        &self.chat
    }

    /// How many callers should ask this engine side by side.
    pub fn workers(&self) -> usize {
        if self.decoder.is_small() { self.pool.current_num_threads() } else { 1 }
    }

    /// The base as it answers under an adapter. For a small base the adapter is added to the
    /// weights, which costs a copy of them and spares two thin products a projection and token; a
    /// large base keeps it beside them.
    fn adapted(&self, adapter: Option<&Adapter>) -> Result<(Cow<'_, Decoder>, Option<Lora>)> {
        let Some(adapter) = adapter else { return Ok((Cow::Borrowed(&self.decoder), None)) };
        let lora =
            HostLora::from_adapters(&self.decoder.config, &[adapter])?.upload(&self.decoder.device);
        Ok(if self.decoder.is_small() {
            (Cow::Owned(self.decoder.merged(&lora)), None)
        } else {
            (Cow::Borrowed(&self.decoder), Some(lora))
        })
    }
}

impl Engine for Lm {
    fn describe(&self) -> Description {
        let (engine, device) = device::describe(&self.decoder.device);
        Description {
            engine: engine.to_owned(),
            base: self.name.clone(),
            base_sha256: self.sha256.clone(),
            architecture: self.decoder.config.architecture.clone(),
            parameters: self.decoder.parameters(),
            vocabulary: self.decoder.config.vocab_size,
            device: if self.kept == Kept::Bf16 {
                format!("{device}, weights in bf16")
            } else {
                device
            },
            max_tokens: self.decoder.config.max_position_embeddings,
        }
    }

    fn count_tokens(&self, messages: &[Message]) -> Result<(usize, usize)> {
        let rendered = self.chat.encode(messages)?;
        Ok((rendered.tokens.len(), rendered.supervised.iter().filter(|&&s| s).count()))
    }

    fn log_probs(&self, contexts: &[Vec<Vec<Message>>]) -> Result<Vec<Vec<Pieces>>> {
        self.pool.install(|| score::log_probs(&self.decoder, &self.chat, contexts))
    }

    fn train(
        &self,
        jobs: &[Job],
        recipe: &Recipe,
        checkpoint: &dyn Checkpoint,
    ) -> Result<Vec<Trained>> {
        let train = || train::train(&self.decoder, &self.chat, jobs, recipe, checkpoint);
        self.pool.install(|| if self.decoder.is_small() { matmul::alone(train) } else { train() })
    }

    fn abreast(&self) -> usize {
        // The processor's products gain nothing from more rows; a card's do.
        if self.decoder.ops == Ops::Fused { 1 } else { usize::MAX }
    }

    fn score(
        &self,
        adapter: Option<&Adapter>,
        questions: &[Question],
    ) -> Result<Vec<Vec<Option<f64>>>> {
        let (decoder, lora) = self.adapted(adapter)?;
        self.pool.install(|| score::score(&decoder, &self.chat, lora.as_ref(), questions))
    }

    fn generate(
        &self,
        adapter: Option<&Adapter>,
        prompts: &[Vec<Message>],
        sampling: &Sampling,
    ) -> Result<Vec<String>> {
        let (decoder, lora) = self.adapted(adapter)?;
        self.pool
            .install(|| generate::generate(&decoder, &self.chat, lora.as_ref(), prompts, sampling))
    }
}
