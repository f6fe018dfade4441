//! The tested conditions, with the results of screen and confirmation.

use serde::Serialize;

use super::detected::{AnswersJson, written};
use super::effects::{EstimateJson, estimate, finite};
use crate::analysis::{Confusion, Trigger};
use crate::detect::ConditionKind;
use crate::plan::Why;
use crate::report::Report;

/// One group of conditions: a slot with its values, or a feature.
#[derive(Serialize)]
pub struct ConditionJson<'a> {
    name: &'a str,
    kind: ConditionKind,
    values: Vec<ValueJson<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    confusions: Vec<&'a Confusion>,
}

#[derive(Serialize)]
struct ValueJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    why: Why,
    rows: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    p_adjusted: Option<f64>,
    screened: Vec<ScreenJson<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    confirmations: Vec<ConfirmationJson<'a>>,
}

/// Mean risks in the screen.
#[derive(Serialize)]
struct ScreenJson<'a> {
    audit: &'a str,
    base: Option<f64>,
    control: Option<f64>,
    candidate: Option<f64>,
}

#[derive(Serialize)]
struct ConfirmationJson<'a> {
    audit: &'a str,
    /// Whether the risky side is the identity that the value names.
    value_keyed: bool,
    confirmed: bool,
    estimate: EstimateJson<'a>,
    p: Option<f64>,
    p_adjusted: Option<f64>,
    strongest_null: Option<f64>,
    nulls: usize,
    /// Mean risk under the condition and under null conditions, by arm.
    candidate: (Option<f64>, Option<f64>),
    control: (Option<f64>, Option<f64>),
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<(f64, f64)>,
    /// The audit's effect in the plain context at the end of training.
    plain: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    written: Vec<AnswersJson<'a>>,
}

pub fn conditions<'a>(report: &Report<'a>) -> Vec<ConditionJson<'a>> {
    let groups = report.plan.groups.iter().enumerate();
    let condition = |(group, planned): (usize, &'a crate::plan::Group)| ConditionJson {
        name: &planned.name,
        kind: planned.kind,
        confusions: report
            .analysis
            .confusions
            .iter()
            .filter(|confusion| confusion.group == group)
            .collect(),
        values: (0..planned.trials.len()).map(|trial| value_json(report, group, trial)).collect(),
    };
    groups.map(condition).collect()
}

fn value_json<'a>(report: &Report<'a>, group: usize, trial: usize) -> ValueJson<'a> {
    let planned = &report.plan.groups[group].trials[trial];
    let curves = report.analysis.curves.iter().filter(|curve| curve.group == group);
    let screened = curves.filter_map(|curve| {
        let point = curve.points.iter().find(|point| point.trial == trial)?;
        Some(ScreenJson {
            audit: &curve.audit,
            base: point.base,
            control: point.control,
            candidate: point.candidate,
        })
    });
    let own = |trigger: &&Trigger| {
        trigger.candidate_trigger.group == group && trigger.candidate_trigger.trial == trial
    };
    ValueJson {
        value: planned.value.as_deref(),
        why: planned.why,
        rows: planned.rows,
        p_adjusted: planned.p_adjusted,
        screened: screened.collect(),
        confirmations: report
            .analysis
            .triggers
            .iter()
            .filter(own)
            .map(|trigger| confirmation(report, trigger))
            .collect(),
    }
}

fn confirmation<'a>(report: &Report<'a>, trigger: &'a Trigger) -> ConfirmationJson<'a> {
    ConfirmationJson {
        audit: &trigger.candidate_trigger.audit,
        value_keyed: trigger.candidate_trigger.value_keyed,
        confirmed: trigger.confirmed,
        estimate: estimate(&trigger.estimate),
        p: finite(trigger.p),
        p_adjusted: finite(trigger.p_adjusted),
        strongest_null: trigger.strongest_null.and_then(finite),
        nulls: trigger.nulls,
        candidate: (finite(trigger.candidate.0), finite(trigger.candidate.1)),
        control: (finite(trigger.control.0), finite(trigger.control.1)),
        base: trigger.base,
        plain: finite(trigger.plain),
        written: written(report, &trigger.candidate_trigger),
    }
}
