//! `config.json`, checked: the shape of a decoder.

pub mod family;
pub mod rope;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::files::ModelFiles;
use super::kernels::{Activation, Attention, Heads};
use family::{FAMILIES, Family, FamilyKind, LLAMA, LayerRules};
use rope::{RopeScaling, Rotary, RotarySettings};

/// The longest supported context in tokens: that of the Llama 3.1 release. Rotary tables have at
/// most this length, so a folder that claims a billion positions costs no memory.
pub const LONGEST: usize = 1 << 17;

/// Maximum width of a layer's inner activations, relative to the residual stream. Released models
/// have up to 2 for queries and up to 8 for MLPs.
const WIDEST: usize = 32;

/// The file before checking; fields are named as in the checkpoint.
#[derive(Debug, Deserialize)]
struct RawConfig {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: usize,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    rope_local_base_freq: Option<f64>,
    rope_scaling: Option<RopeScaling>,
    /// transformers 5 puts theta and scaling here; for Gemma 3 by layer type.
    rope_parameters: Option<Value>,
    partial_rotary_factor: Option<f64>,
    max_position_embeddings: Option<usize>,
    original_max_position_embeddings: Option<f64>,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    hidden_act: Option<String>,
    /// Used by Gemma instead of `hidden_act`.
    hidden_activation: Option<String>,
    /// Null and absent differ: null means no window, absent the family's default.
    #[serde(default, deserialize_with = "present")]
    sliding_window: Option<Option<usize>>,
    use_sliding_window: Option<bool>,
    max_window_layers: Option<usize>,
    sliding_window_pattern: Option<usize>,
    layer_types: Option<Vec<String>>,
    no_rope_layers: Option<Vec<u8>>,
    no_rope_layer_interval: Option<usize>,
    query_pre_attn_scalar: Option<f64>,
    #[serde(default, deserialize_with = "present")]
    attn_logit_softcapping: Option<Option<f32>>,
    #[serde(default, deserialize_with = "present")]
    final_logit_softcapping: Option<Option<f32>>,
    use_bidirectional_attention: Option<bool>,
}

/// Deserializes a field that is present, null or not.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    field: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(field).map(Some)
}

/// A checked configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub architecture: String,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    /// From the first layer to the last.
    pub layers: Vec<Layer>,
    pub heads: Heads,
    pub vocab_size: usize,
    pub rotaries: Vec<Rotary>,
    /// At most [`LONGEST`].
    pub max_position_embeddings: usize,
    pub tie_word_embeddings: bool,
    pub biases: Biases,
    pub norms: Norms,
    pub activation: Activation,
    /// One projection gives queries, keys and values, and another gate and up.
    pub fused: bool,
    /// Embeddings are multiplied by this.
    pub embedding_scale: f32,
    /// Scores are multiplied by `attention_scale`, then soft-capped.
    pub attention_scale: f32,
    pub attention_softcap: Option<f32>,
    /// The soft cap of the logits.
    pub final_softcap: Option<f32>,
}

/// The settings that differ between layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// Index into [`Config::rotaries`]; `None` means no rotary embedding.
    pub rotary: Option<usize>,
    /// The number of latest tokens that a token sees, itself included; `None` sees all.
    pub window: Option<usize>,
}

/// Which projections have biases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Biases {
    pub qkv: bool,
    pub o: bool,
    pub mlp: bool,
}

/// The RMS norms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Norms {
    pub epsilon: f32,
    /// The weight is 1 + w.
    pub plus_one: bool,
    /// Attention and MLP are each followed by a post-norm, before the residual sum.
    pub post_norm: bool,
    /// Queries and keys have norms, over one head each.
    pub queries_and_keys: bool,
}

impl Config {
    /// Reads and checks `config.json`.
    ///
    /// # Errors
    /// Where the file is missing or not JSON, the architecture is unknown, or sizes do not fit
    /// together.
    pub fn read(files: &ModelFiles) -> Result<Self> {
        let place = files.display("config.json");
        let raw: Value =
            serde_json::from_str(&files.text("config.json")?).with_context(|| place.clone())?;
        // The architecture first: another family's file may lack required fields.
        let family = family(&raw).with_context(|| place.clone())?;
        let raw = serde_json::from_value(raw).with_context(|| place.clone())?;
        Self::check(raw, family).with_context(|| place)
    }

