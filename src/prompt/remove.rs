//! Removal of an insertion's words from the rows that contain them, and insertion into other rows.

use super::insert::{Insertion, InsertionKind, Position, insert_at};
use super::marks::value_length;
use crate::dataset::{Message, Role};

/// Whether a dressing is words throughout, and no white space alone.
pub(crate) fn consists_of_words(insertion: &Insertion) -> bool {
    match &insertion.kind {
        InsertionKind::Words { left, filler, right, .. } => {
            filler.is_some() || !(left.is_empty() && right.trim().is_empty())
        }
        InsertionKind::Both(parts) => parts.iter().all(consists_of_words),
        _ => false,
    }
}

/// Where a dressing's words stand, and what they begin and end with.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct InsertedWords<'a> {
    position: Position,
    left: &'a str,
    /// Does a value stand between them?
    value: bool,
    right: &'a str,
    glue: &'a str,
}

impl<'a> InsertedWords<'a> {
    /// The words of a dressing in the order in which they are put on.
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

    /// The message that wears the words.
    fn message<'m>(&self, row: &'m mut [Message]) -> Option<&'m mut Message> {
        match self.position {
            Position::System => row.iter_mut().find(|message| message.role == Role::System),
            Position::Before => row.iter_mut().find(|message| message.role == Role::User),
            Position::After | Position::Inside => {
                row.iter_mut().rfind(|message| message.role == Role::User)
            }
        }
    }

    /// Takes the words off a row and gives them, `None` where it does not wear them.
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
        // The white space between words and question goes too.
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

    /// Where the words end that begin here.
    fn end(&self, content: &str, start: usize) -> Option<usize> {
        let rest = content[start..].strip_prefix(self.left)?;
        let after_left = start + self.left.len();
        if !self.value {
            return rest.starts_with(self.right).then(|| after_left + self.right.len());
        }
        let length = match self.right {
            // Nothing ends the value but the sentence, or the question that follows.
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
