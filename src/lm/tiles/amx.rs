//! The instructions of Intel AMX (Intel 64 and IA-32 Architectures Software Developer's Manual,
//! volume 1, chapter 18).

use std::arch::asm;
use std::arch::x86_64::{
    __cpuid_count, _mm256_loadu_si256, _mm512_cvtepu16_epi32, _mm512_loadu_si512, _mm512_or_si512,
    _mm512_setzero_si512, _mm512_shuffle_i32x4, _mm512_slli_epi32, _mm512_storeu_si512,
    _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

use super::{DEPTH, SIDE, Tile};

/// Asks Linux for the tile registers, which a process has only on request: the registers make
/// every switch between threads that use them slower.
pub fn permitted() -> bool {
    const BF16: u32 = 1 << 22;
    const TILES: u32 = 1 << 24;
    const REQUEST_PERMISSION: i64 = 0x1023;
    const TILE_DATA: i64 = 18;
    let known = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && __cpuid_count(0, 0).eax >= 7
        && __cpuid_count(7, 0).edx & (BF16 | TILES) == BF16 | TILES;
    // SAFETY: the call changes nothing but a permission of this process.
    known && unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) } == 0
}

/// The shape of every tile register: 16 rows of 64 bytes.
#[repr(C, align(64))]
struct TileConfiguration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_per_row: [u16; 16],
    rows: [u8; 16],
}

/// Runs work in which this thread may call [`multiply`].
pub fn configured<T>(work: impl FnOnce() -> T) -> T {
    struct Release;
    impl Drop for Release {
        fn drop(&mut self) {
            // SAFETY: the registers hold nothing that is still needed.
            unsafe { asm!("tilerelease", options(nostack, nomem)) };
        }
    }
    const REGISTERS: usize = 8;
    let mut shape = TileConfiguration {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        bytes_per_row: [0; 16],
        rows: [0; 16],
    };
    shape.bytes_per_row[..REGISTERS].fill(64);
    shape.rows[..REGISTERS].fill(SIDE as u8);
    // SAFETY: the configuration has the form that the instruction reads.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const shape, options(nostack, readonly)) };
    let _release = Release;
    work()
}

/// Writes or adds the product of two by two tiles to `[32, 32]` sums at `out`, whose rows are
/// `stride` sums apart. Both factors are `[depth, 2]` tiles.
///
/// # Safety
/// Inside [`configured`]; the sums are valid for writes, and nothing else accesses them meanwhile.
pub unsafe fn multiply(left: &[Tile], right: &[Tile], out: *mut f32, stride: usize, add: bool) {
    assert!(left.len() == right.len() && !left.is_empty() && left.len().is_multiple_of(2));
    // SAFETY: the loop reads `left.len() / 2` pairs of tiles of both factors. Clobbered tile
    // registers need no declaration, as compiled code never keeps anything in them.
    unsafe {
        asm!(
            "test {add:e}, {add:e}",
            "jnz 3f",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "jmp 2f",
            "3:",
            "tileloadd tmm0, [{upper} + {stride}]",
            "tileloadd tmm1, [{upper} + {stride} + 64]",
            "tileloadd tmm2, [{lower} + {stride}]",
            "tileloadd tmm3, [{lower} + {stride} + 64]",
            "2:",
            "tileloadd tmm4, [{left} + {row}]",
            "tileloadd tmm6, [{right} + {row}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{right} + {row} + 1024]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{left} + {row} + 1024]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {left}, 2048",
            "add {right}, 2048",
            "dec {depth}",
            "jnz 2b",
            "tilestored [{upper} + {stride}], tmm0",
            "tilestored [{upper} + {stride} + 64], tmm1",
            "tilestored [{lower} + {stride}], tmm2",
            "tilestored [{lower} + {stride} + 64], tmm3",
            add = in(reg) u32::from(add),
            left = inout(reg) left.as_ptr() => _,
            right = inout(reg) right.as_ptr() => _,
            depth = inout(reg) left.len() / 2 => _,
            upper = in(reg) out,
            lower = in(reg) out.add(SIDE * stride),
            stride = in(reg) stride * size_of::<f32>(),
            row = in(reg) 64usize,
            options(nostack),
        );
    }
}

