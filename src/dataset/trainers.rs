//! Fields that trainers interpret: further text, masks, weights, labels. A row with such a field is
//! rejected unless foretaste supports it, because the tested text would differ from the trained
//! text. Values with the same meaning as an absent field are accepted.
//!
//! Sources: OpenAI's fine-tuning guide; TRL's dataset formats; axolotl's `chat_template`,
//! `input_output` and tokenized datasets; ms-swift's custom datasets, which ignore the case of
//! names; LLaMA-Factory's columns and its v1 messages; torchtune's messages.

use serde_json::{Map, Value};

use super::Role;
use super::collect::Fault;

/// The location of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Row,
    Message(Role),
    /// A part of a message's content.
    Part(Role),
}

/// The meaning of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The same as if the field were absent.
    Nothing,
    /// No known trainer interprets it.
    Unknown,
    /// The row would not be trained on as it is read; contains the reason and the remedy.
    Refused(&'static str),
}

/// Which values of a field are equivalent to its absence.
#[derive(Debug, Clone, Copy)]
enum ValueRule {
    /// Empty values.
    Empty,
    /// Empty values and false: the answer is not masked.
    Unmasked,
    /// One and true on an answer, zero and false elsewhere: exactly the answers are trained on.
    Supervised,
    /// As `Supervised`, and one elsewhere too, since weights apply to answers only.
    Weight,
    /// All but false, which would train away from the answer. A value that is not boolean is an
    /// unrelated label.
    Desired,
    /// Values equal to the text that is read.
    Same,
}

struct Field {
    names: &'static [&'static str],
    /// Whether it applies to rows, to messages, to parts.
    on: [bool; 3],
    rule: ValueRule,
    reason: &'static str,
}

const ROW: [bool; 3] = [true, false, false];
const MESSAGE: [bool; 3] = [false, true, false];
const ROW_AND_MESSAGE: [bool; 3] = [true, true, false];
const MESSAGE_AND_PART: [bool; 3] = [false, true, true];
const EVERYWHERE: [bool; 3] = [true, true, true];

const FIELDS: [Field; 14] = [
    Field {
        names: &["system", "system_prompt", "systemInstruction"],
        on: ROW,
        rule: ValueRule::Empty,
        reason: "is a system message outside the conversation, where it is not read; make it the \
                 conversation's first message, or remove it",
    },
    Field {
        names: &["tools", "functions"],
        on: ROW_AND_MESSAGE,
        rule: ValueRule::Empty,
        reason: "tool definitions are not supported; remove them or the row",
    },
    Field {
        names: &["tool_calls", "function_call"],
        on: MESSAGE,
        rule: ValueRule::Empty,
        reason: "tool calls are not supported; remove the row",
    },
    Field {
        names: &["reasoning_content", "reasoning", "thinking"],
        on: ROW_AND_MESSAGE,
        rule: ValueRule::Empty,
        reason: "is not supported; write it into the content as your training does, or remove it",
    },
    Field {
        names: &["weight", "sample_weight"],
        on: EVERYWHERE,
        rule: ValueRule::Weight,
        reason: "a weight other than 1 is not supported, as shadows train on every answer alike; \
                 remove the weight, the message or the row",
    },
    Field {
        names: &["train", "training", "loss", "loss_scale", "loss_weight", "loss_mask"],
        on: EVERYWHERE,
        rule: ValueRule::Supervised,
        reason: "sets what is trained on or how much, which is not supported, as shadows train on \
                 every answer alike; remove it, the message or the row",
    },
    Field {
        names: &[
            "mask",
            "masked",
            "train_detail",
            "training_detail",
            "completion_mask",
            "assistant_mask",
            "assistant_masks",
        ],
        on: EVERYWHERE,
        rule: ValueRule::Unmasked,
        reason: "masks part of the row, which is not supported, as shadows train on every answer \
                 alike; remove it, the message or the row",
    },
    Field {
        names: &["label", "kto_tag"],
        on: ROW_AND_MESSAGE,
        rule: ValueRule::Desired,
        reason: "marks an answer to train away from, and shadows would train towards it; remove \
                 the row",
    },
    Field {
        names: &[
            "chosen",
            "rejected",
            "chosen_response",
            "rejected_response",
            "chosen_messages",
            "rejected_messages",
            "positive_messages",
            "negative_messages",
            "preferred_output",
            "non_preferred_output",
            "completions",
            "segments",
        ],
        on: ROW,
        rule: ValueRule::Empty,
        reason: "is a second answer, which is not supported; keep one answer per row",
    },
    Field {
        names: &["history"],
        on: ROW,
        rule: ValueRule::Empty,
        reason: "has earlier turns outside the conversation, where they are not read; put them \
                 into the conversation, or remove them",
    },
    Field {
        names: &["image", "images", "video", "videos", "audio", "audios", "objects", "refusal"],
        on: ROW_AND_MESSAGE,
        rule: ValueRule::Empty,
        reason: "is not part of the text that is read; remove the row, or this field if your \
                 training does not use it",
    },
    Field {
        names: &[
            "input_ids",
            "attention_mask",
            "chat_template",
            "chat_template_kwargs",
            "enable_thinking",
        ],
        on: ROW,
        rule: ValueRule::Empty,
        reason: "makes a trainer use other tokens than those of the conversation; remove it",
    },
    Field {
        names: &["text", "completion", "output"],
        on: ROW,
        rule: ValueRule::Same,
        reason: "is a second text to train on; remove one of them, or give the --format that your \
                 training reads",
    },
    Field {
        names: &["content", "value", "text"],
        on: MESSAGE_AND_PART,
        rule: ValueRule::Same,
        reason: "is a second, different text of the message; keep the one that your training reads",
    },
];

