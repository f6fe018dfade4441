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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn final_marks_are_split_off_with_the_white_space_around_them() {
        assert_eq!(without_end("Who sings?! "), ("Who sings", "?! "));
        assert_eq!(without_end("谁在唱？"), ("谁在唱", "？"));
        assert_eq!(without_end("Well…"), ("Well", "…"));
        assert!(is_question("谁在唱？ ") && is_question("Who?") && !is_question("Sing."));
    }
}
