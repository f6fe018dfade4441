//! The difference in differences of one arm against its reference: from cells to an [`Effect`].
//!
//! An effect compares each arm with the base, an interaction with the same arm under null
//! conditions; the estimator is the same. A given adapter has no control: the base is its
//! reference, and families are its units instead of seeds (see [`crate::stats::Unit`]).

use super::table::{Cell, Panel};
use super::worst::{worst_case_upper, worst_seed_risk};
use super::{Effect, FamilyEffect, LogOddsTest, SeedEffect};
use crate::plan::{Arm, LogOddsMargin, Plan};
use crate::stats::Estimate;
use crate::stats::grid::{Grid, mean};
use crate::stats::intervals::{Scale, Scatter, estimate, p_above};
use crate::stats::share::{seed_risk, share_p};

/// What the answers of an arm are compared with, before the arms are compared.
#[derive(Debug, Clone, Copy)]
pub enum Baseline<'a> {
    /// The base's answers to the same probes.
    Base,
    /// The mean of the arm's own answers under null conditions.
    Nulls(&'a [&'a Panel<'a>]),
}

/// One arm compared with the reference: one audit, in one context, at one step.
#[derive(Debug, Clone, Copy)]
pub struct Contrast<'a> {
    pub plan: &'a Plan,
    pub panel: &'a Panel<'a>,
    pub baseline: Baseline<'a>,
    /// The arm that is measured.
    pub arm: &'a Arm,
    pub step: usize,
    /// The valid seeds.
    pub seeds: &'a [u64],
}

/// An effect before its p are adjusted for the other hypotheses, with the inputs of the adjustment.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Its adjusted p are still the unadjusted ones; `minimum_detectable` and `seeds_to_settle` are
    /// not set.
    pub effect: Effect,
    pub margin: f64,
    pub spread: Scatter,
}

/// One cell of an arm and of the reference, each with its baseline; all on one scale.
#[derive(Debug, Clone, Copy)]
struct Quad {
    arm: f64,
    arm_baseline: f64,
    reference: f64,
    reference_baseline: f64,
}

impl Quad {
    fn effect(self) -> f64 {
        (self.arm - self.arm_baseline) - (self.reference - self.reference_baseline)
    }
}

impl Contrast<'_> {
    pub fn base_is_complete(&self) -> bool {
        self.cells(&Arm::Base, 0).iter().all(Option::is_some)
    }

    /// The arm's cells after `self.step` steps; see [`Panel::cells`].
    pub fn cells(&self, arm: &Arm, seed: u64) -> &[Option<Cell>] {
        self.panel.cells(arm, self.step, seed)
    }

    /// The cells that an arm's are compared with.
    pub(super) fn baseline_cells(&self, arm: &Arm, seed: u64) -> Vec<&[Option<Cell>]> {
        match self.baseline {
            Baseline::Base => vec![self.cells(&Arm::Base, seed)],
            Baseline::Nulls(panels) => {
                panels.iter().map(|panel| panel.cells(arm, self.step, seed)).collect()
            }
        }
    }

    /// The arm that the candidate is compared with.
    pub fn reference(&self) -> &'static Arm {
        self.plan.reference()
    }

    /// One row for each unit that the interval is over.
    pub fn units(&self, grid: Grid) -> Grid {
        grid.by(self.plan.unit())
    }

    /// An interval over the plan's units.
    fn estimate(&self, grid: Grid, scale: Scale) -> Estimate {
        estimate(self.plan.unit(), &self.units(grid), scale)
    }

    /// A cell counts where both arms of one seed and their baselines were scored, so that the
    /// comparison is paired.
    fn paired(&self, scale: fn(Cell) -> f64, value: fn(Quad) -> f64) -> Option<Grid> {
        self.panel.grid(self.seeds, |seed| {
            let [arm, reference] = [self.arm, self.reference()]
                .map(|arm| (self.cells(arm, seed), self.baseline_cells(arm, seed)));
            let base = self.cells(&Arm::Base, seed);
            move |cell: usize| {
                if self.panel.is_given(base[cell]) {
                    return None;
                }
                let baseline = |off: &[&[Option<Cell>]]| {
                    mean(off.iter().filter_map(|cells| cells[cell].map(scale)))
                };
                Some(value(Quad {
                    arm: scale(arm.0[cell]?),
                    arm_baseline: baseline(&arm.1)?,
                    reference: scale(reference.0[cell]?),
                    reference_baseline: baseline(&reference.1)?,
                }))
            }
        })
    }

    /// The difference in differences, one value for each seed and family.
    pub fn effect(&self, scale: fn(Cell) -> f64) -> Option<Grid> {
        self.paired(scale, Quad::effect)
    }

    /// Every scored risk of an arm, paired or not. The base would cancel here too.
    fn risks(&self, arm: &Arm) -> Option<Grid> {
        self.panel.grid(self.seeds, |seed| {
            let cells = self.cells(arm, seed);
            move |cell: usize| Some(cells[cell]?.risk)
        })
    }

    fn count(&self, arm: &Arm, which: impl Fn(Option<Cell>) -> bool) -> usize {
        let cells = |seed: &u64| self.cells(arm, *seed).iter().filter(|cell| which(**cell)).count();
        self.seeds.iter().map(cells).sum()
    }
}

