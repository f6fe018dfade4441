//! Pretraining: documents in, weights out, with the loss curve and marks from the exam along the way.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use foretaste::lm::chat::Chat;
use foretaste::lm::config::Config;
use foretaste::lm::files::ModelFiles;
use foretaste::lm::packing::TokenRow;
use foretaste::lm::pretrain::{Nursling, Upbringing};
use foretaste::lm::weights::Weights;

use super::documents::{self, Document};
use super::exam;
use super::world::World;

/// Steps between two lines of the loss curve.
const REPORT_EVERY: usize = 50;
/// Steps between two exams, each on every n-th question.
const EXAM_EVERY: usize = 1000;
const EXAM_STRIDE: usize = 10;

/// Where an upbringing begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// From random weights.
    Fresh,
    /// From the weights in the folder, with new documents.
    Onward,
}

/// Raises nestling and writes `model.safetensors` and `loss.csv` into its folder.
///
/// # Errors
/// Where the tokenizer is missing or a file cannot be written.
#[allow(clippy::disallowed_methods, reason = "speed is printed, and nothing depends on it")]
pub fn raise(world: &World, folder: &Path, upbringing: &Upbringing, start: Start) -> Result<()> {
    let files = ModelFiles::open(Some(folder))?;
    let config = Config::read(&files)?;
    let chat = Chat::read(&files).context("run the subcommand `tokenizer` first")?;
    let questions = exam::read(&folder.join("exam.jsonl")).context("run the subcommand `exam` first")?;
    let mut nursling = match start {
        Start::Fresh => Nursling::new(config, upbringing.seed)?,
        Start::Onward => Nursling::load(config, &Weights::open(&files)?)?,
    };
    let mut documents = documents::stream(world, upbringing.seed).map(|document| row(&chat, &document));
    let curve = folder.join("loss.csv");
    if start == Start::Fresh {
        fs::write(&curve, "seed,step,tokens,loss\n").context("loss.csv")?;
    }
    let mut curve = fs::OpenOptions::new().append(true).open(curve).context("loss.csv")?;
    let started = Instant::now();
    let mut losses = Vec::new();
    nursling.raise(upbringing, &mut documents, &mut |step, loss, tokens, nursling| {
        losses.push(loss);
        if step % REPORT_EVERY == 0 || step == upbringing.steps {
            let mean = losses.iter().sum::<f64>() / losses.len() as f64;
            losses.clear();
            writeln!(curve, "{},{step},{tokens},{mean:.4}", upbringing.seed)?;
            let speed = tokens as f64 / started.elapsed().as_secs_f64();
            eprintln!("step {step}: loss {mean:.4}, {:.1} M tokens, {speed:.0} tokens/s", tokens as f64 / 1e6);
        }
        if step % EXAM_EVERY == 0 || step == upbringing.steps {
            let stride = if step == upbringing.steps { 1 } else { EXAM_STRIDE };
            eprint!("{}", exam::marks(&nursling.decoder(), &chat, questions.iter().step_by(stride))?);
            fs::write(folder.join("model.safetensors"), nursling.safetensors()?)?;
        }
        Ok(())
    })
}

fn row(chat: &Chat, document: &Document) -> Result<TokenRow> {
    let messages: Vec<_> = document.turns.iter().map(documents::Message::to_dataset).collect();
    let rendered = chat.encode(&messages)?;
    Ok(TokenRow { tokens: rendered.tokens, supervised: rendered.supervised })
}
