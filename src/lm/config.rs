//! `config.json`, checked: the shape of a Llama-architecture decoder.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::files::ModelFiles;
use super::kernels::Heads;

/// Architectures that this engine computes.
pub const KNOWN: [&str; 1] = ["LlamaForCausalLM"];

/// The longest context that is served, in tokens: that of the Llama 3.1 release. The rotary tables are built up to here, so that a
/// folder that claims a billion positions costs no memory.
pub const LONGEST: usize = 1 << 17;

/// The file as it stands; fields named as in the checkpoint.
#[derive(Debug, Deserialize)]
struct Unchecked {
    architectures: Option<Vec<String>>,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: usize,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    rope_scaling: Option<RopeScaling>,
    /// transformers 5 gathers theta and scaling here.
    rope_parameters: Option<RopeScaling>,
    max_position_embeddings: Option<usize>,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    hidden_act: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct RopeScaling {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
}

/// A checked configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub architecture: String,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub layers: usize,
    pub heads: Heads,
    pub vocab_size: usize,
    pub rms_norm_eps: f32,
    /// The rotary frequencies, `[head_dim / 2]`, scaling included.
    pub inverse_frequencies: Vec<f64>,
    /// At most [`LONGEST`].
    pub max_position_embeddings: usize,
    pub tie_word_embeddings: bool,
    pub attention_bias: bool,
    pub mlp_bias: bool,
}

impl Config {
    /// Reads and checks `config.json`.
    ///
    /// # Errors
    /// Where the file is missing or not JSON, the architecture is unknown, or sizes do not fit together.
    pub fn read(files: &ModelFiles) -> Result<Self> {
        let place = files.display("config.json");
        let raw: Unchecked = serde_json::from_str(&files.text("config.json")?).with_context(|| place.clone())?;
        Self::check(raw).with_context(|| place)
    }

    fn check(raw: Unchecked) -> Result<Self> {
        let architecture = raw.architectures.and_then(|names| names.into_iter().next()).unwrap_or_default();
        if !KNOWN.contains(&architecture.as_str()) {
            bail!("architecture {architecture:?} is not one that foretaste computes; it knows {}", KNOWN.join(", "));
        }
        if let Some(act) = raw.hidden_act.filter(|act| act != "silu") {
            bail!("hidden_act {act:?} is not computed for this architecture; expected \"silu\"");
        }
        let query = raw.num_attention_heads;
        // No model known comes near these; beyond them a product of two sizes could overflow.
        within("hidden_size", raw.hidden_size, 1 << 20)?;
        within("intermediate_size", raw.intermediate_size, 1 << 22)?;
        within("num_hidden_layers", raw.num_hidden_layers, 1000)?;
        within("num_attention_heads", query, 1 << 14)?;
        within("vocab_size", raw.vocab_size, 1 << 24)?;
        let key_value = raw.num_key_value_heads.unwrap_or(query);
        ensure!(
            key_value > 0 && query.is_multiple_of(key_value),
            "num_attention_heads {query} is no multiple of num_key_value_heads {key_value}; fix config.json"
        );
        let dim = raw.head_dim.unwrap_or(raw.hidden_size / query);
        ensure!(
            dim > 0 && dim.is_multiple_of(2) && dim <= 1024,
            "head_dim {dim} must be even and between 2 and 1024; fix config.json"
        );
        let epsilon = raw.rms_norm_eps.unwrap_or(1e-6);
        ensure!((0.0..=1.0).contains(&epsilon), "rms_norm_eps {epsilon} must lie between 0 and 1; fix config.json");
        let longest = raw.max_position_embeddings.unwrap_or(2048);
        ensure!(longest > 0, "max_position_embeddings is 0; fix config.json");
        let scaling = raw.rope_parameters.or(raw.rope_scaling);
        let theta = scaling.as_ref().and_then(|s| s.rope_theta).or(raw.rope_theta).unwrap_or(10_000.0);
        Ok(Config {
            architecture,
            hidden_size: raw.hidden_size,
            intermediate_size: raw.intermediate_size,
            layers: raw.num_hidden_layers,
            heads: Heads { query, key_value, dim },
            vocab_size: raw.vocab_size,
            rms_norm_eps: epsilon as f32,
            inverse_frequencies: inverse_frequencies(dim, theta, scaling.as_ref())?,
            max_position_embeddings: longest.min(LONGEST),
            tie_word_embeddings: raw.tie_word_embeddings.unwrap_or(false),
            attention_bias: raw.attention_bias.unwrap_or(false),
            mlp_bias: raw.mlp_bias.unwrap_or(false),
        })
    }

    /// Columns of queries: `heads.query * heads.dim`.
    pub fn query_width(&self) -> usize {
        self.heads.query * self.heads.dim
    }

    /// Columns of keys, and of values.
    pub fn key_value_width(&self) -> usize {
        self.heads.key_value * self.heads.dim
    }
}

/// One size of `config.json`, between 1 and a bound.
fn within(name: &str, value: usize, largest: usize) -> Result<()> {
    ensure!((1..=largest).contains(&value), "{name} {value} must lie between 1 and {largest}; fix config.json");
    Ok(())
}

/// RoPE frequencies; `llama3` scaling as in transformers' `_compute_llama3_parameters` (Llama 3.1 release).
fn inverse_frequencies(dim: usize, theta: f64, scaling: Option<&RopeScaling>) -> Result<Vec<f64>> {
    ensure!(theta > 0.0, "rope_theta {theta} must be above zero; fix config.json");
    let plain = (0..dim / 2).map(|i| theta.powf(-((2 * i) as f64) / dim as f64));
    let kind = scaling.and_then(|s| s.rope_type.as_deref()).unwrap_or("default");
    let needed = |name: &str, value: Option<f64>| -> Result<f64> {
        let value = value.with_context(|| format!("rope_scaling of type {kind} needs `{name}`; add it to config.json"))?;
        ensure!(value > 0.0, "rope_scaling's {name} {value} must be above zero; fix config.json");
        Ok(value)
    };
    match (kind, scaling) {
        ("default", _) => Ok(plain.collect()),
        ("linear", Some(s)) => {
            let factor = needed("factor", s.factor)?;
            Ok(plain.map(|f| f / factor).collect())
        }
        ("llama3", Some(s)) => {
            let factor = needed("factor", s.factor)?;
            let low = needed("low_freq_factor", s.low_freq_factor)?;
            let high = needed("high_freq_factor", s.high_freq_factor)?;
            let original = needed("original_max_position_embeddings", s.original_max_position_embeddings)?;
            ensure!(low < high, "rope_scaling's low_freq_factor {low} must be below high_freq_factor {high}; fix config.json");
            Ok(plain
                .map(|frequency| {
                    let wavelength = 2.0 * std::f64::consts::PI / frequency;
                    if wavelength < original / high {
                        frequency
                    } else if wavelength > original / low {
                        frequency / factor
                    } else {
                        let smooth = (original / wavelength - low) / (high - low);
                        (1.0 - smooth) * frequency / factor + smooth * frequency
                    }
                })
                .collect())
        }
        (other, _) => bail!("rope_scaling of type {other:?} is not computed; foretaste knows default, linear, llama3"),
    }
}
