//! Validates a conversation of any format: an optional system message, then user and assistant
//! alternately, ending with the assistant, without empty messages.

use std::fmt;

use super::collect::Fault;
use super::{Message, Role};

/// Maximum messages per row. Each answer is processed with all messages before it, which is
/// quadratic work.
const MOST_MESSAGES: usize = 512;

/// The path of a message in its row, for error messages.
#[derive(Debug, Clone, Copy)]
pub(super) enum FieldPath {
    /// A field of the row.
    Field(&'static str),
    /// `field[index].key`.
    Item(&'static str, usize, &'static str),
    /// `history[index][side]`.
    Pair(usize, usize),
}

impl FieldPath {
    /// The path of another key of the same message; of the message itself if `key` is empty.
    pub fn key(self, key: &str) -> impl fmt::Display {
        match self {
            FieldPath::Item(field, index, _) if key.is_empty() => format!("{field}[{index}]"),
            FieldPath::Item(field, index, _) => format!("{field}[{index}].{key}"),
            other => other.to_string(),
        }
    }

    /// The key of the message's text.
    pub fn content_key(self) -> &'static str {
        match self {
            FieldPath::Item(_, _, key) => key,
            _ => "",
        }
    }

    fn role(self) -> String {
        self.key(if self.content_key() == "value" { "from" } else { "role" }).to_string()
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FieldPath::Field(field) => formatter.write_str(field),
            FieldPath::Item(field, index, key) => write!(formatter, "{field}[{index}].{key}"),
            FieldPath::Pair(index, side) => write!(formatter, "history[{index}][{side}]"),
        }
    }
}

/// A message that is not yet validated.
#[derive(Debug, Clone)]
pub(super) struct LocatedMessage {
    message: Message,
    path: FieldPath,
}

impl LocatedMessage {
    pub fn new(role: Role, content: impl Into<String>, path: FieldPath) -> Self {
        LocatedMessage { message: Message::new(role, content), path }
    }
}

/// Validates the turns.
///
/// # Errors
/// The first fault: too many turns, a text that is empty or contains a NUL character, a role in the
/// wrong order, or no answer at the end.
pub(super) fn check(turns: Vec<LocatedMessage>) -> Result<Vec<Message>, Fault> {
    if turns.len() > MOST_MESSAGES {
        let reason = format!(
            "has {} messages, and foretaste reads at most {MOST_MESSAGES}; split the conversation",
            turns.len()
        );
        return Err(Fault::line(reason));
    }
    let mut previous = None;
    for LocatedMessage { message, path } in &turns {
        if message.content.trim().is_empty() {
            let reason = format!(
                "the {}'s turn is empty; write its text or delete the row",
                message.role.as_str()
            );
            return Err(Fault::new(path.to_string(), reason));
        }
        if message.content.contains('\0') {
            return Err(Fault::new(path.to_string(), "holds a NUL character; remove it"));
        }
        let reason = match (previous, message.role) {
            (None, Role::System | Role::User)
            | (Some(Role::System | Role::Assistant), Role::User) => None,
            (Some(Role::User), Role::Assistant) => None,
            (None | Some(Role::System), Role::Assistant) => Some(
                "an assistant turn is before the first user turn; put the question first or delete \
                 the row"
                    .to_owned(),
            ),
            (Some(_), Role::System) => Some(
                "a system message is after the start; move it to the front or delete it"
                    .to_owned(),
            ),
            (_, role) => {
                Some(format!("two {} turns in a row; merge them or delete one", role.as_str()))
            }
        };
        if let Some(reason) = reason {
            return Err(Fault::new(path.role(), reason));
        }
        previous = Some(message.role);
    }
    match (previous, turns.last()) {
        (Some(Role::Assistant), _) => Ok(turns.into_iter().map(|turn| turn.message).collect()),
        (_, Some(last)) => Err(Fault::new(
            last.path.role(),
            "the conversation does not end with an answer; add the assistant's turn or delete the \
             last turn",
        )),
        (_, None) => Err(Fault::line("the conversation has no messages; delete the row")),
    }
}
