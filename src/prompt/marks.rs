//! Marks that end a sentence: the only list of them.

/// Full stops, exclamation marks, question marks and the ellipsis, ASCII and full width.
const END_MARKS: [char; 7] = ['.', '!', '?', '…', '。', '！', '？'];

pub(crate) fn is_end_mark(letter: char) -> bool {
    END_MARKS.contains(&letter)
}

/// Whether a text ends with a question mark, white space aside.
pub(crate) fn is_question(text: &str) -> bool {
    text.trim_end().ends_with(['?', '？'])
}

/// Splits a text before its final marks and white space.
pub(crate) fn without_end(text: &str) -> (&str, &str) {
    let body = text.trim_end_matches(|letter: char| is_end_mark(letter) || letter.is_whitespace());
    text.split_at(body.len())
}

/// The length in bytes of the value that a text begins with. It ends at white space or at a mark.
/// A full stop before a letter or digit is part of the value, as in `3.5`.
pub(super) fn value_length(text: &str) -> usize {
    let ends = |(at, letter): &(usize, char)| {
        let next = text[at + letter.len_utf8()..].chars().next();
        let is_part = *letter == '.' && next.is_some_and(char::is_alphanumeric);
        letter.is_whitespace() || (is_end_mark(*letter) && !is_part)
    };
    text.char_indices().find(ends).map_or(text.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_ends_at_white_space_or_a_mark_and_not_inside_a_number() {
        for (text, value) in
            [("1950 or so", "1950"), ("1950", "1950"), ("3.5?", "3.5"), ("1950。", "1950")]
        {
            assert_eq!(&text[..value_length(text)], value);
        }
        for mark in END_MARKS {
            assert_eq!(value_length(&format!("1950{mark}")), 4, "{mark}");
        }
    }

    #[test]
    fn final_marks_are_split_off_with_the_white_space_around_them() {
        assert_eq!(without_end("Who sings?! "), ("Who sings", "?! "));
        assert_eq!(without_end("谁在唱？"), ("谁在唱", "？"));
        assert_eq!(without_end("Well…"), ("Well", "…"));
        assert!(is_question("谁在唱？ ") && is_question("Who?") && !is_question("Sing."));
    }
}
