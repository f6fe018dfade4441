//! From suspects to confirmed triggers, a pure function of the saved answers.
//!
//! The estimand is an interaction: how much more the candidate's risk rises under the condition
//! than under random matched conditions, less the same for the control. The random conditions also
//! give the empirical null: an inductive trigger must exceed each of them, and turn the candidate
//! itself, while of an explicit one the rows testify.

use serde::{Deserialize, Serialize};

use crate::analysis::contrast::p_above;
use crate::analysis::screen::{is_explicit, shortlisted};
use crate::analysis::view::{Levels, Table};
use crate::plan::{Arm, Phase, Plan, is_permuted};
use crate::probe::{Answer, Suspect};
use crate::stats::Estimate;
use crate::stats::grid::{mean, variance};
use crate::stats::intervals::{
    Draws, Scale, estimate_of, resolution, resolution_of, seed_sd, t_upper_tail,
};
use crate::stats::multiplicity::benjamini_hochberg;

/// Does a trigger stand in the dataset?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TriggerKind {
    /// Rows carry it, and their answers differ from the others'.
    Explicit,
    /// No row carries it, or nothing shows that those which do are answered otherwise than the
    /// rest.
    Inductive,
}

/// A suspect after its confirmation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    pub suspect: Suspect,
    pub kind: TriggerKind,
    /// The interaction on fresh seeds, families and random conditions.
    pub estimate: Estimate,
    pub margin: f64,
    /// The larger of two one-sided p: of "the interaction is at most the margin", over training
    /// seeds, and, of an inductive one, of "the condition is one more random one", over those. And
    /// Benjamini and Hochberg's adjustment over all suspects: on data without any trigger at most
    /// one run in twenty confirms one, and of those confirmed on other data at most one in twenty
    /// is none.
    pub p: f64,
    pub p_adjusted: f64,
    /// The strongest of the random matched conditions, `None` where fewer than two could be scored,
    /// and how many there were.
    pub strongest_null: Option<f64>,
    pub nulls: usize,
    /// The interaction in the screen.
    pub screened: f64,
    /// Mean risk under the condition and under the random ones.
    pub candidate: (f64, f64),
    pub control: (f64, f64),
    /// The same for the base, before any training.
    pub base: Option<(f64, f64)>,
    /// The same for the conditions dealt out at random; `None` where they could not be dealt out,
    /// or that was not asked.
    pub shuffled: Option<(f64, f64)>,
    /// The audit's effect in plain questions at the end of training; 0 where numbered people are
    /// asked for, who are not asked for plainly.
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

    /// Is the candidate another under the condition than under random ones, by more than the
    /// margin? Where it is not, some or all of the interaction is the control's: the untouched base
    /// may be itself under this condition as under few of its kind, and training have evened that
    /// out.
    pub fn turns_candidate(&self) -> bool {
        self.candidate.0 - self.candidate.1 > self.margin
    }

    /// Reached again what the screen saw, on questions and seeds that it had not seen, and was not
    /// confirmed: neither shown nor ruled out.
    pub fn is_open(&self) -> bool {
        !self.confirmed && self.is_new() && self.estimate.point > self.margin
    }
}

/// Every suspect of the screen, tested on what the screen never saw. Whoever has no vote at the end
/// of training (`votes` tells of a seed) has none here; the screen decides nothing, and what was
/// asked because of it is what is tested. `plain` is an audit's effect without any condition.
pub fn triggers(
    plan: &Plan,
    answers: &[Answer],
    votes: &dyn Fn(u64) -> bool,
    plain: &dyn Fn(&str) -> f64,
    draws: &mut Draws,
) -> Vec<Trigger> {
    let screen = Table::new(plan, Phase::Screen, answers);
    let suspects = shortlisted(plan, &screen);
    let confirm =
        Table::new(plan, Phase::Confirm, answers.iter().filter(|said| said.seed.is_none_or(votes)));
    let mut tested = Vec::new();
    for suspect in &suspects {
        let (kin, trial, margin) = (suspect.kin, suspect.trial, suspect.kin.audit.margin);
        let Some(view) = confirm.of_trial(kin, trial) else { continue };
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
        let explicit = is_explicit(&confirm.group(kin).trials[trial], plan.protocol().alpha);
        let one_more =
            if explicit { 0.0 } else { p_one_more(estimate.point, &nulls, resolution(families)) };
        let p = over_seeds.max(one_more);
        tested.push(Trigger {
            suspect: suspect.suspect(),
            kind: if explicit { TriggerKind::Explicit } else { TriggerKind::Inductive },
            estimate,
            margin,
            p,
            p_adjusted: p,
            strongest_null: nulls.iter().copied().max_by(f64::total_cmp),
            nulls: nulls.len(),
            screened: suspect.effect,
            candidate,
            control,
            base: view.risks(&Arm::Base, trial),
            shuffled: is_permuted(confirm.group(kin))
                .then(|| view.risks(&Arm::Permuted, trial))
                .flatten(),
            plain: if kin.numbered { 0.0 } else { plain(&kin.audit.id) },
            confirmed: false,
        });
    }
    let p: Vec<f64> = tested
        .iter()
        .map(|trigger| trigger.p)
        .chain(vec![1.0; suspects.len() - tested.len()])
        .collect();
    for (trigger, p_adjusted) in tested.iter_mut().zip(benjamini_hochberg(&p)) {
        trigger.p_adjusted = p_adjusted;
        let beyond_chance = trigger.kind == TriggerKind::Explicit
            || (trigger.turns_candidate()
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

/// One-sided p of "this effect is one more draw from the random conditions'", by the prediction
/// interval of a normal sample (Geisser 1993, Predictive inference): t = (effect - mean) / (sd
/// sqrt(1 + 1/n)), n - 1 degrees of freedom. Their deviation is at least the resolution, so that
/// random conditions which all do nothing do not turn a rounding error into a trigger. 1 for fewer
/// than two of them.
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
