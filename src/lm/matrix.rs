//! A weight matrix of a base, in the dtype in which it is kept: f32, bf16 in the mapped file, or
//! bf16 on a GPU.
//!
//! bf16 takes half the memory. A GPU, and a CPU with tile registers ([`super::tiles`]), multiply
//! bf16 by bf16, which is their fast path: activations are rounded to bf16, and the product is f32
//! again. Any other CPU widens a few rows at a time, and multiplies in f32.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{DType, Device, FloatDType, Int, Tensor, TensorData};
use half::bf16;
use half::slice::HalfFloatSliceExt;

use super::files::FileBytes;
use super::matmul::{add_matmul, matmul};
use super::tensor::{from_host, host, with_values};
use super::tiles::{self, Bf16Slice, LowRank, SumOver};

/// Numbers that are widened at a time; more would leave the CPU cache.
const PANEL: usize = 1 << 18;

/// `[rows, columns]`
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "a base has some hundreds of them")]
pub enum Matrix {
    F32(Tensor<2>),
    /// bf16 in host memory.
    Bf16(StoredMatrix),
    /// bf16 in device memory.
    DeviceBf16(Tensor<2>),
}

/// The factors of a low rank for K shadows, `[K, in, r]` and `[K, r, out]`. Joined with a product,
/// they and the product with the first are rounded to bf16, as activations are.
pub struct Factors {
    pub first: Tensor<3>,
    pub second: Tensor<3>,
}

/// Little-endian bf16 in a file, or in memory.
#[derive(Debug, Clone)]
pub struct StoredMatrix {
    pub file: Arc<FileBytes>,
    pub bytes: Range<usize>,
    pub shape: [usize; 2],
}

impl StoredMatrix {
    /// Numbers `[rows, columns]`, rounded.
    pub fn rounded(numbers: &[f32], shape: [usize; 2]) -> Self {
        let mut rounded = vec![bf16::ZERO; numbers.len()];
        rounded.convert_from_f32_slice(numbers);
        let bytes: Vec<u8> = rounded.iter().flat_map(|number| number.to_le_bytes()).collect();
        StoredMatrix { bytes: 0..bytes.len(), file: Arc::new(FileBytes::Owned(bytes)), shape }
    }

    fn as_slice(&self) -> Bf16Slice<'_> {
        Bf16Slice::new(&self.file.as_ref().as_ref()[self.bytes.clone()], self.shape)
    }

    /// `sum + x W^T` or `sum + x W` on tile registers, joined with a low rank.
    fn product(
        &self,
        x: &Tensor<2>,
        over: SumOver,
        sum: Option<Tensor<2>>,
        factors: Option<&Factors>,
    ) -> (Tensor<2>, Option<Tensor<3>>) {
        let (device, rows) = (x.device(), x.dims()[0]);
        let width = match over {
            SumOver::Columns => self.shape[0],
            SumOver::Rows => self.shape[1],
        };
        let sum = sum.map(host);
        let hosts = factors.map(|Factors { first, second }| {
            let [shadows, _, rank] = first.dims();
            (shadows, rank, host(first.clone()), host(second.clone()))
        });
        let low = hosts.as_ref().map(|(shadows, rank, first, second)| LowRank {
            shadows: *shadows,
            rank: *rank,
            first,
            second,
        });
        let (out, sums) = with_values(x, |x| tiles::product(x, self.as_slice(), over, sum, low));
        let sums =
            low.map(|low| from_host(sums, [low.shadows, rows / low.shadows, low.rank], &device));
        (from_host(out, [rows, width], &device), sums)
    }

    /// The whole matrix on a device, unchanged.
    pub fn upload(&self, device: &Device) -> Tensor<2> {
        let (numbers, _) = self.file.as_ref().as_ref()[self.bytes.clone()].as_chunks::<2>();
        let numbers: Vec<bf16> =
            numbers.iter().map(|number| bf16::from_le_bytes(*number)).collect();
        Tensor::from_data(TensorData::new(numbers, self.shape), (device, DType::BF16))
    }

    /// Some rows, widened.
    fn rows(&self, rows: Range<usize>) -> Vec<f32> {
        let width = 2 * self.shape[1];
        let bytes =
            &self.file.as_ref().as_ref()[self.bytes.clone()][rows.start * width..rows.end * width];
        let (numbers, _) = bytes.as_chunks::<2>();
        numbers.iter().map(|number| bf16::from_le_bytes(*number).to_f32()).collect()
    }

    /// All rows in panels: the first row and the panel `[rows, columns]`.
    fn panels(&self, device: &Device) -> impl Iterator<Item = (usize, Tensor<2>)> {
        let [rows, columns] = self.shape;
        let at_once = (PANEL / columns).max(1);
        (0..rows).step_by(at_once).map(move |first| {
            let panel = first..rows.min(first + at_once);
            (first, from_host(self.rows(panel.clone()), [panel.len(), columns], device))
        })
    }

    /// [`Matrix::apply`] in f32.
    fn apply_widened(&self, x: &Tensor<2>) -> Tensor<2> {
        let (device, count, rows) = (x.device(), x.dims()[0], self.shape[0]);
        let mut out = vec![0.0; count * rows];
        for (first, panel) in self.panels(&device) {
            let width = panel.dims()[0];
            let part = host(matmul(x, &panel.transpose()));
            for (out, part) in out.chunks_exact_mut(rows).zip(part.chunks_exact(width)) {
                out[first..first + width].copy_from_slice(part);
            }
        }
        from_host(out, [count, rows], &device)
    }

    /// [`Matrix::apply_back`] in f32.
    fn apply_back_widened(&self, dy: &Tensor<2>, sum: Option<Tensor<2>>) -> Tensor<2> {
        let device = dy.device();
        let shape = [dy.dims()[0], self.shape[1]];
        let start =
            sum.unwrap_or_else(|| from_host(vec![0.0; shape[0] * shape[1]], shape, &device));
        self.panels(&device).fold(start, |sum, (first, panel)| {
            let part = dy.clone().narrow(1, first, panel.dims()[0]);
            add_matmul(sum, 1.0, &part, &panel)
        })
    }
}

