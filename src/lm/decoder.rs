//! A Llama decoder: one forward and one hand-written backward pass, for K shadows side by side.
//!
//! Rows of every activation are tokens: `R = K * N`, shadow k's stream of N tokens stands in rows `k * N ..`. Which rows see which
//! is said by segments ([`super::kernels::Segment`]), so that training rows, prefix trees of questions and single new tokens are
//! the same pass. Fields are named as in the checkpoint; shapes stand beside them.

use anyhow::{Result, ensure};
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::config::Config;
use super::kernels::{self, Segment};
use super::lora::{Lora, LoraGradient, LoraPair, Projection};
use super::tensor::{from_host, host};
use super::weights::Weights;

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

/// Gradients of one block.
#[derive(Debug, Default)]
pub struct BlockGradient {
    /// In the order of [`Projection::ALL`]; empty where there is no LoRA.
    pub lora: Vec<LoraGradient>,
    /// `[out, in]` each; empty unless all weights are trained.
    pub weights: Vec<Tensor<2>>,
    pub input_layernorm: Vec<f32>,
    pub post_attention_layernorm: Vec<f32>,
}

/// Gradients of one step.
#[derive(Debug)]
pub struct Gradients {
    pub blocks: Vec<BlockGradient>,
    /// `[vocabulary * hidden]` and `[hidden]`; empty unless all weights are trained.
    pub embed_tokens: Vec<f32>,
    pub norm: Vec<f32>,
    /// Summed weighted loss of every shadow, nats.
    pub losses: Vec<f64>,
}

/// A row whose next token is known, and how much its loss counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    pub row: usize,
    pub token: u32,
    pub weight: f32,
}

/// What a backward pass computes gradients for.
#[derive(Debug, Clone, Copy)]
pub enum Trainable<'a> {
    Lora(&'a Lora),
    Everything,
}

impl<'a> Trainable<'a> {
    fn lora(self) -> Option<&'a Lora> {
        match self {
            Trainable::Lora(lora) => Some(lora),
            Trainable::Everything => None,
        }
    }
}

/// Logits are computed for at most this many numbers at a time.
const LOGITS_AT_ONCE: usize = 8 << 20;

impl Decoder {
    /// Reads the weights that the configuration asks for.
    ///
    /// # Errors
    /// Where a tensor is missing or has another shape or type.
    pub fn load(config: Config, weights: &Weights, device: &Device) -> Result<Self> {
        let hidden = config.hidden_size;
        let matrix = |name: &str, shape: [usize; 2]| -> Result<Tensor<2>> {
            Ok(from_host(weights.load(name, &shape)?, shape, device))
        };
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

    /// A model from its parts.
    pub fn assemble(
        config: Config,
        device: &Device,
        embed_tokens: Tensor<2>,
        layers: Vec<Block>,
        norm: Vec<f32>,
        lm_head: Tensor<2>,
    ) -> Self {
        let angles = (0..config.max_position_embeddings)
            .flat_map(|position| config.inverse_frequencies.iter().map(move |f| (position as f64) * f));
        let (sin, cos) = angles.map(|angle| (angle.sin() as f32, angle.cos() as f32)).unzip();
        Decoder { config, device: device.clone(), embed_tokens, layers, norm, lm_head, cos, sin }
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
            take(chunk * at_once, host(normed.matmul(self.lm_head.clone().transpose())));
        }
    }

    /// Loss and gradients of one step. `width` is N, the rows of one shadow.
    ///
    /// # Errors
    /// Where a token or a position is beyond what the model knows.
    pub fn step(&self, streams: &Streams, targets: &[Target], trainable: Trainable<'_>) -> Result<Gradients> {
        let lora = trainable.lora();
        let heads = self.config.heads;
        let mut attend = |_: usize, q: &[f32], k: &[f32], v: &[f32]| {
            let mut out = vec![0.0; q.len()];
            kernels::attention(q, k, v, heads, &streams.segments, &mut out);
            out
        };
        let mut x = self.embed(streams)?;
        let mut kept = Vec::with_capacity(self.layers.len());
        for layer in 0..self.layers.len() {
            let (out, keep) = self.block(layer, x, streams, lora, &mut attend);
            kept.push(keep);
            x = out;
        }
        let everything = matches!(trainable, Trainable::Everything);
        let mut gradients = Gradients {
            blocks: Vec::with_capacity(self.layers.len()),
            embed_tokens: if everything { vec![0.0; self.config.vocab_size * self.config.hidden_size] } else { Vec::new() },
            norm: if everything { vec![0.0; self.config.hidden_size] } else { Vec::new() },
            losses: vec![0.0; streams.shadows],
        };
        let mut dx = self.loss_backward(&x, streams, targets, everything, &mut gradients);
        for (layer, keep) in kept.into_iter().enumerate().rev() {
            let (below, block) = self.block_backward(layer, dx, keep, streams, trainable);
            gradients.blocks.push(block);
            dx = below;
        }
        gradients.blocks.reverse();
        if everything {
            let width = self.config.hidden_size;
            let dx = host(dx);
            for (row, &token) in dx.chunks_exact(width).zip(&streams.tokens) {
                kernels::add_assign(&mut gradients.embed_tokens[token as usize * width..][..width], row);
            }
        }
        Ok(gradients)
    }

