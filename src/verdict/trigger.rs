//! Confirmed triggers as separate findings, and the conditions that are unresolved.

use serde::{Deserialize, Serialize};

use super::evidence::Evidence;
use super::reason::{ConditionName, Reason};
use super::rules::unreadable;
use super::{Finding, Verdict};
use crate::analysis::{Trigger, TriggerKind};
use crate::audit::ValueKey;
use crate::detect::ConditionKind;
use crate::plan::{Arm, Plan, SkipReason};
use crate::probe::CandidateTrigger;

/// A condition under which the shift occurs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundTrigger {
    pub kind: TriggerKind,
    /// The slot, as the prompts have it, or the feature: `year in "Today is {date}."`.
    pub slot: String,
    /// `None` for a feature, which is present or absent.
    pub value: Option<String>,
    /// Whether it occurs in the dataset.
    pub observed: bool,
    /// Rows that contain it.
    pub rows: usize,
    /// The identity whose answers the model gives; `None` for the audit's own risky side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<ValueKey>,
}

/// One finding for each confirmed trigger.
pub fn found(plan: &Plan, triggers: &[Trigger]) -> Vec<Finding> {
    let confirmed = triggers.iter().filter(|trigger| trigger.confirmed);
    confirmed.map(|trigger| finding(plan, trigger)).collect()
}

/// An audit's conditions that are neither established nor ruled out.
pub fn unresolved(evidence: &Evidence) -> Vec<Reason> {
    let (plan, analysis) = (evidence.run.plan, evidence.run.analysis);
    let audit = &evidence.planned.id;
    let crowded_out = plan.names_skipped(SkipReason::CrowdedOut);
    let crowded_out = crowded_out.first().map(|first| Reason::ConditionsCrowdedOut {
        conditions: crowded_out.len(),
        first: (*first).to_owned(),
    });
    let own =
        || analysis.triggers.iter().filter(|trigger| trigger.candidate_trigger.audit == *audit);
    let mut open: Vec<&Trigger> = own().filter(|trigger| trigger.is_open()).collect();
    open.sort_by(|a, b| b.estimate.point.total_cmp(&a.estimate.point));
    let strongest = open.first().map(|strongest| Reason::TriggerUnresolved {
        condition: condition(plan, &strongest.candidate_trigger),
        more: open.len() - 1,
        point: strongest.estimate.point,
        margin: strongest.margin,
        p_adjusted: strongest.p_adjusted,
        strongest_null: strongest.strongest_null,
        candidate: strongest.candidate,
        candidate_moves: strongest.moves_candidate(),
    });
    let explained = |candidate_trigger: &CandidateTrigger| {
        own().any(|found| {
            found.confirmed
                && found.candidate_trigger.group == candidate_trigger.group
                && found.candidate_trigger.value_keyed == candidate_trigger.value_keyed
        })
    };
    let mut skipped = analysis.skipped_candidates.iter().filter(|candidate_trigger| {
        candidate_trigger.audit == *audit && !explained(candidate_trigger)
    });
    let skipped = skipped.next().map(|first| Reason::TriggersNotConfirmed {
        condition: condition(plan, first),
        more: skipped.count(),
    });
    let noisy = analysis.noisy_nulls.iter().filter(|noisy| noisy.audit == *audit);
    let noisy = noisy.map(|noisy| Reason::NoisyNulls {
        conditions: plan.groups[noisy.group].name.clone(),
        noisy: noisy.noisy,
        nulls: noisy.nulls,
    });
    [crowded_out, strongest, skipped].into_iter().flatten().chain(noisy).collect()
}

fn condition(plan: &Plan, candidate_trigger: &CandidateTrigger) -> ConditionName {
    let group = &plan.groups[candidate_trigger.group];
    let value = group.trials[candidate_trigger.trial].value.clone();
    ConditionName { slot: group.name.clone(), value }
}

fn finding(plan: &Plan, trigger: &Trigger) -> Finding {
    let group = &plan.groups[trigger.candidate_trigger.group];
    let trial = &group.trials[trigger.candidate_trigger.trial];
    // An explicit trigger also has evidence in the rows; an inductive one depends on shadows alone.
    let doubt = unreadable(plan).filter(|_| trigger.kind == TriggerKind::Inductive);
    Finding {
        verdict: if doubt.is_none() { Verdict::Flagged } else { Verdict::Inconclusive },
        estimate: Some(trigger.estimate.clone()),
        step: Some(plan.recipe.steps),
        p_adjusted: Some(trigger.p_adjusted),
        reasons: doubt.into_iter().chain(reasons(plan, trigger)).collect(),
        trigger: Some(FoundTrigger {
            kind: trigger.kind,
            slot: group.name.clone(),
            value: trial.value.clone(),
            observed: trial.rows > 0,
            rows: trial.rows,
            identity: trial.key().filter(|_| trigger.candidate_trigger.value_keyed),
        }),
        ..Finding::of(&trigger.candidate_trigger.audit, trigger.margin)
    }
}

fn reasons(plan: &Plan, trigger: &Trigger) -> Vec<Reason> {
    let group = &plan.groups[trigger.candidate_trigger.group];
    let trial = &group.trials[trigger.candidate_trigger.trial];
    let base = trigger.base.filter(|_| *plan.reference() != Arm::Base);
    let rise = |(on, off): (f64, f64)| on - off;
    let shown = Reason::TriggerShown {
        condition: condition(plan, &trigger.candidate_trigger),
        identity: trial.key().filter(|_| trigger.candidate_trigger.value_keyed),
        nulls: trigger.nulls,
        candidate: trigger.candidate,
        reference: trigger.control,
        base,
    };
    let confirmed = Reason::TriggerConfirmed {
        point: trigger.estimate.point,
        lower: trigger.estimate.lower,
        upper: trigger.estimate.upper,
        margin: trigger.margin,
        p_adjusted: trigger.p_adjusted,
        strongest_null: trigger.strongest_null,
    };
    let is_exceeded = trigger.strongest_null.is_some_and(|null| null >= trigger.estimate.point);
    let without = Reason::EffectWithoutCondition { point: trigger.plain };
    let in_rows = match (trigger.kind, trial.rows, trial.p_adjusted) {
        (TriggerKind::Explicit, rows, _) => Reason::TriggerExplicit { rows },
        (TriggerKind::Inductive, 0, _) if !plan.has_dataset() => Reason::TriggerRowsUnknown,
        (TriggerKind::Inductive, 0, _) if plan.is_searched_in_a_sample(group) => {
            Reason::TriggerInNoSampledRow {
                rows_examined: plan.rows_searched(group),
                rows: plan.dataset.rows_used,
            }
        }
        (TriggerKind::Inductive, 0, _) => Reason::TriggerInNoRow,
        (TriggerKind::Inductive, rows, None) => {
            Reason::TriggerRowsUntested { rows, is_text: group.kind == ConditionKind::Text }
        }
        (TriggerKind::Inductive, rows, Some(p_adjusted)) => {
            Reason::TriggerRowsAlike { rows, p_adjusted }
        }
    };
    let base_knows = base.is_some_and(|pair| rise(pair) > trigger.margin);
    [
        Some(shown),
        Some(confirmed),
        is_exceeded.then_some(Reason::NullExceedsTrigger),
        (!trigger.candidate_trigger.value_keyed).then_some(without),
        Some(in_rows),
        base_knows.then_some(Reason::BaseKnowsCondition),
    ]
    .into_iter()
    .flatten()
    .collect()
}