impl Matrix {
    pub fn shape(&self) -> [usize; 2] {
        match self {
            Matrix::F32(tensor) => tensor.dims(),
            Matrix::Bf16(stored) => stored.shape,
            Matrix::DeviceBf16(tensor) => tensor.dims(),
        }
    }

    /// `x W^T`: `[R, columns]` becomes `[R, rows]`.
    pub fn apply(&self, x: &Tensor<2>) -> Tensor<2> {
        let stored = match self {
            Matrix::F32(tensor) => return matmul(x, &tensor.clone().transpose()),
            Matrix::DeviceBf16(tensor) => {
                return wide(half(x.clone()).matmul(tensor.clone().transpose()));
            }
            Matrix::Bf16(stored) => stored,
        };
        if !tiles::available() {
            return stored.apply_widened(x);
        }
        stored.product(x, SumOver::Columns, None, None).0
    }

    /// `sum + dy W`: `[R, rows]` becomes `[R, columns]`.
    pub fn apply_back(&self, dy: &Tensor<2>, sum: Option<Tensor<2>>) -> Tensor<2> {
        let stored = match self {
            Matrix::F32(tensor) => {
                return match sum {
                    None => matmul(dy, tensor),
                    Some(sum) => add_matmul(sum, 1.0, dy, tensor),
                };
            }
            Matrix::DeviceBf16(tensor) => {
                let product = long_product(half(dy.clone()), tensor.clone());
                return sum.map_or(product.clone(), |sum| sum + product);
            }
            Matrix::Bf16(stored) => stored,
        };
        if !tiles::available() {
            return stored.apply_back_widened(dy, sum);
        }
        stored.product(dy, SumOver::Rows, sum, None).0
    }

    /// Whether its products are computed on tile registers, to which weights are packed, and join
    /// the product with a low rank.
    pub fn is_tiled(&self) -> bool {
        matches!(self, Matrix::Bf16(_)) && tiles::available()
    }

    /// `x W^T` for some rows of this matrix.
    ///
    /// # Panics
    /// Without [`Matrix::is_tiled`].
    pub fn apply_rows(&self, x: &Tensor<2>, rows: Range<usize>) -> Tensor<2> {
        let stored = self.stored();
        let (start, width) = (stored.bytes.start, 2 * stored.shape[1]);
        let part = StoredMatrix {
            file: stored.file.clone(),
            bytes: start + rows.start * width..start + rows.end * width,
            shape: [rows.len(), stored.shape[1]],
        };
        part.product(x, SumOver::Columns, None, None).0
    }

    /// `x W^T + (x first) second`, and `x first`; see [`Factors`].
    ///
    /// # Panics
    /// Without [`Matrix::is_tiled`].
    pub fn apply_joined(&self, x: &Tensor<2>, factors: Factors) -> (Tensor<2>, Tensor<3>) {
        let (y, low) = self.stored().product(x, SumOver::Columns, None, Some(&factors));
        (y, low.expect("it has factors"))
    }

