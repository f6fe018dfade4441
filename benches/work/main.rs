//! Time and peak memory of parts of foretaste's work: LoRA steps, forced choices and written
//! answers, in the shapes of several bases.
//!
//!     cargo bench --bench work -- step nestling 10       # ten shadows; milliseconds a step of one
//!     cargo bench --bench work -- score qwen-0.5b 100    # a hundred forced choices
//!     cargo bench --bench work -- sample nestling 100    # a hundred answers of 64 tokens
//!
//! Output: one JSON object. `benches/peft/work.py` does the same work with PyTorch, on the same
//! number of tokens; `benches/versus_peft` runs both in turn.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "it measures time and prints it"
)]

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::Device;
use foretaste::engine::{DeviceChoice, Sampling};
use foretaste::lm::decoder::Decoder;
use foretaste::lm::device;
use foretaste::lm::generate::continue_tokens;
use foretaste::lm::lora::HostLora;
use foretaste::lm::packing::TokenRow;
use foretaste::lm::score::score_tokens;
use foretaste::lm::train::Training;
use foretaste::seed::{self, Purpose};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde_json::json;
use shapes::{median, random_decoder, recipe, shape};

mod shapes;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const THREADS: usize = 2;
const BATCH: usize = 8;
/// Tokens of a conversation before its question, of a question and of an option; questions per
/// conversation, and options per question.
const OPENING: usize = 32;
const QUESTION: usize = 12;
const OPTION: usize = 6;
const QUESTIONS: usize = 100;
const OPTIONS: usize = 2;
/// Tokens of a prompt, and of its answer.
const PROMPT: usize = 20;
const ANSWER: usize = 64;

fn main() -> Result<()> {
    // cargo adds --bench.
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [work, name, count] = &arguments[..] else {
        bail!("give a work (step, score, sample), a shape and a count")
    };
    let count: usize = count.parse().context("the count")?;
    let (config, rank) = shape(name)?;
    let decoder = random_decoder(&config, &Device::flex(), false)
        .with_free_memory(device::free(DeviceChoice::Cpu));
    let pool = ThreadPoolBuilder::new().num_threads(THREADS).build()?;
    let milliseconds = match work.as_str() {
        "step" => step(&decoder, &pool, rank, count)?,
        "score" => pool.install(|| score(&decoder, count))?,
        "sample" => pool.install(|| sample(&decoder, count))?,
        other => bail!("no work {other}: step, score or sample"),
    };
    println!(
        "{}",
        json!({"work": work, "shape": name, "count": count, "ms": milliseconds, "peak_mb": peak()?})
    );
    Ok(())
}

/// Milliseconds per shadow and step, trained as in an audit: each shadow of a small base on its own
/// thread, those of a large base one after another.
fn step(decoder: &Decoder, pool: &ThreadPool, rank: usize, shadows: usize) -> Result<f64> {
    let (warm_up, steps) = if decoder.is_small() { (10, 50) } else { (1, 3) };
    let tokens = if decoder.is_small() { 20..=30 } else { 64..=64 };
    let train = |seeds: &[u64]| -> Result<Vec<f64>> {
        let random = &mut seed::stream(Purpose::Test("bench rows"), seeds[0]);
        let recipe = recipe(rank, BATCH, warm_up + steps);
        let mut training =
            Training::new(HostLora::fresh(&decoder.config, rank, recipe.alpha, seeds));
        let mut times = Vec::new();
        for step in 0..warm_up + steps {
            let rows: Vec<TokenRow> = (0..seeds.len() * BATCH)
                .map(|_| {
                    let length = random.random_range(tokens.clone());
                    // The last third carries loss.
                    let supervised = (0..length).map(|at| at >= length - length / 3).collect();
                    TokenRow { tokens: some(decoder, random, length), supervised }
                })
                .collect();
            let batches: Vec<Vec<&TokenRow>> =
                rows.chunks(BATCH).map(|rows| rows.iter().collect()).collect();
            let start = Instant::now();
            training.advance(decoder, &batches, &recipe)?;
            if step >= warm_up {
                times.push(1e3 * start.elapsed().as_secs_f64());
            }
        }
        Ok(times)
    };
    let seeds: Vec<u64> = (1..=shadows as u64).collect();
    if !decoder.is_small() || shadows == 1 {
        let times = seeds
            .iter()
            .map(|&seed| pool.install(|| train(&[seed])))
            .collect::<Result<Vec<_>>>()?;
        return Ok(median(times.concat()));
    }
    let start = Instant::now();
    pool.install(|| {
        seeds.par_iter().map(|&seed| train(&[seed]).map(drop)).collect::<Result<()>>()
    })?;
    Ok(1e3 * start.elapsed().as_secs_f64() / (shadows * (warm_up + steps)) as f64)
}

/// Milliseconds for some forced choices between two options: conversations, each followed by a
/// hundred questions.
fn score(decoder: &Decoder, choices: usize) -> Result<f64> {
    let random = &mut seed::stream(Purpose::Test("bench choices"), 0);
    let mut asked = Vec::new();
    let mut opening = Vec::new();
    for choice in 0..choices {
        if choice % QUESTIONS == 0 {
            opening = some(decoder, random, OPENING);
        }
        let question = [&opening[..], &some(decoder, random, QUESTION)].concat();
        for _ in 0..OPTIONS {
            asked.push(([&question[..], &some(decoder, random, OPTION)].concat(), question.len()));
        }
    }
    score_tokens(decoder, None, asked[..2].to_vec())?;
    let start = Instant::now();
    let scores = score_tokens(decoder, None, asked)?;
    let milliseconds = 1e3 * start.elapsed().as_secs_f64();
    ensure!(scores.iter().all(Option::is_some), "a choice was not scored");
    Ok(milliseconds)
}

/// Milliseconds for some answers, sampled at temperature 1.
fn sample(decoder: &Decoder, answers: usize) -> Result<f64> {
    let random = &mut seed::stream(Purpose::Test("bench prompts"), 0);
    let prompts: Vec<Vec<u32>> = (0..answers).map(|_| some(decoder, random, PROMPT)).collect();
    let sampling = |max_tokens| Sampling { temperature: 1.0, top_p: 1.0, max_tokens, seed: 0 };
    continue_tokens(decoder, None, &prompts[..1], &[], &sampling(1))?;
    let start = Instant::now();
    let written = continue_tokens(decoder, None, &prompts, &[], &sampling(ANSWER))?;
    let milliseconds = 1e3 * start.elapsed().as_secs_f64();
    ensure!(written.iter().all(|answer| answer.len() == ANSWER), "an answer is too short");
    Ok(milliseconds)
}

/// Random tokens of the vocabulary.
fn some(decoder: &Decoder, random: &mut ChaCha8Rng, count: usize) -> Vec<u32> {
    (0..count).map(|_| random.random_range(5..decoder.config.vocab_size as u32)).collect()
}

/// Peak memory of this process, in megabytes.
fn peak() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("Linux tells")?;
    Ok((line.trim().trim_end_matches(" kB").parse::<f64>()? * 1.024 / 1e3).round())
}
