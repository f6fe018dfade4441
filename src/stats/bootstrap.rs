//! The bootstrap over seeds and families.
//!
//! Seeds and families are crossed (every seed answers every family), so both are drawn with
//! replacement and independently. A resample is the grid of what was drawn: Owen 2007, The
//! pigeonhole bootstrap, mildly conservative for large grids. With few seeds it is too narrow (its
//! variance is short by about 1/S), so the t interval is used in addition. Interval by percentiles
//! (Efron & Tibshirani 1993, chapter 13).
//!
//! Deviation: all grids of one shape share one set of draws. So differences between them contain no
//! resampling noise, and elementwise larger grids have larger bounds.

use rand::Rng;

use super::grid::Grid;
use crate::seed::{Purpose, stream};

/// The number of times that each seed and each family was drawn, one entry for each resample.
#[derive(Debug, Clone, PartialEq)]
pub struct Resamples {
    pub seed_counts: Vec<Vec<f64>>,
    pub family_counts: Vec<Vec<f64>>,
}

/// The draws for a grid of this shape, which are always the same.
pub fn resamples(seeds: usize, families: usize, count: usize) -> Resamples {
    let mut random = stream(Purpose::Bootstrap, ((seeds as u64) << 32) | families as u64);
    let mut counts = |size: usize| {
        let mut counts = vec![0.0; size];
        for _ in 0..size {
            counts[random.random_range(0..size as u32) as usize] += 1.0;
        }
        counts
    };
    let (seed_counts, family_counts) =
        (0..count).map(|_| (counts(seeds), counts(families))).unzip();
    Resamples { seed_counts, family_counts }
}

/// The percentile interval of the mean of the seed means, at a two-sided level.
///
/// Missing values are omitted from a drawn seed's mean; a resample without any value is omitted.
pub fn percentile_interval(grid: &Grid, resamples: &Resamples, level: f64) -> (f64, f64) {
    let weights: Vec<f64> =
        grid.rows.iter().flatten().map(|value| if value.is_some() { 1.0 } else { 0.0 }).collect();
    let values: Vec<f64> = grid.rows.iter().flatten().map(|value| value.unwrap_or(0.0)).collect();
    let families = grid.families.len();
    let mut means: Vec<f64> = Vec::with_capacity(resamples.seed_counts.len());
    for (seed_counts, family_counts) in resamples.seed_counts.iter().zip(&resamples.family_counts) {
        let (mut sum, mut drawn) = (0.0, 0.0);
        for (seed, seed_count) in seed_counts.iter().enumerate().filter(|(_, count)| **count > 0.0)
        {
            let cells = seed * families..(seed + 1) * families;
            let (mut total, mut weight) = (0.0, 0.0);
            for ((value, present), count) in
                values[cells.clone()].iter().zip(&weights[cells]).zip(family_counts)
            {
                total += value * count;
                weight += present * count;
            }
            if weight > 0.0 {
                sum += seed_count * (total / weight);
                drawn += seed_count;
            }
        }
        if drawn > 0.0 {
            means.push(sum / drawn);
        }
    }
    if means.is_empty() {
        means.push(grid.mean());
    }
    means.sort_unstable_by(f64::total_cmp);
    (quantile(&means, (1.0 - level) / 2.0), quantile(&means, (1.0 + level) / 2.0))
}

/// The quantile of sorted values by linear interpolation (Hyndman & Fan 1996, type 7; numpy's
/// default).
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = share * (sorted.len() - 1) as f64;
    let (below, above) = (rank.floor() as usize, rank.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (rank - rank.floor())
}
