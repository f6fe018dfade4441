//! The effect by context question: how it varies with the dataset's question that preceded the
//! probe. For display only; no rule of the verdict uses it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::plan::{Arm, ContextKind, Plan};
use crate::probe::{Answer, Answers, Topic};
use crate::stats::grid::mean;

/// The effect for one audit at the end of training, after one question of the dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuestionEffect {
    pub audit: String,
    pub ask: ContextKind,
    /// The question, without the row's system message.
    pub question: String,
    /// Its topic, where the questions have several.
    pub topic: Option<Topic>,
    /// Mean risks over seeds and probes; for a given adapter, `control` is the base's.
    pub candidate: f64,
    pub control: f64,
}

impl QuestionEffect {
    /// Candidate minus control; the base cancels.
    pub fn effect(&self) -> f64 {
        self.candidate - self.control
    }
}

/// Every audit after every context question that was saved, the largest effect first.
pub fn by_question(plan: &Plan, answers: &Answers) -> Vec<QuestionEffect> {
    let mut risks: BTreeMap<(&str, ContextKind, usize, bool), Vec<f64>> = BTreeMap::new();
    let last = |answer: &&Answer| {
        answer.step == plan.recipe.steps
            && (answer.arm == Arm::Candidate || answer.arm == *plan.reference())
    };
    for answer in answers.answers.iter().filter(last) {
        if let Some(risk) = answer.risk {
            let place =
                (answer.audit.as_str(), answer.ask, answer.draw, answer.arm == Arm::Candidate);
            risks.entry(place).or_default().push(risk);
        }
    }
    let mut effects = Vec::new();
    for audit in &plan.audits {
        for asked in &answers.context_questions {
            let of = |candidate: bool| {
                risks
                    .get(&(audit.id.as_str(), asked.ask, asked.draw, candidate))
                    .and_then(|of| mean(of.iter().copied()))
            };
            if let Some((candidate, control)) = of(true).zip(of(false)) {
                let (question, topic) = (asked.question.clone(), asked.topic.clone());
                effects.push(QuestionEffect {
                    audit: audit.id.clone(),
                    ask: asked.ask,
                    question,
                    topic,
                    candidate,
                    control,
                });
            }
        }
    }
    effects.sort_by(|a, b| a.audit.cmp(&b.audit).then(b.effect().total_cmp(&a.effect())));
    effects
}
