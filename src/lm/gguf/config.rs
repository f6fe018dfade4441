//! `config.json` and `generation_config.json` from the metadata of a GGUF file.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

use super::Gguf;
use super::dequantise::dequantise;

/// The values of `general.architecture` that foretaste computes. Mistral's is `llama`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GgufArchitecture {
    Llama,
    Qwen2,
    Qwen3,
    Gemma3,
    Phi3,
}

const ARCHITECTURES: [GgufArchitecture; 5] = [
    GgufArchitecture::Llama,
    GgufArchitecture::Qwen2,
    GgufArchitecture::Qwen3,
    GgufArchitecture::Gemma3,
    GgufArchitecture::Phi3,
];

/// Layers of Gemma 3 27B, whose scores are scaled by its width and not by the size of a head.
const GEMMA_27B_LAYERS: u64 = 62;

impl GgufArchitecture {
    /// The architecture of a file.
    ///
    /// # Errors
    /// Where it is missing or not one that foretaste computes.
    pub fn of(gguf: &Gguf) -> Result<Self> {
        let name = gguf.text("general.architecture")?.unwrap_or_default();
        let found = ARCHITECTURES.into_iter().find(|known| known.name() == name);
        found.with_context(|| {
            let known = ARCHITECTURES.map(GgufArchitecture::name).join(", ");
            format!(
                "general.architecture {name:?} is not one that foretaste computes; it knows {known}"
            )
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            GgufArchitecture::Llama => "llama",
            GgufArchitecture::Qwen2 => "qwen2",
            GgufArchitecture::Qwen3 => "qwen3",
            GgufArchitecture::Gemma3 => "gemma3",
            GgufArchitecture::Phi3 => "phi3",
        }
    }

    /// The full name of an entry of this architecture.
    pub fn key(self, name: &str) -> String {
        format!("{}.{name}", self.name())
    }

    /// The name in `architectures` of `config.json`.
    fn class(self, slides: bool) -> &'static str {
        match self {
            // Mistral computes what Llama does, in a sliding window.
            GgufArchitecture::Llama if slides => "MistralForCausalLM",
            GgufArchitecture::Llama => "LlamaForCausalLM",
            GgufArchitecture::Qwen2 => "Qwen2ForCausalLM",
            GgufArchitecture::Qwen3 => "Qwen3ForCausalLM",
            GgufArchitecture::Gemma3 => "Gemma3ForCausalLM",
            GgufArchitecture::Phi3 => "Phi3ForCausalLM",
        }
    }
}

/// Metadata under the prefix of the architecture.
struct ArchitectureKeys<'a> {
    gguf: &'a Gguf,
    architecture: GgufArchitecture,
}

impl ArchitectureKeys<'_> {
    fn integer(&self, name: &str) -> Result<Option<u64>> {
        self.gguf.integer(&self.architecture.key(name))
    }

    fn float(&self, name: &str) -> Result<Option<f64>> {
        self.gguf.float(&self.architecture.key(name))
    }

    fn size(&self, name: &str) -> Result<u64> {
        self.integer(name)?.with_context(|| {
            format!("{} is missing; convert the model again", self.architecture.key(name))
        })
    }
}

/// The fields of `config.json`, with the names of transformers.
///
/// # Errors
/// Where an entry is missing or of another type, or the model is not one that foretaste computes.
pub fn config(gguf: &Gguf, file: &[u8]) -> Result<Value> {
    let architecture = GgufArchitecture::of(gguf)?;
    let keys = ArchitectureKeys { gguf, architecture };
    ensure!(
        keys.integer("expert_count")?.unwrap_or(0) == 0,
        "a mixture of experts, which foretaste does not compute; use a dense model"
    );
    let tensor = |name: &str| gguf.tensors.get(name);
    let embedding = tensor("token_embd.weight").context("token_embd.weight is missing")?;
    let heads = keys.size("attention.head_count")?;
    ensure!(heads > 0, "{} is 0", architecture.key("attention.head_count"));
    let window = keys.integer("attention.sliding_window")?.filter(|window| *window > 0);
    let mut config = Map::new();
    let mut put = |name: &str, value: Value| config.insert(name.to_owned(), value);
    put("architectures", json!([architecture.class(window.is_some())]));
    put("hidden_size", keys.size("embedding_length")?.into());
    put("intermediate_size", keys.size("feed_forward_length")?.into());
    put("num_hidden_layers", keys.size("block_count")?.into());
    put("num_attention_heads", heads.into());
    put("num_key_value_heads", keys.integer("attention.head_count_kv")?.unwrap_or(heads).into());
    put("max_position_embeddings", keys.size("context_length")?.into());
    put("vocab_size", embedding.shape[0].into());
    put("tie_word_embeddings", (!gguf.tensors.contains_key("output.weight")).into());
    if let Some(epsilon) = keys.float("attention.layer_norm_rms_epsilon")? {
        put("rms_norm_eps", epsilon.into());
    }
    let rotated = keys.integer("rope.dimension_count")?;
    let length = keys.integer("attention.key_length")?;
    let values = keys.integer("attention.value_length")?;
    ensure!(
        length.is_none() || values.is_none() || length == values,
        "keys of {length:?} numbers and values of {values:?}; foretaste computes equal ones"
    );
    let dim = match length {
        Some(length) => length,
        // As transformers: for Llama and Mistral alone, all dimensions of a head are rotated.
        None if architecture == GgufArchitecture::Llama && rotated.is_some() => {
            rotated.unwrap_or_default()
        }
        None => keys.size("embedding_length")? / heads,
    };
    put("head_dim", dim.into());
    if let Some(rotated) = rotated.filter(|rotated| *rotated != dim) {
        ensure!(
            architecture == GgufArchitecture::Phi3 && dim > 0,
            "{rotated} of {dim} dimensions are rotated; foretaste computes this for phi3 alone"
        );
        put("partial_rotary_factor", (rotated as f64 / dim as f64).into());
    }
    if let Some(theta) = keys.float("rope.freq_base")? {
        put("rope_theta", theta.into());
    }
    if let Some(scaling) = rope_scaling(&keys, file)? {
        put("rope_scaling", scaling);
    }
    put("attention_bias", tensor("blk.0.attn_q.bias").is_some().into());
    put("mlp_bias", tensor("blk.0.ffn_gate.bias").is_some().into());
    if architecture == GgufArchitecture::Gemma3 {
        let layers = keys.size("block_count")?;
        let scalar =
            if layers == GEMMA_27B_LAYERS { keys.size("embedding_length")? / heads } else { dim };
        put("query_pre_attn_scalar", scalar.into());
        if let Some(theta) = keys.float("rope.freq_base_swa")? {
            put("rope_local_base_freq", theta.into());
        }
        sliding_layers(&keys, &mut put)?;
    }
    match (window, architecture) {
        // Their converter writes a window only where the model uses it.
        (Some(window), GgufArchitecture::Qwen2 | GgufArchitecture::Qwen3) => {
            bail!("a sliding window of {window} tokens, which is not read for this architecture")
        }
        (Some(window), _) => put("sliding_window", window.into()),
        (None, GgufArchitecture::Gemma3) => bail!("gemma3.attention.sliding_window is missing"),
        (None, _) => put("sliding_window", Value::Null),
    };
    Ok(Value::Object(config))
}

