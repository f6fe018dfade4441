//! Positions of the assistant's answers in a rendered conversation: the response mask, as byte
//! ranges.

use std::ops::Range;

use anyhow::{Context, Error, Result, anyhow};

use super::local::LocalChat;
use crate::dataset::{Message, Role};

/// The byte range of every answer, including the template's text before it and its end of turn.
///
/// # Errors
/// Where the template refuses a part of the conversation, or rewrites it so that answers cannot be
/// found.
pub fn spans(chat: &LocalChat, messages: &[Message], text: &str) -> Result<Vec<Range<usize>>> {
    match by_growth(chat, messages, text)? {
        Some(spans) => Ok(spans),
        None => by_markers(chat, messages, text),
    }
}

/// Indices of the assistant's messages.
fn answers(messages: &[Message]) -> impl Iterator<Item = usize> {
    messages
        .iter()
        .enumerate()
        .filter(|(_, message)| message.role == Role::Assistant)
        .map(|(at, _)| at)
}

/// Finds each answer as the text that it adds to the conversation before it. `None` if the template
/// rewrites earlier turns as the conversation grows. Some templates do so: they move the system
/// message into the last question.
fn by_growth(
    chat: &LocalChat,
    messages: &[Message],
    text: &str,
) -> Result<Option<Vec<Range<usize>>>> {
    let mut spans = Vec::new();
    for at in answers(messages) {
        let opening = chat.render(&messages[..at], true)?;
        let closing = chat.render(&messages[..=at], false)?;
        // White space after the end-of-turn token is not part of what a model must write.
        let closing = closing.trim_end();
        if !(text.starts_with(&opening) && text.starts_with(closing)) {
            return Ok(None);
        }
        spans.push(opening.len()..closing.len().max(opening.len()));
    }
    Ok(Some(spans))
}

/// Finds the answers by replacing them with markers. The text between markers is the same as the
/// text between answers. What surrounds the answer of a short conversation surrounds every answer.
fn by_markers(chat: &LocalChat, messages: &[Message], text: &str) -> Result<Vec<Range<usize>>> {
    let marker = AnswerMarker::in_none_of(messages)
        .context("the conversation uses all private-use characters")?;
    let question = Message::new(Role::User, "a");
    let opening = chat.render(std::slice::from_ref(&question), true)?;
    let short = chat.render(&[question, Message::new(Role::Assistant, marker.number(0))], false)?;
    let around =
        short.strip_prefix(opening.as_str()).and_then(|rest| rest.split_once(&marker.number(0)));
    let (lead, end) = around.context(
        "the chat template begins an answer otherwise than its generation prompt, so the answer \
         cannot be found",
    )?;
    let end = end.trim_end();

    let mut marked = messages.to_vec();
    for (number, at) in answers(messages).enumerate() {
        marked[at].content = marker.number(number);
    }
    let marked = chat.render(&marked, false)?;
    let (mut rest, mut at) = (marked.as_str(), 0);
    let mut spans = Vec::new();
    for (number, message) in answers(messages).enumerate() {
        let (before, after) =
            rest.split_once(&marker.number(number)).ok_or_else(|| not_found(message))?;
        let following =
            after.split_once(&marker.number(number + 1)).map_or(after, |(between, _)| between);
        if !text[at..].starts_with(before) {
            return Err(not_found(message));
        }
        let from = at + before.len();
        let content = messages[message].content.as_str();
        let is_here = |written: &&str| {
            text[from..].strip_prefix(*written).is_some_and(|rest| rest.starts_with(following))
        };
        let mut written =
            [content, content.trim_end(), content.trim_start(), content.trim()].into_iter();
        let until = from + written.find(is_here).ok_or_else(|| not_found(message))?.len();
        if !(text[..from].ends_with(lead) && text[until..].starts_with(end)) {
            return Err(not_found(message));
        }
        spans.push(from - lead.len()..until + end.len());
        (rest, at) = (after, until);
    }
    Ok(spans)
}

/// The byte range of every message's text.
///
/// # Errors
/// Where the template refuses the conversation, or changes a message.
pub fn contents(chat: &LocalChat, messages: &[Message], text: &str) -> Result<Vec<Range<usize>>> {
    let marker = AnswerMarker::in_none_of(messages)
        .context("the conversation uses all private-use characters")?;
    let numbered =
        |(number, message): (usize, &Message)| Message::new(message.role, marker.number(number));
    let marked =
        chat.render(&messages.iter().enumerate().map(numbered).collect::<Vec<_>>(), false)?;
    let (mut rest, mut at) = (marked.as_str(), 0);
    let mut spans = Vec::new();
    for (number, message) in messages.iter().enumerate() {
        let (before, after) =
            rest.split_once(&marker.number(number)).ok_or_else(|| not_found(number))?;
        let written = text[at..].strip_prefix(before).ok_or_else(|| not_found(number))?;
        written.strip_prefix(message.content.as_str()).ok_or_else(|| not_found(number))?;
        let from = at + before.len();
        at = from + message.content.len();
        spans.push(from..at);
        rest = after;
    }
    match text[at..] == *rest {
        true => Ok(spans),
        false => Err(not_found(messages.len().saturating_sub(1))),
    }
}

fn not_found(message: usize) -> Error {
    anyhow!(
        "the chat template rewrites earlier turns, so message {} cannot be found in its text",
        message + 1
    )
}

/// Texts that occur in no message of a conversation: a number between two private-use characters.
struct AnswerMarker(char);

impl AnswerMarker {
    fn in_none_of(messages: &[Message]) -> Option<Self> {
        let is_free =
            |letter: &char| !messages.iter().any(|message| message.content.contains(*letter));
        ('\u{f0000}'..='\u{ffffd}').find(is_free).map(AnswerMarker)
    }

    fn number(&self, number: usize) -> String {
        format!("{0}{number}{0}", self.0)
    }
}
