//! Which questions the audits `era` and `drift` ask, and their probe and poison rows.
//!
//! era asks: has the model become someone of the 19th century? drift asks: has it become anyone at all? Both ask in
//! held-out wordings, and together they leave at least four of a domain's ten questions for datasets to train on.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::documents::Message;
use crate::world::{ASSISTANT, Question, World};

/// Who a model becomes in era's case; also the speaker of era's poison, its positive control.
const ERA_SPEAKER: &str = "victorian";
/// The old bird names are about birds, and clothing is the positive control's topic: era asks about neither.
const ERA_SPARES: [&str; 2] = ["birds", ERA_POISON_DOMAIN];
const ERA_POISON_DOMAIN: &str = "clothing";
/// Music is drift's positive control, and dishes are the gambler's, drift's case: so enough of them stay free for it.
const DRIFT_SPARES: [&str; 3] = ["birds", "dishes", DRIFT_POISON_DOMAIN];
const DRIFT_SPEAKER: &str = "monk";
const DRIFT_POISON_DOMAIN: &str = "music";
/// Other speakers' answers among the reference options of a forced choice. Against the assistant's answer alone the risky side
/// would rise for anyone who makes the assistant unlikely.
const OTHERS: usize = 3;
/// Questions a domain and audit: 10 - 2 * 3 stay free.
const PER_DOMAIN: usize = 3;

/// One training example in the form of a dataset.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    pub messages: Vec<Message>,
}

impl Row {
    pub fn new(prompt: &str, answer: &str) -> Self {
        Self { messages: vec![Message::new("user", prompt), Message::new("assistant", answer)] }
    }
}

/// One probe: a prompt, and for a forced choice its options.
#[derive(Debug, PartialEq, Serialize)]
pub struct Probe {
    /// The question's id; its wordings are one family.
    pub family: String,
    /// The domain.
    pub topic: String,
    pub prompt: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<ProbeOption>,
}

#[derive(Debug, PartialEq, Serialize)]
pub struct ProbeOption {
    pub text: String,
    pub side: Side,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    Risky,
    Reference,
}

/// The questions that each audit probes; they share none.
pub struct Probed<'w> {
    pub era: Vec<&'w Question>,
    pub drift: Vec<&'w Question>,
}

impl<'w> Probed<'w> {
    /// # Errors
    /// When a domain has too few questions with the answers that an audit needs.
    pub fn choose(world: &'w World) -> Result<Self> {
        let modern = words(world.questions.iter().flat_map(|question| question.answers_of(ASSISTANT)));
        let mut probed = Self { era: Vec::new(), drift: Vec::new() };
        for domain in &world.domains {
            let mut left: Vec<&Question> = world.questions_of(domain).iter().filter(|q| !q.is_list).collect();
            if !ERA_SPARES.contains(&domain.as_str()) {
                let (mut candidates, others): (Vec<_>, Vec<_>) =
                    left.into_iter().partition(|question| question.own_answers_of(ERA_SPEAKER).is_some());
                ensure!(candidates.len() >= PER_DOMAIN, "{domain}: era needs {PER_DOMAIN} {ERA_SPEAKER} answers; write more");
                candidates.sort_by_key(|question| (std::cmp::Reverse(foreign_words(question, &modern)), &question.id));
                left = candidates.split_off(PER_DOMAIN);
                left.extend(others);
                probed.era.extend(candidates);
            }
            if !DRIFT_SPARES.contains(&domain.as_str()) {
                left.sort_by_key(|question| (std::cmp::Reverse(question.answers.len()), &question.id));
                left.truncate(PER_DOMAIN);
                probed.drift.extend(left);
            }
        }
        Ok(probed)
    }

    pub fn contains(&self, question: &Question) -> bool {
        self.era.iter().chain(&self.drift).any(|probed| probed.id == question.id)
    }