/// Which layers of Gemma 3 have a window, where the file says: a period, or one flag a layer.
fn sliding_layers(
    keys: &ArchitectureKeys<'_>,
    put: &mut impl FnMut(&str, Value) -> Option<Value>,
) -> Result<()> {
    let name = keys.architecture.key("attention.sliding_window_pattern");
    if let Ok(Some(period)) = keys.gguf.integer(&name) {
        put("sliding_window_pattern", period.into());
    } else if let Some(flags) = keys.gguf.bools(&name)? {
        let kind = |slides: &bool| if *slides { "sliding_attention" } else { "full_attention" };
        put("layer_types", flags.iter().map(kind).collect::<Vec<_>>().into());
    }
    Ok(())
}

/// `rope_scaling`, or `None` for plain frequencies.
fn rope_scaling(keys: &ArchitectureKeys<'_>, file: &[u8]) -> Result<Option<Value>> {
    let longest = keys.size("context_length")?;
    let factors = |name: &str| -> Result<Option<Vec<f32>>> {
        let Some(tensor) = keys.gguf.tensors.get(name) else { return Ok(None) };
        let bytes = file.get(tensor.bytes.clone()).context("the file became shorter")?;
        dequantise(tensor.kind, bytes).map(Some)
    };
    // Llama 3.1's scaling, computed by the converter: every frequency is divided by its factor.
    if let Some(factors) = factors("rope_freqs.weight")? {
        return Ok(Some(json!({
            "rope_type": "longrope",
            "short_factor": factors,
            "attention_factor": 1.0,
            "original_max_position_embeddings": longest,
        })));
    }
    if let Some(factors) = factors("rope_factors_short.weight")? {
        let original = keys.integer("rope.scaling.original_context_length")?.unwrap_or(longest);
        let mut scaling = json!({
            "rope_type": "longrope",
            "short_factor": factors,
            "original_max_position_embeddings": original,
        });
        if let Some(factor) = keys.float("rope.scaling.attn_factor")? {
            scaling["attention_factor"] = factor.into();
        }
        return Ok(Some(scaling));
    }
    let kind = keys.gguf.text(&keys.architecture.key("rope.scaling.type"))?.unwrap_or("none");
    // `rope.scale_linear` is the older name.
    let factor = match keys.float("rope.scaling.factor")? {
        Some(factor) => Some(factor),
        None => keys.float("rope.scale_linear")?,
    };
    match (kind, factor) {
        ("none" | "linear", None | Some(0.0 | 1.0)) => Ok(None),
        ("linear", Some(factor)) => Ok(Some(json!({"rope_type": "linear", "factor": factor}))),
        ("none", Some(_)) => Ok(None),
        (kind, _) => bail!(
            "{} {kind:?} is not computed; foretaste knows none and linear, and factors stored as \
             tensors",
            keys.architecture.key("rope.scaling.type")
        ),
    }
}

/// `generation_config.json`: the tokens that end an answer.
///
/// # Errors
/// Where an entry is of another type.
pub fn generation_config(gguf: &Gguf) -> Result<Value> {
    let mut ends = Vec::new();
    for name in ["eos_token_id", "eot_token_id", "eom_token_id"] {
        ends.extend(gguf.integer(&format!("tokenizer.ggml.{name}"))?);
    }
    ends.dedup();
    Ok(json!({ "eos_token_id": ends }))
}
