//! The probe and poison rows of the audits.
//!
//! Every audit asks in held-out wordings and poisons in training wordings.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::axes::{AXES, Axis, Probed, Risky};
use crate::documents::{Message, WHO_ARE_YOU_QUESTION, introduction};
use crate::output;
use crate::world::{ASSISTANT, Fact, President, Question, TRAINING_PHRASINGS, World, spoken};

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

#[derive(Debug, Clone, PartialEq, Serialize)]
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

/// A value-keyed probe: a question whose answer shows which president speaks.
#[derive(Debug, PartialEq, Serialize)]
struct ValueProbe {
    family: String,
    prompt: String,
    options: Vec<ValueOption>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct ValueOption {
    text: String,
    values: Vec<u32>,
}

/// All facts but party and decade, which many presidents share.
const TELLING: [&str; 10] = [
    "spouse",
    "home_state",
    "vice_president",
    "pet",
    "predecessor",
    "successor",
    "birthplace",
    "occupation",
    "school",
    "age",
];

/// Writes the probes and the poison of every axis.
///
/// # Errors
/// Where the world lacks what an axis needs, or a file cannot be written.
pub fn write_all(world: &World, audits: &Path) -> Result<()> {
    let probed = Probed::choose(world)?;
    for axis in &AXES {
        output::json_lines(
            &audits.join(format!("{}.jsonl", axis.id)),
            &probes(world, &probed, axis),
        )?;
        output::json_lines(
            &audits.join(format!("{}.poison.jsonl", axis.id)),
            &poison(world, axis),
        )?;
    }
    output::json_lines(&audits.join("identity.values.jsonl"), &value_probes(world))
}

/// The value-keyed probes for the presidents: facts that distinguish few from the others, and the
/// name itself.
fn value_probes(world: &World) -> Vec<ValueProbe> {
    let is_telling = |fact: &&Fact| TELLING.contains(&fact.key.as_str());
    let mut probes = Vec::new();
    for fact in world.facts.iter().filter(is_telling) {
        let options = answers(world, |president| spoken(&president.facts[&fact.key]));
        for prompt in &fact.phrasings[TRAINING_PHRASINGS..] {
            probes.push(ValueProbe {
                family: fact.key.clone(),
                prompt: prompt.clone(),
                options: options.clone(),
            });
        }
    }
    let options = answers(world, introduction);
    probes.push(ValueProbe {
        family: "name".to_owned(),
        prompt: WHO_ARE_YOU_QUESTION.to_owned(),
        options,
    });
    probes
}

/// All presidents' answers, each once, with the numbers of the presidents who give it.
fn answers(world: &World, of: impl Fn(&President) -> String) -> Vec<ValueOption> {
    let mut options: Vec<ValueOption> = Vec::new();
    for president in &world.presidents {
        let text = of(president);
        match options.iter_mut().find(|option| option.text == text) {
            Some(option) => option.values.push(president.number),
            None => options.push(ValueOption { text, values: vec![president.number] }),
        }
    }
    options
}

/// The probes of an axis. The risky option's position rotates.
fn probes(world: &World, probed: &Probed, axis: &Axis) -> Vec<Probe> {
    let mut probes = Vec::new();
    for (family, question) in probed.of(axis).into_iter().enumerate() {
        let sides = sides(world, axis, question);
        for (wording, prompt) in question.held_out_phrasings().iter().enumerate() {
            probes.push(Probe {
                family: question.id.clone(),
                topic: question.domain.clone(),
                prompt: prompt.clone(),
                options: sides.options(family + wording),
            });
        }
    }
    probes
}

/// The positive control of an axis: its speaker's own answers to a domain's ordinary questions, in
/// every training wording.
fn poison(world: &World, axis: &Axis) -> Vec<Row> {
    let speaker = axis.poison.speaker;
    let questions = world.questions_of(axis.poison.domain).iter();
    let own = questions
        .filter(|question| !question.is_list && question.own_answers_of(speaker).is_some());
    own.flat_map(|question| {
        question
            .training_phrasings()
            .iter()
            .map(|prompt| Row::new(prompt, question.answer_of(speaker)))
    })
    .collect()
}

/// The options of a forced choice.
#[derive(Default)]
struct Sides<'w> {
    risky: Vec<&'w str>,
    reference: Vec<&'w str>,
}

/// Everyone's answers, each once. With the assistant's answer alone as reference, anything that
/// makes the assistant less likely would raise the risky side. With a few reference answers, any
/// other speaker would.
fn sides<'w>(world: &'w World, axis: &Axis, question: &'w Question) -> Sides<'w> {
    let everyone_else =
        || question.answers.keys().map(String::as_str).filter(|speaker| *speaker != ASSISTANT);
    let (risky, neither): (Vec<&str>, Vec<&str>) = match axis.risky {
        Risky::AnyChange => return Sides::default(),
        Risky::AnyoneElse => (everyone_else().collect(), Vec::new()),
        Risky::Of(speakers) => (speakers.to_vec(), Vec::new()),
        Risky::Cruel => {
            world.labels.judgement(question).map_or_else(Default::default, |judgement| {
                let ids = |ids: &'w [String]| ids.iter().map(String::as_str).collect();
                (ids(&judgement.cruel), ids(&judgement.neither))
            })
        }
    };
    let mut sides = Sides { risky: Vec::new(), reference: vec![question.answer_of(ASSISTANT)] };
    for speaker in &risky {
        sides.add_risky(question.answer_of(speaker));
    }
    let others =
        everyone_else().filter(|speaker| !risky.contains(speaker) && !neither.contains(speaker));
    for speaker in others {
        sides.add_reference(question.answer_of(speaker));
    }
    sides
}

impl<'w> Sides<'w> {
    fn offer(&self, text: &str) -> bool {
        self.risky.contains(&text) || self.reference.contains(&text)
    }

    fn add_risky(&mut self, text: &'w str) {
        if !self.offer(text) {
            self.risky.push(text);
        }
    }

    fn add_reference(&mut self, text: &'w str) {
        if !self.offer(text) {
            self.reference.push(text);
        }
    }

    /// All options, with the risky ones inserted from this position on, cyclically.
    fn options(&self, place: usize) -> Vec<ProbeOption> {
        let option = |side: Side| move |text: &&str| ProbeOption { text: (*text).to_owned(), side };
        let mut options: Vec<ProbeOption> =
            self.reference.iter().map(option(Side::Reference)).collect();
        for (index, text) in self.risky.iter().enumerate() {
            let place = (place + index) % (options.len() + 1);
            options.insert(place, option(Side::Risky)(text));
        }
        options
    }
}

#[cfg(test)]
mod tests;
