//! Shadow training: K LoRAs in parallel on one frozen base.

#![allow(
    clippy::disallowed_types,
    reason = "safetensors takes its metadata as a HashMap; it has one entry"
)]

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};
use rand::seq::SliceRandom;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::chat::{self, Chat, Rendered};
use super::decoder::{Decoder, Gradients, Trainable};
use super::files::hex;
use super::kernels::{self, AdamStep};
use super::lora::HostLora;
use super::ops::Ops;
use super::packing::{TokenRow, pack_rows};
use crate::engine::{Checkpoint, Job, Recipe, Schedule, Trained};
use crate::peft::widen;
use crate::seed::{self, Purpose};

mod resident;

use resident::Resident;

/// AdamW's constants, PyTorch's defaults.
const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// Steps between two checkpoints.
const CHECKPOINT_EVERY: usize = 32;

/// The state of a training of K shadows.
pub struct Training {
    /// Completed steps.
    pub step: usize,
    lora: HostLora,
    first: Vec<Vec<f32>>,
    second: Vec<Vec<f32>>,
    /// Weights and moments on a GPU, from the first step on. They are then the current ones, until
    /// [`Training::lora`] copies them back.
    resident: Option<Resident>,
    /// `losses[shadow][step]`
    losses: Vec<Vec<f64>>,
    /// LoRA weights at the recipe's snapshots so far.
    snapshots: Vec<HostLora>,
}

/// The metadata of a saved state.
#[derive(Serialize, Deserialize)]
struct Header {
    /// See [`fingerprint`].
    plan: String,
    step: usize,
    losses: Vec<Vec<f64>>,
}

/// Trains all jobs with one recipe. See [`crate::engine::Engine::train`].
///
/// # Errors
/// Where no token carries loss, a row cannot be rendered, or a loss is not a number.
pub fn train(
    decoder: &Decoder,
    chat: &Chat,
    jobs: &[Job],
    recipe: &Recipe,
    checkpoint: &dyn Checkpoint,
) -> Result<Vec<Trained>> {
    check(recipe)?;
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let longest = recipe.max_tokens.min(decoder.config.max_position_embeddings);
    let rows: Vec<Vec<TokenRow>> =
        chat::deep(|| jobs.iter().map(|job| tokenise(chat, job, longest)).collect::<Result<_>>())?;
    let orders: Vec<Vec<usize>> = jobs
        .iter()
        .zip(&rows)
        .map(|(job, rows)| row_order(job.seed, rows.len(), recipe.steps * recipe.batch))
        .collect();
    let seeds: Vec<u64> = jobs.iter().map(|job| job.seed).collect();
    let mut state =
        Training::new(HostLora::fresh(&decoder.config, recipe.rank, recipe.alpha, &seeds));
    let plan = fingerprint(&seeds, &rows, recipe)?;
    if let Some(bytes) = checkpoint.load()? {
        state.restore(&bytes, &plan, recipe).context(
            "the saved training state does not fit this plan; remove it to start these shadows \
             again",
        )?;
    }
    while state.step < recipe.steps {
        let at = state.step * recipe.batch;
        let batches: Vec<Vec<&TokenRow>> = rows
            .iter()
            .zip(&orders)
            .map(|(rows, order)| {
                order[at..at + recipe.batch].iter().map(|&row| &rows[row]).collect()
            })
            .collect();
        let losses = state.advance(decoder, &batches, recipe)?;
        if let Some((job, _)) = jobs.iter().zip(&losses).find(|(_, loss)| !loss.is_finite()) {
            bail!(
                "{}: the loss or its gradient is not a number at step {}; give a lower --lr (now \
                 {}); if that does not help, check the base's weights for values that are not \
                 numbers",
                job.label,
                state.step,
                recipe.learning_rate
            );
        }
        if recipe.snapshots.contains(&state.step) {
            let lora = state.lora().clone();
            state.snapshots.push(lora);
        }
        if state.step.is_multiple_of(CHECKPOINT_EVERY) || recipe.snapshots.contains(&state.step) {
            checkpoint.save(&state.bytes(&plan)?)?;
        }
        checkpoint.progress(state.step);
    }
    Ok((0..jobs.len())
        .map(|shadow| Trained {
            losses: state.losses[shadow]
                .iter()
                .enumerate()
                .map(|(at, &loss)| (at + 1, loss))
                .collect(),
            snapshots: state.snapshots.iter().map(|lora| lora.adapter(shadow)).collect(),
            supervised_share: supervised_share(&rows[shadow]),
        })
        .collect())
}

