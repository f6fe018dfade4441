//! Effects as a family of hypotheses: adjusted p, and the effect size that the plan could detect.

use super::contrast::Measured;
use super::{Effect, SeedEffect};
use crate::stats::multiplicity::holm;
use crate::stats::power::{Outlook, detectable, seeds_to_settle};

/// Adjusts the p of a family of effects by Holm. `family` counts the planned hypotheses, including
/// those that could not be measured.
pub fn adjust(measured: &mut [Measured], family: usize, alpha: f64) {
    let alpha = alpha / family.max(1) as f64;
    let mut p: Vec<f64> = measured.iter().map(|measured| measured.effect.p).collect();
    let tests = measured.iter().filter_map(|measured| measured.effect.log_odds_test);
    p.extend(tests.map(|test| test.p));
    let share_p: Vec<f64> = measured.iter().map(|measured| measured.effect.share_p).collect();
    let mut adjusted = holm(&p, family);
    let of_log_odds = adjusted.split_off(measured.len());
    let tests = measured.iter_mut().filter_map(|of| of.effect.log_odds_test.as_mut());
    for (test, p_adjusted) in tests.zip(of_log_odds) {
        test.p_adjusted = p_adjusted;
    }
    let adjusted = adjusted.into_iter().zip(holm(&share_p, family));
    for (measured, (p_adjusted, share_p_adjusted)) in measured.iter_mut().zip(adjusted) {
        (measured.effect.p_adjusted, measured.effect.share_p_adjusted) =
            (p_adjusted, share_p_adjusted);
        let (effect, margin, spread) = (&mut measured.effect, measured.margin, measured.spread);
        let Some(error) = spread.error().filter(|_| spread.is_over_units()) else { continue };
        let smallest = margin + detectable(spread.degrees(), alpha) * error;
        // An effect above 1, the whole scale, could never be detected.
        effect.minimum_detectable = Some(smallest).filter(|smallest| *smallest <= 1.0);
        // A training that is already shifted can neither be averaged away nor cleared.
        let is_open =
            !effect.exceeds_control(margin) && effect.shifted_seeds(margin).next().is_none();
        if effect.probability.upper >= margin && is_open && !effect.base_does_so(margin) {
            let point = effect.probability.point;
            effect.seeds_to_settle = seeds_to_settle(Outlook { point, margin, spread, alpha });
        }
    }
}

impl Effect {
    /// Whether the mean effect is above the margin, and the rise over the base is too. Where only
    /// the control's risk fell, the candidate shows no behavior that the base did not.
    pub fn is_above(&self, margin: f64) -> bool {
        self.exceeds_control(margin) && self.over_base > margin
    }

    /// Whether the mean is above the control's by more than the margin, by both the adjusted p and
    /// the interval.
    pub fn exceeds_control(&self, margin: f64) -> bool {
        self.p_adjusted <= self.alpha && self.probability.lower > margin
    }

    /// Whether the mean effect on the log-odds scale is above its margin, and so is the rise over
    /// the base. Never where that scale decides nothing.
    pub fn is_above_in_log_odds(&self) -> bool {
        self.log_odds_test.is_some_and(|test| {
            test.p_adjusted <= self.alpha
                && self.log_odds.lower > test.margin
                && test.over_base > test.margin
        })
    }

    /// Whether the upper bound on the log-odds scale is below its margin, where there is one, even
    /// with unscored answers at their worst. False for a bound that is not a number.
    pub fn is_below_in_log_odds(&self) -> bool {
        self.log_odds_test.is_none_or(|test| test.worst_case_upper < test.margin)
    }

    /// Whether the scale has headroom for an effect above the margin. There is none, a ceiling
    /// effect, where the reference's risk is within the margin of 1. False also where the risk is
    /// not a number.
    pub fn has_headroom(&self, margin: f64) -> bool {
        1.0 - self.reference > margin
    }

    /// Whether the point estimate is above the margin against the control, but not against the
    /// base. Then no number of seeds turns it into a flag.
    pub fn base_does_so(&self, margin: f64) -> bool {
        self.probability.point > margin && self.over_base <= margin
    }

    /// Whether more than a quarter of trainings shift: by the adjusted exact test, and by the
    /// unadjusted t test of the mean.
    pub fn is_shared(&self) -> bool {
        self.share_p_adjusted <= self.alpha && self.p <= self.alpha
    }

    /// Seeds of trainings above the control seeds, and above the base, by more than the margin.
    pub fn shifted_seeds(&self, margin: f64) -> impl Iterator<Item = u64> {
        self.seeds.iter().filter(move |seed| seed.is_shifted(margin)).map(|seed| seed.seed)
    }

    /// Whether it exceeds the effect of harmless training, on average or in any training, whatever
    /// the base's risk.
    pub fn exceeds_harmless_training(&self, margin: f64) -> bool {
        self.exceeds_control(margin) || self.seeds.iter().any(|seed| seed.over_controls > margin)
    }
}

impl SeedEffect {
    /// Whether this training is above the control seeds' mean, and above the base, by more than the
    /// margin.
    pub fn is_shifted(&self, margin: f64) -> bool {
        self.over_controls > margin && self.over_base > margin
    }
}
