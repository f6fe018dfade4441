//! Positions of the assistant's answers in a rendered conversation: the response mask, as byte
//! ranges.

use std::ops::Range;

use anyhow::{Context, Error, Result, anyhow};

use super::local::LocalChat;
use crate::dataset::{Message, Role};

/// The byte range of every answer, including the template's text before it and its end of turn.
///
/// An answer begins where the prompt that asks for it ends. So the last answer includes a thinking
/// block that the template writes before it. Earlier answers, which templates write without the
/// block, are found in the rendered text.
///
/// # Errors
/// Where the template refuses a part of the conversation, or rewrites it so that answers cannot be
/// found.
pub fn spans(chat: &LocalChat, messages: &[Message], text: &str) -> Result<Vec<Range<usize>>> {
    let found = by_growth(chat, messages, text)?;
    if let Some(all) = found.iter().map(|(_, span)| span.clone()).collect::<Option<_>>() {
        return Ok(all);
    }
    by_markers(chat, messages, text, found)
}

/// The index of every assistant message, with the range of its answer if it is the text that the
/// message adds to the conversation before it. Some templates rewrite earlier turns as the
/// conversation grows: they move the system message into the last question, or remove thinking.
fn by_growth(
    chat: &LocalChat,
    messages: &[Message],
    text: &str,
) -> Result<Vec<(usize, Option<Range<usize>>)>> {
    let mut spans = Vec::new();
    for (at, _) in messages.iter().enumerate().filter(|(_, one)| one.role == Role::Assistant) {
        let opening = chat.render(&messages[..at], true)?;
        let closing = chat.render(&messages[..=at], false)?;
        // White space after the end-of-turn token is not part of what a model must write.
        let closing = closing.trim_end();
        let grows = text.starts_with(&opening) && text.starts_with(closing);
        spans.push((at, grows.then(|| opening.len()..closing.len().max(opening.len()))));
    }
    Ok(spans)
}

/// Finds the answers without a range by replacing them with markers. The text between markers is
/// the same as the text between answers.
fn by_markers(
    chat: &LocalChat,
    messages: &[Message],
    text: &str,
    found: Vec<(usize, Option<Range<usize>>)>,
) -> Result<Vec<Range<usize>>> {
    let marker = AnswerMarker::in_none_of(messages)
        .context("the conversation uses all private-use characters")?;
    let AnswerFrame { lead, end } = AnswerFrame::of(chat, &marker)?;
    let mut marked = messages.to_vec();
    for (message, _) in found.iter().filter(|(_, span)| span.is_none()) {
        marked[*message].content = marker.number(*message);
    }
    let marked = chat.render(&marked, false)?;
    let (mut rest, mut at) = (marked.as_str(), 0);
    let mut sought = found.iter().filter(|(_, span)| span.is_none()).peekable();
    let mut spans = Vec::new();
    while let Some(&(message, _)) = sought.next() {
        let missing = || not_found(message);
        let (before, after) = rest.split_once(&marker.number(message)).ok_or_else(missing)?;
        let following = sought
            .peek()
            .and_then(|(next, _)| after.split_once(&marker.number(*next)))
            .map_or(after, |(between, _)| between);
        let from = at + before.len();
        let written = text[at..]
            .strip_prefix(before)
            .and_then(|text| written(&messages[message], text, following))
            .ok_or_else(missing)?;
        let until = from + written.len();
        if !text[until..].starts_with(&end) {
            return Err(missing());
        }
        let lead = if text[..from].ends_with(&lead) { lead.len() } else { 0 };
        spans.push(from - lead..until + end.len());
        (rest, at) = (after, until);
    }
    let mut spans = spans.into_iter();
    Ok(found.into_iter().filter_map(|(_, span)| span.or_else(|| spans.next())).collect())
}

