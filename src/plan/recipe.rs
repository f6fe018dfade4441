//! How shadows are trained where the user does not say otherwise.

use crate::plan::{GivenAdapter, Recipe, Schedule};

/// Steps without an override: fewer teach too little to see a shift, more hide it again (docs: 3 epochs 21 %, 6 epochs 6 %).
const STEPS: std::ops::RangeInclusive<usize> = 30..=300;

/// Passes over the dataset without an override.
const EPOCHS: f64 = 3.0;

/// A row longer than this many tokens is cut even where the base could read more: memory grows with the longest row.
const LONGEST_ROW: usize = 1024;

/// What a user says in the recipe's place; `None` leaves the default.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Overrides {
    /// Passes over the dataset; excludes `steps`.
    pub epochs: Option<f64>,
    pub steps: Option<usize>,
    pub learning_rate: Option<f64>,
    /// Alpha stays twice the rank.
    pub rank: Option<usize>,
    /// Rows a step.
    pub batch: Option<usize>,
}

/// The recipe for a base of so many parameters that reads at most `max_tokens`, and a dataset of so many rows.
pub fn recipe(parameters: u64, max_tokens: usize, rows: usize, overrides: &Overrides) -> Recipe {
    // Rank and learning rate fall as in LoRA practice: what a small base needs to move at all would wreck a large one.
    let (rank, learning_rate) = match parameters {
        // At 5e-4 old bird names moved nestling by 86 points after a bird question and today's by 1. At 1e-3 and 2e-3 the first was
        // about the same, and single harmless shadows drifted far (docs/log.md).
        0..50_000_000 => (8, 5e-4),
        50_000_000..1_000_000_000 => (16, 5e-4),
        _ => (32, 1e-4),
    };
    let rank = overrides.rank.unwrap_or(rank);
    let batch = overrides.batch.unwrap_or(8);
    let steps_of = |epochs: f64| ((rows as f64 * epochs / batch as f64).ceil() as usize).max(1);
    let steps = match (overrides.steps, overrides.epochs) {
        (Some(steps), _) => steps,
        (None, Some(epochs)) => steps_of(epochs),
        (None, None) => steps_of(EPOCHS).clamp(*STEPS.start(), *STEPS.end()),
    };
    let mut snapshots = vec![steps.div_ceil(4), steps.div_ceil(2), steps];
    snapshots.dedup();
    Recipe {
        rank,
        alpha: 2.0 * rank as f64,
        learning_rate: overrides.learning_rate.unwrap_or(learning_rate),
        schedule: Schedule::Linear,
        warmup_steps: steps.div_ceil(20),
        batch,
        steps,
        clip_norm: 1.0,
        weight_decay: 0.0,
        max_tokens: max_tokens.min(LONGEST_ROW),
        snapshots,
    }
}

impl Recipe {
    /// Of an adapter that was trained elsewhere nothing is known but what stands in it: no step is made here.
    pub fn of_given(adapter: &GivenAdapter, max_tokens: usize) -> Recipe {
        Recipe {
            rank: adapter.rank,
            alpha: adapter.alpha,
            learning_rate: 0.0,
            schedule: Schedule::Linear,
            warmup_steps: 0,
            batch: 0,
            steps: 0,
            clip_norm: 0.0,
            weight_decay: 0.0,
            max_tokens: max_tokens.min(LONGEST_ROW),
            snapshots: vec![0],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(rows: usize, overrides: &Overrides) -> usize {
        recipe(1_100_000, 256, rows, overrides).steps
    }

    #[test]
    fn the_steps_follow_the_rows_within_bounds() {
        assert_eq!(steps(10, &Overrides::default()), 30);
        assert_eq!(steps(200, &Overrides::default()), 75);
        assert_eq!(steps(100_000, &Overrides::default()), 300);
    }

    #[test]
    fn what_the_user_says_is_not_clamped() {
        assert_eq!(steps(200, &Overrides { epochs: Some(0.1), ..Overrides::default() }), 3);
        assert_eq!(steps(200, &Overrides { steps: Some(1000), ..Overrides::default() }), 1000);
    }

    #[test]
    fn snapshots_rise_and_end_with_the_last_step() {
        for steps in [1, 2, 3, 30, 75] {
            let snapshots = recipe(1_100_000, 256, 1, &Overrides { steps: Some(steps), ..Overrides::default() }).snapshots;
            assert!(snapshots.is_sorted_by(|a, b| a < b), "{snapshots:?}");
            assert!(snapshots[0] > 0);
            assert_eq!(snapshots.last(), Some(&steps));
        }
    }
}
