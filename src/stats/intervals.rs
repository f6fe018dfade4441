//! Intervals for the mean over training seeds.
//!
//! Student's t on the seed means with S - 1 degrees of freedom, after Miller 2024, Adding error
//! bars to evals (clustered standard errors: the seed is the cluster). The reported interval spans
//! that and the bootstrap of [`super::bootstrap`].
//!
//! Deviation: the standard deviation of the seed means has a floor, see [`seed_sd`].

use std::collections::BTreeMap;

use statrs::distribution::{Continuous, ContinuousCDF, StudentsT};

use super::bootstrap::{Resamples, percentile_interval, resamples};
use super::grid::{Grid, variance};
use super::{Estimate, Unit};

/// The limits of a scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// The smallest standard deviation of a seed mean that the probes can resolve, see
    /// [`resolution`].
    pub resolution: f64,
    pub lowest: f64,
    pub highest: f64,
    /// Two-sided level of the interval.
    pub level: f64,
}

/// Draws of the bootstrap, by the shape of the grid.
#[derive(Debug, Clone)]
pub struct Draws {
    /// Resamples for each shape.
    count: usize,
    shapes: BTreeMap<(usize, usize), Resamples>,
}

impl Draws {
    pub fn new(count: usize) -> Self {
        Draws { count, shapes: BTreeMap::new() }
    }

    /// The draws for a grid of this shape.
    pub fn of(&mut self, seeds: usize, families: usize) -> &Resamples {
        let count = self.count;
        let shape = self.shapes.entry((seeds, families));
        shape.or_insert_with(|| resamples(seeds, families, count))
    }
}

/// The rounding error of a share that is measured by n probes. At worst each probe is a yes or a
/// no, so the share has steps of 1/n. A uniform error of that width has the standard deviation 1/(n
/// sqrt 12) (Sheppard's correction).
pub fn resolution(probes: usize) -> f64 {
    1.0 / (probes.max(1) as f64 * 12.0_f64.sqrt())
}

/// The resolution of one unit's mean, where `probes` in `families` are asked: a training answers
/// all of them, a family only its own.
pub fn resolution_of(unit: Unit, probes: usize, families: usize) -> f64 {
    match unit {
        Unit::Training => resolution(probes),
        Unit::Family => resolution(probes / families.max(1)),
    }
}

/// The standard deviation of seed means, with a floor from families and probes; `None` for one
/// seed.
///
/// Few seeds can agree by chance, and then their own standard deviation is far too small. There are
/// two floors. A seed mean is a mean over families, so it varies by at least the root of residual
/// variance / families. (In the two-way layout the expected mean square of seeds is never below the
/// residual one.) It also varies by at least the resolution of the probes, so that seeds with equal
/// means do not give an interval of zero width.
pub fn seed_sd(grid: &Grid, resolution: f64) -> Option<f64> {
    let between = variance(&grid.seed_means())?;
    let within = grid.residual_variance() / grid.families.len() as f64;
    Some(between.max(within).sqrt().max(resolution))
}

/// An interval of the mean at the scale's level: the span of t on seed means and of the bootstrap,
/// clamped to the scale. It contains the point.
///
/// One seed gives no information on other seeds. Then only families are resampled, and `method`
/// says so.
pub fn estimate(grid: &Grid, scale: Scale, draws: &mut Draws) -> Estimate {
    let (point, seeds, families) = (grid.mean(), grid.seeds.len(), grid.families.len());
    let (mut lower, mut upper) = percentile_interval(grid, draws.of(seeds, families), scale.level);
    let sd = seed_sd(grid, scale.resolution);
    let half = half_width(seeds, sd.unwrap_or(scale.resolution), scale.level);
    let method = match sd {
        Some(_) => format!(
            "span of a t-interval on {seeds} seed means and a bootstrap over seeds x {families} \
             families"
        ),
        None => format!(
            "bootstrap over {families} families; with one seed, it does not cover other seeds"
        ),
    };
    lower = lower.min(point - half).max(scale.lowest).min(point);
    upper = upper.max(point + half).min(scale.highest).max(point);
    Estimate { point, lower, upper, level: scale.level, n: seeds, method }
}

/// The interval for a grid whose rows are a plan's units already, as [`Grid::by`] arranges them.
pub fn estimate_of(unit: Unit, grid: &Grid, scale: Scale, draws: &mut Draws) -> Estimate {
    match unit {
        Unit::Training => estimate(grid, scale, draws),
        Unit::Family => {
            let method = format!(
                "span of a t-interval and a bootstrap over {} families, for one given adapter",
                grid.seeds.len()
            );
            Estimate { method, ..estimate(grid, scale, draws) }
        }
    }
}

/// Half the width of the t interval at this level, of a mean over seeds with this standard
/// deviation. One seed has no degrees of freedom: then only the resolution of the probes remains,
/// taken as normal.
pub fn half_width(seeds: usize, sd: f64, level: f64) -> f64 {
    let quantile =
        if seeds > 1 { t_quantile((1.0 + level) / 2.0, (seeds - 1) as f64) } else { NORMAL_95 };
    quantile * sd / (seeds as f64).sqrt()
}

/// The 95 % quantile of the normal distribution.
pub const NORMAL_95: f64 = 1.644_853_626_951_472_7;

/// The quantile of Student's t. `share` between 0 and 1, `degrees` positive.
pub fn t_quantile(share: f64, degrees: f64) -> f64 {
    if share == 0.5 {
        return 0.0;
    }
    // The far tail of the smaller side keeps every digit; the other side follows by symmetry.
    let (tail, sign) = if share > 0.5 { (1.0 - share, 1.0) } else { (share, -1.0) };
    sign * t_upper_quantile(tail, degrees)
}

/// The value that Student's t exceeds with probability `tail`, which is below 1/2.
pub fn t_upper_quantile(tail: f64, degrees: f64) -> f64 {
    let student = student(degrees);
    let mut value = student.inverse_cdf(1.0 - tail);
    // statrs stops at about eight digits in some cases; Newton's method on its exact tail gives the
    // rest.
    for _ in 0..4 {
        value += (student.sf(value) - tail) / student.pdf(value);
    }
    value
}

/// The probability that Student's t exceeds `value`.
pub fn t_upper_tail(value: f64, degrees: f64) -> f64 {
    student(degrees).sf(value)
}

fn student(degrees: f64) -> StudentsT {
    StudentsT::new(0.0, 1.0, degrees).expect("degrees of freedom are positive")
}
