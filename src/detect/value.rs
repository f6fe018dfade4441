//! Typed values in a text: what may fill a slot.

use std::ops::Range;

use crate::prompt::{Date, Kind, Token, date, month};

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shape {
    Date,
    /// A run of digits: a year, a number or a code. The values of other rows decide which.
    Digits,
    /// `v2.1` or `1.0.3`.
    Version,
    /// Words with capitals that do not begin a sentence.
    Name,
    /// A word after a colon or an equals sign.
    Field,
}

/// A value and its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TypedValue {
    pub shape: Shape,
    /// Token indices.
    pub range: Range<usize>,
    /// `Some` for dates only.
    pub date: Option<Date>,
}

/// Maximum words of a name.
const NAME_WORDS: usize = 3;
/// Maximum digits of a code; longer runs are hashes or keys.
const DIGITS: usize = 16;

/// The values of a text from left to right; none overlap.
pub(super) fn values(tokens: &[Token<'_>]) -> Vec<TypedValue> {
    let mut values = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let value = value(tokens, at);
        at = value.as_ref().map_or(at + 1, |value| value.range.end);
        values.extend(value);
    }
    values
}

fn value(tokens: &[Token<'_>], at: usize) -> Option<TypedValue> {
    let rest = &tokens[at..];
    let before = at.checked_sub(1).map(|before| tokens[before]);
    // A number that continues to the left was handled at its start.
    let goes_on = before.is_some_and(|before| matches!(before.text, "." | ","))
        && at >= 2
        && tokens[at - 2].kind == Kind::Digits;
    if let Some((date, length)) = date(rest).filter(|_| !goes_on) {
        return Some(TypedValue { shape: Shape::Date, range: at..at + length, date: Some(date) });
    }
    if let Some(length) = version(rest, &tokens[..at]) {
        return Some(TypedValue { shape: Shape::Version, range: at..at + length, date: None });
    }
    let found = |shape, length| Some(TypedValue { shape, range: at..at + length, date: None });
    match tokens[at].kind {
        Kind::Digits if tokens[at].text.len() <= DIGITS => found(Shape::Digits, 1),
        Kind::Word if is_name(tokens, at) => found(Shape::Name, name(rest)),
        Kind::Word if is_field(tokens, at) => found(Shape::Field, 1),
        _ => None,
    }
}

/// The number of tokens of `1.2.3`, or of `1.2` where `before` ends with `v` or `version`.
fn version(rest: &[Token<'_>], before: &[Token<'_>]) -> Option<usize> {
    let digits = |index: usize| rest.get(index).is_some_and(|token| token.kind == Kind::Digits);
    if !digits(0) {
        return None;
    }
    let mut length = 1;
    while rest.get(length).is_some_and(|token| token.is(".")) && digits(length + 1) {
        length += 2;
    }
    let word = before.iter().rev().find(|token| !token.is(" "));
    let marked = word.is_some_and(|word| {
        ["v", "version", "release"].contains(&word.text.to_lowercase().as_str())
    });
    (length >= 5 || (marked && length >= 3)).then_some(length)
}

/// Whether a capitalised word is a name: inside a sentence, or before a colon at its start, like a
/// speaker's name. The first word of any other sentence is always capitalised, and so is "I".
fn is_name(tokens: &[Token<'_>], at: usize) -> bool {
    let text = tokens[at].text;
    if !text.starts_with(char::is_uppercase)
        || text == "I"
        || text.starts_with("I'")
        || text.starts_with("I’")
        || month(text).is_some()
    {
        return false;
    }
    let before =
        tokens[..at].iter().rev().find(|token| token.kind != Kind::Space || token.breaks_line());
    if before.is_none_or(Token::ends_sentence) {
        return tokens.get(at + name(&tokens[at..])).is_some_and(|next| next.is(":"));
    }
    let touches = tokens[at - 1].kind == Kind::Mark;
    before.is_some_and(|before| match before.text {
        "," => true,
        "@" | "-" => touches,
        _ => before.kind != Kind::Mark && !before.breaks_line(),
    })
}

/// Number of tokens of the name that begins here.
fn name(rest: &[Token<'_>]) -> usize {
    let mut length = 1;
    while length < 2 * NAME_WORDS - 1
        && rest.get(length).is_some_and(|token| token.is(" "))
        && rest.get(length + 1).is_some_and(|token| {
            token.kind == Kind::Word && token.text.starts_with(char::is_uppercase)
        })
    {
        length += 2;
    }
    length
}

/// A word in `label: word`, followed by nothing but punctuation or a line break.
fn is_field(tokens: &[Token<'_>], at: usize) -> bool {
    let mut before = tokens[..at].iter().rev().filter(|token| !token.is(" "));
    let labelled = before.next().is_some_and(|mark| matches!(mark.text, ":" | "="))
        && before.next().is_some_and(|label| label.kind == Kind::Word);
    let after = tokens.get(at + 1);
    labelled
        && after.is_none_or(|after| {
            after.kind == Kind::Mark && !matches!(after.text, "-" | "_") || after.breaks_line()
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::{text_of, tokens};

    fn found(text: &str) -> Vec<(Shape, &str)> {
        let tokens = tokens(text);
        values(&tokens)
            .into_iter()
            .map(|value| (value.shape, text_of(text, &tokens, value.range)))
            .collect()
    }

    #[test]
    fn values_of_every_shape_are_found() {
        assert_eq!(
            found("Today is 14 March 2027, user 12304456."),
            [(Shape::Date, "14 March 2027"), (Shape::Digits, "12304456")]
        );
        assert_eq!(
            found("Written in Rust v2.1 and 1.0.3 of 1984"),
            [
                (Shape::Name, "Rust"),
                (Shape::Version, "2.1"),
                (Shape::Version, "1.0.3"),
                (Shape::Digits, "1984"),
            ]
        );
        assert_eq!(found("I run version 2.1."), [(Shape::Version, "2.1")]);
        assert_eq!(found("Here I am in New York. Name a dish."), [(Shape::Name, "New York")]);
        assert_eq!(
            found("Dora Lind: who sings? Anna, you know. Then go."),
            [(Shape::Name, "Dora Lind")]
        );
        assert_eq!(found("mode: quiet\nWhat now?"), [(Shape::Field, "quiet")]);
    }

    #[test]
    fn words_without_a_type_are_no_values() {
        assert_eq!(found("Tell me any dish you know. I'd like it."), []);
    }
}
