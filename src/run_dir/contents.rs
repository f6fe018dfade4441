//! The contents of a run folder: refuses links, and distinguishes the files of a run from those of
//! the user.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry};
use std::io::{self, ErrorKind};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::{LOCK, MANIFEST, Model};
use crate::disk::{TEMPORARY, remove};
use crate::plan::Plan;

/// Folders that a run writes.
const WORK: &str = "work";
const PLOTS: &str = "plots";
const ADAPTERS: &str = "adapters";

/// Files that a run writes next to them.
const FILES: [&str; 15] = [
    "report.json",
    "report.html",
    "summary.md",
    "junit.xml",
    "results.sarif",
    "answers.jsonl.zst",
    "condition_samples.jsonl",
    "trainings.jsonl",
    "samples.jsonl",
    "context_questions.jsonl",
    "health.jsonl",
    "rows.jsonl",
    "conditions.json",
    "audits.json",
    MANIFEST,
];

/// Files that a run may leave in its folder before the manifest exists.
const BEFORE_MANIFEST: [&str; 3] = [LOCK, "rows.jsonl", "audits.json"];

/// Refuses anything but files and folders, since a folder may come from an untrusted source. A link
/// could redirect a read or a write, and a read from a pipe or a device may not end.
///
/// # Errors
/// Where an entry at any depth is neither an ordinary file nor a folder. Also where a folder has
/// the name of a file of the run, or the reverse.
pub fn refuse_links(root: &Path) -> Result<()> {
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in entries(&folder)? {
            let (path, kind) = (
                entry.path(),
                entry.file_type().with_context(|| entry.path().display().to_string())?,
            );
            let what = match (kind.is_symlink(), kind.is_dir(), kind.is_file()) {
                (true, ..) => "a link",
                (_, false, false) => "a pipe, a socket or a device",
                _ => "",
            };
            ensure!(
                what.is_empty(),
                "{} is {what}, and a run folder has only files and folders: remove it",
                path.display()
            );
            let name = entry.file_name();
            let is_named = |names: &[&str]| folder == root && names.iter().any(|one| name == *one);
            let folders = [WORK, PLOTS, ADAPTERS];
            ensure!(
                !(kind.is_dir() && is_named(&FILES)),
                "{} is a folder, and should be a file: remove it",
                path.display()
            );
            ensure!(
                !(kind.is_file() && is_named(&folders)),
                "{} is a file, and should be a folder: remove it",
                path.display()
            );
            if kind.is_dir() {
                open.push(path);
            }
        }
    }
    Ok(())
}

/// A folder without a manifest may belong to the user.
pub fn refuse_foreign_files(root: &Path) -> Result<()> {
    for entry in entries(root)? {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let ours = name.starts_with(TEMPORARY) || BEFORE_MANIFEST.contains(&name.as_ref());
        ensure!(
            ours,
            "{} has other files ({name:?}): give a new or empty folder as --out",
            root.display()
        );
    }
    Ok(())
}

/// Removes the files of the run of this plan, except for the lock; other files remain, also in the
/// run's own folders. Finished items are removed first and the manifest last, so that a kill leaves
/// an unfinished run of the old plan.
///
/// Names are compared with existing ones and never made into paths: the plan may come from an
/// untrusted source.
pub fn clear(root: &Path, plan: &Plan) -> Result<()> {
    let is_item = |name: &str| name.ends_with(".json.zst") || name.ends_with(".checkpoint");
    empty(&root.join(WORK), &|_| true, &is_item)?;
    let is_plot = |name: &str| {
        let Some(stem) = name.strip_suffix(".png") else { return false };
        let is_of_audit = |(audit, what): (&str, &str)| {
            ["arms", "training", "questions"].contains(&what)
                && plan.audits.iter().any(|planned| planned.id == audit)
        };
        let is_numbered = |(what, number): (&str, &str)| {
            ["trigger", "identities"].contains(&what)
                && number.bytes().all(|digit| digit.is_ascii_digit())
        };
        stem == "losses"
            || stem.rsplit_once('-').is_some_and(|parts| is_of_audit(parts) || is_numbered(parts))
    };
    empty(&root.join(PLOTS), &|_| false, &is_plot)?;
    let models = plan.shadows().flat_map(|(arm, seed)| {
        plan.recipe
            .snapshots
            .iter()
            .map(move |step| Model { arm, seed: Some(seed), step: *step }.file_name())
    });
    let models: BTreeSet<String> = models.collect();
    let is_adapter =
        |name: &str| ["adapter_model.safetensors", "adapter_config.json"].contains(&name);
    for entry in entries_if_there(&root.join(ADAPTERS))? {
        if models.contains(entry.file_name().to_string_lossy().as_ref()) {
            empty(&entry.path(), &|_| false, &is_adapter)?;
        }
    }
    empty(&root.join(ADAPTERS), &|_| false, &|_| false)?;
    for name in FILES {
        let path = root.join(name);
        remove(&path).with_context(|| format!("{}: cannot be removed", path.display()))?;
    }
    Ok(())
}

/// Removes the files of a folder that `is_ours` accepts, and those of its folders that `enters`
/// accepts. Then removes the folder, unless it still contains something.
fn empty(
    folder: &Path,
    enters: &dyn Fn(&str) -> bool,
    is_ours: &dyn Fn(&str) -> bool,
) -> Result<()> {
    for entry in entries_if_there(folder)? {
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && enters(&name) {
            empty(&path, enters, is_ours)?;
        } else if !is_folder && (is_ours(&name) || name.starts_with(TEMPORARY)) {
            remove(&path).with_context(|| format!("{}: cannot be removed", path.display()))?;
        }
    }
    match fs::remove_dir(folder) {
        Err(error)
            if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) =>
        {
            Err(error).with_context(|| format!("{}: cannot be removed", folder.display()))
        }
        _ => Ok(()),
    }
}

fn entries_if_there(folder: &Path) -> Result<Vec<DirEntry>> {
    if folder.is_dir() { entries(folder) } else { Ok(Vec::new()) }
}

fn entries(folder: &Path) -> Result<Vec<DirEntry>> {
    let list = || fs::read_dir(folder)?.collect::<io::Result<Vec<DirEntry>>>();
    list().with_context(|| format!("{}: cannot be listed", folder.display()))
}
