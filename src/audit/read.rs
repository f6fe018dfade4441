//! Parses and validates the TOML of an [`Audit`].

use std::path::Path;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use toml::Spanned;

use super::lines::{poison, probes, value_keyed};
use super::load::AuditError;
use crate::audit::{Audit, Margin, Poison, ProbeKind};

/// Whether a text is a valid audit id. Ids become file names and SARIF rule ids.
pub fn is_id(id: &str) -> bool {
    !id.is_empty()
        && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// The contents of one audit's files, not yet parsed.
pub(super) struct Files<'a> {
    /// The path without `.toml`.
    pub name: &'a str,
    pub toml: &'a str,
    pub probes: &'a str,
    pub poison: &'a str,
    /// Empty where the audit has no value-keyed probes.
    pub values: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UncheckedAudit {
    id: Spanned<String>,
    title: Spanned<String>,
    question: Spanned<String>,
    risky: Spanned<String>,
    reference: Spanned<String>,
    kind: ProbeKind,
    margin: UncheckedMargin,
    poison: UncheckedPoison,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UncheckedMargin {
    value: Spanned<f64>,
    reason: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UncheckedPoison {
    share: Spanned<f64>,
}

/// Parses and validates one audit.
///
/// # Errors
/// The line that is invalid, and what to do.
pub(super) fn check(files: &Files) -> Result<Audit, AuditError> {
    let file = format!("{}.toml", files.name);
    let at = |line: usize, message: String| AuditError::Line { file: file.clone(), line, message };
    let line_of =
        |offset: usize| files.toml[..offset.min(files.toml.len())].matches('\n').count() + 1;
    let unchecked: UncheckedAudit = toml::from_str(files.toml).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(span.start));
        at(line, format!("{}; audits/README.md lists every field", error.message().trim()))
    })?;
    let stem = Path::new(files.name)
        .file_name()
        .map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default();
    let id = unchecked.id.get_ref();
    if *id != stem {
        return Err(at(
            line_of(unchecked.id.span().start),
            format!("`id` is `{id}` but the file is `{stem}.toml`: make them equal"),
        ));
    }
    if !is_id(id) {
        return Err(at(
            line_of(unchecked.id.span().start),
            format!("`id` is `{id}`: use only lower-case letters, digits and `-`"),
        ));
    }
    let text = |name: &str, field: &Spanned<String>| match field.get_ref().trim() {
        "" => Err(at(line_of(field.span().start), format!("`{name}` is empty: fill it in"))),
        text => Ok(text.to_owned()),
    };
    let share = |name: &str, field: &Spanned<f64>| match *field.get_ref() {
        value if value > 0.0 && value < 1.0 => Ok(value),
        value => Err(at(
            line_of(field.span().start),
            format!("`{name}` is {value}: give a number above 0 and below 1"),
        )),
    };
    let mut hash = Sha256::new();
    let values = (!files.values.is_empty()).then_some(files.values);
    for part in [files.toml, files.probes, files.poison].into_iter().chain(values) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    Ok(Audit {
        title: text("title", &unchecked.title)?,
        question: text("question", &unchecked.question)?,
        risky: text("risky", &unchecked.risky)?,
        reference: text("reference", &unchecked.reference)?,
        margin: Margin {
            value: share("margin.value", &unchecked.margin.value)?,
            reason: text("margin.reason", &unchecked.margin.reason)?,
        },
        probes: probes(&format!("{}.jsonl", files.name), files.probes, unchecked.kind)?,
        value_keyed: value_keyed(&format!("{}.values.jsonl", files.name), files.values)?,
        poison: Poison {
            share: share("poison.share", &unchecked.poison.share)?,
            rows: poison(&format!("{}.poison.jsonl", files.name), files.poison)?,
        },
        kind: unchecked.kind,
        sha256: format!("{:x}", hash.finalize()),
        id: unchecked.id.into_inner(),
    })
}
