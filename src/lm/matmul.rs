//! Matrix products. burn's CPU backend zeroes every result, copies it, and only then computes it; a
//! sixth of an audit's time went there. Here the same `gemm` writes directly into the result. Other
//! devices use burn's own product.

#![allow(
    unsafe_code,
    reason = "gemm takes pointers; bounds are checked against the slices they come from"
)]

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ops::Range;

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use gemm::Parallelism;

use super::ops::threads;
use super::tensor::{from_host, host};

/// Minimum number of multiplications for which starting threads pays off; burn's CPU backend uses
/// the same bound.
const SHARED_FROM: usize = 192 * 192 * 192;

thread_local! {
    /// Whether products on this thread run without other threads.
    static SINGLE_THREADED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` with products that use only this thread. If other threads have their own work,
/// waiting for them costs more.
pub fn single_threaded<T>(work: impl FnOnce() -> T) -> T {
    let before = SINGLE_THREADED.replace(true);
    let done = work();
    SINGLE_THREADED.set(before);
    done
}

/// Whether this thread must not start others.
pub fn is_single_threaded() -> bool {
    SINGLE_THREADED.get()
}

/// `a b`: `[.., m, k]` times `[.., k, n]`, with equal leading axes.
pub fn matmul<const D: usize>(a: &Tensor<D>, b: &Tensor<D>) -> Tensor<D> {
    let (Some(left), Some(right)) = (Operand::of(a), Operand::of(b)) else {
        return a.clone().matmul(b.clone());
    };
    let mut shape = a.dims();
    shape[D - 1] = b.dims()[D - 1];
    let numbers = shape.iter().product();
    let mut out = Vec::with_capacity(numbers);
    product(&left, &right, None, out.spare_capacity_mut().as_mut_ptr().cast());
    // SAFETY: `product` has written `batch * m * n` numbers, which is the reserved length.
    unsafe { out.set_len(numbers) };
    from_host(out, shape, &a.device())
}

/// `sum + scale * a b`, where `sum` has the product's shape `[.., m, n]`. The memory of `sum` is
/// reused if it has one owner.
pub fn add_matmul<const D: usize>(
    sum: Tensor<D>,
    scale: f32,
    a: &Tensor<D>,
    b: &Tensor<D>,
) -> Tensor<D> {
    let (Some(left), Some(right)) = (Operand::of(a), Operand::of(b)) else {
        return sum + a.clone().matmul(b.clone()).mul_scalar(scale);
    };
    let (device, shape) = (sum.device(), sum.dims());
    assert_eq!(
        shape.iter().product::<usize>(),
        left.batch * left.rows * right.columns,
        "sum and product differ in shape"
    );
    let mut out = host(sum);
    product(&left, &right, Some(scale), out.as_mut_ptr());
    from_host(out, shape, &device)
}

/// A batch of matrices on the CPU.
struct Operand {
    tensor: FlexTensor,
    batch: usize,
    rows: usize,
    columns: usize,
    offset: usize,
    /// Distances between matrices, rows and columns.
    strides: [isize; 3],
}

impl Operand {
    /// `None` on another device, or if a dimension is zero.
    fn of<const D: usize>(tensor: &Tensor<D>) -> Option<Self> {
        let shape = tensor.dims();
        let tensor = tensor.clone().try_into_primitive::<Flex>().ok()?;
        let layout = tensor.layout();
        let (batch, between) = match D {
            2 => (1, 0),
            3 => (shape[0], layout.strides()[0]),
            _ => return None,
        };
        let [rows, columns] = [shape[D - 2], shape[D - 1]];
        let strides = [between, layout.strides()[D - 2], layout.strides()[D - 1]];
        let offset = layout.start_offset();
        if batch * rows * columns == 0 || strides.iter().any(|&stride| stride < 0) {
            return None;
        }
        let last = [batch, rows, columns]
            .iter()
            .zip(strides)
            .map(|(&n, stride)| (n - 1) * stride as usize)
            .sum::<usize>();
        assert!(
            offset + last < tensor.storage::<f32>().len(),
            "a tensor reaches beyond its storage"
        );
        Some(Operand { batch, rows, columns, offset, strides, tensor })
    }

    fn matrix(&self, at: usize) -> *const f32 {
        let from = self.offset + at * self.strides[0] as usize;
        self.tensor.storage::<f32>()[from..].as_ptr()
    }
}

/// Maximum rows of a product for which `gemm` reads the other matrix in place. With more rows,
/// copying it into reading order pays off.
const THIN: usize = 128;

/// Columns of such a product computed at a time, so that they are still in the cache when they are
/// transposed.
const AT_ONCE: usize = 4096;

/// Writes `a b` to `out`, or adds `scale * a b` to it: `[batch, m, n]`, row-major.
fn product(a: &Operand, b: &Operand, add: Option<f32>, out: *mut f32) {
    assert!(a.columns == b.rows && a.batch == b.batch, "matrices that do not fit together");
    let (m, k, n) = (a.rows, a.columns, b.columns);
    let shared = m * k * n >= SHARED_FROM && !is_single_threaded();
    let threads = if shared { Parallelism::Rayon(0) } else { Parallelism::None };
    // A few tokens times a weight matrix in file order: the result is computed column by column, so
    // that the weights need not be copied.
    if shared && add.is_none() && m <= THIN && b.strides[1] == 1 {
        let mut transposed: Vec<f32> = Vec::with_capacity(m * n.min(AT_ONCE));
        for (at, first) in
            (0..a.batch).flat_map(|at| (0..n).step_by(AT_ONCE).map(move |first| (at, first)))
        {
            let columns = first..n.min(first + AT_ONCE);
            // SAFETY: `transposed` has capacity for the columns, and `gemm_part` writes every
            // number. The callers reserve `batch * m * n` numbers.
            unsafe {
                gemm_part(
                    a,
                    b,
                    at,
                    (0..m, columns.clone()),
                    None,
                    (transposed.as_mut_ptr(), 1, m as isize),
                    threads,
                );
                transposed.set_len(m * columns.len());
                transpose_into(
                    &transposed,
                    columns,
                    std::slice::from_raw_parts_mut(out.add(at * m * n).cast(), m * n),
                    n,
                );
            }
        }
        return;
    }
    let parts = if shared { whole(a, n) } else { parts(a, n) };
    let out = Results(out);
    let part = |(at, rows, columns): ProductPart| {
        let first = at * m * n + rows.start * n + columns.start;
        // SAFETY: the callers reserve `batch * m * n` numbers, and no two parts share one.
        unsafe {
            let out = out.at(first);
            gemm_part(a, b, at, (rows, columns), add, (out, n as isize, 1), threads);
        }
    };
    if shared || is_single_threaded() {
        parts.into_iter().for_each(part);
    } else {
        threads::for_each(parts, part);
    }
}

/// The rows and columns of one product of the batch.
type ProductPart = (usize, Range<usize>, Range<usize>);

/// Rows or columns of a part of a product that is too small for threads inside it, and the minimum
/// number of multiplications for which parts pay off.
const PART: usize = 128;
const PARTS_FROM: usize = 1 << 17;

/// All products of a batch, each as one part.
fn whole(a: &Operand, columns: usize) -> Vec<ProductPart> {
    (0..a.batch).map(|at| (at, 0..a.rows, 0..columns)).collect()
}

/// All products of a batch, each in parts along its longer side, for several threads: the thin
/// products of LoRA. The parts, and so the bits, do not depend on the number of threads.
fn parts(a: &Operand, columns: usize) -> Vec<ProductPart> {
    if a.rows * a.columns * columns < PARTS_FROM {
        return whole(a, columns);
    }
    let split =
        |length: usize| (0..length).step_by(PART).map(move |first| first..length.min(first + PART));
    let each = |at: usize| -> Vec<ProductPart> {
        if a.rows >= columns {
            split(a.rows).map(|rows| (at, rows, 0..columns)).collect()
        } else {
            split(columns).map(|columns| (at, 0..a.rows, columns)).collect()
        }
    };
    (0..a.batch).flat_map(each).collect()
}

/// The results of a product, whose parts several threads write.
struct Results(*mut f32);

// SAFETY: no two parts share a number.
unsafe impl Sync for Results {}

impl Results {
    /// # Safety
    /// The number is inside the results.
    unsafe fn at(&self, number: usize) -> *mut f32 {
        // SAFETY: as the caller says.
        unsafe { self.0.add(number) }
    }
}

/// A part of one product of the batch.
///
/// # Safety
/// `out`, with its strides between rows and columns, must have room for it.
unsafe fn gemm_part(
    a: &Operand,
    b: &Operand,
    at: usize,
    (rows, columns): (Range<usize>, Range<usize>),
    add: Option<f32>,
    (out, between_rows, between_columns): (*mut f32, isize, isize),
    threads: Parallelism,
) {
    // SAFETY: the caller provides the memory, and every operand was checked to lie within its
    // storage.
    unsafe {
        gemm::gemm(
            rows.len(),
            columns.len(),
            a.columns,
            out,
            between_columns,
            between_rows,
            add.is_some(),
            a.matrix(at).offset(rows.start as isize * a.strides[1]),
            a.strides[2],
            a.strides[1],
            b.matrix(at).offset(columns.start as isize * b.strides[2]),
            b.strides[2],
            b.strides[1],
            1.0,
            add.unwrap_or(1.0),
            false,
            false,
            false,
            threads,
        );
    }
}

/// Transposes columns `[columns, m]` into a matrix `[m, n]`.
fn transpose_into(from: &[f32], columns: Range<usize>, to: &mut [MaybeUninit<f32>], n: usize) {
    const BLOCK: usize = 16;
    let m = from.len() / columns.len();
    for start in columns.clone().step_by(BLOCK) {
        for (row, to) in to.chunks_exact_mut(n).enumerate() {
            for column in start..columns.end.min(start + BLOCK) {
                to[column].write(from[(column - columns.start) * m + row]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use proptest::prelude::*;

    use super::*;
    use crate::seed::{Purpose, stream};

    fn numbers<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
        let rng = &mut stream(Purpose::Test("matmul"), seed);
        let values =
            (0..shape.iter().product()).map(|_| rand::Rng::random_range(rng, -1.0..1.0)).collect();
        from_host(values, shape, &Device::flex())
    }

    fn close(a: Vec<f32>, b: Vec<f32>) -> bool {
        a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-4)
    }

    #[test]
    fn a_few_rows_times_a_large_matrix_that_lies_turned_are_those_of_burn() {
        for (m, k, n) in [(1, 700, 12_000), (7, 1100, 1001), (64, 330, 517), (128, 256, 260)] {
            let (a, b) = (numbers([m, k], 1), numbers([n, k], 2).transpose());
            assert!(m * k * n >= SHARED_FROM && b.dims() == [k, n]);
            assert!(close(host(matmul(&a, &b)), host(a.clone().matmul(b))), "{m} {k} {n}");
        }
    }

    proptest! {
        #[test]
        fn products_are_those_of_burn(
            batch in 1usize..4,
            m in 1usize..40,
            k in 1usize..40,
            n in 1usize..40,
            seed: u64,
        ) {
            let (a, b) = (numbers([batch, m, k], seed), numbers([batch, k, n], seed ^ 1));
            prop_assert!(close(host(matmul(&a, &b)), host(a.clone().matmul(b.clone()))));
            // Stored transposed.
            let transposed = numbers([batch, n, k], seed ^ 2).transpose();
            let wanted = a.clone().matmul(transposed.clone());
            prop_assert!(close(host(matmul(&a, &transposed)), host(wanted)));
            let sum = numbers([batch, m, n], seed ^ 3);
            let wanted = sum.clone() + a.clone().matmul(b.clone()).mul_scalar(0.5);
            prop_assert!(close(host(add_matmul(sum, 0.5, &a, &b)), host(wanted)));
        }
    }
}
