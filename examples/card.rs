//! Tests a device: whether it computes the same as the CPU, and how fast. The weights are random,
//! in the shapes of released bases; no file is read.
//!
//! `cargo run --release --features cuda --example card -- --device cuda:0 --shapes qwen-0.5b`
//!
//! `benches/card` runs it and its PyTorch counterpart. Output: one JSON object per line.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "it measures time and prints it"
)]

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::{Device, Distribution, FloatDType, Tensor};
use foretaste::engine::DeviceChoice;
use foretaste::lm::config::Config;
use foretaste::lm::decoder::{Decoder, Streams};
use foretaste::lm::device;
use foretaste::lm::kernels::Segment;
use foretaste::lm::lora::{HostLora, Projection};
use foretaste::lm::matrix::Matrix;
use foretaste::lm::packing::{TokenRow, prefix_tree};
use foretaste::lm::tensor::{from_host, host};
use foretaste::lm::train::Training;
use foretaste::seed::{self, Purpose};
use rand::Rng;
use serde_json::json;
use shapes::{decoder, median, random_decoder, recipe, shape};

#[path = "../benches/work/shapes.rs"]
mod shapes;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rows per step, and tokens per row.
const BATCH: usize = 8;
const TOKENS: usize = 128;

fn main() -> Result<()> {
    let mut place = DeviceChoice::Auto;
    let mut shapes = vec!["tiny".to_owned()];
    let mut steps = 20;
    let mut bf16 = true;
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} wants a value"))?;
        match name.as_str() {
            "--device" => place = value.parse().map_err(anyhow::Error::msg)?,
            "--shapes" => shapes = value.split(',').map(str::to_owned).collect(),
            "--steps" => steps = value.parse()?,
            "--weights" => bf16 = value == "bf16",
            other => bail!("{other}: give --device, --shapes, --steps or --weights bf16|f32"),
        }
    }
    let device = device::find(place)?;
    let (engine, name) = device::describe(&device);
    println!("{}", json!({"engine": engine, "device": name}));
    agreement(&device)?;
    products(&device)?;
    for name in &shapes {
        let (config, rank) = shape(name)?;
        let decoder = random_decoder(&config, &device, bf16).with_free_memory(device::free(place));
        let name = format!("{name} {}", if bf16 { "bf16" } else { "f32" });
        pieces(&decoder, &name);
        training(&decoder, &name, rank, steps)?;
        scoring(&decoder, &name)?;
    }
    Ok(())
}

fn rows(config: &Config, purpose: &str, count: usize) -> Vec<TokenRow> {
    let random = &mut seed::stream(Purpose::Test(purpose), 0);
    let row = |_| TokenRow {
        tokens: (0..TOKENS).map(|_| random.random_range(0..config.vocab_size as u32)).collect(),
        supervised: (0..TOKENS).map(|at| at >= TOKENS / 2).collect(),
    };
    (0..count).map(row).collect()
}

