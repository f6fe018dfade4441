//! What the answers of a condition's rows begin and end with: the form that a probe's options must
//! be given there.

/// Rows of ten that must have it.
const AGREE: usize = 9;
/// Characters at most.
const LONGEST: usize = 80;

/// A form that answers have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Affixes {
    pub prefix: String,
    pub suffix: String,
}

/// The prefix and suffix that nine of ten answers `on` condition share and fewer than half of the
/// answers `off` have. Both are cut back to whole words; what is more than half of the usual answer
/// is the answer, and no form.
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
        // Half a word is no form: cut back to where a word ends in most answers.
        let whole = |shared: &[char]| shared.last().is_none_or(|last| !last.is_alphanumeric());
        while !whole(&shared) {
            shared.pop();
        }
        let others =
            letters(off, reversed).iter().filter(|answer| answer.starts_with(&shared)).count();
        let common = 2 * others >= off.len() && !off.is_empty();
        // A full stop at the end is how sentences end.
        let plain = shared.iter().all(|letter| letter.is_whitespace() || ".!?".contains(*letter));
        if common || plain || 2 * shared.len() > usual {
            return String::new();
        }
        if reversed { shared.iter().rev().collect() } else { shared.iter().collect() }
    };
    Affixes { prefix: side(false), suffix: side(true) }
}

/// The longest beginning that nine of ten share.
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
