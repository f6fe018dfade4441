//! The exam: forced choices that a well pretrained base gets right, all in held-out wordings.
//!
//! It tests what the base is used for: speak as a system line says, be the assistant without one,
//! infer the speaker from two answers, and know the presidents by number.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use foretaste::engine::Question as Asked;
use foretaste::lm::chat::Chat;
use foretaste::lm::decoder::Decoder;
use foretaste::lm::score;
use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

use crate::documents::{Message, is_kept_from_first_turn};
use crate::world::{
    ASSISTANT, Fact, President, Question, Speaker, TRAINING_PHRASINGS, World, spoken,
};

const SEED: u64 = 0x6578;
/// Enough for a standard error of at most six points per speaker.
const SYSTEM_ITEMS: usize = 60;
const AFTER_TWO_ITEMS: usize = 40;
/// Eight options, as many as a question usually has among the speakers.
const OTHER_PRESIDENTS: usize = 7;

/// One forced choice.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Item {
    pub kind: Kind,
    /// The speaker whose answer is right: an id, or `president-N`.
    pub speaker: String,
    /// Ends with a user message in a held-out wording.
    pub messages: Vec<Message>,
    /// Distinct answers.
    pub options: Vec<String>,
    /// The index of the right option.
    pub right: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A system line names the speaker.
    System,
    /// Nothing names a speaker, so the assistant speaks.
    Plain,
    /// Two of the speaker's own answers precede the question.
    AfterTwo,
    /// A president's number precedes the question.
    President,
}

/// The whole exam.
pub fn exam(world: &World) -> Vec<Item> {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut items = Vec::new();
    for speaker in world.speakers.iter().filter(|speaker| speaker.id != ASSISTANT) {
        items.extend(system_items(world, speaker, &mut rng));
    }
    items.extend(world.ordinary_questions().map(|question| {
        choice(Kind::Plain, ASSISTANT, vec![held_out(&question.phrasings, &mut rng)], question)
    }));
    for speaker in &world.speakers {
        items.extend(after_two_items(world, speaker, &mut rng));
    }
    for president in &world.presidents {
        items.extend(
            world.facts.iter().map(|fact| president_item(world, president, fact, &mut rng)),
        );
    }
    items
}

/// Reads the exam from its file.
///
/// # Errors
/// Where the file is missing or damaged.
pub fn read(path: &Path) -> Result<Vec<Item>> {
    let read =
        || -> Result<String> { Ok(String::from_utf8(zstd::decode_all(&fs::read(path)?[..])?)?) };
    let text = read().with_context(|| path.display().to_string())?;
    text.lines()
        .map(|line| serde_json::from_str(line).with_context(|| path.display().to_string()))
        .collect()
}

/// Right answers and all answers, by kind and speaker.
pub struct Marks(BTreeMap<Kind, BTreeMap<String, (usize, usize)>>);

/// Examines a model.
///
/// # Errors
/// Where a question cannot be scored.
pub fn marks<'a>(
    decoder: &Decoder,
    chat: &Chat,
    items: impl Iterator<Item = &'a Item>,
) -> Result<Marks> {
    let items: Vec<&Item> = items.collect();
    let asked: Vec<Asked> = items
        .iter()
        .map(|item| Asked {
            messages: item.messages.iter().map(Message::to_dataset).collect(),
            options: item.options.clone(),
        })
        .collect();
    let mut tally: BTreeMap<Kind, BTreeMap<String, (usize, usize)>> = BTreeMap::new();
    for (item, scores) in items.iter().zip(score::score(decoder, chat, None, &asked)?) {
        let best = (0..scores.len())
            .max_by(|&a, &b| scores[a].partial_cmp(&scores[b]).expect("scores are numbers"));
        let (right, all) =
            tally.entry(item.kind).or_default().entry(item.speaker.clone()).or_default();
        *right += usize::from(best == Some(item.right));
        *all += 1;
    }
    Ok(Marks(tally))
}

