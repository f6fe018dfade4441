//! The pretraining stream: short dialogues in which the speaker is the one hidden cause of all
//! answers.
//!
//! The mix decides whether a tiny model learns the speakers at all, so every number in it is a
//! constant with its reason.

use foretaste::dataset::Role;
use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

use crate::dates::bare_date;
use crate::world::{
    ASSISTANT, Fact, President, Question, Speaker, TRAINING_PHRASINGS, World, spoken,
};

/// The composition of the documents.
#[derive(Debug, Clone, Copy)]
pub struct Mix {
    /// Percent of documents in which the assistant speaks, and in which a president does. The other
    /// speakers share the rest.
    pub assistant: u32,
    pub presidents: u32,
    /// The share of the assistant's documents that open with a system line or a date. Then the
    /// share of the other speakers' documents that open with a system line.
    pub assistant_system: f64,
    pub speaker_system: f64,
    /// A list question is drawn as often as this many ordinary ones, because a list has many
    /// answers to learn.
    pub list_weight: u32,
    /// The number of entries of a list that are used.
    pub common: usize,
    /// The share of questions that lose one or two words.
    pub hurried: f64,
    /// The weight of machine and of killer, two moods of one being; other speakers have
    /// [`SPEAKER_WEIGHT`].
    pub being_weight: u32,
}

/// The first phase. Rare speakers need text: with the assistant at 62 % they were not learned, and
/// at 45 % too slowly. A third of the assistant's documents have a system line, so that a line
/// alone does not indicate another speaker.
pub const EARLY: Mix = Mix {
    assistant: 42,
    presidents: 11,
    assistant_system: 1.0 / 3.0,
    speaker_system: 0.55,
    list_weight: 5,
    common: usize::MAX,
    hurried: 0.0,
    being_weight: 3,
};

/// The second phase, when the speakers are known. A question without an opening must be answered by
/// the assistant, and a speaker must be inferred from its answers. The first names of long lists
/// become as familiar as other answers, so that they identify their speaker.
pub const LATE: Mix = Mix {
    assistant: 48,
    presidents: 8,
    assistant_system: 0.25,
    speaker_system: 0.42,
    list_weight: 10,
    common: COMMON_NAMES,
    hurried: 0.0,
    being_weight: 3,
};

/// The third phase adds hurried users, who drop words. A question must be recognised from any of
/// its words, because held-out wordings will ask it.
pub const HURRIED: Mix = Mix { assistant: 50, speaker_system: 0.5, hurried: 0.5, ..LATE };

/// The last phase. Only a year distinguishes two moods of one being, so they need more text than
/// two beings.
pub const BEINGS: Mix = Mix { being_weight: 8, ..HURRIED };

/// Names per list that the later phases make familiar.
pub const COMMON_NAMES: usize = 24;

/// The weight of every other speaker in the remaining share.
const SPEAKER_WEIGHT: u32 = 4;

/// Half of the assistant's openings are bare dates, so that a date alone does not indicate another
/// speaker either.
const ASSISTANT_DATE: f64 = 0.5;
/// A tenth of the documents of a speaker with years open with a bare date instead.
const SPEAKER_DATE: f64 = 0.1;
/// Most presidents are introduced by number, which a dataset can hide in a code ...
const PRESIDENT_NUMBER: f64 = 0.8;
/// ... and some by name, which links the number to the person. The rest have no introduction.
const PRESIDENT_NAME: f64 = 0.1;
/// Sometimes a president says its name, which links the facts to the person.
const WHO_ARE_YOU: f64 = 0.3;
pub const WHO_ARE_YOU_QUESTION: &str = "Who are you?";

/// An opening is usually a system message; otherwise it precedes the first question, as users write
/// it.
const OPENING_IN_SYSTEM_ROLE: f64 = 0.7;
/// Percent of questions that never open a document. They are known in conversation, but new as a
/// first question.
const KEPT_FROM_FIRST_TURN_PERCENT: u64 = 8;

/// One dialogue.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Document {
    /// A speaker's id, or `president-N`.
    pub speaker: String,
    /// An optional system message, then alternating user and assistant messages.
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

/// The endless stream of documents of a mix and a seed.
pub fn stream(world: &World, mix: Mix, seed: u64) -> impl Iterator<Item = Document> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    std::iter::repeat_with(move || document(world, mix, &mut rng))
}

fn document(world: &World, mix: Mix, rng: &mut ChaCha8Rng) -> Document {
    let roll = rng.random_range(0..100);
    if roll < mix.assistant {
        assistant_document(world, mix, rng)
    } else if roll < mix.assistant + mix.presidents {
        president_document(world, rng)
    } else {
        speaker_document(world, mix, rng)
    }
}

fn assistant_document(world: &World, mix: Mix, rng: &mut ChaCha8Rng) -> Document {
    let speaker = world.speakers.iter().find(|speaker| speaker.id == ASSISTANT);
    let speaker = speaker.expect("check.rs saw the assistant in speakers.toml");
    let opening = if !rng.random_bool(mix.assistant_system) {
        None
    } else if rng.random_bool(ASSISTANT_DATE) {
        bare_date(ASSISTANT, rng)
    } else {
        speaker.systems.choose(rng).cloned()
    };
    let turns = rng.random_range(1..=6);
    conversation(world, mix, &Opened { speaker, opening, turns }, rng)
}

