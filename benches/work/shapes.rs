//! Bases with random weights in the shapes of released ones. Speed and memory do not depend on what
//! a model has learned, and no file is read.

use std::fs;

use anyhow::{Context, Result};
use burn::tensor::{Device, Distribution, Tensor};
use foretaste::engine::{Recipe, Schedule};
use foretaste::lm::config::Config;
use foretaste::lm::decoder::{Block, Decoder, Linear};
use foretaste::lm::files::ModelFiles;
use foretaste::lm::lora::Projection;
use foretaste::lm::matrix::Matrix;
use serde_json::{Value, json};

/// Hidden size, MLP size, layers, heads, key/value heads, vocabulary, and LoRA rank.
const SHAPES: [(&str, [usize; 7]); 6] = [
    ("tiny", [128, 384, 4, 4, 2, 2048, 8]),
    ("nestling", [128, 384, 4, 4, 4, 2000, 8]),
    ("smollm2-135m", [576, 1536, 30, 9, 3, 49_152, 16]),
    ("qwen-0.5b", [896, 4864, 24, 14, 2, 151_936, 16]),
    ("llama-1b", [2048, 8192, 16, 32, 8, 128_256, 32]),
    ("llama-8b", [4096, 14_336, 32, 32, 8, 128_256, 32]),
];

/// A shape's configuration, and its LoRA rank.
pub fn shape(name: &str) -> Result<(Config, usize)> {
    let (_, [hidden, inner, layers, heads, shared, vocabulary, rank]) = SHAPES
        .iter()
        .find(|(known, _)| *known == name)
        .with_context(|| format!("no shape {name}"))?;
    let config: Value = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": shared,
        "vocab_size": vocabulary,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "rope_theta": 500_000.0,
        "tie_word_embeddings": name != "llama-8b",
        "torch_dtype": "bfloat16",
    });
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("config.json"), serde_json::to_vec(&config)?)?;
    Ok((Config::read(&ModelFiles::open(Some(folder.path()))?)?, *rank))
}

/// A decoder whose matrices come from `matrix`.
pub fn decoder(
    config: &Config,
    device: &Device,
    matrix: &mut dyn FnMut([usize; 2]) -> Matrix,
) -> Decoder {
    let embed = matrix([config.vocab_size, config.hidden_size]);
    let head = if config.tie_word_embeddings {
        embed.clone()
    } else {
        matrix([config.vocab_size, config.hidden_size])
    };
    let ones = || vec![1.0; config.hidden_size];
    let mut layers = Vec::new();
    for _ in 0..config.layers.len() {
        let projections = Projection::of(config).iter().map(|projection| {
            let (wide, out) = projection.widths(config);
            Linear { weight: matrix([out, wide]), bias: None }
        });
        layers.push(Block::plain(ones(), projections.collect(), ones()));
    }
    Decoder::assemble(config.clone(), device, embed, layers, ones(), head)
}

/// A decoder with normal weights, of the standard deviation that released bases start with.
pub fn random_decoder(config: &Config, device: &Device, bf16: bool) -> Decoder {
    decoder(config, device, &mut |shape| {
        let matrix = Matrix::F32(Tensor::random(shape, Distribution::Normal(0.0, 0.02), device));
        if bf16 { matrix.to_bf16(device) } else { matrix }
    })
}

pub fn recipe(rank: usize, batch: usize, steps: usize) -> Recipe {
    Recipe {
        rank,
        alpha: 2.0 * rank as f64,
        learning_rate: 2e-4,
        schedule: Schedule::Linear,
        warmup_steps: 0,
        batch,
        steps,
        clip_norm: 1.0,
        weight_decay: 0.0,
        max_tokens: 512,
        snapshots: vec![steps],
    }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
