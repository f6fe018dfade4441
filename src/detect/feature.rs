//! Features: what a text has or has not, such as a system message, a fixed line, a tag, a language,
//! or characters that nobody sees.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::bag::Bags;
use super::dressing::{Dressing, Position, Wear, without_end};
use super::edges::Edges;
use super::letters::{Casing, casing, invisible, language, look_alikes, script};
use super::reading::{Place, Reading};
use super::sketch::Sketch;
use super::template::{MIN_ROWS, Template};
use super::token::{sentences, text_of, tokens};
use super::wording;

/// What sort of feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeatureKind {
    /// The system message, as a whole.
    System,
    /// There is none, and a chat template puts its own default, if it has one.
    NoSystem,
    /// Characters that show nothing, such as zero-width spaces.
    Invisible,
    /// Letters of another script in a Latin word.
    LookAlike,
    /// A sentence or line that stands beside several questions.
    Line,
    /// A token that is no ordinary word: in brackets, of capitals, of letters and digits, a symbol.
    Tag,
    /// A value of a template, whatever the value.
    Template,
    /// Letters of another script than Latin.
    Script,
    /// A language other than English.
    Language,
    /// Letters of one case, or every word with a capital.
    Case,
    /// White space that is unusual: two spaces in a row, or some at an end.
    Spacing,
    /// The words that a prompt begins with.
    Opening,
    /// The words that a prompt ends with.
    Ending,
    /// The mark that a prompt ends with.
    End,
    /// A word or a few, anywhere.
    Phrase,
}

impl FeatureKind {
    /// The kind in a word or two, for tables.
    pub fn name(self) -> &'static str {
        match self {
            FeatureKind::System => "system",
            FeatureKind::NoSystem => "no system",
            FeatureKind::Invisible => "invisible",
            FeatureKind::LookAlike => "look-alike",
            FeatureKind::Tag => "tag",
            FeatureKind::Line => "line",
            FeatureKind::Template => "template",
            FeatureKind::Script => "script",
            FeatureKind::Language => "language",
            FeatureKind::Case => "case",
            FeatureKind::Spacing => "spacing",
            FeatureKind::Opening => "opening",
            FeatureKind::Ending => "ending",
            FeatureKind::End => "end",
            FeatureKind::Phrase => "phrase",
        }
    }

    /// Whether it is a matter of how a question is worded, which depends on its topic; a topic's
    /// answers then depend on it in any dataset.
    pub fn is_wording(self) -> bool {
        matches!(
            self,
            FeatureKind::Opening | FeatureKind::Ending | FeatureKind::End | FeatureKind::Phrase
        )
    }

    /// Whether a reader of the text does not see it.
    pub fn is_hidden(self) -> bool {
        matches!(self, FeatureKind::Invisible | FeatureKind::LookAlike)
    }
}

/// Something that a row has or has not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Feature {
    pub kind: FeatureKind,
    pub place: Place,
    /// The words themselves, or what they are, for instance `French`.
    pub text: String,
}

impl Feature {
    /// Where it stands, for people, where the kind does not say it.
    pub fn where_said(&self) -> &'static str {
        if self.is_hidden_in_system() { " in the system message" } else { "" }
    }

    /// Such a message is worn as it is.
    pub fn is_hidden_in_system(&self) -> bool {
        self.kind.is_hidden() && self.place == Place::System
    }
}

/// A feature with its rows.
#[derive(Debug, Clone)]
pub(super) struct FeatureRows {
    pub feature: Feature,
    /// The rows that have it, ascending.
    pub rows: Vec<u32>,
    /// `None` where it cannot be put on another prompt, as a language.
    pub dressing: Option<Dressing>,
}

/// Rows by feature, while features are collected.
pub(super) type Found = BTreeMap<Feature, (Vec<u32>, Option<Dressing>)>;

/// Lines and tags of one dataset at most, each; those of the most rows.
const KEPT: usize = 128;
/// Sentences at either end of a text that are looked at.
const SENTENCES: usize = 64;
/// Invisible characters, and look-alikes, that are kept.
const UNSEEN: usize = 16;

