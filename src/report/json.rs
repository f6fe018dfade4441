//! `report.json`: the contract that other programs read, described by
//! `reports/schema/report.schema.json`.
//!
//! Wire types live in `json/wire.rs`, apart from the types between the stages, so that those can
//! change without breaking readers. Fields are added freely and renamed never; a rename is a new
//! [`SCHEMA_VERSION`]. What could not be computed is absent or null, never 0.

mod conditions;
mod effects;
mod headline;
mod mined;
mod wire;

use super::Report;

/// The version of the format; it rises when a reader would break.
pub const SCHEMA_VERSION: u32 = 2;

/// The JSON Schema (draft 2020-12) of `report.json`.
pub const SCHEMA: &str = include_str!("../../reports/schema/report.schema.json");

/// The report as pretty-printed JSON with a line break at the end; numbers read back as the same
/// bits.
pub fn json(report: &Report) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(&wire::Document::new(report))
        .expect("wire types hold nothing that JSON cannot");
    bytes.push(b'\n');
    bytes
}
