//! A processor without tile registers: nothing here is called.

use super::{DEPTH, SIDE, Tile};

pub fn permitted() -> bool {
    false
}

pub fn configured<T>(_: impl FnOnce() -> T) -> T {
    unreachable!("no tile registers")
}

pub fn round(_: &[f32; DEPTH], _: &mut [u32; SIDE]) {
    unreachable!("no tile registers")
}

pub fn pair_columns(_: [&[u8; 2 * DEPTH]; SIDE], _: &mut Tile) {
    unreachable!("no tile registers")
}

pub fn pair_rows(_: [&[u8; 2 * SIDE]; DEPTH], _: &mut Tile) {
    unreachable!("no tile registers")
}

pub unsafe fn multiply(_: &[Tile], _: &[Tile], _: *mut f32, _: usize, _: bool) {
    unreachable!("no tile registers")
}
