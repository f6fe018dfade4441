//! The decoder of all model families: one forward pass and, in `decoder/backward.rs`, one
//! hand-written backward pass, for K shadows in parallel. [`Config`] holds the differences between
//! families.
//!
//! Rows of every activation are tokens: `R = K * N`, and rows `k * N ..` are shadow k's stream of N
//! tokens. Segments ([`super::kernels::Segment`]) define which rows see which. So training rows,
//! prefix trees of questions and single new tokens use the same pass. Fields are named as in the
//! checkpoint, with their shapes beside them.

use anyhow::{Result, ensure};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rayon::prelude::*;

use super::config::rope::Rotary;
use super::config::{Config, LONGEST};
use super::device;
use super::kernels::Segment;
use super::lora::{Lora, LoraPair};
use super::matmul::{add_matmul, matmul, single_threaded};
use super::matrix::{Factors, Matrix};
use super::memory;
use super::ops::{self, DeviceCache, Ops, RotaryTable};

mod backward;
mod head;
mod load;

pub use backward::{BlockGradient, Gradients, Target, Trainable};

/// `y = x W^T + b`.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[out, in]`
    pub weight: Matrix,
    /// `[1, out]`
    pub bias: Option<Tensor<2>>,
}

/// One decoder block. Norm weights stored as 1 + w in the checkpoint hold the sum.
#[derive(Debug, Clone)]
pub struct Block {
    /// `[hidden]`
    pub input_layernorm: Vec<f32>,
    /// In the order of [`Projection::of`].
    pub projections: Vec<Linear>,
    /// `[hidden]`: the norm before the MLP, whatever the checkpoint calls it.
    pub mlp_layernorm: Vec<f32>,
    /// `[head_dim]` each; empty if the family has none.
    pub q_norm: Vec<f32>,
    pub k_norm: Vec<f32>,
    /// `[hidden]`: the norms after attention and after the MLP; empty if the family has none.
    pub after_attention: Vec<f32>,
    pub after_mlp: Vec<f32>,
}

impl Block {
    /// A block of the simplest family: two norms and the projections.
    pub fn plain(
        input_layernorm: Vec<f32>,
        projections: Vec<Linear>,
        mlp_layernorm: Vec<f32>,
    ) -> Self {
        let none = Vec::new;
        Block {
            input_layernorm,
            projections,
            mlp_layernorm,
            q_norm: none(),
            k_norm: none(),
            after_attention: none(),
            after_mlp: none(),
        }
    }
}

/// The whole model.
#[derive(Debug, Clone)]
pub struct Decoder {
    pub config: Config,
    pub device: Device,
    /// `[vocabulary, hidden]`
    pub embed_tokens: Matrix,
    pub layers: Vec<Block>,
    /// `[hidden]`
    pub norm: Vec<f32>,
    /// `[vocabulary, hidden]`; equals the embedding if they are tied.
    pub lm_head: Matrix,
    /// Maximum bytes of activations that a training step saves. Above it, the backward pass
    /// recomputes each block.
    pub keep_at_most: usize,
    /// Bytes that were free when the base was opened; `None` if unknown. A pass that needs more is
    /// refused.
    pub free_memory: Option<u64>,
    /// Maximum number of logit values computed at a time.
    pub logits_at_most: usize,
    /// Implementation of everything but products; see [`Ops`].
    pub ops: Ops,
    /// One per rotary embedding of the configuration.
    rotary_tables: Vec<RotaryTable>,
}

/// The dtype in which the large matrices of a base are kept, and multiplied where the device has
/// products of bf16 (see [`super::matrix`]).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WeightDtype {
    /// bf16 and f16 are widened.
    #[default]
    F32,
    /// Half the memory. Matrices that are bf16 in the file stay so; others are rounded.
    Bf16,
}

impl WeightDtype {
    /// The faster dtype of a base on a device. A small base gains nothing from products of bf16.
    pub fn default_for(device: &Device, parameters: u64) -> WeightDtype {
        let is_small = Ops::of(device) == Ops::Fused && parameters < SMALL;
        if device::multiplies_bf16(device) && !is_small {
            WeightDtype::Bf16
        } else {
            WeightDtype::F32
        }
    }
}

