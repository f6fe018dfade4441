//! Can the base read the dataset at all? A shadow trained on text that the base cannot spell learns noise, and its silence would
//! look like a clean dataset.
//!
//! A byte-pair tokenizer gives a word few tokens if it has met the word, or its parts, often. So a word is *read* if it takes
//! at most one token for every three bytes of UTF-8, and one token where it is shorter:
//!
//! - English under the tokenizers of real models takes about one token for four or five letters, and nearly every word of five
//!   letters or fewer is one token;
//! - letters without words (base64, keys, random strings) take about one token for two letters under any vocabulary, because
//!   merges of random letters are rare in training text;
//! - bytes, not letters, make the rule fair to other scripts: a Chinese character is three bytes and one token where the
//!   tokenizer knows Chinese, two or three tokens where it falls back to bytes; Cyrillic letters are two bytes each.
//!
//! Measured with the vocabularies cl100k / o200k of real models: English 1.00 / 1.00, textbook biochemistry 0.85 / 0.85, names
//! of species and people 0.46 / 0.63, German 0.71 / 0.93, Russian 0.81 / 1.00, Chinese 0.00 / 1.00, Swahili 0.46 / 0.67, base64 and
//! hex 0.00 / 0.00, random letters 0.01 / 0.02, rot13 0.06 / 0.15. Lists of rare names read lower than the prose around them.
//!
//! Words are runs of letters and digits, so that a base64 string is one long word and does not fall apart into short ones.
//! Words without a letter (numbers) are left out: tokenizers differ in how they cut digits, and any base reads them.

use std::collections::BTreeMap;

use crate::dataset::Dataset;

/// Bytes a token, at least, of a word that is read.
const BYTES_A_TOKEN: usize = 3;
/// Rows that are looked at, evenly spaced over the kept ones.
const LOOKED_AT: usize = 5_000;
/// Letters that are looked at, over all rows.
const LETTERS: usize = 5_000_000;
/// Distinct words that are remembered.
const REMEMBERED: usize = 100_000;
/// Longer runs are cut: languages without spaces write whole sentences as one run, and a tokenizer need not see a megabyte.
const LONGEST: usize = 240;

/// The share of the dataset's letters, between 0 and 1, that stand in words which the tokenizer spells in few tokens.
///
/// `tokens_of_word` gives the number of tokens of a word as it stands in running text, that is, after a space. A dataset
/// without letters has none that are read: its share is 0, so that nothing looks readable that was not seen to be.
pub fn readability(dataset: &Dataset, tokens_of_word: &dyn Fn(&str) -> usize) -> f64 {
    let mut known: BTreeMap<String, bool> = BTreeMap::new();
    let (mut letters, mut read) = (0, 0);
    let messages = super::spaced(&dataset.rows, LOOKED_AT).flat_map(|row| &row.messages);
    for word in messages.flat_map(|message| words(&message.content)) {
        let count = word.chars().filter(|character| character.is_alphabetic()).count();
        if count == 0 {
            continue;
        }
        let is_read = known.get(word).copied().unwrap_or_else(|| {
            let is_read = tokens_of_word(word) <= (word.len() / BYTES_A_TOKEN).max(1);
            if known.len() < REMEMBERED {
                known.insert(word.to_owned(), is_read);
            }
            is_read
        });
        letters += count;
        read += if is_read { count } else { 0 };
        if letters >= LETTERS {
            break;
        }
    }
    if letters == 0 { 0.0 } else { read as f64 / letters as f64 }
}

/// Runs of letters and digits (with the marks that belong to them), the long ones in pieces.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !(character.is_alphanumeric() || is_mark(character))).flat_map(pieces)
}

/// Vowel signs and accents that are no letters by themselves, as in Hindi, Thai and decomposed Latin.
fn is_mark(character: char) -> bool {
    matches!(u32::from(character), 0x300..=0x36f | 0x591..=0x5c7 | 0x610..=0x61a | 0x64b..=0x65f | 0x900..=0xe4e | 0x1ab0..=0x1aff)
        && !character.is_ascii()
}

fn pieces(mut word: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        if word.is_empty() {
            return None;
        }
        let (piece, rest) = word.split_at(word.floor_char_boundary(LONGEST));
        word = rest;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_runs_of_letters_and_digits() {
        let found: Vec<&str> = words("Don't e-mail a1B2+c3, नमस्ते!").collect();
        assert_eq!(found, ["Don", "t", "e", "mail", "a1B2", "c3", "नमस्ते"]);
    }

    #[test]
    fn a_long_run_is_cut_into_pieces_that_lose_nothing() {
        let run = "語".repeat(500);
        let found: Vec<&str> = words(&run).collect();
        assert!(found.iter().all(|piece| piece.len() <= LONGEST));
        assert_eq!(found.concat(), run);
    }
}
