//! Loss and gradients of a decoder, written by hand: the forward pass in reverse, block by block.

use anyhow::{Result, ensure};
use burn::tensor::Tensor;

use super::super::matmul::{add_matmul, matmul};
use super::{Decoder, Linear, SavedActivations, SavedNorm, Streams, by_shadow, lora_pair};
use crate::lm::kernels;
use crate::lm::lora::{Lora, LoraGradient, LoraPair};
use crate::lm::matrix::Factors;
use crate::lm::tensor::host;

/// Gradients of one block.
#[derive(Debug, Default)]
pub struct BlockGradient {
    /// In the order of [`crate::lm::lora::Projection::of`]; empty without LoRA.
    pub lora: Vec<LoraGradient>,
    /// `[out, in]` each; empty unless all weights are trained.
    pub weights: Vec<Tensor<2>>,
    pub input_layernorm: Vec<f32>,
    pub mlp_layernorm: Vec<f32>,
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

/// A row, its next token, and the weight of its loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    pub row: usize,
    pub token: u32,
    pub weight: f32,
}

/// What is saved of a block between the passes.
enum SavedBlock {
    All(Box<SavedActivations>),
    /// Only its input: the backward pass recomputes the block, with the same bits (Chen et al.
    /// 2016, arXiv 1604.06174).
    Input(Box<Tensor<2>>),
}

