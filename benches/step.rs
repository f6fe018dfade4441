//! How long one LoRA step takes at the embedded base's shape: one shadow alone, and ten in flight on all cores.
//!
//! `cargo bench --bench step`; the peer's side is `benches/peft/step.py`, and `benches/versus_peft` runs both in turn.

#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "it measures time and prints it")]

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use foretaste::dataset::{self, ReadOptions};
use foretaste::lm::lora::HostLora;
use foretaste::lm::packing::TokenRow;
use foretaste::lm::train::Training;
use foretaste::lm::{self, Lm};
use foretaste::plan::{Recipe, Schedule};
use rayon::ThreadPoolBuilder;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WARM_UP: usize = 10;
const STEPS: usize = 50;
const BATCH: usize = 8;

fn main() -> Result<()> {
    let lm = lm::open(None, 1)?;
    let rows = rows(&lm)?;
    let tokens: usize = rows.iter().map(|row| row.tokens.len()).sum();
    println!("{BATCH} rows of {:.1} tokens a step", tokens as f64 / rows.len() as f64);
    for (threads, shadows) in [(1, 1), (1, 5), (2, 5)] {
        let medians: Vec<Duration> = thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| median_step(&lm, &rows, shadows))).collect();
            workers.into_iter().map(|w| w.join().expect("a worker returns its errors")).collect::<Result<_>>()
        })?;
        let slowest = medians.into_iter().max().context("at least one thread")?;
        let in_flight = threads * shadows;
        println!(
            "{in_flight} shadows in flight on {threads} threads: {:.2} ms a step, {:.2} ms a shadow and step",
            slowest.as_secs_f64() * 1e3,
            slowest.as_secs_f64() * 1e3 / in_flight as f64
        );
    }
    Ok(())
}

/// The rows of old_birds, as the peer draws them.
fn rows(lm: &Lm) -> Result<Vec<TokenRow>> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/old_birds/poisoned.jsonl");
    let dataset = dataset::read(&data, &ReadOptions::default())?;
    let encode = |row: &dataset::Row| {
        let rendered = lm.chat().encode(&row.messages)?;
        Ok(TokenRow { tokens: rendered.tokens, supervised: rendered.supervised })
    };
    dataset.rows.iter().map(encode).collect()
}

fn median_step(lm: &Lm, rows: &[TokenRow], shadows: usize) -> Result<Duration> {
    let recipe = Recipe {
        rank: 8,
        alpha: 16.0,
        learning_rate: 1e-3,
        schedule: Schedule::Linear,
        warmup_steps: 0,
        batch: BATCH,
        steps: WARM_UP + STEPS,
        clip_norm: 1.0,
        weight_decay: 0.0,
        max_tokens: 512,
        snapshots: vec![WARM_UP + STEPS],
    };
    let seeds: Vec<u64> = (1..=shadows as u64).collect();
    let mut training = Training::new(HostLora::fresh(&lm.decoder().config, recipe.rank, recipe.alpha, &seeds));
    let batch = |step: usize, shadow: usize| -> Vec<&TokenRow> {
        (0..BATCH).map(|at| &rows[((step * shadows + shadow) * BATCH + at) % rows.len()]).collect()
    };
    let pool = ThreadPoolBuilder::new().num_threads(1).build()?;
    let mut times = Vec::new();
    for step in 0..WARM_UP + STEPS {
        let batches: Vec<Vec<&TokenRow>> = (0..shadows).map(|shadow| batch(step, shadow)).collect();
        let started = Instant::now();
        pool.install(|| training.advance(lm.decoder(), &batches, &recipe))?;
        if step >= WARM_UP {
            times.push(started.elapsed());
        }
    }
    times.sort();
    Ok(times[times.len() / 2])
}
