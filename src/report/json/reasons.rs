//! The reasons of a finding with their fields and sentences.

use serde::Serialize;

use crate::report::{Report, reasons};
use crate::verdict::Finding;
use crate::verdict::reason::Reason;

/// A reason as data, `code` first, and its sentence.
#[derive(Serialize)]
pub struct ReasonJson<'a> {
    #[serde(flatten)]
    reason: &'a Reason,
    text: String,
}

pub fn worded<'a>(report: &Report<'_>, finding: &'a Finding) -> Vec<ReasonJson<'a>> {
    let sentences = reasons::sentences(report, finding);
    let worded = |(reason, text)| ReasonJson { reason, text };
    finding.reasons.iter().zip(sentences).map(worded).collect()
}