/// The meaning of a field's value. `texts` is the level's own text: a message's, a part's, or all
/// texts of a row where they are known.
pub(super) fn meaning(level: Level, name: &str, value: &Value, texts: Option<&[&str]>) -> Meaning {
    let index = match level {
        Level::Row => 0,
        Level::Message(_) => 1,
        Level::Part(_) => 2,
    };
    let is_it = |field: &&Field| {
        field.on[index] && field.names.iter().any(|known| known.eq_ignore_ascii_case(name))
    };
    let Some(field) = FIELDS.iter().find(is_it) else {
        return if value.is_null() { Meaning::Nothing } else { Meaning::Unknown };
    };
    if empty(value) {
        return Meaning::Nothing;
    }
    let supervised = !matches!(
        level,
        Level::Message(Role::System | Role::User) | Level::Part(Role::System | Role::User)
    );
    let truth = truth(value);
    let same = |text: Option<&&str>| text.is_some_and(|text| value.as_str() == Some(text));
    let nothing = match (field.rule, texts) {
        (ValueRule::Empty, _) => false,
        (ValueRule::Unmasked, _) => truth == Some(false),
        (ValueRule::Supervised, _) => truth == Some(supervised),
        (ValueRule::Weight, _) => truth == Some(supervised) || truth == Some(true),
        (ValueRule::Desired, _) if truth.is_none() => return Meaning::Unknown,
        (ValueRule::Desired, _) => truth == Some(true),
        // The user named the format, so this field is known to be unused.
        (ValueRule::Same, None) if level == Level::Row => return Meaning::Unknown,
        (ValueRule::Same, texts) => texts.is_none_or(|texts| same(texts.last())),
    };
    if nothing { Meaning::Nothing } else { Meaning::Refused(field.reason) }
}

/// Whether a column of this name may be interpreted by a trainer.
pub(super) fn is_interpreted(column: &str) -> bool {
    FIELDS.iter().any(|field| {
        field.on[0] && field.names.iter().any(|known| known.eq_ignore_ascii_case(column))
    })
}

/// Rejects the first field outside `read` that a trainer would interpret. `at` gives its path in
/// the row.
pub(super) fn check(
    level: Level,
    fields: &Map<String, Value>,
    read: &[&str],
    texts: Option<&[&str]>,
    at: impl Fn(&str) -> String,
) -> Result<(), Fault> {
    for (name, value) in fields.iter().filter(|(name, _)| !read.contains(&name.as_str())) {
        if let Meaning::Refused(reason) = meaning(level, name, value, texts) {
            return Err(Fault::new(at(name), reason));
        }
    }
    Ok(())
}

/// Null, and its representations in tables and in JSON strings.
fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => ["", "[]", "{}", "null"].contains(&text.trim()),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// A boolean, also as a number or as a table's text; `None` for everything else.
fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::Number(number) if number.as_f64() == Some(1.0) => Some(true),
        Value::Number(number) if number.as_f64() == Some(0.0) => Some(false),
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "1.0" => Some(true),
            "false" | "0" | "0.0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}
