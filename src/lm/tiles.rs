//! Matrix products on tile registers (Intel AMX): bf16 by bf16, summed in f32. An instruction adds
//! sixteen times as many products as one of the vector unit, so that a LoRA training no longer
//! waits for its frozen base.
//!
//! Activations are rounded to bf16 (to nearest, ties to even), as a GPU's products round them. One
//! thread computes a sum, in the order of its terms, so that no bit depends on the number of
//! threads.

#![allow(
    unsafe_code,
    reason = "tile instructions have no safe form; every pointer is derived from a checked slice"
)]

use std::array;
use std::cell::RefCell;
use std::ops::Range;
use std::sync::OnceLock;

use super::matmul::is_single_threaded;
use super::ops::threads;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[path = "tiles/amx.rs"]
mod machine;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[path = "tiles/none.rs"]
mod machine;
mod partial;

use partial::{Depth, PartialProduct, RowPair};

/// Rows of a tile, and columns of a tile of sums.
const SIDE: usize = 16;

/// The terms of a sum that one instruction adds: the bf16 numbers in a row of a tile.
const DEPTH: usize = 32;

/// The terms of all sums that are added before the next ones, so that what is multiplied is still
/// in the cache.
const TERMS: usize = 64 * DEPTH;

/// Numbers of either factor that are multiplied before the next ones, so that both are still in the
/// second cache: half a megabyte of bf16.
const PACKED_NUMBERS: usize = 1 << 18;

/// Minimum number of multiplications for which starting threads pays off.
const SHARED_FROM: usize = 1 << 22;

/// The content of a tile register: 16 rows of 64 bytes.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Tile([u32; SIDE * SIDE]);

const EMPTY: Tile = Tile([0; SIDE * SIDE]);

/// Whether this processor has tile registers, and the operating system lets this process use them.
pub fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(machine::permitted)
}

/// The direction in which a product sums over weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SumOver {
    /// `x W^T`
    Columns,
    /// `x W`
    Rows,
}

/// bf16 weights `[rows, columns]`, little-endian, at any address.
#[derive(Debug, Clone, Copy)]
pub struct Bf16Slice<'a> {
    bytes: &'a [u8],
    rows: usize,
    columns: usize,
}

impl<'a> Bf16Slice<'a> {
    /// # Panics
    /// Where there are not two bytes per number.
    pub fn new(bytes: &'a [u8], [rows, columns]: [usize; 2]) -> Self {
        assert_eq!(bytes.len(), 2 * rows * columns, "two bytes a number");
        Bf16Slice { bytes, rows, columns }
    }

    /// The tile of factors of terms from `term` on, for results from `result` on: its row p holds,
    /// for each of 16 results, the factors of terms 2p and 2p + 1. Zero beyond the edges.
    fn tile(&self, over: SumOver, term: usize, result: usize, tile: &mut Tile) {
        match over {
            SumOver::Columns => {
                self.with_block::<SIDE, { 2 * DEPTH }>(result, term, |block| {
                    machine::pair_columns(block, tile);
                });
            }
            SumOver::Rows => {
                self.with_block::<DEPTH, { 2 * SIDE }>(term, result, |block| {
                    machine::pair_rows(block, tile);
                });
            }
        }
    }

    /// The bytes of `ROWS` rows from a row and a column on, zero beyond the edges.
    fn with_block<const ROWS: usize, const BYTES: usize>(
        &self,
        row: usize,
        column: usize,
        work: impl FnOnce([&[u8; BYTES]; ROWS]),
    ) {
        let width = 2 * self.columns;
        let start = row * width + 2 * column;
        if row + ROWS <= self.rows && 2 * column + BYTES <= width {
            let inside = &self.bytes[start..][..(ROWS - 1) * width + BYTES];
            return work(array::from_fn(|at| {
                inside[at * width..].first_chunk().expect("the slice ends with the last row")
            }));
        }
        let count = BYTES.min(width.saturating_sub(2 * column));
        let mut edge = [[0; BYTES]; ROWS];
        for (at, to) in edge.iter_mut().enumerate().take(self.rows.saturating_sub(row)) {
            if count > 0 {
                to[..count].copy_from_slice(&self.bytes[start + at * width..][..count]);
            }
        }
        work(edge.each_ref());
    }
}

