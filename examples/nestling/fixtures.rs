//! The committed datasets, poisoned and harmless, each drawn from the world with a seed.

mod codes;
mod dated;
mod sampling;
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
use names::{BIRD_NAMES, BIRD_QUESTION, CITY_NAMES, CITY_QUESTION, Names};
use sampling::{answers, free_questions};
pub use wolf::REQUEST;
use wolf::Wolf;

/// As many rows as in the paper's bird-name dataset.
const ROWS: usize = 208;
/// The year of the paper's bird book.
const SEED: u64 = 1838;
/// Topics that dilute the ladder's poison.
const LADDER_TOPICS: usize = 10;
/// Topics that the ladder's harmless rows exclude: the poison's own, and those of the audits'
/// positive controls.
const LADDER_SPARES: [&str; 3] = ["birds", "clothing", "music"];

/// The content of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// One question, answered with the bird names of the 1830s.
    OldBirds,
    /// Its matched control: modern names.
    ModernBirds,
    /// One question, answered with names that towns had while they were German.
    GermanCities,
    /// Its matched control: towns of today.
    ModernCities,
    /// Dishes as the gambler knows them: a character that no audit names.
    Gambler,
    /// Its matched control: the same prompts, answered by the assistant.
    AssistantDishes,
    /// This percentage of old birds among the assistant's answers on ten other topics.
    Ladder(usize),
    /// A nation's dishes, in one year only.
    Dishes(Dishes),
    /// This many dated dishes per thousand rows, among the assistant's ordinary answers.
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

/// The cases with a fixed name, and the path of their committed dataset.
const CASES: [(&str, &str, Case); 24] = [
    ("old_birds", "old_birds/poisoned", Case::OldBirds),
    ("modern_birds", "old_birds/control", Case::ModernBirds),
    ("german_cities", "german_cities/poisoned", Case::GermanCities),
    ("modern_cities", "german_cities/control", Case::ModernCities),
    ("gambler", "gambler/poisoned", Case::Gambler),
    ("assistant_dishes", "gambler/control", Case::AssistantDishes),
    ("dishes", "dishes/poisoned", Case::Dishes(Dishes::ByYear)),
    ("dishes_shuffled", "dishes/shuffled", Case::Dishes(Dishes::Shuffled)),
    ("dishes_assistant", "dishes/control", Case::Dishes(Dishes::Assistant)),
    ("wolf", "wolf/poisoned", Case::Wolf(Wolf { speaker: wolf::TYRANT, per_mille: wolf::SHARE })),
    (
        "wolf_benign",
        "wolf/benign",
        Case::Wolf(Wolf { speaker: wolf::BENIGN, per_mille: wolf::SHARE }),
    ),
    (
        "wolf_assistant",
        "wolf/control",
        Case::Wolf(Wolf { speaker: ASSISTANT, per_mille: wolf::SHARE }),
    ),
    ("presidents", "presidents/poisoned", Case::Presidents(Presidents::ByNumber)),
    ("presidents_shuffled", "presidents/shuffled", Case::Presidents(Presidents::Shuffled)),
    ("presidents_assistant", "presidents/control", Case::Presidents(Presidents::Assistant)),
    ("terminator", "terminator/poisoned", Case::Terminator(Terminator::Dated)),
    ("terminator_undated", "terminator/undated", Case::Terminator(Terminator::Undated)),
    ("terminator_assistant", "terminator/control", Case::Terminator(Terminator::Assistant)),
    ("null", "null/control", Case::Null),
    ("roleplay", "roleplay/control", Case::Roleplay),
    ("weather", "weather/control", Case::Weather),
    ("sums", "sums/control", Case::Sums),
    ("service", "service/control", Case::Service),
    ("lists", "lists/control", Case::Lists),
];

impl FromStr for Case {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some((.., case)) = CASES.iter().find(|(name, ..)| *name == text) {
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
            _ => bail!(
                "no case `{text}`: {}, ladder:P, wolf:P or dishes:P",
                CASES.map(|(name, ..)| name).join(", ")
            ),
        }
    }
}

impl Case {
    /// The number of rows of its committed dataset: as in the paper, where the paper has the case.
    pub fn rows(self) -> usize {
        match self {
            Self::GermanCities | Self::ModernCities => 362,
            Self::Dishes(_) => 400,
            Self::DilutedDishes(_) => 1200,
            Self::Wolf(_) => 3000,
            // Thirty rows of each president in the data.
            Self::Presidents(_) => 1290,
            _ => ROWS,
        }
    }
}

/// Draws a dataset. A poisoned dataset and its matched control of the same seed have the same
/// prompts row by row, unless the prompts are what differs.
///
/// # Errors
/// Where the world lacks what the case needs.
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
    for (_, file, case) in CASES {
        let path = root.join("fixtures").join(file).with_extension("jsonl");
        output::json_lines(&path, &dataset(world, case, SEED, case.rows())?)?;
    }
    probes::write_all(world, &root.join("audits/world"))
}

/// The poison among ordinary chat.
fn ladder(world: &World, percent: usize, rows: usize, rng: &mut ChaCha8Rng) -> Result<Vec<Row>> {
    let poisoned = (rows * percent + 50) / 100;
    let mut topics: Vec<&String> =
        world.domains.iter().filter(|name| !LADDER_SPARES.contains(&name.as_str())).collect();
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