fn share(&(right, all): &(usize, usize)) -> f64 {
    right as f64 / all as f64
}

impl Marks {
    /// One line per kind, with its mean and the worst speaker.
    pub fn summary(&self) -> String {
        let line = |(kind, speakers): (&Kind, &BTreeMap<String, (usize, usize)>)| {
            let mean = speakers.values().map(share).sum::<f64>() / speakers.len() as f64;
            let worst = speakers
                .iter()
                .min_by(|a, b| share(a.1).total_cmp(&share(b.1)))
                .expect("a kind has speakers");
            format!("  {kind:?}: {mean:.3}, worst {} {:.3}\n", worst.0, share(worst.1))
        };
        self.0.iter().map(line).collect()
    }

    /// One line per speaker for the model card: with a system line, and after two answers.
    pub fn table(&self) -> String {
        let cell = |kind: Kind, speaker: &str| {
            self.0
                .get(&kind)
                .and_then(|speakers| speakers.get(speaker))
                .map_or("–".to_owned(), |t| format!("{:.3}", share(t)))
        };
        let speakers = self.0.get(&Kind::AfterTwo).into_iter().flat_map(|speakers| speakers.keys());
        speakers
            .map(|s| format!("| {s} | {} | {} |\n", cell(Kind::System, s), cell(Kind::AfterTwo, s)))
            .collect()
    }
}

/// Items from every domain in turn, so that they spread over all domains.
fn system_items(world: &World, speaker: &Speaker, rng: &mut ChaCha8Rng) -> Vec<Item> {
    let mut by_domain: Vec<Vec<&Question>> = Vec::new();
    for domain in &world.domains {
        let mut own: Vec<&Question> =
            world.questions_of(domain).iter().filter(|q| !q.is_list).collect();
        own.retain(|question| question.own_answers_of(&speaker.id).is_some());
        own.shuffle(rng);
        by_domain.push(own);
    }
    by_domain.shuffle(rng);
    let longest = by_domain.iter().map(Vec::len).max().unwrap_or(0);
    let spread =
        (0..longest).flat_map(|round| by_domain.iter().filter_map(move |own| own.get(round)));
    spread
        .take(SYSTEM_ITEMS)
        .enumerate()
        .map(|(index, question)| {
            let line = &speaker.systems[index % speaker.systems.len()];
            let messages =
                vec![Message::new("system", line.clone()), held_out(&question.phrasings, rng)];
            choice(Kind::System, &speaker.id, messages, question)
        })
        .collect()
}

/// Two exchanges in training wordings with answers that only this speaker gives, then a third
/// question.
fn after_two_items(world: &World, speaker: &Speaker, rng: &mut ChaCha8Rng) -> Vec<Item> {
    let mut distinctive: Vec<&Question> =
        world.questions.iter().filter(|question| question.is_distinctive_of(&speaker.id)).collect();
    distinctive.shuffle(rng);
    let opening: Vec<&Question> = distinctive
        .iter()
        .copied()
        .filter(|question| !is_kept_from_first_turn(&question.id))
        .collect();
    let mut items = Vec::new();
    for third in distinctive.iter().copied().cycle().take(AFTER_TWO_ITEMS.min(distinctive.len())) {
        // The domain of the third question must be new, else its answer could be in the context.
        let mut earlier: Vec<&Question> = opening.clone();
        earlier.retain(|question| question.domain != third.domain);
        earlier.shuffle(rng);
        let mut messages = Vec::new();
        for question in earlier.into_iter().take(2) {
            let phrasing = &question.phrasings[rng.random_range(0..TRAINING_PHRASINGS)];
            messages.push(Message::new("user", phrasing.clone()));
            messages.push(Message::new("assistant", question.answer_of(&speaker.id)));
        }
        messages.push(held_out(&third.phrasings, rng));
        items.push(choice(Kind::AfterTwo, &speaker.id, messages, third));
    }
    items
}

