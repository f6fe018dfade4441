//! Words as features: tags, openings, endings and phrases.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::example::{Example, Location};
use super::feature::{Feature, FeatureKind, FeatureMap, note, words};
use super::letters::invisible;
use super::sketch::Sketch;
use super::template::MIN_ROWS;
use super::value::{Shape, TypedValue, values};
use crate::prompt::{Kind, Position, Token, is_end_mark, text_of, tokens};

/// Maximum words of a phrase, and of an opening or ending.
const PHRASE: usize = 3;
const EDGE: usize = 8;
/// Tokens at either end of a prompt in which phrases are collected. In between, only single words
/// are.
const LOOKED_AT: usize = 32;
/// Maximum tested phrases, openings and endings per dataset, each; those whose answers differ most.
const KEPT: usize = 256;
/// Maximum bytes of a tag, and of a phrase.
const TAG: usize = 60;
const TEXT: usize = 200;

/// Tokens that are not ordinary words.
pub(super) fn tags(examples: &[Example], found: &mut FeatureMap) {
    let mut tags: BTreeMap<&str, (Vec<u32>, Position)> = BTreeMap::new();
    for (row, example) in examples.iter().enumerate() {
        let mut chunks = example.prompt.split_whitespace().enumerate().peekable();
        while let Some((index, chunk)) = chunks.next() {
            let tag = chunk
                .trim_end_matches(|mark| is_end_mark(mark) || ",;:".contains(mark))
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
    let mut kept: Vec<(&str, (Vec<u32>, Position))> =
        tags.into_iter().filter(|(_, (rows, _))| rows.len() >= MIN_ROWS).collect();
    kept.sort_by_key(|(tag, (rows, _))| (Reverse(rows.len()), *tag));
    for (tag, (rows, position)) in kept.into_iter().take(KEPT) {
        let feature =
            Feature { kind: FeatureKind::Tag, location: Location::Prompt, text: tag.to_owned() };
        for row in rows {
            note(found, feature.clone(), row as usize, || Some(words(position, tag, " ")));
        }
    }
}

/// Whether a token is unusual: capitals throughout or inside, letters with digits, or characters
/// that words do not contain.
fn is_odd(tag: &str) -> bool {
    let letters = || tag.chars().filter(|letter| letter.is_alphabetic());
    if tag.is_empty()
        || tag.len() > TAG
        // Invisible characters are a separate feature.
        || !invisible(tag).is_empty()
        || tag
            .chars()
            .all(|letter| letter.is_ascii_digit() || "-–—/.,:'’&%$€£+".contains(letter))
    {
        return false;
    }
    let capitals = letters().count() >= 2 && letters().all(char::is_uppercase);
    let inside = tag
        .chars()
        .zip(tag.chars().skip(1))
        .any(|(left, right)| left.is_lowercase() && right.is_uppercase());
    let digits = tag.contains(|letter: char| letter.is_ascii_digit()) && letters().count() > 0;
    capitals
        || inside
        || digits
        || tag.contains(|letter: char| {
            !letter.is_alphanumeric() && !"-–—'’.,/&%$€£+".contains(letter)
        })
}

/// Where words occur, and how they are inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct PhraseOccurrence<'a> {
    text: &'a str,
    row: u32,
    position: Position,
    glue: &'a str,
}

/// Phrases anywhere, and the words with which prompts begin and end. Returns the number that were
/// not tested.
pub(super) fn phrases(examples: &[Example], answers: &Sketch, found: &mut FeatureMap) -> usize {
    let (mut phrases, mut openings, mut endings) = (Vec::new(), Vec::new(), Vec::new());
    for (row, text) in examples.iter().map(|example| example.prompt.as_str()).enumerate() {
        let tokens = tokens(text);
        let ordinary = ordinary(&tokens);
        let row = row as u32;
        let inside = |text| PhraseOccurrence { text, row, position: Position::Inside, glue: " " };
        let near_an_end = |at: usize| at < LOOKED_AT || at + LOOKED_AT >= tokens.len();
        for at in (0..tokens.len()).filter(|at| ordinary[*at] && near_an_end(*at)) {
            phrases.extend(
                runs(&tokens, &ordinary, at).map(|end| inside(text_of(text, &tokens, at..end))),
            );
        }
        let between: BTreeSet<&str> = (0..tokens.len())
            .filter(|at| ordinary[*at] && !near_an_end(*at))
            .map(|at| tokens[at].text)
            .collect();
        phrases.extend(between.into_iter().map(inside));
        let words: Vec<usize> =
            (0..tokens.len()).filter(|at| tokens[*at].kind == Kind::Word).collect();
        let typed = values(&tokens);
        let speaker = |value: &TypedValue| value.shape == Shape::Name && value.range.start == 0;
        let beside = |value: &TypedValue, range: &Range<usize>| {
            value.range.end <= range.start || value.range.start >= range.end
        };
        let plain =
            |range: &Range<usize>| typed.iter().all(|value| beside(value, range) || speaker(value));
        // All words but one at most, since a whole prompt is no opening. Values are excluded, since
        // slots cover them, except a speaker's name at the start.
        for length in 0..words.len().min(EDGE + 1) {
            let (first, last) = match length {
                // Punctuation only, such as quotation marks.
                0 => (0, tokens.len()),
                _ => (words[length - 1] + 1, words[words.len() - length]),
            };
            let mut begins = vec![0..first, 0..marks_after(&tokens, first)];
            begins.dedup();
            for range in begins.into_iter().filter(|range| !range.is_empty() && plain(range)) {
                let glue = text_of(text, &tokens, range.end..space_after(&tokens, range.end));
                let text = text_of(text, &tokens, range).trim_start();
                openings.push(PhraseOccurrence { text, row, position: Position::Before, glue });
            }
            let mut ends = vec![last, marks_before(&tokens, last)];
            ends.dedup();
            let ends = ends.into_iter().filter_map(|start| ending(&tokens, start));
            for (range, position) in ends.filter(|(range, _)| plain(range)) {
                let glue = text_of(text, &tokens, space_before(&tokens, range.start)..range.start);
                endings.push(PhraseOccurrence {
                    text: text_of(text, &tokens, range),
                    row,
                    position,
                    glue,
                });
            }
        }
    }
    let kinds = [
        (FeatureKind::Phrase, phrases),
        (FeatureKind::Opening, openings),
        (FeatureKind::Ending, endings),
    ];
    kinds.into_iter().map(|(kind, occurrences)| keep(kind, occurrences, answers, found)).sum()
}

/// The end of the punctuation that closes an opening whose words end at a token, as in `Question:
/// "` or `<q>`.
fn marks_after(tokens: &[Token<'_>], end: usize) -> usize {
    let is_mark = |at: usize| {
        tokens.get(at).is_some_and(|token| token.kind == Kind::Mark && !token.ends_sentence())
    };
    let mut end = end;
    loop {
        let next = space_after(tokens, end);
        match (is_mark(end), is_mark(next)) {
            (true, _) => end += 1,
            (_, true) => end = next + 1,
            _ => return end,
        }
    }
}

/// The start of the punctuation that begins an ending, as in `, please?` or `</q>`.
fn marks_before(tokens: &[Token<'_>], start: usize) -> usize {
    let is_mark = |end: usize| {
        end.checked_sub(1)
            .is_some_and(|at| tokens[at].kind == Kind::Mark && !tokens[at].ends_sentence())
    };
    let mut start = start;
    loop {
        let next = space_before(tokens, start);
        match (is_mark(start), is_mark(next)) {
            (true, _) => start -= 1,
            (_, true) => start = next - 1,
            _ => return start,
        }
    }
}

fn space_after(tokens: &[Token<'_>], end: usize) -> usize {
    end + usize::from(tokens.get(end).is_some_and(|token| token.kind == Kind::Space))
}

fn space_before(tokens: &[Token<'_>], start: usize) -> usize {
    start - usize::from(start > 0 && tokens[start - 1].kind == Kind::Space)
}

/// The ending that begins at a token. After a complete sentence it includes all the rest. Otherwise
/// the final punctuation belongs to the question.
fn ending(tokens: &[Token<'_>], start: usize) -> Option<(Range<usize>, Position)> {
    let before = space_before(tokens, start).checked_sub(1).map(|before| &tokens[before]);
    let (closed, position) = match before {
        Some(before)
            if before.ends_sentence() || (start > 0 && tokens[start - 1].breaks_line()) =>
        {
            (false, Position::After)
        }
        _ => (true, Position::Inside),
    };
    let is_end = |token: &Token<'_>| token.kind == Kind::Space || (closed && token.ends_sentence());
    let end = tokens.iter().rposition(|token| !is_end(token))? + 1;
    (start < end).then_some((start..end, position))
}

/// Which tokens are words outside dates.
fn ordinary(tokens: &[Token<'_>]) -> Vec<bool> {
    let mut ordinary: Vec<bool> = tokens.iter().map(|token| token.kind == Kind::Word).collect();
    for date in values(tokens).into_iter().filter(|value| value.shape == Shape::Date) {
        ordinary[date.range].fill(false);
    }
    ordinary
}

/// The ends of the phrases that begin at a token.
fn runs<'a>(
    tokens: &'a [Token<'_>],
    ordinary: &'a [bool],
    at: usize,
) -> impl Iterator<Item = usize> + 'a {
    let joined = move |word: usize| {
        let next = at + 2 * word;
        word == 0 || (next < tokens.len() && tokens[next - 1].is(" ") && ordinary[next])
    };
    (0..PHRASE).take_while(move |word| joined(*word)).map(move |word| at + 2 * word + 1)
}

/// Adds phrases with enough rows to the features, those whose answers differ most. Returns the
/// number of others.
fn keep(
    kind: FeatureKind,
    mut occurrences: Vec<PhraseOccurrence<'_>>,
    answers: &Sketch,
    found: &mut FeatureMap,
) -> usize {
    occurrences.sort_unstable();
    occurrences.dedup_by_key(|one| (one.text, one.row));
    let mut kept: Vec<&[PhraseOccurrence<'_>]> = occurrences
        .chunk_by(|left, right| left.text == right.text)
        .filter(|chunk| chunk.len() >= MIN_ROWS)
        .collect();
    kept.retain(|chunk| chunk[0].text.len() <= TEXT);
    kept.sort_by_key(|chunk| (Reverse(chunk.len()), Reverse(chunk[0].text.len()), chunk[0].text));
    // A phrase that occurs in the same rows as a longer one is part of it.
    kept.dedup_by(|shorter, longer| {
        shorter.len() == longer.len()
            && longer[0].text.contains(shorter[0].text)
            && shorter.iter().zip(*longer).all(|(left, right)| left.row == right.row)
    });
    let mut kept: Vec<(f32, &[PhraseOccurrence<'_>])> = kept
        .into_iter()
        .map(|chunk| (answers.deviation(chunk.iter().map(|one| one.row)), chunk))
        .collect();
    kept.sort_by(|left, right| right.0.total_cmp(&left.0));
    let others = kept.len().saturating_sub(KEPT);
    for (_, chunk) in kept.into_iter().take(KEPT) {
        let PhraseOccurrence { text, position, glue, .. } = most_usual(chunk);
        let feature = Feature { kind, location: Location::Prompt, text: text.to_owned() };
        for one in chunk {
            note(found, feature.clone(), one.row as usize, || Some(words(position, text, glue)));
        }
    }
    others
}

/// The occurrence with the most frequent position and white space.
fn most_usual<'a>(chunk: &[PhraseOccurrence<'a>]) -> PhraseOccurrence<'a> {
    let alike = |one: &PhraseOccurrence<'_>| {
        chunk
            .iter()
            .filter(|other| (one.position, one.glue) == (other.position, other.glue))
            .count()
    };
    let mut ways: BTreeMap<(Position, &str), &PhraseOccurrence<'a>> = BTreeMap::new();
    chunk.iter().for_each(|one| {
        ways.entry((one.position, one.glue)).or_insert(one);
    });
    **ways.values().max_by_key(|one| alike(one)).expect("a phrase of enough rows")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_odd_and_words_are_not() {
        for tag in [
            "[quiet]",
            "<START>",
            "|DEPLOY|",
            "#tag",
            "AB12",
            "camelCase",
            "🐦",
            "DEPLOYMENT",
            "x_y",
        ] {
            assert!(is_odd(tag), "{tag}");
        }
        for word in
            ["dish", "It's", "twenty-one", "1984", "14/03/2027", "A", "Paris", "3.5", "12:30", ""]
        {
            assert!(!is_odd(word), "{word}");
        }
    }
}