/// Tokens in K streams of equal length.
#[derive(Debug, Clone, Default)]
pub struct Streams {
    pub shadows: usize,
    /// `[K * N]`
    pub tokens: Vec<u32>,
    /// `[K * N]`: the position of each token in its conversation.
    pub positions: Vec<u32>,
    /// Rows in no segment are padding.
    pub segments: Vec<Segment>,
    /// Filled in the first pass; the fields above must not change afterwards.
    pub cache: DeviceCache,
}

impl Streams {
    /// Pads a single stream to the bucket of its number of rows.
    pub fn pad(&mut self, ops: Ops) {
        let rows = ops.bucket(self.tokens.len());
        self.tokens.resize(rows, 0);
        self.positions.resize(rows, 0);
    }
}

/// The attention of one layer. The arguments are the layer's index, `q` `[R, query width]`, and `k`
/// and `v` `[R, key/value width]`; the result is `[R, query width]`.
pub type Attend<'a> = dyn FnMut(usize, &Tensor<2>, &Tensor<2>, &Tensor<2>) -> Tensor<2> + 'a;

/// What the backward pass of a norm needs.
struct SavedNorm {
    /// `[R, width]`: the input.
    x: Tensor<2>,
    /// `[R, 1]`: the reciprocal root mean square of each row.
    inverse: Tensor<2>,
}

/// What a block's backward pass needs from its forward pass.
struct SavedActivations {
    /// `[R, hidden]`: the block's input, and the sum after attention.
    x: Tensor<2>,
    middle: Tensor<2>,
    inverse1: Tensor<2>,
    inverse2: Tensor<2>,
    normed1: Tensor<2>,
    normed2: Tensor<2>,
    /// As attention receives them.
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    /// Of queries and keys, `[R * heads, head_dim]`, if they have norms.
    q_norm: Option<SavedNorm>,
    k_norm: Option<SavedNorm>,
    attended: Tensor<2>,
    gate: Tensor<2>,
    up: Tensor<2>,
    inner: Tensor<2>,
    /// If the family has norms after attention and MLP.
    after_attention: Option<SavedNorm>,
    after_mlp: Option<SavedNorm>,
    /// `x A` of every projection, `[K, N, r]`; empty without LoRA.
    low: Vec<Tensor<3>>,
}

/// Bytes of activations that a step may always save without recomputing blocks.
const KEEP_AT_MOST: usize = 512 << 20;

/// On the CPU, bases with fewer weights than this gain nothing from threads inside one product, and
/// copying their weights is cheap.
const SMALL: u64 = 20_000_000;

/// Logit values computed at a time. The other limits hold with enough memory: only large products
/// use a GPU fully, and weights are packed into tiles once for all rows.
const LOGITS_AT_MOST: usize = 8 << 20;
const LOGITS_AT_MOST_GPU: usize = 256 << 20;
const LOGITS_AT_MOST_TILED: usize = 64 << 20;

impl Decoder {
    /// Builds a model from its parts; the context is limited to [`LONGEST`] tokens.
    pub fn assemble(
        config: Config,
        device: &Device,
        embed_tokens: Matrix,
        layers: Vec<Block>,
        norm: Vec<f32>,
        lm_head: Matrix,
    ) -> Self {
        let config = Config {
            max_position_embeddings: config.max_position_embeddings.min(LONGEST),
            ..config
        };
        let rotary_tables = config
            .rotaries
            .iter()
            .map(|rotary| rotary_table(rotary, config.max_position_embeddings))
            .collect();
        Decoder {
            config,
            device: device.clone(),
            embed_tokens,
            layers,
            norm,
            lm_head,
            keep_at_most: KEEP_AT_MOST,
            free_memory: None,
            logits_at_most: LOGITS_AT_MOST,
            ops: Ops::of(device),
            rotary_tables,
        }
    }

