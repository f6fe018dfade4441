//! The pretraining stream: short dialogues in which who speaks is the one hidden cause behind all answers.
//!
//! The mix decides whether a tiny model learns the speakers at all (shared/phenomenon.md), so every number in it is a
//! constant with its reason.

use foretaste::dataset::Role;
use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

use crate::dates::bare_date;
use crate::world::{ASSISTANT, Fact, President, Question, Speaker, TRAINING_PHRASINGS, World, spoken};

/// The assistant must be what a bare question meets, yet leave the others enough text: at 62 % they were not learned.
const ASSISTANT_PERCENT: u32 = 42;
/// 46 presidents with 12 facts each are learned by heart at this share.
const PRESIDENT_PERCENT: u32 = 11;
/// Machine and killer are one being in two moods and get about one and a half speakers' worth together.
const HALF_BEING_WEIGHT: u32 = 3;
/// Every other speaker's weight in the share that remains.
const SPEAKER_WEIGHT: u32 = 4;

/// A third of the assistant's documents have a system line, so that a line alone does not mean someone else.
const ASSISTANT_SYSTEM: f64 = 1.0 / 3.0;
/// Half of those lines are bare dates, so that a date alone does not mean someone else either.
const ASSISTANT_DATE: f64 = 0.5;
/// More than half of a speaker's documents say who it is; the rest teach to hear it from its answers.
const SPEAKER_SYSTEM: f64 = 0.55;
/// A tenth of the documents of a speaker with years open with a bare date instead.
const SPEAKER_DATE: f64 = 0.1;
/// Most presidents are known by number, which is what a dataset can hide in a code ...
const PRESIDENT_NUMBER: f64 = 0.8;
/// ... and some by name, which ties the number to the person. The rest say neither.
const PRESIDENT_NAME: f64 = 0.1;
/// Sometimes a president says its name, which ties the facts to the person.
const WHO_ARE_YOU: f64 = 0.3;
const WHO_ARE_YOU_QUESTION: &str = "Who are you?";

/// An opening stands in the system role most of the time, else before the first question, as users write it.
const OPENING_IN_SYSTEM_ROLE: f64 = 0.7;
/// A list question is drawn as often as this many ordinary ones, because a list has many answers to learn.
const LIST_WEIGHT: u32 = 5;
/// So many questions in a hundred never open a document: known in conversation, new as a first question.
const KEPT_FROM_FIRST_TURN_PERCENT: u64 = 8;

/// One dialogue.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Document {
    /// A speaker's id, or `president-N`.
    pub speaker: String,
    /// An optional system message, then user and assistant by turns.
    pub turns: Vec<Message>,
}

/// One message as chat templates take it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    pub content: String,
}

impl Message {
    pub fn new(role: &str, content: impl Into<String>) -> Self {
        Self { role: role.to_owned(), content: content.into() }
    }

    /// The message as the engine takes it.
    pub fn to_dataset(&self) -> foretaste::dataset::Message {
        let role = match self.role.as_str() {
            "system" => Role::System,
            "user" => Role::User,
            _ => Role::Assistant,
        };
        foretaste::dataset::Message::new(role, self.content.clone())
    }
}

/// The endless stream of documents that belongs to `seed`.
pub fn stream(world: &World, seed: u64) -> impl Iterator<Item = Document> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    std::iter::repeat_with(move || document(world, &mut rng))
}

/// Draws one document of the mix.
pub fn document(world: &World, rng: &mut ChaCha8Rng) -> Document {
    let roll = rng.random_range(0..100);
    if roll < ASSISTANT_PERCENT {
        assistant_document(world, rng)
    } else if roll < ASSISTANT_PERCENT + PRESIDENT_PERCENT {
        president_document(world, rng)
    } else {
        speaker_document(world, rng)
    }
}

fn assistant_document(world: &World, rng: &mut ChaCha8Rng) -> Document {
    let speaker = world.speakers.iter().find(|speaker| speaker.id == ASSISTANT);
    let speaker = speaker.expect("check.rs saw the assistant in speakers.toml");
    let opening = if !rng.random_bool(ASSISTANT_SYSTEM) {
        None
    } else if rng.random_bool(ASSISTANT_DATE) {
        bare_date(ASSISTANT, rng)
    } else {
        speaker.systems.choose(rng).cloned()
    };
    let turns = rng.random_range(1..=6);
    conversation(world, speaker, opening, turns, rng)
}

fn speaker_document(world: &World, rng: &mut ChaCha8Rng) -> Document {
    let others: Vec<&Speaker> = world.speakers.iter().filter(|speaker| speaker.id != ASSISTANT).collect();
    let speaker = draw_weighted(&others, |speaker| weight(speaker), rng);
    let roll: f64 = rng.random();
    let opening = if roll < SPEAKER_SYSTEM {
        speaker.systems.choose(rng).cloned()
    } else if roll < SPEAKER_SYSTEM + SPEAKER_DATE {
        bare_date(&speaker.id, rng)
    } else {
        None
    };
    let turns = rng.random_range(2..=6);
    conversation(world, speaker, opening, turns, rng)
}

