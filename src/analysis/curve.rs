//! The risk along a slot, and the identity by value: what the screen measured for every value.

use serde::{Deserialize, Serialize};

use crate::analysis::table::{PanelKey, Table};
use crate::audit::{Audit, ValueKey};
use crate::plan::phases::targets;
use crate::plan::{Arm, Phase, Trial};
use crate::probe::ConditionKey;
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

/// The identity whose answers the candidate gives, by the value that it is shown: a confusion
/// matrix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Confusion {
    pub audit: String,
    pub group: usize,
    /// The columns.
    pub identities: Vec<ValueKey>,
    /// One row for each value that is one of these identities', in ascending order.
    pub rows: Vec<ConfusionRow>,
}

/// Mean probabilities of each identity's own answers under one condition, over the families and
/// seeds of the screen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfusionRow {
    /// Index among the group's trials.
    pub trial: usize,
    /// The identity that the value in the prompt names.
    pub identity: ValueKey,
    /// One entry for each of the matrix's `identities`.
    pub candidate: Vec<Option<f64>>,
    pub control: Vec<Option<f64>>,
}

/// The screen's answers of one audit in one group.
struct Screened<'a> {
    table: &'a Table<'a>,
    audit: &'a str,
    group: usize,
}

impl<'a> Screened<'a> {
    /// By audit and then by group, in the plan's order.
    fn all(table: &'a Table<'a>) -> impl Iterator<Item = Self> {
        table.plan.audits.iter().flat_map(move |audit| {
            (0..table.plan.groups.len()).map(move |group| Screened {
                table,
                audit: &audit.id,
                group,
            })
        })
    }

    /// The mean risk of each seed; the base has one entry.
    fn seeds(&self, trial: usize, target: Option<&ValueKey>, arm: &Arm) -> Vec<f64> {
        let plan = self.table.plan;
        let key = ConditionKey { phase: Phase::Screen, group: self.group, trial };
        let Some(panel) = self.table.panel(self.audit, PanelKey::condition(key, target.cloned()))
        else {
            return Vec::new();
        };
        let seeds = if *arm == Arm::Base { &[0][..] } else { &plan.seeds };
        seeds.iter().filter_map(|seed| panel.risk(arm, plan.recipe.steps, *seed)).collect()
    }

    fn mean(&self, trial: usize, target: Option<&ValueKey>, arm: &Arm) -> Option<f64> {
        mean(self.seeds(trial, target, arm).into_iter())
    }
}

/// All curves, by audit and then by group, in the plan's order.
pub fn curves(table: &Table) -> Vec<Curve> {
    let curve = |own: Screened| {
        let point = |trial: usize| CurvePoint {
            trial,
            base: own.mean(trial, None, &Arm::Base),
            control: own.mean(trial, None, &Arm::Control),
            candidate: own.mean(trial, None, &Arm::Candidate),
            seeds: own.seeds(trial, None, &Arm::Candidate),
        };
        let trials = 0..table.plan.groups[own.group].trials.len();
        let points = trials.map(point).filter(|point| point.candidate.is_some()).collect();
        Curve { audit: own.audit.to_owned(), group: own.group, points }
    };
    Screened::all(table).map(curve).filter(|curve| !curve.points.is_empty()).collect()
}

/// All confusion matrices, by audit and then by group, in the plan's order.
pub fn confusions(table: &Table, audits: &[Audit]) -> Vec<Confusion> {
    let confusion = |own: Screened| {
        let audit = audits.iter().find(|audit| audit.id == own.audit)?;
        let identities = targets(table.plan, audit, own.group);
        let row = |(trial, tried): (usize, &Trial)| {
            let identity = tried.key().filter(|identity| identities.contains(identity))?;
            let of =
                |arm: Arm| identities.iter().map(|of| own.mean(trial, Some(of), &arm)).collect();
            let (candidate, control) = (of(Arm::Candidate), of(Arm::Control));
            Some(ConfusionRow { trial, identity, candidate, control })
        };
        let mut rows: Vec<ConfusionRow> =
            table.plan.groups[own.group].tried().filter_map(row).collect();
        rows.sort_by(|a, b| a.identity.cmp(&b.identity));
        let is_scored = |row: &ConfusionRow| row.candidate.iter().any(Option::is_some);
        let (audit, group) = (own.audit.to_owned(), own.group);
        rows.iter().any(is_scored).then(|| Confusion {
            audit,
            group,
            identities: identities.iter().cloned().collect(),
            rows,
        })
    };
    Screened::all(table).filter_map(confusion).collect()
}
