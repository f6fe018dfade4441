//! The risk along a slot, and the identity by number: what the screen measured for every value.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::plan::{Arm, Phase, Plan};
use crate::probe::Answer;
use crate::stats::grid::mean;

/// The mean risks for one audit under every condition of a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    pub audit: String,
    pub group: usize,
    pub points: Vec<CurvePoint>,
}

/// Mean risks under one condition, over the families and seeds of the screen; `None` where no
/// answer was scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Index among the group's trials.
    pub trial: usize,
    pub base: Option<f64>,
    pub control: Option<f64>,
    pub candidate: Option<f64>,
    /// The candidate's, one entry for each seed.
    pub seeds: Vec<f64>,
}

/// The identity whose answers the candidate gives, by the number that it is shown: a confusion
/// matrix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Confusion {
    pub audit: String,
    pub group: usize,
    /// The identities' numbers; the columns.
    pub numbers: Vec<u64>,
    /// One row for each value that is one of these numbers, in ascending order.
    pub rows: Vec<ConfusionRow>,
}

/// Mean probabilities of each number's own answers under one condition, over the families and seeds
/// of the screen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfusionRow {
    /// Index among the group's trials.
    pub trial: usize,
    /// The number in the prompt.
    pub number: u64,
    /// One entry for each of the matrix's `numbers`.
    pub candidate: Vec<Option<f64>>,
    pub control: Vec<Option<f64>>,
}

/// Trial, target, arm and seed.
type CurveKey<'a> = (usize, Option<u64>, &'a Arm, Option<u64>);

/// The screen's risks of one audit in one group.
struct Screened<'a> {
    plan: &'a Plan,
    risks: BTreeMap<CurveKey<'a>, Vec<f64>>,
}

impl<'a> Screened<'a> {
    /// (audit, group) -> its risks.
    fn all(plan: &'a Plan, answers: &'a [Answer]) -> BTreeMap<(&'a str, usize), Self> {
        let mut all: BTreeMap<(&str, usize), Self> = BTreeMap::new();
        for answer in answers {
            let key = answer.condition.filter(|key| key.phase == Phase::Screen);
            if let (Some(key), Some(risk)) = (key, answer.risk) {
                let own = all
                    .entry((&answer.audit, key.group))
                    .or_insert_with(|| Screened { plan, risks: BTreeMap::new() });
                own.risks
                    .entry((key.trial, answer.target, &answer.arm, answer.seed))
                    .or_default()
                    .push(risk);
            }
        }
        all
    }

    /// The mean risk of each seed; the base has one entry.
    fn seeds(&self, trial: usize, target: Option<u64>, arm: &Arm) -> Vec<f64> {
        let seeds = self.plan.seeds.iter().map(|seed| Some(*seed)).chain([None]);
        seeds
            .filter_map(|seed| mean(self.risks.get(&(trial, target, arm, seed))?.iter().copied()))
            .collect()
    }

    fn mean(&self, trial: usize, target: Option<u64>, arm: &Arm) -> Option<f64> {
        mean(self.seeds(trial, target, arm).into_iter())
    }
}

/// All curves, by audit and then by group, in the plan's order.
pub fn curves(plan: &Plan, answers: &[Answer]) -> Vec<Curve> {
    let screened = Screened::all(plan, answers);
    let mut curves = Vec::new();
    for audit in &plan.audits {
        for (group, planned) in plan.groups.iter().enumerate() {
            let Some(own) = screened.get(&(audit.id.as_str(), group)) else { continue };
            let point = |trial: usize| CurvePoint {
                trial,
                base: own.mean(trial, None, &Arm::Base),
                control: own.mean(trial, None, &Arm::Control),
                candidate: own.mean(trial, None, &Arm::Candidate),
                seeds: own.seeds(trial, None, &Arm::Candidate),
            };
            let points: Vec<CurvePoint> = (0..planned.trials.len())
                .map(point)
                .filter(|point| point.candidate.is_some())
                .collect();
            if !points.is_empty() {
                curves.push(Curve { audit: audit.id.clone(), group, points });
            }
        }
    }
    curves
}

/// All confusion matrices, by audit and then by group, in the plan's order.
pub fn confusions(plan: &Plan, answers: &[Answer]) -> Vec<Confusion> {
    let screened = Screened::all(plan, answers);
    let mut confusions = Vec::new();
    for audit in &plan.audits {
        for (group, planned) in plan.groups.iter().enumerate() {
            let Some(own) = screened.get(&(audit.id.as_str(), group)) else { continue };
            let numbers: BTreeSet<u64> =
                own.risks.keys().filter_map(|(_, target, ..)| *target).collect();
            let mut rows: Vec<ConfusionRow> = Vec::new();
            for (trial, tried) in planned.tried() {
                let Some(number) = tried.number().filter(|number| numbers.contains(number)) else {
                    continue;
                };
                let of = |arm: Arm| {
                    numbers.iter().map(|&target| own.mean(trial, Some(target), &arm)).collect()
                };
                rows.push(ConfusionRow {
                    trial,
                    number,
                    candidate: of(Arm::Candidate),
                    control: of(Arm::Control),
                });
            }
            rows.sort_by_key(|row| row.number);
            if !rows.is_empty() {
                confusions.push(Confusion {
                    audit: audit.id.clone(),
                    group,
                    numbers: numbers.into_iter().collect(),
                    rows,
                });
            }
        }
    }
    confusions
}