/// Trains two shadows for five steps on the CPU and on the device, from the same weights, and
/// compares losses and adapters. Then the same with products in bf16 on the device.
fn agreement(device: &Device) -> Result<()> {
    let (config, rank) = shape("tiny")?;
    let trained = |device: &Device, bf16: bool| -> Result<(Vec<f64>, Vec<f32>)> {
        let random = &mut seed::stream(Purpose::Test("card weights"), 0);
        let mut matrix = |shape: [usize; 2]| {
            let values =
                (0..shape[0] * shape[1]).map(|_| random.random_range(-0.05..0.05)).collect();
            Matrix::F32(from_host(values, shape, device))
        };
        let decoder = decoder(&config, device, &mut matrix);
        let decoder = if bf16 { decoder.into_bf16() } else { decoder };
        let rows = rows(&config, "card rows", 2 * BATCH);
        let batches: Vec<Vec<&TokenRow>> =
            rows.chunks(BATCH).map(|rows| rows.iter().collect()).collect();
        let mut training =
            Training::new(HostLora::fresh(&config, rank, 2.0 * rank as f64, &[1, 2]));
        let mut losses = Vec::new();
        for _ in 0..5 {
            losses.extend(training.advance(&decoder, &batches, &recipe(rank, BATCH, 10))?);
        }
        let values = training
            .lora()
            .adapter(0)
            .tensors
            .into_values()
            .flat_map(|(_, values)| values)
            .collect();
        Ok((losses, values))
    };
    let wanted = trained(&Device::flex(), false)?;
    for (bf16, most) in [(false, [1e-2, 1e-1]), (true, [2e-2, 5e-1])] {
        let got = trained(device, bf16)?;
        let losses =
            wanted.0.iter().zip(&got.0).map(|(a, b)| (a - b).abs() / a).fold(0.0, f64::max);
        let norm = |values: &mut dyn Iterator<Item = f32>| {
            values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt()
        };
        let adapters = norm(&mut wanted.1.iter().zip(&got.1).map(|(a, b)| a - b))
            / norm(&mut wanted.1.iter().copied());
        let weights = if bf16 { "bf16" } else { "f32" };
        println!(
            "{}",
            json!({
                "agreement": weights,
                "losses, relative": losses,
                "adapters, relative": adapters,
            })
        );
        ensure!(
            losses < most[0] && adapters < most[1],
            "the device does not compute what the processor computes"
        );
    }
    Ok(())
}

/// Square products: the highest throughput of the device's products.
fn products(device: &Device) -> Result<()> {
    let kinds = [("f32", FloatDType::F32), ("bf16", FloatDType::BF16)];
    for (size, (kind, numbers)) in
        [1024, 4096].into_iter().flat_map(|size| kinds.map(|kind| (size, kind)))
    {
        let matrix = || {
            Tensor::<2>::random([size, size], Distribution::Normal(0.0, 1.0), device).cast(numbers)
        };
        let (a, b) = (matrix(), matrix());
        let product = || {
            let start = Instant::now();
            // Fetches one number, so that the time includes the whole product.
            host(a.clone().matmul(b.clone()).narrow(0, 0, 1).narrow(1, 0, 1).cast(FloatDType::F32));
            start.elapsed().as_secs_f64()
        };
        let seconds =
            median((0..if size > 2000 { 4 } else { 8 }).map(|_| product()).skip(1).collect());
        println!(
            "{}",
            json!({
                "product": size,
                "numbers": kind,
                "TFLOP/s": 2.0 * (size as f64).powi(3) / seconds / 1e12,
            })
        );
    }
    Ok(())
}

/// The time of each part of a step of one shadow, in ms.
fn pieces(decoder: &Decoder, name: &str) {
    let (config, device) = (&decoder.config, &decoder.device);
    let numbers = |rows: usize, width: usize| {
        Tensor::<2>::random([rows, width], Distribution::Normal(0.0, 1.0), device)
    };
    let (rows, asked) = (BATCH * TOKENS, BATCH * TOKENS / 2);
    let x = numbers(rows, config.hidden_size);
    let some = x.clone().narrow(0, 0, asked);
    let logits = decoder.lm_head.apply(&some);
    let tokens: Vec<u32> = (0..asked as u32).collect();
    let projection = &decoder.layers[0].projections[Projection::of(config).len() - 1].weight;
    let inner = numbers(rows, config.intermediate_size);
    let narrow = numbers(rows, config.key_value_width());
    let q = numbers(rows, config.query_width());
    let segments = (0..BATCH)
        .map(|at| Segment { rows: at * TOKENS..(at + 1) * TOKENS, prefix: Vec::new() })
        .collect();
    let streams = Streams {
        shadows: 1,
        tokens: vec![0; rows],
        positions: vec![0; rows],
        segments,
        ..Streams::default()
    };
    let timed = |piece: &dyn Fn() -> Tensor<2>| {
        let once = || {
            let start = Instant::now();
            host(piece().narrow(0, 0, 1).narrow(1, 0, 1));
            1e3 * start.elapsed().as_secs_f64()
        };
        median((0..6).map(|_| once()).skip(2).collect())
    };
    let said = json!({
        "pieces": name,
        "nothing": timed(&|| some.clone()),
        "100 additions": timed(&|| (0..100).fold(some.clone(), |x, _| x.add_scalar(1.0))),
        "head": timed(&|| decoder.lm_head.apply(&some)),
        "loss": timed(&|| decoder.ops.cross_entropy(logits.clone(), &tokens, &vec![1.0; asked]).1),
        "head, back": timed(&|| decoder.lm_head.apply_back(&logits, None)),
        "head, back, in one": match &decoder.lm_head {
            Matrix::DeviceBf16(weight) => timed(&|| {
                let logits = logits.clone().cast(FloatDType::BF16);
                logits.matmul(weight.clone()).cast(FloatDType::F32)
            }),
            _ => f64::NAN,
        },
        "down": timed(&|| projection.apply(&inner)),
        "down, back": timed(&|| projection.apply_back(&x, None)),
        "attention": timed(&|| decoder.attend(0, &q, &narrow, &narrow, &streams)),
        "attention, back": timed(&|| {
            let inputs = [&q, &narrow, &narrow];
            let attention = config.attention(0);
            decoder.ops.attention_backward(q.clone(), inputs, attention, &streams)[0].clone()
        }),
        "norm": timed(&|| decoder.ops.rms_norm(&x, &decoder.norm, 1e-6).0),
    });
    println!("{said}");
}

