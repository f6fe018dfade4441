//! One integration binary; every test is a sentence.

mod audit;
mod dataset;
mod finding;
mod flow;
mod plan;
mod report;
mod stats;
mod tree;
#[cfg(feature = "lm")]
mod lm;
#[cfg(feature = "lm")]
mod nestling;
