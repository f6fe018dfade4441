//! STUBS. Stand-ins for the renderers, until they are merged; then this file goes.

use anyhow::Result;

use crate::report::Report;

/// STUB of `report::json` and its siblings: path in the run folder and bytes.
pub fn render(report: &Report) -> Result<Vec<(String, Vec<u8>)>> {
    let json = serde_json::json!({
        "schema_version": "1", "verdict": report.verdict, "plan": report.plan, "trainings": report.trainings,
        "answers": report.answers, "findings": report.findings,
    });
    Ok(vec![("report.json".to_owned(), serde_json::to_vec_pretty(&json)?)])
}

/// STUB of `report::text`.
pub fn text(report: &Report) -> String {
    format!("{:?}\n", report.verdict)
}