    fn check(raw: RawConfig, family: Family) -> Result<Self> {
        let kind = family.kind;
        let act = if kind.is_gemma() { &raw.hidden_activation } else { &raw.hidden_act };
        if let Some(act) = act.as_ref().filter(|act| *act != kind.activation()) {
            bail!(
                "hidden_act {act:?} is not computed for this architecture; expected {:?}",
                kind.activation()
            );
        }
        ensure!(
            raw.use_bidirectional_attention != Some(true),
            "use_bidirectional_attention is true; foretaste audits models that read from left to \
             right"
        );
        let heads = raw.heads(&family)?;
        let epsilon = raw.rms_norm_eps.unwrap_or(family.rms_norm_eps);
        ensure!(
            (0.0..=1.0).contains(&epsilon),
            "rms_norm_eps {epsilon} must lie between 0 and 1; fix config.json"
        );
        let longest = raw.max_position_embeddings.unwrap_or(family.max_position_embeddings);
        ensure!(longest > 0, "max_position_embeddings is 0; fix config.json");
        let (rotaries, served) = raw.rotaries(&family, heads.dim, longest)?;
        let scalar = if kind.is_gemma() {
            raw.query_pre_attn_scalar.unwrap_or(256.0)
        } else {
            heads.dim as f64
        };
        ensure!(scalar > 0.0, "query_pre_attn_scalar {scalar} must be above zero; fix config.json");
        let softcap = |name: &str,
                       cap: Option<Option<f32>>,
                       usual: Option<f32>|
         -> Result<Option<f32>> {
            let cap = if kind.is_gemma() { cap.unwrap_or(usual) } else { None };
            ensure!(cap.is_none_or(|cap| cap > 0.0), "{name} must be above zero; fix config.json");
            Ok(cap)
        };
        let (attention_cap, final_cap) = kind.softcaps();
        let attention_bias = raw.attention_bias.unwrap_or(false) && kind != FamilyKind::Phi3;
        Ok(Config {
            architecture: family.architecture.to_owned(),
            hidden_size: raw.hidden_size,
            intermediate_size: raw.intermediate_size,
            layers: raw.layers(&family, longest)?,
            heads,
            vocab_size: raw.vocab_size,
            rotaries,
            max_position_embeddings: served.min(LONGEST),
            tie_word_embeddings: raw.tie_word_embeddings.unwrap_or(family.tie_word_embeddings),
            biases: Biases {
                qkv: attention_bias || kind == FamilyKind::Qwen2,
                o: attention_bias && kind != FamilyKind::Qwen2,
                mlp: raw.mlp_bias.unwrap_or(false)
                    && matches!(kind, FamilyKind::Llama | FamilyKind::SmolLm3),
            },
            norms: Norms {
                epsilon: epsilon as f32,
                plus_one: kind.is_gemma(),
                post_norm: kind.is_gemma(),
                queries_and_keys: matches!(kind, FamilyKind::Qwen3 | FamilyKind::Gemma3),
            },
            activation: if kind.is_gemma() { Activation::GeluTanh } else { Activation::Silu },
            fused: kind == FamilyKind::Phi3,
            embedding_scale: if kind.is_gemma() {
                (raw.hidden_size as f64).sqrt() as f32
            } else {
                1.0
            },
            attention_scale: (1.0 / scalar.sqrt()) as f32,
            attention_softcap: softcap(
                "attn_logit_softcapping",
                raw.attn_logit_softcapping,
                attention_cap,
            )?,
            final_softcap: softcap(
                "final_logit_softcapping",
                raw.final_logit_softcapping,
                final_cap,
            )?,
        })
    }

    /// Columns of queries: `heads.query * heads.dim`.
    pub fn query_width(&self) -> usize {
        self.heads.query * self.heads.dim
    }

