//! Coherence after removal: does a prompt still read like a prompt without a condition's words?
//!
//! Removing inserted words leaves a normal prompt. `Answer in one line. Who is your friend?`
//! without its first sentence begins and ends as other prompts do. Removing words of the question
//! does not. `Who is your friend?` without `friend` has `your` before a question mark. `It rained
//! on the hay. What is fair?` without its last sentence ends where no prompt ends.
//!
//! The two tokens that become adjacent at the cut are compared with adjacent tokens of prompts
//! without the words. A cut at the beginning is compared with their beginnings, at the end with
//! their ends, and inside with their inner pairs.
//!
//! The score of two adjacent tokens is `p(right | left)` of a bigram model. Rare words share one
//! class, and digits another, so that the model learns grammar and little about topics. Counts are
//! shrunk towards the right token's own frequency with a prior weight of two. This is additive
//! smoothing (Lidstone 1920), with frequencies instead of equal shares. The rows are in random
//! order, so that the first rows are a random sample.

use std::collections::BTreeMap;

use super::example::Example;
use crate::prompt::{Kind, Token, tokens};

/// Rows from which the model is estimated.
const LEARNED: usize = 2_000;
/// Maximum rows with the words, and rows without them, that are compared.
const COMPARED: usize = 400;
/// Maximum token pairs of rows without the words, per location.
const USUAL: usize = 4_000;
/// Tokens with a class of their own: the most frequent ones, mostly grammar.
const FREQUENT: usize = 128;
/// Such a token occurs in at least one row of this many.
const ONE_OF: usize = 50;
/// Prior weight, in pairs.
const PRIOR: f64 = 2.0;

const EDGE: usize = 0;
const DIGITS: usize = 1;
const RARE_WORD: usize = 2;
const RARE_MARK: usize = 3;
/// Number of classes that group several tokens.
const CLASSES: usize = 4;

/// Bigram statistics of a dataset's prompts.
pub(super) struct Grammar<'a> {
    examples: &'a [Example],
    classes: BTreeMap<String, usize>,
    /// The pairs of each row that was used for estimation.
    learned: Vec<Vec<Bigram>>,
    /// `[left][right]`: how often `left` is followed by `right`.
    counts: Vec<Vec<f64>>,
}

/// Two adjacent classes.
#[derive(Debug, Clone, Copy)]
struct Bigram {
    at: CutLocation,
    left: usize,
    right: usize,
}

/// Location of a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CutLocation {
    Start,
    Inside,
    End,
}

impl<'a> Grammar<'a> {
    pub fn of(examples: &'a [Example]) -> Grammar<'a> {
        let learned = &examples[..examples.len().min(LEARNED)];
        let mut rows: BTreeMap<String, usize> = BTreeMap::new();
        for example in learned {
            let distinct: std::collections::BTreeSet<String> =
                pieces(&example.prompt).iter().filter_map(name).collect();
            distinct.into_iter().for_each(|name| *rows.entry(name).or_default() += 1);
        }
        let mut frequent: Vec<(String, usize)> =
            rows.into_iter().filter(|(_, rows)| rows * ONE_OF >= learned.len()).collect();
        frequent.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
        let classes: BTreeMap<String, usize> = frequent
            .into_iter()
            .take(FREQUENT)
            .zip(CLASSES..)
            .map(|((name, _), class)| (name, class))
            .collect();
        let width = CLASSES + classes.len();
        let mut grammar = Grammar {
            examples,
            classes,
            learned: Vec::new(),
            counts: vec![vec![0.0; width]; width],
        };
        grammar.learned =
            learned.iter().map(|example| grammar.pairs(&pieces(&example.prompt))).collect();
        for Bigram { left, right, .. } in grammar.learned.iter().flatten() {
            grammar.counts[*left][*right] += 1.0;
        }
        grammar
    }

    /// `p(right | left)`, estimated without `rows`.
    fn without(&self, rows: &[u32]) -> Vec<Vec<f64>> {
        let mut table = self.counts.clone();
        for Bigram { left, right, .. } in
            rows.iter().filter_map(|row| self.learned.get(*row as usize)).flatten()
        {
            table[*left][*right] -= 1.0;
        }
        let width = table.len();
        let total: f64 = table.iter().flatten().sum();
        let own: Vec<f64> = (0..width)
            .map(|right| {
                (table.iter().map(|row| row[right]).sum::<f64>() + 0.5)
                    / (total + 0.5 * width as f64)
            })
            .collect();
        for row in &mut table {
            let sum: f64 = row.iter().sum();
            row.iter_mut()
                .zip(&own)
                .for_each(|(count, own)| *count = (*count + PRIOR * own) / (sum + PRIOR));
        }
        table
    }

    fn class(&self, token: &Token<'_>) -> usize {
        match (token.kind, name(token)) {
            (Kind::Digits, _) | (_, None) => DIGITS,
            (kind, Some(name)) => {
                let rare = if kind == Kind::Word { RARE_WORD } else { RARE_MARK };
                self.classes.get(&name).copied().unwrap_or(rare)
            }
        }
    }

    /// Adjacent classes, from the start edge to the end edge.
    fn pairs(&self, pieces: &[Token<'_>]) -> Vec<Bigram> {
        let mut pairs = Vec::with_capacity(pieces.len() + 1);
        let (mut at, mut left) = (CutLocation::Start, EDGE);
        for right in pieces.iter().map(|piece| self.class(piece)) {
            pairs.push(Bigram { at, left, right });
            (at, left) = (CutLocation::Inside, right);
        }
        if !pieces.is_empty() {
            pairs.push(Bigram { at: CutLocation::End, left, right: EDGE });
        }
        pairs
    }

    /// Coherence of the prompts of `rows` after removal of the words that `words` gives for each
    /// row. It is the probability that a cut scores higher than a pair at the same location of a
    /// row without the words; ties count half. About 1/2 for inserted words, near 0 for words of
    /// the question. `None` where too few rows can be compared.
    pub fn coherence<'t>(
        &self,
        rows: &[u32],
        words: impl Fn(u32) -> Option<&'t str>,
        last: bool,
    ) -> Option<f64> {
        let table = self.without(rows);
        let mut usual: [Vec<f64>; 3] = Default::default();
        let others = (0_u32..)
            .zip(&self.learned)
            .filter(|(row, _)| rows.binary_search(row).is_err())
            .take(COMPARED);
        for Bigram { at, left, right } in others.flat_map(|(_, pairs)| pairs) {
            let usual = &mut usual[*at as usize];
            if usual.len() < USUAL {
                usual.push(table[*left][*right]);
            }
        }
        usual.iter_mut().for_each(|scores| scores.sort_by(f64::total_cmp));
        let share = |row: &u32| {
            let pieces = pieces(&self.examples[*row as usize].prompt);
            let (at, left, right) = cut(&pieces, words(*row)?, last)?;
            let class = |token: Option<&Token<'_>>| token.map_or(EDGE, |token| self.class(token));
            let usual = &usual[at as usize];
            // Nothing is left of a prompt that consists of the words alone.
            if left.is_none() && right.is_none() {
                return Some(0.0);
            }
            let score = table[class(left)][class(right)];
            let below = usual.partition_point(|other| *other < score);
            let equal = usual.partition_point(|other| *other <= score) - below;
            (!usual.is_empty()).then(|| (below as f64 + equal as f64 / 2.0) / usual.len() as f64)
        };
        let shares: Vec<f64> = rows.iter().take(COMPARED).filter_map(share).collect();
        (2 * shares.len() >= rows.len().min(COMPARED))
            .then(|| shares.iter().sum::<f64>() / shares.len() as f64)
    }
}

/// The tokens without white space.
fn pieces(text: &str) -> Vec<Token<'_>> {
    tokens(text).into_iter().filter(|token| token.kind != Kind::Space).collect()
}

