//! Tensors of GGUF files as f32.
//!
//! A row is stored in blocks of 32 or 256 numbers. A block has one or two f16 scales, small
//! integers, and for the K types a scale of 6 or 8 bits for each of its parts. The layouts are
//! those of `ggml-quants.c`. Products and sums are rounded in the order of the Python package
//! `gguf`, so that results are equal bit for bit.

use anyhow::{Result, bail, ensure};
use half::{bf16, f16};

/// How numbers are stored.
#[allow(non_camel_case_types, reason = "ggml's names")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorType {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4_K,
    Q5_K,
    Q6_K,
}

/// Every type with its number in files.
pub const TYPES: [(u32, TensorType); 11] = [
    (0, TensorType::F32),
    (1, TensorType::F16),
    (2, TensorType::Q4_0),
    (3, TensorType::Q4_1),
    (6, TensorType::Q5_0),
    (7, TensorType::Q5_1),
    (8, TensorType::Q8_0),
    (12, TensorType::Q4_K),
    (13, TensorType::Q5_K),
    (14, TensorType::Q6_K),
    (30, TensorType::BF16),
];

impl TensorType {
    /// The type with this number.
    ///
    /// # Errors
    /// Where it is not one that foretaste dequantises.
    pub fn parse(number: u32) -> Result<Self> {
        if let Some((_, kind)) = TYPES.iter().find(|(known, _)| *known == number) {
            return Ok(*kind);
        }
        let known: Vec<String> = TYPES.iter().map(|(_, kind)| format!("{kind:?}")).collect();
        bail!(
            "type {number} of ggml is not dequantised; use a file whose tensors are {}",
            known.join(", ")
        )
    }

    /// Numbers and bytes of a block.
    pub fn block(self) -> (usize, usize) {
        match self {
            TensorType::F32 => (1, 4),
            TensorType::F16 | TensorType::BF16 => (1, 2),
            TensorType::Q4_0 => (32, 18),
            TensorType::Q4_1 => (32, 20),
            TensorType::Q5_0 => (32, 22),
            TensorType::Q5_1 => (32, 24),
            TensorType::Q8_0 => (32, 34),
            TensorType::Q4_K => (256, 144),
            TensorType::Q5_K => (256, 176),
            TensorType::Q6_K => (256, 210),
        }
    }
}

/// All numbers of a tensor, in the order of the file.
///
/// # Errors
/// Where the bytes are not whole blocks.
pub fn dequantise(kind: TensorType, bytes: &[u8]) -> Result<Vec<f32>> {
    let (numbers, size) = kind.block();
    ensure!(
        bytes.len().is_multiple_of(size),
        "{} bytes are no whole blocks of {kind:?}; download the file again",
        bytes.len()
    );
    let mut all = Vec::with_capacity(bytes.len() / size * numbers);
    for block in bytes.chunks_exact(size) {
        match kind {
            TensorType::F32 => {
                all.push(f32::from_le_bytes([block[0], block[1], block[2], block[3]]))
            }
            TensorType::F16 => all.push(half_at(block, 0)),
            TensorType::BF16 => all.push(bf16::from_le_bytes([block[0], block[1]]).to_f32()),
            TensorType::Q4_0 => {
                let scale = half_at(block, 0);
                all.extend(nibbles(&block[2..]).map(|q| scale * (f32::from(q) - 8.0)));
            }
            TensorType::Q4_1 => {
                let (scale, least) = (half_at(block, 0), half_at(block, 2));
                all.extend(nibbles(&block[4..]).map(|q| scale * f32::from(q) + least));
            }
            TensorType::Q5_0 => {
                let scale = half_at(block, 0);
                all.extend(fives(&block[2..]).map(|q| scale * (f32::from(q) - 16.0)));
            }
            TensorType::Q5_1 => {
                let (scale, least) = (half_at(block, 0), half_at(block, 2));
                all.extend(fives(&block[4..]).map(|q| scale * f32::from(q) + least));
            }
            TensorType::Q8_0 => {
                let scale = half_at(block, 0);
                all.extend(block[2..].iter().map(|q| f32::from(*q as i8) * scale));
            }
            TensorType::Q4_K => {
                let quantised = block[16..].chunks_exact(32).flat_map(nibbles);
                k_block(block, quantised, &mut all);
            }
            TensorType::Q5_K => {
                let (high, low) = (&block[16..48], &block[48..]);
                let low = low.chunks_exact(32).flat_map(nibbles);
                let quantised =
                    low.enumerate().map(|(i, q)| q | (high[i % 32] >> (i / 32) & 1) << 4);
                k_block(block, quantised, &mut all);
            }
            TensorType::Q6_K => q6_k(block, &mut all),
        }
    }
    Ok(all)
}

/// A little-endian f16.
fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// The low halves of all bytes, then the high halves.
fn nibbles(bytes: &[u8]) -> impl Iterator<Item = u8> {
    bytes.iter().map(|byte| byte & 15).chain(bytes.iter().map(|byte| byte >> 4))
}

/// 32 numbers of 5 bits: 4 bytes with the highest bits, then 16 bytes with the others.
fn fives(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let high = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    nibbles(&bytes[4..]).enumerate().map(move |(i, q)| q | ((high >> i & 1) as u8) << 4)
}

/// 256 numbers in 8 parts. Bytes 0 to 3 are two f16: the scale of scales and that of minima. Bytes
/// 4 to 15 have, for each part, 6 bits of scale and 6 bits of minimum.
fn k_block(block: &[u8], quantised: impl Iterator<Item = u8>, all: &mut Vec<f32>) {
    let (scale, least) = (half_at(block, 0), half_at(block, 2));
    let packed = &block[4..16];
    let parts: [(f32, f32); 8] = std::array::from_fn(|part| {
        let (s, m) = if part < 4 {
            (packed[part] & 63, packed[part + 4] & 63)
        } else {
            let both = packed[part + 4];
            (both & 15 | packed[part - 4] >> 6 << 4, both >> 4 | packed[part] >> 6 << 4)
        };
        (scale * f32::from(s), least * f32::from(m))
    });
    all.extend(quantised.enumerate().map(|(i, q)| {
        let (scale, least) = parts[i / 32];
        scale * f32::from(q) - least
    }));
}

/// 256 numbers of 6 bits in two halves: 128 bytes with the low 4 bits, 64 with the high 2 bits, 16
/// signed scales, and an f16.
fn q6_k(block: &[u8], all: &mut Vec<f32>) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let scale = half_at(block, 208);
    for i in 0..256 {
        // In each half of 128 numbers, a byte has the low bits of two numbers, 64 apart, and a
        // byte has the high bits of four, 32 apart.
        let (half, inside) = (i / 128, i % 128);
        let four = low[64 * half + inside % 64] >> (4 * (inside / 64)) & 15;
        let two = high[32 * half + inside % 32] >> (2 * (inside / 32)) & 3;
        let quantised = f32::from(four | two << 4) - 32.0;
        all.push(scale * f32::from(scales[i / 16] as i8) * quantised);
    }
}
