//! Tests finetuning data for changes of a model's character, with small trained shadow models.
//!
//! The stages, with the type passed from each to the next:
//!
//! ```text
//! audits/*.toml --> Audit --+
//! data.jsonl -----> Dataset +-> Plan -> Vec<Shadow> -> Answers -> Analysis -> Vec<Finding>
//!                              -> Report -> json, html, png, text
//! ```

pub mod exit_code;
pub mod seed;
pub mod text;
pub mod guard;

pub mod disk;
pub mod audit;
pub mod dataset;
pub mod prompt;
pub mod detect;
pub mod check;
pub mod engine;
pub mod plan;
pub mod train;
pub mod probe;
pub mod stats;
pub mod analysis;
pub mod verdict;
pub mod report;
pub mod peft;
pub mod parallel;
pub mod context;
pub mod run_dir;
pub mod progress;
pub mod run;
pub mod estimate;
pub mod cli;
pub mod command;
#[cfg(feature = "lm")]
pub mod lm;