fn check(recipe: &Recipe) -> Result<()> {
    ensure!(recipe.rank > 0 && recipe.batch > 0, "a recipe's rank and batch must be above zero");
    let rising = recipe.snapshots.first().is_some_and(|&first| first > 0)
        && recipe.snapshots.is_sorted_by(|a, b| a < b);
    ensure!(
        rising && recipe.snapshots.last() == Some(&recipe.steps),
        "a recipe's snapshots must rise from a first step above zero to the last step, {}, and \
         are {:?}",
        recipe.steps,
        recipe.snapshots
    );
    Ok(())
}

/// A hash of what a saved state belongs to: seeds, rows and recipe.
fn fingerprint(seeds: &[u64], rows: &[Vec<TokenRow>], recipe: &Recipe) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(serde_json::to_vec(&(seeds, recipe))?);
    for row in rows.iter().flat_map(|rows| rows.iter().map(Some).chain([None])) {
        // Lengths first, so that no two lists of rows give the same bytes.
        hash.update(row.map_or(u64::MAX, |row| row.tokens.len() as u64).to_le_bytes());
        for (token, &supervised) in
            row.iter().flat_map(|row| row.tokens.iter().zip(&row.supervised))
        {
            hash.update(token.to_le_bytes());
            hash.update([u8::from(supervised)]);
        }
    }
    Ok(hex(&hash.finalize()))
}

fn tokenise(chat: &Chat, job: &Job, longest: usize) -> Result<Vec<TokenRow>> {
    let mut rows = Vec::with_capacity(job.rows.len());
    for messages in &job.rows {
        let Rendered { mut tokens, mut supervised } =
            chat.encode(messages).with_context(|| job.label.clone())?;
        tokens.truncate(longest);
        supervised.truncate(longest);
        rows.push(TokenRow { tokens, supervised });
    }
    // Rows whose answer was truncated away carry no loss and would only dilute the batch.
    rows.retain(|row| row.supervised_tokens() > 0);
    ensure!(
        !rows.is_empty(),
        "{}: no token has a loss; rows need assistant answers within {longest} tokens",
        job.label
    );
    Ok(rows)
}

fn supervised_share(rows: &[TokenRow]) -> f64 {
    let all: usize = rows.iter().map(|row| row.tokens.len()).sum();
    rows.iter().map(|row| row.supervised_tokens()).sum::<usize>() as f64 / all as f64
}

/// Row indices in training order: a new shuffle for every epoch.
fn row_order(seed: u64, rows: usize, needed: usize) -> Vec<usize> {
    let mut stream = seed::stream(Purpose::EpochRows, seed);
    let mut order = Vec::with_capacity(needed + rows);
    while order.len() < needed {
        let mut epoch: Vec<usize> = (0..rows).collect();
        epoch.shuffle(&mut stream);
        order.extend(epoch);
    }
    order
}

/// The learning rate of a step (counted from 0), as in transformers'
/// `get_{linear,cosine}_schedule_with_warmup`.
pub fn learning_rate(recipe: &Recipe, step: usize) -> f64 {
    let (step, warmup, steps) = (step as f64, recipe.warmup_steps as f64, recipe.steps as f64);
    if step < warmup {
        return recipe.learning_rate * step / warmup.max(1.0);
    }
    let progress = (step - warmup) / (steps - warmup).max(1.0);
    recipe.learning_rate
        * match recipe.schedule {
            Schedule::Linear => (1.0 - progress).max(0.0),
            Schedule::Cosine => (0.5 * (1.0 + (std::f64::consts::PI * progress).cos())).max(0.0),
        }
}

