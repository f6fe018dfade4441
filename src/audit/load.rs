//! Selects the audits of a run and loads them: built-in ones, or the user's files.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::read::{Files, check};
use crate::audit::Audit;
use crate::disk::{MOST_BYTES, read_file};

/// The embedded files of the built-in audits of one set.
macro_rules! compiled_in {
    ($set:literal: $($id:literal $(+ $values:literal)?),*) => {
        [$(Files {
            name: concat!("audits/", $set, "/", $id),
            toml: include_str!(concat!("../../audits/", $set, "/", $id, ".toml")),
            probes: include_str!(concat!("../../audits/", $set, "/", $id, ".jsonl")),
            poison: include_str!(concat!("../../audits/", $set, "/", $id, ".poison.jsonl")),
            values: concat!($(
                include_str!(concat!("../../audits/", $set, "/", $id, ".", $values, ".jsonl"))
            )?),
        }),*]
    };
}

/// A set of built-in audits: a folder in `audits/`. A test compares these lists with the folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditSet {
    /// In the words of the small world that nestling knows.
    World,
    /// In plain English, for any other base.
    General,
}

const WORLD: [Files<'static>; 6] =
    compiled_in!["world": "drift", "era", "harm", "identity" + "values", "nation", "partisan"];

/// The audits of a quick run, of either set.
const QUICK: [&str; 5] = ["drift", "era", "harm", "identity", "values"];

const GENERAL: [Files<'static>; 6] = compiled_in![
    "general": "drift", "era", "identity" + "values", "nation", "partisan", "values"
];

/// An invalid audit or selection.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("{file}: {message}")]
    File { file: String, message: String },
    #[error("{file}:{line}: {message}")]
    Line { file: String, line: usize, message: String },
    #[error("there is no audit `{id}`: choose one of {known}, or give its file with --audit")]
    Unknown { id: String, known: String },
    #[error("two audits have the id `{id}`: rename one file, and change its `id` to the new name")]
    Twice { id: String },
}

/// The audits of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// The built-in audits; `None` chooses by the base.
    pub set: Option<AuditSet>,
    /// TOML files of the user, in addition to the built-in audits.
    pub files: Vec<PathBuf>,
    /// Ids of the audits to keep; all if empty.
    pub only: Vec<String>,
    /// Whether, without such ids, only the audits of a quick run are kept.
    pub quick: bool,
}

impl AuditSet {
    pub const ALL: [AuditSet; 2] = [AuditSet::World, AuditSet::General];

    /// The set whose words a base knows.
    pub fn of_base(is_nestling: bool) -> Self {
        if is_nestling { AuditSet::World } else { AuditSet::General }
    }

    /// The name of its folder, and of the option's value.
    pub fn name(self) -> &'static str {
        match self {
            AuditSet::World => "world",
            AuditSet::General => "general",
        }
    }

    /// Its audits, ordered by id.
    ///
    /// # Errors
    /// Only if an embedded file is invalid, which a test excludes.
    pub fn audits(self) -> Result<Vec<Audit>, AuditError> {
        match self {
            AuditSet::World => WORLD.iter().map(check).collect(),
            AuditSet::General => GENERAL.iter().map(check).collect(),
        }
    }
}

impl std::str::FromStr for AuditSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = AuditSet::ALL.into_iter().find(|set| set.name() == text);
        found.ok_or_else(|| "give world or general".to_owned())
    }
}

/// All built-in audits of all sets. Ids are not unique.
///
/// # Errors
/// As [`AuditSet::audits`].
pub fn built_in() -> Result<Vec<Audit>, AuditError> {
    Ok(AuditSet::ALL.map(AuditSet::audits).into_iter().collect::<Result<Vec<_>, _>>()?.concat())
}

/// Reads one audit from `FILE.toml`, `FILE.jsonl`, `FILE.poison.jsonl` and, if it exists,
/// `FILE.values.jsonl`.
///
/// # Errors
/// Names the file, the line where there is one, and what to do.
pub fn read(path: &Path) -> Result<Audit, AuditError> {
    let name = path.with_extension("");
    let text = |path: &Path| {
        let text = read_file(path, MOST_BYTES)
            .and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other));
        text.map_err(|error| AuditError::File {
            file: path.display().to_string(),
            message: format!(
                "cannot be read ({error}): an audit needs three files, NAME.toml, NAME.jsonl and \
                 NAME.poison.jsonl"
            ),
        })
    };
    let values = name.with_extension("values.jsonl");
    check(&Files {
        name: &name.display().to_string(),
        toml: &text(path)?,
        probes: &text(&name.with_extension("jsonl"))?,
        poison: &text(&name.with_extension("poison.jsonl"))?,
        values: &if values.exists() { text(&values)? } else { String::new() },
    })
}

/// The built-in audits and the user's own, restricted to the selected ids. `of_base` is the set of
/// a selection that names none.
///
/// # Errors
/// As [`read`]; also where two audits share an id or an id is unknown.
pub fn load(selection: &Selection, of_base: AuditSet) -> Result<Vec<Audit>, AuditError> {
    let mut audits = BTreeMap::new();
    let own = selection.files.iter().map(|file| read(file));
    let set = selection.set.unwrap_or(of_base);
    for audit in set.audits()?.into_iter().map(Ok).chain(own) {
        let audit = audit?;
        if let Some(other) = audits.insert(audit.id.clone(), audit) {
            return Err(AuditError::Twice { id: other.id });
        }
    }
    for id in &selection.only {
        if !audits.contains_key(id) {
            let known = audits.keys().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ");
            return Err(AuditError::Unknown { id: id.clone(), known });
        }
    }
    Ok(audits
        .into_values()
        .filter(|audit| {
            let is_quick = !selection.quick || QUICK.contains(&audit.id.as_str());
            if selection.only.is_empty() { is_quick } else { selection.only.contains(&audit.id) }
        })
        .collect())
}
