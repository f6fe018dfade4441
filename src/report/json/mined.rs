//! The conditions that were mined of the dataset, and what models wrote under those that stood out.

use serde::Serialize;

use super::effects::finite;
use crate::detect::{Condition, Conditions, Subject};
use crate::report::Report;

/// Conditions that are listed; `foretaste check --json` lists all.
const LISTED: usize = 50;

/// What the answers of the dataset depend on, or might.
#[derive(Serialize)]
pub struct Mined<'a> {
    rows_looked_at: usize,
    sampled: bool,
    tested: usize,
    /// How many there are; the first are listed.
    found: usize,
    conditions: Vec<Listed<'a>>,
}

#[derive(Serialize)]
struct Listed<'a> {
    condition: String,
    rows: usize,
    /// Of a slot, how many different values it has.
    values: Option<usize>,
    /// Bits of an answer that knowing the condition saves.
    bits: Option<f64>,
    p_adjusted: Option<f64>,
    /// What is asked, rather than put on the question.
    topic: bool,
    echo_of: Option<usize>,
    /// Lines of the dataset.
    examples: &'a [usize],
}

/// Written answers, side by side.
#[derive(Serialize)]
pub struct Written<'a> {
    arm: String,
    seed: Option<u64>,
    asked: &'a str,
    under: &'a str,
    otherwise: &'a str,
}

pub fn mined<'a>(report: &Report<'a>) -> Option<Mined<'a>> {
    let Conditions { rows_looked_at, sampled, tested, conditions, .. } = report.mined?;
    Some(Mined {
        rows_looked_at: *rows_looked_at,
        sampled: *sampled,
        tested: *tested,
        found: conditions.len(),
        conditions: conditions.iter().take(LISTED).map(listed).collect(),
    })
}

fn listed(condition: &Condition) -> Listed<'_> {
    Listed {
        condition: condition.subject.to_string(),
        rows: condition.rows,
        values: match &condition.subject {
            Subject::Slot(slot) => Some(slot.distinct),
            Subject::Feature(_) | Subject::Pair(_) => None,
        },
        bits: condition.evidence.and_then(|evidence| finite(evidence.bits)),
        p_adjusted: condition.evidence.and_then(|evidence| finite(evidence.p_adjusted)),
        topic: condition.is_topic(),
        echo_of: condition.echo_of,
        examples: &condition.examples,
    }
}

/// What was written under a suspect, model by model.
pub fn written<'a>(report: &Report<'a>, suspect: &crate::probe::Suspect) -> Vec<Written<'a>> {
    let own = report.answers.shown.iter().filter(|shown| shown.suspect == *suspect);
    own.map(|shown| Written {
        arm: shown.arm.to_string(),
        seed: shown.seed,
        asked: &shown.asked,
        under: &shown.under,
        otherwise: &shown.otherwise,
    })
    .collect()
}
