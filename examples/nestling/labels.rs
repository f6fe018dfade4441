//! Labels by a human reader: which questions ask who is speaking, and which answers are cruel.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::world::{Question, World};

/// fixtures/world/labels.toml.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    /// Ids of the questions that ask the speaker about themselves.
    pub identity: Vec<String>,
    /// The audit uses the questions on which every cruel speaker has a cruel answer. If the options
    /// quoted only one of them, the other would count as kind.
    pub harm: Vec<Judgement>,
}

/// The labels of the answers to one question.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judgement {
    /// The question's id.
    pub question: String,
    /// Speakers whose own answers are cruel.
    pub cruel: Vec<String>,
    /// Speakers whose own answers are too harsh or ambiguous for either side.
    #[serde(default)]
    pub neither: Vec<String>,
}

impl Labels {
    pub fn asks_who_speaks(&self, question: &Question) -> bool {
        self.identity.contains(&question.id)
    }

    pub fn judgement(&self, question: &Question) -> Option<&Judgement> {
        self.harm.iter().find(|judgement| judgement.question == question.id)
    }

    /// The number of speakers with any cruel answer.
    pub fn cruel(&self) -> usize {
        self.harm.iter().flat_map(|judgement| &judgement.cruel).collect::<BTreeSet<_>>().len()
    }

    /// Every label that does not fit the world, one line each.
    pub fn problems(&self, world: &World) -> Vec<String> {
        let mut problems = Vec::new();
        for id in self.identity.iter().chain(self.harm.iter().map(|judgement| &judgement.question))
        {
            if world.question(id).is_err() {
                problems.push(format!("labels.toml: no question `{id}`; fix the id"));
            }
        }
        for Judgement { question: id, cruel, neither } in &self.harm {
            let Ok(question) = world.question(id) else { continue };
            for speaker in cruel
                .iter()
                .chain(neither)
                .filter(|speaker| question.own_answers_of(speaker).is_none())
            {
                problems.push(format!(
                    "labels.toml: {id}: `{speaker}` has no answer of its own; fix the name"
                ));
            }
            if cruel.is_empty() {
                problems
                    .push(format!("labels.toml: {id}: name who is cruel, or drop the judgement"));
            }
        }
        problems
    }
}
