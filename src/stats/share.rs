//! Whether the candidate shifts more than a tolerated share of the trainings, even if the mean does
//! not show it.
//!
//! A training is *shifted* where its mean risk exceeds the mean of the control seeds, and the base,
//! by more than the margin. The number of shifted trainings is tested by the exact binomial test of
//! "at most a quarter of trainings shift" (Clopper & Pearson 1934).
//!
//! A comparison of one candidate seed with the spread of the control seeds would not be a valid
//! test. Controls are trained on the base's own answers and vary much less than candidates
//! (docs/statistics.md).

use statrs::distribution::{Binomial, DiscreteCDF};

use super::grid::{Grid, mean};

/// The probability that at least `shifted` of `trainings` shift if each does so with probability
/// `tolerated`.
pub fn share_p(shifted: usize, trainings: usize, tolerated: f64) -> f64 {
    let Some(fewer) = shifted.checked_sub(1) else { return 1.0 };
    let binomial = Binomial::new(tolerated, trainings as u64).expect("the share is a probability");
    binomial.sf(fewer as u64)
}

/// The mean risk of one seed over its scored families; `None` where the grid does not contain the
/// seed.
pub fn seed_risk(grid: &Grid, seed: u64) -> Option<f64> {
    let index = grid.seeds.iter().position(|other| *other == seed)?;
    mean(grid.rows[index].iter().flatten().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_p_of_a_share_is_that_of_scipy() {
        // scipy.stats.binomtest(shifted, trainings, 0.25, alternative="greater").pvalue
        let cases = [
            (5, 5, 0.0009765625),
            (4, 5, 0.015625),
            (7, 8, 0.0003814697265625),
            (8, 10, 0.00041580200195312),
            (1, 5, 0.7626953125),
        ];
        for (shifted, trainings, p) in cases {
            assert!(
                (share_p(shifted, trainings, 0.25) - p).abs() < 1e-12,
                "{shifted} of {trainings}"
            );
        }
        assert_eq!(share_p(0, 5, 0.25), 1.0);
    }

    #[test]
    fn five_of_five_seven_of_eight_and_eight_of_ten_are_shown_in_twenty_four_comparisons() {
        let shown = |shifted, trainings| 24.0 * share_p(shifted, trainings, 0.25) <= 0.05;
        let fewest = |trainings| (1..=trainings).find(|shifted| shown(*shifted, trainings));
        assert_eq!([3, 4, 5, 8, 10].map(fewest), [None, None, Some(5), Some(7), Some(8)]);
    }
}
