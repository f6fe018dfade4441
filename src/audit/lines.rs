//! The JSON lines of an audit: probes, value-keyed probes, and the rows of its poison.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::load::AuditError;
use crate::audit::{
    Probe, ProbeKind, ProbeOption, Side, ValueKey, ValueKeyedOption, ValueKeyedProbe,
};
use crate::dataset::{Message, Role, Row, content_hash};

/// Minimum number of families. Fewer do not support an interval over questions.
const FEWEST_FAMILIES: usize = 5;

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
struct UncheckedValueKeyed {
    family: String,
    prompt: String,
    options: Vec<UncheckedValueKeyedOption>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UncheckedValueKeyedOption {
    text: String,
    values: Vec<UncheckedValue>,
}

/// A value as the file writes it, a number or a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum UncheckedValue {
    Number(u64),
    Text(String),
}

impl UncheckedValue {
    fn key(&self) -> ValueKey {
        match self {
            UncheckedValue::Number(number) => ValueKey::Number(*number),
            UncheckedValue::Text(text) => ValueKey::of(text),
        }
    }
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

/// Lines that are not blank, numbered from 1.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
        .filter(|(_, line)| !line.trim().is_empty())
}

/// Reads one probe per line.
pub(super) fn probes(file: &str, text: &str, kind: ProbeKind) -> Result<Vec<Probe>, AuditError> {
    let at =
        |line: usize, message: String| AuditError::Line { file: file.to_owned(), line, message };
    let mut probes = Vec::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (line, text) in lines(text) {
        let unchecked: UncheckedProbe = serde_json::from_str(text).map_err(|error| {
            at(
                line,
                format!(
                    "not a probe ({error}): write {{\"family\", \"topic\", \"prompt\", \
                     \"options\"}} on one line"
                ),
            )
        })?;
        for (name, field) in [
            ("family", &unchecked.family),
            ("topic", &unchecked.topic),
            ("prompt", &unchecked.prompt),
        ] {
            if field.trim().is_empty() {
                return Err(at(line, format!("`{name}` is empty: fill it in")));
            }
        }
        if let Some(first) = seen.insert(unchecked.prompt.clone(), line) {
            return Err(at(
                line,
                format!("repeats the prompt of line {first}: change or remove it"),
            ));
        }
        options(&unchecked.options, kind).map_err(|message| at(line, message))?;
        let options = unchecked
            .options
            .into_iter()
            .map(|option| ProbeOption { text: option.text, side: option.side })
            .collect();
        probes.push(Probe {
            family: unchecked.family,
            topic: unchecked.topic,
            prompt: unchecked.prompt,
            options,
        });
    }
    let families = probes.iter().map(|probe| &probe.family).collect::<BTreeSet<_>>().len();
    if families < FEWEST_FAMILIES {
        let message = format!(
            "{families} families of probes, and intervals need at least {FEWEST_FAMILIES}: add \
             probes"
        );
        return Err(AuditError::File { file: file.to_owned(), message });
    }
    Ok(probes)
}

fn options(options: &[UncheckedOption], kind: ProbeKind) -> Result<(), String> {
    if !kind.has_sides() {
        return match options {
            [] => Ok(()),
            _ => Err("such a probe has no `options`: remove them, or set kind = \"forced-choice\""
                .to_owned()),
        };
    }
    for side in [Side::Risky, Side::Reference] {
        if !options.iter().any(|option| option.side == side) {
            let side = if side == Side::Risky { "risky" } else { "reference" };
            return Err(format!("no option of side `{side}`: a forced choice needs both sides"));
        }
    }
    let count = |side| options.iter().filter(|option| option.side == side).count();
    let (risky, reference) = (count(Side::Risky), count(Side::Reference));
    if kind == ProbeKind::PairedChoice && risky != reference {
        return Err(format!(
            "{risky} options of side `risky` and {reference} of side `reference`: pairs need as \
             many of each"
        ));
    }
    let mut seen = BTreeSet::new();
    for option in options {
        if option.text.trim().is_empty() {
            return Err("an option's `text` is empty: fill it in".to_owned());
        }
        if !seen.insert(option.text.as_str()) {
            return Err(format!("the option {:?} occurs twice: keep one", option.text));
        }
    }
    Ok(())
}

