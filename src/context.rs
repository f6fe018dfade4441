//! The inputs of the slow stages (train, probe).

use crate::audit::Audit;
use crate::dataset::Dataset;
use crate::engine::Engine;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::run_dir::RunDir;

/// What to compute.
#[derive(Clone, Copy)]
pub struct RunInputs<'a> {
    pub plan: &'a Plan,
    pub dataset: &'a Dataset,
    /// In the order of the plan's audits.
    pub audits: &'a [Audit],
}

/// The resources to compute it with. None of them may change a result.
#[derive(Clone, Copy)]
pub struct RunContext<'a> {
    pub engine: &'a dyn Engine,
    /// Where finished items are saved.
    pub run: &'a RunDir,
    pub progress: &'a dyn Progress,
    /// Threads that process items in parallel, at least 1.
    pub workers: usize,
}
