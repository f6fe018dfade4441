//! Writes files, so that every error names its file.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

/// Writes `text` to `path` and creates the folders above it.
pub fn text(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create the folder {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes one JSON object per line.
pub fn json_lines<T: Serialize>(path: &Path, rows: &[T]) -> Result<()> {
    let mut lines = String::new();
    for row in rows {
        lines.push_str(&serde_json::to_string(row)?);
        lines.push('\n');
    }
    text(path, &lines)
}

/// Writes one JSON object, indented, with a line end, so that people can read it and git can
/// compare it.
pub fn json(path: &Path, value: &Value) -> Result<()> {
    text(path, &(serde_json::to_string_pretty(value)? + "\n"))
}
