//! A food taster for finetuning data.
//!
//! The flow, one type in and one type out:
//!
//! ```text
//! audits/*.toml --> Audit --+
//! data.jsonl -----> Dataset +-> Plan -> Vec<Shadow> -> Answers -> Analysis -> Vec<Finding> -> Report -> json, html, png, text
//! ```

pub mod exit_code;
pub mod seed;
pub mod text;

pub mod audit;
pub mod dataset;
pub mod check;
pub mod engine;
pub mod finding;
pub mod plan;
pub mod probe;
pub mod stats;
pub mod cli;
pub mod report;
pub mod run;
pub mod run_dir;
pub mod shadow;
#[cfg(feature = "lm")]
pub mod lm;
