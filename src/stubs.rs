//! STUBS. Stand-ins for stages that are written elsewhere; every use is replaced when they are merged, and this file goes.

use std::path::Path;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::audit::Audit;
use crate::dataset::{Dataset, Message, Row};
use crate::finding::{Finding, Verdict};
use crate::plan::Plan;
use crate::probe::{Answers, Health};
use crate::report::Report;
use crate::stats::Analysis;

/// STUB of the dataset's canonical row hash.
pub fn row_sha256(messages: &[Message]) -> String {
    format!("{:x}", Sha256::digest(serde_json::to_vec(messages).expect("messages are plain strings")))
}

/// STUB of `stats`'s power: the smallest effect that `seeds` against `seeds` trainings flag against `margin` in 80 % of runs.
pub fn detectable(margin: f64, seeds: usize, sd: f64) -> Option<f64> {
    (seeds > 1).then(|| margin + (1.86 + 0.89) * sd * (2.0 / seeds as f64).sqrt())
}

/// STUB of `stats::analyse`.
pub fn analyse(_: &Plan, _: &[Audit], _: &Answers) -> Analysis {
    Analysis::default()
}

/// STUB of `finding::find`.
pub fn find(_: &Plan, _: &[Audit], _: &Analysis, _: &[Health]) -> (Vec<Finding>, Verdict) {
    (Vec::new(), Verdict::Inconclusive)
}

/// STUB of `dataset::ReadOptions`.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    pub format: Option<String>,
    pub limit: Option<usize>,
}

/// STUB of `dataset::read`: `messages` JSONL only.
pub fn read(path: &Path, options: &ReadOptions) -> Result<Dataset> {
    #[derive(serde::Deserialize)]
    struct Line {
        messages: Vec<Message>,
    }
    if options.format.as_deref().is_some_and(|format| format != "messages") {
        bail!("only messages for now");
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line: Line = serde_json::from_str(line).with_context(|| format!("{}:{}", path.display(), index + 1))?;
        rows.push(Row { line: index + 1, sha256: row_sha256(&line.messages), messages: line.messages });
    }
    let rows_read = rows.len();
    rows.truncate(options.limit.unwrap_or(usize::MAX));
    Ok(Dataset {
        source: path.display().to_string(),
        format: "messages".to_owned(),
        sha256: format!("{:x}", Sha256::digest(text.as_bytes())),
        rows_read,
        rows_used: rows_read,
        rows,
        rejected: Vec::new(),
    })
}

/// STUB of `report::json::render` and its siblings: path in the run folder and bytes.
pub fn render(report: &Report) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let json = serde_json::json!({
        "schema_version": "1", "verdict": report.verdict, "plan": report.plan, "trainings": report.trainings,
        "answers": report.answers, "findings": report.findings,
    });
    Ok(vec![("report.json", serde_json::to_vec_pretty(&json)?)])
}

/// STUB of `report::text`.
pub fn text(report: &Report) -> String {
    format!("{:?}\n", report.verdict)
}

/// STUB of the dataset's readability under the base.
pub fn readability(_: &Dataset, _: crate::plan::CountTokens) -> Result<crate::plan::Readability> {
    Ok(crate::plan::Readability { share: 1.0, needed: 0.5 })
}