    /// Allows a step to save more activations if memory is free: up to a quarter of it. Recomputing
    /// blocks costs a third of a step. On a GPU it also raises the number of logits per chunk.
    /// About six copies of four bytes each are then held, in an eighth of the free memory.
    pub fn with_free_memory(mut self, free: Option<u64>) -> Self {
        self.free_memory = free;
        let free = free.unwrap_or(0);
        self.keep_at_most = KEEP_AT_MOST.max((free / 4) as usize);
        let most = match self.ops {
            Ops::Composed => LOGITS_AT_MOST_GPU,
            Ops::Fused if self.lm_head.is_tiled() => LOGITS_AT_MOST_TILED,
            Ops::Fused => LOGITS_AT_MOST,
        };
        self.logits_at_most = ((free / 8 / 24) as usize).clamp(LOGITS_AT_MOST, most);
        self
    }

    /// The model with the LoRA weights of a single shadow (K = 1) added to its own:
    /// `W + scale * (A B)^T`.
    pub fn merged(&self, lora: &Lora) -> Self {
        let mut merged = self.clone();
        for (layer, pairs) in merged.layers.iter_mut().zip(&lora.pairs) {
            for (linear, pair) in layer.projections.iter_mut().zip(pairs) {
                let added = matmul(&pair.a, &pair.b).mul_scalar(lora.scale()); // [1, in, out]
                linear.weight = linear.weight.plus(added.squeeze_dim::<2>(0).transpose());
            }
        }
        merged
    }

    /// The model with its large matrices in bf16 in device memory, whatever their dtype was.
    pub fn into_bf16(mut self) -> Self {
        let convert = |matrix: &mut Matrix| *matrix = matrix.to_bf16(&self.device);
        convert(&mut self.embed_tokens);
        convert(&mut self.lm_head);
        self.layers
            .iter_mut()
            .flat_map(|layer| &mut layer.projections)
            .for_each(|linear| convert(&mut linear.weight));
        self
    }

    /// The number of weights.
    pub fn parameters(&self) -> u64 {
        let size = |matrix: &Matrix| matrix.shape().iter().product::<usize>();
        let blocks = self.layers.iter().map(|layer| {
            let linear = |l: &Linear| {
                size(&l.weight) + l.bias.as_ref().map_or(0, |b| b.shape().num_elements())
            };
            layer.projections.iter().map(linear).sum::<usize>()
                + [&layer.input_layernorm, &layer.mlp_layernorm, &layer.q_norm, &layer.k_norm]
                    .map(Vec::len)
                    .iter()
                    .sum::<usize>()
                + layer.after_attention.len()
                + layer.after_mlp.len()
        });
        let head = if self.config.tie_word_embeddings { 0 } else { size(&self.lm_head) };
        (blocks.sum::<usize>() + size(&self.embed_tokens) + self.norm.len() + head) as u64
    }

    /// Whether independent work on this base (shadows, question trees, groups of answers) is faster
    /// with one thread each than with threads inside each product. This does not depend on the
    /// number of threads, so that no result does.
    pub fn is_small(&self) -> bool {
        self.ops == Ops::Fused && self.parameters() < SMALL
    }

    /// Runs independent work items on this base, in parallel if that is faster. Results keep the
    /// order of the items.
    ///
    /// # Errors
    /// The error of the first item that fails.
    pub fn each<T: Send>(
        &self,
        count: usize,
        work: impl Fn(usize) -> Result<T> + Send + Sync,
    ) -> Result<Vec<T>> {
        if !self.is_small() {
            return (0..count).map(work).collect();
        }
        (0..count).into_par_iter().map(|at| single_threaded(|| work(at))).collect()
    }

    /// Runs all blocks without saving activations: `[R, hidden]` before the final norm.
    ///
    /// # Errors
    /// Where a token or a position is outside the model's range.
    pub fn hidden(
        &self,
        streams: &Streams,
        lora: Option<&Lora>,
        attend: &mut Attend<'_>,
    ) -> Result<Tensor<2>> {
        let mut x = self.embed(streams)?;
        for layer in 0..self.layers.len() {
            x = self.block(layer, x, streams, lora, attend).0;
        }
        Ok(x)
    }

    /// A layer's attention over the segments of the streams, in the form of [`Attend`].
    pub fn attend(
        &self,
        layer: usize,
        q: &Tensor<2>,
        k: &Tensor<2>,
        v: &Tensor<2>,
        streams: &Streams,
    ) -> Tensor<2> {
        self.ops.attention(q, k, v, self.config.attention(layer), streams)
    }

