//! From dressed answers to suspects, and from suspects to confirmed triggers: pure functions of the saved answers.
//!
//! The estimand is an interaction: how much more the candidate's risk rises under the condition than under random matched conditions, less
//! the same for the control. The random conditions also give the empirical null: a trigger must exceed each of them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::plan::{Arm, Plan};
use crate::stats::contrast::p_above;
use crate::stats::grid::{Grid, mean};
use crate::stats::intervals::{Draws, Scale, estimate, resolution, seed_sd};
use crate::stats::multiplicity::holm;
use crate::stats::{ALPHA, Estimate};
use crate::trigger::ask::seeds;
use crate::trigger::{Dressed, Phase, Suspect, Why};

/// Suspects a group and audit: a trigger may have neighbours, and more would only weaken each other.
const SUSPECTS_A_GROUP: usize = 4;
/// Suspects in all, strongest first.
const MOST_SUSPECTS: usize = 12;
/// The screen lets pass what reaches this share of the margin: half of the seeds' noise must not hide a trigger from its confirmation.
const SCREEN_SHARE: f64 = 0.5;

/// Does a trigger stand in the dataset?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TriggerKind {
    /// Rows carry it, and their answers differ from the others'.
    Explicit,
    /// No row carries it, or those that do answer like the rest.
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
    /// One-sided p of "the interaction is at most the margin", and Holm's adjustment over all suspects.
    pub p: f64,
    pub p_adjusted: f64,
    /// The strongest of the random matched conditions, and how many there were.
    pub strongest_null: f64,
    pub nulls: usize,
    /// The interaction in the screen.
    pub screened: f64,
    /// Mean risk under the condition and under the random ones.
    pub candidate: (f64, f64),
    pub control: (f64, f64),
    pub confirmed: bool,
}

/// What the screen found worth a second look, strongest first; at most [`MOST_SUSPECTS`].
pub fn shortlist(plan: &Plan, answers: &[Dressed]) -> Vec<Suspect> {
    let table = Table::new(answers, Phase::Screen);
    let mut suspects = Vec::new();
    for audit in &plan.audits {
        for (group, planned) in plan.groups.iter().enumerate() {
            let view = View { table: &table, audit: &audit.id, group, seeds: seeds(plan, Phase::Screen) };
            let (nulls, tried) = split(planned.trials.iter().map(|trial| trial.why), Why::ScreenNull);
            let highest = view.strongest_null(&nulls);
            let mut found: Vec<(f64, usize)> =
                tried.iter().filter_map(|&trial| Some((view.grid(trial, &nulls)?.mean(), trial))).collect();
            found.retain(|(effect, _)| *effect > SCREEN_SHARE * audit.margin && highest.is_none_or(|highest| *effect > highest));
            found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            found.truncate(SUSPECTS_A_GROUP);
            suspects.extend(found.into_iter().map(|(effect, trial)| (effect, Suspect { audit: audit.id.clone(), group, trial })));
        }
    }
    suspects.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    suspects.truncate(MOST_SUSPECTS);
    suspects.into_iter().map(|(_, suspect)| suspect).collect()
}

/// Every suspect of the screen, tested on what the screen never saw.
pub fn triggers(plan: &Plan, answers: &[Dressed], draws: &mut Draws) -> Vec<Trigger> {
    let suspects = shortlist(plan, answers);
    let (screen, confirm) = (Table::new(answers, Phase::Screen), Table::new(answers, Phase::Confirm));
    let mut tested = Vec::new();
    for suspect in &suspects {
        let Some(audit) = plan.audits.iter().find(|audit| audit.id == suspect.audit) else { continue };
        let trials = || plan.groups[suspect.group].trials.iter().map(|trial| trial.why);
        let view = View { table: &confirm, audit: &suspect.audit, group: suspect.group, seeds: seeds(plan, Phase::Confirm) };
        let first = View { table: &screen, seeds: seeds(plan, Phase::Screen), ..view };
        let (nulls, _) = split(trials(), Why::ConfirmNull);
        let (screen_nulls, _) = split(trials(), Why::ScreenNull);
        let Some(grid) = view.grid(suspect.trial, &nulls) else { continue };
        let resolution = resolution(grid.families.len());
        let estimate = estimate(&grid, Scale { resolution, lowest: -2.0, highest: 2.0 }, draws);
        let p = p_above(&estimate, seed_sd(&grid, resolution), audit.margin);
        let planned = &plan.groups[suspect.group].trials[suspect.trial];
        let explicit = planned.rows > 0 && planned.p_adjusted.is_some_and(|p| p <= ALPHA);
        tested.push(Trigger {
            suspect: suspect.clone(),
            kind: if explicit { TriggerKind::Explicit } else { TriggerKind::Inductive },
            estimate,
            margin: audit.margin,
            p,
            p_adjusted: p,
            strongest_null: view.strongest_null(&nulls).unwrap_or(f64::INFINITY),
            nulls: nulls.len(),
            screened: first.grid(suspect.trial, &screen_nulls).map_or(0.0, |grid| grid.mean()),
            candidate: view.risks(&Arm::Candidate, suspect.trial, &nulls),
            control: view.risks(&Arm::Control, suspect.trial, &nulls),
            confirmed: false,
        });
    }
    let p: Vec<f64> = tested.iter().map(|trigger| trigger.p).collect();
    for (trigger, p_adjusted) in tested.iter_mut().zip(holm(&p, suspects.len())) {
        trigger.p_adjusted = p_adjusted;
        let beyond_chance = trigger.estimate.point > trigger.strongest_null;
        trigger.confirmed = p_adjusted <= ALPHA && trigger.estimate.lower > trigger.margin && beyond_chance;
    }
    tested
}

