//! The families of decoders that the engine computes: in what they differ, and what their
//! `config.json` may leave out.
//!
//! All are one decoder (`lm/decoder.rs`): attention and a gated network, each between a norm and a
//! sum. What a family adds stands in its entry here and in the methods below, as in transformers'
//! `configuration_*.py` and `modeling_*.py`.

/// What a file does not say is as in transformers' configuration class of that name.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    pub architecture: &'static str,
    pub kind: Kind,
    pub rope_theta: f64,
    pub max_position_embeddings: usize,
    pub rms_norm_eps: f64,
    pub tie_word_embeddings: bool,
    /// `None`: as many as query heads.
    pub num_key_value_heads: Option<usize>,
    /// `None`: the width divided by the query heads.
    pub head_dim: Option<usize>,
    pub sliding_window: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Llama,
    /// Some layers do not turn queries and keys (NoPE).
    SmolLm3,
    /// Every layer sees a window.
    Mistral,
    /// Biases on queries, keys and values.
    Qwen2,
    /// Norms on queries and keys.
    Qwen3,
    /// Scaled embeddings, norms of 1 + w before and after, GELU, capped scores and logits, every
    /// second layer with a window.
    Gemma2,
    /// As Gemma 2, with norms on queries and keys instead of caps, and another RoPE base where
    /// there is a window.
    Gemma3,
    /// One projection for queries, keys and values, and one for gate and up.
    Phi3,
}

pub const LLAMA: Family = Family {
    architecture: "LlamaForCausalLM",
    kind: Kind::Llama,
    rope_theta: 10_000.0,
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-6,
    tie_word_embeddings: false,
    num_key_value_heads: None,
    head_dim: None,
    sliding_window: None,
};

/// Every family, by the name that stands in `architectures`.
pub const FAMILIES: [Family; 8] = [
    LLAMA,
    Family {
        architecture: "SmolLM3ForCausalLM",
        kind: Kind::SmolLm3,
        rope_theta: 2_000_000.0,
        max_position_embeddings: 32_768,
        tie_word_embeddings: true,
        num_key_value_heads: Some(4),
        ..LLAMA
    },
    Family {
        architecture: "MistralForCausalLM",
        kind: Kind::Mistral,
        max_position_embeddings: 4096 * 32,
        num_key_value_heads: Some(8),
        sliding_window: Some(4096),
        ..LLAMA
    },
    Family {
        architecture: "Qwen2ForCausalLM",
        kind: Kind::Qwen2,
        max_position_embeddings: 32_768,
        num_key_value_heads: Some(32),
        sliding_window: Some(4096),
        ..LLAMA
    },
    Family {
        architecture: "Qwen3ForCausalLM",
        kind: Kind::Qwen3,
        max_position_embeddings: 32_768,
        num_key_value_heads: Some(32),
        head_dim: Some(128),
        sliding_window: Some(4096),
        ..LLAMA
    },
    Family {
        architecture: "Gemma2ForCausalLM",
        kind: Kind::Gemma2,
        max_position_embeddings: 8192,
        tie_word_embeddings: true,
        num_key_value_heads: Some(4),
        head_dim: Some(256),
        sliding_window: Some(4096),
        ..LLAMA
    },
    Family {
        architecture: "Gemma3ForCausalLM",
        kind: Kind::Gemma3,
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
        kind: Kind::Phi3,
        max_position_embeddings: 4096,
        rms_norm_eps: 1e-5,
        ..LLAMA
    },
];

impl Kind {
    pub fn is_gemma(self) -> bool {
        matches!(self, Kind::Gemma2 | Kind::Gemma3)
    }

    /// The activation of the gated network, by the name that `hidden_act` (Gemma:
    /// `hidden_activation`) must have.
    pub fn activation(self) -> &'static str {
        if self.is_gemma() { "gelu_pytorch_tanh" } else { "silu" }
    }

    /// Scores and logits are bent to within these, where the file does not say: attention, final.
    pub fn softcaps(self) -> (Option<f32>, Option<f32>) {
        if self == Kind::Gemma2 { (Some(50.0), Some(30.0)) } else { (None, None) }
    }

    /// Whether a layer, counted from 0, sees a window only, where the file has no `layer_types`.
    pub fn slides(self, layer: usize, rules: &Sliding) -> bool {
        match self {
            Kind::Llama => false,
            Kind::Mistral | Kind::Phi3 => true,
            Kind::Qwen2 | Kind::Qwen3 => layer >= rules.max_window_layers,
            Kind::SmolLm3 => !rules.turns(layer),
            Kind::Gemma2 => layer.is_multiple_of(2),
            Kind::Gemma3 => !(layer + 1).is_multiple_of(rules.sliding_window_pattern),
        }
    }

    /// Whether a window counts only where `use_sliding_window` says so.
    pub fn window_is_optional(self) -> bool {
        matches!(self, Kind::Qwen2 | Kind::Qwen3 | Kind::SmolLm3)
    }
}

/// What says which layers slide and which turn.
#[derive(Debug, Clone)]
pub struct Sliding {
    pub max_window_layers: usize,
    /// Every so manieth layer sees everything; at least 1.
    pub sliding_window_pattern: usize,
    /// 1 for a layer that turns; where it is missing, all but every `no_rope_layer_interval`th do,
    /// counted from 1.
    pub no_rope_layers: Option<Vec<u8>>,
    pub no_rope_layer_interval: usize,
}

impl Sliding {
    /// Whether a layer of SmolLM3 turns queries and keys.
    pub fn turns(&self, layer: usize) -> bool {
        match &self.no_rope_layers {
            Some(layers) => layers.get(layer).is_some_and(|turns| *turns != 0),
            None => !(layer + 1).is_multiple_of(self.no_rope_layer_interval),
        }
    }
}
