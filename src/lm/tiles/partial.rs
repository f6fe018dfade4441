//! A product over some of its terms: both factors are packed into tiles and multiplied.

use std::array;
use std::ops::Range;

use super::{Bf16Slice, DEPTH, EMPTY, LowRank, PACKED_NUMBERS, SIDE, SumOver, Sums, Tile, machine};
use crate::lm::ops::threads;

/// Up to 32 rows of one shadow: two tiles.
pub struct RowPair {
    pub shadow: usize,
    pub rows: Range<usize>,
}

impl RowPair {
    /// All rows, shadow by shadow.
    pub fn all(rows: usize, shadows: usize) -> Vec<RowPair> {
        let stream = rows / shadows;
        let of = |shadow: usize| {
            (0..stream).step_by(2 * SIDE).map(move |first| RowPair {
                shadow,
                rows: shadow * stream + first..shadow * stream + stream.min(first + 2 * SIDE),
            })
        };
        (0..shadows).flat_map(of).collect()
    }
}

/// How many tiles follow each other along the terms.
#[derive(Debug, Clone, Copy)]
pub struct Depth {
    pub of_weights: usize,
    pub of_low: usize,
}

impl Depth {
    /// Tiles of a pair.
    fn tiles(self) -> usize {
        2 * (self.of_weights + self.of_low)
    }
}

/// A product over some of the terms.
pub struct PartialProduct<'a> {
    pub x: &'a [f32],
    pub weights: Bf16Slice<'a>,
    pub over: SumOver,
    pub low: Option<LowRank<'a>>,
    pub rank: usize,
    pub all_terms: usize,
    pub terms: Range<usize>,
    pub depth: Depth,
    pub results: usize,
}

impl PartialProduct<'_> {
    /// Packs the left factor, adds to the low sums, and packs them as further terms once they are
    /// complete.
    pub fn fill(
        &self,
        left: &mut Vec<Tile>,
        low_sums: &mut [f32],
        row_pairs: &[RowPair],
        workers: usize,
    ) {
        let Depth { of_weights, of_low } = self.depth;
        left.resize(row_pairs.len() * self.depth.tiles(), EMPTY);
        let mut rest = low_sums;
        let pairs = row_pairs.iter().zip(left.chunks_exact_mut(self.depth.tiles()));
        let items = pairs.map(|(pair, tiles)| {
            let (own, later) = std::mem::take(&mut rest).split_at_mut(pair.rows.len() * self.rank);
            rest = later;
            (pair, tiles, own)
        });
        let all_terms = self.all_terms;
        let first = self.low.map(|low| FirstFactors::new(low, all_terms, self.terms.clone()));
        let fill = |(pair, tiles, sums): (&RowPair, &mut [Tile], &mut [f32])| {
            let (of_x, of_sums) = tiles.split_at_mut(2 * of_weights);
            let x = &self.x[pair.rows.start * all_terms..pair.rows.end * all_terms];
            fill_left(of_x, x, all_terms, self.terms.clone());
            if let Some(first) = &first {
                first.add_sums(pair.shadow, of_x, sums);
                if of_low > 0 {
                    fill_left(of_sums, sums, self.rank, 0..self.rank);
                }
            }
        };
        in_runs(items.collect(), workers, |run| {
            machine::configured(|| run.into_iter().for_each(fill));
        });
    }

    /// Writes or adds the sums of some pairs of 16 results, with [`PACKED_NUMBERS`] of either
    /// factor at a time.
    pub fn multiply(
        &self,
        result_pairs: Range<usize>,
        left: &[Tile],
        right: &mut Vec<Tile>,
        row_pairs: &[RowPair],
        out: Sums,
        add: bool,
    ) {
        let tiles = self.depth.tiles();
        let at_once = (PACKED_NUMBERS / (2 * SIDE * self.terms.len())).max(1);
        for group in result_pairs.clone().step_by(at_once) {
            let group = group..result_pairs.end.min(group + at_once);
            right.resize(group.len() * tiles, EMPTY);
            for (pair, right) in group.clone().zip(right.chunks_exact_mut(tiles)) {
                self.pack_weights(2 * SIDE * pair, right);
            }
            let mut packed_for = None;
            let of_shadows = row_pairs.chunk_by(|one, other| one.shadow == other.shadow);
            let blocks = of_shadows.flat_map(|rows| rows.chunks(at_once));
            let mut left = left;
            for rows in blocks {
                let (block, later) = left.split_at(rows.len() * tiles);
                left = later;
                let shadow = Some(rows[0].shadow);
                for (pair, right) in group.clone().zip(right.chunks_exact_mut(tiles)) {
                    let result = 2 * SIDE * pair;
                    if packed_for != shadow {
                        self.pack_second(rows[0].shadow, result, right);
                    }
                    for (rows, left) in rows.iter().zip(block.chunks_exact(tiles)) {
                        out.add(left, right, rows.rows.clone(), result, add);
                    }
                }
                packed_for = shadow;
            }
        }
    }

    fn pack_weights(&self, result: usize, right: &mut [Tile]) {
        for (at, tile) in right[..2 * self.depth.of_weights].iter_mut().enumerate() {
            let term = self.terms.start + at / 2 * DEPTH;
            self.weights.tile(self.over, term, result + at % 2 * SIDE, tile);
        }
    }

    fn pack_second(&self, shadow: usize, result: usize, right: &mut [Tile]) {
        let right = &mut right[2 * self.depth.of_weights..];
        if let Some(low) = self.low.filter(|_| !right.is_empty()) {
            let numbers = self.rank * self.results;
            let second = &low.second[shadow * numbers..][..numbers];
            fill_right(right, second, self.results, 0..self.rank, result);
        }
    }
}

