//! `config.json` and `generation_config.json`, as transformers reads them.

use std::path::Path;

use anyhow::Result;
use serde_json::json;

use crate::output;
use crate::tokenizer::SPECIAL_TOKENS;

/// Maximum positions; the longest document has fewer than half.
pub const CONTEXT: usize = 512;

/// Writes both files for a tokenizer with `vocabulary` tokens.
pub fn save(vocabulary: usize, folder: &Path) -> Result<()> {
    let pad = 0;
    let end = SPECIAL_TOKENS.len() - 1;
    output::json(
        &folder.join("config.json"),
        &json!({
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": false,
            "attention_dropout": 0.0,
            "bos_token_id": null,
            "eos_token_id": end,
            "head_dim": 32,
            "hidden_act": "silu",
            "hidden_size": 128,
            "initializer_range": 0.02,
            "intermediate_size": 384,
            "max_position_embeddings": CONTEXT,
            "mlp_bias": false,
            "model_type": "llama",
            "num_attention_heads": 4,
            "num_hidden_layers": 4,
            "num_key_value_heads": 4,
            "pad_token_id": pad,
            "pretraining_tp": 1,
            "rms_norm_eps": 1e-5,
            "rope_scaling": null,
            "rope_theta": 10000.0,
            "tie_word_embeddings": true,
            "torch_dtype": "bfloat16",
            "use_cache": true,
            "vocab_size": vocabulary,
        }),
    )?;
    output::json(
        &folder.join("generation_config.json"),
        &json!({
            "bos_token_id": null,
            "do_sample": false,
            "eos_token_id": end,
            "max_new_tokens": 32,
            "pad_token_id": pad,
        }),
    )
}
