//! Encodes pixels as PNG (RFC 2083): eight-bit RGB, one zlib stream, filter "up", which suits flat
//! drawings.

use std::io::Write;

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};

const SIGNATURE: [u8; 8] = [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a];

/// Shrinks an RGB image by averaging squares of `factor` by `factor` pixels. Returns columns, rows
/// and pixels.
pub fn average(
    columns: usize,
    rows: usize,
    pixels: &[u8],
    factor: usize,
) -> (usize, usize, Vec<u8>) {
    let (small_columns, small_rows) = (columns / factor, rows / factor);
    let mut small = Vec::with_capacity(small_columns * small_rows * 3);
    let area = (factor * factor) as u32;
    for row in 0..small_rows {
        for column in 0..small_columns {
            for channel in 0..3 {
                let squares = (0..factor).flat_map(|y| {
                    (0..factor).map(move |x| (row * factor + y, column * factor + x))
                });
                let sum: u32 =
                    squares.map(|(y, x)| u32::from(pixels[(y * columns + x) * 3 + channel])).sum();
                small.push(((sum + area / 2) / area) as u8);
            }
        }
    }
    (small_columns, small_rows, small)
}

/// The file's bytes. `pixels` holds `columns` × `rows` × 3 values, row by row.
pub fn encode(columns: usize, rows: usize, pixels: &[u8]) -> Vec<u8> {
    let stride = columns * 3;
    let mut filtered = Vec::with_capacity((stride + 1) * rows);
    for (index, row) in pixels.chunks(stride).take(rows).enumerate() {
        filtered.push(2);
        let above = index.checked_sub(1).map(|above| &pixels[above * stride..(above + 1) * stride]);
        filtered.extend(
            row.iter()
                .enumerate()
                .map(|(at, value)| value.wrapping_sub(above.map_or(0, |above| above[at]))),
        );
    }
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(7));
    encoder.write_all(&filtered).expect("writing to memory cannot fail");
    let data = encoder.finish().expect("writing to memory cannot fail");

    let mut header = Vec::new();
    header.extend((columns as u32).to_be_bytes());
    header.extend((rows as u32).to_be_bytes());
    // Eight bits, RGB, deflate, adaptive filters, not interlaced.
    header.extend([8, 2, 0, 0, 0]);

    let mut file = SIGNATURE.to_vec();
    chunk(&mut file, *b"IHDR", &header);
    chunk(&mut file, *b"IDAT", &data);
    chunk(&mut file, *b"IEND", &[]);
    file
}

fn chunk(file: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) {
    file.extend((data.len() as u32).to_be_bytes());
    file.extend(kind);
    file.extend(data);
    let mut crc = Crc::new();
    crc.update(&kind);
    crc.update(data);
    file.extend(crc.sum().to_be_bytes());
}