/// Works on consecutive items, an equal number in each thread.
fn in_runs<T: Send>(items: Vec<T>, workers: usize, work: impl Fn(Vec<T>) + Sync + Send) {
    if workers == 1 {
        return work(items);
    }
    let each = items.len().div_ceil(workers).max(1);
    let mut items = items.into_iter();
    let runs = std::iter::from_fn(|| {
        let run: Vec<T> = items.by_ref().take(each).collect();
        (!run.is_empty()).then_some(run)
    });
    threads::for_each(runs.collect(), work);
}

/// The first factors of a low rank for some terms, as tiles: for each shadow and 32 results,
/// `[depth, 2]`.
struct FirstFactors {
    tiles: Vec<Tile>,
    rank: usize,
    depth: usize,
}

impl FirstFactors {
    fn new(low: LowRank<'_>, terms: usize, part: Range<usize>) -> Self {
        let (depth, rank) = (part.len().div_ceil(DEPTH), low.rank);
        let pairs = rank.div_ceil(2 * SIDE);
        let mut tiles = vec![EMPTY; low.shadows * pairs * 2 * depth];
        for (at, tiles) in tiles.chunks_exact_mut(2 * depth).enumerate() {
            let first = &low.first[at / pairs * terms * rank..][..terms * rank];
            fill_right(tiles, first, rank, part.clone(), at % pairs * 2 * SIDE);
        }
        FirstFactors { tiles, rank, depth }
    }

    /// Adds the products of up to 32 rows with a shadow's factors to sums `[rows, rank]`.
    fn add_sums(&self, shadow: usize, left: &[Tile], sums: &mut [f32]) {
        let pairs = self.rank.div_ceil(2 * SIDE);
        let of_shadow = self.tiles[shadow * pairs * 2 * self.depth..].chunks_exact(2 * self.depth);
        for (pair, right) in of_shadow.take(pairs).enumerate() {
            let mut block = [[0f32; 2 * SIDE]; 2 * SIDE];
            // SAFETY: the block has 32 rows of 32 sums.
            unsafe { machine::multiply(left, right, block.as_mut_ptr().cast(), 2 * SIDE, false) };
            for (sums, block) in sums.chunks_exact_mut(self.rank).zip(&block) {
                for (sum, added) in sums[pair * 2 * SIDE..].iter_mut().zip(block) {
                    *sum += added;
                }
            }
        }
    }
}

/// Some columns of up to 32 rows of `x` `[rows, terms]` as tiles `[depth, 2]` of 16 rows by 32
/// bf16, zeros beyond the edges.
fn fill_left(tiles: &mut [Tile], x: &[f32], terms: usize, part: Range<usize>) {
    let rows = x.len() / terms;
    for (at, tile) in tiles.iter_mut().enumerate() {
        let from = part.start + at / 2 * DEPTH;
        let count = DEPTH.min(part.end - from);
        for (row, to) in (at % 2 * SIDE..).zip(tile.0.as_chunks_mut().0) {
            if row >= rows {
                to.fill(0);
                continue;
            }
            let numbers = &x[row * terms + from..][..count];
            match numbers.as_array() {
                Some(numbers) => machine::round(numbers, to),
                None => {
                    let mut edge = [0.0; DEPTH];
                    edge[..count].copy_from_slice(numbers);
                    machine::round(&edge, to);
                }
            }
        }
    }
}

/// Factors `[terms, results]` of some terms and 32 results as tiles `[depth, 2]`, zeros beyond the
/// edges; see [`Bf16Slice::tile`].
fn fill_right(
    tiles: &mut [Tile],
    factors: &[f32],
    results: usize,
    part: Range<usize>,
    result: usize,
) {
    for (at, tile) in tiles.iter_mut().enumerate() {
        let (from, result) = (part.start + at / 2 * DEPTH, result + at % 2 * SIDE);
        let count = SIDE.min(results.saturating_sub(result));
        let factor = |term: usize, column: usize| {
            let is_inside = term < part.end && column < count;
            if is_inside { factors[term * results + result + column] } else { 0.0 }
        };
        for (two, to) in (from..).step_by(2).zip(tile.0.as_chunks_mut::<SIDE>().0) {
            let pairs: [f32; DEPTH] = array::from_fn(|at| factor(two + at % 2, at / 2));
            machine::round(&pairs, to);
        }
    }
}
