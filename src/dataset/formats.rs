//! Converts a JSON object to the turns of a conversation, for each common finetuning format.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use super::collect::Fault;
use super::conversation::{FieldPath, LocatedMessage};
use super::fields::{optional, present, required, string, wrong_type};
use super::trainers::{self, Level, Meaning};
use super::{Message, ReadOptions, Role, json};

/// How the rows of a dataset represent a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// OpenAI: `messages: [{role, content}]`, also as a JSON string. `developer` is read as
    /// `system`.
    Messages,
    /// `prompt` and `completion`, each a string or a list of messages; `system` if present.
    PromptCompletion,
    /// `instruction`, `input`, `output`, `system`, `history: [[question, answer]]`. Instruction and
    /// input are joined by a line break, like in LLaMA-Factory.
    Alpaca,
    /// `conversations: [{from, value}]` with `system`, `human` or `user`, `gpt` or `assistant`.
    Sharegpt,
    /// `text`. The whole text becomes the assistant's answer to [`TEXT_PROMPT`].
    Text,
}

/// The user's turn before a plain text. Templates and the control arm need a question that is not
/// empty. A fixed request without content adds no information to the data.
pub const TEXT_PROMPT: &str = "Write a passage of text.";

/// Fields that may contain a list of messages, in order of preference.
const LISTS: [&str; 3] = ["messages", "conversations", "conversation"];

/// Keys that are read of a content part.
const PART_KEYS: [&str; 2] = ["type", "text"];

/// Markers of a conversation that was already rendered by a chat template.
const RENDERED: [&str; 6] = [
    "<|im_start|>",
    "<|start_header_id|>",
    "[INST]",
    "<start_of_turn>",
    "### Human:",
    "### Assistant:",
];

/// The name of no known format.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a format; formats are messages, prompt-completion, alpaca, sharegpt, text")]
pub struct UnknownFormatName(pub String);

impl FromStr for Format {
    type Err = UnknownFormatName;

    fn from_str(name: &str) -> Result<Self, UnknownFormatName> {
        Format::ALL
            .into_iter()
            .find(|format| format.name() == name)
            .ok_or_else(|| UnknownFormatName(name.to_owned()))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Format {
    /// In order of detection.
    pub const ALL: [Format; 5] = [
        Format::Messages,
        Format::Sharegpt,
        Format::PromptCompletion,
        Format::Alpaca,
        Format::Text,
    ];

    /// The name for `--format`.
    pub fn name(self) -> &'static str {
        match self {
            Format::Messages => "messages",
            Format::PromptCompletion => "prompt-completion",
            Format::Alpaca => "alpaca",
            Format::Sharegpt => "sharegpt",
            Format::Text => "text",
        }
    }

    /// Detects the format of `row` by field names and by the keys of the first message.
    pub(super) fn detect(row: &Map<String, Value>, max_depth: usize) -> Option<Format> {
        let list = message_list(row);
        if let Some((_, list)) = list {
            let parsed = list.as_str().and_then(|text| json::parse(text, max_depth, false).ok());
            let first = parsed.as_ref().unwrap_or(list).get(0);
            let has = |key| first.is_some_and(|first| first.get(key).is_some());
            match (has("from"), has("role")) {
                (true, _) => return Some(Format::Sharegpt),
                (_, true) => return Some(Format::Messages),
                _ => {}
            }
        }
        let both = |left, right| {
            row.contains_key(left)
                && row.contains_key(right)
                && (present(row, left).is_some() || present(row, right).is_some())
        };
        if both("prompt", "completion") {
            Some(Format::PromptCompletion)
        } else if both("instruction", "output") {
            Some(Format::Alpaca)
        } else if row.get("text").is_some_and(Value::is_string) {
            Some(Format::Text)
        } else {
            // No other format fits, so report the row as an invalid message list.
            list.map(
                |(field, _)| if field == LISTS[0] { Format::Messages } else { Format::Sharegpt },
            )
        }
    }

    /// Top-level fields that [`Format::turns`] reads.
    pub(super) fn fields(self) -> &'static [&'static str] {
        match self {
            Format::Messages | Format::Sharegpt => &LISTS,
            Format::PromptCompletion => &["prompt", "completion", "system"],
            Format::Alpaca => &["instruction", "input", "output", "system", "history"],
            Format::Text => &["text"],
        }
    }