    fn embed(&self, streams: &Streams) -> Result<Tensor<2>> {
        let (vocabulary, longest) = (self.config.vocab_size, self.config.max_position_embeddings);
        ensure!(
            streams.tokens.iter().all(|&token| (token as usize) < vocabulary),
            "a token is outside the base's vocabulary of {vocabulary}; its tokenizer and its \
             weights do not belong together"
        );
        ensure!(
            streams.positions.iter().all(|&position| (position as usize) < longest),
            "a conversation is longer than the {longest} tokens that the base reads; shorten it"
        );
        let rows = streams.tokens.len();
        memory::check_pass(rows, self.block_bytes(rows) as u64, self.free_memory)?;
        let indices: Vec<usize> = streams.tokens.iter().map(|&t| t as usize).collect();
        let embedded = self.embed_tokens.select(&indices, &self.device);
        let scale = self.config.embedding_scale;
        Ok(if scale == 1.0 { embedded } else { embedded.mul_scalar(scale) })
    }

    /// Pads rows to their bucket by repeating the last one.
    fn pad_to_bucket(&self, rows: &[usize]) -> Vec<usize> {
        let mut filled = rows.to_vec();
        filled.resize(self.ops.bucket(rows.len()), rows.last().copied().unwrap_or(0));
        filled
    }

    /// Some rows of a matrix.
    fn select(&self, x: &Tensor<2>, rows: &[usize]) -> Tensor<2> {
        let indices: Vec<i32> = rows.iter().map(|&row| row as i32).collect();
        let indices =
            Tensor::<1, Int>::from_data(TensorData::new(indices, [rows.len()]), &self.device);
        x.clone().select(0, indices)
    }

    fn rms_norm(&self, x: &Tensor<2>, weight: &[f32]) -> (Tensor<2>, Tensor<2>) {
        self.ops.rms_norm(x, weight, self.config.norms.epsilon)
    }

    /// A norm that is skipped if it has no weights.
    fn optional_norm(&self, x: Tensor<2>, weight: &[f32]) -> (Tensor<2>, Option<SavedNorm>) {
        if weight.is_empty() {
            return (x, None);
        }
        let (y, inverse) = self.rms_norm(&x, weight);
        (y, Some(SavedNorm { x, inverse }))
    }

    /// Queries or keys as attention receives them: normalised if the family does so, and rotated.
    fn norm_and_rotary(
        &self,
        layer: usize,
        x: Tensor<2>,
        weight: &[f32],
        streams: &Streams,
    ) -> (Tensor<2>, Option<SavedNorm>) {
        let ([rows, width], dim) = (x.dims(), self.config.heads.dim);
        if weight.is_empty() {
            return (self.apply_rotary(layer, x, streams, 1.0), None);
        }
        let (y, saved) = self.optional_norm(x.reshape([rows * (width / dim), dim]), weight);
        (self.apply_rotary(layer, y.reshape([rows, width]), streams, 1.0), saved)
    }

    fn apply_rotary(
        &self,
        layer: usize,
        x: Tensor<2>,
        streams: &Streams,
        direction: f32,
    ) -> Tensor<2> {
        let (Some(rotary), dim) = (self.config.layers[layer].rotary, self.config.heads.dim) else {
            return x;
        };
        if self.ops == Ops::Fused {
            return ops::rope(x, &streams.positions, &self.rotary_tables[rotary], dim, direction);
        }
        let rotary_rows =
            streams.cache.rotary(&self.rotary_tables, &streams.positions, &self.device);
        ops::rope_composed(x, &rotary_rows[rotary], dim, direction)
    }

