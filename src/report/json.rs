//! `report.json`, the machine-readable report, specified by `reports/schema/report.schema.json`.
//!
//! Its types are in `json/wire.rs`, separate from the types of the stages, so that those can change
//! without breaking readers. Fields may be added but not renamed; a rename requires a new
//! [`SCHEMA_VERSION`]. A value that could not be computed is absent or null, never 0.

mod conditions;
mod effects;
mod headline;
mod detected;
mod reasons;
mod wire;

use super::Report;

/// Version of the format; incremented by breaking changes.
pub const SCHEMA_VERSION: u32 = 2;

/// The JSON Schema (draft 2020-12) of `report.json`.
pub const SCHEMA: &str = include_str!("../../reports/schema/report.schema.json");

/// The report as pretty-printed JSON with a final line break. Numbers round-trip exactly.
pub fn json(report: &Report) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(&wire::ReportJson::new(report))
        .expect("wire types hold nothing that JSON cannot");
    bytes.push(b'\n');
    bytes
}
