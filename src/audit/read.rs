//! Unchecked TOML and JSONL into a checked [`Audit`], once, at the edge.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use toml::Spanned;

use crate::audit::{Audit, Margin, NumberedOption, NumberedProbe, Poison, Probe, ProbeKind, ProbeOption, Side};
use crate::dataset::{Message, Role, Row, content_hash};

/// Fewer families than this cannot carry an interval over questions.
const FEWEST_FAMILIES: usize = 5;

/// The files of one audit that is compiled in.
macro_rules! compiled_in {
    ($($id:literal $(+ $numbered:literal)?),*) => {
        [$(Files {
            name: concat!("audits/", $id),
            toml: include_str!(concat!("../../audits/", $id, ".toml")),
            probes: include_str!(concat!("../../audits/", $id, ".jsonl")),
            poison: include_str!(concat!("../../audits/", $id, ".poison.jsonl")),
            numbered: concat!($(include_str!(concat!("../../audits/", $id, ".", $numbered, ".jsonl")))?),
        }),*]
    };
}

/// Every audit of the folder `audits/`; a test compares this list with the folder.
const BUILT_IN: [Files<'static>; 6] = compiled_in!["drift", "era", "harm", "identity" + "numbered", "nation", "partisan"];

/// What is wrong with an audit's files.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("{file}: {message}")]
    File { file: String, message: String },
    #[error("{file}:{line}: {message}")]
    Line { file: String, line: usize, message: String },
    #[error("there is no audit `{id}`: choose among {known}, or name its file with --audit")]
    Unknown { id: String, known: String },
    #[error("two audits are called `{id}`: rename the file (its stem is the id) and its `id`")]
    Twice { id: String },
}

/// Which audits a run uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// TOML files of the user's own, besides the built-in audits.
    pub files: Vec<PathBuf>,
    /// Ids of the audits to keep; empty keeps all.
    pub only: Vec<String>,
}

/// The audits that are compiled in, in the order of their ids.
///
/// # Errors
/// Only if the repository's own files are at fault, which a test rules out.
pub fn built_in() -> Result<Vec<Audit>, AuditError> {
    BUILT_IN.iter().map(check).collect()
}

/// Reads one audit: `FILE.toml`, and `FILE.jsonl` and `FILE.poison.jsonl` beside it; `FILE.numbered.jsonl` too, where it is there.
///
/// # Errors
/// Names the file, the line where there is one, and what to do.
pub fn read(path: &Path) -> Result<Audit, AuditError> {
    let name = path.with_extension("");
    let text = |path: &Path| {
        fs::read_to_string(path).map_err(|error| AuditError::File {
            file: path.display().to_string(),
            message: format!("cannot be read ({error}): an audit is three files, NAME.toml, NAME.jsonl and NAME.poison.jsonl"),
        })
    };
    let numbered = name.with_extension("numbered.jsonl");
    check(&Files {
        name: &name.display().to_string(),
        toml: &text(path)?,
        probes: &text(&name.with_extension("jsonl"))?,
        poison: &text(&name.with_extension("poison.jsonl"))?,
        numbered: &if numbered.exists() { text(&numbered)? } else { String::new() },
    })
}