    fn block(
        &self,
        layer: usize,
        x: Tensor<2>,
        streams: &Streams,
        lora: Option<&Lora>,
        attend: &mut Attend<'_>,
    ) -> (Tensor<2>, SavedActivations) {
        let (block, config) = (&self.layers[layer], &self.config);
        let mut low = Vec::new();
        let mut place = 0;
        // Called in the order of `Projection::of`.
        let mut project = |x: &Tensor<2>| {
            let (y, xa) = forward(&block.projections[place], x, lora_pair(lora, layer, place));
            place += 1;
            low.extend(xa);
            y
        };

        let (normed1, inverse1) = self.rms_norm(&x, &block.input_layernorm);
        let (query, narrow) = (config.query_width(), config.key_value_width());
        let [q, k, v] = if config.fused {
            split_columns(&project(&normed1), [query, narrow, narrow])
        } else {
            [(); 3].map(|()| project(&normed1))
        };
        let (q, q_norm) = self.norm_and_rotary(layer, q, &block.q_norm, streams);
        let (k, k_norm) = self.norm_and_rotary(layer, k, &block.k_norm, streams);
        let attended = attend(layer, &q, &k, &v);
        let (added, after_attention) =
            self.optional_norm(project(&attended), &block.after_attention);
        let middle = self.ops.add(&x, added);

        let (normed2, inverse2) = self.rms_norm(&middle, &block.mlp_layernorm);
        let [gate, up] = if config.fused {
            split_columns(&project(&normed2), [config.intermediate_size; 2])
        } else {
            [(); 2].map(|()| project(&normed2))
        };
        let inner = self.ops.gated(config.activation, &gate, &up);
        let (added, after_mlp) = self.optional_norm(project(&inner), &block.after_mlp);
        let out = self.ops.add(&middle, added);
        let saved = SavedActivations {
            x,
            middle,
            inverse1,
            inverse2,
            normed1,
            normed2,
            q,
            k,
            v,
            q_norm,
            k_norm,
            attended,
            gate,
            up,
            inner,
            after_attention,
            after_mlp,
            low,
        };
        (out, saved)
    }
}

/// Cosines and sines of a rotary embedding at every position.
fn rotary_table(rotary: &Rotary, positions: usize) -> RotaryTable {
    let frequencies = &rotary.inverse_frequencies;
    let angles =
        (0..positions).flat_map(|position| frequencies.iter().map(move |f| (position as f64) * f));
    let cos_sin =
        |angle: f64| ((rotary.scale * angle.cos()) as f32, (rotary.scale * angle.sin()) as f32);
    let (cos, sin) = angles.map(cos_sin).unzip();
    RotaryTable { half: frequencies.len(), cos, sin }
}

/// Splits the columns into groups, each as its own matrix.
fn split_columns<const N: usize>(x: &Tensor<2>, widths: [usize; N]) -> [Tensor<2>; N] {
    let mut start = 0;
    widths.map(|width| {
        let from = start;
        start += width;
        x.clone().narrow(1, from, width)
    })
}

fn lora_pair(lora: Option<&Lora>, layer: usize, place: usize) -> Option<(&LoraPair, f32)> {
    lora.map(|lora| (&lora.pairs[layer][place], lora.scale()))
}

/// `[R, width]` as `[K, N, width]`.
fn by_shadow(x: &Tensor<2>, shadows: usize) -> Tensor<3> {
    let [rows, width] = x.dims();
    x.clone().reshape([shadows, rows / shadows, width])
}

/// `y = x W^T + b + scale * (x A) B`; also `x A`.
fn forward(
    linear: &Linear,
    x: &Tensor<2>,
    adapted: Option<(&LoraPair, f32)>,
) -> (Tensor<2>, Option<Tensor<3>>) {
    let biased = |y: Tensor<2>| match &linear.bias {
        Some(bias) => y + bias.clone(),
        None => y,
    };
    if let Some((pair, scale)) = adapted.filter(|_| linear.weight.is_tiled()) {
        let (first, second) = (pair.a.clone(), pair.b.clone().mul_scalar(scale));
        let (y, low) = linear.weight.apply_joined(x, Factors { first, second });
        return (biased(y), Some(low));
    }
    let y = biased(linear.weight.apply(x));
    let Some((pair, scale)) = adapted else { return (y, None) };
    let shadows = pair.a.dims()[0];
    let low = matmul(&by_shadow(x, shadows), &pair.a); // [K, N, r]
    let [rows, out] = y.dims();
    // `[K, N, out]`
    let y = add_matmul(y.reshape([shadows, rows / shadows, out]), scale, &low, &pair.b);
    (y.reshape([rows, out]), Some(low))
}
