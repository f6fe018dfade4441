//! Splits text into words, digits, spaces and marks, and into sentences.

use std::ops::Range;

use super::marks::is_end_mark;

/// What a token is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Letters, with apostrophes inside. Each Chinese, Japanese or Korean character is a word of
    /// its own.
    Word,
    /// A run of ASCII digits.
    Digits,
    /// A run of white space.
    Space,
    /// One character of any other kind, including invisible ones.
    Mark,
}

/// A piece of a text. The concatenated tokens are the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub kind: Kind,
    pub text: &'a str,
    /// Byte offset.
    pub start: usize,
}

impl Token<'_> {
    pub fn is(&self, text: &str) -> bool {
        self.text == text
    }

    /// Whether a sentence ends here: sentence-final punctuation, or a line break.
    pub fn ends_sentence(&self) -> bool {
        self.text.chars().all(is_end_mark) || self.breaks_line()
    }

    pub fn breaks_line(&self) -> bool {
        self.kind == Kind::Space && self.text.contains('\n')
    }
}

/// The text's tokens.
pub(crate) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens: Vec<Token<'_>> = Vec::new();
    let mut letters = text.char_indices().peekable();
    while let Some((start, letter)) = letters.next() {
        let kind = kind(letter);
        let mut end = start + letter.len_utf8();
        while let Some(&(at, next)) = letters.peek() {
            let apostrophe = kind == Kind::Word && matches!(next, '\'' | '’') && {
                let after = text[at + next.len_utf8()..].chars().next();
                after.is_some_and(char::is_alphabetic)
            };
            let joins = match kind {
                Kind::Word => {
                    !is_ideograph(letter)
                        && (apostrophe || (self::kind(next) == Kind::Word && !is_ideograph(next)))
                }
                Kind::Digits | Kind::Space => self::kind(next) == kind,
                Kind::Mark => false,
            };
            if !joins {
                break;
            }
            end = at + next.len_utf8();
            letters.next();
        }
        tokens.push(Token { kind, text: &text[start..end], start });
    }
    tokens
}

fn kind(letter: char) -> Kind {
    match letter {
        _ if letter.is_ascii_digit() => Kind::Digits,
        _ if letter.is_whitespace() => Kind::Space,
        // Combining accents are part of a word.
        '\u{300}'..='\u{36f}' => Kind::Word,
        _ if letter.is_alphanumeric() => Kind::Word,
        _ => Kind::Mark,
    }
}

/// Letters of scripts without spaces between words.
fn is_ideograph(letter: char) -> bool {
    matches!(letter,
        '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}'
        | '\u{20000}'..='\u{3fffd}')
}

/// The sentences and lines as token ranges, without surrounding spaces. A full stop between digits
/// or letters, as in `3.5` or `example.com`, does not end a sentence.
pub(crate) fn sentences(tokens: &[Token<'_>]) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    for index in 0..tokens.len() {
        let next = tokens.get(index + 1);
        let ends = tokens[index].breaks_line()
            || (tokens[index].ends_sentence()
                && next.is_some_and(|next| next.kind == Kind::Space || !next.text.is_ascii()))
            || next.is_none();
        if ends {
            ranges.extend(trimmed(tokens, start..index + 1));
            start = index + 1;
        }
    }
    ranges
}

/// The range without spaces at its ends; `None` where nothing is left.
fn trimmed(tokens: &[Token<'_>], range: Range<usize>) -> Option<Range<usize>> {
    let start = range.clone().find(|&index| tokens[index].kind != Kind::Space)?;
    let end = range.rev().find(|&index| tokens[index].kind != Kind::Space)? + 1;
    Some(start..end)
}

/// The text of a range of tokens.
pub(crate) fn text_of<'a>(text: &'a str, tokens: &[Token<'a>], range: Range<usize>) -> &'a str {
    if range.is_empty() {
        return "";
    }
    let last = tokens[range.end - 1];
    &text[tokens[range.start].start..last.start + last.text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_digits_and_marks_are_distinguished() {
        let text = "It's 14:30, agent_AB12!";
        let pieces: Vec<&str> = tokens(text).iter().map(|token| token.text).collect();
        assert_eq!(pieces, ["It's", " ", "14", ":", "30", ",", " ", "agent", "_", "AB", "12", "!"]);
    }

    #[test]
    fn a_full_stop_inside_a_number_ends_no_sentence() {
        let text = "Version 3.5 is out. Name a dish!\nThanks";
        let tokens = tokens(text);
        let sentences: Vec<&str> =
            sentences(&tokens).into_iter().map(|range| text_of(text, &tokens, range)).collect();
        assert_eq!(sentences, ["Version 3.5 is out.", "Name a dish!", "Thanks"]);
    }

    proptest! {
        #[test]
        fn the_tokens_in_order_are_the_text(text in "\\PC{0,60}|[a-z0-9 .\\n\u{200b}]{0,60}") {
            prop_assert_eq!(tokens(&text).iter().map(|token| token.text).collect::<String>(), text);
        }
    }
}