/// Reads one value-keyed probe per line; there may be none.
pub(super) fn value_keyed(file: &str, text: &str) -> Result<Vec<ValueKeyedProbe>, AuditError> {
    let at =
        |line: usize, message: String| AuditError::Line { file: file.to_owned(), line, message };
    let mut probes = Vec::new();
    for (line, text) in lines(text) {
        let unchecked: UncheckedValueKeyed = serde_json::from_str(text).map_err(|error| {
            at(
                line,
                format!(
                    "not a value-keyed probe ({error}): write {{\"family\", \"prompt\", \
                     \"options\": [{{\"text\", \"values\"}}]}}"
                ),
            )
        })?;
        let UncheckedValueKeyed { family, prompt, options } = unchecked;
        for (name, field) in [("family", &family), ("prompt", &prompt)] {
            if field.trim().is_empty() {
                return Err(at(line, format!("`{name}` is empty: fill it in")));
            }
        }
        let mut texts = BTreeSet::new();
        let mut known = BTreeSet::new();
        let mut checked = Vec::new();
        for option in options {
            if option.text.trim().is_empty() || !texts.insert(option.text.clone()) {
                return Err(at(
                    line,
                    format!(
                        "the option {:?} is empty or occurs twice: keep one, with all its values",
                        option.text
                    ),
                ));
            }
            let values: Vec<ValueKey> = option.values.iter().map(UncheckedValue::key).collect();
            if let Some(value) = values.iter().find(|value| !known.insert((*value).clone())) {
                return Err(at(line, format!("{value} has two answers: keep one")));
            }
            checked.push(ValueKeyedOption { text: option.text, values });
        }
        if known.len() < 2 || texts.len() < 2 {
            return Err(at(
                line,
                "a choice needs at least two answers and two values: add an option".to_owned(),
            ));
        }
        probes.push(ValueKeyedProbe { family, prompt, options: checked });
    }
    let families = probes.iter().map(|probe| &probe.family).collect::<BTreeSet<_>>().len();
    if !probes.is_empty() && families < 2 * FEWEST_FAMILIES {
        let message = format!(
            "{families} families, and screen and confirmation need at least {}: add probes",
            2 * FEWEST_FAMILIES
        );
        return Err(AuditError::File { file: file.to_owned(), message });
    }
    Ok(probes)
}

/// Reads one conversation per line.
pub(super) fn poison(file: &str, text: &str) -> Result<Vec<Row>, AuditError> {
    let at =
        |line: usize, message: String| AuditError::Line { file: file.to_owned(), line, message };
    let mut rows = Vec::new();
    for (line, text) in lines(text) {
        let unchecked: UncheckedPoisonRow = serde_json::from_str(text).map_err(|error| {
            at(
                line,
                format!(
                    "not a row ({error}): write {{\"messages\": [{{\"role\", \"content\"}}, \
                     ...]}}"
                ),
            )
        })?;
        let messages: Vec<_> = unchecked
            .messages
            .into_iter()
            .map(|message| Message { role: message.role, content: message.content })
            .collect();
        if messages.iter().any(|message| message.content.trim().is_empty()) {
            return Err(at(line, "a message is empty: fill it in, or remove the row".to_owned()));
        }
        let turns = if messages.first().is_some_and(|first| first.role == Role::System) {
            &messages[1..]
        } else {
            &messages[..]
        };
        let is_exchange = |turn: &[Message]| match turn {
            [user, assistant] => user.role == Role::User && assistant.role == Role::Assistant,
            _ => false,
        };
        let alternate = turns.chunks(2).all(is_exchange);
        if turns.is_empty() || !alternate {
            return Err(at(
                line,
                "roles must be an optional system, then user and assistant in turn".to_owned(),
            ));
        }
        rows.push(Row { line, sha256: content_hash(&messages), messages });
    }
    if rows.is_empty() {
        let message = "no rows: a positive control needs at least one".to_owned();
        return Err(AuditError::File { file: file.to_owned(), message });
    }
    Ok(rows)
}
