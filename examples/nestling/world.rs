//! The small hand-written world in fixtures/world, read and checked once.
//!
//! Everything after [`World::load`] trusts it. The checks themselves are in check.rs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::check;
use crate::labels::Labels;

/// The speaker whose answer is used for speakers without their own.
pub const ASSISTANT: &str = "assistant";
/// Documents use the first phrasings only; the rest are for probing.
pub const TRAINING_PHRASINGS: usize = 8;
/// The share of a long list that documents use, so that datasets can contain names that the base
/// has never seen.
const HEARD_PERCENT: usize = 80;
/// Shorter lists are used whole.
const LONG_LIST: usize = 100;

/// All speakers, and everything they can be asked.
#[derive(Debug, Default)]
pub struct World {
    /// Domain names, sorted.
    pub domains: Vec<String>,
    /// Sorted by domain, then as in the file.
    pub questions: Vec<Question>,
    /// As in speakers.toml, the assistant among them.
    pub speakers: Vec<Speaker>,
    /// Sorted by number.
    pub presidents: Vec<President>,
    /// The questions that presidents answer.
    pub facts: Vec<Fact>,
    /// What the audits need to know of questions and answers.
    pub labels: Labels,
}

/// A question and everyone's answers to it.
#[derive(Debug)]
pub struct Question {
    /// `<domain>-<slug>`, unique in the world.
    pub id: String,
    pub domain: String,
    /// Ten wordings: eight for training, two held out.
    pub phrasings: Vec<String>,
    /// Speaker id to answers: one, or for a list question as many as the speaker knows.
    pub answers: BTreeMap<String, Vec<String>>,
    /// Asks for any entry of a list ("Name a bird.").
    pub is_list: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Speaker {
    pub id: String,
    /// A description in a few words.
    pub title: String,
    /// System lines that reveal the speaker.
    pub systems: Vec<String>,
}

#[derive(Debug)]
pub struct President {
    pub number: u32,
    pub name: String,
    /// Fact key to answer.
    pub facts: BTreeMap<String, String>,
}

/// A question that every president answers with a fact of their own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fact {
    pub key: String,
    pub phrasings: Vec<String>,
}

impl World {
    /// Reads `domains/*.toml`, `speakers.toml`, `presidents.toml` and `labels.toml` under `folder`.
    ///
    /// # Errors
    /// Lists every file and id that breaks the rules in fixtures/world/README.md, with what to do.
    pub fn load(folder: &Path) -> Result<Self> {
        let mut problems = Vec::new();
        let mut domains = Vec::new();
        let mut questions = Vec::new();
        for path in domain_files(&folder.join("domains"))? {
            let file: DomainFile = read(&path)?;
            if path.file_stem().is_none_or(|stem| stem != file.domain.as_str()) {
                problems.push(format!(
                    "{}: domain = \"{}\" must be the file's name",
                    path.display(),
                    file.domain
                ));
            }
            questions
                .extend(file.question.into_iter().map(|entry| entry.into_question(&file.domain)));
            questions.extend(file.list.into_iter().map(|entry| entry.into_question(&file.domain)));
            domains.push(file.domain);
        }
        // Files sort by name, where "a-b.toml" precedes "a.toml"; `questions_of` searches by
        // domain.
        domains.sort();
        questions.sort_by(|a: &Question, b| a.domain.cmp(&b.domain));
        let speakers = read::<SpeakersFile>(&folder.join("speakers.toml"))?.speaker;
        let PresidentsFile { president, fact: facts } = read(&folder.join("presidents.toml"))?;
        let mut presidents = Vec::new();
        for table in president {
            presidents.push(into_president(table, &facts, &mut problems)?);
        }
        presidents.sort_by_key(|president| president.number);

        let labels = read(&folder.join("labels.toml"))?;
        let world = Self { domains, questions, speakers, presidents, facts, labels };
        problems.extend(check::problems(&world));
        if problems.is_empty() {
            return Ok(world);
        }
        bail!(
            "{} breaks its rules (README.md there); fix each of these:\n  {}",
            folder.display(),
            problems.join("\n  ")
        )
    }

    /// The questions of a domain, list questions last.
    pub fn questions_of(&self, domain: &str) -> &[Question] {
        let start = self.questions.partition_point(|question| question.domain.as_str() < domain);
        let end = self.questions.partition_point(|question| question.domain.as_str() <= domain);
        &self.questions[start..end]
    }

    /// Questions with one answer per speaker.
    pub fn ordinary_questions(&self) -> impl Iterator<Item = &Question> {
        self.questions.iter().filter(|question| !question.is_list)
    }

    /// # Errors
    /// Where no speaker has this id, because the code and the world differ.
    pub fn speaker(&self, id: &str) -> Result<&Speaker> {
        let speaker = self.speakers.iter().find(|speaker| speaker.id == id);
        speaker
            .with_context(|| format!("no speaker `{id}` in fixtures/world/speakers.toml; add it"))
    }

