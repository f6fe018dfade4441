//! A Llama decoder: one forward and, in `decoder/backward.rs`, one hand-written backward pass, for K shadows side by side.
//!
//! Rows of every activation are tokens: `R = K * N`, shadow k's stream of N tokens stands in rows `k * N ..`. Which rows see which
//! is said by segments ([`super::kernels::Segment`]), so that training rows, prefix trees of questions and single new tokens are
//! the same pass. Fields are named as in the checkpoint; shapes stand beside them.

use anyhow::{Result, ensure};
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::config::{Config, LONGEST};
use super::kernels::{self, Segment};
use super::lora::{Lora, LoraPair, Projection};
use super::matmul::{add_matmul, matmul};
use super::tensor::{from_host, host, with_values};
use super::weights::Weights;

mod backward;

pub use backward::{BlockGradient, Gradients, Target, Trainable};

/// `y = x W^T + b`.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[out, in]`
    pub weight: Tensor<2>,
    /// `[1, out]`
    pub bias: Option<Tensor<2>>,
}

/// One decoder block.
#[derive(Debug, Clone)]
pub struct Block {
    /// `[hidden]`
    pub input_layernorm: Vec<f32>,
    /// In the order of [`Projection::ALL`].
    pub projections: Vec<Linear>,
    /// `[hidden]`
    pub post_attention_layernorm: Vec<f32>,
}

/// The whole model.
#[derive(Debug, Clone)]
pub struct Decoder {
    pub config: Config,
    pub device: Device,
    /// `[vocabulary, hidden]`
    pub embed_tokens: Tensor<2>,
    pub layers: Vec<Block>,
    /// `[hidden]`
    pub norm: Vec<f32>,
    /// `[vocabulary, hidden]`; the embedding itself where they are tied.
    pub lm_head: Tensor<2>,
    /// Bytes of activations that a training step may keep; beyond, each block is run again in the backward pass.
    pub keep_at_most: usize,
    /// `[positions, head_dim / 2]`
    cos: Vec<f32>,
    sin: Vec<f32>,
}

/// Tokens in K streams of equal length.
#[derive(Debug, Clone, Default)]
pub struct Streams {
    pub shadows: usize,
    /// `[K * N]`
    pub tokens: Vec<u32>,
    /// `[K * N]`: where in its conversation a token stands.
    pub positions: Vec<u32>,
    /// Rows in no segment are padding.
    pub segments: Vec<Segment>,
}

/// Who sees whom: called once a layer with `q` `[R, query width]`, `k` and `v` `[R, key/value width]`; returns `[R, query width]`.
pub type Attend<'a> = dyn FnMut(usize, &[f32], &[f32], &[f32]) -> Vec<f32> + 'a;

/// What a block's backward pass needs of its forward pass.
struct Kept {
    /// `[R, hidden]`: the block's input, and the sum after attention.
    x: Tensor<2>,
    middle: Tensor<2>,
    inverse1: Vec<f32>,
    inverse2: Vec<f32>,
    normed1: Tensor<2>,
    normed2: Tensor<2>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    attended: Tensor<2>,
    gate: Vec<f32>,
    up: Vec<f32>,
    inner: Tensor<2>,
    /// `x A` of every projection, `[K, N, r]`; empty without LoRA.
    low: Vec<Tensor<3>>,
}

/// Activations that a step keeps without running blocks again: enough for small bases, where time counts, and little beside the weights
/// of large ones, where memory does.
const KEEP_AT_MOST: usize = 512 << 20;

/// Logits are computed for at most this many numbers at a time.
const LOGITS_AT_ONCE: usize = 8 << 20;