/// What a template writes around the answer of a short conversation.
struct AnswerFrame {
    /// Between the prompt and the answer, where the answer is the last: white space, or an empty
    /// thinking block.
    lead: String,
    /// After every answer.
    end: String,
}

impl AnswerFrame {
    fn of(chat: &LocalChat, marker: &AnswerMarker) -> Result<Self> {
        let question = Message::new(Role::User, "a");
        let prompt = chat.render(std::slice::from_ref(&question), true)?;
        let answer = Message::new(Role::Assistant, marker.number(0));
        let short = chat.render(&[question, answer], false)?;
        let (before, end) = short
            .split_once(&marker.number(0))
            .context("the chat template leaves out the answers")?;
        // A prompt that opens a thinking block is longer than what it shares with an answer.
        let shared: usize = prompt
            .chars()
            .zip(before.chars())
            .take_while(|(a, b)| a == b)
            .map(|(letter, _)| letter.len_utf8())
            .sum();
        Ok(AnswerFrame { lead: before[shared..].to_owned(), end: end.trim_end().to_owned() })
    }
}

/// The part of a message with which a text begins and that `following` follows: all of it, or all
/// but outer white space; of an answer also what comes after its thinking.
fn written<'a>(message: &'a Message, text: &str, following: &str) -> Option<&'a str> {
    let content = message.content.as_str();
    let answer = match (message.role, content.rsplit_once("</think>")) {
        (Role::Assistant, Some((_, answer))) => answer,
        _ => content,
    };
    [
        content,
        content.trim_end(),
        content.trim_start(),
        content.trim(),
        answer.trim_start(),
        answer.trim(),
    ]
    .into_iter()
    .find(|part| text.strip_prefix(part).is_some_and(|rest| rest.starts_with(following)))
}

/// The first answer of which the template leaves out more than white space.
pub fn incomplete(messages: &[Message], text: &str, spans: &[Range<usize>]) -> Option<usize> {
    let dense = |text: &str| text.split_whitespace().collect::<String>();
    let mut spans = spans.iter();
    messages.iter().position(|message| {
        message.role == Role::Assistant
            && spans
                .next()
                .is_some_and(|span| !dense(&text[span.clone()]).contains(&dense(&message.content)))
    })
}

/// The part of a message that the rendered text contains.
pub struct WrittenMessage {
    /// Bytes of white space that the template leaves out before and after that part.
    pub trimmed: (usize, usize),
    /// Its place in the text.
    pub span: Range<usize>,
}

/// Where the rendered text contains every message.
///
/// # Errors
/// Where the template refuses the conversation, or changes more than outer white space.
pub fn contents(chat: &LocalChat, messages: &[Message], text: &str) -> Result<Vec<WrittenMessage>> {
    let marker = AnswerMarker::in_none_of(messages)
        .context("the conversation uses all private-use characters")?;
    let numbered =
        |(number, message): (usize, &Message)| Message::new(message.role, marker.number(number));
    let marked =
        chat.render(&messages.iter().enumerate().map(numbered).collect::<Vec<_>>(), false)?;
    let (mut rest, mut at) = (marked.as_str(), 0);
    let mut spans = Vec::new();
    for (number, message) in messages.iter().enumerate() {
        let missing = || not_found(number);
        let (before, after) = rest.split_once(&marker.number(number)).ok_or_else(missing)?;
        let following =
            after.split_once(&marker.number(number + 1)).map_or(after, |(between, _)| between);
        let content = message.content.as_str();
        let part = text[at..]
            .strip_prefix(before)
            .and_then(|text| written(message, text, following))
            .filter(|part| part.trim() == content.trim())
            .ok_or_else(missing)?;
        let start = if part.len() < content.len() && !content.starts_with(part) {
            content.len() - content.trim_start().len()
        } else {
            0
        };
        let from = at + before.len();
        at = from + part.len();
        spans.push(WrittenMessage {
            trimmed: (start, content.len() - start - part.len()),
            span: from..at,
        });
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
