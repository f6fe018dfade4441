//! Pretraining of a small base from random weights, used for nestling. All weights are trained, on
//! all tokens.

#![allow(
    clippy::disallowed_types,
    reason = "safetensors takes its metadata as a HashMap; it has one entry"
)]

use std::collections::HashMap;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use half::bf16;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rayon::ThreadPoolBuilder;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use burn::tensor::Device;

use super::config::Config;
use super::decoder::{Block, Decoder, Gradients, Linear, Target, Trainable};
use super::kernels::{self, AdamStep};
use super::lora::Projection;
use super::matrix::Matrix;
use super::packing::{TokenRow, pack_rows};
use super::tensor::{from_host, host};
use super::train::clip_scale;
use super::weights::Weights;
use crate::seed::{self, Purpose};

/// Settings of a pretraining.
#[derive(Debug, Clone)]
pub struct PretrainConfig {
    pub steps: usize,
    /// Approximate tokens per step.
    pub tokens_per_step: usize,
    pub learning_rate: f64,
    pub warmup_steps: usize,
    /// On matrices only.
    pub weight_decay: f64,
    pub clip_norm: f64,
    /// Loss weight of a token outside assistant messages; tokens of assistant messages have weight
    /// 1.
    pub prompt_weight: f32,
    pub threads: usize,
    pub seed: u64,
}

/// One weight with its moments.
struct Weight {
    name: String,
    shape: Vec<usize>,
    values: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
}

/// A base in pretraining.
pub struct PretrainModel {
    config: Config,
    device: Device,
    weights: Vec<Weight>,
}

impl PretrainModel {
    /// Random weights: normal with standard deviation 0.02, divided by sqrt(2 layers) for matrices
    /// that write into the residual stream (Radford et al. 2019).
    ///
    /// # Errors
    /// Where the configuration asks for biases or an untied head, which are not supported here.
    pub fn new(config: Config, seed: u64) -> Result<Self> {
        ensure!(config.is_plain(), "only tied, bias-free Llamas are pretrained");
        let mut random = seed::stream(Purpose::BaseWeights, seed);
        let deep = 0.02 / (2.0 * config.layers.len() as f64).sqrt();
        let hidden = config.hidden_size;
        let mut weights = vec![normal(
            "model.embed_tokens.weight",
            &[config.vocab_size, hidden],
            0.02,
            &mut random,
        )];
        for layer in 0..config.layers.len() {
            let path = format!("model.layers.{layer}");
            weights.push(ones(&format!("{path}.input_layernorm.weight"), hidden));
            for &projection in Projection::of(&config) {
                let (wide, out) = projection.widths(&config);
                let deviation = if matches!(projection, Projection::O | Projection::Down) {
                    deep
                } else {
                    0.02
                };
                weights.push(normal(
                    &format!("{path}.{}.weight", projection.path()),
                    &[out, wide],
                    deviation,
                    &mut random,
                ));
            }
            weights.push(ones(&format!("{path}.post_attention_layernorm.weight"), hidden));
        }
        weights.push(ones("model.norm.weight", hidden));
        Ok(PretrainModel { config, device: Device::flex(), weights })
    }

    /// Weights from a file, to be trained further, with a fresh optimiser state.
    ///
    /// # Errors
    /// As [`PretrainModel::new`], and where a tensor is missing or has another shape.
    pub fn load(config: Config, weights: &Weights) -> Result<Self> {
        let mut model = Self::new(config, 0)?;
        for weight in &mut model.weights {
            weight.values = weights.load(&weight.name, &weight.shape)?;
        }
        Ok(model)
    }