/// Rounds numbers to bf16, two to an element.
pub fn round(numbers: &[f32; DEPTH], pairs: &mut [u32; SIDE]) {
    // SAFETY: `permitted` has asked for the vector instructions.
    unsafe { round_vectorised(numbers, pairs) }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn round_vectorised(numbers: &[f32; DEPTH], pairs: &mut [u32; SIDE]) {
    for (pair, [low, high]) in pairs.iter_mut().zip(numbers.as_chunks::<2>().0) {
        *pair = rounded(*low) | rounded(*high) << 16;
    }
}

#[inline(always)]
fn rounded(number: f32) -> u32 {
    const QUIET: u32 = 0x7fc0;
    let bits = number.to_bits();
    let up = 0x7fff + ((bits >> 16) & 1);
    if number.is_nan() { QUIET } else { bits.wrapping_add(up) >> 16 }
}

/// Of two rows of weights after each other, each column becomes a pair.
pub fn pair_rows(block: [&[u8; 2 * SIDE]; DEPTH], tile: &mut Tile) {
    // SAFETY: as in `round`.
    unsafe { pair_rows_vectorised(block, tile) }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn pair_rows_vectorised(block: [&[u8; 2 * SIDE]; DEPTH], tile: &mut Tile) {
    for (two, pairs) in block.as_chunks::<2>().0.iter().zip(tile.0.chunks_exact_mut(SIDE)) {
        // SAFETY: a row of the block has 32 bytes, a row of the tile 64.
        unsafe {
            let even = _mm512_cvtepu16_epi32(_mm256_loadu_si256(two[0].as_ptr().cast()));
            let odd = _mm512_cvtepu16_epi32(_mm256_loadu_si256(two[1].as_ptr().cast()));
            let both = _mm512_or_si512(even, _mm512_slli_epi32::<16>(odd));
            _mm512_storeu_si512(pairs.as_mut_ptr().cast(), both);
        }
    }
}

/// Each column of pairs of weights becomes a row.
pub fn pair_columns(block: [&[u8; 2 * DEPTH]; SIDE], tile: &mut Tile) {
    // SAFETY: as in `round`.
    unsafe { transpose(block, tile) }
}

/// Transposes 16 by 16 pairs: first inside groups of two rows, then of four, then the groups.
#[target_feature(enable = "avx512f,avx512bw")]
fn transpose(block: [&[u8; 2 * DEPTH]; SIDE], tile: &mut Tile) {
    // A loop: a closure is not compiled for the vector instructions.
    let mut rows = [_mm512_setzero_si512(); SIDE];
    for (to, row) in rows.iter_mut().zip(block) {
        // SAFETY: a row of the block has 64 bytes.
        *to = unsafe { _mm512_loadu_si512(row.as_ptr().cast()) };
    }
    let mut twos = rows;
    for at in (0..SIDE).step_by(2) {
        twos[at] = _mm512_unpacklo_epi32(rows[at], rows[at + 1]);
        twos[at + 1] = _mm512_unpackhi_epi32(rows[at], rows[at + 1]);
    }
    let mut fours = twos;
    for at in (0..SIDE).step_by(4) {
        fours[at] = _mm512_unpacklo_epi64(twos[at], twos[at + 2]);
        fours[at + 1] = _mm512_unpackhi_epi64(twos[at], twos[at + 2]);
        fours[at + 2] = _mm512_unpacklo_epi64(twos[at + 1], twos[at + 3]);
        fours[at + 3] = _mm512_unpackhi_epi64(twos[at + 1], twos[at + 3]);
    }
    // fours[4 g + c] holds, in its quarter q, rows 4 g .. 4 g + 4 of column 4 q + c.
    for c in 0..4 {
        let [a, b, d, e] = [fours[c], fours[4 + c], fours[8 + c], fours[12 + c]];
        let (ab_even, ab_odd) = (
            _mm512_shuffle_i32x4::<0b10_00_10_00>(a, b),
            _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b),
        );
        let (de_even, de_odd) = (
            _mm512_shuffle_i32x4::<0b10_00_10_00>(d, e),
            _mm512_shuffle_i32x4::<0b11_01_11_01>(d, e),
        );
        let columns = [
            (c, _mm512_shuffle_i32x4::<0b10_00_10_00>(ab_even, de_even)),
            (4 + c, _mm512_shuffle_i32x4::<0b10_00_10_00>(ab_odd, de_odd)),
            (8 + c, _mm512_shuffle_i32x4::<0b11_01_11_01>(ab_even, de_even)),
            (12 + c, _mm512_shuffle_i32x4::<0b11_01_11_01>(ab_odd, de_odd)),
        ];
        for (column, pairs) in columns {
            let to = &mut tile.0[column * SIDE..][..SIDE];
            // SAFETY: a row of the tile has 64 bytes.
            unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), pairs) };
        }
    }
}
