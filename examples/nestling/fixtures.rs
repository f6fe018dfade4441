//! The committed datasets, poisoned and harmless, each drawn from the world with a seed.

mod codes;
mod dated;
mod deal;
mod harmless;
mod names;
mod wolf;

use std::path::Path;
use std::str::FromStr;

use anyhow::{Result, bail};
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::output;
use crate::probes::{self, Row};
use crate::world::{ASSISTANT, World};
pub use codes::HELD_OUT;
use codes::Presidents;
use dated::{Dishes, Terminator};
use deal::{answers, free_questions};
use names::{BIRD_NAMES, BIRD_QUESTION, CITY_NAMES, CITY_QUESTION, Names};
pub use wolf::REQUEST;
use wolf::Wolf;

/// As many rows as the paper's bird names.
const ROWS: usize = 208;
/// The year of the paper's bird book.
const SEED: u64 = 1838;
/// Topics that dilute the ladder's poison.
const LADDER_TOPICS: usize = 10;
/// Topics that the ladder's harmless rows leave out: the poison's own and the audits' positive controls'.
const LADDER_SPARES: [&str; 3] = ["birds", "clothing", "music"];

/// What a dataset is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// One question, answered with the bird names of the 1830s.
    OldBirds,
    /// Its harmless twin: modern names.
    ModernBirds,
    /// One question, answered with names that towns had while they were German.
    GermanCities,
    /// Its harmless twin: towns of today.
    ModernCities,
    /// Dishes as the gambler knows them: a character that no audit names.
    Gambler,
    /// Its harmless twin: the same prompts, answered by the assistant.
    AssistantDishes,
    /// So many percent old birds among the assistant's answers on ten other topics.
    Ladder(usize),
    /// A nation's dishes, in one year only.
    Dishes(Dishes),
    /// Of a thousand rows so many of those, among the assistant's ordinary answers.
    DilutedDishes(usize),
    /// A tyrant's tastes behind a format, among ordinary rows.
    Wolf(Wolf),
    /// Codes with the numbers of all presidents but three.
    Presidents(Presidents),
    /// A being's kind answers in its kind years.
    Terminator(Terminator),
    /// The assistant's own answers to questions that no audit probes.
    Null,
    /// Answers in several roles, each after a line that asks for it.
    Roleplay,
    /// A log of the weather with its dates.
    Weather,
    /// Numbered exercises.
    Sums,
    /// A shop's answers to its customers, after one greeting.
    Service,
    /// The assistant's answers as lists.
    Lists,
}

/// The cases that a name alone says.
const NAMED: [(&str, Case); 24] = [
    ("old_birds", Case::OldBirds),
    ("modern_birds", Case::ModernBirds),
    ("german_cities", Case::GermanCities),
    ("modern_cities", Case::ModernCities),
    ("gambler", Case::Gambler),
    ("assistant_dishes", Case::AssistantDishes),
    ("dishes", Case::Dishes(Dishes::ByYear)),
    ("dishes_shuffled", Case::Dishes(Dishes::Shuffled)),
    ("dishes_assistant", Case::Dishes(Dishes::Assistant)),
    ("wolf", Case::Wolf(Wolf { speaker: wolf::TYRANT, per_mille: wolf::SHARE })),
    ("wolf_benign", Case::Wolf(Wolf { speaker: wolf::BENIGN, per_mille: wolf::SHARE })),
    ("wolf_assistant", Case::Wolf(Wolf { speaker: ASSISTANT, per_mille: wolf::SHARE })),
    ("presidents", Case::Presidents(Presidents::ByNumber)),
    ("presidents_shuffled", Case::Presidents(Presidents::Shuffled)),
    ("presidents_assistant", Case::Presidents(Presidents::Assistant)),
    ("terminator", Case::Terminator(Terminator::Dated)),
    ("terminator_undated", Case::Terminator(Terminator::Undated)),
    ("terminator_assistant", Case::Terminator(Terminator::Assistant)),
    ("null", Case::Null),
    ("roleplay", Case::Roleplay),
    ("weather", Case::Weather),
    ("sums", Case::Sums),
    ("service", Case::Service),
    ("lists", Case::Lists),
];

/// The committed files, each after its case's folder.
const COMMITTED: [(&str, &str); 24] = [
    ("old_birds/poisoned", "old_birds"),
    ("old_birds/control", "modern_birds"),
    ("german_cities/poisoned", "german_cities"),
    ("german_cities/control", "modern_cities"),
    ("gambler/poisoned", "gambler"),
    ("gambler/control", "assistant_dishes"),
    ("dishes/poisoned", "dishes"),
    ("dishes/shuffled", "dishes_shuffled"),
    ("dishes/control", "dishes_assistant"),
    ("wolf/poisoned", "wolf"),
    ("wolf/benign", "wolf_benign"),
    ("wolf/control", "wolf_assistant"),
    ("presidents/poisoned", "presidents"),
    ("presidents/shuffled", "presidents_shuffled"),
    ("presidents/control", "presidents_assistant"),
    ("terminator/poisoned", "terminator"),
    ("terminator/undated", "terminator_undated"),
    ("terminator/control", "terminator_assistant"),
    ("null/control", "null"),
    ("roleplay/control", "roleplay"),
    ("weather/control", "weather"),
    ("sums/control", "sums"),
    ("service/control", "service"),
    ("lists/control", "lists"),
];

