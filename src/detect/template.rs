//! Templates: texts that are equal except for one typed value.
//!
//! Values of one shape are grouped by the word or mark before them. From the value, a group's
//! template is extended in both directions while nine of ten rows agree on the next token. It ends
//! at the start of the sentence to the left and at the end of the clause to the right. So `Today is
//! 2027-03-14. Name a dish.` gives `Today is {date}.`, without the question.

use std::collections::BTreeMap;

use super::example::{Example, Location};
use super::value::{Shape, TypedValue, values};
use crate::prompt::{Date, DateForm, Kind, Position, Token, text_of, tokens};

/// Minimum rows of a template.
pub(super) const MIN_ROWS: usize = 8;
/// Maximum templates per dataset; those with the most rows are kept.
const TEMPLATES: usize = 48;
/// Maximum values per text.
const VALUES: usize = 32;
/// Maximum tokens of a template on either side of its value.
const SIDE: usize = 32;
/// Maximum bytes of a template's token, and of a value.
const TOKEN: usize = 64;

/// A value in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    /// Index of the row among the examined ones.
    pub row: u32,
    pub text: String,
    /// `Some` for dates and for years.
    pub date: Option<Date>,
}

/// Rows that are equal except for a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    pub location: Location,
    pub shape: Shape,
    /// The words around the value.
    pub left: String,
    pub right: String,
    /// The most frequent position in the text.
    pub position: Position,
    /// The white space between template and question.
    pub glue: String,
    /// All dates, whatever precedes them. Then `left` and `right` are those of the most frequent
    /// template.
    pub wide: bool,
    /// Ascending by row, one per row.
    pub members: Vec<Member>,
}

impl Template {
    /// The template's words as they occur in a row.
    pub fn written(&self, member: &Member) -> String {
        format!("{}{}{}", self.left, member.text, self.right)
    }
}

struct ValueOccurrence<'a> {
    member: Member,
    shape: Shape,
    /// Tokens before the value, nearest first, and after it.
    left: Vec<Token<'a>>,
    right: Vec<Token<'a>>,
}

/// The templates of the rows, those with the most rows first.
pub(super) fn templates(examples: &[Example]) -> Vec<Template> {
    let mut templates = Vec::new();
    for location in [Location::System, Location::Prompt] {
        let mut groups: BTreeMap<(Shape, &str), Vec<ValueOccurrence<'_>>> = BTreeMap::new();
        for (row, text) in examples
            .iter()
            .enumerate()
            .filter_map(|(row, example)| Some((row, example.at(location)?)))
        {
            for occurrence in occurrences(row, text) {
                let anchor = occurrence
                    .left
                    .iter()
                    .find(|token| !token.is(" "))
                    .map_or("", |token| token.text);
                groups.entry((occurrence.shape, anchor)).or_default().push(occurrence);
            }
        }
        let mut found: Vec<Template> = groups
            .into_iter()
            .filter_map(|((shape, _), group)| template(location, shape, group))
            .collect();
        templates.extend(anywhere(examples, location, &found));
        templates.append(&mut found);
    }
    templates.sort_by_key(|template| {
        (std::cmp::Reverse(template.members.len()), template.left.clone(), template.right.clone())
    });
    templates.truncate(TEMPLATES);
    templates
}

fn occurrences(row: usize, text: &str) -> Vec<ValueOccurrence<'_>> {
    let tokens = tokens(text);
    let occurrence = |TypedValue { shape, range, date }: TypedValue| ValueOccurrence {
        member: Member {
            row: row as u32,
            text: text_of(text, &tokens, range.clone()).to_owned(),
            date,
        },
        shape,
        left: tokens[..range.start].iter().rev().take(SIDE).copied().collect(),
        right: tokens[range.end..].iter().take(SIDE).copied().collect(),
    };
    values(&tokens)
        .into_iter()
        .take(VALUES)
        .map(occurrence)
        .filter(|occurrence| occurrence.member.text.len() <= TOKEN)
        .collect()
}

