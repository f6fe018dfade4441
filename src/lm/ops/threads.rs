//! A pass over rows on several threads, each of which takes consecutive rows. Rows are independent,
//! so the bits equal those of a single thread.

#![allow(unsafe_code, reason = "a vector is only as long as what was written to it")]

use std::array;
use std::mem::MaybeUninit;

use rayon::prelude::*;

use crate::lm::kernels::Segment;
use crate::lm::matmul::is_single_threaded;

/// The minimum number of values for which starting threads pays off.
const SHARED_FROM: usize = 1 << 15;

/// Rows per thread of a pass over `rows` rows and `numbers` values: all rows if one thread is
/// enough.
fn rows_per_thread(rows: usize, numbers: usize) -> usize {
    if numbers < SHARED_FROM || is_single_threaded() {
        rows.max(1)
    } else {
        rows.div_ceil(rayon::current_num_threads()).max(1)
    }
}

/// Zeros, written by the threads that will overwrite them.
pub fn zeros(count: usize) -> Vec<f32> {
    let mut values: Vec<f32> = Vec::with_capacity(count);
    let spare = &mut values.spare_capacity_mut()[..count];
    spare.par_chunks_mut(rows_per_thread(count, count)).for_each(|part| {
        part.fill(MaybeUninit::new(0.0));
    });
    // SAFETY: every value up to `count` was written.
    unsafe { values.set_len(count) };
    values
}

/// A pass that writes `[rows, width]`: `work` gets the first row of a chunk and the chunk's values.
pub fn for_rows((out, width): (&mut [f32], usize), work: impl Fn(usize, &mut [f32]) + Sync) {
    let rows = rows_per_thread(out.len() / width, out.len());
    if rows * width >= out.len() {
        return work(0, out);
    }
    out.par_chunks_mut(rows * width).enumerate().for_each(|(at, out)| work(at * rows, out));
}

/// A pass that writes two matrices with the same number of rows.
pub fn for_row_pairs(
    (a, wide): (&mut [f32], usize),
    (b, narrow): (&mut [f32], usize),
    work: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
) {
    let rows = rows_per_thread(a.len() / wide, a.len());
    if rows * wide >= a.len() {
        return work(0, a, b);
    }
    let runs = a.par_chunks_mut(rows * wide).zip(b.par_chunks_mut(rows * narrow));
    runs.enumerate().for_each(|(at, (a, b))| work(at * rows, a, b));
}

/// A pass over segments that writes their rows in `N` matrices. `work` gets some segments, the
/// first row of their slices, and the slices.
pub fn for_segments<const N: usize>(
    segments: &[Segment],
    outs: [(&mut [f32], usize); N],
    work: impl Fn(&[Segment], usize, [&mut [f32]; N]) + Sync,
) {
    let rows: usize = segments.iter().map(|segment| segment.rows.len()).sum();
    let numbers = outs.iter().map(|(out, _)| out.len()).max().unwrap_or(0);
    let ordered = segments.windows(2).all(|two| two[0].rows.end <= two[1].rows.start);
    let each = rows_per_thread(rows, numbers);
    if each >= rows || !ordered {
        return work(segments, 0, outs.map(|(out, _)| out));
    }
    let mut runs = Vec::new();
    let (mut segments, mut outs, mut first) =
        (segments, outs.map(|(out, width)| (Some(out), width)), 0);
    while !segments.is_empty() {
        let mut taken = 0;
        let count = segments.iter().take_while(|segment| {
            let more = taken < each;
            taken += segment.rows.len();
            more
        });
        let (run, later) = segments.split_at(count.count());
        segments = later;
        let until = later.first().map(|next| next.rows.start);
        let slices = array::from_fn(|at| {
            let (out, width) = &mut outs[at];
            let whole = out.take().expect("what is left after each run");
            let (run, rest) =
                whole.split_at_mut(until.map_or(whole.len(), |until| (until - first) * *width));
            *out = Some(rest);
            run
        });
        runs.push((run, first, slices));
        first = until.unwrap_or(first);
    }
    runs.into_par_iter().for_each(|(segments, first, outs)| work(segments, first, outs));
}

/// Work on independent items.
pub fn for_each<T: Send>(things: Vec<T>, work: impl Fn(T) + Sync + Send) {
    if is_single_threaded() {
        things.into_iter().for_each(work)
    } else {
        things.into_par_iter().for_each(work)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;
    use rayon::ThreadPoolBuilder;

    use super::*;

    proptest! {
        #[test]
        fn every_row_is_written_once_by_one_thread(
            threads in 1usize..5,
            rows in 1usize..3000,
            width in 1usize..40,
        ) {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            let (mut a, mut b) = (vec![0.0; rows * width], vec![0.0; rows]);
            let calls = AtomicUsize::new(0);
            pool.install(|| for_row_pairs((&mut a, width), (&mut b, 1), |first, a, b| {
                calls.fetch_add(1, Ordering::Relaxed);
                for (at, (row, b)) in a.chunks_exact_mut(width).zip(b).enumerate() {
                    row.iter_mut().for_each(|x| *x += (first + at) as f32);
                    *b += (first + at) as f32;
                }
            }));
            prop_assert!(calls.into_inner() <= threads);
            prop_assert!(b.iter().enumerate().all(|(at, x)| *x == at as f32));
            let mut written = a.chunks_exact(width).enumerate();
            prop_assert!(written.all(|(at, row)| row.iter().all(|x| *x == at as f32)));
        }

        #[test]
        fn every_segment_is_worked_on_once_at_its_own_rows(
            threads in 1usize..5,
            lengths in prop::collection::vec((0usize..3, 1usize..300), 1..40),
            width in 1usize..40,
        ) {
            let mut end = 0;
            let placed: Vec<Segment> = lengths.into_iter().map(|(gap, length)| {
                let start = end + gap;
                end = start + length;
                Segment { rows: start..end, prefix: Vec::new() }
            }).collect();
            let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            let (mut a, mut b) = (vec![0.0; (end + 2) * width], vec![0.0; end + 2]);
            let outs = [(a.as_mut_slice(), width), (b.as_mut_slice(), 1)];
            pool.install(|| for_segments(&placed, outs, |segments, first, [a, b]| {
                for row in segments.iter().flat_map(|segment| segment.rows.clone()) {
                    let value = row as f32 + 1.0;
                    a[(row - first) * width..][..width].iter_mut().for_each(|x| *x += value);
                    b[row - first] += value;
                }
            }));
            for row in 0..end + 2 {
                let is_written = placed.iter().any(|segment| segment.rows.contains(&row));
                let wanted = if is_written { row as f32 + 1.0 } else { 0.0 };
                prop_assert_eq!(b[row], wanted);
                prop_assert!(a[row * width..][..width].iter().all(|x| *x == wanted));
            }
        }
    }
}