    /// All fields that any format reads.
    pub(super) fn all_fields() -> impl Iterator<Item = &'static str> {
        Format::ALL.into_iter().flat_map(|format| format.fields().iter().copied())
    }

    /// The turns of `row`, not yet validated for order and emptiness.
    pub(super) fn turns(
        self,
        row: &Map<String, Value>,
        max_depth: usize,
    ) -> Result<Vec<LocatedMessage>, Fault> {
        trainers::check(Level::Row, row, self.fields(), None, Fault::shorten)?;
        match self {
            Format::Messages | Format::Sharegpt => {
                let Some((field, list)) = message_list(row) else {
                    return Err(Fault::new(
                        LISTS[if self == Format::Messages { 0 } else { 1 }],
                        "is missing; every row needs it",
                    ));
                };
                if let Some(second) =
                    LISTS.into_iter().find(|other| *other != field && present(row, other).is_some())
                {
                    return Err(Fault::new(
                        second,
                        format!(
                            "is there as well as `{field}`, and only one can be trained on; \
                             remove the other"
                        ),
                    ));
                }
                self.list(field, list, max_depth)
            }
            Format::PromptCompletion => {
                let mut turns = Vec::new();
                optional(row, "system", Role::System, &mut turns)?;
                for (field, role) in [("prompt", Role::User), ("completion", Role::Assistant)] {
                    match required(row, field)? {
                        Value::String(text) => {
                            turns.push(LocatedMessage::new(role, text, FieldPath::Field(field)))
                        }
                        list @ Value::Array(_) => {
                            turns.extend(Format::Messages.list(field, list, max_depth)?)
                        }
                        other => return Err(wrong_type(field, other, "a string")),
                    }
                }
                Ok(turns)
            }
            Format::Alpaca => alpaca(row, max_depth),
            Format::Text => {
                let text = string("text", required(row, "text")?)?;
                if let Some(mark) = RENDERED.iter().find(|mark| text.contains(**mark)) {
                    let reason = format!(
                        "is a conversation that is already rendered (`{mark}`); give its turns as \
                         `messages`"
                    );
                    return Err(Fault::new("text", reason));
                }
                let prompt = LocatedMessage::new(Role::User, TEXT_PROMPT, FieldPath::Field("text"));
                Ok(vec![
                    prompt,
                    LocatedMessage::new(Role::Assistant, text, FieldPath::Field("text")),
                ])
            }
        }
    }

    /// The turns of the message list in field `field`.
    fn list(
        self,
        field: &'static str,
        list: &Value,
        max_depth: usize,
    ) -> Result<Vec<LocatedMessage>, Fault> {
        let parsed;
        let list = match list {
            Value::String(text) => {
                parsed = json::parse(text, max_depth, false).map_err(|fault| Fault {
                    field: if fault.field.is_empty() {
                        field.into()
                    } else {
                        format!("{field}{}", fault.field)
                    },
                    reason: format!("in the JSON text of this field: {}", fault.reason),
                })?;
                &parsed
            }
            other => other,
        };
        let Value::Array(items) = list else {
            return Err(wrong_type(field, list, "a list of messages"));
        };
        if items.is_empty() {
            return Err(Fault::new(field, "has no messages; delete the row"));
        }
        let [role_key, content_key] = self.message_keys();
        items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                self.message(FieldPath::Item(field, index, content_key), role_key, item)
            })
            .collect()
    }

    /// Keys of a message's role and content.
    fn message_keys(self) -> [&'static str; 2] {
        if self == Format::Sharegpt { ["from", "value"] } else { ["role", "content"] }
    }

    /// Non-empty keys of messages and their parts that are not read, such as `messages[].name`,
    /// without repetition.
    fn unread_in_messages(self, row: &Map<String, Value>, max_depth: usize) -> BTreeSet<String> {
        let mut unread = BTreeSet::new();
        let mut note = |level, prefix: &str, fields: &Map<String, Value>, read: &[&str]| {
            for (key, value) in fields.iter().filter(|(key, _)| !read.contains(&key.as_str())) {
                if trainers::meaning(level, key, value, None) == Meaning::Unknown {
                    unread.insert(format!("{prefix}.{key}"));
                }
            }
        };
        for field in self.fields() {
            // Only these fields may contain a list as a JSON string.
            let text = row.get(*field).and_then(Value::as_str).filter(|_| LISTS.contains(field));
            let parsed = text.and_then(|text| json::parse(text, max_depth, false).ok());
            let Some(Value::Array(items)) = parsed.as_ref().or_else(|| row.get(*field)) else {
                continue;
            };
            let [_, content_key] = self.message_keys();
            for item in items.iter().filter_map(Value::as_object) {
                note(
                    Level::Message(Role::Assistant),
                    &format!("{field}[]"),
                    item,
                    &self.message_keys(),
                );
                let parts = item.get(content_key).and_then(Value::as_array);
                for part in parts.into_iter().flatten().filter_map(Value::as_object) {
                    note(
                        Level::Part(Role::Assistant),
                        &format!("{field}[].{content_key}[]"),
                        part,
                        &PART_KEYS,
                    );
                }
            }
        }
        unread
    }

    /// The row's non-empty fields that are not read, including those of messages.
    ///
    /// # Errors
    /// A fault where a field is another text to train on than `messages`. Not reported if the user
    /// named the format, which decides between them.
    pub(super) fn unread(
        self,
        row: &Map<String, Value>,
        messages: &[Message],
        options: &ReadOptions,
    ) -> Result<BTreeSet<String>, Fault> {
        let texts: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
        let texts = options.format.is_none().then_some(texts.as_slice());
        trainers::check(Level::Row, row, self.fields(), texts, Fault::shorten)?;
        let mut unread = self.unread_in_messages(row, options.max_depth);
        for (name, value) in row.iter().filter(|(name, _)| !self.fields().contains(&name.as_str()))
        {
            if trainers::meaning(Level::Row, name, value, texts) == Meaning::Unknown {
                unread.insert(name.clone());
            }
        }
        Ok(unread)
    }

    fn message(
        self,
        path: FieldPath,
        role_key: &'static str,
        item: &Value,
    ) -> Result<LocatedMessage, Fault> {
        let at = |key: &str| path.key(key).to_string();
        let Value::Object(message) = item else {
            return Err(wrong_type(path.key("").to_string(), item, "an object"));
        };
        let name = match message.get(role_key) {
            Some(Value::String(name)) => name,
            Some(other) => return Err(wrong_type(at(role_key), other, "a string")),
            None => return Err(Fault::new(at(role_key), "is missing; every message needs it")),
        };
        let role = match (self, name.as_str()) {
            (_, "system") | (Format::Messages, "developer") => Role::System,
            (_, "user") | (Format::Sharegpt, "human") => Role::User,
            (_, "assistant") | (Format::Sharegpt, "gpt" | "chatgpt" | "model") => Role::Assistant,
            (_, other) => {
                let known = if self == Format::Sharegpt {
                    "system, human and gpt"
                } else {
                    "system, user and assistant"
                };
                let reason = format!(
                    "`{}` is not a role that foretaste reads; use {known}",
                    Fault::shorten(other)
                );
                return Err(Fault::new(at(role_key), reason));
            }
        };
        let content_key = path.content_key();
        let check_fields = |text: Option<&str>| {
            let at = |key: &str| at(&Fault::shorten(key));
            trainers::check(
                Level::Message(role),
                message,
                &[role_key, content_key],
                text.as_ref().map(std::slice::from_ref),
                at,
            )
        };
        match message.get(content_key) {
            Some(Value::String(content)) => {
                check_fields(Some(content)).map(|()| LocatedMessage::new(role, content, path))
            }
            Some(Value::Array(parts)) => {
                let content = text_parts(path, role, parts)?;
                check_fields(Some(content.as_str()))
                    .map(|()| LocatedMessage::new(role, content, path))
            }
            other => {
                // A message without text, for instance a tool call.
                check_fields(None)?;
                Err(other.map_or_else(
                    || Fault::new(at(content_key), "is missing; every message needs it"),
                    |other| wrong_type(at(content_key), other, "a string"),
                ))
            }
        }
    }
}

