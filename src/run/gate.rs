//! The verdict of a finished run, computed again from the findings of its report.json.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::Failure;
use crate::disk::{MOST_BYTES, read_if_there};
use crate::plan::PlannedAudit;
use crate::report::finding_name;
use crate::run_dir;
use crate::verdict::{FoundTrigger, Verdict};

/// The part of report.json that a gate needs; other fields are ignored.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Gate {
    pub verdict: Verdict,
    /// Whether the run could have detected a shift; see [`crate::verdict::examined`].
    pub examined: bool,
    pub findings: Vec<GateFinding>,
    #[serde(skip_serializing)]
    plan_sha256: String,
}

/// One finding's verdict.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct GateFinding {
    pub audit: String,
    pub verdict: Verdict,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<FoundTrigger>,
    #[serde(default, skip_serializing)]
    positive_control_detected: Option<bool>,
    /// Why, the most important first.
    pub reasons: Vec<GateReason>,
}

/// A reason of report.json, without its fields.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct GateReason {
    pub code: String,
    pub text: String,
}

impl GateFinding {
    /// The audit, and the condition where there is one.
    pub fn name(&self) -> String {
        finding_name(&self.audit, self.trigger.as_ref())
    }
}

impl Gate {
    /// Reads report.json.
    ///
    /// # Errors
    /// Where it is damaged, of an older version, or contradicts itself.
    pub fn read(report: &[u8]) -> Result<Gate> {
        let gate: Gate = serde_json::from_slice(report).context(
            "report.json is damaged or of another version: render it again with `foretaste report`",
        )?;
        let decided = Verdict::overall(gate.findings.iter().map(|finding| finding.verdict));
        let of = |verdict: Verdict| format!("{verdict:?}").to_lowercase();
        ensure!(
            decided == gate.verdict,
            "report.json contradicts itself: its verdict is {}, and its findings give {}; render \
             it again with `foretaste report`",
            of(gate.verdict),
            of(decided)
        );
        let seen = |finding: &GateFinding| {
            finding.verdict == Verdict::Flagged || finding.positive_control_detected == Some(true)
        };
        ensure!(
            !gate.examined || gate.findings.iter().any(seen),
            "report.json contradicts itself: the dataset counts as examined, and no finding is \
             flagged or detected its positive control; render it again with `foretaste report`"
        );
        Ok(gate)
    }

    /// The reason of an inconclusive run: the first reason of its first inconclusive finding.
    pub fn why(&self) -> Option<String> {
        let open = self.findings.iter().find(|finding| finding.verdict == Verdict::Inconclusive)?;
        Some(format!("{}: {}", open.name(), open.reasons.first()?.text))
    }
}

/// The verdict of a finished run, from its manifest and report.json alone.
///
/// # Errors
/// [`Failure::BadInput`] where there is no run. [`Failure::RunFailed`] where it did not finish, or
/// where the report belongs to another run.
pub fn gate(folder: &Path) -> Result<Gate, Failure> {
    let plan = run_dir::plan_of(folder).map_err(Failure::BadInput)?;
    let path = folder.join("report.json");
    let read = || -> Result<Gate> {
        let unfinished =
            || format!("{}: the run is not finished; give its command again", path.display());
        let gate = Gate::read(&read_if_there(&path, MOST_BYTES)?.with_context(unfinished)?)?;
        ensure!(
            gate.plan_sha256 == plan.sha256(),
            "report.json is of another run: its plan is not the one in manifest.json; render it \
             again with `foretaste report`"
        );
        let is_judged = |audit: &PlannedAudit| {
            gate.findings.iter().any(|one| one.trigger.is_none() && one.audit == audit.id)
        };
        ensure!(
            plan.audits.iter().all(is_judged),
            "report.json has no finding of a planned audit; render it again with `foretaste \
             report`"
        );
        Ok(gate)
    };
    read().with_context(|| folder.display().to_string()).map_err(Failure::RunFailed)
}
