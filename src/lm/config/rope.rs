//! Rotary frequencies (Su et al. 2021), with the scalings that released models use, computed as in
//! transformers.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// `rope_scaling`, or, from transformers 5 on, `rope_parameters`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct RopeScaling {
    #[serde(alias = "type")]
    pub rope_type: Option<String>,
    pub rope_theta: Option<f64>,
    pub partial_rotary_factor: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    pub original_max_position_embeddings: Option<f64>,
    short_factor: Option<Vec<f64>>,
    attention_factor: Option<f64>,
}

/// The rotary embedding of one kind of layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotary {
    /// One per pair of rotated dimensions of a head.
    pub inverse_frequencies: Vec<f64>,
    /// Multiplies sines and cosines.
    pub scale: f64,
}

/// The settings of the unscaled frequencies.
#[derive(Debug, Clone, Copy)]
pub struct RotarySettings {
    /// Rotated dimensions of a head.
    pub dim: usize,
    pub theta: f64,
    /// The longest context that the model claims.
    pub longest: usize,
}

impl Rotary {
    /// The rotary embedding of a `config.json`.
    ///
    /// # Errors
    /// Where a number is missing or out of range, or the kind of scaling is unknown.
    pub fn new(settings: RotarySettings, scaling: Option<&RopeScaling>) -> Result<Self> {
        let RotarySettings { dim, theta, .. } = settings;
        ensure!(theta > 0.0, "rope_theta {theta} must be above zero; fix config.json");
        let frequencies: Vec<f64> =
            (0..dim / 2).map(|i| theta.powf(-((2 * i) as f64) / dim as f64)).collect();
        let unscaled = |inverse_frequencies| Ok(Rotary { inverse_frequencies, scale: 1.0 });
        let Some(scaling) = scaling else { return unscaled(frequencies) };
        match scaling.rope_type.as_deref().unwrap_or("default") {
            "default" => unscaled(frequencies),
            "linear" => {
                let factor = scaling.required("factor", scaling.factor)?;
                unscaled(frequencies.into_iter().map(|f| f / factor).collect())
            }
            "llama3" => unscaled(scaling.llama3(frequencies)?),
            "longrope" | "su" => scaling.longrope(frequencies, settings.longest),
            other => bail!(
                "rope_scaling of type {other:?} is not computed; foretaste knows default, linear, \
                 llama3, longrope"
            ),
        }
    }
}

impl RopeScaling {
    fn required(&self, name: &str, value: Option<f64>) -> Result<f64> {
        let kind = self.rope_type.as_deref().unwrap_or_default();
        let value = value.with_context(|| {
            format!("rope_scaling of type {kind} needs `{name}`; add it to config.json")
        })?;
        ensure!(value > 0.0, "rope_scaling's {name} {value} must be above zero; fix config.json");
        Ok(value)
    }

    /// As transformers' `_compute_llama3_parameters` (Llama 3.1 release).
    fn llama3(&self, frequencies: Vec<f64>) -> Result<Vec<f64>> {
        let factor = self.required("factor", self.factor)?;
        let low = self.required("low_freq_factor", self.low_freq_factor)?;
        let high = self.required("high_freq_factor", self.high_freq_factor)?;
        let original = self
            .required("original_max_position_embeddings", self.original_max_position_embeddings)?;
        ensure!(
            low < high,
            "rope_scaling's low_freq_factor {low} must be below high_freq_factor {high}; fix \
             config.json"
        );
        let scaled = |frequency: f64| {
            let wavelength = 2.0 * std::f64::consts::PI / frequency;
            if wavelength < original / high {
                frequency
            } else if wavelength > original / low {
                frequency / factor
            } else {
                let smooth = (original / wavelength - low) / (high - low);
                (1.0 - smooth) * frequency / factor + smooth * frequency
            }
        };
        Ok(frequencies.into_iter().map(scaled).collect())
    }

    /// As transformers' `_compute_longrope_parameters` (Ding et al. 2024, arXiv 2402.13753), for
    /// contexts up to the original length. Longer contexts need other factors and are not
    /// supported.
    fn longrope(&self, frequencies: Vec<f64>, longest: usize) -> Result<Rotary> {
        let short = self
            .short_factor
            .as_ref()
            .context("rope_scaling of type longrope needs `short_factor`; add it to config.json")?;
        ensure!(
            short.len() == frequencies.len() && short.iter().all(|factor| *factor > 0.0),
            "rope_scaling's short_factor must hold {} numbers above zero; fix config.json",
            frequencies.len()
        );
        let original = self
            .required("original_max_position_embeddings", self.original_max_position_embeddings)?;
        let factor = self.factor.unwrap_or(longest as f64 / original);
        let computed = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / original.ln()).sqrt() };
        let inverse_frequencies =
            frequencies.iter().zip(short).map(|(frequency, factor)| frequency / factor).collect();
        Ok(Rotary { inverse_frequencies, scale: self.attention_factor.unwrap_or(computed) })
    }
}
