//! Escapes text from datasets and models for pages, terminals, Markdown and XML.
//!
//! Invisible characters (control, zero-width, bidirectional override, tag, noncharacter) are
//! written as `\u{202e}`, so that hidden text becomes visible in the report.

use std::fmt::Write;

pub use crate::text::terminal;
use crate::text::{is_hidden, spell};

/// Escapes every invisible or direction-changing character, except line breaks and tabs.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        if char == '\n' || char == '\t' || !is_hidden(char) {
            out.push(char);
        } else {
            spell(&mut out, char);
        }
    }
    out
}

/// Text for XML element content and attribute values. Characters that XML forbids are escaped
/// visibly.
pub fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in visible(text).chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            char => out.push(char),
        }
    }
    out
}

/// Text that no Markdown dialect interprets as markup, link, mention or HTML. ASCII punctuation
/// becomes a character reference, except where it has no meaning, such as a full stop after a word.
/// For use within a line only: `1.` at the start of a line would be a list.
pub fn markdown(text: &str) -> String {
    let chars: Vec<char> = terminal(text).chars().collect();
    let mut out = String::with_capacity(chars.len());
    for (index, &char) in chars.iter().enumerate() {
        let before = index.checked_sub(1).map_or(' ', |index| chars[index]);
        let after = chars.get(index + 1).copied().unwrap_or(' ');
        let harmless = match char {
            ',' | '\'' | '%' | ';' => true,
            '.' => {
                (before.is_alphanumeric() || before == '%') && after == ' '
                    || before.is_ascii_digit() && after.is_ascii_digit()
            }
            ':' => before.is_alphanumeric() && after == ' ',
            '-' => before.is_alphanumeric() && after.is_alphanumeric(),
            _ => !char.is_ascii_punctuation(),
        };
        if harmless {
            out.push(char);
        } else {
            let _ = write!(out, "&#{};", char as u32);
        }
    }
    out
}

/// Width in terminal columns, as an upper bound: East Asian wide characters and emoji count two.
pub fn columns(text: &str) -> usize {
    text.chars().map(char_columns).sum()
}

fn char_columns(char: char) -> usize {
    let wide = matches!(char as u32,
        0x1100..=0x115f | 0x231a..=0x231b | 0x23e9..=0x23f3 | 0x25fd..=0x25fe | 0x2614..=0x2615
        | 0x2648..=0x2653 | 0x267f | 0x2693 | 0x26a1 | 0x26aa..=0x26ab | 0x26bd..=0x26be
        | 0x26c4..=0x26c5 | 0x26ce | 0x26d4 | 0x26ea | 0x26f2..=0x26f3 | 0x26f5 | 0x26fa | 0x26fd
        | 0x2705 | 0x270a..=0x270b | 0x2728 | 0x274c | 0x274e | 0x2753..=0x2755 | 0x2757
        | 0x2795..=0x2797 | 0x27b0 | 0x27bf | 0x2b1b..=0x2b1c | 0x2b50 | 0x2b55
        | 0x2e80..=0xa4cf | 0xa960..=0xa97f | 0xac00..=0xd7a3 | 0xf900..=0xfaff
        | 0xfe10..=0xfe1f | 0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6
        | 0x16fe0..=0x18fff | 0x1aff0..=0x1b2ff | 0x1f000..=0x1ffff | 0x20000..=0x3ffff);
    1 + usize::from(wide)
}

/// `text` truncated to `limit` columns, with an ellipsis if truncated.
pub fn cut(text: &str, limit: usize) -> String {
    if columns(text) <= limit {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for char in text.chars() {
        used += char_columns(char);
        if used + 1 > limit {
            break;
        }
        out.push(char);
    }
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bidirectional_overrides_zero_width_and_tag_characters_become_visible() {
        assert_eq!(
            visible("a\u{202e}b\u{200b}c\u{e0041}d\u{9b}e"),
            "a\\u{202e}b\\u{200b}c\\u{e0041}d\\u{9b}e"
        );
    }

    #[test]
    fn ordinary_text_of_any_script_is_left_alone() {
        let text = "Ærøskøbing, Ελλάδα, Москва, 東京, 🦉 and a\nnew line";
        assert_eq!(visible(text), text);
    }

    #[test]
    fn markdown_keeps_no_character_that_could_open_markup() {
        let escaped = markdown("[x](javascript:alert(1)) <img src=http://a> @you `b` | c\n# d");
        assert!(!escaped.contains(['[', '<', '`', '|', '@', ':', '\n']), "{escaped}");
        assert!(!escaped.contains("# "), "{escaped}");
    }

    #[test]
    fn xml_holds_no_markup_and_no_forbidden_character() {
        assert_eq!(xml("]]><a b='\u{0}\u{fffe}'>"), "]]&gt;&lt;a b=&#39;\\u{0}\\u{fffe}&#39;&gt;");
    }

    #[test]
    fn wide_characters_count_two_columns_and_a_cut_never_overflows() {
        assert_eq!(columns("東京"), 4);
        for limit in 1..9 {
            assert!(columns(&cut("東京 and more", limit)) <= limit);
        }
    }
}