/// Tokens per second of LoRA steps, for 1, 4 and 8 shadows in parallel.
fn training(decoder: &Decoder, name: &str, rank: usize, steps: usize) -> Result<()> {
    let config = &decoder.config;
    for shadows in [1, 4, 8] {
        let rows = rows(config, "card training", shadows * BATCH);
        let batches: Vec<Vec<&TokenRow>> =
            rows.chunks(BATCH).map(|rows| rows.iter().collect()).collect();
        let seeds: Vec<u64> = (1..=shadows as u64).collect();
        let mut training = Training::new(HostLora::fresh(config, rank, 2.0 * rank as f64, &seeds));
        let mut times = Vec::new();
        for step in 0..steps + 3 {
            let start = Instant::now();
            training.advance(decoder, &batches, &recipe(rank, BATCH, steps + 3))?;
            if step >= 3 {
                times.push(start.elapsed().as_secs_f64());
            }
        }
        let tokens = (shadows * BATCH * TOKENS) as f64;
        let (first, last) =
            (median(times[..times.len() / 2].to_vec()), median(times[times.len() / 2..].to_vec()));
        println!(
            "{}",
            json!({
                "training": name,
                "shadows": shadows,
                "ms a step": 1e3 * last,
                "tokens/s": tokens / last,
                "later steps against earlier": last / first,
            })
        );
    }
    Ok(())
}

/// Tokens per second of scoring: a shared prefix with 64 options.
fn scoring(decoder: &Decoder, name: &str) -> Result<()> {
    let config = &decoder.config;
    let rows = rows(config, "card scoring", 65);
    let sequences: Vec<Vec<u32>> = rows[1..]
        .iter()
        .map(|row| rows[0].tokens.iter().chain(&row.tokens[..16]).copied().collect())
        .collect();
    let borrowed: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
    let mut tree = prefix_tree(&borrowed);
    let tokens = tree.streams.tokens.len();
    tree.streams.pad(decoder.ops);
    let options = tree.rows.iter().zip(&sequences);
    let mut asked: Vec<(usize, u32)> = options
        .flat_map(|(rows, tokens)| (TOKENS..tokens.len()).map(|at| (rows[at - 1], tokens[at])))
        .collect();
    asked.sort_unstable();
    let mut times = Vec::new();
    for _ in 0..4 {
        let start = Instant::now();
        let streams = &tree.streams;
        let hidden = decoder
            .hidden(streams, None, &mut |layer, q, k, v| decoder.attend(layer, q, k, v, streams))?;
        let found = decoder.log_probs(&hidden, &asked);
        ensure!(
            found.len() == asked.len() && found.iter().all(|found| *found < 0.0),
            "log-probabilities are missing"
        );
        times.push(start.elapsed().as_secs_f64());
    }
    let seconds = median(times[1..].to_vec());
    println!("{}", json!({"scoring": name, "tokens/s": tokens as f64 / seconds}));
    Ok(())
}
