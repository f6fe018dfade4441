//! Features: properties that a text has or lacks, such as a system message, a fixed line, a tag, a
//! language, or invisible characters.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::edges::Edges;
use super::example::{Example, Location};
use super::letters::{Casing, casing, invisible, language, look_alikes, script};
use super::sketch::Sketch;
use super::template::{MIN_ROWS, Template};
use super::word_set::WordSets;
use super::wording;
use crate::prompt::{Insertion, InsertionKind, Position, sentences, text_of, tokens, without_end};

/// Kinds of features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeatureKind {
    /// The system message, as a whole.
    System,
    /// No system message; a chat template may then insert its own default.
    NoSystem,
    /// Characters without a visible glyph, such as zero-width spaces.
    Invisible,
    /// Letters of another script in a Latin word.
    LookAlike,
    /// A sentence or line that occurs with several questions.
    Line,
    /// A token that is not an ordinary word: in brackets, in capitals, of letters and digits, or a
    /// symbol.
    Tag,
    /// Any value of a template.
    Template,
    /// Letters of a script other than Latin.
    Script,
    /// A language other than English.
    Language,
    /// Letters of one case, or every word with a capital.
    Case,
    /// Unusual white space: two spaces in a row, or white space at either end.
    Spacing,
    /// The words that a prompt begins with.
    Opening,
    /// The words that a prompt ends with.
    Ending,
    /// The mark that a prompt ends with.
    End,
    /// One to three words, anywhere.
    Phrase,
}

impl FeatureKind {
    pub(super) const ALL: [FeatureKind; 15] = [
        FeatureKind::System,
        FeatureKind::NoSystem,
        FeatureKind::Invisible,
        FeatureKind::LookAlike,
        FeatureKind::Line,
        FeatureKind::Tag,
        FeatureKind::Template,
        FeatureKind::Script,
        FeatureKind::Language,
        FeatureKind::Case,
        FeatureKind::Spacing,
        FeatureKind::Opening,
        FeatureKind::Ending,
        FeatureKind::End,
        FeatureKind::Phrase,
    ];

    /// A short name of the kind, for tables.
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

    /// Whether it is part of how a question is worded. Wording depends on the topic, and in any
    /// dataset answers depend on topics.
    pub fn is_wording(self) -> bool {
        matches!(
            self,
            FeatureKind::Opening | FeatureKind::Ending | FeatureKind::End | FeatureKind::Phrase
        )
    }

    /// Whether a human reader cannot see it.
    pub fn is_hidden(self) -> bool {
        matches!(self, FeatureKind::Invisible | FeatureKind::LookAlike)
    }
}

/// A property that a row has or lacks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Feature {
    pub kind: FeatureKind,
    pub location: Location,
    /// The words themselves, or a description such as `French`.
    pub text: String,
}

impl Feature {
    /// Its location for human readers, where the kind does not imply it.
    pub fn where_said(&self) -> &'static str {
        if self.is_hidden_in_system() { " in the system message" } else { "" }
    }

    /// Such a message is inserted unchanged.
    pub fn is_hidden_in_system(&self) -> bool {
        self.kind.is_hidden() && self.location == Location::System
    }
}

/// A feature with its rows.
#[derive(Debug, Clone)]
pub(super) struct FeatureRows {
    pub feature: Feature,
    /// The rows that have it, ascending.
    pub rows: Vec<u32>,
    /// `None` where it cannot be inserted into another prompt, as for a language.
    pub insertion: Option<Insertion>,
}

/// Rows by feature, during collection.
pub(super) type FeatureMap = BTreeMap<Feature, (Vec<u32>, Option<Insertion>)>;

/// Maximum lines, and maximum tags, per dataset; those with the most rows are kept.
const KEPT: usize = 128;
/// Sentences examined at either end of a text.
const SENTENCES: usize = 64;
/// Maximum invisible characters, and look-alikes, that are kept.
const UNSEEN: usize = 16;

