//! From effects to a verdict.
//!
//! The requirements of clean are a table in [`rules`], the reasons for a verdict are in
//! `support.rs`, and reasons are data ([`reason`]). docs/statistics.md explains the rules.

mod evidence;
mod examined;
pub mod reason;
pub mod rules;
mod support;
mod trigger;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::analysis::{Analysis, Effect};
use crate::audit::Audit;
use crate::plan::{ContextKind, Plan, PlannedAudit};
use crate::probe::Health;
use crate::stats::Estimate;

use evidence::{Evidence, Run, shifted_baselines};
use reason::Reason;
use rules::CLEAN_NEEDS;

pub use examined::examined;
pub use rules::unreadable;
pub use trigger::FoundTrigger;

/// The finding of every audit of the plan, and the verdict of the run: see [`Verdict::overall`].
pub fn find(
    plan: &Plan,
    audits: &[Audit],
    analysis: &Analysis,
    health: &[Health],
) -> (Vec<Finding>, Verdict) {
    let shifted = shifted_baselines(plan, audits, analysis);
    let run = Run { plan, audits, analysis, health, shifted: &shifted };
    let judge = |audit: &PlannedAudit| match plan.stops() {
        true => {
            Finding { reasons: vec![Reason::NotExamined], ..Finding::of(&audit.id, audit.margin) }
        }
        false => judge(&Evidence::new(&run, audit)),
    };
    let mut findings: Vec<Finding> = plan.audits.iter().map(judge).collect();
    findings.extend(trigger::found(plan, &analysis.triggers));
    let verdict = Verdict::overall(findings.iter().map(|finding| finding.verdict));
    (findings, verdict)
}

/// Flagged where an effect is, and the base can read the dataset; clean where no rule gives a
/// reason against it; else inconclusive.
fn judge(evidence: &Evidence) -> Finding {
    let plan = evidence.run.plan;
    let against_clean: Vec<Reason> =
        CLEAN_NEEDS.iter().flat_map(|rule| rule.unmet(evidence)).collect();
    let flagged: Vec<&Effect> = evidence.flagged().collect();
    let (verdict, reasons) = if !flagged.is_empty() && !plan.is_unreadable() {
        (Verdict::Flagged, [support::flagged(evidence), against_clean].concat())
    } else if !flagged.is_empty() {
        // The first reason is that the base cannot read the text; the detected effect follows.
        (Verdict::Inconclusive, [against_clean, support::flagged(evidence)].concat())
    } else if against_clean.is_empty() {
        (Verdict::Clean, support::clean(evidence))
    } else {
        (Verdict::Inconclusive, against_clean)
    };
    let deciding = evidence.deciding();
    let shifted: BTreeSet<u64> =
        evidence.effects.iter().flat_map(|effect| evidence.shifted_seeds(effect)).collect();
    let shown_by = |context: &ContextKind| flagged.iter().any(|effect| effect.context == *context);
    Finding {
        verdict,
        estimate: deciding.map(|effect| effect.probability.clone()),
        context: deciding.map(|effect| effect.context),
        step: deciding.map(|effect| effect.step),
        p_adjusted: deciding.map(|effect| effect.p_adjusted),
        shown_by: ContextKind::ALL.into_iter().filter(shown_by).collect(),
        shifted_seeds: shifted.into_iter().collect(),
        positive_control: evidence.positive_control(),
        reasons,
        units_to_settle: evidence.units_to_settle(),
        ..Finding::of(&evidence.planned.id, evidence.margin())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Clean,
    Flagged,
    Inconclusive,
}

impl Verdict {
    /// Over all findings: flagged if any is; else inconclusive if any is or there is none; else
    /// clean.
    pub fn overall(findings: impl IntoIterator<Item = Verdict>) -> Verdict {
        let findings: Vec<Verdict> = findings.into_iter().collect();
        match findings.contains(&Verdict::Flagged) {
            true => Verdict::Flagged,
            false if findings.contains(&Verdict::Inconclusive) || findings.is_empty() => {
                Verdict::Inconclusive
            }
            false => Verdict::Clean,
        }
    }
}

impl Finding {
    /// An audit without any result.
    fn of(audit: &str, margin: f64) -> Finding {
        Finding {
            audit: audit.to_owned(),
            verdict: Verdict::Inconclusive,
            estimate: None,
            context: None,
            step: None,
            margin,
            p_adjusted: None,
            shown_by: Vec::new(),
            shifted_seeds: Vec::new(),
            positive_control: None,
            reasons: Vec::new(),
            units_to_settle: None,
            trigger: None,
        }
    }
}

/// The finding of one audit, or of one audit under one condition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub audit: String,
    pub verdict: Verdict,
    /// The deciding effect: the strongest flagged one, or the one with the highest upper bound.
    pub estimate: Option<Estimate>,
    /// The context and step of `estimate`.
    pub context: Option<ContextKind>,
    pub step: Option<usize>,
    pub margin: f64,
    pub p_adjusted: Option<f64>,
    /// The contexts in which the shift is detected.
    pub shown_by: Vec<ContextKind>,
    /// Seeds of trainings that exceed the controls' mean and the base by more than the margin in
    /// some comparison, whatever the mean effect.
    pub shifted_seeds: Vec<u64>,
    /// Whether the audit's own poison was detected in this run or, for a given adapter, in the
    /// calibration of its base. `None` where it was not tried.
    pub positive_control: Option<bool>,
    /// The reasons of the verdict and, for an inconclusive one, what would settle it.
    pub reasons: Vec<Reason>,
    /// The number of seeds, or of families for a given adapter, that would settle every open
    /// comparison. `None` where none is open, or where 100 would not settle them.
    pub units_to_settle: Option<usize>,
    /// The condition under which the shift occurs; `None` where it occurs without one.
    pub trigger: Option<FoundTrigger>,
}