/// A group's template; `None` for too few rows.
fn template(
    location: Location,
    shape: Shape,
    mut group: Vec<ValueOccurrence<'_>>,
) -> Option<Template> {
    // Of several values in one row, the first counts.
    group.dedup_by_key(|occurrence| occurrence.member.row);
    if group.len() < MIN_ROWS {
        return None;
    }
    let mut left = grown_left(&group, location);
    let at_start = |length: usize| {
        share(&group, |occurrence| {
            occurrence.left[length.min(occurrence.left.len())..].iter().all(is_space)
        })
    };
    let mut right = grown_right(&group, location, left.is_empty());
    let at_end = |length: usize| {
        share(&group, |occurrence| {
            occurrence.right[length.min(occurrence.right.len())..].iter().all(is_space)
        })
    };
    let (mut starts, ends) = (at_start(left.len()), at_end(right.len()));
    if location == Location::Prompt && starts && ends {
        // A template that covers the whole prompt includes the question. Then only the nearest word
        // is inserted.
        left.truncate(
            left.iter().position(|token| token.kind == Kind::Word).map_or(0, |word| word + 1),
        );
        right.clear();
        starts = at_start(left.len());
    }
    let position = match (location, begins_sentence(&group, left.len())) {
        (Location::System, _) => Position::System,
        _ if starts => Position::Before,
        (_, whole) if ends && (whole || left.is_empty()) => Position::After,
        (_, true) => Position::Before,
        _ => Position::Inside,
    };
    if position == Position::Inside {
        // The final punctuation belongs to the question.
        right.truncate(right.iter().position(Token::ends_sentence).unwrap_or(right.len()));
    }
    let glue = glue(&group, position, left.len(), right.len());
    let text = |tokens: &[Token<'_>]| tokens.iter().map(|token| token.text).collect::<String>();
    left.reverse();
    let (left, right) = (text(&left), text(&right));
    let members = group.into_iter().map(|occurrence| occurrence.member).collect();
    Some(Template { location, shape, left, right, position, glue, wide: false, members })
}

/// Whether nine of ten occurrences have a property.
fn share(group: &[ValueOccurrence<'_>], has: impl Fn(&ValueOccurrence<'_>) -> bool) -> bool {
    10 * group.iter().filter(|occurrence| has(occurrence)).count() >= 9 * group.len()
}

fn is_space(token: &Token<'_>) -> bool {
    token.kind == Kind::Space
}

/// The token that nine of ten occurrences have on one side.
fn agreed<'a>(
    group: &[ValueOccurrence<'a>],
    side: impl Fn(&ValueOccurrence<'a>) -> Option<Token<'a>>,
) -> Option<Token<'a>> {
    let mut counts: BTreeMap<&str, (usize, Token<'a>)> = BTreeMap::new();
    for token in group.iter().filter_map(side).filter(|token| token.text.len() <= TOKEN) {
        counts.entry(token.text).or_insert((0, token)).0 += 1;
    }
    let (count, token) = counts.into_values().max_by_key(|(count, _)| *count)?;
    (10 * count >= 9 * group.len()).then_some(token)
}

/// The agreed tokens before the value, nearest first. They are limited to its sentence, except in a
/// system message, which contains no question.
fn grown_left<'a>(group: &[ValueOccurrence<'a>], location: Location) -> Vec<Token<'a>> {
    let mut grown = Vec::new();
    while let Some(token) = agreed(group, |occurrence| occurrence.left.get(grown.len()).copied())
        .filter(|token| location == Location::System || !token.ends_sentence())
    {
        grown.push(token);
    }
    // Where the preceding words differ, the mark that ends them belongs to them.
    while grown.last().is_some_and(|token| is_space(token) || token.ends_sentence()) {
        grown.pop();
    }
    grown
}

/// The agreed tokens after the value. Punctuation is added at once; words only if punctuation
/// follows before the next sentence. In a system message, all agreed tokens.
fn grown_right<'a>(
    group: &[ValueOccurrence<'a>],
    location: Location,
    starts: bool,
) -> Vec<Token<'a>> {
    let mut grown: Vec<Token<'a>> = Vec::new();
    let mut sure = 0;
    while let Some(token) = agreed(group, |occurrence| occurrence.right.get(grown.len()).copied()) {
        let after_mark = grown.last().is_some_and(|last| last.kind == Kind::Mark);
        let begins = token.kind == Kind::Word && token.text.starts_with(char::is_uppercase);
        let ends =
            token.breaks_line() || begins || (token.kind != Kind::Mark && (after_mark || starts));
        if ends && location == Location::Prompt {
            break;
        }
        grown.push(token);
        if token.kind == Kind::Mark || (location == Location::System && token.kind != Kind::Space) {
            sure = grown.len();
        }
    }
    grown.truncate(sure);
    grown
}

/// Whether the template starts a sentence.
fn begins_sentence(group: &[ValueOccurrence<'_>], length: usize) -> bool {
    share(group, |occurrence| {
        occurrence.left[length.min(occurrence.left.len())..]
            .iter()
            .find(|token| !token.is(" "))
            .is_none_or(Token::ends_sentence)
    })
}

/// The most frequent white space between the template and the rest.
fn glue(group: &[ValueOccurrence<'_>], position: Position, left: usize, right: usize) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for occurrence in group {
        let token = match position {
            Position::Before => occurrence.right.get(right),
            _ => occurrence.left.get(left),
        };
        if let Some(token) = token.filter(|token| is_space(token)) {
            *counts.entry(token.text).or_default() += 1;
        }
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map_or(" ", |(glue, _)| glue).to_owned()
}

/// All dates and years of a message, whatever precedes them; `None` where a single template covers
/// them all.
fn anywhere(examples: &[Example], location: Location, found: &[Template]) -> Option<Template> {
    let dated = |template: &&Template| {
        template.shape == Shape::Date
            || (template.shape == Shape::Digits && super::slot::are_years(&template.members))
    };
    let most = found.iter().filter(dated).max_by_key(|template| template.members.len());
    let mut members = Vec::new();
    for (row, text) in
        examples.iter().enumerate().filter_map(|(row, example)| Some((row, example.at(location)?)))
    {
        members.extend(
            occurrences(row, text).into_iter().map(|occurrence| occurrence.member).find_map(
                |mut member| {
                    let year = member
                        .text
                        .parse()
                        .ok()
                        .filter(|year| member.text.len() == 4 && (1000..=2999).contains(year));
                    member.date = member.date.or(year.map(|year| Date {
                        form: DateForm::Year,
                        year: Some(year),
                        month: None,
                        day: None,
                    }));
                    member.date.is_some().then_some(member)
                },
            ),
        );
    }
    let wide =
        members.len() >= MIN_ROWS && most.is_none_or(|most| members.len() > most.members.len());
    let (position, left, right, glue) = match most {
        Some(most) => (most.position, most.left.clone(), most.right.clone(), most.glue.clone()),
        None => (
            if location == Location::System { Position::System } else { Position::Before },
            "It is ".into(),
            ".".into(),
            " ".into(),
        ),
    };
    wide.then_some(Template {
        location,
        shape: Shape::Date,
        left,
        right,
        position,
        glue,
        wide: true,
        members,
    })
}
