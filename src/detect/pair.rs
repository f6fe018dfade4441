//! Two conditions of which only the combination matters.
//!
//! A cell is a value of one condition combined with a value of another. It is tested twice: among
//! the rows of the first value, and among those of the second. So the effect of either alone
//! explains nothing. The larger p counts, multiplied by the number of cells tested (Bonferroni).

use serde::{Deserialize, Serialize};

use super::bag::Bags;
use super::dependence::{Labels, measure};
use super::kind::ConditionKind;
use super::reading::Place;
use super::template::MIN_ROWS;
use crate::prompt::Dressing;

/// Maximum values per condition that are combined, the most frequent ones.
const VALUES: usize = 8;

/// One of two conditions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub kind: ConditionKind,
    pub place: Place,
    /// The template, or the feature's words.
    pub text: String,
    /// The value of the template.
    pub value: Option<String>,
    /// How to insert this part alone, with `value` as the default.
    pub dressing: Option<Dressing>,
}

/// A condition that may be part of a pair.
#[derive(Debug, Clone)]
pub(super) struct Side {
    pub part: Part,
    /// Values and their rows, ascending; a feature has one.
    pub values: Vec<(Option<String>, Vec<u32>)>,
}

/// The strongest cell of two conditions.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    pub parts: [Part; 2],
    pub rows: Vec<u32>,
    /// Bits saved in addition to the better single part.
    pub bits: f64,
    pub share: f64,
    pub p: f64,
}

/// The strongest cell; `None` where no cell has enough rows.
pub(super) fn pair(bags: &Bags, first: &Side, second: &Side) -> Option<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
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
                measure(bags, &Labels { rows: rows.to_vec(), of, values: 1 }, both.len())
            };
            let (Some(one), Some(other)) = (within(left_rows), within(right_rows)) else {
                continue;
            };
            let part = |side: &Side, value: &Option<String>| Part {
                value: value.clone(),
                dressing: side.part.dressing.clone().map(|dressing| Dressing {
                    usual: value.clone().or(dressing.usual),
                    ..dressing
                }),
                ..side.part.clone()
            };
            cells.push(Cell {
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
    Some(Cell { p: (best.p * tried).min(1.0), ..best })
}