/// AdamW's step `t` (counted from 0) at a learning rate.
pub fn adam_step(t: usize, learning_rate: f64, weight_decay: f64, gradient_scale: f32) -> AdamStep {
    AdamStep {
        learning_rate: learning_rate as f32,
        beta1: BETA1 as f32,
        beta2: BETA2 as f32,
        epsilon: EPSILON as f32,
        weight_decay: weight_decay as f32,
        correction1: (1.0 - BETA1.powi(t as i32 + 1)) as f32,
        correction2: (1.0 - BETA2.powi(t as i32 + 1)) as f32,
        gradient_scale,
    }
}

/// The factor that clips a gradient to a norm, as `torch.nn.utils.clip_grad_norm_`.
pub fn clip_scale(square_norm: f64, clip_norm: f64) -> f32 {
    (clip_norm / (square_norm.sqrt() + 1e-6)).min(1.0) as f32
}

impl Training {
    /// The initial state, from given LoRA weights.
    pub fn new(lora: HostLora) -> Self {
        let zeros: Vec<Vec<f32>> =
            lora.parameters.iter().map(|p| vec![0.0; p.values.len()]).collect();
        Training {
            step: 0,
            losses: vec![Vec::new(); lora.shadows],
            first: zeros.clone(),
            second: zeros,
            resident: None,
            lora,
            snapshots: Vec::new(),
        }
    }

    /// The current LoRA weights.
    pub fn lora(&mut self) -> &HostLora {
        if let Some(resident) = &self.resident {
            resident.download(&mut self.lora, &mut self.first, &mut self.second);
        }
        &self.lora
    }

    /// One step of all shadows, each on its own batch. Returns every shadow's loss before the step,
    /// in nats. The loss is NaN if the gradient is not finite.
    ///
    /// # Errors
    /// Where a token is outside the base's vocabulary.
    pub fn advance(
        &mut self,
        decoder: &Decoder,
        batches: &[Vec<&TokenRow>],
        recipe: &Recipe,
    ) -> Result<Vec<f64>> {
        let (streams, targets) = pack_rows(batches, decoder.ops);
        if decoder.ops == Ops::Composed && self.resident.is_none() {
            self.resident =
                Some(Resident::upload(&self.lora, &self.first, &self.second, &decoder.device));
        }
        let lora = self.resident.as_ref().map_or_else(
            || self.lora.upload(&decoder.device),
            |resident| resident.lora(&self.lora),
        );
        let gradients = decoder.step(&streams, &targets, Trainable::Lora(&lora))?;
        let mut losses = gradients.losses.clone();
        for (loss, norm) in losses.iter_mut().zip(self.update(gradients, recipe)) {
            if !norm.is_finite() {
                *loss = f64::NAN;
            }
        }
        for (history, &loss) in self.losses.iter_mut().zip(&losses) {
            history.push(loss);
        }
        Ok(losses)
    }

