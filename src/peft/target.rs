//! Which modules an adapter's configuration targets, equivalent to PEFT's
//! `check_target_module_exists`.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use regex::{Regex, RegexBuilder};

use super::config::{AdapterConfig, Layers, Names};

/// Maximum bytes of a compiled pattern, which comes from an untrusted file.
const LARGEST_PATTERN: usize = 1 << 20;

pub struct Targets {
    included: Option<ModuleRule>,
    excluded: Option<ModuleRule>,
    /// For lists of names only.
    layers: Option<BTreeSet<usize>>,
}

enum ModuleRule {
    /// A module's full name, or a suffix after one of its dots.
    Names(BTreeSet<String>),
    Pattern(Regex),
    /// `all-linear`
    All,
}

impl Targets {
    /// # Errors
    /// Where a pattern cannot be compiled.
    pub fn new(config: &AdapterConfig) -> Result<Self> {
        let rule = |names: &Names| -> Result<ModuleRule> {
            Ok(match names {
                Names::List(names) => ModuleRule::Names(names.iter().cloned().collect()),
                Names::Pattern(all) if all == "all-linear" => ModuleRule::All,
                Names::Pattern(text) => ModuleRule::Pattern(pattern(text, LARGEST_PATTERN)?),
            })
        };
        let layers = match &config.layers_to_transform {
            None => None,
            Some(Layers::One(layer)) => Some([*layer].into()),
            Some(Layers::Several(layers)) => Some(layers.iter().copied().collect())
                .filter(|layers: &BTreeSet<_>| !layers.is_empty()),
        };
        Ok(Targets {
            included: config.target_modules.as_ref().map(rule).transpose()?,
            excluded: config.exclude_modules.as_ref().map(rule).transpose()?,
            layers,
        })
    }

    /// Whether a module, by its name in the base, is adapted.
    pub fn matches(&self, module: &str) -> bool {
        if self.excluded.as_ref().is_some_and(|rule| rule.matches(module)) {
            return false;
        }
        let Some(rule) = &self.included else { return true };
        let in_layers = match (rule, &self.layers) {
            (ModuleRule::Names(_), Some(layers)) => {
                layer(module).is_some_and(|layer| layers.contains(&layer))
            }
            _ => true,
        };
        rule.matches(module) && in_layers
    }
}

impl ModuleRule {
    fn matches(&self, module: &str) -> bool {
        match self {
            ModuleRule::Names(names) => {
                let mut ends = module.match_indices('.').map(|(dot, _)| &module[dot + 1..]);
                names.contains(module) || ends.any(|end| names.contains(end))
            }
            ModuleRule::Pattern(pattern) => pattern.is_match(module),
            ModuleRule::All => true,
        }
    }
}

/// The first number in a module's name.
fn layer(module: &str) -> Option<usize> {
    module.split('.').find_map(|part| part.parse().ok())
}

/// Compiles a regular expression that must match a whole name, within `largest` bytes. Python's
/// look-around is not supported.
///
/// # Errors
/// Where it does not compile, or would take too much memory.
pub fn pattern(text: &str, largest: usize) -> Result<Regex> {
    RegexBuilder::new(&format!("^(?:{text})$")).size_limit(largest).build().with_context(|| {
        format!(
            "the pattern {text:?} of adapter_config.json cannot be read; \
                                  name the modules one by one"
        )
    })
}