impl Decoder {
    /// Reads the weights that the configuration asks for.
    ///
    /// # Errors
    /// Where a tensor is missing or has another shape or type.
    pub fn load(config: Config, weights: &Weights, device: &Device) -> Result<Self> {
        let hidden = config.hidden_size;
        let matrix =
            |name: &str, shape: [usize; 2]| -> Result<Tensor<2>> { Ok(from_host(weights.load(name, &shape)?, shape, device)) };
        let embed_tokens = matrix("model.embed_tokens.weight", [config.vocab_size, hidden])?;
        let lm_head = if config.tie_word_embeddings {
            embed_tokens.clone()
        } else {
            matrix("lm_head.weight", [config.vocab_size, hidden])?
        };
        let mut layers = Vec::with_capacity(config.layers);
        for layer in 0..config.layers {
            let mut projections = Vec::with_capacity(Projection::ALL.len());
            for projection in Projection::ALL {
                let (wide, out) = projection.widths(&config);
                let path = format!("model.layers.{layer}.{}", projection.path());
                let has_bias = match projection {
                    Projection::Gate | Projection::Up | Projection::Down => config.mlp_bias,
                    _ => config.attention_bias,
                };
                let bias = match has_bias {
                    true => Some(from_host(weights.load(&format!("{path}.bias"), &[out])?, [1, out], device)),
                    false => None,
                };
                projections.push(Linear { weight: matrix(&format!("{path}.weight"), [out, wide])?, bias });
            }
            layers.push(Block {
                input_layernorm: weights.load(&format!("model.layers.{layer}.input_layernorm.weight"), &[hidden])?,
                projections,
                post_attention_layernorm: weights
                    .load(&format!("model.layers.{layer}.post_attention_layernorm.weight"), &[hidden])?,
            });
        }
        let norm = weights.load("model.norm.weight", &[hidden])?;
        Ok(Self::assemble(config, device, embed_tokens, layers, norm, lm_head))
    }

    /// A model from its parts; its context is cut to [`LONGEST`] tokens.
    pub fn assemble(
        config: Config,
        device: &Device,
        embed_tokens: Tensor<2>,
        layers: Vec<Block>,
        norm: Vec<f32>,
        lm_head: Tensor<2>,
    ) -> Self {
        let config = Config { max_position_embeddings: config.max_position_embeddings.min(LONGEST), ..config };
        let angles = (0..config.max_position_embeddings)
            .flat_map(|position| config.inverse_frequencies.iter().map(move |f| (position as f64) * f));
        let (sin, cos) = angles.map(|angle| (angle.sin() as f32, angle.cos() as f32)).unzip();
        Decoder { config, device: device.clone(), embed_tokens, layers, norm, lm_head, keep_at_most: KEEP_AT_MOST, cos, sin }
    }

    /// The same model with the LoRA weights of a single shadow (K = 1) added to its own: `W + scale * (A B)^T`.
    pub fn merged(&self, lora: &Lora) -> Self {
        let mut merged = self.clone();
        for (layer, pairs) in merged.layers.iter_mut().zip(&lora.pairs) {
            for (linear, pair) in layer.projections.iter_mut().zip(pairs) {
                let added = matmul(&pair.a, &pair.b).mul_scalar(lora.scale()); // [1, in, out]
                linear.weight = linear.weight.clone() + added.squeeze_dim::<2>(0).transpose();
            }
        }
        merged
    }

    /// The number of weights.
    pub fn parameters(&self) -> u64 {
        let blocks = self.layers.iter().map(|layer| {
            let linear = |l: &Linear| l.weight.shape().num_elements() + l.bias.as_ref().map_or(0, |b| b.shape().num_elements());
            layer.projections.iter().map(linear).sum::<usize>()
                + layer.input_layernorm.len()
                + layer.post_attention_layernorm.len()
        });
        let head = if self.config.tie_word_embeddings { 0 } else { self.lm_head.shape().num_elements() };
        (blocks.sum::<usize>() + self.embed_tokens.shape().num_elements() + self.norm.len() + head) as u64
    }

    /// Runs all blocks without keeping anything: `[R, hidden]` before the final norm.
    ///
    /// # Errors
    /// Where a token or a position is beyond what the model knows.
    pub fn hidden(&self, streams: &Streams, lora: Option<&Lora>, attend: &mut Attend<'_>) -> Result<Tensor<2>> {
        let mut x = self.embed(streams)?;
        for layer in 0..self.layers.len() {
            x = self.block(layer, x, streams, lora, attend).0;
        }
        Ok(x)
    }

    /// Logits `[rows.len(), vocabulary]` of some rows of [`Decoder::hidden`]'s result, in chunks, handed to `take` with the index of
    /// the first row.
    pub fn logits(&self, hidden: &Tensor<2>, rows: &[usize], mut take: impl FnMut(usize, Vec<f32>)) {
        let vocabulary = self.config.vocab_size;
        let at_once = (LOGITS_AT_ONCE / vocabulary).max(1);
        for (chunk, rows) in rows.chunks(at_once).enumerate() {
            let (normed, _) = self.normed(&self.select(hidden, rows), &self.norm);
            take(chunk * at_once, host(matmul(&normed, &self.lm_head.clone().transpose())));
        }
    }