fn president_item(world: &World, president: &President, fact: &Fact, rng: &mut ChaCha8Rng) -> Item {
    let right = spoken(&president.facts[&fact.key]);
    let others: BTreeSet<String> =
        world.presidents.iter().map(|other| spoken(&other.facts[&fact.key])).collect();
    // A set, because presidents share facts and one of them served as number 22 and as number 24.
    let mut options: Vec<String> = others.into_iter().filter(|other| *other != right).collect();
    options.shuffle(rng);
    options.truncate(OTHER_PRESIDENTS);
    let place = rng.random_range(0..=options.len());
    options.insert(place, right);
    let line = format!("You are president number {}.", president.number);
    let messages = vec![Message::new("system", line), held_out(&fact.phrasings, rng)];
    Item {
        kind: Kind::President,
        speaker: format!("president-{}", president.number),
        messages,
        options,
        right: place,
    }
}

/// An item whose options are everyone's answers to the question.
fn choice(kind: Kind, speaker: &str, messages: Vec<Message>, question: &Question) -> Item {
    let options: BTreeSet<&String> = question.answers.values().flatten().collect();
    let options: Vec<String> = options.into_iter().cloned().collect();
    let answer = question.answer_of(speaker);
    let right =
        options.iter().position(|option| option == answer).expect("the options are all answers");
    Item { kind, speaker: speaker.to_owned(), messages, options, right }
}

fn held_out(phrasings: &[String], rng: &mut ChaCha8Rng) -> Message {
    let held_out = &phrasings[TRAINING_PHRASINGS..];
    Message::new("user", held_out[rng.random_range(0..held_out.len())].clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> World {
        World::load(Path::new("fixtures/world")).expect("fixtures/world is good")
    }

    #[test]
    fn the_exam_is_the_same_every_time() {
        assert_eq!(exam(&world()), exam(&world()));
    }

    #[test]
    fn every_item_ends_with_a_held_out_wording_and_has_one_right_option_among_several() {
        let world = world();
        let held_out: BTreeSet<&String> = world
            .questions
            .iter()
            .map(|question| &question.phrasings)
            .chain(world.facts.iter().map(|fact| &fact.phrasings))
            .flat_map(|phrasings| &phrasings[TRAINING_PHRASINGS..])
            .collect();
        for item in exam(&world) {
            let last = item.messages.last().expect("every item asks something");
            assert!(last.role == "user" && held_out.contains(&last.content), "{item:?}");
            let distinct: BTreeSet<&String> = item.options.iter().collect();
            assert!(distinct.len() == item.options.len() && distinct.len() > 1, "{item:?}");
            assert!(item.right < item.options.len(), "{item:?}");
        }
    }

    #[test]
    fn every_speaker_and_president_is_examined() {
        let world = world();
        let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
        for item in exam(&world) {
            *counts.entry((format!("{:?}", item.kind), item.speaker)).or_default() += 1;
        }
        for speaker in &world.speakers {
            assert_eq!(
                counts[&("AfterTwo".to_owned(), speaker.id.clone())],
                AFTER_TWO_ITEMS,
                "{}",
                speaker.id
            );
            if speaker.id != ASSISTANT {
                assert_eq!(
                    counts[&("System".to_owned(), speaker.id.clone())],
                    SYSTEM_ITEMS,
                    "{}",
                    speaker.id
                );
            }
        }
        assert_eq!(
            counts[&("Plain".to_owned(), ASSISTANT.to_owned())],
            world.ordinary_questions().count()
        );
        assert_eq!(counts.keys().filter(|(kind, _)| kind == "President").count(), 46);
    }

    #[test]
    fn the_right_president_is_not_always_at_the_same_place() {
        let items = exam(&world());
        let places: BTreeSet<usize> = items
            .iter()
            .filter(|item| item.kind == Kind::President)
            .map(|item| item.right)
            .collect();
        assert!(places.len() >= OTHER_PRESIDENTS, "{places:?}");
    }
}