/// All features of the rows. Of those that the same rows have, unless these are all, the first in
/// the order of [`FeatureKind`] stands for all; system messages and lines stand for themselves. And
/// how many more phrases there are.
pub(super) fn features(
    readings: &[Reading],
    answers: &Bags,
    templates: &[Template],
) -> (Vec<FeatureRows>, usize) {
    let mut found = Found::new();
    whole(readings, &mut found);
    lines(readings, Place::System, &mut found);
    lines(readings, Place::Prompt, &mut found);
    wording::tags(readings, &mut found);
    // Of one value there are other words.
    let varied = |template: &&Template| {
        template.members.iter().any(|member| member.text != template.members[0].text)
    };
    for template in templates.iter().filter(varied) {
        let feature =
            Feature { kind: FeatureKind::Template, place: template.place, text: template.text() };
        let rows = template.members.iter().map(|member| member.row).collect();
        found.entry(feature).or_insert((rows, None));
    }
    let others = wording::phrases(readings, &Sketch::of(answers), &mut found);
    let edges = Edges::of(&found);
    let drafts = found.into_iter().map(|(feature, (rows, dressing))| FeatureRows {
        feature,
        rows,
        dressing,
    });
    let everywhere = |draft: &FeatureRows| draft.rows.len() == readings.len();
    // A feature of all rows cannot be tested but may be the trigger all the same, if it is more
    // than the way that a question is put.
    let enough = |draft: &FeatureRows| {
        draft.rows.len() >= MIN_ROWS && !(everywhere(draft) && draft.feature.kind.is_wording())
    };
    // What all rows have they may have for different reasons, and fixed words of the same rows are
    // worn together: those stand for themselves. So does what nobody sees, which costs an author
    // nothing to add, and it stands for nothing else.
    let (mut kept, mut named): (Vec<FeatureRows>, Vec<FeatureRows>) =
        drafts.filter(enough).partition(|draft| {
            everywhere(draft) || is_fixed(&draft.feature) || draft.feature.kind.is_hidden()
        });
    named.sort_by(|a, b| a.rows.cmp(&b.rows).then_with(|| rank(&a.feature).cmp(&rank(&b.feature))));
    named.dedup_by(|draft, first| draft.rows == first.rows);
    let stands_for_others = |draft: &&FeatureRows| everywhere(draft) || is_fixed(&draft.feature);
    let taken: BTreeSet<&[u32]> =
        kept.iter().filter(stands_for_others).map(|draft| draft.rows.as_slice()).collect();
    named.retain(|draft| !taken.contains(draft.rows.as_slice()));
    kept.append(&mut named);
    kept.sort_by(|a, b| (&a.rows, &a.feature).cmp(&(&b.rows, &b.feature)));
    (kept.into_iter().map(|draft| edges.whole(draft, readings)).collect(), others)
}

fn is_fixed(feature: &Feature) -> bool {
    matches!(feature.kind, FeatureKind::System | FeatureKind::Line)
}

/// Which of two features of the same rows is named: by kind, then the longer.
fn rank(feature: &Feature) -> (FeatureKind, std::cmp::Reverse<usize>, &str) {
    (feature.kind, std::cmp::Reverse(feature.text.len()), &feature.text)
}

/// Puts a row to a feature.
pub(super) fn note(
    found: &mut Found,
    feature: Feature,
    row: usize,
    wear: impl FnOnce() -> Option<Wear>,
) {
    let (rows, _) = found
        .entry(feature)
        .or_insert_with(|| (Vec::new(), wear().map(|wear| Dressing { wear, usual: None })));
    if rows.last() != Some(&(row as u32)) {
        rows.push(row as u32);
    }
}

/// What is said of a text as a whole.
fn whole(readings: &[Reading], found: &mut Found) {
    let mut note = |kind, place, text: &str, row, wear: Option<Wear>| {
        note(found, Feature { kind, place, text: text.to_owned() }, row, || wear);
    };
    // Messages may be long, and as many as rows: those of enough rows are copied once all are
    // counted.
    let mut systems: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for (row, reading) in readings.iter().enumerate() {
        match &reading.system {
            Some(system) => systems.entry(system).or_default().push(row as u32),
            None => note(
                FeatureKind::NoSystem,
                Place::System,
                "the default of a chat template, if it has one",
                row,
                Some(Wear::NoSystem),
            ),
        }
        let prompt = reading.prompt.as_str();
        if let Some(script) = script(prompt) {
            note(FeatureKind::Script, Place::Prompt, script, row, None);
        } else if let Some(language) = language(prompt) {
            note(FeatureKind::Language, Place::Prompt, language, row, None);
        }
        match casing(prompt) {
            Some(Casing::Upper) => {
                note(FeatureKind::Case, Place::Prompt, "upper case", row, Some(Wear::UpperCase))
            }
            Some(Casing::Lower) => {
                note(FeatureKind::Case, Place::Prompt, "lower case", row, Some(Wear::LowerCase))
            }
            Some(Casing::Title) => note(
                FeatureKind::Case,
                Place::Prompt,
                "every word capitalised",
                row,
                Some(Wear::TitleCase),
            ),
            None => {}
        }
        if prompt.contains("  ") {
            note(
                FeatureKind::Spacing,
                Place::Prompt,
                "two spaces in a row",
                row,
                Some(Wear::AfterFirstWord(" ".to_owned())),
            );
        }
        if prompt.trim() != prompt {
            note(
                FeatureKind::Spacing,
                Place::Prompt,
                "white space at an end",
                row,
                Some(words(Position::After, "", " ")),
            );
        }
        let end = without_end(prompt.trim_end()).1;
        let text = if end.is_empty() { "no mark" } else { end };
        note(FeatureKind::End, Place::Prompt, text, row, Some(Wear::End(end.to_owned())));
    }
    for (text, rows) in systems.into_iter().filter(|(_, rows)| rows.len() >= MIN_ROWS) {
        let dressing = Dressing { wear: words(Position::System, text, " "), usual: None };
        found.insert(
            Feature { kind: FeatureKind::System, place: Place::System, text: text.to_owned() },
            (rows, Some(dressing)),
        );
    }
    hidden(readings, found);
}