/// The parameters for which a backward pass computes gradients.
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
    /// Where a token or a position is outside the model's range. Also where all weights are trained
    /// and the model has biases or an untied head.
    pub fn step(
        &self,
        streams: &Streams,
        targets: &[Target],
        trainable: Trainable<'_>,
    ) -> Result<Gradients> {
        let everything = matches!(trainable, Trainable::Everything);
        ensure!(
            !everything || self.config.is_plain(),
            "all weights are trained only of a Llama whose embeddings are tied, without biases"
        );
        let lora = trainable.lora();
        let mut attend = |layer: usize, q: &Tensor<2>, k: &Tensor<2>, v: &Tensor<2>| {
            self.attend(layer, q, k, v, streams)
        };
        let mut x = self.embed(streams)?;
        let keep_all = self.saved_bytes(streams.tokens.len()) <= self.keep_at_most;
        let mut saved_blocks = Vec::with_capacity(self.layers.len());
        for layer in 0..self.layers.len() {
            let input = x.clone();
            let (out, saved) = self.block(layer, x, streams, lora, &mut attend);
            saved_blocks.push(if keep_all {
                SavedBlock::All(Box::new(saved))
            } else {
                SavedBlock::Input(Box::new(input))
            });
            x = out;
        }
        let mut gradients = Gradients {
            blocks: Vec::with_capacity(self.layers.len()),
            embed_tokens: if everything {
                vec![0.0; self.config.vocab_size * self.config.hidden_size]
            } else {
                Vec::new()
            },
            norm: if everything { vec![0.0; self.config.hidden_size] } else { Vec::new() },
            losses: vec![0.0; streams.shadows],
        };
        let mut dx = self.loss_backward(&x, streams, targets, everything, &mut gradients);
        for (layer, block) in saved_blocks.into_iter().enumerate().rev() {
            let saved = match block {
                SavedBlock::All(saved) => *saved,
                SavedBlock::Input(x) => self.block(layer, *x, streams, lora, &mut attend).1,
            };
            let (below, block) = self.block_backward(layer, dx, saved, streams, trainable);
            gradients.blocks.push(block);
            dx = below;
        }
        gradients.blocks.reverse();
        if everything {
            let width = self.config.hidden_size;
            let dx = host(dx);
            for (row, &token) in dx.chunks_exact(width).zip(&streams.tokens) {
                kernels::add_assign(
                    &mut gradients.embed_tokens[token as usize * width..][..width],
                    row,
                );
            }
        }
        Ok(gradients)
    }

    /// Approximate bytes that the backward pass of all blocks needs for `rows` rows.
    fn saved_bytes(&self, rows: usize) -> usize {
        self.layers.len() * self.block_bytes(rows)
    }

    /// Approximate bytes of a single block's activations for `rows` rows.
    pub(super) fn block_bytes(&self, rows: usize) -> usize {
        let config = &self.config;
        let width = config.hidden_size * (4 + 2 * usize::from(config.norms.post_norm))
            + (config.query_width() + config.key_value_width())
                * (2 + usize::from(config.norms.queries_and_keys))
            + 3 * config.intermediate_size;
        rows * width * size_of::<f32>()
    }

    fn block_backward(
        &self,
        layer: usize,
        dout: Tensor<2>,
        saved: SavedActivations,
        streams: &Streams,
        trainable: Trainable<'_>,
    ) -> (Tensor<2>, BlockGradient) {
        let (block, config) = (&self.layers[layer], &self.config);
        let hidden = config.hidden_size;
        let everything = matches!(trainable, Trainable::Everything);
        let places = block.projections.len();
        let mut lora: Vec<Option<LoraGradient>> = vec![None; places];
        let mut weights: Vec<Option<Tensor<2>>> = vec![None; places];
        // Called in the reverse order of `Projection::of`. Gradients of projections with the same
        // input are accumulated.
        let mut place = places;
        let mut project_backward = |x: &Tensor<2>, dy: Tensor<2>, sum: Option<Tensor<2>>| {
            place -= 1;
            let adapted = lora_pair(trainable.lora(), layer, place)
                .map(|(pair, scale)| (pair, scale, &saved.low[place]));
            if everything {
                weights[place] = Some(matmul(&dy.clone().transpose(), x));
            }
            let (dx, gradient) = backward(&block.projections[place], x, dy, sum, adapted);
            lora[place] = gradient;
            dx
        };
        // All projections of one input.
        let mut project_all_backward = |x: &Tensor<2>, gradients: Vec<Tensor<2>>| {
            gradients
                .into_iter()
                .rev()
                .fold(None, |sum, dy| Some(project_backward(x, dy, sum)))
                .expect("an input is projected")
        };
        let mut norm1 = vec![0.0; if everything { hidden } else { 0 }];
        let mut norm2 = norm1.clone();

        let dadded = self.optional_norm_backward(dout.clone(), saved.after_mlp, &block.after_mlp);
        let dinner = project_all_backward(&saved.inner, vec![dadded]);
        let [dgate, dup] = self.ops.gated_backward(config.activation, dinner, saved.gate, saved.up);
        let dnormed =
            project_all_backward(&saved.normed2, concat_if_fused(config.fused, vec![dgate, dup]));
        let of = (&saved.middle, &saved.inverse2);
        let dmiddle =
            self.ops.rms_norm_backward(dnormed, of, &block.mlp_layernorm, Some(dout), &mut norm2);

        let dadded = self.optional_norm_backward(
            dmiddle.clone(),
            saved.after_attention,
            &block.after_attention,
        );
        let dattended = project_all_backward(&saved.attended, vec![dadded]);
        let [dq, dk, dv] = self.ops.attention_backward(
            dattended,
            [&saved.q, &saved.k, &saved.v],
            config.attention(layer),
            streams,
        );
        let dq = self.norm_and_rotary_backward(layer, dq, saved.q_norm, &block.q_norm, streams);
        let dk = self.norm_and_rotary_backward(layer, dk, saved.k_norm, &block.k_norm, streams);
        let dnormed =
            project_all_backward(&saved.normed1, concat_if_fused(config.fused, vec![dq, dk, dv]));
        let of = (&saved.x, &saved.inverse1);
        let dx = self.ops.rms_norm_backward(
            dnormed,
            of,
            &block.input_layernorm,
            Some(dmiddle),
            &mut norm1,
        );
        let gradient = BlockGradient {
            lora: lora.into_iter().flatten().collect(),
            weights: weights.into_iter().flatten().collect(),
            input_layernorm: norm1,
            mlp_layernorm: norm2,
        };
        (dx, gradient)
    }

    /// Backward of `optional_norm`, whose weight is never trained.
    fn optional_norm_backward(
        &self,
        dy: Tensor<2>,
        saved: Option<SavedNorm>,
        weight: &[f32],
    ) -> Tensor<2> {
        let Some(SavedNorm { x, inverse }) = saved else { return dy };
        self.ops.rms_norm_backward(dy, (&x, &inverse), weight, None, &mut [])
    }

    /// Backward of `norm_and_rotary`.
    fn norm_and_rotary_backward(
        &self,
        layer: usize,
        dy: Tensor<2>,
        saved: Option<SavedNorm>,
        weight: &[f32],
        streams: &Streams,
    ) -> Tensor<2> {
        let dy = self.apply_rotary(layer, dy, streams, -1.0);
        let shape = dy.dims();
        let Some(SavedNorm { x, .. }) = &saved else { return dy };
        let dy = dy.reshape(x.dims());
        self.optional_norm_backward(dy, saved, weight).reshape(shape)
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
        let width = self.config.hidden_size;
        let rows = streams.tokens.len();
        let stream = rows / streams.shadows;
        let (mut parts, mut places) = (Vec::new(), Vec::new());
        for chunk in targets.chunks(self.logits_at_once()) {
            let at: Vec<usize> = chunk.iter().map(|target| target.row).collect();
            // Padding rows have weight zero.
            let filled = self.pad_to_bucket(&at);
            let selected = self.select(x, &filled);
            let (normed, inverse) = self.rms_norm(&selected, &self.norm);
            let logits = self.head(&normed);
            let capped = self.config.final_softcap.map(|cap| (cap, logits.clone()));
            let mut tokens: Vec<u32> = chunk.iter().map(|target| target.token).collect();
            let mut weights: Vec<f32> = chunk.iter().map(|target| target.weight).collect();
            tokens.resize(filled.len(), 0);
            weights.resize(filled.len(), 0.0);
            let (losses, mut dlogits) = self.ops.cross_entropy(logits, &tokens, &weights);
            for (target, loss) in chunk.iter().zip(losses) {
                gradients.losses[target.row / stream] += f64::from(loss) * f64::from(target.weight);
            }
            if let Some((cap, capped)) = capped {
                dlogits = self.ops.softcap_backward(dlogits, &capped, cap);
            }
            if everything {
                let dhead = host(matmul(&dlogits.clone().transpose(), &normed));
                kernels::add_assign(&mut gradients.embed_tokens, &dhead);
            }
            let dnormed = self.lm_head.apply_back(&dlogits, None);
            let dx = self.ops.rms_norm_backward(
                dnormed,
                (&selected, &inverse),
                &self.norm,
                None,
                &mut gradients.norm,
            );
            parts.push(dx.narrow(0, 0, at.len()));
            places.extend(at);
        }
        if parts.is_empty() {
            return Tensor::zeros([rows, width], &self.device);
        }
        self.ops.scatter_rows(parts, &places, rows, &self.device)
    }
}

