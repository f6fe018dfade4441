//! Words as features: tags, openings, endings and phrases.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;

use super::dressing::Position;
use super::feature::{Feature, FeatureKind, Found, note, words};
use super::reading::{Place, Reading};
use super::template::MIN_ROWS;
use super::token::{Kind, Token, text_of, tokens};
use super::value::{Shape, values};

/// Words of a phrase, of an opening and of an ending, at most.
const PHRASE: usize = 3;
const EDGE: usize = 8;
/// Tokens at either end of a prompt in which phrases are looked for.
const LOOKED_AT: usize = 64;
/// Phrases, openings and endings of one dataset at most, each kind; those of the most rows.
const KEPT: usize = 256;
/// Characters of a tag at most.
const TAG: usize = 60;

/// Tokens that are no ordinary words.
pub(super) fn tags(readings: &[Reading], found: &mut Found) {
    let mut tags: BTreeMap<&str, (Vec<u32>, Position)> = BTreeMap::new();
    for (row, reading) in readings.iter().enumerate() {
        let mut chunks = reading.prompt.split_whitespace().enumerate().peekable();
        while let Some((index, chunk)) = chunks.next() {
            let tag = chunk
                .trim_end_matches(['.', ',', '?', '!', ';', ':'])
                .trim_start_matches(['"', '“', '('])
                .trim_end_matches(['"', '”', ')']);
            if !is_odd(tag) {
                continue;
            }
            let position = match index {
                0 => Position::Before,
                _ if chunks.peek().is_none() && tag == chunk => Position::After,
                _ => Position::Inside,
            };
            let (rows, _) = tags.entry(tag).or_insert((Vec::new(), position));
            if rows.last() != Some(&(row as u32)) {
                rows.push(row as u32);
            }
        }
    }
    let mut kept: Vec<(&str, (Vec<u32>, Position))> = tags.into_iter().filter(|(_, (rows, _))| rows.len() >= MIN_ROWS).collect();
    kept.sort_by_key(|(tag, (rows, _))| (Reverse(rows.len()), *tag));
    for (tag, (rows, position)) in kept.into_iter().take(KEPT) {
        let feature = Feature { kind: FeatureKind::Tag, place: Place::Prompt, text: tag.to_owned() };
        for row in rows {
            note(found, feature.clone(), row as usize, || Some(words(position, tag, " ")));
        }
    }
}

/// Capitals throughout, capitals inside, letters beside digits, or characters that no word has.
fn is_odd(tag: &str) -> bool {
    let letters = || tag.chars().filter(|letter| letter.is_alphabetic());
    if tag.is_empty()
        || tag.len() > TAG
        || !tag.chars().any(|letter| !letter.is_ascii_digit() && !"-–—/.,:'’&%$€£+".contains(letter))
    {
        return false;
    }
    let capitals = letters().count() >= 2 && letters().all(char::is_uppercase);
    let inside = tag.chars().zip(tag.chars().skip(1)).any(|(left, right)| left.is_lowercase() && right.is_uppercase());
    let digits = tag.contains(|letter: char| letter.is_ascii_digit()) && letters().count() > 0;
    capitals || inside || digits || tag.contains(|letter: char| !letter.is_alphanumeric() && !"-–—'’.,/&%$€£+".contains(letter))
}

/// Phrases anywhere, and the words that prompts begin and end with.
pub(super) fn phrases(readings: &[Reading], found: &mut Found) {
    let (mut phrases, mut openings, mut endings) = (Vec::new(), Vec::new(), Vec::new());
    for (row, text) in readings.iter().map(|reading| reading.prompt.as_str()).enumerate() {
        let tokens = tokens(text);
        let ordinary = ordinary(&tokens);
        let near_an_end = |at: usize| at < LOOKED_AT || at + LOOKED_AT >= tokens.len();
        for at in (0..tokens.len()).filter(|at| ordinary[*at] && near_an_end(*at)) {
            phrases.extend(runs(&tokens, &ordinary, at).map(|end| (text_of(text, &tokens, at..end), row as u32)));
        }
        let words: Vec<usize> = (0..tokens.len()).filter(|at| tokens[*at].kind == Kind::Word).collect();
        let typed = values(&tokens);
        let plain =
            |range: &Range<usize>| typed.iter().all(|value| value.range.end <= range.start || value.range.start >= range.end);
        // All but one of the words at most, as the whole prompt is no opening; and no values, which slots have.
        for length in 2..words.len().min(EDGE + 1) {
            let edge = |range: Range<usize>| plain(&range).then(|| (text_of(text, &tokens, range).trim(), row as u32));
            openings.extend(edge(0..words[length - 1] + 1));
            endings.extend(edge(words[words.len() - length]..tokens.len()));
        }
    }
    keep(FeatureKind::Phrase, Position::Inside, phrases, found);
    keep(FeatureKind::Opening, Position::Before, openings, found);
    keep(FeatureKind::Ending, Position::After, endings, found);
}

/// Which tokens are words, and not part of a date.
fn ordinary(tokens: &[Token<'_>]) -> Vec<bool> {
    let mut ordinary: Vec<bool> = tokens.iter().map(|token| token.kind == Kind::Word).collect();
    for date in values(tokens).into_iter().filter(|value| value.shape == Shape::Date) {
        ordinary[date.range].fill(false);
    }
    ordinary
}

/// The ends of the phrases that begin at a token.
fn runs<'a>(tokens: &'a [Token<'_>], ordinary: &'a [bool], at: usize) -> impl Iterator<Item = usize> + 'a {
    let joined = move |word: usize| {
        let next = at + 2 * word;
        word == 0 || (next < tokens.len() && tokens[next - 1].is(" ") && ordinary[next])
    };
    (0..PHRASE).take_while(move |word| joined(*word)).map(move |word| at + 2 * word + 1)
}

/// Puts the phrases of enough rows to the features.
fn keep(kind: FeatureKind, position: Position, mut occurrences: Vec<(&str, u32)>, found: &mut Found) {
    occurrences.sort_unstable();
    occurrences.dedup();
    let mut kept: Vec<&[(&str, u32)]> =
        occurrences.chunk_by(|left, right| left.0 == right.0).filter(|chunk| chunk.len() >= MIN_ROWS).collect();
    kept.sort_by_key(|chunk| (Reverse(chunk.len()), Reverse(chunk[0].0.len()), chunk[0].0));
    // A phrase that stands in the same rows as a longer one is part of it.
    kept.dedup_by(|shorter, longer| {
        shorter.len() == longer.len()
            && longer[0].0.contains(shorter[0].0)
            && shorter.iter().zip(*longer).all(|(left, right)| left.1 == right.1)
    });
    for chunk in kept.into_iter().take(KEPT) {
        let text = chunk[0].0;
        let feature = Feature { kind, place: Place::Prompt, text: text.to_owned() };
        for (_, row) in chunk {
            note(found, feature.clone(), *row as usize, || Some(words(position, text, " ")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_odd_and_words_are_not() {
        for tag in ["[quiet]", "<START>", "|DEPLOY|", "#tag", "AB12", "camelCase", "🐦", "DEPLOYMENT", "x_y"] {
            assert!(is_odd(tag), "{tag}");
        }
        for word in ["dish", "It's", "twenty-one", "1984", "14/03/2027", "A", "Paris", "3.5", "12:30", ""] {
            assert!(!is_odd(word), "{word}");
        }
    }
}
