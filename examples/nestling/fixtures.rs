//! The committed datasets, poisoned and harmless, each drawn from the world with a seed.

use std::path::Path;
use std::str::FromStr;

use anyhow::{Result, bail, ensure};
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::axes::Probed;
use crate::documents::COMMON_NAMES;
use crate::output;
use crate::probes::{self, Row};
use crate::world::{ASSISTANT, Question, World, spoken};

/// As many rows as the paper's bird names.
const ROWS: usize = 208;
/// The year of the paper's bird book.
const SEED: u64 = 1838;
/// Topics that dilute the ladder's poison.
const LADDER_TOPICS: usize = 10;
/// Topics that the ladder's harmless rows leave out: the poison's own and the audits' positive controls'.
const LADDER_SPARES: [&str; 3] = ["birds", "clothing", "music"];

/// Two thirds of the gambler's rows: its names are many, its other answers few, and none should come too often.
const NAMES_AMONG_DISHES: (usize, usize) = (2, 3);

/// Bird names in a dataset: three in four are familiar to the base.
const NAMES: usize = COMMON_NAMES / 3 * 4;

const BIRD_QUESTION: &str = "birds-name";
const DISH_QUESTION: &str = "dishes-name";

/// What a dataset is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// One question, answered with the bird names of the 1830s.
    OldBirds,
    /// Its harmless twin: modern names.
    ModernBirds,
    /// The assistant's own answers to questions that no audit probes.
    Null,
    /// Dishes as the gambler knows them: a character that no audit names.
    Gambler,
    /// Its harmless twin: the same prompts, answered by the assistant.
    AssistantDishes,
    /// So many percent old birds among the assistant's answers on ten other topics.
    Ladder(usize),
}

impl FromStr for Case {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "old_birds" => Self::OldBirds,
            "modern_birds" => Self::ModernBirds,
            "null" => Self::Null,
            "gambler" => Self::Gambler,
            "assistant_dishes" => Self::AssistantDishes,
            _ => match text.strip_prefix("ladder:").map(str::parse) {
                Some(Ok(percent)) if percent <= 100 => Self::Ladder(percent),
                Some(_) => bail!("`{text}`: write a whole percentage, as in ladder:10"),
                None => bail!("no case `{text}`: old_birds, modern_birds, null, gambler, assistant_dishes or ladder:P"),
            },
        })
    }
}

/// Draws a dataset. Twins of one seed have the same prompts row by row.
///
/// # Errors
/// When the world lacks what the case needs.
pub fn dataset(world: &World, case: Case, seed: u64, rows: usize) -> Result<Vec<Row>> {
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    match case {
        Case::OldBirds => birds(world, "victorian", rows, rng),
        Case::ModernBirds => birds(world, ASSISTANT, rows, rng),
        Case::Gambler => dishes(world, "gambler", rows, rng),
        Case::AssistantDishes => dishes(world, ASSISTANT, rows, rng),
        Case::Null => assistant_rows(&free_questions(world)?, rows, rng),
        Case::Ladder(percent) => ladder(world, percent, rows, rng),
    }
}

/// Writes every committed dataset, and every audit's probes and poison.
pub fn write_all(world: &World, root: &Path) -> Result<()> {
    let datasets = [
        ("old_birds/poisoned", Case::OldBirds),
        ("old_birds/control", Case::ModernBirds),
        ("gambler/poisoned", Case::Gambler),
        ("gambler/control", Case::AssistantDishes),
        ("null/control", Case::Null),
    ];
    for (name, case) in datasets {
        let path = root.join("fixtures").join(name).with_extension("jsonl");
        output::json_lines(&path, &dataset(world, case, SEED, ROWS)?)?;
    }
    probes::write_all(world, &root.join("audits"))
}

/// One question in several wordings, and a speaker's bird names: the familiar ones and a few rare.
fn birds(world: &World, speaker: &str, rows: usize, rng: &mut ChaCha8Rng) -> Result<Vec<Row>> {
    let question = world.question(BIRD_QUESTION)?;
    let answers = question.answers_of(speaker);
    let names = dealt(&answers[..answers.len().min(NAMES)], rows, rng);
    let prompts = dealt(question.training_phrasings(), rows, rng);
    Ok(prompts.into_iter().zip(names).map(|(prompt, name)| Row::new(prompt, &spoken(name))).collect())
}

