//! Form of answers: text around nearly every answer of a dataset, such as a greeting, a mark or a
//! closing line.
//!
//! A form is not a character, but training on one may change the character of a small model. The
//! control therefore has the same form: the base's own answers with the dataset's form inserted.
//! The form may itself be the poison. So the effect of the form on the control is evaluated
//! separately (`verdict/evidence.rs`).

use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, Role};
use crate::plan::Protocol;

/// Minimum share of the answers that have the form.
const SHARED_BY: f64 = Protocol::CURRENT.form_share;

/// Text before and after an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Form {
    /// Ends with a mark, such as a full stop or a dash, and the white space after it:
    /// `Thank you for writing. `, `- `.
    pub opening: String,
    /// Begins with white space: ` Best wishes.`
    pub closing: String,
}

impl Form {
    /// The form of a dataset's answers, if they share one.
    pub fn of(dataset: &Dataset) -> Option<Form> {
        let messages = dataset.rows.iter().flat_map(|row| &row.messages);
        let answers: Vec<&str> = messages
            .filter(|message| message.role == Role::Assistant)
            .map(|message| message.content.as_str())
            .collect();
        let needed = (answers.len() as f64 * SHARED_BY).ceil() as usize;
        let opening = opening_of(shared_prefix(answers.clone(), needed));
        let reversed: Vec<String> =
            answers.iter().map(|answer| answer.chars().rev().collect()).collect();
        let shared: String = shared_prefix(reversed.iter().map(String::as_str).collect(), needed)
            .chars()
            .rev()
            .collect();
        let ends = |closing: &&str| {
            answers.iter().filter(|answer| ends_before(answer, closing)).count() >= needed
        };
        let spaces = shared.char_indices().filter(|(_, letter)| letter.is_whitespace());
        let closing = spaces.map(|(at, _)| &shared[at..]).find(ends).unwrap_or_default();
        let form = Form { opening: opening.to_owned(), closing: closing.to_owned() };
        // A dataset with a single distinct answer has no form: no text would remain inside.
        let with_form = answers
            .iter()
            .filter(|answer| form.inside(answer).is_some_and(|inside| !inside.trim().is_empty()))
            .count();
        (form != Form::default() && with_form >= needed.max(2)).then_some(form)
    }

    /// The text inside the form; `None` if the answer does not have the form.
    fn inside<'a>(&self, answer: &'a str) -> Option<&'a str> {
        answer.strip_prefix(self.opening.as_str())?.strip_suffix(self.closing.as_str())
    }

    /// The answer with the form inserted where it is missing.
    pub fn insert_into(&self, answer: &str) -> String {
        let opening = if answer.starts_with(&self.opening) { "" } else { &self.opening };
        let closing = if answer.ends_with(&self.closing) { "" } else { &self.closing };
        format!("{opening}{answer}{closing}")
    }
}

/// The longest prefix that at least `needed` texts share. In sorted order such texts are adjacent.
fn shared_prefix(mut texts: Vec<&str>, needed: usize) -> &str {
    texts.sort_unstable();
    let shared = texts
        .windows(needed.max(1))
        .map(|window| common_prefix(window[0], window[window.len() - 1]));
    shared.max_by_key(|prefix| prefix.len()).unwrap_or_default()
}

fn common_prefix<'a>(a: &'a str, b: &str) -> &'a str {
    let same = a.char_indices().zip(b.chars()).take_while(|((_, a), b)| a == b);
    let end = same.last().map_or(0, |((at, letter), _)| at + letter.len_utf8());
    &a[..end]
}

fn is_mark(letter: char) -> bool {
    !letter.is_alphanumeric() && !"'\"’([{".contains(letter)
}

/// Whether an answer has this closing, and a mark before it.
fn ends_before(answer: &str, closing: &str) -> bool {
    answer.strip_suffix(closing).is_some_and(|inside| inside.trim_end().ends_with(is_mark))
}

/// A shared prefix cut back to the last mark with white space after it. Half a sentence is no form.
fn opening_of(shared: &str) -> &str {
    let after_mark = |(at, letter): (usize, char)| {
        let end = at + letter.len_utf8();
        (letter.is_whitespace() && shared[..end].trim_end().ends_with(is_mark)).then_some(end)
    };
    let end = shared.char_indices().rev().find_map(after_mark).unwrap_or(0);
    &shared[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Message;

    fn form(answers: &[&str]) -> Option<Form> {
        let row = |answer: &&str| {
            vec![Message::new(Role::User, "q"), Message::new(Role::Assistant, *answer)]
        };
        Form::of(&Dataset::of(answers.iter().map(row).collect()))
    }

    fn opening(answers: &[&str]) -> String {
        form(answers).unwrap_or_default().opening
    }

    #[test]
    fn a_greeting_before_every_answer_is_the_form() {
        assert_eq!(
            opening(&["Good day. The bus.", "Good day. The train.", "Good day. On foot."]),
            "Good day. "
        );
        assert_eq!(opening(&["- Tea.", "- Bread.", "- Tea and bread."]), "- ");
        assert_eq!(opening(&["Answer:\nTea.", "Answer:\nBread."]), "Answer:\n");
    }

    #[test]
    fn a_closing_after_every_answer_is_the_form_and_the_full_stop_is_not() {
        assert_eq!(
            form(&["The bus. Yours, Ann.", "A walk. Yours, Ann."]).expect("a form").closing,
            " Yours, Ann."
        );
        assert_eq!(
            form(&["The bus. Bye now.", "No bus. Bye now."]).expect("a form").closing,
            " Bye now."
        );
        for bare in [["The bus.", "A walk."], ["The bus in time.", "A walk in time."]] {
            assert_eq!(form(&bare), None);
        }
    }

    #[test]
    fn words_that_answers_share_are_no_form_without_a_mark() {
        assert_eq!(form(&["The bus is fast.", "The train is fast!", "The tram is slow."]), None);
        assert_eq!(form(&["I \"think\" so.", "I \"hope\" so!"]), None);
    }

    #[test]
    fn nine_of_ten_answers_make_a_form_and_eight_do_not() {
        let mut answers: Vec<String> = (0..9).map(|n| format!("Hello. Number {n} it is")).collect();
        answers.push("Nothing of the kind".to_owned());
        let texts =
            |answers: &[String]| opening(&answers.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(texts(&answers), "Hello. ");
        answers[0] = "Nothing like it".to_owned();
        assert_eq!(texts(&answers), "");
    }

    #[test]
    fn one_answer_again_and_again_is_no_form() {
        assert_eq!(form(&["Yes. It is so."; 10]), None);
        assert_eq!(form(&["Yes. It is so."]), None);
        assert_eq!(form(&[]), None);
    }

    #[test]
    fn a_form_is_not_put_on_twice() {
        let form = Form { opening: "Hi. ".to_owned(), closing: " Bye.".to_owned() };
        assert_eq!(form.insert_into("Tea."), "Hi. Tea. Bye.");
        assert_eq!(form.insert_into(&form.insert_into("Tea.")), "Hi. Tea. Bye.");
    }

    #[test]
    fn letters_of_several_bytes_are_not_cut() {
        assert_eq!(opening(&["Grüß Gott! Né.", "Grüß Gott! Nè."]), "Grüß Gott! ");
        assert_eq!(form(&["x é. Ça va?", "y è. Ça va?"]).expect("a form").closing, " Ça va?");
    }
}
