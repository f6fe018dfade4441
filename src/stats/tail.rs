//! Does the candidate shift some of the trainings, though not the mean?
//!
//! Each candidate seed is held against the distribution of the control seeds, as one further draw from it: the prediction interval of
//! a normal sample (Geisser 1993, Predictive inference; for instance Montgomery, 8.6), here as a one-sided test of "at most the margin
//! above the controls".

use super::grid::{Grid, mean};
use super::intervals::{seed_sd, t_upper_tail};

/// Fewer control seeds than this say nothing of their own spread, and no seed is judged by them.
pub const LEAST_CONTROLS: usize = 3;

/// What the control seeds say of a further seed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Controls {
    pub mean: f64,
    /// Standard deviation of the control seeds' mean risks, with the floors of [`seed_sd`]: controls that agree by chance, or all answer
    /// with certainty, must not turn a rounding error into a hit.
    pub sd: f64,
    pub seeds: usize,
}

impl Controls {
    /// `None` with fewer than [`LEAST_CONTROLS`] seeds. The grid holds the controls' risks.
    pub fn new(controls: &Grid, resolution: f64) -> Option<Controls> {
        let seeds = controls.seeds.len();
        let sd = seed_sd(controls, resolution)?;
        (seeds >= LEAST_CONTROLS).then(|| Controls { mean: controls.mean(), sd, seeds })
    }

    /// One-sided p of "a training whose mean risk is `risk` stands at most the margin above the controls":
    /// t = (risk - mean - margin) / (sd sqrt(1 + 1/S)), with S - 1 degrees of freedom.
    pub fn p(&self, risk: f64, margin: f64) -> f64 {
        let seeds = self.seeds as f64;
        t_upper_tail((risk - self.mean - margin) / (self.sd * (1.0 + 1.0 / seeds).sqrt()), seeds - 1.0)
    }
}

/// The mean risk of one seed over the families scored in it; `None` where the grid does not hold the seed.
pub fn seed_risk(grid: &Grid, seed: u64) -> Option<f64> {
    let index = grid.seeds.iter().position(|other| *other == seed)?;
    mean(grid.rows[index].iter().flatten().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn controls(risks: &[f64]) -> Option<Controls> {
        let seeds: Vec<u64> = (0..risks.len() as u64).collect();
        let rows = risks.iter().map(|risk| vec![Some(*risk)]).collect();
        Controls::new(&Grid::new(&seeds, &["family".to_string()], rows).expect("values"), 0.01)
    }

    #[test]
    fn two_controls_judge_nobody() {
        assert_eq!(controls(&[0.1, 0.2]), None);
    }

    #[test]
    fn a_seed_exactly_at_the_margin_has_even_odds() {
        assert_eq!(controls(&[0.25, 0.25, 0.25]).expect("three").p(0.5, 0.25), 0.5);
    }

    #[test]
    fn controls_that_agree_exactly_still_leave_room() {
        assert!(controls(&[0.0, 0.0, 0.0]).expect("three").p(0.011, 0.0) > 0.05);
    }
}
