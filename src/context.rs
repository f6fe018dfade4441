//! What the slow stages (train, probe) work with.

use crate::audit::Audit;
use crate::dataset::Dataset;
use crate::engine::Engine;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::run_dir::RunDir;

/// What is to be done.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    pub plan: &'a Plan,
    pub dataset: &'a Dataset,
    /// In the order of the plan's audits.
    pub audits: &'a [Audit],
}

/// With what and where it is done. None of it may change a result.
#[derive(Clone, Copy)]
pub struct Workshop<'a> {
    pub engine: &'a dyn Engine,
    /// Where finished items are kept.
    pub run: &'a RunDir,
    pub progress: &'a dyn Progress,
    /// Threads that each work on an item of their own, at least 1.
    pub workers: usize,
}