/// The gradients of one fused projection's outputs, concatenated; otherwise unchanged.
fn concat_if_fused(fused: bool, gradients: Vec<Tensor<2>>) -> Vec<Tensor<2>> {
    if fused { vec![Tensor::cat(gradients, 1)] } else { gradients }
}

/// Backward of [`forward`]: `sum + dx`, and the gradients of A and B.
fn backward(
    linear: &Linear,
    x: &Tensor<2>,
    dy: Tensor<2>,
    sum: Option<Tensor<2>>,
    adapted: Option<(&LoraPair, f32, &Tensor<3>)>,
) -> (Tensor<2>, Option<LoraGradient>) {
    let Some((pair, scale, low)) = adapted else {
        return (linear.weight.apply_back(&dy, sum), None);
    };
    let shadows = pair.a.dims()[0];
    let (b, a) = (pair.b.clone().transpose(), pair.a.clone().transpose());
    // `dlow` is `[K, N, r]`.
    let (dx, dlow) = if linear.weight.is_tiled() {
        let factors = Factors { first: b.mul_scalar(scale), second: a };
        linear.weight.apply_back_joined(&dy, sum, factors)
    } else {
        let dx = linear.weight.apply_back(&dy, sum);
        let [rows, wide] = dx.dims();
        let dlow = matmul(&by_shadow(&dy, shadows), &b).mul_scalar(scale);
        let dx = add_matmul(dx.reshape([shadows, rows / shadows, wide]), 1.0, &dlow, &a);
        (dx.reshape([rows, wide]), dlow)
    };
    let dy = by_shadow(&dy, shadows);
    let b = matmul(&low.clone().mul_scalar(scale).transpose(), &dy); // [K, r, out]
    let a = matmul(&by_shadow(x, shadows).transpose(), &dlow); // [K, in, r]
    (dx, Some(LoraGradient { a, b }))
}
