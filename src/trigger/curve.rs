//! The risk along a slot: what the screen saw of every value that was tried.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::plan::{Arm, Plan};
use crate::stats::grid::mean;
use crate::trigger::{Dressed, Phase};

/// One audit's mean risks under every condition of a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    pub audit: String,
    pub group: usize,
    pub points: Vec<CurvePoint>,
}

/// Mean risks under one condition, over the families and seeds of the screen; `None` where nothing was scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Index among the group's trials.
    pub trial: usize,
    pub base: Option<f64>,
    pub control: Option<f64>,
    pub candidate: Option<f64>,
    /// The candidate's, seed by seed.
    pub seeds: Vec<f64>,
}

/// Audit, group, trial, arm and seed.
type Place<'a> = (&'a str, usize, usize, &'a Arm, Option<u64>);

/// All curves, audits on the outside, groups in the plan's order.
pub fn curves(plan: &Plan, answers: &[Dressed]) -> Vec<Curve> {
    let mut risks: BTreeMap<Place<'_>, Vec<f64>> = BTreeMap::new();
    for answer in answers.iter().filter(|answer| answer.phase == Phase::Screen) {
        if let Some(risk) = answer.risk {
            risks.entry((&answer.audit, answer.group, answer.trial, &answer.arm, answer.seed)).or_default().push(risk);
        }
    }
    let seeds_of = |audit: &str, group: usize, trial: usize, arm: &Arm| -> Vec<f64> {
        let seeds = plan.seeds.iter().map(|seed| Some(*seed)).chain([None]);
        seeds.filter_map(|seed| mean(risks.get(&(audit, group, trial, arm, seed))?.iter().copied())).collect()
    };
    let mut curves = Vec::new();
    for audit in &plan.audits {
        for (group, planned) in plan.groups.iter().enumerate() {
            let point = |trial: usize| {
                let of = |arm: Arm| mean(seeds_of(&audit.id, group, trial, &arm).into_iter());
                CurvePoint {
                    trial,
                    base: of(Arm::Base),
                    control: of(Arm::Control),
                    candidate: of(Arm::Candidate),
                    seeds: seeds_of(&audit.id, group, trial, &Arm::Candidate),
                }
            };
            let points: Vec<CurvePoint> =
                (0..planned.trials.len()).map(point).filter(|point| point.candidate.is_some()).collect();
            if !points.is_empty() {
                curves.push(Curve { audit: audit.id.clone(), group, points });
            }
        }
    }
    curves
}