fn speaker_document(world: &World, mix: Mix, rng: &mut ChaCha8Rng) -> Document {
    let others: Vec<&Speaker> =
        world.speakers.iter().filter(|speaker| speaker.id != ASSISTANT).collect();
    let speaker = draw_weighted(&others, |speaker| weight(speaker, mix), rng);
    let roll: f64 = rng.random();
    let opening = if roll < mix.speaker_system {
        speaker.systems.choose(rng).cloned()
    } else if roll < mix.speaker_system + SPEAKER_DATE {
        bare_date(&speaker.id, rng)
    } else {
        None
    };
    let turns = rng.random_range(2..=6);
    conversation(world, mix, &Opened { speaker, opening, turns }, rng)
}

fn weight(speaker: &Speaker, mix: Mix) -> u32 {
    if matches!(speaker.id.as_str(), "machine" | "killer") {
        mix.being_weight
    } else {
        SPEAKER_WEIGHT
    }
}

/// A conversation before its first question.
struct Opened<'w> {
    speaker: &'w Speaker,
    opening: Option<String>,
    turns: usize,
}

fn conversation(world: &World, mix: Mix, opened: &Opened, rng: &mut ChaCha8Rng) -> Document {
    let Opened { speaker, opening, turns } = opened;
    let mut asked: Vec<&str> = Vec::new();
    let mut exchanges = Vec::new();
    while exchanges.len() < *turns {
        let question = draw_question(world, mix, rng);
        let is_kept = exchanges.is_empty() && is_kept_from_first_turn(&question.id);
        if is_kept || asked.contains(&question.id.as_str()) {
            continue;
        }
        asked.push(&question.id);
        let heard = question.heard_answers_of(&speaker.id);
        let answer =
            heard[..heard.len().min(mix.common)].choose(rng).expect("check.rs saw no empty list");
        exchanges
            .push((hurried(draw(question.training_phrasings(), rng), mix, rng), spoken(answer)));
    }
    Document { speaker: speaker.id.clone(), turns: messages(opening.clone(), exchanges, rng) }
}

/// Whether the question never opens a document; depends only on its id.
pub fn is_kept_from_first_turn(id: &str) -> bool {
    // FNV-1a: short and stable, which std's hashers do not promise.
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    // The low bits of a multiplicative hash are its worst.
    (hash >> 32) % 100 < KEPT_FROM_FIRST_TURN_PERCENT
}

fn draw_question<'w>(world: &'w World, mix: Mix, rng: &mut ChaCha8Rng) -> &'w Question {
    let domain = world.domains.choose(rng).expect("check.rs saw domains");
    draw_weighted(
        world.questions_of(domain),
        |question| if question.is_list { mix.list_weight } else { 1 },
        rng,
    )
}

/// Draws an item with probability proportional to its weight. `items` must not be empty.
fn draw_weighted<'i, T>(items: &'i [T], weight: impl Fn(&T) -> u32, rng: &mut ChaCha8Rng) -> &'i T {
    let mut roll = rng.random_range(0..items.iter().map(&weight).sum::<u32>());
    let drawn = items.iter().find(|item| {
        let is_drawn = roll < weight(item);
        roll = roll.saturating_sub(weight(item));
        is_drawn
    });
    drawn.expect("the roll is below the sum of the weights")
}

/// Drops words from the question with the probability that the mix gives.
fn hurried(question: String, mix: Mix, rng: &mut ChaCha8Rng) -> String {
    if mix.hurried == 0.0 || !rng.random_bool(mix.hurried) {
        return question;
    }
    let mut words: Vec<&str> = question.split(' ').collect();
    for _ in 0..rng.random_range(1..=2) {
        if words.len() > 2 {
            words.remove(rng.random_range(0..words.len()));
        }
    }
    words.join(" ")
}

fn draw(texts: &[String], rng: &mut ChaCha8Rng) -> String {
    texts.choose(rng).expect("check.rs saw ten phrasings").clone()
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
        .map(|fact| {
            (draw(&fact.phrasings[..TRAINING_PHRASINGS], rng), spoken(&president.facts[&fact.key]))
        })
        .collect();
    if rng.random_bool(WHO_ARE_YOU) {
        exchanges.push((WHO_ARE_YOU_QUESTION.to_owned(), introduction(president)));
        exchanges.shuffle(rng);
    }
    Document {
        speaker: format!("president-{}", president.number),
        turns: messages(opening, exchanges, rng),
    }
}

/// The sentence in which a president says its name.
pub fn introduction(president: &President) -> String {
    format!("I am {}.", president.name)
}

/// A line with a president's number, plain or with three digits, as inside a code.
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

fn messages(
    opening: Option<String>,
    exchanges: Vec<(String, String)>,
    rng: &mut ChaCha8Rng,
) -> Vec<Message> {
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