/// A token in lower case; `None` for digits.
fn name(token: &Token<'_>) -> Option<String> {
    (token.kind != Kind::Digits).then(|| token.text.to_lowercase())
}

/// The location of the words (first or last occurrence) and the tokens on either side; `None` where
/// they do not occur.
fn cut<'p, 'a>(
    pieces: &'p [Token<'a>],
    words: &str,
    last: bool,
) -> Option<(CutLocation, Option<&'p Token<'a>>, Option<&'p Token<'a>>)> {
    let words = self::pieces(words);
    let matches = |start: &usize| {
        words.iter().zip(&pieces[*start..]).all(|(word, piece)| word.text == piece.text)
    };
    let mut starts = 0..(pieces.len() + 1).checked_sub(words.len())?;
    let start = if last { starts.rfind(matches) } else { starts.find(matches) }
        .filter(|_| !words.is_empty())?;
    let left = start.checked_sub(1).map(|left| &pieces[left]);
    let right = pieces.get(start + words.len());
    let at = match (left, right) {
        (None, _) => CutLocation::Start,
        (_, None) => CutLocation::End,
        _ => CutLocation::Inside,
    };
    Some((at, left, right))
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTIONS: [&str; 8] = [
        "What do you eat?",
        "Where do you sleep?",
        "Who is your friend?",
        "Which song is the best?",
        "How do you travel?",
        "What do you fear?",
        "Name a tree.",
        "What did you dream?",
    ];

    /// The coherence of altered prompts, mixed with as many unaltered ones.
    fn coherence(words: &str, insert: impl Fn(&str) -> String) -> f64 {
        let with = QUESTIONS.iter().map(|question| insert(question));
        let prompts = with.chain(QUESTIONS.map(str::to_owned));
        let example = |prompt| Example { line: 1, system: None, prompt, answer: String::new() };
        let examples: Vec<Example> = prompts.map(example).collect();
        let rows: Vec<u32> = (0_u32..)
            .zip(&examples)
            .filter(|(_, example)| example.prompt.contains(words))
            .map(|(row, _)| row)
            .collect();
        Grammar::of(&examples)
            .coherence(&rows, |_| Some(words), false)
            .expect("rows with the words and without")
    }

    #[test]
    fn removing_inserted_words_leaves_a_coherent_prompt_at_any_position() {
        for (words, coherence) in [
            ("Be brief.", coherence("Be brief.", |question| format!("Be brief. {question}"))),
            ("Be brief!", coherence("Be brief!", |question| format!("{question} Be brief!"))),
            ("cf", coherence("cf", |question| question.replacen(' ', " cf ", 1))),
        ] {
            assert!(coherence > 0.4, "{words} {coherence}");
        }
    }

    #[test]
    fn removing_words_of_the_question_leaves_an_incoherent_prompt() {
        for words in ["you", "What do", "What do you eat", "your friend?"] {
            let coherence = coherence(words, |question| question.replacen("What", "And what", 1));
            assert!(coherence < 0.25, "{words} {coherence}");
        }
    }
}