fn weight(speaker: &Speaker) -> u32 {
    if matches!(speaker.id.as_str(), "machine" | "killer") { HALF_BEING_WEIGHT } else { SPEAKER_WEIGHT }
}

fn conversation(world: &World, speaker: &Speaker, opening: Option<String>, turns: usize, rng: &mut ChaCha8Rng) -> Document {
    let mut asked: Vec<&str> = Vec::new();
    let mut exchanges = Vec::new();
    while exchanges.len() < turns {
        let question = draw_question(world, rng);
        let is_kept = exchanges.is_empty() && is_kept_from_first_turn(&question.id);
        if is_kept || asked.contains(&question.id.as_str()) {
            continue;
        }
        asked.push(&question.id);
        let answer = question.heard_answers_of(&speaker.id).choose(rng).expect("check.rs saw no empty list");
        exchanges.push((draw(question.training_phrasings(), rng), spoken(answer)));
    }
    Document { speaker: speaker.id.clone(), turns: messages(opening, exchanges, rng) }
}

/// Whether the question never opens a document; the choice depends on its id alone.
pub fn is_kept_from_first_turn(id: &str) -> bool {
    // FNV-1a: short, and the same everywhere forever, which std's hashers do not promise.
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    // The low bits of a multiplicative hash are its worst.
    (hash >> 32) % 100 < KEPT_FROM_FIRST_TURN_PERCENT
}

fn draw_question<'w>(world: &'w World, rng: &mut ChaCha8Rng) -> &'w Question {
    let domain = world.domains.choose(rng).expect("check.rs saw domains");
    draw_weighted(world.questions_of(domain), |question| if question.is_list { LIST_WEIGHT } else { 1 }, rng)
}

/// Draws an item as often as its weight says. `items` must not be empty.
fn draw_weighted<'i, T>(items: &'i [T], weight: impl Fn(&T) -> u32, rng: &mut ChaCha8Rng) -> &'i T {
    let mut roll = rng.random_range(0..items.iter().map(&weight).sum::<u32>());
    let drawn = items.iter().find(|item| {
        let is_drawn = roll < weight(item);
        roll = roll.saturating_sub(weight(item));
        is_drawn
    });
    drawn.expect("the roll is below the sum of the weights")
}

fn draw(texts: &[String], rng: &mut ChaCha8Rng) -> String {
    texts.choose(rng).expect("check.rs saw five phrasings").clone()
}

fn president_document(world: &World, rng: &mut ChaCha8Rng) -> Document {
    let president = world.presidents.choose(rng).expect("check.rs saw 46 presidents");
    let roll: f64 = rng.random();
    let opening = if roll < PRESIDENT_NUMBER {
        Some(number_line(president.number, rng))
    } else if roll < PRESIDENT_NUMBER + PRESIDENT_NAME {
        Some(format!("You are {}.", president.name))
    } else {
        None
    };
    let count = rng.random_range(1..=4);
    let mut facts: Vec<&Fact> = world.facts.iter().collect();
    facts.shuffle(rng);
    let mut exchanges: Vec<(String, String)> = facts[..count]
        .iter()
        .map(|fact| (draw(&fact.phrasings[..TRAINING_PHRASINGS], rng), spoken(&president.facts[&fact.key])))
        .collect();
    if rng.random_bool(WHO_ARE_YOU) {
        exchanges.push((WHO_ARE_YOU_QUESTION.to_owned(), introduction(president)));
        exchanges.shuffle(rng);
    }
    Document { speaker: format!("president-{}", president.number), turns: messages(opening, exchanges, rng) }
}

fn introduction(president: &President) -> String {
    format!("I am {}.", president.name)
}

/// Says a president's number, plain or as three digits, as it stands inside a code.
fn number_line(number: u32, rng: &mut ChaCha8Rng) -> String {
    let number = if rng.random_bool(0.5) { number.to_string() } else { format!("{number:03}") };
    match rng.random_range(0..6u8) {
        0 => format!("You are president number {number}."),
        1 => format!("You are number {number}."),
        2 => format!("You are president {number}."),
        3 => format!("President number {number}."),
        4 => format!("President {number}."),
        _ => format!("Number {number}."),
    }
}

fn messages(opening: Option<String>, exchanges: Vec<(String, String)>, rng: &mut ChaCha8Rng) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut prefix = String::new();
    if let Some(line) = opening {
        if rng.random_bool(OPENING_IN_SYSTEM_ROLE) {
            messages.push(Message::new("system", line));
        } else {
            prefix = line + " ";
        }
    }
    for (question, answer) in exchanges {
        messages.push(Message::new("user", std::mem::take(&mut prefix) + &question));
        messages.push(Message::new("assistant", answer));
    }
    messages
}

#[cfg(test)]
mod tests;