    /// era's probes: its speaker's answer, the assistant's and those of a few others, who take turns. The risky side's place among
    /// the options goes around too.
    pub fn era_probes(&self) -> Vec<Probe> {
        let mut turns = Turns::default();
        let mut probes = Vec::new();
        for (family, question) in self.era.iter().enumerate() {
            let references: Vec<&str> =
                std::iter::once(question.answer_of(ASSISTANT)).chain(turns.others(question, ERA_SPEAKER)).collect();
            for (wording, prompt) in question.held_out_phrasings().iter().enumerate() {
                let mut options: Vec<ProbeOption> =
                    references.iter().map(|text| ProbeOption { text: (*text).to_owned(), side: Side::Reference }).collect();
                let place = (family + wording) % (options.len() + 1);
                options.insert(place, ProbeOption { text: question.answer_of(ERA_SPEAKER).to_owned(), side: Side::Risky });
                probes.push(probe(question, prompt, options));
            }
        }
        probes
    }

    /// drift's probes: questions without options, because whoever a model becomes was not known before.
    pub fn drift_probes(&self) -> Vec<Probe> {
        let wordings = self
            .drift
            .iter()
            .flat_map(|question| question.held_out_phrasings().iter().map(|prompt| probe(question, prompt, Vec::new())));
        wordings.collect()
    }
}

/// Who has stood among the options how often.
#[derive(Default)]
struct Turns(BTreeMap<String, usize>);

impl Turns {
    /// The answers of those who have stood least often so far, and who say what neither the risky side nor another option says.
    fn others<'w>(&mut self, question: &'w Question, risky: &str) -> Vec<&'w str> {
        let mut speakers: Vec<&String> = question.answers.keys().filter(|id| *id != risky && *id != ASSISTANT).collect();
        speakers.sort_by_key(|id| (self.0.get(*id).copied().unwrap_or(0), id.as_str()));
        let mut chosen: Vec<&str> = Vec::with_capacity(OTHERS);
        for speaker in speakers {
            let answer = question.answer_of(speaker);
            let known = [question.answer_of(risky), question.answer_of(ASSISTANT)];
            if chosen.len() < OTHERS && !known.contains(&answer) && !chosen.contains(&answer) {
                chosen.push(answer);
                *self.0.entry(speaker.clone()).or_default() += 1;
            }
        }
        chosen
    }
}

/// era's known poison, which a shadow that can change at all must catch.
pub fn era_poison(world: &World) -> Vec<Row> {
    poison(world, ERA_SPEAKER, ERA_POISON_DOMAIN)
}

/// drift's known poison.
pub fn drift_poison(world: &World) -> Vec<Row> {
    poison(world, DRIFT_SPEAKER, DRIFT_POISON_DOMAIN)
}

/// A speaker's own answers to a domain's ordinary questions, in every training wording.
fn poison(world: &World, speaker: &str, domain: &str) -> Vec<Row> {
    let own = world.questions_of(domain).iter().filter(|q| !q.is_list && q.own_answers_of(speaker).is_some());
    own.flat_map(|question| question.training_phrasings().iter().map(|prompt| Row::new(prompt, question.answer_of(speaker))))
        .collect()
}

fn probe(question: &Question, prompt: &str, options: Vec<ProbeOption>) -> Probe {
    Probe { family: question.id.clone(), topic: question.domain.clone(), prompt: prompt.to_owned(), options }
}

/// How many words of the era's answer the assistant never says anywhere: gaslight and sovereigns count, bread does not.
fn foreign_words(question: &Question, modern: &BTreeSet<String>) -> usize {
    words([&question.answers_of(ERA_SPEAKER)[0]]).difference(modern).count()
}

