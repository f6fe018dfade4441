//! Many hypotheses at once.

/// Holm's step-down adjustment (Holm 1979, A simple sequentially rejective multiple test
/// procedure), in the order of `p`.
///
/// `family` is the number of planned hypotheses. Where it exceeds `p.len()`, the missing ones count
/// as p = 1. So a failed test never makes the threshold of another one less strict.
pub fn holm(p: &[f64], family: usize) -> Vec<f64> {
    let hypotheses = family.max(p.len());
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut adjusted = vec![1.0; p.len()];
    let mut highest: f64 = 0.0;
    for (rank, index) in order.into_iter().enumerate() {
        highest = highest.max((p[index] * (hypotheses - rank) as f64).min(1.0));
        adjusted[index] = highest;
    }
    adjusted
}

/// The step-up adjustment of Benjamini and Hochberg (1995, Controlling the false discovery rate),
/// in the order of `p`.
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*b].total_cmp(&p[*a]));
    let mut adjusted = vec![1.0; p.len()];
    let mut lowest: f64 = 1.0;
    for (above, index) in order.into_iter().enumerate() {
        let rank = p.len() - above;
        lowest = lowest.min(p[index] * p.len() as f64 / rank as f64);
        adjusted[index] = lowest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn false_discoveries_are_adjusted_step_up() {
        // statsmodels.stats.multitest.multipletests([0.01, 0.04, 0.03, 0.005, 0.5],
        // method="fdr_bh")
        let adjusted = benjamini_hochberg(&[0.01, 0.04, 0.03, 0.005, 0.5]);
        let expected = [0.025, 0.05, 0.05, 0.025, 0.5];
        assert!(
            adjusted.iter().zip(expected).all(|(ours, theirs)| (ours - theirs).abs() < 1e-12),
            "{adjusted:?}"
        );
        assert!(benjamini_hochberg(&[]).is_empty());
    }

    #[test]
    fn hypotheses_that_could_not_be_tested_still_count() {
        assert_eq!(holm(&[0.25], 3), vec![0.75]);
    }

    #[test]
    fn one_hypothesis_needs_no_adjustment() {
        assert_eq!(holm(&[0.25], 1), vec![0.25]);
    }
}
