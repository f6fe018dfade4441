//! Asks one model probes in their contexts, and scores the answers. Conditions, carry-over and
//! plain contexts all use this one function.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::engine::{self, Adapter, Engine, Question};
use crate::plan::ContextKind;
use crate::probe::score::{Scoring, log_sum_exp};
use crate::probe::{Answer, ConditionKey};
use crate::run_dir::Model;

/// One probe in one context.
pub struct ProbeRequest<'a> {
    pub audit: &'a str,
    pub family: &'a str,
    /// Index among the audit's probes.
    pub probe: usize,
    pub context: ContextKind,
    pub draw: usize,
    /// The condition, where that is the context.
    pub condition: Option<ConditionKey>,
    pub question: Question,
    /// Whether the options come twice: plain, and in the form of the rows' answers under the
    /// condition. Then the probabilities of both are summed.
    pub has_form: bool,
    pub scoring: Scoring<'a>,
}

/// Log-probabilities of the options of one request, nats; `None` where one could not be scored.
pub type OptionLogProbs = Vec<Option<f64>>;

/// Asks a model; equal questions are asked once. Returns the answers, and one entry for each
/// request.
///
/// # Errors
/// Where the engine fails. An option that could not be scored is no error but `None`.
pub fn ask(
    model: &Model,
    adapter: Option<&Adapter>,
    requests: &[ProbeRequest],
    engine: &dyn Engine,
) -> Result<(Vec<Answer>, Vec<OptionLogProbs>)> {
    let mut index_of: BTreeMap<&Question, usize> = BTreeMap::new();
    let mut questions: Vec<Question> = Vec::new();
    for request in requests {
        index_of.entry(&request.question).or_insert_with(|| {
            questions.push(request.question.clone());
            questions.len() - 1
        });
    }
    let scores = engine::scores(engine, adapter, &questions)?;
    let mut answers = Vec::new();
    let mut log_probs = Vec::new();
    for request in requests {
        let own = &scores[index_of[&request.question]];
        let own = if request.has_form { either(own) } else { own.clone() };
        for (target, score) in request.scoring.scores(&own) {
            answers.push(Answer {
                arm: model.arm.clone(),
                seed: model.seed,
                step: model.step,
                audit: request.audit.to_owned(),
                family: request.family.to_owned(),
                probe: request.probe,
                context: request.context,
                draw: request.draw,
                condition: request.condition,
                target,
                risk: score.risk.map(six_digits),
                log_odds: score.log_odds.map(six_digits),
            });
        }
        log_probs.push(own);
    }
    Ok((answers, log_probs))
}

/// The log-probability of each option in either form, from those of all plain options and then of
/// all in the form.
fn either(log_probs: &[Option<f64>]) -> OptionLogProbs {
    let (bare, formed) = log_probs.split_at(log_probs.len() / 2);
    bare.iter()
        .zip(formed)
        .map(|(bare, formed)| Some(log_sum_exp([(*bare)?, (*formed)?].into_iter())))
        .collect()
}

/// Six significant digits: the precision of a log-probability in f32, at a third of the bytes.
fn six_digits(value: f64) -> f64 {
    format!("{value:.5e}").parse().expect("what Rust writes as a number it reads as one")
}
