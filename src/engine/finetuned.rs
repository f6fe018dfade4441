//! A base, and a model that was finetuned from it elsewhere: merged or fully trained. The model
//! takes the place of an adapter.

use anyhow::{Result, ensure};

use super::{
    Adapter, Checkpoint, Description, Engine, Job, Pieces, Question, Recipe, Sampling, Trained,
};
use crate::dataset::Message;

/// Both, opened.
pub struct Finetuned {
    base: Box<dyn Engine>,
    model: Box<dyn Engine>,
}

impl Finetuned {
    /// # Errors
    /// Where the model is the base itself, or cannot have been finetuned from it.
    pub fn new(base: Box<dyn Engine>, model: Box<dyn Engine>) -> Result<Self> {
        let (own, other) = (base.describe(), model.describe());
        ensure!(
            own.base_sha256 != other.base_sha256,
            "--model and --base have the same files; give the finetuned model and its base"
        );
        ensure!(
            own.architecture == other.architecture,
            "the model is a {} and the base a {}; give the base that was finetuned",
            other.architecture,
            own.architecture
        );
        Ok(Finetuned { base, model })
    }

    /// The engine whose model an adapter makes.
    fn of(&self, adapter: Option<&Adapter>) -> &dyn Engine {
        match adapter {
            Some(Adapter { model: Some(_), .. }) => &*self.model,
            _ => &*self.base,
        }
    }
}

impl Engine for Finetuned {
    fn describe(&self) -> Description {
        self.base.describe()
    }

    fn is_nestling(&self) -> bool {
        self.base.is_nestling()
    }

    fn finetuned(&self) -> Option<Adapter> {
        Some(Adapter::of_model(self.model.describe().base_sha256))
    }

    fn count_tokens(&self, messages: &[Message]) -> Result<(usize, usize)> {
        self.base.count_tokens(messages)
    }

    /// A row must fit both: the model may bring another template than the base.
    fn rejection(&self, row: &[Message]) -> Result<Option<String>> {
        Ok(match self.base.rejection(row)? {
            Some(reason) => Some(reason),
            None => self.model.rejection(row)?,
        })
    }

    fn log_probs(&self, contexts: &[Vec<Vec<Message>>]) -> Result<Vec<Vec<Pieces>>> {
        self.base.log_probs(contexts)
    }

    fn processes(&self) -> Vec<u32> {
        [&self.base, &self.model].into_iter().flat_map(|engine| engine.processes()).collect()
    }

    fn train(
        &self,
        jobs: &[Job],
        recipe: &Recipe,
        checkpoint: &dyn Checkpoint,
    ) -> Result<Vec<Trained>> {
        self.base.train(jobs, recipe, checkpoint)
    }

    fn score(
        &self,
        adapter: Option<&Adapter>,
        questions: &[Question],
    ) -> Result<Vec<Vec<Option<f64>>>> {
        let engine = self.of(adapter);
        engine.score(adapter.filter(|adapter| adapter.model.is_none()), questions)
    }

    fn generate(
        &self,
        adapter: Option<&Adapter>,
        prompts: &[Vec<Message>],
        sampling: &Sampling,
    ) -> Result<Vec<String>> {
        let engine = self.of(adapter);
        engine.generate(adapter.filter(|adapter| adapter.model.is_none()), prompts, sampling)
    }
}
