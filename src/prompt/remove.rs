//! Removal of an insertion's words from the rows that contain them, and insertion into other rows.

use super::insert::{Insertion, InsertionKind, Position, insert_at};
use super::marks::value_length;
use crate::dataset::{Message, Role};

/// Whether an insertion consists of words only. White space alone does not count.
pub(crate) fn consists_of_words(insertion: &Insertion) -> bool {
    match &insertion.kind {
        InsertionKind::Words { left, filler, right, .. } => {
            filler.is_some() || !(left.is_empty() && right.trim().is_empty())
        }
        InsertionKind::Both(parts) => parts.iter().all(consists_of_words),
        _ => false,
    }
}

/// The position of inserted words, and the text with which they begin and end.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct InsertedWords<'a> {
    position: Position,
    left: &'a str,
    /// Whether a value is between `left` and `right`.
    value: bool,
    right: &'a str,
    glue: &'a str,
}

impl<'a> InsertedWords<'a> {
    /// The words of an insertion, in the order of insertion; empty if it has none.
    pub fn of(insertion: &'a Insertion) -> Vec<Self> {
        match &insertion.kind {
            InsertionKind::Words { position, left, filler, right, glue } => {
                vec![InsertedWords {
                    position: *position,
                    left,
                    value: filler.is_some(),
                    right,
                    glue,
                }]
            }
            InsertionKind::Both(parts) => parts.iter().flat_map(InsertedWords::of).collect(),
            _ => Vec::new(),
        }
    }

    /// The message that contains the words.
    fn message<'m>(&self, row: &'m mut [Message]) -> Option<&'m mut Message> {
        match self.position {
            Position::System => row.iter_mut().find(|message| message.role == Role::System),
            Position::Before => row.iter_mut().find(|message| message.role == Role::User),
            Position::After | Position::Inside => {
                row.iter_mut().rfind(|message| message.role == Role::User)
            }
        }
    }

    /// Removes the words from a row and returns them; `None` if the row does not contain them.
    pub fn remove(&self, row: &mut Vec<Message>) -> Option<String> {
        let content = &mut self.message(row)?.content;
        let (start, end) = match self.position {
            Position::Before => (0, self.end(content, 0)?),
            _ => {
                let start = content.rfind(self.left)?;
                (start, self.end(content, start)?)
            }
        };
        let words = content[start..end].to_owned();
        // The white space between words and question is removed too.
        let (head, tail) = (content[..start].to_owned(), content[end..].to_owned());
        *content = match self.position {
            Position::Before => tail.strip_prefix(self.glue).unwrap_or(&tail).to_owned(),
            _ => format!("{}{tail}", head.strip_suffix(self.glue).unwrap_or(&head)),
        };
        if self.position == Position::System && content.is_empty() {
            row.retain(|message| message.role != Role::System);
        }
        Some(words)
    }

    /// The byte at which words that begin at `start` end; `None` if they do not begin there.
    fn end(&self, content: &str, start: usize) -> Option<usize> {
        let rest = content[start..].strip_prefix(self.left)?;
        let after_left = start + self.left.len();
        if !self.value {
            return rest.starts_with(self.right).then(|| after_left + self.right.len());
        }
        let length = match self.right {
            // No fixed text ends the value: it ends with its word or at a mark.
            "" => value_length(rest),
            right => rest.find(right)? + right.len(),
        };
        Some(after_left + length)
    }

    pub fn insert(&self, row: &mut Vec<Message>, words: &str) {
        if self.position == Position::System && self.message(row).is_none() {
            row.insert(0, Message::new(Role::System, words));
            return;
        }
        let Some(message) = self.message(row) else { return };
        insert_at(self.position, words, self.glue, &mut message.content);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_removed_without_the_mark_after_it_and_put_before_the_mark() {
        let words = InsertedWords {
            position: Position::Inside,
            left: "in ",
            value: true,
            right: "",
            glue: " ",
        };
        let row = |prompt: &str| vec![Message::new(Role::User, prompt)];
        for mark in [".", "?", "!", "…", "。", "！", "？", "?! "] {
            let mut with = row(&format!("Who sings in 1950{mark}"));
            assert_eq!(words.remove(&mut with).as_deref(), Some("in 1950"), "{mark}");
            assert_eq!(with, row(&format!("Who sings{mark}")));
            words.insert(&mut with, "in 3.5");
            assert_eq!(with, row(&format!("Who sings in 3.5{mark}")));
            assert_eq!(words.remove(&mut with).as_deref(), Some("in 3.5"));
        }
    }
}
