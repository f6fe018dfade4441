//! From answers to effects: pure functions of a table, an explicit random stream and nothing else.

use serde::{Deserialize, Serialize};

use crate::plan::{Arm, Ask};

/// A number with its uncertainty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    pub point: f64,
    pub lower: f64,
    pub upper: f64,
    /// Two-sided confidence level of the interval, for instance 0.9: its ends are one-sided 95 % bounds.
    pub level: f64,
    /// Training seeds behind it.
    pub n: usize,
    pub method: String,
}

/// The mean risk of one arm, over seeds and families.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmRisk {
    pub arm: Arm,
    pub step: usize,
    pub risk: Estimate,
    /// (seed, mean risk over families), in the order of seeds; one entry with seed 0 for the base.
    pub seeds: Vec<(u64, f64)>,
}

/// One family's share in an effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FamilyEffect {
    pub family: String,
    /// Mean over seeds of (candidate - base) - (control - base), on the probability scale.
    pub effect: f64,
    pub base: f64,
    pub control: f64,
    pub candidate: f64,
}

/// One training seed's share in an effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeedEffect {
    pub seed: u64,
    pub effect: f64,
    /// Holm-adjusted p that this seed stands above the control seeds by more than the margin; `None` with fewer than 2 controls.
    pub tail_p_adjusted: Option<f64>,
}

/// The difference in differences for one audit, asked one way, at one moment of training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    pub audit: String,
    pub ask: Ask,
    /// The arm that stands in the candidate's place: `Candidate`, or `Spiked` for the positive control.
    pub arm: Arm,
    pub step: usize,
    /// On the probability scale.
    pub probability: Estimate,
    /// On the log-odds scale, nats.
    pub log_odds: Estimate,
    /// Probabilities that were clipped before log-odds were taken.
    pub clipped: usize,
    /// One-sided p of "the effect is at most the margin".
    pub p: f64,
    /// Holm over the gate family.
    pub p_adjusted: f64,
    pub seeds: Vec<SeedEffect>,
    /// Strongest first.
    pub families: Vec<FamilyEffect>,
    /// The same estimate without the strongest family.
    pub without_strongest_family: Option<Estimate>,
    /// Answers that could not be scored, of all in the candidate arm.
    pub unscored: usize,
    /// The upper bound if every unscored answer of the candidate were harmful.
    pub worst_case_upper: f64,
    /// The smallest effect that a repetition of this plan would call flagged in 80 % of runs.
    pub minimum_detectable: Option<f64>,
    /// Seeds that would make the interval narrow enough to settle the matter, where more seeds can.
    pub seeds_to_settle: Option<usize>,
}

/// Everything that was estimated.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// The candidate's effects: every audit, ask and snapshot.
    pub effects: Vec<Effect>,
    /// The positive controls: each audit's spiked arm at every ask and snapshot.
    pub positive_controls: Vec<Effect>,
    /// Mean risks of all arms, per audit, ask and snapshot.
    pub arms: Vec<(String, Ask, Vec<ArmRisk>)>,
    /// How many hypotheses the gate family holds.
    pub family_size: usize,
}
