//! The decoder families that the engine supports: their differences, and the defaults of fields
//! that their `config.json` may omit.
//!
//! All are one decoder (`lm/decoder.rs`): attention and a gated MLP, each between a norm and a
//! residual sum. The differences are in the entries here and in the methods below. They follow
//! transformers' `configuration_*.py` and `modeling_*.py`.

/// Defaults for fields that the file omits, as in transformers' configuration class of that name.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    pub architecture: &'static str,
    pub kind: FamilyKind,
    pub rope_theta: f64,
    pub max_position_embeddings: usize,
    pub rms_norm_eps: f64,
    pub tie_word_embeddings: bool,
    /// `None`: as many as query heads.
    pub num_key_value_heads: Option<usize>,
    /// `None`: the width divided by the number of query heads.
    pub head_dim: Option<usize>,
    pub sliding_window: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FamilyKind {
    Llama,
    /// Some layers have no rotary embedding (NoPE).
    SmolLm3,
    /// Every layer has a sliding window.
    Mistral,
    /// Biases on queries, keys and values.
    Qwen2,
    /// Norms on queries and keys.
    Qwen3,
    /// Scaled embeddings, norms of 1 + w before and after each part, GELU, soft-capped scores and
    /// logits. Every second layer has a sliding window.
    Gemma2,
    /// Like Gemma 2, with norms on queries and keys instead of soft caps. Layers with a window have
    /// another RoPE base.
    Gemma3,
    /// One projection for queries, keys and values, and one for gate and up.
    Phi3,
}

pub const LLAMA: Family = Family {
    architecture: "LlamaForCausalLM",
    kind: FamilyKind::Llama,
    rope_theta: 10_000.0,
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-6,
    tie_word_embeddings: false,
    num_key_value_heads: None,
    head_dim: None,
    sliding_window: None,
};

/// Every family, by its name in `architectures`.
pub const FAMILIES: [Family; 8] = [
    LLAMA,
    Family {
        architecture: "SmolLM3ForCausalLM",
        kind: FamilyKind::SmolLm3,
        rope_theta: 2_000_000.0,
        max_position_embeddings: 32_768,
        tie_word_embeddings: true,
        num_key_value_heads: Some(4),
        ..LLAMA
    },
    Family {
        architecture: "MistralForCausalLM",
        kind: FamilyKind::Mistral,
        max_position_embeddings: 4096 * 32,
        num_key_value_heads: Some(8),
        sliding_window: Some(4096),
        ..LLAMA
    },
    Family {
        architecture: "Qwen2ForCausalLM",
        kind: FamilyKind::Qwen2,
        max_position_embeddings: 32_768,
        num_key_value_heads: Some(32),
        sliding_window: Some(4096),
        ..LLAMA
    },
    Family {
        architecture: "Qwen3ForCausalLM",
        kind: FamilyKind::Qwen3,
        max_position_embeddings: 32_768,
        num_key_value_heads: Some(32),
        head_dim: Some(128),
        sliding_window: Some(4096),
        ..LLAMA
    },
    Family {
        architecture: "Gemma2ForCausalLM",
        kind: FamilyKind::Gemma2,
        max_position_embeddings: 8192,
        tie_word_embeddings: true,
        num_key_value_heads: Some(4),
        head_dim: Some(256),
        sliding_window: Some(4096),
        ..LLAMA
    },
    Family {
        architecture: "Gemma3ForCausalLM",
        kind: FamilyKind::Gemma3,
        rope_theta: 1_000_000.0,
        max_position_embeddings: 131_072,
        tie_word_embeddings: true,
        num_key_value_heads: Some(4),
        head_dim: Some(256),
        sliding_window: Some(4096),
        ..LLAMA
    },
    Family {
        architecture: "Phi3ForCausalLM",
        kind: FamilyKind::Phi3,
        max_position_embeddings: 4096,
        rms_norm_eps: 1e-5,
        ..LLAMA
    },
];

impl FamilyKind {
    pub fn is_gemma(self) -> bool {
        matches!(self, FamilyKind::Gemma2 | FamilyKind::Gemma3)
    }

    /// The activation of the gated MLP, as the required value of `hidden_act` (Gemma:
    /// `hidden_activation`).
    pub fn activation(self) -> &'static str {
        if self.is_gemma() { "gelu_pytorch_tanh" } else { "silu" }
    }

    /// Default soft caps of the attention scores and of the logits.
    pub fn softcaps(self) -> (Option<f32>, Option<f32>) {
        if self == FamilyKind::Gemma2 { (Some(50.0), Some(30.0)) } else { (None, None) }
    }

    /// Whether a layer, counted from 0, has a sliding window if the file has no `layer_types`.
    pub fn slides(self, layer: usize, rules: &LayerRules) -> bool {
        match self {
            FamilyKind::Llama => false,
            FamilyKind::Mistral | FamilyKind::Phi3 => true,
            FamilyKind::Qwen2 | FamilyKind::Qwen3 => layer >= rules.max_window_layers,
            FamilyKind::SmolLm3 => !rules.has_rotary(layer),
            FamilyKind::Gemma2 => layer.is_multiple_of(2),
            FamilyKind::Gemma3 => !(layer + 1).is_multiple_of(rules.sliding_window_pattern),
        }
    }

    /// Whether a window applies only if `use_sliding_window` is true.
    pub fn window_is_optional(self) -> bool {
        matches!(self, FamilyKind::Qwen2 | FamilyKind::Qwen3 | FamilyKind::SmolLm3)
    }
}

/// Which layers have a sliding window, and which a rotary embedding.
#[derive(Debug, Clone)]
pub struct LayerRules {
    pub max_window_layers: usize,
    /// Every n-th layer has no window; at least 1.
    pub sliding_window_pattern: usize,
    /// 1 for a layer with a rotary embedding. If it is missing, every layer has one except each
    /// `no_rope_layer_interval`-th, counted from 1.
    pub no_rope_layers: Option<Vec<u8>>,
    pub no_rope_layer_interval: usize,
}

impl LayerRules {
    /// Whether a layer of SmolLM3 has a rotary embedding.
    pub fn has_rotary(&self, layer: usize) -> bool {
        match &self.no_rope_layers {
            Some(layers) => layers.get(layer).is_some_and(|rotary| *rotary != 0),
            None => !(layer + 1).is_multiple_of(self.no_rope_layer_interval),
        }
    }
}
