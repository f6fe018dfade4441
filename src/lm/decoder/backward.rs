//! Loss and gradients of a decoder, written by hand: the forward pass run backwards, block by block.

use anyhow::{Result, ensure};
use burn::tensor::Tensor;

use super::super::matmul::{add_matmul, matmul};
use super::{Decoder, Kept, LOGITS_AT_ONCE, Linear, Streams, by_shadow, pair};
use crate::lm::kernels;
use crate::lm::lora::{Lora, LoraGradient, LoraPair, Projection};
use crate::lm::tensor::{from_host, host};

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

/// What is remembered of a block between the passes.
enum Memory {
    All(Box<Kept>),
    /// Its input alone: the block is run again on the way back, and gives the same bits (Chen et al. 2016, arXiv 1604.06174).
    Input(Box<Tensor<2>>),
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

impl Decoder {
    /// Loss and gradients of one step.
    ///
    /// # Errors
    /// Where a token or a position is beyond what the model knows, or all weights of a model with biases or an untied head are
    /// to be trained.
    pub fn step(&self, streams: &Streams, targets: &[Target], trainable: Trainable<'_>) -> Result<Gradients> {
        let everything = matches!(trainable, Trainable::Everything);
        ensure!(
            !everything || self.config.tie_word_embeddings && !self.config.attention_bias && !self.config.mlp_bias,
            "all weights are trained only where embeddings are tied and there are no biases"
        );
        let lora = trainable.lora();
        let heads = self.config.heads;
        let mut attend = |_: usize, q: &[f32], k: &[f32], v: &[f32]| {
            let mut out = vec![0.0; q.len()];
            kernels::attention(q, k, v, heads, &streams.segments, &mut out);
            out
        };
        let mut x = self.embed(streams)?;
        let keep_all = self.kept_bytes(streams.tokens.len()) <= self.keep_at_most;
        let mut memories = Vec::with_capacity(self.layers.len());
        for layer in 0..self.layers.len() {
            let input = x.clone();
            let (out, kept) = self.block(layer, x, streams, lora, &mut attend);
            memories.push(if keep_all { Memory::All(Box::new(kept)) } else { Memory::Input(Box::new(input)) });
            x = out;
        }
        let mut gradients = Gradients {
            blocks: Vec::with_capacity(self.layers.len()),
            embed_tokens: if everything { vec![0.0; self.config.vocab_size * self.config.hidden_size] } else { Vec::new() },
            norm: if everything { vec![0.0; self.config.hidden_size] } else { Vec::new() },
            losses: vec![0.0; streams.shadows],
        };
        let mut dx = self.loss_backward(&x, streams, targets, everything, &mut gradients);
        for (layer, memory) in memories.into_iter().enumerate().rev() {
            let kept = match memory {
                Memory::All(kept) => *kept,
                Memory::Input(x) => self.block(layer, *x, streams, lora, &mut attend).1,
            };
            let (below, block) = self.block_backward(layer, dx, kept, streams, trainable);
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

    /// Bytes that the backward pass of all blocks needs for so many rows, about.
    fn kept_bytes(&self, rows: usize) -> usize {
        let config = &self.config;
        let width =
            4 * config.hidden_size + 2 * config.query_width() + 2 * config.key_value_width() + 3 * config.intermediate_size;
        config.layers * rows * width * size_of::<f32>()
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
        // What the projections of one input add to its gradient is summed up on the way.
        let mut unproject = |projection: Projection, x: &Tensor<2>, dy: Tensor<2>, sum: Option<Tensor<2>>| {
            let at = projection as usize;
            let adapted = pair(trainable.lora(), layer, projection).map(|(pair, scale)| (pair, scale, &kept.low[at]));
            if everything {
                weights[at] = Some(matmul(&dy.clone().transpose(), x));
            }
            let (dx, gradient) = backward(&block.projections[at], x, dy, sum, adapted);
            lora[at] = gradient;
            dx
        };
        let mut norm1 = vec![0.0; if everything { hidden } else { 0 }];
        let mut norm2 = norm1.clone();

        let dinner = host(unproject(Projection::Down, &kept.inner, dout.clone(), None));
        let (mut dgate, mut dup) = (kept.gate, kept.up);
        kernels::swiglu_backward(&dinner, &mut dgate, &mut dup);
        let inner = [rows, self.config.intermediate_size];
        let dnormed = unproject(Projection::Gate, &kept.normed2, from_host(dgate, inner, &self.device), None);
        let dnormed = unproject(Projection::Up, &kept.normed2, from_host(dup, inner, &self.device), Some(dnormed));
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
        let dattended = host(unproject(Projection::O, &kept.attended, dmiddle.clone(), None));
        let (mut dq, mut dk, mut dv) = (vec![0.0; kept.q.len()], vec![0.0; kept.k.len()], vec![0.0; kept.v.len()]);
        let (heads, dim) = (self.config.heads, self.config.heads.dim);
        kernels::attention_backward(&dattended, &kept.q, &kept.k, &kept.v, heads, &streams.segments, &mut dq, &mut dk, &mut dv);
        kernels::rope(&mut dq, &streams.positions, &self.cos, &self.sin, dim, -1.0);
        kernels::rope(&mut dk, &streams.positions, &self.cos, &self.sin, dim, -1.0);
        let (wide, narrow) = ([rows, self.config.query_width()], [rows, self.config.key_value_width()]);
        let dnormed = unproject(Projection::Q, &kept.normed1, from_host(dq, wide, &self.device), None);
        let dnormed = unproject(Projection::K, &kept.normed1, from_host(dk, narrow, &self.device), Some(dnormed));
        let dnormed = unproject(Projection::V, &kept.normed1, from_host(dv, narrow, &self.device), Some(dnormed));
        let mut dx = host(dmiddle);
        kernels::rms_norm_backward(&host(dnormed), &host(kept.x), &block.input_layernorm, &kept.inverse1, &mut dx, &mut norm1);
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
            let mut logits = host(matmul(&normed, &self.lm_head.clone().transpose()));
            let tokens: Vec<u32> = chunk.iter().map(|target| target.token).collect();
            let weights: Vec<f32> = chunk.iter().map(|target| target.weight).collect();
            let losses = kernels::cross_entropy(&mut logits, &tokens, &weights);
            for (target, loss) in chunk.iter().zip(losses) {
                gradients.losses[target.row / stream] += f64::from(loss) * f64::from(target.weight);
            }
            let dlogits: Tensor<2> = from_host(logits, [chunk.len(), vocabulary], &self.device);
            if everything {
                let dhead = host(matmul(&dlogits.clone().transpose(), &normed));
                kernels::add_assign(&mut gradients.embed_tokens, &dhead);
            }
            let dnormed = host(matmul(&dlogits, &self.lm_head));
            let mut dselected = vec![0.0; chunk.len() * width];
            kernels::rms_norm_backward(&dnormed, &host(selected), &self.norm, &inverse, &mut dselected, &mut gradients.norm);
            for (row, values) in at.iter().zip(dselected.chunks_exact(width)) {
                kernels::add_assign(&mut dx[row * width..][..width], values);
            }
        }
        from_host(dx, [rows, width], &self.device)
    }
}

/// Backward of [`forward`]: `dx`, added to what is there, and the gradients of A and B.
fn backward(
    linear: &Linear,
    x: &Tensor<2>,
    dy: Tensor<2>,
    sum: Option<Tensor<2>>,
    adapted: Option<(&LoraPair, f32, &Tensor<3>)>,
) -> (Tensor<2>, Option<LoraGradient>) {
    let dx = match sum {
        Some(sum) => add_matmul(sum, 1.0, &dy, &linear.weight),
        None => matmul(&dy, &linear.weight),
    };
    let Some((pair, scale, low)) = adapted else { return (dx, None) };
    let shadows = pair.a.dims()[0];
    let dy = by_shadow(&dy, shadows);
    let dlow = matmul(&dy, &pair.b.clone().transpose()).mul_scalar(scale); // [K, N, r]
    let b = matmul(&low.clone().mul_scalar(scale).transpose(), &dy); // [K, r, out]
    let a = matmul(&by_shadow(x, shadows).transpose(), &dlow); // [K, in, r]
    let [rows, wide] = dx.dims();
    let dx = add_matmul(dx.reshape([shadows, rows / shadows, wide]), 1.0, &dlow, &pair.a.clone().transpose());
    (dx.reshape([rows, wide]), Some(LoraGradient { a, b }))
}
