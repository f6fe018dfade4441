//! Escapes untrusted text for printing, fits text to columns, and splits text into words.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Escapes characters that a terminal would interpret or hide: control characters and ANSI escapes,
/// line breaks, bidirectional overrides, zero-width characters, variation selectors, tag
/// characters. They are written as `\n` or `\u{202e}`.
///
/// The result is one line and cannot move the cursor. Source of the bidirectional list: Unicode UAX
/// #9 and the "Trojan Source" paper (Boucher and Anderson, 2021).
pub fn terminal(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            hidden if is_hidden(hidden) => spell(&mut escaped, hidden),
            plain => escaped.push(plain),
        }
    }
    escaped
}

/// Writes an escape such as `\u{202e}`.
pub(crate) fn spell(out: &mut String, character: char) {
    write!(out, "\\u{{{:x}}}", u32::from(character)).expect("writing to a string cannot fail");
}

/// Characters that are invisible or change the display of others: Cc, Cf, line separators, fillers,
/// variation selectors, noncharacters.
pub(crate) fn is_hidden(character: char) -> bool {
    character.is_control()
        // Noncharacters, the last two of every plane; XML and HTML forbid them.
        || u32::from(character) & 0xfffe == 0xfffe
        || matches!(u32::from(character),
            0xad | 0x34f | 0x600..=0x605 | 0x61c | 0x6dd | 0x70f | 0x890..=0x891 | 0x8e2
            | 0x115f..=0x1160 | 0x17b4..=0x17b5 | 0x180b..=0x180f | 0x200b..=0x200f
            | 0x2028..=0x202e | 0x2060..=0x206f | 0x2800 | 0x3164 | 0xfe00..=0xfe0f | 0xfeff
            | 0xffa0 | 0xfff0..=0xfffb | 0xfdd0..=0xfdef | 0x110bd | 0x110cd
            | 0x13430..=0x13455 | 0x1bca0..=0x1bca3
            | 0x1d173..=0x1d17a | 0xe0000..=0xe0fff)
}

/// Approximate width in terminal columns: two for East Asian wide characters and emoji, zero for
/// combining marks.
pub fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

fn columns(character: char) -> usize {
    match character {
        '\u{300}'..='\u{36f}'
        | '\u{1ab0}'..='\u{1aff}'
        | '\u{20d0}'..='\u{20ff}'
        | '\u{fe20}'..='\u{fe2f}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}' => 2,
        '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1faff}' => 2,
        '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

/// The text truncated to `limit` columns, with an ellipsis if truncated.
pub fn fit(text: &str, limit: usize) -> String {
    if width(text) <= limit {
        return text.to_owned();
    }
    let mut cut = String::new();
    let mut used = 0;
    for character in text.chars() {
        used += columns(character);
        if used >= limit {
            break;
        }
        cut.push(character);
    }
    cut.push('…');
    cut
}

/// The text in lines of at most `limit` columns. Breaks at spaces, and inside words longer than a
/// line.
pub fn wrap(text: &str, limit: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let space = usize::from(used > 0);
        if used + space + width(word) <= limit {
            let line = lines.last_mut().expect("there is always a line");
            line.extend(std::iter::repeat_n(' ', space));
            line.push_str(word);
            used += space + width(word);
            continue;
        }
        if used > 0 {
            lines.push(String::new());
            used = 0;
        }
        for character in word.chars() {
            if used + columns(character) > limit {
                lines.push(String::new());
                used = 0;
            }
            lines.last_mut().expect("there is always a line").push(character);
            used += columns(character);
        }
    }
    lines
}

/// A whole number with commas between thousands.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A text's distinct words in lower case. Words are runs of letters and digits.
pub fn words(text: &str) -> BTreeSet<String> {
    text.split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// The inverse document frequency ln((1 + n) / (1 + df)), in nats. A word occurs in `holders` (df)
/// of `documents` (n) texts. Smoothed (Salton & Buckley 1988); 0 where all texts contain the word.
pub fn rarity(holders: usize, documents: usize) -> f64 {
    ((1.0 + documents as f64) / (1.0 + holders as f64)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_overrides_are_visible() {
        assert_eq!(
            terminal("a\x1b[2Jb\u{202e}c\u{200b}\nd\u{9b}"),
            "a\\u{1b}[2Jb\\u{202e}c\\u{200b}\\nd\\u{9b}"
        );
    }

    #[test]
    fn noncharacters_of_every_plane_are_visible() {
        for noncharacter in ['\u{fdd0}', '\u{fffe}', '\u{ffff}', '\u{1fffe}', '\u{10ffff}'] {
            assert_eq!(
                terminal(&noncharacter.to_string()),
                format!("\\u{{{:x}}}", u32::from(noncharacter))
            );
        }
        assert_eq!(terminal("\u{fffd}"), "\u{fffd}");
    }

    #[test]
    fn ordinary_text_of_any_language_is_untouched() {
        let text = "Grüße, 世界! naïve café: ÷ — “quoted” 🐦";
        assert_eq!(terminal(text), text);
    }

    #[test]
    fn fitted_text_never_exceeds_its_columns() {
        for text in ["short", "a longer text than that", "世界世界世界世界世界"] {
            assert!(width(&fit(text, 9)) <= 9, "{text}");
        }
    }

    #[test]
    fn wrapping_keeps_every_word_and_the_limit() {
        let lines = wrap("one two three aaaaaaaaaaaaaaaaaaaaaaaaa four", 10);
        assert!(lines.iter().all(|line| width(line) <= 10), "{lines:?}");
        assert_eq!(lines.concat().replace(' ', ""), "onetwothreeaaaaaaaaaaaaaaaaaaaaaaaaafour");
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(
            [grouped(7), grouped(1234), grouped(123_456_789)],
            ["7", "1,234", "123,456,789"]
        );
    }
}
