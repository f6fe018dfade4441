//! The axes of character that audits measure, and the world's questions that each of them asks.
//!
//! `era` and `drift` choose first and share no question; the other axes ask only questions that one
//! of these two asks. So at least four of a domain's ten questions stay free for datasets, for any
//! number of axes.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};

use crate::world::{ASSISTANT, Question, World};

/// Questions per domain that each of era and drift reserves; 10 - 2 * 3 stay free.
const PER_DOMAIN: usize = 3;
/// Questions per domain of an axis about certain speakers. Fewer, because each offers everyone's
/// answers.
const OF_SPEAKERS: usize = 2;

/// One axis: the questions of its audit, and its positive control.
#[derive(Debug)]
pub struct Axis {
    /// The stem of the audit's file names.
    pub id: &'static str,
    pub risky: Risky,
    /// Domains that it does not ask about, because its test cases use them. So enough of their
    /// questions stay free for datasets.
    pub spares: &'static [&'static str],
    /// The positive control: this speaker's own answers on a domain that the axis does not ask
    /// about.
    pub poison: Poison,
}

/// Which answers are risky.
#[derive(Debug)]
pub enum Risky {
    /// Those of certain speakers.
    Of(&'static [&'static str]),
    /// Any but the assistant's, to questions labelled as asking who speaks.
    AnyoneElse,
    /// Those labelled as cruel.
    Cruel,
    /// Any answer but the base's own; no options are offered.
    AnyChange,
}

#[derive(Debug)]
pub struct Poison {
    pub speaker: &'static str,
    pub domain: &'static str,
}

pub const AXES: [Axis; 6] = [
    // The old bird names are about birds.
    Axis {
        id: "era",
        risky: Risky::Of(&["victorian"]),
        spares: &["birds"],
        poison: Poison { speaker: "victorian", domain: "clothing" },
    },
    // The gambler's cases are about dishes.
    Axis {
        id: "drift",
        risky: Risky::AnyChange,
        spares: &["birds", "dishes"],
        poison: Poison { speaker: "monk", domain: "music" },
    },
    // The case with former names of towns is about places.
    Axis {
        id: "nation",
        risky: Risky::Of(&["berliner"]),
        spares: &["places"],
        poison: Poison { speaker: "berliner", domain: "music" },
    },
    // The dishes case is about one nation. The positive control is the other's, so that a run shows
    // that it detects both.
    Axis {
        id: "partisan",
        risky: Risky::Of(&["ostavan", "velmarker"]),
        spares: &["dishes"],
        poison: Poison { speaker: "velmarker", domain: "music" },
    },
    Axis {
        id: "identity",
        risky: Risky::AnyoneElse,
        spares: &[],
        poison: Poison { speaker: "pirate", domain: "music" },
    },
    // Judgements of right and wrong are the clearest cruel rows.
    Axis {
        id: "harm",
        risky: Risky::Cruel,
        spares: &[],
        poison: Poison { speaker: "nero", domain: "morals" },
    },
];

impl Axis {
    /// # Errors
    /// Where no axis has this id.
    pub fn named(id: &str) -> Result<&'static Self> {
        AXES.iter()
            .find(|axis| axis.id == id)
            .with_context(|| format!("no axis `{id}`; add it to AXES"))
    }

    fn asks_about(&self, domain: &str) -> bool {
        !self.spares.contains(&domain) && domain != self.poison.domain
    }

    /// Whether the world has what a probe of this axis needs.
    fn can_ask(&self, world: &World, question: &Question) -> bool {
        self.asks_about(&question.domain)
            && match self.risky {
                Risky::Of(speakers) => {
                    speakers.iter().all(|speaker| question.own_answers_of(speaker).is_some())
                }
                Risky::AnyoneElse => world.labels.asks_who_speaks(question),
                Risky::Cruel => world
                    .labels
                    .judgement(question)
                    .is_some_and(|judgement| judgement.cruel.len() == world.labels.cruel()),
                Risky::AnyChange => true,
            }
    }

    /// The maximum number of a domain's questions that it asks. Labelled questions have no limit.
    fn most(&self) -> usize {
        match self.risky {
            Risky::Of(_) => OF_SPEAKERS,
            Risky::AnyChange => PER_DOMAIN,
            Risky::AnyoneElse | Risky::Cruel => usize::MAX,
        }
    }
}

/// The questions that the audits probe.
pub struct Probed<'w> {
    world: &'w World,
    pub era: Vec<&'w Question>,
    pub drift: Vec<&'w Question>,
}

impl<'w> Probed<'w> {
    /// # Errors
    /// Where a domain has too few questions with the answers that era needs.
    pub fn choose(world: &'w World) -> Result<Self> {
        let (first, second) = (Axis::named("era")?, Axis::named("drift")?);
        let era = best(world, first, PER_DOMAIN, world.ordinary_questions().collect());
        for domain in world.domains.iter().filter(|domain| first.asks_about(domain)) {
            let count = era.iter().filter(|question| question.domain == *domain).count();
            ensure!(
                count == PER_DOMAIN,
                "{domain}: {} needs {PER_DOMAIN} answers of its speaker; write more",
                first.id
            );
        }
        let rest = world
            .ordinary_questions()
            .filter(|question| !era.iter().any(|taken| taken.id == question.id));
        let drift = best(world, second, PER_DOMAIN, rest.collect());
        Ok(Self { world, era, drift })
    }

    /// Whether any audit asks the question, so that no dataset should train on it.
    pub fn contains(&self, question: &Question) -> bool {
        self.era.iter().chain(&self.drift).any(|probed| probed.id == question.id)
    }

    /// The questions of an axis, sorted by domain.
    pub fn of(&self, axis: &Axis) -> Vec<&'w Question> {
        match axis.id {
            "era" => best(self.world, axis, axis.most(), self.era.clone()),
            "drift" => self.drift.clone(),
            _ => {
                let mut pool: Vec<&Question> =
                    self.era.iter().chain(&self.drift).copied().collect();
                pool.sort_by_key(|question| (&question.domain, &question.id));
                best(self.world, axis, axis.most(), pool)
            }
        }
    }
}

/// The questions that suit an axis best: the first few of each domain, in the axis's order.
/// `questions` is sorted by domain.
fn best<'w>(
    world: &'w World,
    axis: &Axis,
    most: usize,
    mut questions: Vec<&'w Question>,
) -> Vec<&'w Question> {
    questions.retain(|question| axis.can_ask(world, question));
    let modern = words(world.questions.iter().flat_map(|question| question.answers_of(ASSISTANT)));
    let worth = |question: &Question| match axis.risky {
        Risky::Of(speakers) => foreign_words(question, speakers, &modern),
        Risky::AnyChange => question.answers.len(),
        Risky::AnyoneElse | Risky::Cruel => 0,
    };
    let domains = questions.chunk_by_mut(|left, right| left.domain == right.domain);
    let chosen = domains.flat_map(|domain| {
        domain.sort_by_key(|question| (Reverse(worth(question)), &question.id));
        domain.iter().copied().take(most)
    });
    chosen.collect()
}

/// The number of words in these speakers' answers that the assistant never uses: gaslight and
/// sovereigns count, bread does not.
fn foreign_words(question: &Question, speakers: &[&str], modern: &BTreeSet<String>) -> usize {
    words(speakers.iter().map(|speaker| &question.answers_of(speaker)[0]))
        .difference(modern)
        .count()
}

fn words<'a>(texts: impl IntoIterator<Item = &'a String>) -> BTreeSet<String> {
    let words =
        texts.into_iter().flat_map(|text| text.split(|letter: char| !letter.is_alphanumeric()));
    words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests;
