//! Intervals and tests for the mean of a grid, in which every training seed answers every family.
//!
//! Both are samples: other trainings and other questions would have been as good. The variance of
//! the mean is that of seed means / seeds plus that of family means / families, with
//! Satterthwaite's degrees of freedom (Satterthwaite 1946, An approximate distribution of estimates
//! of variance components). Deviation: the residual variance / cells is in both terms and is not
//! subtracted once, so that the error is never below either term's own.

use statrs::distribution::{Continuous, ContinuousCDF, StudentsT};

use super::grid::{Grid, variance};
use super::{Estimate, Unit};

/// The limits of a scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    pub lowest: f64,
    pub highest: f64,
    /// Two-sided level of the interval.
    pub level: f64,
}

/// A part of the variance of a mean, with its degrees of freedom.
#[derive(Debug, Clone, Copy, PartialEq)]
struct VariancePart {
    variance: f64,
    degrees: f64,
}

/// How well the mean of a grid is known. A part is `None` where there is one unit, or one family.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scatter {
    units: Option<VariancePart>,
    families: Option<VariancePart>,
}

impl Scatter {
    pub fn of(grid: &Grid) -> Scatter {
        let part = |means: &[f64]| {
            let count = means.len() as f64;
            Some(VariancePart { variance: variance(means)? / count, degrees: count - 1.0 })
        };
        Scatter { units: part(&grid.seed_means()), families: part(&grid.family_means()) }
    }

    /// The same scatter, with the mean over another number of units.
    #[must_use]
    pub fn with_units(self, count: usize) -> Scatter {
        let count = count as f64;
        let part = |of: VariancePart| VariancePart {
            variance: of.variance * (of.degrees + 1.0) / count,
            degrees: count - 1.0,
        };
        Scatter { units: self.units.map(part), ..self }
    }

    /// Whether it says anything about other units.
    pub fn is_over_units(self) -> bool {
        self.units.is_some()
    }

    fn parts(self) -> impl Iterator<Item = VariancePart> {
        self.units.into_iter().chain(self.families)
    }

    /// The standard error of the mean; `None` for a single value.
    pub fn error(self) -> Option<f64> {
        self.parts().map(|part| part.variance).reduce(|a, b| a + b).map(f64::sqrt)
    }

    /// The fewest degrees of freedom that any scatter of such a grid has; 0 for a single value.
    pub fn least_degrees(self) -> f64 {
        self.parts().map(|part| part.degrees).reduce(f64::min).unwrap_or(0.0)
    }

    /// Satterthwaite's degrees of freedom; 0 for a single value.
    pub fn degrees(self) -> f64 {
        let whole: f64 = self.parts().map(|part| part.variance).sum();
        let parts: f64 = self.parts().map(|part| part.variance.powi(2) / part.degrees).sum();
        if parts > 0.0 { whole.powi(2) / parts } else { self.least_degrees() }
    }
}

/// An interval of the mean at the scale's level, within the scale. It contains the point. For a
/// single value it is the whole scale.
///
/// One seed gives no information on other seeds. Then only families are a sample, and `method`
/// says so.
pub fn estimate(unit: Unit, grid: &Grid, scale: Scale) -> Estimate {
    let (point, spread) = (grid.mean(), Scatter::of(grid));
    let (units, families) = (grid.seeds.len(), grid.families.len());
    let method = match unit {
        Unit::Family => format!("t over {units} families, for one given adapter"),
        Unit::Training if spread.is_over_units() && families == 1 => {
            format!("t over {units} seeds")
        }
        Unit::Training if spread.is_over_units() => {
            format!("t over {units} seeds x {families} families, crossed")
        }
        Unit::Training => {
            format!("t over {families} families; with one seed, it does not cover other seeds")
        }
    };
    let half = spread.error().map(|error| half_width(error, spread.degrees(), scale.level));
    let within = |end: Option<f64>, else_: f64| {
        end.map_or(else_, |end| end.clamp(scale.lowest, scale.highest))
    };
    let lower = within(half.map(|half| point - half), scale.lowest).min(point);
    let upper = within(half.map(|half| point + half), scale.highest).max(point);
    Estimate { point, lower, upper, level: scale.level, n: units, method }
}

/// One-sided t test of "the mean is at most the margin"; 1 for one unit, which says nothing about
/// others.
pub fn p_above(point: f64, spread: Scatter, margin: f64) -> f64 {
    match spread.error() {
        Some(error) if spread.is_over_units() && error > 0.0 => {
            t_upper_tail((point - margin) / error, spread.degrees())
        }
        // All values are equal.
        Some(_) if spread.is_over_units() && point > margin => 0.0,
        _ => 1.0,
    }
}

/// Half the width of a t interval at this level.
pub fn half_width(error: f64, degrees: f64, level: f64) -> f64 {
    t_quantile((1.0 + level) / 2.0, degrees) * error
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
