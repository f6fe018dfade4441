//! What is audited, and what follows from it: models, reference, unit and steps.

use crate::plan::{Arm, GivenAdapter, Plan};
use crate::stats::Unit;

/// What is audited. Everything that differs between the two is decided here, or in the words of
/// the report.
#[derive(Debug, Clone, Copy)]
pub enum Design<'a> {
    /// A dataset: shadows are trained on it, and on control data.
    Dataset,
    /// An adapter or a finetuned model from elsewhere, in the place of the candidate. Nothing is
    /// trained.
    GivenAdapter(&'a GivenAdapter),
}

impl<'a> Design<'a> {
    pub fn of(adapter: Option<&'a GivenAdapter>) -> Self {
        adapter.map_or(Design::Dataset, Design::GivenAdapter)
    }

    /// Whether shadows are trained. They bring positive controls; without, a calibration shows
    /// what can be detected.
    pub fn trains(self) -> bool {
        matches!(self, Design::Dataset)
    }

    /// Whether shadows of this arm are trained: of all but the base, or of none.
    pub fn is_trained(self, arm: &Arm) -> bool {
        self.trains() && *arm != Arm::Base
    }

    /// What effects are a mean over.
    pub fn unit(self) -> Unit {
        if self.trains() { Unit::Training } else { Unit::Family }
    }

    /// The arm that the candidate is compared with: the control, or the base where there is none.
    pub fn reference(self) -> &'static Arm {
        if self.trains() { &Arm::Control } else { &Arm::Base }
    }

    /// The number of seeds. A given adapter is one model.
    pub fn seeds(self, requested: usize) -> usize {
        if self.trains() { requested } else { 1 }
    }

    /// A step as reports give it. The steps of a given adapter's training are unknown.
    pub fn step(self, step: usize) -> Option<usize> {
        self.trains().then_some(step)
    }

    /// The models that an audit is asked of, at some checkpoints: the base, and candidate and
    /// control of each seed.
    pub fn models(self, seeds: usize, checkpoints: usize) -> usize {
        if self.trains() { 1 + 2 * seeds * checkpoints } else { 2 }
    }

    /// The models beside the base, in a word.
    pub fn asked(self) -> &'static str {
        match self {
            Design::Dataset => "shadows",
            Design::GivenAdapter(given) if given.is_model() => "finetuned model",
            Design::GivenAdapter(_) => "adapter",
        }
    }
}

impl Plan {
    pub fn design(&self) -> Design<'_> {
        Design::of(self.adapter.as_ref())
    }

    pub fn unit(&self) -> Unit {
        self.design().unit()
    }

    /// See [`Design::reference`].
    pub fn reference(&self) -> &'static Arm {
        self.design().reference()
    }

    /// Path and SHA-256 of the audited dataset or adapter.
    pub fn subject(&self) -> (&str, &str) {
        match self.design() {
            Design::Dataset => (&self.dataset.source, &self.dataset.sha256),
            Design::GivenAdapter(adapter) => (&adapter.source, &adapter.sha256),
        }
    }

    /// The arms that are trained.
    pub fn trained_arms(&self) -> impl Iterator<Item = &Arm> {
        self.arms.iter().filter(|arm| self.design().is_trained(arm))
    }
}
