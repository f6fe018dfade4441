//! The files of calibrations: those of nestling and of the models in docs/results.md are compiled
//! in; the user's own are in the user's cache, one file for each base and chat template.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::disk::{MOST_BYTES, read_if_there, write_whole};
use crate::engine::{Description, TemplateId};
use crate::plan::{CALIBRATION_SCHEMA, Calibration};

/// Calibrations of the embedded base and of released models, by the hash of their weights.
const COMPILED_IN: [&str; 2] = [
    include_str!("../../../fixtures/nestling/calibration.json"),
    include_str!("../../../fixtures/calibrations/SmolLM2-135M-Instruct.Q4_1.json"),
];

/// `$XDG_CACHE_HOME/foretaste/calibration/HASH.json`, else in `~/.cache`; `None` where no home
/// directory is set. With a given chat template the name is `HASH-TEMPLATE.json`.
pub fn place(base: &Description) -> Option<PathBuf> {
    let variable =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || variable("HOME").or_else(|| variable("USERPROFILE"));
    let cache = variable("XDG_CACHE_HOME").or_else(|| Some(home()?.join(".cache")))?;
    let template = base.chat_template.as_ref().map_or(String::new(), |given| {
        format!("-{}", given.sha256.chars().take(16).collect::<String>())
    });
    let name = format!("{}{template}.json", base.base_sha256);
    Some(cache.join("foretaste/calibration").join(name))
}

/// The calibration of a base: that of the user's cache, completed by the audits that only the one
/// compiled in has; `None` where there is neither.
///
/// # Errors
/// Where a file exists and cannot be read: the message names it and says what to do.
pub fn known(base: &Description) -> Result<Option<Calibration>> {
    let (base_sha256, template) = (base.base_sha256.as_str(), base.chat_template.as_ref());
    let mut compiled_in = None;
    for text in COMPILED_IN {
        let calibration = parse(text.as_bytes()).context("a calibration that is compiled in")?;
        if calibration.is_of(base_sha256, template) {
            compiled_in = Some(calibration);
        }
    }
    let own = place(base).map(|path| at(&path, base_sha256, template)).transpose()?.flatten();
    Ok(match (own, compiled_in) {
        (Some(own), Some(compiled_in)) => Some(own.completed_by(compiled_in)),
        (own, compiled_in) => own.or(compiled_in),
    })
}

/// The calibration in a file that the user gives, of whichever base.
///
/// # Errors
/// Where it cannot be read.
pub fn given(path: &Path) -> Result<Calibration> {
    let hint = || {
        format!(
            "{}: not a calibration; write one with `foretaste calibrate --out {0}`",
            path.display()
        )
    };
    let bytes = read_if_there(path, MOST_BYTES)?.with_context(hint)?;
    parse(&bytes).with_context(hint)
}

fn at(
    path: &Path,
    base_sha256: &str,
    template: Option<&TemplateId>,
) -> Result<Option<Calibration>> {
    let Some(bytes) = read_if_there(path, MOST_BYTES)? else { return Ok(None) };
    let hint = || {
        format!(
            "{}: not a calibration of this base; remove it, and run `foretaste calibrate` again",
            path.display()
        )
    };
    let calibration = parse(&bytes).with_context(hint)?;
    ensure!(calibration.is_of(base_sha256, template), hint());
    Ok(Some(calibration))
}

fn parse(bytes: &[u8]) -> Result<Calibration> {
    let calibration: Calibration = serde_json::from_slice(bytes)?;
    ensure!(calibration.schema_version == CALIBRATION_SCHEMA, "of another version of foretaste");
    Ok(calibration)
}

/// Writes a calibration. Audits that only the existing file contains are kept.
///
/// # Errors
/// Where the file cannot be read or written.
pub fn keep(calibration: &Calibration, path: &Path) -> Result<()> {
    let template = calibration.chat_template.as_ref();
    let mut whole = calibration.clone();
    if let Some(mut before) = at(path, &calibration.base_sha256, template)? {
        before.audits.retain(|old| calibration.audits.iter().all(|new| new.id != old.id));
        whole = whole.completed_by(before);
    }
    let mut bytes = serde_json::to_vec_pretty(&whole)?;
    bytes.push(b'\n');
    write_whole(path, &bytes)
}