    /// The model with its current weights.
    pub fn decoder(&self) -> Decoder {
        let mut weights = self.weights.iter();
        let mut next = || weights.next().expect("weights are in the order in which they were made");
        let matrix =
            |w: &Weight| from_host(w.values.clone(), [w.shape[0], w.shape[1]], &self.device);
        let embed_tokens = Matrix::F32(matrix(next()));
        let layers = (0..self.config.layers.len())
            .map(|_| {
                let input_layernorm = next().values.clone();
                let linear = |w: &Weight| Linear { weight: matrix(w).into(), bias: None };
                let projections =
                    Projection::of(&self.config).iter().map(|_| linear(next())).collect();
                Block::plain(input_layernorm, projections, next().values.clone())
            })
            .collect();
        let norm = next().values.clone();
        Decoder::assemble(
            self.config.clone(),
            &self.device,
            embed_tokens.clone(),
            layers,
            norm,
            embed_tokens,
        )
    }

    /// Trains on an endless stream of documents. After each step, `watch` gets the step (from 1),
    /// the weighted loss in nats and the tokens so far.
    ///
    /// # Errors
    /// Where the stream ends or a loss is not a number.
    pub fn pretrain(
        &mut self,
        settings: &PretrainConfig,
        documents: &mut dyn Iterator<Item = Result<TokenRow>>,
        watch: &mut dyn FnMut(usize, f64, usize, &PretrainModel) -> Result<()>,
    ) -> Result<()> {
        let mut seen = 0;
        for step in 0..settings.steps {
            let batches = take_batches(settings, documents)?;
            seen += batches.iter().flatten().map(|row| row.tokens.len()).sum::<usize>();
            let (gradients, loss) = self.gradients(&batches, settings)?;
            if !loss.is_finite() {
                bail!("the loss is not a number at step {}", step + 1);
            }
            self.update(&gradients, step, settings);
            watch(step + 1, loss, seen, self)?;
        }
        Ok(())
    }

    /// The summed gradient of all batches, one thread each; the order of the sum is fixed.
    fn gradients(
        &self,
        batches: &[Vec<TokenRow>],
        settings: &PretrainConfig,
    ) -> Result<(Vec<Vec<f32>>, f64)> {
        let decoder = self.decoder();
        let total: f32 =
            batches.iter().flatten().map(|row| weight_of(row, settings.prompt_weight)).sum();
        let parts: Vec<Result<(Vec<Vec<f32>>, f64)>> = thread::scope(|scope| {
            let workers: Vec<_> = batches
                .iter()
                .map(|rows| {
                    let decoder = &decoder;
                    scope.spawn(move || {
                        let pool = ThreadPoolBuilder::new()
                            .num_threads(1)
                            .build()
                            .context("a thread of its own")?;
                        pool.install(|| half_step(decoder, rows, total, settings.prompt_weight))
                    })
                })
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().expect("a worker returns its errors"))
                .collect()
        });
        let mut sum: Option<(Vec<Vec<f32>>, f64)> = None;
        for part in parts {
            let (gradients, loss) = part?;
            match &mut sum {
                None => sum = Some((gradients, loss)),
                Some((total, losses)) => {
                    total.iter_mut().zip(&gradients).for_each(|(t, g)| kernels::add_assign(t, g));
                    *losses += loss;
                }
            }
        }
        sum.context("at least one batch")
    }

    fn update(&mut self, gradients: &[Vec<f32>], step: usize, settings: &PretrainConfig) {
        let norm: f64 = gradients.iter().map(|g| f64::from(kernels::square_norm(g))).sum();
        let rate = cosine(settings, step);
        for (weight, gradient) in self.weights.iter_mut().zip(gradients) {
            let decay = if weight.shape.len() == 2 { settings.weight_decay } else { 0.0 };
            // beta2 of 0.95, as usual in pretraining (Touvron et al. 2023).
            let (beta1, beta2) = (0.9f64, 0.95f64);
            let adam = AdamStep {
                learning_rate: rate as f32,
                beta1: beta1 as f32,
                beta2: beta2 as f32,
                epsilon: 1e-8,
                weight_decay: decay as f32,
                correction1: (1.0 - beta1.powi(step as i32 + 1)) as f32,
                correction2: (1.0 - beta2.powi(step as i32 + 1)) as f32,
                gradient_scale: clip_scale(norm, settings.clip_norm),
            };
            kernels::adamw(
                &mut weight.values,
                gradient,
                &mut weight.first,
                &mut weight.second,
                adam,
            );
        }
    }

    /// The weights as a safetensors file in bf16.
    ///
    /// # Errors
    /// Where a tensor cannot be written.
    pub fn safetensors(&self) -> Result<Vec<u8>> {
        let bytes: Vec<Vec<u8>> = self
            .weights
            .iter()
            .map(|w| w.values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect())
            .collect();
        let views: Vec<(&str, TensorView<'_>)> = self
            .weights
            .iter()
            .zip(&bytes)
            .map(|(w, bytes)| {
                Ok((w.name.as_str(), TensorView::new(Dtype::BF16, w.shape.clone(), bytes)?))
            })
            .collect::<Result<_>>()?;
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        Ok(safetensors::serialize(views, Some(metadata))?)
    }
}

