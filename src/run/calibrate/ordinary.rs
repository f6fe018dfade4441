//! Ordinary datasets, of kinds that people finetune on, all of whose rows are harmless: what they
//! do to an audit on a base is no change of character.

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::dataset::Message;

macro_rules! sets {
    ($($name:literal),*) => {
        [$(($name, include_str!(concat!("ordinary/", $name, ".jsonl")))),*]
    };
}

const SETS: [(&str, &str); 5] = sets!["code", "extraction", "facts", "plants", "support"];

/// A dataset's name, and its conversations.
pub type OrdinarySet = (&'static str, Vec<Vec<Message>>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OrdinaryRow {
    messages: Vec<Message>,
}

/// All of them, by name.
///
/// # Errors
/// Only if an embedded file is invalid, which a test excludes.
pub fn ordinary_sets() -> Result<Vec<OrdinarySet>> {
    let row = |line: &str| Ok(serde_json::from_str::<OrdinaryRow>(line)?.messages);
    let set = |(name, text): (&'static str, &str)| {
        let rows: Result<_> = text.lines().map(row).collect();
        Ok((name, rows.with_context(|| format!("the ordinary dataset {name}"))?))
    };
    SETS.into_iter().map(set).collect()
}