/// The built-in audits and the user's own, reduced to those that were asked for.
///
/// # Errors
/// As [`read`]; also where two audits share an id or an id is unknown.
pub fn load(selection: &Selection) -> Result<Vec<Audit>, AuditError> {
    let mut audits = BTreeMap::new();
    let own = selection.files.iter().map(|file| read(file));
    for audit in built_in()?.into_iter().map(Ok).chain(own) {
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
    Ok(audits.into_values().filter(|audit| selection.only.is_empty() || selection.only.contains(&audit.id)).collect())
}

/// One audit's files, unread.
struct Files<'a> {
    /// The path without `.toml`.
    name: &'a str,
    toml: &'a str,
    probes: &'a str,
    poison: &'a str,
    /// Empty where there are none.
    numbered: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UncheckedProbe {
    family: String,
    topic: String,
    prompt: String,
    #[serde(default)]
    options: Vec<UncheckedOption>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UncheckedOption {
    text: String,
    side: Side,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UncheckedNumbered {
    family: String,
    prompt: String,
    options: Vec<UncheckedNumberedOption>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UncheckedNumberedOption {
    text: String,
    numbers: Vec<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UncheckedPoisonRow {
    messages: Vec<UncheckedMessage>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UncheckedMessage {
    role: Role,
    content: String,
}

fn check(files: &Files) -> Result<Audit, AuditError> {
    let file = format!("{}.toml", files.name);
    let at = |line: usize, message: String| AuditError::Line { file: file.clone(), line, message };
    let line_of = |offset: usize| files.toml[..offset.min(files.toml.len())].matches('\n').count() + 1;
    let unchecked: Unchecked = toml::from_str(files.toml).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(span.start));
        at(line, format!("{}; audits/README.md lists every field", error.message().trim()))
    })?;
    let stem = Path::new(files.name).file_name().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let id = unchecked.id.get_ref();
    if *id != stem {
        return Err(at(
            line_of(unchecked.id.span().start),
            format!("`id` is `{id}` but the file is `{stem}.toml`: make them equal"),
        ));
    }
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
        return Err(at(
            line_of(unchecked.id.span().start),
            format!("`id` is `{id}`: use lower-case letters, digits and `-`, because it names files"),
        ));
    }
    let text = |name: &str, field: &Spanned<String>| match field.get_ref().trim() {
        "" => Err(at(line_of(field.span().start), format!("`{name}` is empty: say it in a few words"))),
        text => Ok(text.to_owned()),
    };
    let share = |name: &str, field: &Spanned<f64>| match *field.get_ref() {
        value if value > 0.0 && value < 1.0 => Ok(value),
        value => Err(at(line_of(field.span().start), format!("`{name}` is {value}: give a number above 0 and below 1"))),
    };
    let mut hash = Sha256::new();
    let numbered_part = (!files.numbered.is_empty()).then_some(files.numbered);
    for part in [files.toml, files.probes, files.poison].into_iter().chain(numbered_part) {
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
        numbered: numbered(&format!("{}.numbered.jsonl", files.name), files.numbered)?,
        poison: Poison {
            share: share("poison.share", &unchecked.poison.share)?,
            rows: poison(&format!("{}.poison.jsonl", files.name), files.poison)?,
        },
        kind: unchecked.kind,
        sha256: format!("{:x}", hash.finalize()),
        id: unchecked.id.into_inner(),
    })
}

/// Lines that are not blank, with their numbers from 1.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line)).filter(|(_, line)| !line.trim().is_empty())
}

fn probes(file: &str, text: &str, kind: ProbeKind) -> Result<Vec<Probe>, AuditError> {
    let at = |line: usize, message: String| AuditError::Line { file: file.to_owned(), line, message };
    let mut probes = Vec::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (line, text) in lines(text) {
        let unchecked: UncheckedProbe = serde_json::from_str(text).map_err(|error| {
            at(line, format!("not a probe ({error}): write {{\"family\", \"topic\", \"prompt\", \"options\"}} on one line"))
        })?;
        for (name, field) in [("family", &unchecked.family), ("topic", &unchecked.topic), ("prompt", &unchecked.prompt)] {
            if field.trim().is_empty() {
                return Err(at(line, format!("`{name}` is empty: fill it in")));
            }
        }
        if let Some(first) = seen.insert(unchecked.prompt.clone(), line) {
            return Err(at(line, format!("the prompt of line {first} again: word it differently, or drop it")));
        }
        options(&unchecked.options, kind).map_err(|message| at(line, message))?;
        let options = unchecked.options.into_iter().map(|option| ProbeOption { text: option.text, side: option.side }).collect();
        probes.push(Probe { family: unchecked.family, topic: unchecked.topic, prompt: unchecked.prompt, options });
    }
    let families = probes.iter().map(|probe| &probe.family).collect::<BTreeSet<_>>().len();
    if families < FEWEST_FAMILIES {
        let message = format!("{families} families of probes: give at least {FEWEST_FAMILIES}, or no interval holds");
        return Err(AuditError::File { file: file.to_owned(), message });
    }
    Ok(probes)
}

