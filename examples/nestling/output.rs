//! Writes files, so that every error names its file.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

/// zstd's level: an exam shrinks to a fifteenth.
const COMPRESSION: i32 = 19;

/// Writes `text` to `path` and creates the folders above it.
pub fn text(path: &Path, text: &str) -> Result<()> {
    bytes(path, text.as_bytes())
}

fn bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create the folder {}", folder.display()))?;
    }
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes one JSON object per line, compressed where the name ends in `.zst`.
pub fn json_lines<T: Serialize>(path: &Path, rows: &[T]) -> Result<()> {
    let mut lines = String::new();
    for row in rows {
        lines.push_str(&serde_json::to_string(row)?);
        lines.push('\n');
    }
    if path.extension().is_some_and(|extension| extension == "zst") {
        bytes(path, &zstd::encode_all(lines.as_bytes(), COMPRESSION)?)
    } else {
        text(path, &lines)
    }
}

/// Writes one JSON object, indented, with a line end, so that people can read it and git can
/// compare it.
pub fn json(path: &Path, value: &Value) -> Result<()> {
    text(path, &(serde_json::to_string_pretty(value)? + "\n"))
}
