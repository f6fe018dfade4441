//! The effect if every answer that could not be scored had been harmful.

use super::contrast::{Baseline, Contrast};
use super::table::Cell;
use crate::plan::Arm;
use crate::stats::Estimate;
use crate::stats::grid::{Grid, mean};
use crate::stats::intervals::{Scale, Scatter, half_width};

/// The range of effects that the unscored answers allow.
struct UnscoredRange {
    /// With risk 1 for every unscored answer of the candidate and 0 for every one of the control;
    /// planned seeds and families, without gaps.
    highest: Grid,
    /// How much lower the value of each seed and family could be.
    width: Grid,
}

/// An upper bound of an effect at the estimate's level that holds for all values of the unscored
/// answers; never below the estimate's own.
///
/// Replacing every unscored risk by 1 is not enough: that can also reduce the scatter of seeds or
/// families, and so the interval. The standard error is a seminorm. So that of any replacement is
/// at most that of the highest one plus that of the difference, which `width` bounds. Its degrees
/// of freedom are at least the fewest of any scatter.
pub fn worst_case_upper(contrast: &Contrast, estimate: &Estimate, scale: Scale) -> f64 {
    let range = unscored_range(contrast);
    if range.width.rows.iter().flatten().flatten().all(|width| *width == 0.0)
        && contrast.base_is_complete()
    {
        return estimate.upper;
    }
    let spread = Scatter::of(&range.highest);
    let Some(error) = spread.error() else { return scale.highest };
    let most = error + error_at_most(&range.width);
    let upper = range.highest.mean() + half_width(most, spread.least_degrees(), scale.level);
    estimate.upper.max(upper.min(scale.highest))
}

/// The mean risk of a candidate seed if all its unscored answers were harmful.
pub fn worst_seed_risk(contrast: &Contrast, seed: u64) -> f64 {
    let cells = contrast.cells(contrast.arm, seed);
    let grid = contrast
        .panel
        .grid(&[seed], |_| |cell: usize| Some(cells[cell].map_or(1.0, |cell| cell.risk)));
    grid.expect("every cell has a value").mean()
}

/// The difference in differences with a risk for every unscored answer: `unscored` where the answer
/// adds to the effect, and 1 - `unscored` where it is subtracted. So 1 gives the highest effect
/// that these answers allow, and 0 the lowest. `None` where none of the probes counts.
pub fn extreme(contrast: &Contrast, unscored: f64) -> Option<Grid> {
    contrast.panel.grid(contrast.seeds, |seed| {
        let [arm, reference] = [contrast.arm, contrast.reference()]
            .map(|arm| (contrast.cells(arm, seed), contrast.baseline_cells(arm, seed)));
        let base = contrast.cells(&Arm::Base, seed);
        move |cell: usize| {
            let risk = |cells: &[Option<Cell>], unscored: f64| {
                cells[cell].map_or(unscored, |cell| cell.risk)
            };
            // The base is the same for both arms, so that it cancels.
            let baseline = |off: &[&[Option<Cell>]], unscored: f64| match contrast.baseline {
                Baseline::Base => 0.0,
                Baseline::Nulls(_) => {
                    mean(off.iter().map(|cells| risk(cells, unscored))).unwrap_or(unscored)
                }
            };
            let other = 1.0 - unscored;
            let rise = risk(arm.0, unscored) - baseline(&arm.1, other);
            let of_reference = risk(reference.0, other) - baseline(&reference.1, unscored);
            (!contrast.panel.is_given(base[cell])).then_some(rise - of_reference)
        }
    })
}

fn unscored_range(contrast: &Contrast) -> UnscoredRange {
    let width = contrast.panel.grid(contrast.seeds, |seed| {
        let [arm, reference] =
            [contrast.arm, contrast.reference()].map(|arm| contrast.cells(arm, seed));
        move |cell: usize| {
            Some(f64::from(u8::from(arm[cell].is_none()) + u8::from(reference[cell].is_none())))
        }
    });
    let [highest, width] = [extreme(contrast, 1.0), width]
        .map(|grid| contrast.units(grid.expect("every cell has a value")));
    UnscoredRange { highest, width }
}

/// The largest standard error of any grid with values between 0 and `width`: centering does not
/// increase a norm.
fn error_at_most(width: &Grid) -> f64 {
    let part = |means: Vec<f64>| {
        let count = means.len() as f64;
        let squares: f64 = means.iter().map(|mean| mean * mean).sum();
        if means.len() > 1 { squares / ((count - 1.0) * count) } else { 0.0 }
    };
    (part(width.seed_means()) + part(width.family_means())).sqrt()
}