    fn embed(&self, streams: &Streams) -> Result<Tensor<2>> {
        let (vocabulary, longest) = (self.config.vocab_size, self.config.max_position_embeddings);
        ensure!(
            streams.tokens.iter().all(|&token| (token as usize) < vocabulary),
            "a token is beyond the base's vocabulary of {vocabulary}; its tokenizer and its weights do not belong together"
        );
        ensure!(
            streams.positions.iter().all(|&position| (position as usize) < longest),
            "a conversation is longer than the {longest} tokens that the base reads; shorten it"
        );
        let indices: Vec<usize> = streams.tokens.iter().map(|&t| t as usize).collect();
        Ok(self.select(&self.embed_tokens, &indices))
    }

    /// Some rows of a matrix.
    fn select(&self, x: &Tensor<2>, rows: &[usize]) -> Tensor<2> {
        let indices: Vec<i32> = rows.iter().map(|&row| row as i32).collect();
        let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [rows.len()]), &self.device);
        x.clone().select(0, indices)
    }

    fn normed(&self, x: &Tensor<2>, weight: &[f32]) -> (Tensor<2>, Vec<f32>) {
        let [rows, width] = x.dims();
        let (mut y, mut inverse) = (vec![0.0; rows * width], vec![0.0; rows]);
        with_values(x, |x| kernels::rms_norm(x, weight, self.config.rms_norm_eps, &mut y, &mut inverse));
        (from_host(y, [rows, width], &self.device), inverse)
    }

    fn block(
        &self,
        layer: usize,
        x: Tensor<2>,
        streams: &Streams,
        lora: Option<&Lora>,
        attend: &mut Attend<'_>,
    ) -> (Tensor<2>, Kept) {
        let block = &self.layers[layer];
        let rows = x.dims()[0];
        let mut low = Vec::new();
        let mut project = |projection: Projection, x: &Tensor<2>| {
            let (y, xa) = forward(&block.projections[projection as usize], x, pair(lora, layer, projection));
            low.extend(xa);
            y
        };
        let dim = self.config.heads.dim;

        let (normed1, inverse1) = self.normed(&x, &block.input_layernorm);
        let mut q = host(project(Projection::Q, &normed1));
        let mut k = host(project(Projection::K, &normed1));
        let v = host(project(Projection::V, &normed1));
        kernels::rope(&mut q, &streams.positions, &self.cos, &self.sin, dim, 1.0);
        kernels::rope(&mut k, &streams.positions, &self.cos, &self.sin, dim, 1.0);
        let attended = from_host(attend(layer, &q, &k, &v), [rows, self.config.query_width()], &self.device);
        let middle = x.clone() + project(Projection::O, &attended);

        let (normed2, inverse2) = self.normed(&middle, &block.post_attention_layernorm);
        let gate = host(project(Projection::Gate, &normed2));
        let up = host(project(Projection::Up, &normed2));
        let mut inner = vec![0.0; gate.len()];
        kernels::swiglu(&gate, &up, &mut inner);
        let inner = from_host(inner, [rows, self.config.intermediate_size], &self.device);
        let out = middle.clone() + project(Projection::Down, &inner);
        let kept = Kept { x, middle, inverse1, inverse2, normed1, normed2, q, k, v, attended, gate, up, inner, low };
        (out, kept)
    }
}

fn pair(lora: Option<&Lora>, layer: usize, projection: Projection) -> Option<(&LoraPair, f32)> {
    lora.map(|lora| (&lora.pairs[layer][projection as usize], lora.scale()))
}

/// `[R, width]` as `[K, N, width]`.
fn by_shadow(x: &Tensor<2>, shadows: usize) -> Tensor<3> {
    let [rows, width] = x.dims();
    x.clone().reshape([shadows, rows / shadows, width])
}

/// `y = x W^T + b + scale * (x A) B`; also `x A`.
fn forward(linear: &Linear, x: &Tensor<2>, adapted: Option<(&LoraPair, f32)>) -> (Tensor<2>, Option<Tensor<3>>) {
    let mut y = matmul(x, &linear.weight.clone().transpose());
    if let Some(bias) = &linear.bias {
        y = y + bias.clone();
    }
    let Some((pair, scale)) = adapted else { return (y, None) };
    let shadows = pair.a.dims()[0];
    let low = matmul(&by_shadow(x, shadows), &pair.a); // [K, N, r]
    let [rows, out] = y.dims();
    let y = add_matmul(y.reshape([shadows, rows / shadows, out]), scale, &low, &pair.b); // [K, N, out]
    (y.reshape([rows, out]), Some(low))
}