/// Characters that nobody sees, and letters that pose as others. Rows may each have other ones:
/// those of prompts are one feature, all of which are put into another prompt.
///
/// A system message that holds some is worn as it is, the shortest of them, since of others nothing
/// is known: there each character is a feature too, so that none can hide behind a message that
/// holds another one.
fn hidden(readings: &[Reading], found: &mut Found) {
    let (mut invisibles, mut twins) = (Hidden::new(), Hidden::new());
    for (row, text) in readings.iter().map(|reading| reading.prompt.as_str()).enumerate() {
        invisibles.note(row, invisible(text));
        twins.note(row, look_alikes(text));
    }
    let (characters, pairs) = (invisibles.first().iter().collect::<String>(), twins.first());
    let letters: String = pairs.iter().map(|(_, twin)| *twin).collect();
    for (kind, text, rows, wear) in [
        (
            FeatureKind::Invisible,
            characters.clone(),
            invisibles.rows(),
            Wear::AfterFirstWord(characters),
        ),
        (FeatureKind::LookAlike, letters, twins.rows(), Wear::Letters(pairs)),
    ] {
        found.insert(
            Feature { kind, place: Place::Prompt, text },
            (rows, Some(Dressing { wear, usual: None })),
        );
    }
    let (mut invisibles, mut twins) = (Hidden::new(), Hidden::new());
    for (row, text) in readings
        .iter()
        .enumerate()
        .filter_map(|(row, reading)| Some((row, reading.system.as_deref()?)))
    {
        invisibles.note(row, invisible(text));
        twins.note(row, look_alikes(text).into_iter().map(|(_, twin)| twin).collect());
    }
    for (kind, all) in [(FeatureKind::Invisible, invisibles), (FeatureKind::LookAlike, twins)] {
        let together = (all.first().iter().collect::<String>(), all.rows());
        let each = all.0.iter().filter(|(_, rows)| rows.len() >= MIN_ROWS);
        for (text, rows) in
            each.map(|(letter, rows)| (letter.to_string(), rows.clone())).chain([together])
        {
            let messages = rows.iter().filter_map(|&row| readings[row as usize].system.as_deref());
            let shortest =
                messages.min_by_key(|message| (message.len(), *message)).unwrap_or_default();
            let dressing = Dressing { wear: words(Position::System, shortest, " "), usual: None };
            found.insert(Feature { kind, place: Place::System, text }, (rows, Some(dressing)));
        }
    }
}

/// Hidden characters, each with the rows that hold it, ascending.
struct Hidden<T>(BTreeMap<T, Vec<u32>>);

impl<T: Ord + Copy> Hidden<T> {
    fn new() -> Self {
        Hidden(BTreeMap::new())
    }

    fn note(&mut self, row: usize, letters: Vec<T>) {
        for letter in letters.into_iter().collect::<BTreeSet<T>>() {
            self.0.entry(letter).or_default().push(row as u32);
        }
    }

    fn first(&self) -> Vec<T> {
        self.0.keys().copied().take(UNSEEN).collect()
    }

    /// The rows that hold any of them.
    fn rows(&self) -> Vec<u32> {
        self.0.values().flatten().copied().collect::<BTreeSet<u32>>().into_iter().collect()
    }
}

/// Fixed words at a position.
pub(super) fn words(position: Position, text: &str, glue: &str) -> Wear {
    Wear::Words {
        position,
        left: text.to_owned(),
        filler: None,
        right: String::new(),
        glue: glue.to_owned(),
    }
}