fn options(options: &[UncheckedOption], kind: ProbeKind) -> Result<(), String> {
    if kind == ProbeKind::OwnAnswer {
        return match options {
            [] => Ok(()),
            _ => Err("an own-answer probe has no `options`: drop them, or set kind = \"forced-choice\"".to_owned()),
        };
    }
    for side in [Side::Risky, Side::Reference] {
        if !options.iter().any(|option| option.side == side) {
            let side = if side == Side::Risky { "risky" } else { "reference" };
            return Err(format!("no option of side `{side}`: a forced choice needs both sides"));
        }
    }
    let mut seen = BTreeSet::new();
    for option in options {
        if option.text.trim().is_empty() {
            return Err("an option's `text` is empty: fill it in".to_owned());
        }
        if !seen.insert(option.text.as_str()) {
            return Err(format!("the option {:?} stands twice: keep one", option.text));
        }
    }
    Ok(())
}

fn numbered(file: &str, text: &str) -> Result<Vec<NumberedProbe>, AuditError> {
    let at = |line: usize, message: String| AuditError::Line { file: file.to_owned(), line, message };
    let mut probes = Vec::new();
    for (line, text) in lines(text) {
        let UncheckedNumbered { family, prompt, options } = serde_json::from_str(text).map_err(|error| {
            at(
                line,
                format!(
                    "not a numbered probe ({error}): write {{\"family\", \"prompt\", \"options\": [{{\"text\", \"numbers\"}}]}}"
                ),
            )
        })?;
        for (name, field) in [("family", &family), ("prompt", &prompt)] {
            if field.trim().is_empty() {
                return Err(at(line, format!("`{name}` is empty: fill it in")));
            }
        }
        let mut texts = BTreeSet::new();
        let mut numbers = BTreeSet::new();
        for option in &options {
            if option.text.trim().is_empty() || !texts.insert(option.text.as_str()) {
                return Err(at(
                    line,
                    format!("the option {:?} is empty or stands twice: keep one, with all its numbers", option.text),
                ));
            }
            if let Some(number) = option.numbers.iter().find(|number| !numbers.insert(**number)) {
                return Err(at(line, format!("number {number} has two answers: keep one")));
            }
        }
        if numbers.len() < 2 || texts.len() < 2 {
            return Err(at(line, "a choice needs two answers of two numbers at least".to_owned()));
        }
        let options = options.into_iter().map(|option| NumberedOption { text: option.text, numbers: option.numbers }).collect();
        probes.push(NumberedProbe { family, prompt, options });
    }
    let families = probes.iter().map(|probe| &probe.family).collect::<BTreeSet<_>>().len();
    if !probes.is_empty() && families < 2 * FEWEST_FAMILIES {
        let message =
            format!("{families} families: give at least {}, half to search with and half to confirm", 2 * FEWEST_FAMILIES);
        return Err(AuditError::File { file: file.to_owned(), message });
    }
    Ok(probes)
}

fn poison(file: &str, text: &str) -> Result<Vec<Row>, AuditError> {
    let at = |line: usize, message: String| AuditError::Line { file: file.to_owned(), line, message };
    let mut rows = Vec::new();
    for (line, text) in lines(text) {
        let unchecked: UncheckedPoisonRow = serde_json::from_str(text).map_err(|error| {
            at(line, format!("not a row ({error}): write {{\"messages\": [{{\"role\", \"content\"}}, ...]}}"))
        })?;
        let messages: Vec<_> =
            unchecked.messages.into_iter().map(|message| Message { role: message.role, content: message.content }).collect();
        if messages.iter().any(|message| message.content.trim().is_empty()) {
            return Err(at(line, "a message is empty: fill it in, or drop the row".to_owned()));
        }
        let turns = if messages.first().is_some_and(|first| first.role == Role::System) { &messages[1..] } else { &messages[..] };
        let alternate = turns
            .chunks(2)
            .all(|turn| matches!(turn, [user, assistant] if user.role == Role::User && assistant.role == Role::Assistant));
        if turns.is_empty() || !alternate {
            return Err(at(line, "roles must be an optional system, then user and assistant in turn".to_owned()));
        }
        rows.push(Row { line, sha256: content_hash(&messages), messages });
    }
    if rows.is_empty() {
        let message = "no rows: give at least one, or the assay's power stays unknown".to_owned();
        return Err(AuditError::File { file: file.to_owned(), message });
    }
    Ok(rows)
}