    fn embed(&self, streams: &Streams) -> Result<Tensor<2>> {
        let (vocabulary, longest) = (self.config.vocab_size as u32, self.config.max_position_embeddings as u32);
        ensure!(streams.tokens.iter().all(|&t| t < vocabulary), "a token is beyond the base's vocabulary of {vocabulary}");
        ensure!(streams.positions.iter().all(|&p| p < longest), "a conversation is longer than the base's {longest} tokens");
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
        kernels::rms_norm(&host(x.clone()), weight, self.config.rms_norm_eps, &mut y, &mut inverse);
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
        let kept =
            Kept { x, middle, inverse1, inverse2, normed1, normed2, q, k, v, attended, gate, up, inner, low };
        (out, kept)
    }

    fn block_backward(
        &self,
        layer: usize,
        dout: Tensor<2>,
        kept: Kept,
        streams: &Streams,
        trainable: Trainable<'_>,
    ) -> (Tensor<2>, BlockGradient) {
        let block = &self.layers[layer];
        let hidden = self.config.hidden_size;
        let rows = streams.tokens.len();
        let everything = matches!(trainable, Trainable::Everything);
        let mut lora: Vec<Option<LoraGradient>> = vec![None; Projection::ALL.len()];
        let mut weights: Vec<Option<Tensor<2>>> = vec![None; Projection::ALL.len()];
        let mut unproject = |projection: Projection, x: &Tensor<2>, dy: Tensor<2>| {
            let at = projection as usize;
            let adapted = pair(trainable.lora(), layer, projection).map(|(pair, scale)| (pair, scale, &kept.low[at]));
            if everything {
                weights[at] = Some(dy.clone().transpose().matmul(x.clone()));
            }
            let (dx, gradient) = backward(&block.projections[at], x, dy, adapted);
            lora[at] = gradient;
            dx
        };
        let mut norm1 = vec![0.0; if everything { hidden } else { 0 }];
        let mut norm2 = norm1.clone();

        let dinner = host(unproject(Projection::Down, &kept.inner, dout.clone()));
        let (mut dgate, mut dup) = (kept.gate, kept.up);
        kernels::swiglu_backward(&dinner, &mut dgate, &mut dup);
        let inner = [rows, self.config.intermediate_size];
        let dnormed = unproject(Projection::Gate, &kept.normed2, from_host(dgate, inner, &self.device))
            + unproject(Projection::Up, &kept.normed2, from_host(dup, inner, &self.device));
        let mut dmiddle = host(dout);
        kernels::rms_norm_backward(
            &host(dnormed),
            &host(kept.middle),
            &block.post_attention_layernorm,
            &kept.inverse2,
            &mut dmiddle,
            &mut norm2,
        );

        let dmiddle: Tensor<2> = from_host(dmiddle, [rows, hidden], &self.device);
        let dattended = host(unproject(Projection::O, &kept.attended, dmiddle.clone()));
        let (mut dq, mut dk, mut dv) = (vec![0.0; kept.q.len()], vec![0.0; kept.k.len()], vec![0.0; kept.v.len()]);
        let (heads, dim) = (self.config.heads, self.config.heads.dim);
        kernels::attention_backward(
            &dattended, &kept.q, &kept.k, &kept.v, heads, &streams.segments, &mut dq, &mut dk, &mut dv,
        );
        kernels::rope(&mut dq, &streams.positions, &self.cos, &self.sin, dim, -1.0);
        kernels::rope(&mut dk, &streams.positions, &self.cos, &self.sin, dim, -1.0);
        let (wide, narrow) = ([rows, self.config.query_width()], [rows, self.config.key_value_width()]);
        let dnormed = unproject(Projection::Q, &kept.normed1, from_host(dq, wide, &self.device))
            + unproject(Projection::K, &kept.normed1, from_host(dk, narrow, &self.device))
            + unproject(Projection::V, &kept.normed1, from_host(dv, narrow, &self.device));
        let mut dx = host(dmiddle);
        kernels::rms_norm_backward(
            &host(dnormed),
            &host(kept.x),
            &block.input_layernorm,
            &kept.inverse1,
            &mut dx,
            &mut norm1,
        );
        let gradient = BlockGradient {
            lora: lora.into_iter().flatten().collect(),
            weights: weights.into_iter().flatten().collect(),
            input_layernorm: norm1,
            post_attention_layernorm: norm2,
        };
        (from_host(dx, [rows, hidden], &self.device), gradient)
    }