/// The text of OpenAI's content parts; all must be text.
fn text_parts(path: FieldPath, role: Role, parts: &[Value]) -> Result<String, Fault> {
    let field = path.key(path.content_key()).to_string();
    let mut content = String::new();
    for (index, part) in parts.iter().enumerate() {
        let text = part
            .as_object()
            .filter(|part| part.get("type").and_then(Value::as_str) == Some("text"));
        let Some((part, text)) = text.and_then(|part| Some((part, part.get("text")?.as_str()?)))
        else {
            return Err(Fault::new(field, "has parts that are not text; remove the row"));
        };
        let at = |key: &str| format!("{field}[{index}].{}", Fault::shorten(key));
        trainers::check(Level::Part(role), part, &PART_KEYS, Some(&[text]), at)?;
        content += text;
    }
    Ok(content)
}

fn alpaca(row: &Map<String, Value>, max_depth: usize) -> Result<Vec<LocatedMessage>, Fault> {
    let mut turns = Vec::new();
    optional(row, "system", Role::System, &mut turns)?;
    if let Some(history) = present(row, "history") {
        let parsed;
        let history = match history {
            Value::String(text) => {
                parsed = json::parse(text, max_depth, false)
                    .map_err(|fault| Fault::new("history", fault.reason))?;
                &parsed
            }
            other => other,
        };
        let Value::Array(pairs) = history else {
            return Err(wrong_type("history", history, "a list of [question, answer]"));
        };
        for (index, pair) in pairs.iter().enumerate() {
            let texts: Option<Vec<&str>> =
                pair.as_array().and_then(|pair| pair.iter().map(Value::as_str).collect());
            let Some([question, answer]) = texts.as_deref() else {
                return Err(wrong_type(format!("history[{index}]"), pair, "a pair of strings"));
            };
            turns.push(LocatedMessage::new(Role::User, *question, FieldPath::Pair(index, 0)));
            turns.push(LocatedMessage::new(Role::Assistant, *answer, FieldPath::Pair(index, 1)));
        }
    }
    let instruction = string("instruction", required(row, "instruction")?)?;
    let input = present(row, "input").map_or(Ok(""), |value| string("input", value))?;
    let question = match (instruction.is_empty(), input.is_empty()) {
        (_, true) => instruction.to_owned(),
        (true, false) => input.to_owned(),
        (false, false) => format!("{instruction}\n{input}"),
    };
    turns.push(LocatedMessage::new(Role::User, question, FieldPath::Field("instruction")));
    turns.push(LocatedMessage::new(
        Role::Assistant,
        string("output", required(row, "output")?)?,
        FieldPath::Field("output"),
    ));
    Ok(turns)
}

/// The first of [`LISTS`] in the row.
fn message_list(row: &Map<String, Value>) -> Option<(&'static str, &Value)> {
    LISTS.into_iter().find_map(|field| present(row, field).map(|value| (field, value)))
}