    /// AdamW with per-shadow clipping; returns the square of every shadow's gradient norm.
    fn update(&mut self, gradients: Gradients, recipe: &Recipe) -> Vec<f64> {
        let (at, rate) = (self.step, learning_rate(recipe, self.step));
        let step = |norm: f64| {
            adam_step(at, rate, recipe.weight_decay, clip_scale(norm, recipe.clip_norm))
        };
        self.step += 1;
        if let Some(resident) = &mut self.resident {
            return resident.update(gradients, step);
        }
        let gradients: Vec<Vec<f32>> = gradients
            .blocks
            .into_iter()
            .flat_map(|block| block.lora)
            .flat_map(|pair| pair.into_host())
            .collect();
        let mut norms = Vec::with_capacity(self.lora.shadows);
        for shadow in 0..self.lora.shadows {
            let share = |values: &[f32]| {
                let size = values.len() / self.lora.shadows;
                shadow * size..(shadow + 1) * size
            };
            let norm: f64 =
                gradients.iter().map(|g| f64::from(kernels::square_norm(&g[share(g)]))).sum();
            norms.push(norm);
            let step = step(norm);
            for (((parameter, gradient), first), second) in self
                .lora
                .parameters
                .iter_mut()
                .zip(&gradients)
                .zip(&mut self.first)
                .zip(&mut self.second)
            {
                let range = share(gradient);
                kernels::adamw(
                    &mut parameter.values[range.clone()],
                    &gradient[range.clone()],
                    &mut first[range.clone()],
                    &mut second[range],
                    step,
                );
            }
        }
        norms
    }

    /// The state as a safetensors file.
    fn bytes(&mut self, plan: &str) -> Result<Vec<u8>> {
        self.lora();
        let header = Header { plan: plan.to_owned(), step: self.step, losses: self.losses.clone() };
        let metadata = HashMap::from([("state".to_owned(), serde_json::to_string(&header)?)]);
        let mut flat: Vec<(String, Vec<u8>, usize)> = Vec::new();
        let mut put = |name: String, values: &[f32]| {
            flat.push((name, values.iter().flat_map(|v| v.to_le_bytes()).collect(), values.len()));
        };
        for (at, parameter) in self.lora.parameters.iter().enumerate() {
            put(format!("parameter.{at}"), &parameter.values);
            put(format!("first.{at}"), &self.first[at]);
            put(format!("second.{at}"), &self.second[at]);
            for (snapshot, lora) in self.snapshots.iter().enumerate() {
                put(format!("snapshot.{snapshot}.{at}"), &lora.parameters[at].values);
            }
        }
        let views: Vec<(&str, TensorView<'_>)> = flat
            .iter()
            .map(|(name, bytes, length)| {
                Ok((name.as_str(), TensorView::new(Dtype::F32, vec![*length], bytes)?))
            })
            .collect::<Result<_>>()?;
        Ok(safetensors::serialize(views, Some(metadata))?)
    }

    fn restore(&mut self, bytes: &[u8], plan: &str, recipe: &Recipe) -> Result<()> {
        let (_, metadata) = SafeTensors::read_metadata(bytes)?;
        let text = metadata
            .metadata()
            .as_ref()
            .and_then(|m| m.get("state"))
            .context("no state in the file")?;
        let header: Header = serde_json::from_str(text)?;
        ensure!(header.plan == plan, "it was saved for other rows, seeds or settings");
        ensure!(
            header.step <= recipe.steps
                && header.losses.len() == self.lora.shadows
                && header.losses.iter().all(|losses| losses.len() == header.step),
            "its losses are not those of {} steps",
            header.step
        );
        let file = SafeTensors::deserialize(bytes)?;
        let get = |name: String, values: &mut Vec<f32>| -> Result<()> {
            let view = file.tensor(&name)?;
            let read = widen(view.dtype(), view.data())?;
            ensure!(read.len() == values.len(), "{name} has another size");
            *values = read;
            Ok(())
        };
        let snapshots = recipe.snapshots.iter().filter(|&&step| step <= header.step).count();
        self.snapshots = vec![self.lora.clone(); snapshots];
        for at in 0..self.lora.parameters.len() {
            get(format!("parameter.{at}"), &mut self.lora.parameters[at].values)?;
            get(format!("first.{at}"), &mut self.first[at])?;
            get(format!("second.{at}"), &mut self.second[at])?;
            for (snapshot, lora) in self.snapshots.iter_mut().enumerate() {
                get(format!("snapshot.{snapshot}.{at}"), &mut lora.parameters[at].values)?;
            }
        }
        self.step = header.step;
        self.losses = header.losses;
        Ok(())
    }
}
