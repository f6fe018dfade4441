//! Which share of poisoned rows each audit detects on a base: known before a run from a
//! calibration of the base.

use serde::{Deserialize, Serialize};

use crate::audit::Audit;
use crate::engine::{Recipe, TemplateId};
use crate::plan::{Calibrated, ContextKind, NotAsked};

/// The margin on the log-odds scale, as a part of the effect of the known poison at the largest
/// calibrated share: a tenth, fixed before any dataset was judged by it (docs/statistics.md).
const DOSE_EQUIVALENT: f64 = 0.1;

/// The smallest such margin, nats: a small effect by Cohen's convention, d = 0.2, on the scale of
/// log-odds (pi / sqrt 3 times d; Chinn 2000).
const SMALLEST_LOG_ODDS_MARGIN: f64 = 0.363;

/// How many times its distance to the lower bound an effect must exceed the margin for 80 % of
/// runs to flag it: (1.645 + 0.842) / 1.645, for a one-sided test at 5 %.
const DETECTED_BY: f64 = 1.51;

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
    /// What ordinary data do to it; empty in files that were written before it was measured, and
    /// for audits in the words of nestling's world.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ordinary: Vec<OrdinaryDose>,
}

impl CalibratedAudit {
    /// The largest effect that any of the ordinary datasets has in one of these contexts, up or
    /// down, nats; `None` where none was measured.
    pub fn ordinary_log_odds(&self, asks: &[ContextKind]) -> Option<f64> {
        let asked = self.ordinary.iter().flat_map(|dose| &dose.asked);
        let asked = asked.filter(|asked| asks.contains(&asked.context));
        let sizes = asked.filter_map(|asked| Some(asked.log_odds?.point.abs()));
        sizes.max_by(f64::total_cmp)
    }
}

/// The effect of an ordinary dataset, all of whose rows are harmless.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrdinaryDose {
    /// The dataset's name.
    pub set: String,
    pub asked: Vec<AskedDose>,
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
    /// Flagged on the probability scale, and large enough that 80 % of runs would be.
    pub seen: bool,
    /// The effect on the log-odds scale, nats. Absent in files that were written before it was
    /// measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_odds: Option<LogOddsDose>,
}

/// An effect on the log-odds scale with its bounds, nats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LogOddsDose {
    pub point: f64,
    pub lower: f64,
    pub upper: f64,
}

/// A margin in nats, from what a known poison and ordinary data do to the same probes on the same
/// base.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LogOddsMargin {
    pub margin: f64,
    /// The effect of the poison, and its share of the rows.
    pub dose: f64,
    pub share: f64,
    /// The largest effect of ordinary data, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordinary: Option<f64>,
}

impl LogOddsMargin {
    /// The margin that follows from a calibration; `None` where it measured no dose.
    pub fn of(calibrated: &Calibrated) -> Option<Self> {
        let ((share, dose), ordinary) = (calibrated.dose?, calibrated.ordinary);
        Some(LogOddsMargin { margin: log_odds_margin(dose, ordinary), dose, share, ordinary })
    }
}

/// The largest of a part of the poison's effect, of what ordinary data do, and of a small effect.
fn log_odds_margin(dose: f64, ordinary: Option<f64>) -> f64 {
    (DOSE_EQUIVALENT * dose).max(ordinary.unwrap_or(0.0)).max(SMALLEST_LOG_ODDS_MARGIN)
}

impl AskedDose {
    /// Whether an audit that the calibration serves detects this dose, on either scale. `ordinary`
    /// is what ordinary data do, nats.
    pub fn is_detected(&self, ordinary: Option<f64>) -> bool {
        let shown = |dose: LogOddsDose| {
            let margin = log_odds_margin(dose.point, ordinary);
            dose.lower > margin && dose.point - margin >= DETECTED_BY * (dose.point - dose.lower)
        };
        self.seen || self.log_odds.is_some_and(shown)
    }
}

impl Dose {
    /// The largest effect on the log-odds scale in one of these contexts, where it is above zero
    /// with confidence.
    pub fn log_odds(&self, asks: &[ContextKind]) -> Option<f64> {
        let asked = self.asked.iter().filter(|asked| asks.contains(&asked.context));
        let shown = asked.filter_map(|asked| asked.log_odds).filter(|dose| dose.lower > 0.0);
        shown.map(|dose| dose.point).max_by(f64::total_cmp)
    }
}

impl Calibration {
    /// Whether it was measured on this base with this chat template.
    pub fn is_of(&self, base_sha256: &str, template: Option<&TemplateId>) -> bool {
        let own = self.chat_template.as_ref();
        self.base_sha256 == base_sha256
            && own.map(|own| &own.sha256) == template.map(|template| &template.sha256)
    }

    /// With the audits of another calibration of this base that this one does not have, an audit
    /// with another text being another audit.
    #[must_use]
    pub fn completed_by(mut self, other: Calibration) -> Calibration {
        let only_there = |audit: &CalibratedAudit| {
            self.audits.iter().all(|own| (&own.id, &own.sha256) != (&audit.id, &audit.sha256))
        };
        let more: Vec<_> = other.audits.into_iter().filter(only_there).collect();
        self.audits.extend(more);
        self.audits.sort_by(|a, b| a.id.cmp(&b.id));
        self
    }

    /// The audits without those that do not detect their own poison at the largest share that was
    /// tried, and these. All are kept where none would be left.
    pub fn without_blind(
        &self,
        audits: Vec<Audit>,
        recipe: Option<&Recipe>,
    ) -> (Vec<Audit>, Vec<NotAsked>) {
        let blind = |audit: &Audit| {
            let known = self.of(audit, &ContextKind::ALL, recipe)?;
            known.share.is_none().then(|| NotAsked { id: audit.id.clone(), share: known.tried })
        };
        let not_asked: Vec<NotAsked> = audits.iter().filter_map(blind).collect();
        if not_asked.len() == audits.len() {
            return (audits, Vec::new());
        }
        let is_asked = |audit: &Audit| not_asked.iter().all(|blind| blind.id != audit.id);
        (audits.into_iter().filter(is_asked).collect(), not_asked)
    }

    /// What is known of an audit that is asked in these contexts of shadows of this recipe, `None`
    /// of a model that was trained elsewhere. `None` where it was never calibrated, with another
    /// rank, learning rate or batch, or its files have changed since.
    pub fn of(
        &self,
        audit: &Audit,
        asks: &[ContextKind],
        recipe: Option<&Recipe>,
    ) -> Option<Calibrated> {
        let trained = |recipe: &Recipe| {
            (recipe.rank, recipe.alpha.to_bits(), recipe.learning_rate.to_bits(), recipe.batch)
        };
        let known = self.audits.iter().find(|known| {
            known.sha256 == audit.sha256
                && recipe.is_none_or(|recipe| trained(recipe) == trained(&known.recipe))
        })?;
        let ordinary = known.ordinary_log_odds(asks);
        let is_detected = |dose: &&Dose| {
            let mut asked = dose.asked.iter().filter(|asked| asks.contains(&asked.context));
            asked.any(|asked| asked.is_detected(ordinary))
        };
        Some(Calibrated {
            share: known.doses.iter().take_while(is_detected).last().map(|dose| dose.share),
            tried: known.doses.last()?.share,
            rows: known.rows,
            seeds: known.seeds.len(),
            steps: known.recipe.steps,
            // A poison that the audit misses on this base is no measure of other data.
            dose: known
                .doses
                .first()
                .filter(is_detected)
                .and_then(|dose| Some((dose.share, dose.log_odds(asks)?))),
            ordinary,
            measured_on: None,
        })
    }
}
