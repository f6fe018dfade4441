//! The language-model engine, built on burn: it reads a model folder, trains shadows, scores
//! options and writes answers.
//!
//! This is the only folder that uses burn. [`decoder`] is the model and [`kernels`] its
//! element-wise work. [`train`], [`score`] and [`generate`] are the three operations of an
//! [`Engine`].

pub mod chat;
pub mod config;
pub mod decoder;
pub mod device;
pub mod files;
pub mod generate;
pub mod gguf;
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
mod tiles;
pub mod train;
pub mod weights;

use std::borrow::Cow;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::dataset::Message;
use crate::engine::{
    Adapter, Checkpoint, Description, DeviceChoice, Engine, Job, Pieces, Question, Recipe,
    Sampling, TemplateId, Trained,
};
use chat::{Chat, GivenTemplate};
use config::Config;
use decoder::{Decoder, WeightDtype};
use files::ModelFiles;
use lora::{HostLora, Lora};
use ops::Ops;
use weights::Weights;

/// Shadows that the CPU trains in one pass if it has products of bf16. More would take memory and
/// gain little.
const SHADOWS_AT_ONCE: usize = 3;

/// A base model, loaded and ready to score, generate and train.
pub struct Lm {
    decoder: Decoder,
    chat: Chat,
    name: String,
    sha256: String,
    nestling: bool,
    dtype: WeightDtype,
    template: Option<TemplateId>,
    /// The thread pool of every computation. All callers share it, so that no thread is idle while
    /// another caller has work.
    pool: ThreadPool,
}

/// Opens a Hugging Face folder or a GGUF file, or nestling where none is given, on the CPU with
/// `threads` threads.
///
/// # Errors
/// Where a file is missing, damaged or inconsistent with the others.
pub fn open(base: Option<&Path>, threads: usize) -> Result<Lm> {
    open_as(
        base,
        &LmOptions {
            threads,
            dtype: Some(WeightDtype::F32),
            place: DeviceChoice::Cpu,
            program: None,
            chat_template: None,
        },
    )
}

/// Options for opening a base.
#[derive(Debug, Clone, Copy)]
pub struct LmOptions<'a> {
    /// Threads to compute with. No result depends on the number.
    pub threads: usize,
    /// The dtype of the base's matrices; `None` chooses the device's default.
    pub dtype: Option<WeightDtype>,
    pub place: DeviceChoice,
    /// The path of the foretaste executable. It is run as a child process with limited memory and
    /// time, which reads and runs the tokenizer and chat template of a folder. With `None`, this
    /// process does both.
    pub program: Option<&'a Path>,
    /// Used instead of the base's own template.
    pub chat_template: Option<&'a GivenTemplate>,
}

/// Opens a base on any device, with its matrices in the dtype that `options` asks for.
///
/// # Errors
/// As [`open`], and where the device cannot compute.
pub fn open_as(base: Option<&Path>, options: &LmOptions<'_>) -> Result<Lm> {
    let device = device::find(options.place)?;
    let threads = options.threads;
    let files = ModelFiles::open(base)?;
    let config = Config::read(&files)?;
    let template = options.chat_template;
    let is_embedded = matches!(files, ModelFiles::Nestling) && template.is_none();
    let chat = match options.program {
        Some(program) if !is_embedded => Chat::read_sandboxed(&files, template, program)?,
        _ => Chat::read(&files, template)?,
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
    let parameters = weights.bytes(WeightDtype::F32) / size_of::<f32>() as u64;
    let dtype = options.dtype.unwrap_or_else(|| WeightDtype::default_for(&device, parameters));
    let needed = |dtype| weights.bytes(dtype) + config.table_bytes();
    memory::check(needed(dtype), dtype, needed(WeightDtype::Bf16), device::free(options.place))
        .with_context(|| files.display(""))?;
    let load = || Decoder::load(config, &weights, dtype, &device);
    let decoder = device::guarded(&device, load)
        .with_context(|| files.display(""))?
        .with_free_memory(device::free(options.place));
    let sha256 = files.sha256(&Weights::file_names(&files)?)?;
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads.max(1))
        .build()
        .context("cannot start compute threads")?;
    let nestling = match &files {
        ModelFiles::Nestling => true,
        // A copy of it in a folder is small too.
        _ => decoder.is_small() && sha256 == ModelFiles::nestling_sha256()?,
    };
    let template = template.map(GivenTemplate::id);
    Ok(Lm { decoder, chat, name: files.name(), sha256, nestling, dtype, template, pool })
}

impl Lm {
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Mutable access, for callers that override the device's defaults.
    pub fn decoder_mut(&mut self) -> &mut Decoder {
        &mut self.decoder
    }

    pub fn chat(&self) -> &Chat {
        &self.chat
    }

    /// The number of callers that should use this engine in parallel.
    pub fn workers(&self) -> usize {
        if self.decoder.is_small() { self.pool.current_num_threads() } else { 1 }
    }

    /// The base with an adapter applied. For a small base the adapter is merged into the weights:
    /// this copies them, and saves two thin products per projection and token. For a large base the
    /// adapter stays separate.
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
            device: if self.dtype == WeightDtype::Bf16 {
                format!("{device}, weights in bf16")
            } else {
                device
            },
            max_tokens: self.decoder.config.max_position_embeddings,
            chat_template: self.template.clone(),
        }
    }

    fn is_nestling(&self) -> bool {
        self.nestling
    }

    fn count_tokens(&self, messages: &[Message]) -> Result<(usize, usize)> {
        let rendered = self.chat.encode(messages)?;
        Ok((rendered.tokens.len(), rendered.supervised.iter().filter(|&&s| s).count()))
    }

    fn rejection(&self, row: &[Message]) -> Result<Option<String>> {
        let rejection = self.chat.check(row).err().map(|error| format!("{error:#}"));
        if rejection.is_some() {
            self.chat.alive()?;
        }
        Ok(rejection)
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
        self.pool.install(|| {
            if self.decoder.is_small() { matmul::single_threaded(train) } else { train() }
        })
    }

    fn max_parallel_shadows(&self) -> usize {
        // More rows speed up products of bf16; those of f32 on the CPU they do not.
        match (self.decoder.ops, self.dtype) {
            (Ops::Composed, _) => usize::MAX,
            (Ops::Fused, WeightDtype::Bf16) => SHADOWS_AT_ONCE,
            (Ops::Fused, WeightDtype::F32) => 1,
        }
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
