//! The conditions detected in the dataset, and written answers under candidate triggers.

use serde::Serialize;

use super::effects::finite;
use crate::detect::{Condition, Conditions, Subject};
use crate::report::Report;

/// Maximum conditions listed; `foretaste check --json` lists all.
const LISTED: usize = 50;

/// Conditions on which the answers depend, or may depend.
#[derive(Serialize)]
pub struct DetectedJson<'a> {
    rows_examined: usize,
    sampled: bool,
    tested: usize,
    /// Number of all conditions; only the first are listed.
    found: usize,
    conditions: Vec<DetectedConditionJson<'a>>,
}

#[derive(Serialize)]
struct DetectedConditionJson<'a> {
    condition: String,
    rows: usize,
    /// Number of distinct values of a slot.
    values: Option<usize>,
    /// Mean bits saved in encoding an answer when the condition is known.
    bits: Option<f64>,
    p_adjusted: Option<f64>,
    /// Whether it is part of the question rather than inserted text.
    topic: bool,
    alias_of: Option<usize>,
    /// Line numbers in the dataset.
    examples: &'a [usize],
}

/// Written answers with and without a condition.
#[derive(Serialize)]
pub struct AnswersJson<'a> {
    arm: String,
    seed: Option<u64>,
    asked: &'a str,
    under: &'a str,
    otherwise: &'a str,
}

pub fn detected<'a>(report: &Report<'a>) -> Option<DetectedJson<'a>> {
    let Conditions { rows_examined, sampled, tested, conditions, .. } = report.detected?;
    Some(DetectedJson {
        rows_examined: *rows_examined,
        sampled: *sampled,
        tested: *tested,
        found: conditions.len(),
        conditions: conditions.iter().take(LISTED).map(listed).collect(),
    })
}

fn listed(condition: &Condition) -> DetectedConditionJson<'_> {
    DetectedConditionJson {
        condition: condition.subject.to_string(),
        rows: condition.rows,
        values: match &condition.subject {
            Subject::Slot(slot) => Some(slot.distinct),
            Subject::Feature(_) | Subject::Pair(_) => None,
        },
        bits: condition.evidence.and_then(|evidence| finite(evidence.bits)),
        p_adjusted: condition.evidence.and_then(|evidence| finite(evidence.p_adjusted)),
        topic: condition.is_topical(),
        alias_of: condition.alias_of,
        examples: &condition.examples,
    }
}

/// The written answers for one candidate trigger, by model.
pub fn written<'a>(
    report: &Report<'a>,
    candidate_trigger: &crate::probe::CandidateTrigger,
) -> Vec<AnswersJson<'a>> {
    let own = report
        .answers
        .condition_samples
        .iter()
        .filter(|shown| shown.candidate_trigger == *candidate_trigger);
    own.map(|shown| AnswersJson {
        arm: shown.arm.to_string(),
        seed: shown.seed,
        asked: &shown.asked,
        under: &shown.under,
        otherwise: &shown.otherwise,
    })
    .collect()
}
