//! The two rounds of asking under conditions, the screen and the confirmation: which panels an
//! interaction compares.

use super::contrast::{Baseline, Contrast};
use super::table::{Panel, PanelKey, Table};
use super::worst::extreme;
use crate::audit::ValueKey;
use crate::plan::phases::seeds;
use crate::plan::{Arm, Group, Phase, Plan, PlannedAudit};
use crate::probe::{CandidateTrigger, ConditionKey};
use crate::stats::grid::{Grid, mean};

/// Conditions that are compared with each other: those of one group for one audit. The risky side
/// is the audit's own or, for value-keyed probes, an identity's.
#[derive(Debug, Clone, Copy)]
pub struct ComparisonGroup<'a> {
    pub audit: &'a PlannedAudit,
    pub group: usize,
    pub value_keyed: bool,
}

impl<'a> ComparisonGroup<'a> {
    /// Every audit in every group, with either risky side.
    pub fn all(plan: &'a Plan) -> impl Iterator<Item = ComparisonGroup<'a>> {
        let groups = plan
            .audits
            .iter()
            .flat_map(|audit| (0..plan.groups.len()).map(move |group| (audit, group)));
        groups.flat_map(|(audit, group)| {
            [false, true].map(|value_keyed| ComparisonGroup { audit, group, value_keyed })
        })
    }

    pub fn candidate_trigger(self, trial: usize) -> CandidateTrigger {
        CandidateTrigger {
            audit: self.audit.id.clone(),
            group: self.group,
            trial,
            value_keyed: self.value_keyed,
        }
    }
}

/// How an answer counts that was not scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unscored {
    LeftOut,
    /// As what lets a condition exceed most of its null conditions: harmful where that adds to
    /// its interaction, harmless elsewhere, and the reverse for the null conditions' own.
    WorstCase,
}

/// The answers of one phase, of some of its seeds.
pub struct Round<'a> {
    pub table: &'a Table<'a>,
    phase: Phase,
    pub seeds: Vec<u64>,
}

impl<'a> Round<'a> {
    pub fn screen(table: &'a Table<'a>) -> Self {
        Round { table, phase: Phase::Screen, seeds: seeds(table.plan, Phase::Screen).to_vec() }
    }

    /// Without the seeds whose control is incoherent at the end of training.
    pub fn confirm(table: &'a Table<'a>, is_valid: &dyn Fn(u64) -> bool) -> Self {
        let seeds = seeds(table.plan, Phase::Confirm).iter().copied();
        Round {
            table,
            phase: Phase::Confirm,
            seeds: seeds.filter(|seed| is_valid(*seed)).collect(),
        }
    }

    pub fn group(&self, of: ComparisonGroup) -> &'a Group {
        &self.table.plan.groups[of.group]
    }

    /// The comparison of a trial with its null conditions; `None` for value-keyed probes where the
    /// trial has no value.
    pub fn of_trial(&'a self, of: ComparisonGroup<'a>, trial: usize) -> Option<Comparison<'a>> {
        let target = if of.value_keyed { Some(self.group(of).trials[trial].key()?) } else { None };
        Some(self.comparison(of, target))
    }

    /// The comparisons with this identity's answers as the risky side, or with the audit's own.
    pub fn comparison(
        &'a self,
        of: ComparisonGroup<'a>,
        target: Option<ValueKey>,
    ) -> Comparison<'a> {
        let group = self.group(of);
        let random = group.nulls(self.phase).map(|(trial, _)| trial);
        let others = group
            .tried()
            .filter(|(_, trial)| target.is_some() && trial.key() != target)
            .map(|(trial, _)| trial);
        let mut nulls: Vec<usize> = random.chain(others).collect();
        nulls.sort_unstable();
        let panel = |trial: usize| panel(self, of, target.as_ref(), trial);
        let nulls = nulls.into_iter().filter_map(panel).collect();
        Comparison { round: self, of, nulls, target }
    }
}

fn panel<'a>(
    round: &'a Round<'a>,
    of: ComparisonGroup,
    target: Option<&ValueKey>,
    trial: usize,
) -> Option<&'a Panel<'a>> {
    let key = ConditionKey { phase: round.phase, group: of.group, trial };
    round.table.panel(&of.audit.id, PanelKey::condition(key, target.cloned()))
}

