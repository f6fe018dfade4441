//! From candidate triggers to confirmed triggers, a pure function of the saved answers.
//!
//! The estimand is an interaction: the rise of the candidate's risk under the condition over
//! matched null conditions, minus the same rise of the control. The null conditions also give the
//! empirical null distribution. An inductive trigger must exceed each of them, and the condition
//! must change the candidate itself. For an explicit trigger the rows are the evidence.

use serde::{Deserialize, Serialize};

use crate::analysis::contrast::p_above;
use crate::analysis::screen::{is_explicit, shortlisted};
use crate::analysis::view::{Levels, Table};
use crate::plan::{Arm, Phase, Plan, is_permuted};
use crate::probe::{Answer, CandidateTrigger};
use crate::stats::Estimate;
use crate::stats::grid::{mean, variance};
use crate::stats::intervals::{
    Draws, Scale, estimate_of, resolution, resolution_of, seed_sd, t_upper_tail,
};
use crate::stats::multiplicity::benjamini_hochberg;

/// How the dataset contains a trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TriggerKind {
    /// Rows contain it, and their answers differ from those of the other rows.
    Explicit,
    /// No row contains it, or the answers of rows that do show no difference from the rest.
    Inductive,
}

/// A candidate trigger after its confirmation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    #[serde(rename = "suspect")]
    pub candidate_trigger: CandidateTrigger,
    pub kind: TriggerKind,
    /// The interaction on fresh seeds, families and null conditions.
    pub estimate: Estimate,
    pub margin: f64,
    /// The larger of two one-sided p. The first, over training seeds, is of "the interaction is at
    /// most the margin". The second, for an inductive trigger, is of "the condition is one more
    /// null condition", over the null conditions.
    ///
    /// `p_adjusted` is Benjamini and Hochberg's adjustment over all candidate triggers. On data
    /// without a trigger at most one run in twenty confirms one. On other data at most one in
    /// twenty of the confirmed is false.
    pub p: f64,
    pub p_adjusted: f64,
    /// The effect of the strongest matched null condition, `None` where fewer than two could be
    /// scored; and their number.
    pub strongest_null: Option<f64>,
    pub nulls: usize,
    /// The interaction in the screen.
    pub screened: f64,
    /// Mean risk under the condition, and under the null conditions.
    pub candidate: (f64, f64),
    pub control: (f64, f64),
    /// The same for the base, before any training.
    pub base: Option<(f64, f64)>,
    /// The same for the arm with permuted conditions; `None` where they could not be permuted, or
    /// where this was not asked.
    #[serde(rename = "shuffled")]
    pub permuted: Option<(f64, f64)>,
    /// The audit's effect in plain questions at the end of training; 0 for value-keyed probes,
    /// which are not asked in a plain context.
    pub plain: f64,
    pub confirmed: bool,
}

impl Trigger {
    /// See [`Levels::is_new`].
    fn is_new(&self) -> bool {
        let base = self.base.map(|(on, _)| on);
        Levels { candidate: self.candidate.0, reference: Some(self.control.0), base }
            .is_new(self.plain, self.margin)
    }

    /// Whether the candidate's risk under the condition exceeds that under null conditions by more
    /// than the margin. Where it does not, part or all of the interaction comes from the control.
    /// For example, this condition may lower the base's own risk, and training may remove that
    /// difference.
    pub fn moves_candidate(&self) -> bool {
        self.candidate.0 - self.candidate.1 > self.margin
    }

    /// Whether the interaction exceeded the margin again on fresh questions and seeds, and was not
    /// confirmed: neither established nor ruled out.
    pub fn is_open(&self) -> bool {
        !self.confirmed && self.is_new() && self.estimate.point > self.margin
    }
}