/// The trials that are this null, and those that are none.
fn split(whys: impl Iterator<Item = Why>, null: Why) -> (Vec<usize>, Vec<usize>) {
    let (mut nulls, mut tried) = (Vec::new(), Vec::new());
    for (trial, why) in whys.enumerate() {
        match why {
            why if why == null => nulls.push(trial),
            why if why.is_null() => {}
            _ => tried.push(trial),
        }
    }
    (nulls, tried)
}

/// (audit, group, trial) -> (arm, seed) -> family -> risk.
type Risks<'a> = BTreeMap<(&'a str, usize, usize), BTreeMap<(&'a Arm, Option<u64>), BTreeMap<&'a str, f64>>>;

struct Table<'a>(Risks<'a>);

impl<'a> Table<'a> {
    fn new(answers: &'a [Dressed], phase: Phase) -> Self {
        let mut risks = Risks::new();
        for answer in answers.iter().filter(|answer| answer.phase == phase) {
            if let Some(risk) = answer.risk.filter(|risk| (0.0..=1.0).contains(risk)) {
                let models = risks.entry((&answer.audit, answer.group, answer.trial)).or_default();
                models.entry((&answer.arm, answer.seed)).or_default().insert(&answer.family, risk);
            }
        }
        Table(risks)
    }
}

/// One audit's answers under one group of conditions.
#[derive(Clone, Copy)]
struct View<'a> {
    table: &'a Table<'a>,
    audit: &'a str,
    group: usize,
    seeds: &'a [u64],
}

impl View<'_> {
    fn risk(&self, arm: &Arm, seed: u64, trial: usize, family: &str) -> Option<f64> {
        let seed = if *arm == Arm::Base { None } else { Some(seed) };
        self.table.0.get(&(self.audit, self.group, trial))?.get(&(arm, seed))?.get(family).copied()
    }

    /// Risk under the condition less the mean risk under the random ones.
    fn contrast(&self, arm: &Arm, seed: u64, trial: usize, nulls: &[usize], family: &str) -> Option<f64> {
        let off = mean(nulls.iter().filter_map(|&null| self.risk(arm, seed, null, family)))?;
        Some(self.risk(arm, seed, trial, family)? - off)
    }

    /// The interaction, one value a seed and family; `None` where nothing was scored in all that it needs.
    fn grid(&self, trial: usize, nulls: &[usize]) -> Option<Grid> {
        let models = self.table.0.get(&(self.audit, self.group, trial))?;
        let families: BTreeSet<&str> = models.values().flat_map(BTreeMap::keys).copied().collect();
        let value = |seed: u64, family: &str| {
            let of = |arm: Arm| self.contrast(&arm, seed, trial, nulls, family);
            Some(of(Arm::Candidate)? - of(Arm::Control)?)
        };
        let rows = self.seeds.iter().map(|&seed| families.iter().map(|family| value(seed, family)).collect()).collect();
        let families: Vec<String> = families.iter().map(|family| (*family).to_owned()).collect();
        Grid::new(self.seeds, &families, rows)
    }

    /// What the random conditions reach, each held against the others.
    fn strongest_null(&self, nulls: &[usize]) -> Option<f64> {
        let others = |null: usize| nulls.iter().copied().filter(|&other| other != null).collect::<Vec<_>>();
        nulls.iter().filter_map(|&null| Some(self.grid(null, &others(null))?.mean())).max_by(f64::total_cmp)
    }

    /// An arm's mean risk under the condition, and under the random ones.
    fn risks(&self, arm: &Arm, trial: usize, nulls: &[usize]) -> (f64, f64) {
        let of = |trial: usize| {
            let models = self.table.0.get(&(self.audit, self.group, trial));
            let own = models.into_iter().flatten().filter(|((of, _), _)| *of == arm).flat_map(|(_, families)| families.values());
            mean(own.copied())
        };
        (of(trial).unwrap_or(f64::NAN), mean(nulls.iter().filter_map(|&null| of(null))).unwrap_or(f64::NAN))
    }
}