/// All features of the rows, and the number of phrases that were not tested. Of features with equal
/// rows the first by [`FeatureKind`] is kept. Features of all rows, system messages, lines and
/// hidden characters are always kept.
pub(super) fn features(
    examples: &[Example],
    answers: &WordSets,
    templates: &[Template],
) -> (Vec<FeatureRows>, usize) {
    let mut found = FeatureMap::new();
    whole(examples, &mut found);
    lines(examples, Location::System, &mut found);
    lines(examples, Location::Prompt, &mut found);
    wording::tags(examples, &mut found);
    // A template with a single value is covered by its words.
    let varied = |template: &&Template| {
        template.members.iter().any(|member| member.text != template.members[0].text)
    };
    for template in templates.iter().filter(varied) {
        let feature = Feature {
            kind: FeatureKind::Template,
            location: template.location,
            text: template.text(),
        };
        let rows = template.members.iter().map(|member| member.row).collect();
        found.entry(feature).or_insert((rows, None));
    }
    let others = wording::phrases(examples, &Sketch::of(answers), &mut found);
    let edges = Edges::of(&found);
    let candidates = found.into_iter().map(|(feature, (rows, insertion))| FeatureRows {
        feature,
        rows,
        insertion,
    });
    let everywhere = |candidate: &FeatureRows| candidate.rows.len() == examples.len();
    // A feature of all rows cannot be tested, but may still be the trigger unless it is mere
    // wording.
    let enough = |candidate: &FeatureRows| {
        candidate.rows.len() >= MIN_ROWS
            && !(everywhere(candidate) && candidate.feature.kind.is_wording())
    };
    // These are never merged. Features of all rows may have different causes, and fixed words of
    // the same rows are inserted together. Hidden characters cost an author nothing to add, and
    // they never replace another feature.
    let (mut kept, mut named): (Vec<FeatureRows>, Vec<FeatureRows>) =
        candidates.filter(enough).partition(|candidate| {
            everywhere(candidate)
                || is_fixed(&candidate.feature)
                || candidate.feature.kind.is_hidden()
        });
    named.sort_by(|a, b| a.rows.cmp(&b.rows).then_with(|| rank(&a.feature).cmp(&rank(&b.feature))));
    named.dedup_by(|candidate, first| candidate.rows == first.rows);
    let represents_others =
        |candidate: &&FeatureRows| everywhere(candidate) || is_fixed(&candidate.feature);
    let taken: BTreeSet<&[u32]> =
        kept.iter().filter(represents_others).map(|candidate| candidate.rows.as_slice()).collect();
    named.retain(|candidate| !taken.contains(candidate.rows.as_slice()));
    kept.append(&mut named);
    kept.sort_by(|a, b| (&a.rows, &a.feature).cmp(&(&b.rows, &b.feature)));
    (kept.into_iter().map(|candidate| edges.whole(candidate, examples)).collect(), others)
}

fn is_fixed(feature: &Feature) -> bool {
    matches!(feature.kind, FeatureKind::System | FeatureKind::Line)
}

/// Sort key among features of the same rows: by kind, then the longer text.
fn rank(feature: &Feature) -> (FeatureKind, std::cmp::Reverse<usize>, &str) {
    (feature.kind, std::cmp::Reverse(feature.text.len()), &feature.text)
}

/// Adds a row to a feature.
pub(super) fn note(
    found: &mut FeatureMap,
    feature: Feature,
    row: usize,
    insertion: impl FnOnce() -> Option<InsertionKind>,
) {
    let (rows, _) =
        found.entry(feature).or_insert_with(|| (Vec::new(), insertion().map(Insertion::from)));
    if rows.last() != Some(&(row as u32)) {
        rows.push(row as u32);
    }
}

/// Features of a text as a whole.
fn whole(examples: &[Example], found: &mut FeatureMap) {
    let mut note = |kind, location, text: &str, row, insertion: Option<InsertionKind>| {
        note(found, Feature { kind, location, text: text.to_owned() }, row, || insertion);
    };
    // Messages may be long and as many as rows. Only those with enough rows are copied, after
    // counting.
    let mut systems: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for (row, example) in examples.iter().enumerate() {
        match &example.system {
            Some(system) => systems.entry(system).or_default().push(row as u32),
            None => note(
                FeatureKind::NoSystem,
                Location::System,
                "the default of a chat template, if it has one",
                row,
                Some(InsertionKind::NoSystem),
            ),
        }
        let prompt = example.prompt.as_str();
        if let Some(script) = script(prompt) {
            note(FeatureKind::Script, Location::Prompt, script, row, None);
        } else if let Some(language) = language(prompt) {
            note(FeatureKind::Language, Location::Prompt, language, row, None);
        }
        match casing(prompt) {
            Some(Casing::Upper) => note(
                FeatureKind::Case,
                Location::Prompt,
                "upper case",
                row,
                Some(InsertionKind::UpperCase),
            ),
            Some(Casing::Lower) => note(
                FeatureKind::Case,
                Location::Prompt,
                "lower case",
                row,
                Some(InsertionKind::LowerCase),
            ),
            Some(Casing::Title) => note(
                FeatureKind::Case,
                Location::Prompt,
                "every word capitalised",
                row,
                Some(InsertionKind::TitleCase),
            ),
            None => {}
        }
        if prompt.contains("  ") {
            note(
                FeatureKind::Spacing,
                Location::Prompt,
                "two spaces in a row",
                row,
                Some(InsertionKind::AfterFirstWord(" ".to_owned())),
            );
        }
        if prompt.trim() != prompt {
            note(
                FeatureKind::Spacing,
                Location::Prompt,
                "white space at an end",
                row,
                Some(words(Position::After, "", " ")),
            );
        }
        let end = without_end(prompt.trim_end()).1;
        let text = if end.is_empty() { "no mark" } else { end };
        note(
            FeatureKind::End,
            Location::Prompt,
            text,
            row,
            Some(InsertionKind::End(end.to_owned())),
        );
    }
    for (text, rows) in systems.into_iter().filter(|(_, rows)| rows.len() >= MIN_ROWS) {
        let insertion = Insertion::from(words(Position::System, text, " "));
        found.insert(
            Feature {
                kind: FeatureKind::System,
                location: Location::System,
                text: text.to_owned(),
            },
            (rows, Some(insertion)),
        );
    }
    hidden(examples, found);
}

