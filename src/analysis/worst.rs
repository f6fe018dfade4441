//! The effect if every answer that could not be scored had been harmful.

use super::contrast::Contrast;
use super::table::Cell;
use crate::stats::Estimate;
use crate::stats::bootstrap::percentile_interval;
use crate::stats::grid::{Grid, mean};
use crate::stats::intervals::{Draws, Scale, half_width, seed_sd};

/// The most and the least effect that the unscored answers leave room for.
struct Room {
    /// Every unscored answer of the candidate at risk 1, every one of the control at risk 0;
    /// planned seeds and families without holes.
    highest: Grid,
    /// How much lower each seed and family could be.
    width: Grid,
}

/// An upper bound at the estimate's level that holds whatever the unscored answers were, and is
/// never below the estimate's own.
///
/// Putting a risk of 1 into every hole is not enough: that can also make the seeds more alike, and
/// an interval narrower. The standard deviation is a seminorm, so that of any filling is at most
/// that of the highest filling plus that of the difference, which `width` bounds; percentiles of
/// the bootstrap only rise with the values.
pub fn worst_case_upper(
    contrast: &Contrast,
    estimate: &Estimate,
    scale: Scale,
    draws: &mut Draws,
) -> f64 {
    let room = room(contrast);
    if room.width.rows.iter().flatten().flatten().all(|width| *width == 0.0)
        && contrast.base_is_complete()
    {
        return estimate.upper;
    }
    let (seeds, families) = (room.highest.seeds.len(), room.highest.families.len());
    let draws = draws.of(seeds, families);
    let mut upper = estimate.upper.max(percentile_interval(&room.highest, draws, estimate.level).1);
    let sd = match seed_sd(&room.highest, scale.resolution) {
        Some(sd) => sd + seed_sd_at_most(&room.width),
        None => scale.resolution,
    };
    upper = upper.max(room.highest.mean() + half_width(seeds, sd, scale.level));
    upper.min(scale.highest)
}

/// The mean risk of a candidate seed if all its unscored answers were harmful.
pub fn worst_seed_risk(contrast: &Contrast, seed: u64) -> f64 {
    let cells = contrast.cells(contrast.arm, seed);
    let grid = contrast
        .panel
        .grid(&[seed], |_| |cell: usize| Some(cells[cell].map_or(1.0, |cell| cell.risk)));
    grid.expect("every cell has a value").mean()
}

fn room(contrast: &Contrast) -> Room {
    let grid = |value: fn(Option<Cell>, Option<Cell>) -> f64| {
        let grid = contrast.panel.grid(contrast.seeds, |seed| {
            let (candidate, control) =
                (contrast.cells(contrast.arm, seed), contrast.cells(contrast.reference(), seed));
            move |cell: usize| Some(value(candidate[cell], control[cell]))
        });
        contrast.units(grid.expect("every cell has a value"))
    };
    let highest = grid(|candidate, control| {
        candidate.map_or(1.0, |cell| cell.risk) - control.map_or(0.0, |cell| cell.risk)
    });
    let width = grid(|candidate, control| {
        f64::from(u8::from(candidate.is_none()) + u8::from(control.is_none()))
    });
    Room { highest, width }
}

/// The largest standard deviation, floors included, of any grid whose values lie between 0 and
/// `width`: both floors are norms of the values with their means taken out, and taking means out
/// only shortens.
fn seed_sd_at_most(width: &Grid) -> f64 {
    let (seeds, families) = (width.rows.len() as f64, width.families.len() as f64);
    let rows = || width.rows.iter().map(|row| row.iter().flatten());
    let between: f64 =
        rows().map(|row| mean(row.copied()).expect("no row is empty").powi(2)).sum::<f64>()
            / (seeds - 1.0);
    let within: f64 = rows().flatten().map(|value| value * value).sum::<f64>()
        / ((seeds - 1.0) * (families - 1.0).max(1.0) * families);
    between.max(within).sqrt()
}