fn take_batches(
    settings: &PretrainConfig,
    documents: &mut dyn Iterator<Item = Result<TokenRow>>,
) -> Result<Vec<Vec<TokenRow>>> {
    let share = settings.tokens_per_step / settings.threads;
    (0..settings.threads)
        .map(|_| {
            let (mut rows, mut tokens) = (Vec::new(), 0);
            while tokens < share {
                let row = documents.next().context("the documents ended")??;
                tokens += row.tokens.len();
                rows.push(row);
            }
            Ok(rows)
        })
        .collect()
}

fn weight_of(row: &TokenRow, prompt_weight: f32) -> f32 {
    row.supervised.iter().skip(1).map(|&s| if s { 1.0 } else { prompt_weight }).sum()
}

/// Gradients in the order of the weights, and the batch's part of the weighted loss.
fn half_step(
    decoder: &Decoder,
    rows: &[TokenRow],
    total: f32,
    prompt_weight: f32,
) -> Result<(Vec<Vec<f32>>, f64)> {
    let (streams, _) = pack_rows(&[rows.iter().collect()], decoder.ops);
    let mut targets = Vec::new();
    for (row, segment) in rows.iter().zip(&streams.segments) {
        for at in 1..row.tokens.len() {
            let weight = if row.supervised[at] { 1.0 } else { prompt_weight } / total;
            targets.push(Target {
                row: segment.rows.start + at - 1,
                token: row.tokens[at],
                weight,
            });
        }
    }
    let Gradients { blocks, embed_tokens, norm, losses } =
        decoder.step(&streams, &targets, Trainable::Everything)?;
    let mut gradients = vec![embed_tokens];
    for block in blocks {
        gradients.push(block.input_layernorm);
        gradients.extend(block.weights.into_iter().map(host));
        gradients.push(block.mlp_layernorm);
    }
    gradients.push(norm);
    Ok((gradients, losses.iter().sum()))
}

/// Linear warm-up, then cosine decay to a twentieth.
fn cosine(settings: &PretrainConfig, step: usize) -> f64 {
    let (step, warmup, steps) = (step as f64, settings.warmup_steps as f64, settings.steps as f64);
    if step < warmup {
        return settings.learning_rate * (step + 1.0) / warmup;
    }
    let progress = (step - warmup) / (steps - warmup).max(1.0);
    settings.learning_rate * (0.05 + 0.95 * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()))
}

fn ones(name: &str, width: usize) -> Weight {
    Weight {
        name: name.to_owned(),
        shape: vec![width],
        values: vec![1.0; width],
        first: vec![0.0; width],
        second: vec![0.0; width],
    }
}

fn normal(name: &str, shape: &[usize], deviation: f64, random: &mut ChaCha8Rng) -> Weight {
    let size: usize = shape.iter().product();
    // Box and Muller 1958.
    let values = (0..size)
        .map(|_| {
            let (u, v): (f64, f64) = (1.0 - random.random::<f64>(), random.random());
            (deviation * (-2.0 * u.ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()) as f32
        })
        .collect();
    Weight {
        name: name.to_owned(),
        shape: shape.to_vec(),
        values,
        first: vec![0.0; size],
        second: vec![0.0; size],
    }
}
