//! Renders the results as json, html, png and text. Renderers return bytes and make no decisions.
//!
//! Text from the dataset or a model is untrusted and goes through [`escape`] in every format.
//! Output depends on no clock, locale or hash order, so equal reports give equal bytes.

mod audits;
mod calibration;
mod changed;
mod chart;
mod check;
mod design_words;
pub mod escape;
mod example;
mod headline;
mod html;
mod json;
mod junit;
mod number;
mod phrases;
mod plan;
mod plot;
mod reasons;
mod sarif;
mod scene;
mod summary;
mod svg;
mod text;
mod view;
mod words;

pub use audits::text as audits_text;
pub use calibration::text as calibration_text;
pub use check::text as check_text;
pub use html::html;
pub use json::{SCHEMA, SCHEMA_VERSION, json};
pub use junit::junit;
pub use phrases::finding_name;
pub use plan::text as plan_text;
pub use plot::plots;
pub use sarif::sarif;
pub use summary::summary_md;
pub use text::text;

use crate::analysis::{Analysis, ArmRisk, Effect};
use crate::audit::Audit;
use crate::detect::Conditions;
use crate::plan::{Arm, ContextKind, Plan};
use crate::probe::Answers;
use crate::train::TrainingRecord;
use crate::verdict::{Finding, Verdict};

/// The input of every renderer, by reference.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    pub plan: &'a Plan,
    pub audits: &'a [Audit],
    pub trainings: &'a [TrainingRecord],
    pub answers: &'a Answers,
    pub analysis: &'a Analysis,
    pub findings: &'a [Finding],
    pub verdict: Verdict,
    /// Whether the run was able to detect an effect.
    pub examined: bool,
    /// The conditions detected in the dataset; `None` where none were tested.
    pub detected: Option<&'a Conditions>,
}

/// One audit's finding, and the effect that decided it.
#[derive(Debug, Clone, Copy)]
struct Axis<'a> {
    audit: &'a Audit,
    finding: &'a Finding,
    /// The effect that the finding quotes; `None` where no estimate exists.
    effect: Option<&'a Effect>,
}

impl<'a> Report<'a> {
    /// All findings without a condition and with a known audit, in the order of the findings.
    fn axes(&self) -> Vec<Axis<'a>> {
        let pair = |finding: &'a Finding| {
            if finding.trigger.is_some() {
                return None;
            }
            let audit = self.audits.iter().find(|audit| audit.id == finding.audit)?;
            Some(Axis { audit, finding, effect: self.decisive_effect(finding) })
        };
        self.findings.iter().filter_map(pair).collect()
    }

    /// The candidate's effect at the context and step of the finding.
    fn decisive_effect(&self, finding: &Finding) -> Option<&'a Effect> {
        let (context, step) = (finding.context?, finding.step?);
        self.analysis.effects.iter().find(|effect| {
            effect.audit == finding.audit
                && effect.context == context
                && effect.step == step
                && effect.arm == Arm::Candidate
        })
    }

    /// The candidate's effects of one audit in one context, by step.
    fn candidate_effects(&self, audit: &str, context: ContextKind) -> Vec<&'a Effect> {
        by_step(&self.analysis.effects, audit, context)
    }

    /// The positive control's effects of one audit in one context, by step.
    fn positive_control_effects(&self, audit: &str, context: ContextKind) -> Vec<&'a Effect> {
        by_step(&self.analysis.positive_controls, audit, context)
    }

    /// The mean risk of every arm of one audit in one context, at step `step`; the base at any
    /// step. In display order.
    fn risks(&self, audit: &str, context: ContextKind, step: usize) -> Vec<&'a ArmRisk> {
        let mut risks: Vec<&ArmRisk> = self
            .analysis
            .arms
            .iter()
            .filter(|risks| risks.audit == audit && risks.context == context)
            .flat_map(|risks| &risks.arms)
            .filter(|risk| risk.arm == Arm::Base || risk.step == step)
            .filter(|risk| !matches!(&risk.arm, Arm::PositiveControl(of) if of != audit))
            .collect();
        risks.sort_by_key(|risk| arm_order(&risk.arm));
        risks.dedup_by(|a, b| a.arm == b.arm);
        risks
    }

    /// The contexts for which an effect or a risk exists.
    fn contexts(&self, audit: &str) -> Vec<ContextKind> {
        let asked = |context: &ContextKind| {
            self.analysis
                .effects
                .iter()
                .any(|effect| effect.audit == audit && effect.context == *context)
                || self.analysis.arms.iter().any(|risks| {
                    risks.audit == audit && risks.context == *context && !risks.arms.is_empty()
                })
        };
        ContextKind::ALL.into_iter().filter(asked).collect()
    }

    /// Whether an audit was evaluated at several steps.
    fn has_trajectory(&self, audit: &str) -> bool {
        let mut steps = self
            .analysis
            .effects
            .iter()
            .filter(|effect| effect.audit == audit)
            .map(|effect| effect.step);
        let first = steps.next();
        steps.any(|step| Some(step) != first)
    }

    /// The step at which an audit is plotted: the finding's, or the end of training.
    fn step_shown(&self, finding: &Finding) -> usize {
        finding.step.unwrap_or(self.plan.recipe.steps)
    }
}

fn by_step<'a>(effects: &'a [Effect], audit: &str, context: ContextKind) -> Vec<&'a Effect> {
    let mut effects: Vec<&Effect> = effects
        .iter()
        .filter(|effect| effect.audit == audit && effect.context == context)
        .collect();
    effects.sort_by_key(|effect| effect.step);
    effects
}

/// The display order of arms: references come first.
fn arm_order(arm: &Arm) -> usize {
    match arm {
        Arm::Base => 0,
        Arm::Control => 1,
        Arm::Candidate => 2,
        Arm::PositiveControl(_) => 3,
    }
}
