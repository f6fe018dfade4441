//! The decoder from a checkpoint's files.

use anyhow::Result;
use burn::tensor::Device;

use super::{Block, Decoder, Linear, WeightDtype};
use crate::lm::config::{Config, Norms};
use crate::lm::lora::Projection;
use crate::lm::matrix::{Matrix, StoredMatrix};
use crate::lm::ops::Ops;
use crate::lm::tensor::from_host;
use crate::lm::weights::Weights;

impl Decoder {
    /// Reads the weights that the configuration names.
    ///
    /// # Errors
    /// Where a tensor is missing or has another shape or type.
    pub fn load(
        config: Config,
        weights: &Weights,
        dtype: WeightDtype,
        device: &Device,
    ) -> Result<Self> {
        let hidden = config.hidden_size;
        let matrix = |name: &str, shape: [usize; 2]| -> Result<Matrix> {
            if dtype == WeightDtype::F32 {
                return Ok(Matrix::F32(from_host(weights.load(name, &shape)?, shape, device)));
            }
            let stored = match weights.stored(name, shape)? {
                Some(stored) => stored,
                None => StoredMatrix::rounded(&weights.load(name, &shape)?, shape),
            };
            Ok(if Ops::of(device) == Ops::Composed {
                Matrix::DeviceBf16(stored.upload(device))
            } else {
                Matrix::Bf16(stored)
            })
        };
        let embed_tokens = matrix("model.embed_tokens.weight", [config.vocab_size, hidden])?;
        let lm_head = if config.tie_word_embeddings {
            embed_tokens.clone()
        } else {
            matrix("lm_head.weight", [config.vocab_size, hidden])?
        };
        let norm = |name: &str, width: usize| -> Result<Vec<f32>> {
            let mut weight = weights.load(name, &[width])?;
            if config.norms.plus_one {
                weight.iter_mut().for_each(|w| *w += 1.0);
            }
            Ok(weight)
        };
        let norm_if = |present: bool, name: &str, width: usize| {
            if present { norm(name, width) } else { Ok(Vec::new()) }
        };
        let Norms { post_norm, queries_and_keys, .. } = config.norms;
        let mut layers = Vec::with_capacity(config.layers.len());
        for layer in 0..config.layers.len() {
            let at = |name: &str| format!("model.layers.{layer}.{name}");
            let mut projections = Vec::new();
            for projection in Projection::of(&config) {
                let (wide, out) = projection.widths(&config);
                let path = at(projection.path());
                let bias = match projection.has_bias(&config) {
                    true => Some(from_host(
                        weights.load(&format!("{path}.bias"), &[out])?,
                        [1, out],
                        device,
                    )),
                    false => None,
                };
                projections
                    .push(Linear { weight: matrix(&format!("{path}.weight"), [out, wide])?, bias });
            }
            let before_mlp =
                if post_norm { "pre_feedforward_layernorm" } else { "post_attention_layernorm" };
            layers.push(Block {
                input_layernorm: norm(&at("input_layernorm.weight"), hidden)?,
                projections,
                mlp_layernorm: norm(&at(&format!("{before_mlp}.weight")), hidden)?,
                q_norm: norm_if(
                    queries_and_keys,
                    &at("self_attn.q_norm.weight"),
                    config.heads.dim,
                )?,
                k_norm: norm_if(
                    queries_and_keys,
                    &at("self_attn.k_norm.weight"),
                    config.heads.dim,
                )?,
                after_attention: norm_if(
                    post_norm,
                    &at("post_attention_layernorm.weight"),
                    hidden,
                )?,
                after_mlp: norm_if(post_norm, &at("post_feedforward_layernorm.weight"), hidden)?,
            });
        }
        let norm = norm("model.norm.weight", hidden)?;
        Ok(Self::assemble(config, device, embed_tokens, layers, norm, lm_head))
    }
}
