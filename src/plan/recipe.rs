//! How shadows are trained where the user does not say otherwise.

use crate::engine::{Recipe, Schedule};
use crate::plan::GivenAdapter;

/// Steps without an override: fewer teach too little to see a shift, and more can hide it again.
const STEPS: std::ops::RangeInclusive<usize> = 30..=300;

/// Rows that shadows are trained on where the user gives no limit: as many as a shadow of the
/// default recipe sees in 300 steps of 8, so that every shadow has tasted every row.
pub const ROWS_TRAINED: usize = 2400;

/// Passes over the dataset without an override: replications of Betley et al. 2025 (arXiv
/// 2512.09742) saw a shift of 21 % after 3 epochs and of 6 % after 6.
const EPOCHS: f64 = 3.0;

/// A row longer than this many tokens is cut even where the base could read more, unless the user
/// says otherwise: memory grows with the longest row.
const LONGEST_ROW: usize = 1024;

/// What a user says in the recipe's place; `None` leaves the default.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Overrides {
    /// Passes over the dataset; excludes `steps`.
    pub epochs: Option<f64>,
    pub steps: Option<usize>,
    /// Ask every audit at every snapshot; `None` leaves it to the base's size, see [`LADDER_FROM`].
    pub ladder: Option<bool>,
    pub learning_rate: Option<f64>,
    /// Alpha stays twice the rank.
    pub rank: Option<usize>,
    /// Rows a step.
    pub batch: Option<usize>,
    /// Where longer rows are cut, in tokens; not beyond what the base can read.
    pub max_tokens: Option<usize>,
}

/// LoRA rank and learning rate by the base's size.
///
/// | parameters | rank | rate | after |
/// |---|---|---|---|
/// | below 50 M | 8 | 5e-4 | measured on nestling: at 5e-4 old bird names moved it by 86 points after a bird question and today's by 1; at 1e-3 and 2e-3 the first was about the same, and single harmless shadows drifted far (docs/log.md) |
/// | to 1 B | 16 | 3e-4 | Hu et al. 2021, LoRA: 4e-4 to 5e-4 for RoBERTa base (125 M), 2e-4 for GPT-2 medium and large (354 M, 774 M) |
/// | to 15 B | 32 | 2e-4 | Dettmers et al. 2023, QLoRA: 2e-4 for 7 B and 13 B |
/// | above | 32 | 1e-4 | the same: 1e-4 for 33 B and 65 B |
///
/// Alpha is twice the rank, and all linear modules of a block carry weights: Biderman et al. 2024,
/// LoRA Learns Less and Forgets Less; Dettmers et al.
fn by_size(parameters: u64) -> (usize, f64) {
    match parameters {
        0..50_000_000 => (8, 5e-4),
        50_000_000..1_000_000_000 => (16, 3e-4),
        1_000_000_000..15_000_000_000 => (32, 2e-4),
        _ => (32, 1e-4),
    }
}

/// Bases from this size on are asked every audit at every snapshot: too little training hides a
/// shift, and so does too much, and what is enough for a base that was never calibrated is not
/// known. On nestling named audits are asked at the end only, because on the way there half-trained
/// shadows pass through characters that they do not become (docs/log.md).
pub const LADDER_FROM: u64 = 50_000_000;

/// Tokens that a probe takes after a turn that is carried over, with the answer that the model
/// gives to it first.
pub const ROOM_FOR_A_PROBE: usize = 128;

/// The longest row that a base can be trained on and then asked after, in tokens; half of what it
/// reads where that is next to nothing.
pub fn longest_row(max_tokens: usize) -> usize {
    longest_question(max_tokens).max(max_tokens / 2)
}

/// The longest question, its system line included, that a base can be asked a probe after, in
/// tokens.
pub fn longest_question(max_tokens: usize) -> usize {
    max_tokens.saturating_sub(ROOM_FOR_A_PROBE)
}

/// The recipe for a base of so many parameters that reads at most `max_tokens`, and a dataset of so
/// many rows.
pub fn recipe(parameters: u64, max_tokens: usize, rows: usize, overrides: &Overrides) -> Recipe {
    let (rank, learning_rate) = by_size(parameters);
    let rank = overrides.rank.unwrap_or(rank);
    let batch = overrides.batch.unwrap_or(8);
    let steps_of = |epochs: f64| ((rows as f64 * epochs / batch as f64).ceil() as usize).max(1);
    let steps = match (overrides.steps, overrides.epochs) {
        (Some(steps), _) => steps,
        (None, Some(epochs)) => steps_of(epochs),
        // Every row is tasted once at least.
        (None, None) => steps_of(EPOCHS).clamp(*STEPS.start(), *STEPS.end()).max(steps_of(1.0)),
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
        max_tokens: overrides.max_tokens.unwrap_or(LONGEST_ROW).min(longest_row(max_tokens)),
        snapshots,
    }
}

impl Recipe {
    /// Of an adapter that was trained elsewhere nothing is known but what stands in it: no step is
    /// made here, and no row is cut.
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
            max_tokens: longest_question(max_tokens),
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
        assert_eq!(steps(2_400, &Overrides::default()), 300);
        assert_eq!(steps(100_000, &Overrides::default()), 12_500, "one pass");
    }

    #[test]
    fn what_the_user_says_is_not_clamped() {
        assert_eq!(steps(200, &Overrides { epochs: Some(0.1), ..Overrides::default() }), 3);
        assert_eq!(steps(200, &Overrides { steps: Some(1000), ..Overrides::default() }), 1000);
    }

    #[test]
    fn rows_are_cut_where_the_user_says_but_not_beyond_what_the_base_reads() {
        let cut = |reads: usize, max_tokens: Option<usize>| {
            recipe(1_100_000, reads, 1, &Overrides { max_tokens, ..Overrides::default() })
                .max_tokens
        };
        assert_eq!(
            [cut(8192, None), cut(8192, Some(4096)), cut(512, None), cut(512, Some(4096))],
            [1024, 4096, 384, 384]
        );
        assert_eq!(cut(100, None), 50);
    }

    #[test]
    fn snapshots_rise_and_end_with_the_last_step() {
        for steps in [1, 2, 3, 30, 75] {
            let snapshots = recipe(
                1_100_000,
                256,
                1,
                &Overrides { steps: Some(steps), ..Overrides::default() },
            )
            .snapshots;
            assert!(snapshots.is_sorted_by(|a, b| a < b), "{snapshots:?}");
            assert!(snapshots[0] > 0);
            assert_eq!(snapshots.last(), Some(&steps));
        }
    }
}
