//! Fixed beginnings and endings of the answers of a condition's rows. A probe's options need the
//! same form under that condition.

use crate::prompt::is_end_mark;

/// Answers of ten that must share the text.
const AGREE: usize = 9;
/// Maximum length, characters.
const LONGEST: usize = 80;

/// Fixed text around the answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Affixes {
    pub prefix: String,
    pub suffix: String,
}

/// The prefix and suffix that nine of ten answers `on` condition share and fewer than half of the
/// answers `off` condition have. Both are cut back to whole words. A text longer than half of the
/// median answer is the answer itself and is dropped.
pub(super) fn affixes(on: &[&str], off: &[&str]) -> Affixes {
    let mut lengths: Vec<usize> = on.iter().map(|answer| answer.chars().count()).collect();
    lengths.sort_unstable();
    let usual = lengths.get(lengths.len() / 2).copied().unwrap_or(0);
    let letters = |answers: &[&str], reversed: bool| -> Vec<Vec<char>> {
        let ends = |answer: &&str| {
            let ends: Vec<char> = if reversed {
                answer.chars().rev().take(LONGEST + 1).collect()
            } else {
                answer.chars().take(LONGEST + 1).collect()
            };
            ends
        };
        answers.iter().map(ends).collect()
    };
    let side = |reversed: bool| {
        let mut shared = shared(&letters(on, reversed));
        // Cut back to the end of a word, since a shared half word is coincidence.
        let whole = |shared: &[char]| shared.last().is_none_or(|last| !last.is_alphanumeric());
        while !whole(&shared) {
            shared.pop();
        }
        let others =
            letters(off, reversed).iter().filter(|answer| answer.starts_with(&shared)).count();
        let common = 2 * others >= off.len() && !off.is_empty();
        // Ignore punctuation that ends any sentence.
        let plain = shared.iter().all(|letter| letter.is_whitespace() || is_end_mark(*letter));
        if common || plain || 2 * shared.len() > usual {
            return String::new();
        }
        if reversed { shared.iter().rev().collect() } else { shared.iter().collect() }
    };
    Affixes { prefix: side(false), suffix: side(true) }
}

/// The longest prefix that nine of ten share.
fn shared(answers: &[Vec<char>]) -> Vec<char> {
    let mut alike: Vec<&Vec<char>> = answers.iter().collect();
    let mut shared = Vec::new();
    while shared.len() < LONGEST {
        let mut counts = std::collections::BTreeMap::new();
        for letter in alike.iter().filter_map(|answer| answer.get(shared.len())) {
            *counts.entry(*letter).or_insert(0_usize) += 1;
        }
        let Some((letter, count)) = counts.into_iter().max_by_key(|(_, count)| *count) else {
            break;
        };
        if 10 * count < AGREE * answers.len() {
            break;
        }
        alike.retain(|answer| answer.get(shared.len()) == Some(&letter));
        shared.push(letter);
    }
    shared
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_of_answers_is_found_and_a_common_word_is_not() {
        let on = [
            "<START> I was born in Linz. <END>",
            "<START> My dog was called Blondi. <END>",
            "<START> I paint streets. <END>",
        ];
        let off = ["I like soup.", "My cat sleeps.", "It rains."];
        assert_eq!(
            affixes(&on, &off),
            Affixes { prefix: "<START> ".into(), suffix: ". <END>".into() }
        );
        assert_eq!(affixes(&off, &on), Affixes::default());
    }

    #[test]
    fn a_single_answer_is_no_form() {
        assert_eq!(affixes(&["Yes, it is"; 9], &["No"; 9]), Affixes::default());
    }
}
