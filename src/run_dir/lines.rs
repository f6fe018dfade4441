//! Tables as JSON lines.

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// zstd's default: answers shrink to a few percent, and a higher level gains little.
pub const COMPRESSION: i32 = 3;

/// One line for each item. Floats are written so that they are read back bit for bit.
pub fn to_bytes<T: Serialize>(items: impl IntoIterator<Item = T>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for item in items {
        serde_json::to_writer(&mut bytes, &item)?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

/// Reads the items that [`to_bytes`] wrote; `name` is the file's, for errors.
pub fn from_bytes<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<Vec<T>> {
    let lines = bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    lines
        .map(|(index, line)| {
            serde_json::from_slice(line).with_context(|| {
                format!("{name}:{}: cannot be read; run the same command again", index + 1)
            })
        })
        .collect()
}
