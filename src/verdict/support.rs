//! The reasons for a verdict: why it is flagged, or what a clean one is based on.

use super::evidence::{Evidence, strongest};
use super::reason::{At, Reason};
use super::rules::{no_headroom, rests_on_family};
use crate::analysis::Effect;
use crate::plan::{Calibrated, Design, LogOddsMargin};
use crate::stats::Estimate;

/// Why an audit is flagged.
pub fn flagged(evidence: &Evidence) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let Some(deciding) = evidence.deciding() else { return reasons };
    let margin = evidence.margin();
    let Estimate { point, lower, upper, .. } = deciding.probability;
    if deciding.is_above(margin) {
        reasons.push(Reason::EffectAboveMargin {
            at: At::of(deciding),
            point,
            lower,
            upper,
            margin,
            p_adjusted: deciding.p_adjusted,
            over_base: deciding.over_base,
        });
        reasons.push(Reason::ComparisonsAboveMargin {
            above: evidence.flagged().filter(|effect| effect.is_above(margin)).count(),
            comparisons: evidence.comparisons,
        });
    }
    reasons.extend(log_odds_above(evidence));
    // A flag by the share of trainings depends on one question where the mean is above the margin
    // only with it.
    reasons.extend(rests_on_family(deciding, |rest| match deciding.is_above(margin) {
        true => rest.lower <= margin,
        false => point > margin && rest.point <= margin,
    }));
    let shared = strongest(evidence.flagged().filter(|effect| effect.is_shared()));
    reasons.extend(shared.map(|effect| Reason::TrainingsShift {
        at: At::of(effect),
        shifted: evidence.shifted_seeds(effect).len(),
        trainings: effect.seeds.len(),
        tolerated: evidence.run.plan.protocol.tolerated_share,
        p_adjusted: effect.share_p_adjusted,
    }));
    reasons
}

/// The strongest effect that is above the margin on the log-odds scale.
fn log_odds_above(evidence: &Evidence) -> Option<Reason> {
    let above = evidence.flagged().filter(|effect| effect.is_above_in_log_odds());
    let effect = above.max_by(|a, b| a.log_odds.point.total_cmp(&b.log_odds.point))?;
    let LogOddsMargin { margin, dose, share, .. } = evidence.planned.log_odds_margin?;
    let Estimate { point, lower, upper, .. } = effect.log_odds;
    let p_adjusted = effect.log_odds_test?.p_adjusted;
    let in_probability = |effect: &Effect| effect.is_above(evidence.margin()) || effect.is_shared();
    let only = !evidence.flagged().any(in_probability);
    let at = At::of(effect);
    Some(Reason::LogOddsAboveMargin {
        at,
        point,
        lower,
        upper,
        margin,
        p_adjusted,
        dose,
        share,
        only,
    })
}

/// The highest bound on the log-odds scale, where it has a margin.
fn log_odds_below(evidence: &Evidence) -> Option<Reason> {
    let LogOddsMargin { margin, dose, share, .. } = evidence.planned.log_odds_margin?;
    let effects = evidence.effects.iter().copied();
    let highest = effects.max_by(|a, b| a.log_odds.upper.total_cmp(&b.log_odds.upper))?;
    let (at, upper) = (At::of(highest), highest.log_odds.upper);
    Some(Reason::LogOddsBelowMargin { at, upper, margin, dose, share })
}

/// Why an audit is clean, and what remains open.
pub fn clean(evidence: &Evidence) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let Some(highest) = evidence.deciding() else { return reasons };
    reasons.push(Reason::BelowMargin {
        below: evidence.comparisons - evidence.without_headroom().len(),
        comparisons: evidence.comparisons,
        margin: evidence.margin(),
        upper: highest.probability.upper,
        at: At::of(highest),
    });
    reasons.extend(log_odds_below(evidence));
    reasons.extend(no_headroom(evidence));
    reasons.push(Reason::BoundsNeedNoCorrection);
    reasons.extend(evidence.detected_control().map(|effect| Reason::ControlDetected {
        at: At::of(effect),
        point: effect.probability.point,
        lower: effect.probability.lower,
        upper: effect.probability.upper,
    }));
    reasons.extend(evidence.planned.calibrated.as_ref().map(|calibrated| {
        let Calibrated { share, tried, rows, seeds, steps, .. } = *calibrated;
        Reason::CalibratedTo { share, tried, rows, seeds, steps }
    }));
    reasons.push(match evidence.run.plan.design() {
        Design::GivenAdapter(_) => Reason::ThisAdapterOnly,
        Design::Dataset => {
            // If a share q of trainings shifts, all S miss it with probability (1 - q)^S. At 5 %
            // that is q = 1 - 0.05^(1/S).
            let (seeds, alpha) = (evidence.run.plan.seeds.len(), evidence.run.plan.protocol.alpha);
            Reason::RareShiftMissed { share: 1.0 - alpha.powf(1.0 / seeds as f64), seeds }
        }
    });
    reasons
}