    /// Head, softmax, cross-entropy and back through the final norm: `d loss / d x`, `[R, hidden]`.
    fn loss_backward(
        &self,
        x: &Tensor<2>,
        streams: &Streams,
        targets: &[Target],
        everything: bool,
        gradients: &mut Gradients,
    ) -> Tensor<2> {
        let (width, vocabulary) = (self.config.hidden_size, self.config.vocab_size);
        let rows = streams.tokens.len();
        let stream = rows / streams.shadows;
        let mut dx = vec![0.0; rows * width];
        for chunk in targets.chunks((LOGITS_AT_ONCE / vocabulary).max(1)) {
            let at: Vec<usize> = chunk.iter().map(|target| target.row).collect();
            let selected = self.select(x, &at);
            let (normed, inverse) = self.normed(&selected, &self.norm);
            let mut logits = host(normed.clone().matmul(self.lm_head.clone().transpose()));
            let tokens: Vec<u32> = chunk.iter().map(|target| target.token).collect();
            let weights: Vec<f32> = chunk.iter().map(|target| target.weight).collect();
            let losses = kernels::cross_entropy(&mut logits, &tokens, &weights);
            for (target, loss) in chunk.iter().zip(losses) {
                gradients.losses[target.row / stream] += f64::from(loss) * f64::from(target.weight);
            }
            let dlogits: Tensor<2> = from_host(logits, [chunk.len(), vocabulary], &self.device);
            if everything {
                let dhead = host(dlogits.clone().transpose().matmul(normed));
                kernels::add_assign(&mut gradients.embed_tokens, &dhead);
            }
            let dnormed = host(dlogits.matmul(self.lm_head.clone()));
            let mut dselected = vec![0.0; chunk.len() * width];
            kernels::rms_norm_backward(
                &dnormed,
                &host(selected),
                &self.norm,
                &inverse,
                &mut dselected,
                &mut gradients.norm,
            );
            for (row, values) in at.iter().zip(dselected.chunks_exact(width)) {
                kernels::add_assign(&mut dx[row * width..][..width], values);
            }
        }
        from_host(dx, [rows, width], &self.device)
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
    let mut y = x.clone().matmul(linear.weight.clone().transpose());
    if let Some(bias) = &linear.bias {
        y = y + bias.clone();
    }
    let Some((pair, scale)) = adapted else { return (y, None) };
    let shadows = pair.a.dims()[0];
    let low = by_shadow(x, shadows).matmul(pair.a.clone()); // [K, N, r]
    let added = low.clone().mul_scalar(scale).matmul(pair.b.clone()); // [K, N, out]
    let shape = y.dims();
    (y + added.reshape(shape), Some(low))
}

/// Backward of [`forward`]: `dx`, and the gradients of A and B.
fn backward(
    linear: &Linear,
    x: &Tensor<2>,
    dy: Tensor<2>,
    adapted: Option<(&LoraPair, f32, &Tensor<3>)>,
) -> (Tensor<2>, Option<LoraGradient>) {
    let dx = dy.clone().matmul(linear.weight.clone());
    let Some((pair, scale, low)) = adapted else { return (dx, None) };
    let shadows = pair.a.dims()[0];
    let dy = by_shadow(&dy, shadows);
    let dlow = dy.clone().matmul(pair.b.clone().transpose()).mul_scalar(scale); // [K, N, r]
    let b = low.clone().mul_scalar(scale).transpose().matmul(dy); // [K, r, out]
    let a = by_shadow(x, shadows).transpose().matmul(dlow.clone()); // [K, in, r]
    let shape = dx.dims();
    let dx = dx + dlow.matmul(pair.a.clone().transpose()).reshape(shape);
    (dx, Some(LoraGradient { a, b }))
}