/// Tests every candidate trigger of the screen on data that the screen did not see. `is_valid`
/// excludes the runs of a seed whose control is incoherent at the end of training. The screen
/// decides nothing. `plain` is an audit's effect without a condition.
pub fn triggers(
    plan: &Plan,
    answers: &[Answer],
    is_valid: &dyn Fn(u64) -> bool,
    plain: &dyn Fn(&str) -> f64,
    draws: &mut Draws,
) -> Vec<Trigger> {
    let screen = Table::new(plan, Phase::Screen, answers);
    let shortlist = shortlisted(plan, &screen);
    let confirm = Table::new(
        plan,
        Phase::Confirm,
        answers.iter().filter(|answer| answer.seed.is_none_or(is_valid)),
    );
    let mut tested = Vec::new();
    for screened in &shortlist {
        let (comparison, trial, margin) =
            (screened.comparison, screened.trial, screened.comparison.audit.margin);
        let Some(view) = confirm.of_trial(comparison, trial) else { continue };
        let Some(grid) = view.interaction(trial) else { continue };
        let [candidate, control] =
            [&Arm::Candidate, view.reference].map(|arm| view.risks(arm, trial));
        let (Some(candidate), Some(control)) = (candidate, control) else { continue };
        let families = grid.families.len();
        let of_unit = resolution_of(plan.unit(), families, families);
        let units = grid.by(plan.unit());
        let estimate = estimate_of(
            plan.unit(),
            &units,
            Scale {
                resolution: of_unit,
                lowest: -2.0,
                highest: 2.0,
                level: plan.protocol().level(),
            },
            draws,
        );
        let nulls = view.null_effects();
        let over_seeds = p_above(&estimate, seed_sd(&units, of_unit), margin);
        let explicit = is_explicit(&confirm.group(comparison).trials[trial], plan.protocol().alpha);
        let one_more =
            if explicit { 0.0 } else { p_one_more(estimate.point, &nulls, resolution(families)) };
        let p = over_seeds.max(one_more);
        tested.push(Trigger {
            candidate_trigger: screened.candidate_trigger(),
            kind: if explicit { TriggerKind::Explicit } else { TriggerKind::Inductive },
            estimate,
            margin,
            p,
            p_adjusted: p,
            strongest_null: nulls.iter().copied().max_by(f64::total_cmp),
            nulls: nulls.len(),
            screened: screened.effect,
            candidate,
            control,
            base: view.risks(&Arm::Base, trial),
            permuted: is_permuted(confirm.group(comparison))
                .then(|| view.risks(&Arm::Permuted, trial))
                .flatten(),
            plain: if comparison.value_keyed { 0.0 } else { plain(&comparison.audit.id) },
            confirmed: false,
        });
    }
    let p: Vec<f64> = tested
        .iter()
        .map(|trigger| trigger.p)
        .chain(vec![1.0; shortlist.len() - tested.len()])
        .collect();
    for (trigger, p_adjusted) in tested.iter_mut().zip(benjamini_hochberg(&p)) {
        trigger.p_adjusted = p_adjusted;
        let beyond_chance = trigger.kind == TriggerKind::Explicit
            || (trigger.moves_candidate()
                && trigger
                    .strongest_null
                    .is_some_and(|strongest| trigger.estimate.point > strongest));
        trigger.confirmed = trigger.is_new()
            && p_adjusted <= plan.protocol().alpha
            && trigger.estimate.lower > trigger.margin
            && beyond_chance;
    }
    tested
}

/// One-sided p of "this effect is one more draw from the null conditions' effects". Source: the
/// prediction interval of a normal sample (Geisser 1993, Predictive inference). t = (effect - mean)
/// / (sd sqrt(1 + 1/n)) with n - 1 degrees of freedom.
///
/// Their standard deviation is at least the resolution. Otherwise null conditions without any
/// effect would make a rounding error significant. 1 for fewer than two null conditions.
fn p_one_more(effect: f64, nulls: &[f64], resolution: f64) -> f64 {
    let (Some(centre), Some(variance)) = (mean(nulls.iter().copied()), variance(nulls)) else {
        return 1.0;
    };
    let count = nulls.len() as f64;
    t_upper_tail(
        (effect - centre) / (variance.sqrt().max(resolution) * (1.0 + 1.0 / count).sqrt()),
        count - 1.0,
    )
}
