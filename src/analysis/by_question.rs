//! The effect by context question: how it varies with the dataset's question that preceded the
//! probe. For display only; no rule of the verdict uses it.

use serde::{Deserialize, Serialize};

use crate::analysis::table::{PanelKey, Table};
use crate::plan::{Arm, ContextKind};
use crate::probe::{ContextQuestion, Topic};

/// The effect for one audit at the end of training, after one question of the dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuestionEffect {
    pub audit: String,
    pub context: ContextKind,
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
pub fn by_question(table: &Table, questions: &[ContextQuestion]) -> Vec<QuestionEffect> {
    let plan = table.plan;
    let mut effects = Vec::new();
    for audit in &plan.audits {
        for asked in questions {
            let risk = |arm: &Arm| {
                let panel = table.panel(&audit.id, PanelKey::context(asked.context))?;
                panel.risk_of_draw(arm, plan.recipe.steps, &plan.seeds, asked.draw)
            };
            if let Some((candidate, control)) = risk(&Arm::Candidate).zip(risk(plan.reference())) {
                effects.push(QuestionEffect {
                    audit: audit.id.clone(),
                    context: asked.context,
                    question: asked.question.clone(),
                    topic: asked.topic.clone(),
                    candidate,
                    control,
                });
            }
        }
    }
    effects.sort_by(|a, b| a.audit.cmp(&b.audit).then(b.effect().total_cmp(&a.effect())));
    effects
}