    /// `sum + dy W + (dy first) second`, and `dy first`; see [`Factors`].
    ///
    /// # Panics
    /// Without [`Matrix::is_tiled`].
    pub fn apply_back_joined(
        &self,
        dy: &Tensor<2>,
        sum: Option<Tensor<2>>,
        factors: Factors,
    ) -> (Tensor<2>, Tensor<3>) {
        let (dx, low) = self.stored().product(dy, SumOver::Rows, sum, Some(&factors));
        (dx, low.expect("it has factors"))
    }

    fn stored(&self) -> &StoredMatrix {
        match self {
            Matrix::Bf16(stored) => stored,
            _ => panic!("the matrix is not bf16 in host memory"),
        }
    }

    /// Some rows, as `[indices.len(), columns]`.
    pub fn select(&self, indices: &[usize], device: &Device) -> Tensor<2> {
        let select = |tensor: &Tensor<2>| {
            let (indices, count): (Vec<i32>, usize) =
                (indices.iter().map(|&row| row as i32).collect(), indices.len());
            tensor
                .clone()
                .select(0, Tensor::<1, Int>::from_data(TensorData::new(indices, [count]), device))
        };
        match self {
            Matrix::F32(tensor) => select(tensor),
            Matrix::DeviceBf16(tensor) => wide(select(tensor)),
            Matrix::Bf16(stored) => {
                let rows: Vec<f32> =
                    indices.iter().flat_map(|&row| stored.rows(row..row + 1)).collect();
                from_host(rows, [indices.len(), stored.shape[1]], device)
            }
        }
    }

    /// The sum with another matrix, in f32.
    pub fn plus(&self, added: Tensor<2>) -> Matrix {
        let device = added.device();
        Matrix::F32(match self {
            Matrix::F32(tensor) => tensor.clone() + added,
            Matrix::Bf16(stored) => {
                from_host(stored.rows(0..stored.shape[0]), stored.shape, &device) + added
            }
            Matrix::DeviceBf16(tensor) => wide(tensor.clone()) + added,
        })
    }

    /// The same in bf16 in device memory; f32 is rounded.
    pub fn to_bf16(&self, device: &Device) -> Matrix {
        Matrix::DeviceBf16(match self {
            Matrix::F32(tensor) => half(tensor.clone()),
            Matrix::Bf16(stored) => stored.upload(device),
            Matrix::DeviceBf16(tensor) => tensor.clone(),
        })
    }
}

fn half(x: Tensor<2>) -> Tensor<2> {
    x.cast(FloatDType::BF16)
}

fn wide<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.cast(FloatDType::F32)
}

impl From<Tensor<2>> for Matrix {
    fn from(tensor: Tensor<2>) -> Self {
        Matrix::F32(tensor)
    }
}

/// Tiles of a product that keep a GPU busy, the side of a tile, and the minimum length of a partial
/// sum.
const BUSY: usize = 256;
const TILE: usize = 128;
const SHORTEST: usize = 1024;

