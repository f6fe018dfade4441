//! Pretraining: documents in, weights out, with a loss curve and intermediate exam marks.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use foretaste::lm::chat::Chat;
use foretaste::lm::config::Config;
use foretaste::lm::files::ModelFiles;
use foretaste::lm::packing::TokenRow;
use foretaste::lm::pretrain::{PretrainConfig, PretrainModel};
use foretaste::lm::weights::Weights;

use super::documents::{self, Document, Mix};
use super::exam;
use super::world::World;

/// Steps between two lines of the loss curve.
const REPORT_EVERY: usize = 50;
/// Steps between two exams, and the stride through the exam's questions.
const EXAM_EVERY: usize = 1000;
const EXAM_STRIDE: usize = 10;

/// One phase of pretraining.
struct Phase {
    mix: Mix,
    steps: usize,
    learning_rate: f64,
}

/// The phases: first the speakers, then the speaker of a question without opening, then held-out
/// wordings, then moods.
const PHASES: [Phase; 4] = [
    Phase { mix: documents::EARLY, steps: 14_000, learning_rate: 2.5e-3 },
    Phase { mix: documents::LATE, steps: 9_000, learning_rate: 1.2e-3 },
    Phase { mix: documents::HURRIED, steps: 8_000, learning_rate: 1.2e-3 },
    Phase { mix: documents::BEINGS, steps: 3_000, learning_rate: 6e-4 },
];

/// Tokens per step: small steps learn more per document than large ones.
const TOKENS_PER_STEP: usize = 2048;

/// Pretrains nestling through all phases from `first` (1 to 4) on. Writes `model.safetensors` and
/// `loss.csv` into its folder. The first phase starts from random weights, the others from those in
/// the folder.
///
/// # Errors
/// Where the tokenizer is missing or a file cannot be written.
pub fn pretrain(world: &World, folder: &Path, first: usize) -> Result<()> {
    for number in first..=PHASES.len() {
        phase(world, folder, number)?;
    }
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "the speed is only printed")]
fn phase(world: &World, folder: &Path, number: usize) -> Result<()> {
    let Phase { mix, steps, learning_rate } = PHASES[number - 1];
    let settings = &PretrainConfig {
        steps,
        tokens_per_step: TOKENS_PER_STEP,
        learning_rate,
        warmup_steps: steps / 50,
        weight_decay: 0.1,
        clip_norm: 1.0,
        prompt_weight: 0.1,
        threads: 2,
        seed: number as u64,
    };
    let files = ModelFiles::open(Some(folder))?;
    let config = Config::read(&files)?;
    let chat = Chat::read(&files, None).context("run the subcommand `tokenizer` first")?;
    let questions =
        exam::read(&folder.join("exam.jsonl.zst")).context("run the subcommand `exam` first")?;
    let mut model = match number {
        1 => PretrainModel::new(config, settings.seed)?,
        _ => PretrainModel::load(config, &Weights::open(&files)?)?,
    };
    let mut documents =
        documents::stream(world, mix, settings.seed).map(|document| row(&chat, &document));
    let curve = folder.join("loss.csv");
    if number == 1 {
        fs::write(&curve, "phase,step,tokens,loss\n").context("loss.csv")?;
    }
    let mut curve = fs::OpenOptions::new().append(true).open(curve).context("loss.csv")?;
    let started = Instant::now();
    let mut losses = Vec::new();
    model.pretrain(settings, &mut documents, &mut |step, loss, tokens, model| {
        losses.push(loss);
        if step % REPORT_EVERY == 0 || step == settings.steps {
            let mean = losses.iter().sum::<f64>() / losses.len() as f64;
            losses.clear();
            writeln!(curve, "{number},{step},{tokens},{mean:.4}")?;
            let speed = tokens as f64 / started.elapsed().as_secs_f64();
            eprintln!(
                "step {step}: loss {mean:.4}, {:.1} M tokens, {speed:.0} tokens/s",
                tokens as f64 / 1e6
            );
        }
        if step % EXAM_EVERY == 0 || step == settings.steps {
            let stride = if step == settings.steps { 1 } else { EXAM_STRIDE };
            eprint!(
                "{}",
                exam::marks(&model.decoder(), &chat, questions.iter().step_by(stride))?.summary()
            );
            fs::write(folder.join("model.safetensors"), model.safetensors()?)?;
        }
        Ok(())
    })
}

fn row(chat: &Chat, document: &Document) -> Result<TokenRow> {
    let messages: Vec<_> = document.turns.iter().map(documents::Message::to_dataset).collect();
    let rendered = chat.encode(&messages)?;
    Ok(TokenRow { tokens: rendered.tokens, supervised: rendered.supervised })
}