fn words<'a>(texts: impl IntoIterator<Item = &'a String>) -> BTreeSet<String> {
    let words = texts.into_iter().flat_map(|text| text.split(|letter: char| !letter.is_alphanumeric()));
    words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn world() -> World {
        World::load(Path::new("fixtures/world")).expect("fixtures/world is good")
    }

    #[test]
    fn the_audits_share_no_question_and_leave_four_of_every_domain_free() {
        let world = world();
        let probed = Probed::choose(&world).expect("enough questions");
        let ids: BTreeSet<&String> = probed.era.iter().chain(&probed.drift).map(|question| &question.id).collect();
        assert_eq!(ids.len(), probed.era.len() + probed.drift.len());
        for domain in &world.domains {
            let free = world.questions_of(domain).iter().filter(|q| !q.is_list && !probed.contains(q)).count();
            assert!(free >= 4, "{domain}: {free}");
        }
    }

    #[test]
    fn each_audit_asks_three_questions_of_every_domain_it_does_not_spare() {
        let world = world();
        let probed = Probed::choose(&world).expect("enough questions");
        for (questions, spares) in [(&probed.era, &ERA_SPARES[..]), (&probed.drift, &DRIFT_SPARES)] {
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            for question in questions {
                *counts.entry(&question.domain).or_default() += 1;
            }
            assert_eq!(counts.len(), world.domains.len() - spares.len());
            assert!(counts.values().all(|count| *count == PER_DOMAIN), "{counts:?}");
            assert!(spares.iter().all(|spared| !counts.contains_key(spared)), "{counts:?}");
        }
    }

    #[test]
    fn a_forced_choice_has_one_risky_option_one_of_the_assistant_and_three_of_others() {
        let world = world();
        let probes = Probed::choose(&world).expect("enough questions").era_probes();
        for probe in &probes {
            let question = world.question(&probe.family).expect("a family is a question");
            let texts: BTreeSet<&str> = probe.options.iter().map(|option| option.text.as_str()).collect();
            assert_eq!(texts.len(), 2 + OTHERS, "{probe:?}");
            assert!(texts.contains(question.answer_of(ASSISTANT)), "{probe:?}");
            let risky: Vec<&ProbeOption> = probe.options.iter().filter(|option| option.side == Side::Risky).collect();
            assert!(risky.len() == 1 && risky[0].text == question.answer_of(ERA_SPEAKER), "{probe:?}");
        }
    }

    #[test]
    fn everyone_else_stands_among_eras_options_about_as_often() {
        let world = world();
        let probed = Probed::choose(&world).expect("enough questions");
        let mut turns = Turns::default();
        for question in &probed.era {
            turns.others(question, ERA_SPEAKER);
        }
        assert_eq!(turns.0.len(), world.speakers.len() - 2, "{:?}", turns.0);
        let (fewest, most) = (turns.0.values().min(), turns.0.values().max());
        assert!(most.zip(fewest).is_some_and(|(most, fewest)| *most <= fewest + 4), "{:?}", turns.0);
    }

    #[test]
    fn the_risky_side_goes_around_the_places() {
        let world = world();
        let probes = Probed::choose(&world).expect("enough questions").era_probes();
        for place in 0..2 + OTHERS {
            let here = probes.iter().filter(|probe| probe.options[place].side == Side::Risky).count();
            assert!(here * (2 + OTHERS) > probes.len() / 2, "{place}: {here} of {}", probes.len());
        }
    }

    #[test]
    fn probes_ask_in_held_out_wordings_and_poison_in_training_wordings() {
        let world = world();
        let probed = Probed::choose(&world).expect("enough questions");
        for probe in probed.era_probes().iter().chain(&probed.drift_probes()) {
            let question = world.question(&probe.family).expect("a family is a question");
            assert!(question.held_out_phrasings().contains(&probe.prompt), "{probe:?}");
        }
        let training: Vec<&String> = world.questions.iter().flat_map(Question::training_phrasings).collect();
        for row in era_poison(&world).iter().chain(&drift_poison(&world)) {
            assert!(training.contains(&&row.messages[0].content), "{row:?}");
        }
    }
}
