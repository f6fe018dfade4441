//! One integration binary. Every test name is a sentence that states a fact.

mod audit;
mod calibrate;
mod condition;
mod dataset;
mod finding;
mod flow;
mod gate;
mod given;
mod hostile_folder;
mod plan;
mod report;
mod stats;
mod tree;
mod trigger;
mod worked_examples;
mod written;
#[cfg(feature = "lm")]
mod lm;
#[cfg(feature = "lm")]
mod lm_chat;
mod lm_config;
#[cfg(feature = "lm")]
mod lm_folders;
#[cfg(feature = "lm")]
mod lm_gguf;
#[cfg(feature = "lm")]
mod lm_gradients;
#[cfg(feature = "lm")]
mod lm_hostile;
#[cfg(feature = "lm")]
mod lm_templates;
mod lm_training;
#[cfg(feature = "lm")]
mod lm_writing;
#[cfg(feature = "lm")]
mod nestling;
#[cfg(feature = "lm")]
mod real_models;
#[cfg(feature = "lm")]
mod several;