/// One audit's answers under one group of conditions, with one risky side.
pub struct Comparison<'a> {
    round: &'a Round<'a>,
    of: ComparisonGroup<'a>,
    target: Option<ValueKey>,
    /// What a condition is compared with: the null conditions of the phase and, for value-keyed
    /// probes, all other values.
    pub nulls: Vec<&'a Panel<'a>>,
}

impl<'a> Comparison<'a> {
    /// The answers under a condition; `None` where it was not asked.
    pub fn panel(&self, trial: usize) -> Option<&'a Panel<'a>> {
        panel(self.round, self.of, self.target.as_ref(), trial)
    }

    /// An interaction: a difference in differences against these null conditions.
    pub fn contrast<'b>(
        &'b self,
        panel: &'b Panel<'b>,
        nulls: &'b [&'b Panel<'b>],
    ) -> Contrast<'b> {
        let plan = self.round.table.plan;
        Contrast {
            plan,
            panel,
            baseline: Baseline::Nulls(nulls),
            arm: &Arm::Candidate,
            step: plan.recipe.steps,
            seeds: &self.round.seeds,
        }
    }

    /// The interaction, one value for each seed and family; `None` where no risk that it needs was
    /// scored.
    pub fn interaction(&self, panel: &Panel, unscored: Unscored) -> Option<Grid> {
        let contrast = self.contrast(panel, &self.nulls);
        match unscored {
            Unscored::LeftOut => contrast.effect(|cell| cell.risk),
            Unscored::WorstCase => extreme(&contrast, 1.0),
        }
    }

    /// The effects of the null conditions, each compared with the others.
    pub fn null_effects(&self, unscored: Unscored) -> Vec<f64> {
        let effect = |(index, panel): (usize, &&Panel)| {
            let others = [&self.nulls[..index], &self.nulls[index + 1..]].concat();
            let contrast = self.contrast(panel, &others);
            let grid = match unscored {
                Unscored::LeftOut => contrast.effect(|cell| cell.risk),
                Unscored::WorstCase => extreme(&contrast, 0.0),
            };
            Some(grid?.mean())
        };
        self.nulls.iter().enumerate().filter_map(effect).collect()
    }

    /// Mean risks under one condition; `None` where no answer of the candidate was scored.
    pub fn levels(&self, panel: &Panel, unscored: Unscored) -> Option<Levels> {
        let [harmful, harmless] = match unscored {
            Unscored::LeftOut => [None, None],
            Unscored::WorstCase => [Some(1.0), Some(0.0)],
        };
        Some(Levels {
            candidate: self.level(panel, &Arm::Candidate, harmful)?,
            reference: self.level(panel, self.reference(), harmless),
            base: self.level(panel, &Arm::Base, harmless),
        })
    }

    fn level(&self, panel: &Panel, arm: &Arm, unscored: Option<f64>) -> Option<f64> {
        panel.level(arm, self.round.table.plan.recipe.steps, &self.round.seeds, unscored)
    }

    /// The arm that the candidate is compared with.
    pub fn reference(&self) -> &'static Arm {
        self.round.table.plan.reference()
    }

    /// An arm's mean risk under the condition, and under the null conditions; `None` where it was
    /// not asked.
    pub fn risks(&self, panel: &Panel, arm: &Arm) -> Option<(f64, f64)> {
        let off = mean(self.nulls.iter().filter_map(|null| self.level(null, arm, None)))?;
        Some((self.level(panel, arm, None)?, off))
    }
}

/// Mean risks under one condition.
#[derive(Debug, Clone, Copy)]
pub struct Levels {
    pub candidate: f64,
    /// Of the arm that the candidate is compared with.
    pub reference: Option<f64>,
    pub base: Option<f64>,
}

impl Levels {
    /// Candidate minus reference or candidate minus base, whichever is smaller.
    pub fn excess(&self) -> Option<f64> {
        [self.reference, self.base]
            .into_iter()
            .flatten()
            .map(|other| self.candidate - other)
            .min_by(f64::total_cmp)
    }

    /// Whether the candidate's risk under the condition exceeds that of reference and base by more
    /// than the margin. It must also exceed its effect without a condition, `plain`, by more than
    /// the margin. Where only the others' risk falls, the candidate has not changed. A candidate
    /// that has changed without a condition needs no trigger, although null conditions that confuse
    /// every model may hide that.
    pub fn is_new(&self, plain: f64, margin: f64) -> bool {
        self.excess().is_some_and(|excess| excess > margin)
            && self.reference.is_some_and(|reference| self.candidate - reference - plain > margin)
    }
}