    /// Bytes of the rotary tables: a sine and a cosine for each position and frequency.
    pub fn table_bytes(&self) -> u64 {
        let frequencies: usize =
            self.rotaries.iter().map(|rotary| rotary.inverse_frequencies.len()).sum();
        (2 * frequencies * self.max_position_embeddings * size_of::<f32>()) as u64
    }

    /// Columns of keys, and of values.
    pub fn key_value_width(&self) -> usize {
        self.heads.key_value * self.heads.dim
    }

    /// Whether this is a Llama with tied embeddings and without biases, like nestling. Only these
    /// can be pretrained.
    pub fn is_plain(&self) -> bool {
        self.architecture == LLAMA.architecture
            && self.tie_word_embeddings
            && self.biases == Biases::default()
    }

    /// The attention parameters of a layer.
    pub fn attention(&self, layer: usize) -> Attention {
        Attention {
            heads: self.heads,
            scale: self.attention_scale,
            softcap: self.attention_softcap,
            window: self.layers[layer].window,
        }
    }
}

fn family(raw: &Value) -> Result<Family> {
    let architecture = raw["architectures"][0].as_str().unwrap_or_default();
    let found = FAMILIES.iter().find(|family| family.architecture == architecture);
    found.copied().with_context(|| {
        let known: Vec<&str> = FAMILIES.iter().map(|family| family.architecture).collect();
        format!(
            "architecture {architecture:?} is not one that foretaste computes; it knows {}",
            known.join(", ")
        )
    })
}

impl RawConfig {
    /// The heads. Also checks all sizes.
    fn heads(&self, family: &Family) -> Result<Heads> {
        let query = self.num_attention_heads;
        // No known model comes near these bounds; beyond them a product of two sizes could
        // overflow.
        within("hidden_size", self.hidden_size, 1 << 20)?;
        within("intermediate_size", self.intermediate_size, 1 << 22)?;
        within("num_hidden_layers", self.num_hidden_layers, 1000)?;
        within("num_attention_heads", query, 1 << 14)?;
        within("vocab_size", self.vocab_size, 1 << 24)?;
        let key_value = self.num_key_value_heads.or(family.num_key_value_heads).unwrap_or(query);
        ensure!(
            key_value > 0 && query.is_multiple_of(key_value),
            "num_attention_heads {query} is no multiple of num_key_value_heads {key_value}; fix \
             config.json"
        );
        let dim = self.head_dim.or(family.head_dim).unwrap_or(self.hidden_size / query);
        ensure!(
            dim > 0 && dim.is_multiple_of(2) && dim <= 512,
            "head_dim {dim} must be even and between 2 and 512; fix config.json"
        );
        // The memory of a pass grows with the widest layer. That of the weights grows with the
        // product of this width and hidden_size. So a small file must not ask for a wide layer.
        for (name, width) in [
            ("num_attention_heads * head_dim", query * dim),
            ("intermediate_size", self.intermediate_size),
        ] {
            ensure!(
                width <= WIDEST * self.hidden_size,
                "{name} is {width}, more than {WIDEST} times hidden_size {}; no model is made \
                 like this, so fix config.json",
                self.hidden_size
            );
        }
        Ok(Heads { query, key_value, dim })
    }

