//! Where the models of `scripts/real-models` are.

use std::path::PathBuf;

/// The path of a model's file; `None`, and a line that says so, where it is absent.
#[allow(clippy::print_stdout, reason = "a skipped test says so")]
pub fn path(file: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("FORETASTE_MODELS").map(PathBuf::from).or_else(|| {
        Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache").join("foretaste-models"))
    })?;
    let path = folder.join(file);
    if !path.is_file() {
        println!("skipped: {} is absent; run scripts/real-models", path.display());
        return None;
    }
    Some(path)
}
