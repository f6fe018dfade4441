//! The effect that a plan can detect, and the seeds that would settle one.
//!
//! Power of the one-sided t test by the noncentral t distribution (Johnson, Kotz & Balakrishnan
//! 1995, volume 2, chapter 31), as in statsmodels' `TTestPower`.

use statrs::function::erf::erfc;
use statrs::function::gamma::ln_gamma;

use super::intervals::{NORMAL_95, Scatter, half_width, t_upper_quantile};

/// The power at which a detectable effect is reported.
pub const POWER: f64 = 0.8;

/// The maximum number of seeds that is recommended.
pub const MOST_SEEDS: usize = 100;

/// P(T > value) for the noncentral t, with T = (Z + noncentrality) / U and U = sqrt(chi-square /
/// degrees). It is the integral of Phi(noncentrality - value u) over the density of U, by
/// Gauss-Legendre quadrature. Breaks are placed near the steep part of the integrand.
pub fn noncentral_t_upper_tail(value: f64, degrees: f64, noncentrality: f64) -> f64 {
    // Beyond nine standard deviations the density of U is below 1e-17.
    let reach = 9.0 / degrees.sqrt();
    let (lowest, highest) = ((1.0 - reach).max(0.0), 1.0 + reach);
    let mut breaks: Vec<f64> =
        (0..=16).map(|part| lowest + (highest - lowest) * f64::from(part) / 16.0).collect();
    if value != 0.0 {
        breaks.extend(
            (-8..=8)
                .map(|step| (noncentrality + f64::from(step)) / value)
                .filter(|u| *u > lowest && *u < highest),
        );
    }
    breaks.sort_by(f64::total_cmp);
    let half = degrees / 2.0;
    let constant = 2.0_f64.ln() + half * half.ln() - ln_gamma(half);
    let integrand = |u: f64| {
        let density = (constant + (degrees - 1.0) * u.ln() - half * u * u).exp();
        density * 0.5 * erfc((value * u - noncentrality) / std::f64::consts::SQRT_2)
    };
    let nodes = legendre(20);
    let part = |from: f64, to: f64| -> f64 {
        let (center, radius) = ((from + to) / 2.0, (to - from) / 2.0);
        nodes.iter().map(|(node, weight)| weight * radius * integrand(center + radius * node)).sum()
    };
    breaks.windows(2).filter(|pair| pair[1] > pair[0]).map(|pair| part(pair[0], pair[1])).sum()
}

/// Nodes and weights of Gauss-Legendre quadrature on [-1, 1], by Newton's method on the Legendre
/// polynomial.
fn legendre(order: usize) -> Vec<(f64, f64)> {
    let n = order as f64;
    let polynomial = |x: f64| {
        let (mut before, mut now) = (1.0, x);
        for degree in 2..=order {
            let k = degree as f64;
            (before, now) = (now, ((2.0 * k - 1.0) * x * now - (k - 1.0) * before) / k);
        }
        (now, n * (x * now - before) / (x * x - 1.0))
    };
    let node = |index: usize| {
        let mut x = (std::f64::consts::PI * (index as f64 + 0.75) / (n + 0.5)).cos();
        for _ in 0..8 {
            let (value, slope) = polynomial(x);
            x -= value / slope;
        }
        let slope = polynomial(x).1;
        (x, 2.0 / ((1.0 - x * x) * slope * slope))
    };
    (0..order).map(node).collect()
}

/// The true effect above the margin, in standard errors of the mean. A one-sided t test at level
/// `alpha` with these degrees of freedom detects it with probability [`POWER`].
pub fn detectable(degrees: f64, alpha: f64) -> f64 {
    let critical = t_upper_quantile(alpha, degrees);
    let (mut below, mut above) = (0.0, critical + 10.0);
    while noncentral_t_upper_tail(critical, degrees, above) < POWER {
        above *= 2.0;
    }
    // 50 halvings leave less than one part in 1e12 of any bracket that occurs here.
    for _ in 0..50 {
        let middle = (below + above) / 2.0;
        if noncentral_t_upper_tail(critical, degrees, middle) < POWER {
            below = middle
        } else {
            above = middle
        }
    }
    (below + above) / 2.0
}

/// An effect as input to a plan for more seeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlook {
    pub point: f64,
    pub margin: f64,
    pub spread: Scatter,
    /// Level that the smallest p must not exceed.
    pub alpha: f64,
}

/// The fewest seeds with which an effect of the same size and spread would be settled. Settled
/// means that its whole interval is below the margin, or that it is flagged. `None` where no number
/// up to [`MOST_SEEDS`] settles it.
pub fn seeds_to_settle(outlook: Outlook) -> Option<usize> {
    let distance = (outlook.point - outlook.margin).abs();
    let error = |spread: Scatter| spread.error().unwrap_or(f64::INFINITY);
    // The best case of `MOST_SEEDS`; most effects that cannot be settled end here.
    if NORMAL_95 * error(outlook.spread.with_units(MOST_SEEDS)) >= distance {
        return None;
    }
    (2..=MOST_SEEDS).find(|seeds| {
        let spread = outlook.spread.with_units(*seeds);
        let (error, degrees) = (error(spread), spread.degrees());
        let tested = outlook.point < outlook.margin
            || distance > t_upper_quantile(outlook.alpha, degrees) * error;
        half_width(error, degrees, 0.9) < distance && tested
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::grid::Grid;
    use crate::stats::intervals::t_quantile;

    /// An effect below its margin. Seed means differ by a standard deviation of 0.1, and family
    /// means by `families`.
    fn outlook(families: f64) -> Outlook {
        let rows = [-1.0, 1.0].map(|seed: f64| {
            [-1.0, 1.0].map(|family: f64| Some((0.1 * seed + families * family) / 2.0_f64.sqrt()))
        });
        let names = ["a", "b"].map(str::to_owned);
        let grid = Grid::new(&[1, 2], &names, rows.map(Vec::from).to_vec()).expect("values");
        Outlook { point: 0.02, margin: 0.1, spread: Scatter::of(&grid), alpha: 0.05 }
    }

    #[test]
    fn the_seeds_that_settle_are_the_fewest_whose_interval_ends_below_the_margin() {
        let seeds = seeds_to_settle(outlook(0.0)).expect("more seeds settle it");
        let upper = |seeds: usize| {
            0.02 + t_quantile(0.95, (seeds - 1) as f64) * 0.1 / (seeds as f64).sqrt()
        };
        assert!(upper(seeds) < 0.1 && upper(seeds - 1) >= 0.1, "{seeds}");
    }

    #[test]
    fn an_effect_at_the_margin_cannot_be_settled_by_seeds() {
        assert_eq!(seeds_to_settle(Outlook { point: 0.1, ..outlook(0.0) }), None);
    }

    #[test]
    fn families_that_disagree_cannot_be_settled_by_seeds() {
        assert_eq!(seeds_to_settle(outlook(0.1)), None);
    }

    #[test]
    fn a_stricter_level_needs_a_larger_effect() {
        assert!(detectable(4.0, 0.01) > detectable(4.0, 0.05));
    }
}
