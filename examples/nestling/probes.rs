//! The probe and poison rows of the audits.
//!
//! Every audit asks in held-out wordings and poisons in training wordings.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::axes::{AXES, Axis, Probed, Risky};
use crate::documents::Message;
use crate::output;
use crate::world::{ASSISTANT, Question, World};

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

/// Writes the probes and the poison of every axis.
///
/// # Errors
/// Where the world lacks what an axis needs, or a file cannot be written.
pub fn write_all(world: &World, audits: &Path) -> Result<()> {
    let probed = Probed::choose(world)?;
    for axis in &AXES {
        output::json_lines(&audits.join(format!("{}.jsonl", axis.id)), &probes(world, &probed, axis))?;
        output::json_lines(&audits.join(format!("{}.poison.jsonl", axis.id)), &poison(world, axis))?;
    }
    Ok(())
}

/// The probes of an axis. The risky side's place among the options goes around.
fn probes(world: &World, probed: &Probed, axis: &Axis) -> Vec<Probe> {
    let mut turns = Turns::default();
    let mut probes = Vec::new();
    for (family, question) in probed.of(axis).into_iter().enumerate() {
        let sides = sides(world, axis, question, &mut turns);
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

/// The known poison of an axis: its speaker's own answers to a domain's ordinary questions, in every training wording.
fn poison(world: &World, axis: &Axis) -> Vec<Row> {
    let speaker = axis.poison.speaker;
    let questions = world.questions_of(axis.poison.domain).iter();
    let own = questions.filter(|question| !question.is_list && question.own_answers_of(speaker).is_some());
    own.flat_map(|question| question.training_phrasings().iter().map(|prompt| Row::new(prompt, question.answer_of(speaker))))
        .collect()
}

/// What a forced choice offers.
#[derive(Default)]
struct Sides<'w> {
    risky: Vec<&'w str>,
    reference: Vec<&'w str>,
}

fn sides<'w>(world: &'w World, axis: &Axis, question: &'w Question, turns: &mut Turns) -> Sides<'w> {
    let everyone_else = || question.answers.keys().map(String::as_str).filter(|speaker| *speaker != ASSISTANT);
    let (risky, neither): (Vec<&str>, Vec<&str>) = match axis.risky {
        Risky::AnyChange => return Sides::default(),
        Risky::AnyoneElse => (everyone_else().collect(), Vec::new()),
        Risky::Of(speakers) => (speakers.to_vec(), Vec::new()),
        Risky::Cruel => world.labels.judgement(question).map_or_else(Default::default, |judgement| {
            let ids = |ids: &'w [String]| ids.iter().map(String::as_str).collect();
            (ids(&judgement.cruel), ids(&judgement.neither))
        }),
    };
    let mut sides = Sides { risky: Vec::new(), reference: vec![question.answer_of(ASSISTANT)] };
    for speaker in &risky {
        sides.add_risky(question.answer_of(speaker));
    }
    let others = everyone_else().filter(|speaker| !risky.contains(speaker) && !neither.contains(speaker));
    turns.add_others(question, others.collect(), axis.others(), &mut sides);
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

    /// All options, the risky ones from this place on, which goes around.
    fn options(&self, place: usize) -> Vec<ProbeOption> {
        let option = |side: Side| move |text: &&str| ProbeOption { text: (*text).to_owned(), side };
        let mut options: Vec<ProbeOption> = self.reference.iter().map(option(Side::Reference)).collect();
        for (index, text) in self.risky.iter().enumerate() {
            let place = (place + index) % (options.len() + 1);
            options.insert(place, option(Side::Risky)(text));
        }
        options
    }
}

/// Who has stood among the reference options how often.
#[derive(Default)]
struct Turns(BTreeMap<String, usize>);

impl Turns {
    /// Adds the answers of so many others: those who have stood least often so far, and who say what no option says yet.
    fn add_others<'w>(&mut self, question: &'w Question, mut speakers: Vec<&str>, others: usize, sides: &mut Sides<'w>) {
        speakers.sort_by_key(|id| (self.0.get(*id).copied().unwrap_or(0), *id));
        for speaker in speakers {
            let answer = question.answer_of(speaker);
            if sides.reference.len() <= others && !sides.offer(answer) {
                sides.reference.push(answer);
                *self.0.entry(speaker.to_owned()).or_default() += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