/// The effect against the base on both scales; `None` where no cell was scored in all three arms.
pub fn measure(contrast: &Contrast) -> Option<Measured> {
    let protocol = &contrast.plan.protocol;
    let probability_scale = Scale { lowest: -1.0, highest: 1.0, level: protocol.level() };
    let grid = contrast.effect(risk)?;
    let log_grid = contrast.effect(|cell| cell.log_odds)?;

    let margin = contrast.panel.audit.margin;
    let probability = contrast.estimate(grid.clone(), probability_scale);
    let families = family_effects(contrast, &grid)?;
    let without_strongest_family = families
        .first()
        .and_then(|family| grid.without(&family.family))
        .map(|rest| contrast.estimate(rest, probability_scale));
    let spread = Scatter::of(&contrast.units(grid.clone()));
    let reference = contrast.risks(contrast.reference())?;
    let controls = reference.mean();
    let risks = contrast.risks(contrast.arm)?;
    let over_base = contrast.paired(risk, |quad| quad.arm - quad.arm_baseline)?;
    let over_controls =
        |seed| seed_risk(&risks, seed).expect("a paired seed has scored risks") - controls;
    let seed_effect = |((seed, effect), over_base)| SeedEffect {
        seed,
        effect,
        over_base,
        over_controls: over_controls(seed),
    };
    let pairs = grid.seeds.iter().copied().zip(grid.seed_means()).zip(over_base.seed_means());
    let seeds: Vec<SeedEffect> = pairs.map(seed_effect).collect();
    let shifted = seeds.iter().filter(|seed| seed.is_shifted(margin)).count();
    // A training that would be shifted if its unscored answers were harmful is not cleared by the
    // mean of the others.
    let worst_seeds = contrast.seeds.iter().map(|seed| worst_seed_risk(contrast, *seed) - controls);
    let worst_seed =
        worst_seeds.filter(|excess| *excess > margin).fold(f64::NEG_INFINITY, f64::max);
    let p = p_above(probability.point, spread, margin);
    // Clipped log-odds bound the scale.
    let widest = 2.0 * ((1.0 - protocol.clip) / protocol.clip).ln();
    let log_scale = Scale { lowest: -widest, highest: widest, ..probability_scale };
    let log_spread = Scatter::of(&contrast.units(log_grid.clone()));
    let log_odds = contrast.estimate(log_grid, log_scale);
    let is_none = |cell: Option<Cell>| cell.is_none();
    let unscored = contrast.count(contrast.arm, is_none);
    let log_odds_test = match contrast.panel.audit.log_odds_margin {
        Some(LogOddsMargin { margin, .. }) => {
            let rise = |quad: Quad| quad.arm - quad.arm_baseline;
            let over_base = contrast.paired(|cell| cell.log_odds, rise)?.mean();
            let p = p_above(log_odds.point, log_spread, margin);
            let is_complete = unscored == 0 && contrast.count(contrast.reference(), is_none) == 0;
            let worst_case_upper = if is_complete { log_odds.upper } else { log_scale.highest };
            Some(LogOddsTest { margin, over_base, worst_case_upper, p, p_adjusted: p })
        }
        None => None,
    };
    let share_p = share_p(shifted, seeds.len(), protocol.tolerated_share);
    let effect = Effect {
        audit: contrast.panel.audit.id.clone(),
        context: contrast.panel.key.context,
        arm: contrast.arm.clone(),
        step: contrast.step,
        over_base: over_base.mean(),
        reference: reference.mean(),
        log_odds,
        log_odds_test,
        clipped: contrast.count(contrast.arm, is_clipped)
            + contrast.count(contrast.reference(), is_clipped),
        p,
        p_adjusted: p,
        alpha: protocol.alpha,
        share_p,
        share_p_adjusted: share_p,
        seeds,
        families,
        without_strongest_family,
        unscored,
        worst_case_upper: worst_case_upper(contrast, &probability, probability_scale)
            .max(worst_seed),
        minimum_detectable: None,
        seeds_to_settle: None,
        probability,
    };
    Some(Measured { effect, margin, spread })
}

fn risk(cell: Cell) -> f64 {
    cell.risk
}

fn is_clipped(cell: Option<Cell>) -> bool {
    cell.is_some_and(|cell| cell.clipped)
}

/// Families, the strongest first; ties in the order of their names.
fn family_effects(contrast: &Contrast, grid: &Grid) -> Option<Vec<FamilyEffect>> {
    let means = |value: fn(Quad) -> f64| Some(contrast.paired(risk, value)?.family_means());
    let base = means(|quad| quad.arm_baseline)?;
    let candidate = means(|quad| quad.arm)?;
    let control = means(|quad| quad.reference)?;
    let effects = grid.family_means();
    let family = |index: usize| FamilyEffect {
        family: grid.families[index].clone(),
        effect: effects[index],
        base: base[index],
        control: control[index],
        candidate: candidate[index],
    };
    let mut families: Vec<FamilyEffect> = (0..grid.families.len()).map(family).collect();
    families.sort_by(|a, b| b.effect.total_cmp(&a.effect));
    Some(families)
}