/// `a b` in f32, of bf16 matrices `[m, k]` and `[k, n]`. For a small result with long sums, such as
/// the gradient from a large vocabulary, most of a GPU would be idle. So the sums are split into
/// parts that are computed in parallel.
fn long_product(a: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
    let ([m, k], n) = (a.dims(), b.dims()[1]);
    let tiles = m.div_ceil(TILE) * n.div_ceil(TILE);
    let mut parts = 1;
    while tiles * parts < BUSY && k.is_multiple_of(2 * parts) && k / (2 * parts) >= SHORTEST {
        parts *= 2;
    }
    if parts == 1 {
        return wide(a.matmul(b));
    }
    let a: Tensor<3> = a.reshape([m, parts, k / parts]).swap_dims(0, 1);
    let b: Tensor<3> = b.reshape([parts, k / parts, n]);
    wide(a.matmul(b)).sum_dim(0).reshape([m, n])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::seed::{Purpose, stream};

    /// The same numbers in both forms; each is exact in bf16.
    fn both(shape: [usize; 2], seed: u64) -> (Matrix, Matrix) {
        let random = &mut stream(Purpose::Test("matrix"), seed);
        let numbers: Vec<bf16> = (0..shape[0] * shape[1])
            .map(|_| bf16::from_f32(rand::Rng::random_range(random, -1.0f32..1.0)))
            .collect();
        // After an odd number of other bytes, as a header may leave it.
        let mut bytes = vec![0u8; 7];
        bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        let stored =
            StoredMatrix { bytes: 7..bytes.len(), file: Arc::new(FileBytes::Owned(bytes)), shape };
        let wide = numbers.iter().map(|number| number.to_f32()).collect();
        (Matrix::F32(from_host(wide, shape, &Device::flex())), Matrix::Bf16(stored))
    }

    fn numbers(shape: [usize; 2], seed: u64) -> Tensor<2> {
        let random = &mut stream(Purpose::Test("matrix-x"), seed);
        let values =
            (0..shape[0] * shape[1]).map(|_| rand::Rng::random_range(random, -1.0..1.0)).collect();
        from_host(values, shape, &Device::flex())
    }

    /// Exact in bf16.
    fn rounded(shape: [usize; 2], seed: u64) -> Tensor<2> {
        wide(half(numbers(shape, seed)))
    }

    fn close(a: Tensor<2>, b: Tensor<2>) -> bool {
        a.dims() == b.dims() && host(a).iter().zip(host(b)).all(|(a, b)| (a - b).abs() < 1e-4)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_matrix_kept_in_bf16_gives_the_products_of_its_f32(
            rows in 1usize..50,
            columns in 1usize..50,
            count in 1usize..20,
            seed: u64,
        ) {
            let (wide, narrow) = both([rows, columns], seed);
            let Matrix::Bf16(stored) = &narrow else { panic!("it is in host memory") };
            let (x, dy) = (rounded([count, columns], seed), rounded([count, rows], seed ^ 1));
            prop_assert!(close(wide.apply(&x), narrow.apply(&x)));
            prop_assert!(close(wide.apply(&x), stored.apply_widened(&x)));
            for sum in [None, Some(numbers([count, columns], seed ^ 2))] {
                let wanted = wide.apply_back(&dy, sum.clone());
                prop_assert!(close(wanted.clone(), narrow.apply_back(&dy, sum.clone())));
                prop_assert!(close(wanted, stored.apply_back_widened(&dy, sum)));
            }
            let picked = [rows - 1, 0, rows / 2];
            let device = Device::flex();
            prop_assert!(close(wide.select(&picked, &device), narrow.select(&picked, &device)));
            let added = numbers([rows, columns], seed ^ 3);
            let sums = (wide.plus(added.clone()), narrow.plus(added));
            let (Matrix::F32(a), Matrix::F32(b)) = sums else { panic!("a sum is in f32") };
            prop_assert!(close(a, b));
        }
    }

    #[test]
    fn a_matrix_in_bf16_on_a_device_gives_the_products_of_rounded_numbers() {
        let (wide, narrow) = both([40, 24], 1);
        let half = narrow.to_bf16(&Device::flex());
        assert_eq!(
            host(half.select(&[39, 0, 7], &Device::flex())),
            host(wide.select(&[39, 0, 7], &Device::flex()))
        );
        let (x, dy) = (numbers([5, 24], 2), numbers([5, 40], 3));
        // Sums of forty products below one, each factor with a relative error of 1/256.
        let near = |a: Tensor<2>, b: Tensor<2>| {
            a.dims() == b.dims() && host(a - b).iter().all(|off| off.abs() < 0.1)
        };
        assert!(near(wide.apply(&x), half.apply(&x)));
        assert!(near(wide.apply_back(&dy, None), half.apply_back(&dy, None)));
        assert!(near(wide.apply_back(&dy, Some(x.clone())), half.apply_back(&dy, Some(x))));
        assert!(
            !close(wide.apply_back(&dy, None), half.apply_back(&dy, None)),
            "nothing was rounded"
        );
    }

    #[test]
    fn long_sums_cut_into_parts_are_the_sums() {
        let device = Device::flex();
        let (a, b) = (half(numbers([3, 8192], 1)), half(numbers([8192, 5], 2)));
        let whole = wide(a.clone()).matmul(wide(b.clone()));
        assert!(
            host(long_product(a, b) - whole).iter().all(|off: &f32| off.abs() < 0.5),
            "sums of eight thousand products below one"
        );
        let (a, b) = (
            half(from_host(vec![1.0; 3 * 3001], [3, 3001], &device)),
            half(from_host(vec![1.0; 3001], [3001, 1], &device)),
        );
        assert!(
            host(long_product(a, b)).iter().all(|sum: &f32| (sum - 3001.0).abs() < 12.0),
            "an odd number is not cut"
        );
    }

    #[test]
    fn a_matrix_of_several_panels_is_the_same_too() {
        let (wide, narrow) = both([PANEL / 64 * 2 + 5, 64], 1);
        let Matrix::Bf16(stored) = &narrow else { panic!("it is in host memory") };
        let x = numbers([3, 64], 2);
        assert!(close(wide.apply(&x), stored.apply_widened(&x)));
        let dy = numbers([3, wide.shape()[0]], 3);
        let difference = host(wide.apply_back(&dy, None) - stored.apply_back_widened(&dy, None));
        assert!(
            difference.iter().all(|difference| difference.abs() < 2e-3),
            "sums of eight thousand numbers"
        );
    }
}