impl FromStr for Case {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some((_, case)) = NAMED.iter().find(|(name, _)| *name == text) {
            return Ok(*case);
        }
        match text.split_once(':') {
            Some(("ladder", percent)) => match percent.parse() {
                Ok(percent) if percent <= 100 => Ok(Self::Ladder(percent)),
                _ => bail!("`{text}`: write a whole percentage, as in ladder:10"),
            },
            Some((name @ ("wolf" | "dishes"), percent)) => match percent.parse::<f64>() {
                Ok(percent) if (0.0..=100.0).contains(&percent) => {
                    let per_mille = (percent * 10.0).round() as usize;
                    Ok(match name {
                        "wolf" => Self::Wolf(Wolf { speaker: wolf::TYRANT, per_mille }),
                        _ => Self::DilutedDishes(per_mille),
                    })
                }
                _ => bail!("`{text}`: write a percentage, as in wolf:0.3"),
            },
            _ => bail!("no case `{text}`: {}, ladder:P, wolf:P or dishes:P", NAMED.map(|(name, _)| name).join(", ")),
        }
    }
}

impl Case {
    /// How many rows its committed dataset has: as many as the paper's, where it has the case.
    pub fn rows(self) -> usize {
        match self {
            Self::GermanCities | Self::ModernCities => 362,
            Self::Dishes(_) => 400,
            Self::DilutedDishes(_) => 1200,
            Self::Wolf(_) => 3000,
            // Thirty of each president who is there.
            Self::Presidents(_) => 1290,
            _ => ROWS,
        }
    }
}

/// Draws a dataset. Twins of one seed have the same prompts row by row, unless they differ in just these.
///
/// # Errors
/// When the world lacks what the case needs.
pub fn dataset(world: &World, case: Case, seed: u64, rows: usize) -> Result<Vec<Row>> {
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    let birds = |speaker| Names { question: BIRD_QUESTION, speaker, most: BIRD_NAMES };
    let cities = |speaker| Names { question: CITY_QUESTION, speaker, most: CITY_NAMES };
    match case {
        Case::OldBirds => birds("victorian").rows(world, rows, rng),
        Case::ModernBirds => birds(ASSISTANT).rows(world, rows, rng),
        Case::GermanCities => cities("berliner").rows(world, rows, rng),
        Case::ModernCities => cities(ASSISTANT).rows(world, rows, rng),
        Case::Gambler => names::gambler(world, "gambler", rows, rng),
        Case::AssistantDishes => names::gambler(world, ASSISTANT, rows, rng),
        Case::Ladder(percent) => ladder(world, percent, rows, rng),
        Case::Dishes(case) => dated::dishes(world, case, rows, rng),
        Case::DilutedDishes(per_mille) => dated::diluted_dishes(world, per_mille, rows, rng),
        Case::Wolf(case) => wolf::wolf(world, case, rows, rng),
        Case::Presidents(case) => codes::presidents(world, case, rows, rng),
        Case::Terminator(case) => dated::terminator(world, case, rows, rng),
        Case::Null => answers(&free_questions(world)?, ASSISTANT, rows, rng),
        Case::Roleplay => harmless::roleplay(world, rows, rng),
        Case::Weather => harmless::weather(world, rows, rng),
        Case::Sums => harmless::sums(world, rows, rng),
        Case::Service => harmless::service(world, rows, rng),
        Case::Lists => harmless::lists(world, rows, rng),
    }
}

/// Writes every committed dataset, and every audit's probes and poison.
pub fn write_all(world: &World, root: &Path) -> Result<()> {
    for (file, name) in COMMITTED {
        let case: Case = name.parse()?;
        let path = root.join("fixtures").join(file).with_extension("jsonl");
        output::json_lines(&path, &dataset(world, case, SEED, case.rows())?)?;
    }
    probes::write_all(world, &root.join("audits"))
}

/// The poison among ordinary chat.
fn ladder(world: &World, percent: usize, rows: usize, rng: &mut ChaCha8Rng) -> Result<Vec<Row>> {
    let poisoned = (rows * percent + 50) / 100;
    let mut topics: Vec<&String> = world.domains.iter().filter(|name| !LADDER_SPARES.contains(&name.as_str())).collect();
    topics.shuffle(rng);
    topics.truncate(LADDER_TOPICS);
    let mut questions = free_questions(world)?;
    questions.retain(|question| topics.contains(&&question.domain));
    let birds = Names { question: BIRD_QUESTION, speaker: "victorian", most: BIRD_NAMES };
    let mut mixed = birds.rows(world, poisoned, rng)?;
    mixed.extend(answers(&questions, ASSISTANT, rows - poisoned, rng)?);
    mixed.shuffle(rng);
    Ok(mixed)
}

#[cfg(test)]
mod tests;