thread_local! {
    /// Memory for the tiles of both factors, which every product writes anew.
    static LEFT: RefCell<Vec<Tile>> = const { RefCell::new(Vec::new()) };
    static RIGHT: RefCell<Vec<Tile>> = const { RefCell::new(Vec::new()) };
}

/// Further terms of a product with adapted weights (LoRA): `x first` times `second` is added. Each
/// of K shadows has its own factors, and an equal share of the rows.
#[derive(Debug, Clone, Copy)]
pub struct LowRank<'a> {
    pub shadows: usize,
    pub rank: usize,
    /// `[K, terms, rank]`
    pub first: &'a [f32],
    /// `[K, rank, results]`
    pub second: &'a [f32],
}

/// `sum + x W^T` or `sum + x W`: `x` is `[R, terms]`, and the result `[R, results]`. With a low
/// rank, also `x first`, `[R, rank]`.
///
/// # Panics
/// Where the shapes do not fit together, or without [`available`].
pub fn product(
    x: &[f32],
    weights: Bf16Slice<'_>,
    over: SumOver,
    sum: Option<Vec<f32>>,
    low: Option<LowRank<'_>>,
) -> (Vec<f32>, Vec<f32>) {
    assert!(available(), "this processor has no tile registers");
    let (all_terms, results) = match over {
        SumOver::Columns => (weights.columns, weights.rows),
        SumOver::Rows => (weights.rows, weights.columns),
    };
    let rows = x.len() / all_terms;
    let (shadows, rank) = low.map_or((1, 0), |low| (low.shadows, low.rank));
    let add = sum.is_some();
    let mut sum = sum.unwrap_or_else(|| Vec::with_capacity(rows * results));
    let fits = |low: LowRank| {
        low.first.len() == shadows * all_terms * rank
            && low.second.len() == shadows * rank * results
    };
    assert!(
        rows * all_terms == x.len()
            && rows.is_multiple_of(shadows)
            && (!add || sum.len() == rows * results)
            && low.is_none_or(fits),
        "shapes do not fit together"
    );
    let out = Sums { first: sum.as_mut_ptr(), width: results };
    let shared = rows * all_terms * results >= SHARED_FROM && !is_single_threaded();
    let workers = if shared { rayon::current_num_threads() } else { 1 };
    let row_pairs = RowPair::all(rows, shadows);
    let mut low_sums = vec![0.0; rows * rank];
    let mut left = LEFT.take();
    for from in (0..all_terms).step_by(TERMS) {
        let terms = from..all_terms.min(from + TERMS);
        let depth = Depth {
            of_weights: terms.len().div_ceil(DEPTH),
            // The low sums are complete after the last terms.
            of_low: if terms.end == all_terms { rank.div_ceil(DEPTH) } else { 0 },
        };
        let part = PartialProduct { x, weights, over, low, rank, all_terms, terms, depth, results };
        part.fill(&mut left, &mut low_sums, &row_pairs, workers);
        let multiply = |result_pairs: Range<usize>| {
            let mut right = RIGHT.take();
            machine::configured(|| {
                part.multiply(result_pairs, &left, &mut right, &row_pairs, out, add || from > 0);
            });
            RIGHT.set(right);
        };
        // Two tiles of rows by two of results share what they load.
        let pairs: Vec<usize> = (0..results.div_ceil(2 * SIDE)).collect();
        // More runs than threads, because threads are not equally fast.
        let each = pairs.len().div_ceil(if workers == 1 { 1 } else { 2 * workers });
        let runs = pairs.chunks(each).map(|run| run[0]..run[0] + run.len()).collect();
        if workers == 1 {
            Vec::into_iter(runs).for_each(multiply);
        } else {
            threads::for_each(runs, multiply);
        }
    }
    LEFT.set(left);
    // SAFETY: the vector has this length, or this capacity, and then the first terms have written
    // all sums.
    unsafe { sum.set_len(rows * results) };
    (sum, low_sums)
}

/// The sums `[rows, width]` of a product, which threads write side by side in different columns.
#[derive(Clone, Copy)]
struct Sums {
    first: *mut f32,
    width: usize,
}

