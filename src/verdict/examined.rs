//! Whether the run could have detected anything at all. This is distinct from a run that left some
//! intervals open.

use super::{Finding, Verdict, rules};
use crate::plan::Plan;
use crate::probe::Health;

/// True where a shift was detected. True also where the base can read the dataset, every training
/// succeeded, and at least one audit's positive control was detected. False means that an
/// inconclusive run says nothing about the dataset.
pub fn examined(plan: &Plan, findings: &[Finding], health: &[Health]) -> bool {
    let flagged = findings.iter().any(|finding| finding.verdict == Verdict::Flagged);
    let trained = rules::training(plan, health).is_empty();
    flagged
        || (plan.are_rows_readable()
            && trained
            && findings.iter().any(|finding| finding.positive_control == Some(true)))
}
