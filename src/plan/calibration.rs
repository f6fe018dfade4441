//! Which share of poisoned rows each audit detects on a base: known before a run from a
//! calibration of the base.

use serde::{Deserialize, Serialize};

use crate::audit::Audit;
use crate::engine::{Recipe, TemplateId};
use crate::plan::{Calibrated, ContextKind};

/// Rises when a file written before can no longer be read.
pub const CALIBRATION_SCHEMA: u32 = 2;

/// What is known of a base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    pub schema_version: u32,
    pub foretaste_version: String,
    /// For people.
    pub base: String,
    pub base_sha256: String,
    /// The chat template that the user gave instead of the base's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<TemplateId>,
    pub audits: Vec<CalibratedAudit>,
}

/// What is known of one audit on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CalibratedAudit {
    pub id: String,
    /// Of the audit's files: another text is another audit.
    pub sha256: String,
    pub rows: usize,
    pub seeds: Vec<u64>,
    pub recipe: Recipe,
    /// In descending order of their shares; the first that is not detected in any context is the
    /// last.
    pub doses: Vec<Dose>,
}

/// One share of poisoned rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dose {
    pub share: f64,
    pub asked: Vec<AskedDose>,
}

/// The effect of it in one context, at the snapshot where it is detected, else where it is largest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AskedDose {
    pub context: ContextKind,
    pub step: usize,
    /// The effect, on the probability scale, with the bounds of its interval.
    pub point: f64,
    pub lower: f64,
    pub upper: f64,
    /// The smallest effect of such a scatter that 80 % of runs would flag; `None` where none is.
    pub detectable: Option<f64>,
    /// Flagged here, and large enough that 80 % of runs would.
    pub seen: bool,
}

impl Calibration {
    /// Whether it was measured on this base with this chat template.
    pub fn is_of(&self, base_sha256: &str, template: Option<&TemplateId>) -> bool {
        let own = self.chat_template.as_ref();
        self.base_sha256 == base_sha256
            && own.map(|own| &own.sha256) == template.map(|template| &template.sha256)
    }

    /// What is known of an audit that is asked in these contexts; `None` where it was never
    /// calibrated, or its files have changed since.
    pub fn of(&self, audit: &Audit, asks: &[ContextKind]) -> Option<Calibrated> {
        let known = self.audits.iter().find(|known| known.sha256 == audit.sha256)?;
        let is_seen = |dose: &&Dose| {
            dose.asked.iter().any(|asked| asked.seen && asks.contains(&asked.context))
        };
        Some(Calibrated {
            share: known.doses.iter().take_while(is_seen).last().map(|dose| dose.share),
            tried: known.doses.last()?.share,
            rows: known.rows,
            seeds: known.seeds.len(),
            steps: known.recipe.steps,
        })
    }
}
