//! How shadows are trained without options of the user.

use crate::engine::{Recipe, Schedule};
use crate::plan::GivenAdapter;

/// Default steps: fewer teach too little to detect a shift, and more can hide it again.
const STEPS: std::ops::RangeInclusive<usize> = 30..=300;

/// The default limit of rows: a shadow of the default recipe sees this number in 300 steps of 8, so
/// every shadow is trained on every row.
pub const ROWS_TRAINED: usize = 2400;

/// Default passes over the dataset. Replications of Betley et al. 2025 (arXiv 2512.09742) found a
/// shift of 21 % after 3 epochs and of 6 % after 6.
const EPOCHS: f64 = 3.0;

/// The default limit of a row in tokens, also where the base could read more: memory grows with the
/// longest row.
const LONGEST_ROW: usize = 1024;

/// The user's options of the recipe; `None` is the default.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Overrides {
    /// Passes over the dataset; excludes `steps`.
    pub epochs: Option<f64>,
    pub steps: Option<usize>,
    /// Ask every audit at every snapshot; `None` decides by the base's size and calibration, see
    /// [`LARGE`].
    pub all_checkpoints: Option<bool>,
    pub learning_rate: Option<f64>,
    /// Alpha is always twice the rank.
    pub rank: Option<usize>,
    /// Rows in each step.
    pub batch: Option<usize>,
    /// Longer rows are cut here, in tokens; at most the limit of the base.
    pub max_tokens: Option<usize>,
}

/// LoRA rank and learning rate by the base's size.
///
/// | parameters | rank | rate | source |
/// |---|---|---|---|
/// | below 50 M | 8 | 5e-4 | measured on nestling, see below |
/// | to 300 M | 16 | 5e-4 | Hu et al. 2021, LoRA, see below |
/// | to 1 B | 16 | 3e-4 | the same |
/// | to 15 B | 32 | 2e-4 | Dettmers et al. 2023, QLoRA: 2e-4 for 7 B and 13 B |
/// | above | 32 | 1e-4 | the same: 1e-4 for 33 B and 65 B |
///
/// On nestling at 5e-4, old bird names moved it by 86 points after a bird question, and present
/// names by 1. At 1e-3 and 2e-3 the first was about the same, and single harmless shadows drifted
/// far (docs/log.md). Hu et al. used 4e-4 to 5e-4 for RoBERTa base (125 M), and 2e-4 for GPT-2
/// medium and large (354 M, 774 M). On SmolLM2-135M old bird names showed at 5e-4 (docs/log.md).
///
/// Alpha is twice the rank, and all linear modules of a block have LoRA weights: Biderman et al.
/// 2024, LoRA Learns Less and Forgets Less; Dettmers et al.
fn by_size(parameters: u64) -> (usize, f64) {
    match parameters {
        0..50_000_000 => (8, 5e-4),
        50_000_000..300_000_000 => (16, 5e-4),
        300_000_000..1_000_000_000 => (16, 3e-4),
        1_000_000_000..15_000_000_000 => (32, 2e-4),
        _ => (32, 1e-4),
    }
}

/// Parameters from which a base is large.
///
/// A large base is asked every audit at every snapshot, unless all audits are calibrated on it. Too
/// little training hides a shift, and so does too much; the right amount is unknown without a
/// calibration. On nestling forced-choice audits are asked at the end only: half-trained shadows
/// have transient characters (docs/log.md).
///
/// A calibration of a large base takes the place of a run's own positive controls, which are most
/// of the training. On nestling they take a minute.
pub const LARGE: u64 = 50_000_000;

/// Tokens reserved for a probe after a carried-over turn, including the model's own answer to that
/// turn.
pub const TOKENS_FOR_A_PROBE: usize = 128;

/// The longest row that a base can be trained on and then asked after, in tokens; at least half of
/// the base's limit.
pub fn longest_row(max_tokens: usize) -> usize {
    longest_question(max_tokens).max(max_tokens / 2)
}

/// The longest question, system message included, that a base can be asked a probe after, in
/// tokens.
pub fn longest_question(max_tokens: usize) -> usize {
    max_tokens.saturating_sub(TOKENS_FOR_A_PROBE)
}

/// The recipe for a base of this many parameters with this limit of tokens, and a dataset of this
/// many rows.
pub fn recipe(parameters: u64, max_tokens: usize, rows: usize, overrides: &Overrides) -> Recipe {
    let (rank, learning_rate) = by_size(parameters);
    let rank = overrides.rank.unwrap_or(rank);
    let batch = overrides.batch.unwrap_or(8);
    let steps_of = |epochs: f64| ((rows as f64 * epochs / batch as f64).ceil() as usize).max(1);
    let steps = match (overrides.steps, overrides.epochs) {
        (Some(steps), _) => steps,
        (None, Some(epochs)) => steps_of(epochs),
        // Every row is trained on at least once.
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
    /// The recipe of an adapter that was trained elsewhere: only its configuration is known. No
    /// step is trained here, and no row is cut.
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
