//! All of it rendered: json, html, png and text. Renderers return bytes and decide nothing.

use crate::audit::Audit;
use crate::finding::{Finding, Verdict};
use crate::plan::Plan;
use crate::probe::Answers;
use crate::shadow::TrainingRecord;
use crate::stats::Analysis;

/// Everything that a renderer may look at, by reference.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    pub plan: &'a Plan,
    pub audits: &'a [Audit],
    pub trainings: &'a [TrainingRecord],
    pub answers: &'a Answers,
    pub analysis: &'a Analysis,
    pub findings: &'a [Finding],
    pub verdict: Verdict,
}
