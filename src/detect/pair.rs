//! Two conditions of which only the combination matters.
//!
//! A cell is a value of one condition combined with a value of another. It is tested twice: among
//! the rows of the first value, and among those of the second. So the effect of either alone
//! explains nothing. The larger p counts, multiplied by the number of cells tested (Bonferroni).

use serde::{Deserialize, Serialize};

use super::dependence::{Labels, measure};
use super::example::Location;
use super::kind::ConditionKind;
use super::template::MIN_ROWS;
use super::word_set::WordSets;
use crate::prompt::Insertion;

/// Maximum values per condition that are combined, the most frequent ones.
const VALUES: usize = 8;

/// One of two conditions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub kind: ConditionKind,
    pub location: Location,
    /// The template, or the feature's words.
    pub text: String,
    /// The value of the template.
    pub value: Option<String>,
    /// How to insert this part alone, with `value` as the default.
    pub insertion: Option<Insertion>,
}

/// A condition that may be part of a pair.
#[derive(Debug, Clone)]
pub(super) struct PairSide {
    pub part: Part,
    /// Values and their rows, ascending; a feature has one.
    pub values: Vec<(Option<String>, Vec<u32>)>,
}

/// The strongest cell of two conditions.
#[derive(Debug, Clone)]
pub(super) struct PairCell {
    pub parts: [Part; 2],
    pub rows: Vec<u32>,
    /// Bits saved in addition to the better single part.
    pub bits: f64,
    pub share: f64,
    pub p: f64,
}

/// The strongest cell; `None` where no cell has enough rows.
pub(super) fn pair(word_sets: &WordSets, first: &PairSide, second: &PairSide) -> Option<PairCell> {
    let mut cells: Vec<PairCell> = Vec::new();
    for (left, left_rows) in first.values.iter().take(VALUES) {
        for (right, right_rows) in second.values.iter().take(VALUES) {
            let both: Vec<u32> = left_rows
                .iter()
                .copied()
                .filter(|row| right_rows.binary_search(row).is_ok())
                .collect();
            if both.len() < MIN_ROWS {
                continue;
            }
            let within = |rows: &[u32]| {
                let of =
                    rows.iter().map(|row| u32::from(both.binary_search(row).is_ok())).collect();
                measure(word_sets, &Labels { rows: rows.to_vec(), of, values: 1 }, both.len())
            };
            let (Some(one), Some(other)) = (within(left_rows), within(right_rows)) else {
                continue;
            };
            let part = |side: &PairSide, value: &Option<String>| Part {
                value: value.clone(),
                insertion: side.part.insertion.clone().map(|insertion| Insertion {
                    usual: value.clone().or(insertion.usual),
                    ..insertion
                }),
                ..side.part.clone()
            };
            cells.push(PairCell {
                parts: [part(first, left), part(second, right)],
                rows: both,
                bits: one.bits.min(other.bits),
                share: one.share.min(other.share),
                p: one.p.max(other.p),
            });
        }
    }
    let tried = cells.len() as f64;
    let best = cells
        .into_iter()
        .min_by(|left, right| left.p.total_cmp(&right.p).then(right.bits.total_cmp(&left.bits)))?;
    Some(PairCell { p: (best.p * tried).min(1.0), ..best })
}
