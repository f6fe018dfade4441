//! Tensors of a GGUF file by their names in a Hugging Face folder, with the changes of llama.cpp's
//! converter undone.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use super::config::GgufArchitecture;
use super::dequantise::dequantise;
use super::{Gguf, TensorInfo};

/// A tensor under its name in a Hugging Face folder.
#[derive(Debug, Clone)]
pub struct NamedTensor {
    pub info: TensorInfo,
    pub stored_as: StoredAs,
}

/// How the converter changed the values of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredAs {
    Unchanged,
    /// Each head's rows 0, 1, 2, ... are rows 0, d/2, 1, d/2 + 1, ... of the checkpoint, where d is
    /// the size of a head: llama.cpp rotates neighbours, transformers the two halves.
    Interleaved {
        heads: usize,
    },
    /// 1 was added: llama.cpp multiplies by the weight of a norm, Gemma by 1 + w.
    PlusOne,
}

/// Tensors that are not weights of a layer: factors of rotary frequencies, read with the
/// configuration.
const FACTORS: [&str; 3] =
    ["rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"];

/// All tensors by their names in a Hugging Face folder.
///
/// # Errors
/// Where the file has a tensor that the architecture does not use.
pub fn tensors(
    gguf: &Gguf,
    architecture: GgufArchitecture,
) -> Result<BTreeMap<String, NamedTensor>> {
    let heads = |name: &str| -> Result<Option<usize>> {
        Ok(gguf.integer(&architecture.key(name))?.map(|heads| heads as usize))
    };
    let queries = heads("attention.head_count")?.unwrap_or(0);
    let keys = heads("attention.head_count_kv")?.unwrap_or(queries);
    let mut named = BTreeMap::new();
    for (name, info) in &gguf.tensors {
        if FACTORS.contains(&name.as_str()) {
            continue;
        }
        let (ours, part) = translate(name, architecture).with_context(|| {
            format!(
                "the tensor {name} is not one of {}; foretaste does not compute this model",
                architecture.name()
            )
        })?;
        let stored_as = match (architecture, part) {
            (GgufArchitecture::Llama, "attn_q") => StoredAs::Interleaved { heads: queries },
            (GgufArchitecture::Llama, "attn_k") => StoredAs::Interleaved { heads: keys },
            (GgufArchitecture::Gemma3, part) if part.ends_with("norm") => StoredAs::PlusOne,
            _ => StoredAs::Unchanged,
        };
        if let StoredAs::Interleaved { heads } = stored_as {
            ensure!(
                heads > 0 && info.shape[0].is_multiple_of(2 * heads),
                "{name} has {} rows, which are not {heads} heads of an even size",
                info.shape[0]
            );
        }
        named.insert(ours, NamedTensor { info: info.clone(), stored_as });
    }
    Ok(named)
}

/// The name in a Hugging Face folder, and the part of the layer that the tensor belongs to.
fn translate(name: &str, architecture: GgufArchitecture) -> Option<(String, &str)> {
    let (path, end) = name.rsplit_once('.')?;
    if !matches!(end, "weight" | "bias") {
        return None;
    }
    let whole = match path {
        "token_embd" => Some("model.embed_tokens"),
        "output_norm" => Some("model.norm"),
        "output" => Some("lm_head"),
        _ => None,
    };
    if let Some(whole) = whole {
        return Some((format!("{whole}.{end}"), path));
    }
    let (layer, part) = path.strip_prefix("blk.")?.split_once('.')?;
    let layer: u32 = layer.parse().ok()?;
    let phi = architecture == GgufArchitecture::Phi3;
    let gemma = architecture == GgufArchitecture::Gemma3;
    let ours = match part {
        "attn_norm" => "input_layernorm",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_qkv" if phi => "self_attn.qkv_proj",
        "attn_output" => "self_attn.o_proj",
        "attn_q_norm" => "self_attn.q_norm",
        "attn_k_norm" => "self_attn.k_norm",
        "post_attention_norm" if gemma => "post_attention_layernorm",
        "ffn_norm" if gemma => "pre_feedforward_layernorm",
        "ffn_norm" => "post_attention_layernorm",
        "post_ffw_norm" if gemma => "post_feedforward_layernorm",
        "ffn_gate" => "mlp.gate_proj",
        // The converter keeps Phi's fused projection, and gives it this name.
        "ffn_up" if phi => "mlp.gate_up_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        _ => return None,
    };
    Some((format!("model.layers.{layer}.{ours}.{end}"), part))
}

/// The values of a tensor as in the checkpoint, row-major.
///
/// # Errors
/// Where its bytes are damaged.
pub fn values(file: &[u8], tensor: &NamedTensor) -> Result<Vec<f32>> {
    let bytes = file.get(tensor.info.bytes.clone()).context("the file became shorter")?;
    let mut values = dequantise(tensor.info.kind, bytes)?;
    match tensor.stored_as {
        StoredAs::Unchanged => {}
        StoredAs::PlusOne => values.iter_mut().for_each(|w| *w -= 1.0),
        StoredAs::Interleaved { heads } => {
            let rows = tensor.info.shape[0];
            values = apart(&values, rows, rows / heads);
        }
    }
    Ok(values)
}

/// Undoes the interleaving of a matrix of `rows` rows in heads of `dim` rows.
fn apart(values: &[f32], rows: usize, dim: usize) -> Vec<f32> {
    let width = values.len() / rows;
    let mut all = Vec::with_capacity(values.len());
    for row in 0..rows {
        let (head, inside) = (row / dim, row % dim);
        let (half, pair) = (inside / (dim / 2), inside % (dim / 2));
        let from = head * dim + 2 * pair + half;
        all.extend_from_slice(&values[from * width..(from + 1) * width]);
    }
    all
}