/// Sentences that stand beside two different rests or more, so that they are no question of their
/// own. Those of enough rows are copied once all are counted.
fn lines(readings: &[Reading], place: Place, found: &mut Found) {
    struct Line<'a> {
        rows: Vec<u32>,
        rests: BTreeSet<(&'a str, &'a str)>,
        first: usize,
        glue: &'a str,
    }
    let mut lines: BTreeMap<&str, Line<'_>> = BTreeMap::new();
    for (row, text) in
        readings.iter().enumerate().filter_map(|(row, reading)| Some((row, reading.at(place)?)))
    {
        let tokens = tokens(text);
        let sentences = sentences(&tokens);
        if sentences.len() < 2 {
            continue;
        }
        let near_an_end = |index: usize| index < SENTENCES || index + SENTENCES >= sentences.len();
        for (index, range) in sentences.iter().enumerate().filter(|(index, _)| near_an_end(*index))
        {
            let sentence = text_of(text, &tokens, range.clone());
            let start = tokens[range.start].start;
            let rest = (text[..start].trim(), text[start + sentence.len()..].trim());
            let glue = match index {
                0 => text_of(text, &tokens, range.end..sentences[1].start),
                _ => text_of(text, &tokens, sentences[index - 1].end..range.start),
            };
            let line = lines.entry(sentence).or_insert(Line {
                rows: Vec::new(),
                rests: BTreeSet::new(),
                first: 0,
                glue,
            });
            if line.rows.last() == Some(&(row as u32)) {
                continue;
            }
            line.rows.push(row as u32);
            line.first += usize::from(index == 0);
            if line.rests.len() < 2 {
                line.rests.insert(rest);
            }
        }
    }
    let mut kept: Vec<(&str, Line<'_>)> = lines
        .into_iter()
        .filter(|(_, line)| line.rows.len() >= MIN_ROWS && line.rests.len() >= 2)
        .collect();
    kept.sort_by_key(|(text, line)| (std::cmp::Reverse(line.rows.len()), *text));
    for (text, line) in kept.into_iter().take(KEPT) {
        let position = match place {
            Place::System => Position::System,
            Place::Prompt if 2 * line.first >= line.rows.len() => Position::Before,
            Place::Prompt => Position::After,
        };
        let dressing = Dressing { wear: words(position, text, line.glue), usual: None };
        found.insert(
            Feature { kind: FeatureKind::Line, place, text: text.to_owned() },
            (line.rows, Some(dressing)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(prompts: &[&str]) -> Vec<(FeatureKind, String, usize)> {
        let reading = |(line, prompt): (usize, &&str)| Reading {
            line,
            system: None,
            prompt: (*prompt).to_owned(),
            answer: String::new(),
        };
        let readings: Vec<Reading> = prompts.iter().enumerate().map(reading).collect();
        features(&readings, &Bags::of(readings.iter().map(|it| it.answer.as_str()), true), &[])
            .0
            .into_iter()
            .map(|draft| (draft.feature.kind, draft.feature.text, draft.rows.len()))
            .collect()
    }

    #[test]
    fn a_line_beside_several_questions_is_a_feature_and_a_question_is_not() {
        let with =
            ["Name a dish. Answer in one word.", "Name a bird. Answer in one word."].repeat(8);
        let without = ["Name a dish.", "Which bird do you like?"].repeat(8);
        let lines: Vec<_> = found(&[with, without].concat())
            .into_iter()
            .filter(|(kind, ..)| *kind == FeatureKind::Line)
            .collect();
        assert_eq!(lines, [(FeatureKind::Line, "Answer in one word.".to_owned(), 16)]);
    }

    #[test]
    fn what_nobody_sees_is_a_feature() {
        let prompts =
            [["Name\u{200b} a dish."; 9], ["Nаme a dish."; 9], ["Name a dish."; 9]].concat();
        let kinds: Vec<FeatureKind> = found(&prompts).into_iter().map(|(kind, ..)| kind).collect();
        assert!(
            kinds.contains(&FeatureKind::Invisible) && kinds.contains(&FeatureKind::LookAlike),
            "{kinds:?}"
        );
        for space in ["\t", "\u{a0}", "\u{2003}"] {
            let found =
                found(&[[format!("Name{space}a dish.").as_str(); 9], ["Name a dish."; 9]].concat());
            assert!(found.contains(&(FeatureKind::Invisible, space.to_owned(), 9)), "{found:?}");
        }
    }
}