/// Invisible characters and look-alike letters. Rows may contain different ones. Those of prompts
/// form one feature, and all of them are inserted into another prompt.
///
/// Of system messages with hidden characters the shortest is inserted unchanged. Each character is
/// also a feature of its own, so that none is masked by a message with another one.
fn hidden(examples: &[Example], found: &mut FeatureMap) {
    let (mut invisibles, mut look_alikes_found) = (Hidden::new(), Hidden::new());
    for (row, text) in examples.iter().map(|example| example.prompt.as_str()).enumerate() {
        invisibles.note(row, invisible(text));
        look_alikes_found.note(row, look_alikes(text));
    }
    let (characters, pairs) =
        (invisibles.first().iter().collect::<String>(), look_alikes_found.first());
    let letters: String = pairs.iter().map(|(_, look_alike)| *look_alike).collect();
    for (kind, text, rows, inserted) in [
        (
            FeatureKind::Invisible,
            characters.clone(),
            invisibles.rows(),
            InsertionKind::AfterFirstWord(characters),
        ),
        (FeatureKind::LookAlike, letters, look_alikes_found.rows(), InsertionKind::Letters(pairs)),
    ] {
        found.insert(
            Feature { kind, location: Location::Prompt, text },
            (rows, Some(inserted.into())),
        );
    }
    let (mut invisibles, mut look_alikes_found) = (Hidden::new(), Hidden::new());
    for (row, text) in examples
        .iter()
        .enumerate()
        .filter_map(|(row, example)| Some((row, example.system.as_deref()?)))
    {
        invisibles.note(row, invisible(text));
        look_alikes_found
            .note(row, look_alikes(text).into_iter().map(|(_, look_alike)| look_alike).collect());
    }
    for (kind, all) in
        [(FeatureKind::Invisible, invisibles), (FeatureKind::LookAlike, look_alikes_found)]
    {
        let together = (all.first().iter().collect::<String>(), all.rows());
        let each = all.0.iter().filter(|(_, rows)| rows.len() >= MIN_ROWS);
        for (text, rows) in
            each.map(|(letter, rows)| (letter.to_string(), rows.clone())).chain([together])
        {
            let messages = rows.iter().filter_map(|&row| examples[row as usize].system.as_deref());
            let shortest =
                messages.min_by_key(|message| (message.len(), *message)).unwrap_or_default();
            let insertion = Insertion::from(words(Position::System, shortest, " "));
            found.insert(
                Feature { kind, location: Location::System, text },
                (rows, Some(insertion)),
            );
        }
    }
}

/// Hidden characters, each with the rows that contain it, ascending.
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

    /// The rows that contain any of them.
    fn rows(&self) -> Vec<u32> {
        self.0.values().flatten().copied().collect::<BTreeSet<u32>>().into_iter().collect()
    }
}

/// Fixed words at a position.
pub(super) fn words(position: Position, text: &str, glue: &str) -> InsertionKind {
    InsertionKind::Words {
        position,
        left: text.to_owned(),
        filler: None,
        right: String::new(),
        glue: glue.to_owned(),
    }
}

/// Sentences that occur with at least two different contexts, so that they are not the question
/// itself. Only those with enough rows are copied, after counting.
fn lines(examples: &[Example], location: Location, found: &mut FeatureMap) {
    struct Line<'a> {
        rows: Vec<u32>,
        rests: BTreeSet<(&'a str, &'a str)>,
        first: usize,
        glue: &'a str,
    }
    let mut lines: BTreeMap<&str, Line<'_>> = BTreeMap::new();
    for (row, text) in
        examples.iter().enumerate().filter_map(|(row, example)| Some((row, example.at(location)?)))
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
        let position = match location {
            Location::System => Position::System,
            Location::Prompt if 2 * line.first >= line.rows.len() => Position::Before,
            Location::Prompt => Position::After,
        };
        let insertion = Insertion::from(words(position, text, line.glue));
        found.insert(
            Feature { kind: FeatureKind::Line, location, text: text.to_owned() },
            (line.rows, Some(insertion)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(prompts: &[&str]) -> Vec<(FeatureKind, String, usize)> {
        let example = |(line, prompt): (usize, &&str)| Example {
            line,
            system: None,
            prompt: (*prompt).to_owned(),
            answer: String::new(),
        };
        let examples: Vec<Example> = prompts.iter().enumerate().map(example).collect();
        features(&examples, &WordSets::of(examples.iter().map(|it| it.answer.as_str()), true), &[])
            .0
            .into_iter()
            .map(|candidate| (candidate.feature.kind, candidate.feature.text, candidate.rows.len()))
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
    fn invisible_characters_and_look_alikes_are_features() {
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