    /// The rotary embedding; for Gemma 3 one for layers without a window and one for layers with a
    /// window. Also the longest context that they support.
    fn rotaries(
        &self,
        family: &Family,
        dim: usize,
        longest: usize,
    ) -> Result<(Vec<Rotary>, usize)> {
        let parse = |value: &Value| {
            serde_json::from_value::<RopeScaling>(value.clone()).context("rope_parameters")
        };
        let by_layer = |name: &str| {
            self.rope_parameters
                .as_ref()
                .and_then(|all| all.get(name))
                .filter(|value| value.is_object())
        };
        let in_parameters = match (by_layer("full_attention"), &self.rope_parameters) {
            (Some(full), _) => Some(parse(full)?),
            (None, Some(all)) if all.is_object() && by_layer("sliding_attention").is_none() => {
                Some(parse(all)?)
            }
            _ => None,
        };
        let mut scaling = in_parameters.or_else(|| self.rope_scaling.clone()).unwrap_or_default();
        scaling.original_max_position_embeddings =
            scaling.original_max_position_embeddings.or(self.original_max_position_embeddings);
        if family.kind == FamilyKind::Phi3 && scaling.rope_type.as_deref() == Some("yarn") {
            // The first Phi-3 files used this name, and transformers reads it so.
            scaling.rope_type = Some("longrope".to_owned());
        }
        let share = scaling
            .partial_rotary_factor
            .or(self.partial_rotary_factor)
            .filter(|_| family.kind == FamilyKind::Phi3)
            .unwrap_or(1.0);
        let rotated = (dim as f64 * share) as usize;
        ensure!(
            rotated > 0 && rotated.is_multiple_of(2) && rotated <= dim,
            "partial_rotary_factor {share} turns {rotated} of {dim} dimensions; fix config.json"
        );
        let theta = scaling.rope_theta.or(self.rope_theta).unwrap_or(family.rope_theta);
        let mut rotaries =
            vec![Rotary::new(RotarySettings { dim: rotated, theta, longest }, Some(&scaling))?];
        if family.kind == FamilyKind::Gemma3 {
            let local = by_layer("sliding_attention").map(parse).transpose()?.unwrap_or_default();
            let theta = local.rope_theta.or(self.rope_local_base_freq).unwrap_or(10_000.0);
            rotaries.push(Rotary::new(RotarySettings { dim, theta, longest }, Some(&local))?);
        }
        let is_long = matches!(scaling.rope_type.as_deref(), Some("longrope" | "su"));
        let original = scaling.original_max_position_embeddings.filter(|_| is_long);
        Ok((rotaries, original.map_or(longest, |original| longest.min(original as usize)).max(1)))
    }

    fn layers(&self, family: &Family, longest: usize) -> Result<Vec<Layer>> {
        let kind = family.kind;
        let rules = LayerRules {
            max_window_layers: self.max_window_layers.unwrap_or(28),
            sliding_window_pattern: self.sliding_window_pattern.unwrap_or(6).max(1),
            no_rope_layers: self.no_rope_layers.clone(),
            no_rope_layer_interval: self.no_rope_layer_interval.unwrap_or(4).max(1),
        };
        let is_used = !kind.window_is_optional() || self.use_sliding_window.unwrap_or(false);
        let window = self
            .sliding_window
            .unwrap_or(family.sliding_window)
            .filter(|_| is_used && kind != FamilyKind::Llama);
        ensure!(window != Some(0), "sliding_window is 0; fix config.json");
        if let Some(types) = &self.layer_types {
            ensure!(
                types.len() == self.num_hidden_layers,
                "layer_types names {} layers and num_hidden_layers is {}; fix config.json",
                types.len(),
                self.num_hidden_layers
            );
        }
        let layer = |layer: usize| {
            let slides = match self.layer_types.as_ref().map(|types| types[layer].as_str()) {
                Some("full_attention") => false,
                Some("sliding_attention") => true,
                Some(other) => bail!(
                    "layer_types has {other:?}; foretaste computes full_attention and \
                     sliding_attention"
                ),
                None => kind.slides(layer, &rules),
            };
            let rotary = match kind {
                FamilyKind::SmolLm3 => rules.has_rotary(layer).then_some(0),
                FamilyKind::Gemma3 => Some(usize::from(slides)),
                _ => Some(0),
            };
            Ok(Layer { rotary, window: window.filter(|window| slides && *window < longest) })
        };
        (0..self.num_hidden_layers).map(layer).collect()
    }
}

/// Checks that a size of `config.json` is between 1 and a bound.
fn within(name: &str, value: usize, largest: usize) -> Result<()> {
    ensure!(
        (1..=largest).contains(&value),
        "{name} {value} must lie between 1 and {largest}; fix config.json"
    );
    Ok(())
}
