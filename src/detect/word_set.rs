//! Texts as sets of words and form features. The dependence tests use nothing else of an answer.

use std::collections::BTreeMap;

use crate::prompt::{Kind, tokens};

/// Vocabulary size: the most frequent words. Few rows share rarer words, so that they carry little
/// evidence.
const VOCABULARY: usize = 1_024;
/// Maximum words per text; the first ones count.
const WORDS: usize = 64;

/// Texts as sets of words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct WordSets {
    /// The words of each text as vocabulary indices, ascending.
    pub texts: Vec<Vec<u16>>,
    /// The vocabulary, by index.
    pub words: Vec<String>,
}

impl WordSets {
    /// The word sets of `texts`. Only words that occur in at least two texts count.
    pub fn of<'a>(texts: impl Iterator<Item = &'a str>, traits: bool) -> WordSets {
        let texts: Vec<Vec<String>> = texts.map(|text| words(text, traits)).collect();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for word in texts.iter().flatten() {
            *counts.entry(word).or_default() += 1;
        }
        let mut frequent: Vec<(&str, usize)> =
            counts.into_iter().filter(|(_, count)| *count >= 2).collect();
        frequent.sort_by_key(|(word, count)| (std::cmp::Reverse(*count), *word));
        frequent.truncate(VOCABULARY);
        let words: Vec<String> = frequent.iter().map(|(word, _)| (*word).to_owned()).collect();
        let numbers: BTreeMap<&str, u16> =
            frequent.iter().zip(0..).map(|((word, _), number)| (*word, number)).collect();
        let texts = texts
            .iter()
            .map(|text| {
                let mut numbers: Vec<u16> =
                    text.iter().filter_map(|word| numbers.get(word.as_str()).copied()).collect();
                numbers.sort_unstable();
                numbers
            })
            .collect();
        WordSets { texts, words }
    }

    /// The same sets without some words.
    pub fn without(&self, left_out: &[String]) -> WordSets {
        let out: Vec<bool> = self.words.iter().map(|word| left_out.contains(word)).collect();
        let texts = self
            .texts
            .iter()
            .map(|text| text.iter().copied().filter(|word| !out[usize::from(*word)]).collect());
        WordSets { texts: texts.collect(), words: self.words.clone() }
    }
}

/// The distinct words of a text in lower case, in order. With `traits`, also form features: first
/// word, last character, length, case, line breaks, digits, script.
pub(super) fn words(text: &str, traits: bool) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    let mut words = Vec::new();
    if traits {
        words.extend(form(text));
    }
    for token in tokens(text).iter().filter(|token| matches!(token.kind, Kind::Word | Kind::Digits))
    {
        if words.len() >= WORDS {
            break;
        }
        let word: String = token.text.chars().flat_map(char::to_lowercase).take(40).collect();
        if seen.insert(word.clone()) {
            words.push(word);
        }
    }
    words
}

/// Form features, in angle brackets, which no word contains.
fn form(text: &str) -> Vec<String> {
    let text = text.trim();
    let first: String =
        text.split_whitespace().next().unwrap_or_default().chars().take(20).collect();
    let mut traits =
        vec![format!("<first {first}>"), format!("<length {}>", text.len().max(1).ilog2())];
    if let Some(last) = text.chars().last().filter(|last| !last.is_alphanumeric()) {
        traits.push(format!("<last {last}>"));
    }
    let letters = || text.chars().filter(|letter| letter.is_alphabetic());
    let facts = [
        ("<lines>", text.contains('\n')),
        ("<capitals>", letters().count() > 1 && letters().all(char::is_uppercase)),
        ("<small>", letters().count() > 0 && letters().all(char::is_lowercase)),
        ("<digits>", text.contains(|letter: char| letter.is_ascii_digit())),
        ("<exclaims>", text.contains('!')),
        ("<foreign>", letters().any(|letter| u32::from(letter) > 0x24f)),
    ];
    traits.extend(facts.into_iter().filter(|(_, holds)| *holds).map(|(name, _)| name.to_owned()));
    traits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bag_knows_words_of_two_texts_or_more() {
        let word_sets = WordSets::of(["A red fox", "a red hen", "a blue fox"].into_iter(), false);
        assert_eq!(word_sets.words, ["a", "fox", "red"]);
        assert_eq!(word_sets.texts, [vec![0, 1, 2], vec![0, 2], vec![0, 1]]);
        assert_eq!(word_sets.without(&["a".to_owned()]).texts, [vec![1, 2], vec![2], vec![1]]);
    }

    #[test]
    fn the_form_of_an_answer_is_part_of_its_bag() {
        let words = words("NO WAY!", true);
        assert!(
            words.contains(&"<capitals>".to_owned()) && words.contains(&"<last !>".to_owned()),
            "{words:?}"
        );
    }
}
