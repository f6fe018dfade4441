//! A minimal PNG decoder for the plots. It verifies checksums.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::Crc;
use flate2::read::ZlibDecoder;

/// Columns, rows and RGB pixels. Panics with a reason if the file is not an eight-bit RGB PNG.
pub fn decode(file: &[u8]) -> (usize, usize, Vec<[u8; 3]>) {
    assert_eq!(&file[..8], b"\x89PNG\r\n\x1a\n", "the signature");
    let mut chunks: BTreeMap<[u8; 4], Vec<u8>> = BTreeMap::new();
    let mut rest = &file[8..];
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[..4].try_into().expect("four bytes")) as usize;
        let (body, after) = rest[4..].split_at(4 + length);
        let mut crc = Crc::new();
        crc.update(body);
        assert_eq!(crc.sum().to_be_bytes(), after[..4], "the checksum of a chunk");
        chunks.entry(body[..4].try_into().expect("four bytes")).or_default().extend(&body[4..]);
        rest = &after[4..];
    }
    assert!(chunks.contains_key(b"IEND"), "the file ends");
    let header = &chunks[b"IHDR"];
    let number =
        |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes")) as usize;
    assert_eq!(header[8..], [8, 2, 0, 0, 0], "eight-bit RGB");
    let (columns, rows) = (number(0), number(4));
    let mut data = Vec::new();
    ZlibDecoder::new(&chunks[b"IDAT"][..]).read_to_end(&mut data).expect("the pixels inflate");
    assert_eq!(data.len(), rows * (columns * 3 + 1), "every pixel is there");
    let mut above = vec![0_u8; columns * 3];
    let mut pixels = Vec::new();
    for row in data.chunks(columns * 3 + 1) {
        let line: Vec<u8> = match row[0] {
            0 => row[1..].to_vec(),
            2 => row[1..]
                .iter()
                .zip(&above)
                .map(|(value, above)| value.wrapping_add(*above))
                .collect(),
            other => panic!("filter {other} is not used by this project"),
        };
        pixels.extend(line.as_chunks::<3>().0);
        above = line;
    }
    (columns, rows, pixels)
}