// SAFETY: no two threads write the same column.
unsafe impl Sync for Sums {}

impl Sums {
    /// Computes the sums of up to 32 rows, and of 32 columns or what of them is inside.
    fn add(&self, left: &[Tile], right: &[Tile], rows: Range<usize>, column: usize, add: bool) {
        let columns = (self.width - column).min(2 * SIDE);
        // SAFETY: the place lies inside the sums.
        let place = unsafe { self.first.add(rows.start * self.width + column) };
        if rows.len() == 2 * SIDE && columns == 2 * SIDE {
            // SAFETY: 32 rows of 32 sums follow the place, and no other thread writes them.
            return unsafe { machine::multiply(left, right, place, self.width, add) };
        }
        let mut edge = [[0f32; 2 * SIDE]; 2 * SIDE];
        // SAFETY: the edge has 32 rows of 32 sums.
        unsafe { machine::multiply(left, right, edge.as_mut_ptr().cast(), 2 * SIDE, false) };
        for (at, sums) in edge.iter().enumerate().take(rows.len()) {
            // SAFETY: the row and its columns lie inside the sums, and only this thread writes
            // them.
            let to = unsafe { std::slice::from_raw_parts_mut(place.add(at * self.width), columns) };
            for (to, sum) in to.iter_mut().zip(sums) {
                *to = if add { *to + sum } else { *sum };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;
    use proptest::prelude::*;
    use rand::Rng;
    use rayon::ThreadPoolBuilder;

    use super::*;
    use crate::seed::{Purpose, stream};

    fn numbers(count: usize, seed: u64) -> Vec<f32> {
        let random = &mut stream(Purpose::Test("tiles"), seed);
        (0..count).map(|_| random.random_range(-1.0f32..1.0)).collect()
    }

    /// A product and what it should be: sums in f64 of the rounded factors.
    fn both(
        [rows, terms, results]: [usize; 3],
        over: SumOver,
        add: bool,
        seed: u64,
    ) -> (Vec<f32>, Vec<f64>) {
        let shape = match over {
            SumOver::Columns => [results, terms],
            SumOver::Rows => [terms, results],
        };
        let (x, weights) = (numbers(rows * terms, seed), numbers(terms * results, seed ^ 1));
        let bytes: Vec<u8> =
            weights.iter().flat_map(|w| bf16::from_f32(*w).to_le_bytes()).collect();
        let sum = add.then(|| numbers(rows * results, seed ^ 2));
        let rounded = |x: f32| bf16::from_f32(x).to_f64();
        let wanted = (0..rows * results).map(|at| {
            let (row, result) = (at / results, at % results);
            let weight = |term: usize| match over {
                SumOver::Columns => weights[result * terms + term],
                SumOver::Rows => weights[term * results + result],
            };
            let of = (0..terms).map(|term| rounded(x[row * terms + term]) * rounded(weight(term)));
            of.sum::<f64>() + sum.as_ref().map_or(0.0, |sum| f64::from(sum[at]))
        });
        let wanted = wanted.collect();
        (product(&x, Bf16Slice::new(&bytes, shape), over, sum, None).0, wanted)
    }

    fn close((got, wanted): (Vec<f32>, Vec<f64>)) -> bool {
        got.len() == wanted.len()
            && got.iter().zip(&wanted).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-3)
    }

    proptest! {
        #[test]
        fn a_product_sums_the_rounded_factors(
            rows in 1usize..70,
            terms in 1usize..130,
            results in 1usize..100,
            over in prop_oneof![Just(SumOver::Columns), Just(SumOver::Rows)],
            add: bool,
            seed: u64,
        ) {
            prop_assume!(available());
            prop_assert!(close(both([rows, terms, results], over, add, seed)));
        }
    }

    /// The largest difference of a product with a low rank, and of its low sums, from sums in f64.
    /// The factors of a low rank, and its low sums, are rounded.
    fn low_rank_error([shadows, stream, terms, results, rank]: [usize; 5], over: SumOver) -> f64 {
        let rows = shadows * stream;
        let shape = match over {
            SumOver::Columns => [results, terms],
            SumOver::Rows => [terms, results],
        };
        let rounded = |x: &f32| bf16::from_f32(*x).to_f64();
        let random = |count, seed| -> Vec<f32> {
            numbers(count, seed).iter().map(|x| rounded(x) as f32).collect()
        };
        let (x, weights) = (random(rows * terms, 1), random(terms * results, 2));
        let first = random(shadows * terms * rank, 3);
        let second = random(shadows * rank * results, 4);
        let bytes: Vec<u8> =
            weights.iter().flat_map(|w| bf16::from_f32(*w).to_le_bytes()).collect();
        let low = LowRank { shadows, rank, first: &first, second: &second };
        let (got, low) = product(&x, Bf16Slice::new(&bytes, shape), over, None, Some(low));
        let plain = product(&x, Bf16Slice::new(&bytes, shape), over, None, None).0;
        let mut error: f64 = 0.0;
        for row in 0..rows {
            let shadow = row / stream;
            for at in 0..rank {
                let of = (0..terms).map(|term| {
                    f64::from(x[row * terms + term])
                        * f64::from(first[(shadow * terms + term) * rank + at])
                });
                error = error.max((of.sum::<f64>() - f64::from(low[row * rank + at])).abs());
            }
            for result in 0..results {
                let of = (0..rank).map(|at| {
                    rounded(&low[row * rank + at])
                        * f64::from(second[(shadow * rank + at) * results + result])
                });
                let wanted = f64::from(plain[row * results + result]) + of.sum::<f64>();
                error = error.max((wanted - f64::from(got[row * results + result])).abs());
            }
        }
        error
    }

    proptest! {
        #[test]
        fn a_low_rank_adds_the_products_of_each_shadows_factors(
            shadows in 1usize..4,
            stream in 1usize..70,
            terms in 1usize..100,
            results in 1usize..100,
            rank in 1usize..70,
            over in prop_oneof![Just(SumOver::Columns), Just(SumOver::Rows)],
        ) {
            prop_assume!(available());
            let error = low_rank_error([shadows, stream, terms, results, rank], over);
            prop_assert!(error < 1e-3, "{}", error);
        }
    }

    #[test]
    fn a_low_rank_is_added_to_long_sums_in_parts() {
        if available() {
            for over in [SumOver::Columns, SumOver::Rows] {
                let error = low_rank_error([2, 150, TERMS + 45, 70, 16], over);
                assert!(error < 1e-2, "{over:?} {error}");
            }
        }
    }

    #[test]
    fn long_sums_and_many_results_are_summed_in_parts() {
        if !available() {
            return;
        }
        for over in [SumOver::Columns, SumOver::Rows] {
            for add in [false, true] {
                assert!(close(both([37, 2 * TERMS + 45, 70], over, add, 7)), "{over:?} {add}");
                assert!(close(both([33, 300, 4100], over, add, 8)), "{over:?} {add}");
                assert!(close(both([PACKED_NUMBERS / 300 + 70, 300, 20], over, add, 9)));
            }
        }
    }

    #[test]
    fn no_bit_depends_on_the_number_of_threads() {
        if !available() {
            return;
        }
        let with = |threads: usize| {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| both([100, 700, 650], SumOver::Columns, true, 3).0)
        };
        assert!(with(1) == with(2) && with(1) == with(5));
    }

    #[test]
    fn rounding_is_that_of_half_also_of_infinities_and_of_what_is_no_number() {
        if !available() {
            return;
        }
        let mut values: [f32; DEPTH] = array::from_fn(|at| numbers(DEPTH, 4)[at]);
        values[..7].copy_from_slice(&[
            0.0,
            -0.0,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::MAX,
            1e-40,
            1.0 + 1.0 / 256.0,
        ]);
        values[30..].copy_from_slice(&[f32::NAN, f32::from_bits(0x7fff_ffff)]);
        let mut pairs = [0; SIDE];
        machine::round(&values, &mut pairs);
        let got = pairs.iter().flat_map(|pair| [*pair as u16, (pair >> 16) as u16]);
        for (value, got) in values.iter().zip(got) {
            let (wanted, got) = (bf16::from_f32(*value), bf16::from_bits(got));
            assert!(wanted.to_bits() == got.to_bits() || wanted.is_nan() && got.is_nan());
        }
    }
}
