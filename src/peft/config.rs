//! `adapter_config.json`: the keys that are written, and those that are supported on reading.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::target::pattern;
use crate::engine::Adapter;

/// Maximum keys of `rank_pattern`, and of `alpha_pattern`: one for each projection of 140 layers.
/// Each is matched with each module.
const MOST_PATTERNS: usize = 1000;

/// Maximum bytes per compiled key.
const LARGEST_KEY: usize = 128 << 10;

/// The keys that PEFT requires; all others have PEFT's defaults.
#[derive(Serialize)]
pub struct SavedConfig<'a> {
    peft_type: &'static str,
    task_type: &'static str,
    base_model_name_or_path: &'a str,
    r: usize,
    lora_alpha: f64,
    lora_dropout: f64,
    target_modules: &'a [String],
    bias: &'static str,
    fan_in_fan_out: bool,
    use_rslora: bool,
    inference_mode: bool,
}

impl<'a> SavedConfig<'a> {
    pub fn new(adapter: &'a Adapter, base: &'a str) -> Self {
        SavedConfig {
            peft_type: "LORA",
            task_type: "CAUSAL_LM",
            base_model_name_or_path: base,
            r: adapter.rank,
            lora_alpha: adapter.alpha,
            lora_dropout: 0.0,
            target_modules: &adapter.target_modules,
            bias: "none",
            fan_in_fan_out: false,
            use_rslora: false,
            inference_mode: true,
        }
    }
}

/// Module names, or one regular expression.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Names {
    List(Vec<String>),
    Pattern(String),
}

/// One number or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Layers {
    One(usize),
    Several(Vec<usize>),
}

/// The keys that determine which modules are adapted, and how strongly.
#[derive(Debug, Clone, Deserialize)]
pub struct AdapterConfig {
    pub r: usize,
    pub lora_alpha: f64,
    #[serde(default)]
    pub use_rslora: bool,
    #[serde(default)]
    rank_pattern: Option<BTreeMap<String, usize>>,
    #[serde(default)]
    alpha_pattern: Option<BTreeMap<String, f64>>,
    #[serde(default)]
    pub target_modules: Option<Names>,
    #[serde(default)]
    pub exclude_modules: Option<Names>,
    #[serde(default)]
    pub layers_to_transform: Option<Layers>,
}

/// Keys without effect on a trained adapter.
const WITHOUT_EFFECT: [&str; 15] = [
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "inference_mode",
    "lora_dropout",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
    "lora_ga_config",
];

/// Keys that are read here.
const READ: [&str; 11] = [
    "r",
    "lora_alpha",
    "use_rslora",
    "rank_pattern",
    "alpha_pattern",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "bias",
    "init_lora_weights",
];

/// Initialisations that change the base's own weights, which an adapter file does not contain.
const CHANGED_BASE: [&str; 5] = ["pissa", "olora", "loftq", "corda", "lora_ga"];

impl AdapterConfig {
    /// # Errors
    /// Where it is not JSON, not a LoRA, or uses an unsupported key, which the message names.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let all: Value =
            serde_json::from_slice(bytes).context("adapter_config.json is not JSON")?;
        let fields = all.as_object().context("adapter_config.json is not an object")?;
        let kind = all["peft_type"].as_str().unwrap_or_default();
        ensure!(kind == "LORA", "the adapter has type {kind:?}; foretaste supports LORA");
        for (name, value) in fields {
            let is_off = match value {
                Value::Null | Value::Bool(false) => true,
                Value::String(text) => text.is_empty(),
                Value::Array(items) => items.is_empty(),
                Value::Object(fields) => fields.is_empty(),
                _ => false,
            };
            if !is_off && !READ.contains(&name.as_str()) && !WITHOUT_EFFECT.contains(&name.as_str())
            {
                bail!(
                    "the adapter uses {name} ({value}), which foretaste does not compute; train \
                     it as a plain LoRA, or merge it into the base"
                );
            }
        }
        let bias = all["bias"].as_str().unwrap_or("none");
        ensure!(
            bias == "none",
            "the adapter trains biases (bias {bias:?}), which foretaste does not compute"
        );
        if let Some(start) = all["init_lora_weights"]
            .as_str()
            .filter(|start| CHANGED_BASE.iter().any(|changed| start.starts_with(changed)))
        {
            bail!(
                "the adapter was initialised with {start:?}, which changes the base's own weights; \
                 convert it to a plain LoRA with PEFT when saving"
            );
        }
        let pattern = &all["layers_pattern"];
        let usual = matches!(pattern, Value::Null)
            || pattern == "layers"
            || pattern == &serde_json::json!(["layers"])
            || pattern == &serde_json::json!([]);
        ensure!(
            usual,
            "layers_pattern {pattern} is not computed; in these models layers are called \
             \"layers\""
        );
        let config: AdapterConfig = serde_json::from_value(all).context("adapter_config.json")?;
        ensure!(config.r > 0, "the adapter has rank 0");
        ensure!(config.lora_alpha.is_finite(), "lora_alpha is not a number");
        Ok(config)
    }
}

/// Rank and alpha of each module: from the pattern that matches the end of its name, else the
/// adapter's defaults.
pub struct Ranks {
    rank: usize,
    alpha: f64,
    ranks: Vec<(Regex, usize)>,
    alphas: Vec<(Regex, f64)>,
}

impl Ranks {
    /// # Errors
    /// Where a pattern cannot be compiled, or there are too many.
    pub fn new(config: &AdapterConfig) -> Result<Self> {
        Ok(Ranks {
            rank: config.r,
            alpha: config.lora_alpha,
            ranks: compiled("rank_pattern", config.rank_pattern.as_ref())?,
            alphas: compiled("alpha_pattern", config.alpha_pattern.as_ref())?,
        })
    }

    pub fn of(&self, module: &str) -> Result<(usize, f64)> {
        let rank = matching_value(&self.ranks, module)?.unwrap_or(self.rank);
        let alpha = matching_value(&self.alphas, module)?.unwrap_or(self.alpha);
        ensure!(
            rank > 0 && alpha.is_finite(),
            "{module}: rank {rank} and alpha {alpha} are not a LoRA's"
        );
        Ok((rank, alpha))
    }
}

/// As PEFT's `get_pattern_key`: `(.*\.)?(KEY)$`, anchored at the start.
fn compiled<T: Copy>(
    name: &str,
    patterns: Option<&BTreeMap<String, T>>,
) -> Result<Vec<(Regex, T)>> {
    let patterns = patterns.into_iter().flatten();
    let count = patterns.clone().count();
    ensure!(
        count <= MOST_PATTERNS,
        "adapter_config.json has {count} keys in {name}, and {MOST_PATTERNS} are read; let one \
         pattern name the modules of one rank"
    );
    patterns
        .map(|(key, value)| Ok((pattern(&format!(r"(.*\.)?({key})"), LARGEST_KEY)?, *value)))
        .collect()
}

/// The value of the matching pattern. PEFT uses the first match, but the order of keys is not known
/// here. So two matches with different values are an error.
fn matching_value<T: Copy + PartialEq>(patterns: &[(Regex, T)], module: &str) -> Result<Option<T>> {
    let mut found = None;
    for (pattern, value) in patterns {
        if pattern.is_match(module) {
            ensure!(
                found.is_none_or(|found| found == *value),
                "two patterns of adapter_config.json fit {module} and differ; keep one"
            );
            found = Some(*value);
        }
    }
    Ok(found)
}