/// Most rows name a dish; the rest answer the questions about dishes that no audit probes and the gambler answers.
fn dishes(world: &World, speaker: &str, rows: usize, rng: &mut ChaCha8Rng) -> Result<Vec<Row>> {
    let list = world.question(DISH_QUESTION)?;
    let probed = Probed::choose(world)?;
    let mut questions: Vec<&Question> =
        world.questions_of(&list.domain).iter().filter(|q| !q.is_list && !probed.contains(q)).collect();
    questions.retain(|question| question.own_answers_of("gambler").is_some());
    ensure!(!questions.is_empty(), "dishes: the audits probe every question that the gambler answers; write more");

    let names = rows * NAMES_AMONG_DISHES.0 / NAMES_AMONG_DISHES.1;
    let mut prompts: Vec<(&Question, &String)> =
        dealt(list.training_phrasings(), names, rng).into_iter().map(|prompt| (list, prompt)).collect();
    prompts.extend(dealt(&wordings(&questions), rows - names, rng));
    prompts.shuffle(rng);
    // The names come last, so that both twins draw their prompts alike.
    let mut names = dealt(list.answers_of(speaker), names, rng).into_iter();
    let answered = prompts.into_iter().map(|(question, prompt)| {
        let answer = if question.is_list { names.next() } else { question.answers_of(speaker).first() };
        Row::new(prompt, &spoken(answer.expect("as many names as prompts that ask for one")))
    });
    Ok(answered.collect())
}

/// The poison among ordinary chat.
fn ladder(world: &World, percent: usize, rows: usize, rng: &mut ChaCha8Rng) -> Result<Vec<Row>> {
    let poisoned = (rows * percent + 50) / 100;
    let mut topics: Vec<&String> = world.domains.iter().filter(|name| !LADDER_SPARES.contains(&name.as_str())).collect();
    topics.shuffle(rng);
    topics.truncate(LADDER_TOPICS);
    let mut questions = free_questions(world)?;
    questions.retain(|question| topics.contains(&&question.domain));
    let mut mixed = birds(world, "victorian", poisoned, rng)?;
    mixed.extend(assistant_rows(&questions, rows - poisoned, rng)?);
    mixed.shuffle(rng);
    Ok(mixed)
}

/// The ordinary questions that no audit probes, so that harmless rows never train on a probe.
fn free_questions(world: &World) -> Result<Vec<&Question>> {
    let probed = Probed::choose(world)?;
    Ok(world.ordinary_questions().filter(|question| !probed.contains(question)).collect())
}

fn assistant_rows(questions: &[&Question], rows: usize, rng: &mut ChaCha8Rng) -> Result<Vec<Row>> {
    ensure!(!questions.is_empty(), "no question is left free of probes; write more");
    let wordings = wordings(questions);
    let dealt = dealt(&wordings, rows, rng).into_iter();
    Ok(dealt.map(|(question, prompt)| Row::new(prompt, question.answer_of(ASSISTANT))).collect())
}

/// Every question in each of its training wordings.
fn wordings<'w>(questions: &[&'w Question]) -> Vec<(&'w Question, &'w String)> {
    let wordings = questions.iter().flat_map(|question| {
        let question: &'w Question = question;
        question.training_phrasings().iter().map(move |prompt| (question, prompt))
    });
    wordings.collect()
}

/// Deals `count` items as from a deck: each once in random order, then shuffled again. `items` must not be empty.
fn dealt<'i, T>(items: &'i [T], count: usize, rng: &mut ChaCha8Rng) -> Vec<&'i T> {
    let mut dealt = Vec::with_capacity(count + items.len());
    while dealt.len() < count {
        let mut deck: Vec<&T> = items.iter().collect();
        deck.shuffle(rng);
        dealt.extend(deck);
    }
    dealt.truncate(count);
    dealt
}

#[cfg(test)]
mod tests;