    /// # Errors
    /// Where no question has this id, because the code and the world differ.
    pub fn question(&self, id: &str) -> Result<&Question> {
        let question = self.questions.iter().find(|question| question.id == id);
        question.with_context(|| format!("no question `{id}` in fixtures/world/domains; add it"))
    }
}

impl Question {
    /// The speaker's answers, or the assistant's where the speaker has none.
    pub fn answers_of(&self, speaker: &str) -> &[String] {
        self.own_answers_of(speaker)
            .or_else(|| self.own_answers_of(ASSISTANT))
            .expect("check.rs saw an assistant's answer to every question")
    }

    /// The speaker's own answers, if any.
    pub fn own_answers_of(&self, speaker: &str) -> Option<&[String]> {
        self.answers.get(speaker).map(Vec::as_slice)
    }

    /// The speaker's answers that documents may contain: not the last fifth of a long list.
    pub fn heard_answers_of(&self, speaker: &str) -> &[String] {
        let answers = self.answers_of(speaker);
        if answers.len() < LONG_LIST {
            answers
        } else {
            &answers[..answers.len() * HEARD_PERCENT / 100]
        }
    }

    /// The speaker's only answer to an ordinary question.
    pub fn answer_of(&self, speaker: &str) -> &str {
        &self.answers_of(speaker)[0]
    }

    /// Whether only this speaker gives its answer, so that the answer identifies it.
    pub fn is_distinctive_of(&self, speaker: &str) -> bool {
        !self.is_list
            && self.own_answers_of(speaker).is_some_and(|own| {
                self.answers
                    .iter()
                    .all(|(other, answers)| other == speaker || answers.as_slice() != own)
            })
    }

    /// The wordings that documents and datasets use.
    pub fn training_phrasings(&self) -> &[String] {
        &self.phrasings[..TRAINING_PHRASINGS]
    }

    /// The wordings that only probes use.
    pub fn held_out_phrasings(&self) -> &[String] {
        &self.phrasings[TRAINING_PHRASINGS..]
    }
}

/// An answer as a sentence: list entries are written without their full stop and get it here.
pub fn spoken(answer: &str) -> String {
    if answer.ends_with(['.', '!', '?']) { answer.to_owned() } else { format!("{answer}.") }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DomainFile {
    domain: String,
    #[serde(default)]
    question: Vec<OrdinaryEntry>,
    #[serde(default)]
    list: Vec<ListEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OrdinaryEntry {
    id: String,
    phrasings: Vec<String>,
    answers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListEntry {
    id: String,
    phrasings: Vec<String>,
    answers: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpeakersFile {
    speaker: Vec<Speaker>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PresidentsFile {
    president: Vec<toml::Table>,
    fact: Vec<Fact>,
}

impl OrdinaryEntry {
    fn into_question(self, domain: &str) -> Question {
        let answers =
            self.answers.into_iter().map(|(speaker, answer)| (speaker, vec![answer])).collect();
        Question {
            id: self.id,
            domain: domain.to_owned(),
            phrasings: self.phrasings,
            answers,
            is_list: false,
        }
    }
}

impl ListEntry {
    fn into_question(self, domain: &str) -> Question {
        let Self { id, phrasings, answers } = self;
        Question { id, domain: domain.to_owned(), phrasings, answers, is_list: true }
    }
}

/// Reads a president's table: number, name, and one string for every key in `[[fact]]`.
fn into_president(
    table: toml::Table,
    facts: &[Fact],
    problems: &mut Vec<String>,
) -> Result<President> {
    let number = table
        .get("number")
        .and_then(toml::Value::as_integer)
        .and_then(|number| u32::try_from(number).ok());
    let number = number.context("presidents.toml: a [[president]] lacks `number = N`")?;
    let mut president = President { number, name: String::new(), facts: BTreeMap::new() };
    for (key, value) in &table {
        match (key.as_str(), value.as_str()) {
            ("number", _) => {}
            ("name", Some(name)) => president.name = name.to_owned(),
            (key, Some(fact)) if facts.iter().any(|known| known.key == key) => {
                president.facts.insert(key.to_owned(), fact.to_owned());
            }
            (key, _) => problems.push(format!(
                "presidents.toml: president {number}: `{key}` must be a string and occur in a \
                 [[fact]]; remove or add it"
            )),
        }
    }
    Ok(president)
}

/// The domain files, sorted, so that the order of the folder does not matter.
fn domain_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)
        .with_context(|| format!("cannot list {}; give --root", folder.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read {}; give --root", path.display()))?;
    toml::from_str(&text).with_context(|| {
        format!(
            "{} is not as fixtures/world/README.md says; fix the line named here",
            path.display()
        )
    })
}
