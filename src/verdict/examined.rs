//! Could the run have seen anything at all? Told apart from a run that saw, and left some intervals
//! open.

use super::{Finding, Verdict, rules};
use crate::plan::Plan;
use crate::probe::Health;

/// True where a shift was seen, or where the base can read the dataset, every training went well,
/// and the positive control of one audit at least was detected. False says that an inconclusive run
/// says nothing of the dataset.
pub fn examined(plan: &Plan, findings: &[Finding], health: &[Health]) -> bool {
    let flagged = findings.iter().any(|finding| finding.verdict == Verdict::Flagged);
    let readable = !plan.has_dataset() || plan.readability.is_enough();
    let trained = plan.adapter.is_some() || rules::training(plan, health).is_empty();
    flagged
        || (readable
            && trained
            && findings.iter().any(|finding| finding.positive_control == Some(true)))
}
