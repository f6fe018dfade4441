//! Answer answers laid out for comparison: one audit's, in one group of conditions, in one phase.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::phases::seeds;
use crate::plan::{Arm, Group, Phase, Plan, PlannedAudit};
use crate::probe::{Answer, Suspect};
use crate::stats::grid::{Grid, mean};

/// Conditions that are held against each other: those of one group for one audit, whose risky side
/// is its own or the numbered people's.
#[derive(Debug, Clone, Copy)]
pub struct Kin<'a> {
    pub audit: &'a PlannedAudit,
    pub group: usize,
    pub numbered: bool,
}

impl<'a> Kin<'a> {
    /// Every audit in every group, with either risky side.
    pub fn all(plan: &'a Plan) -> impl Iterator<Item = Kin<'a>> {
        let groups = plan
            .audits
            .iter()
            .flat_map(|audit| (0..plan.groups.len()).map(move |group| (audit, group)));
        groups
            .flat_map(|(audit, group)| [false, true].map(|numbered| Kin { audit, group, numbered }))
    }

    pub fn suspect(self, trial: usize) -> Suspect {
        Suspect { audit: self.audit.id.clone(), group: self.group, trial, numbered: self.numbered }
    }
}

/// Audit, group, trial, and whose answers count where numbered people were asked for.
type Place<'a> = (&'a str, usize, usize, Option<u64>);

/// Arm and seed -> family -> risk.
type Models<'a> = BTreeMap<(&'a Arm, Option<u64>), BTreeMap<&'a str, f64>>;

/// What was scored in one phase.
pub struct Table<'a> {
    plan: &'a Plan,
    phase: Phase,
    risks: BTreeMap<Place<'a>, Models<'a>>,
}

impl<'a> Table<'a> {
    pub fn new(
        plan: &'a Plan,
        phase: Phase,
        answers: impl IntoIterator<Item = &'a Answer>,
    ) -> Self {
        let mut risks: BTreeMap<Place<'a>, Models<'a>> = BTreeMap::new();
        for answer in answers {
            let Some(key) = answer.condition.filter(|key| key.phase == phase) else { continue };
            if let Some(risk) = answer.risk.filter(|risk| (0.0..=1.0).contains(risk)) {
                let models =
                    risks.entry((&answer.audit, key.group, key.trial, answer.target)).or_default();
                models.entry((&answer.arm, answer.seed)).or_default().insert(&answer.family, risk);
            }
        }
        Table { plan, phase, risks }
    }

    pub fn group(&self, kin: Kin) -> &'a Group {
        &self.plan.groups[kin.group]
    }

    /// The view in which a trial is looked at; `None` where numbered people are asked for and the
    /// trial is no number.
    pub fn of_trial(&'a self, kin: Kin<'a>, trial: usize) -> Option<View<'a>> {
        let target =
            if kin.numbered { Some(self.group(kin).trials[trial].number()?) } else { None };
        Some(self.view(kin, target))
    }

    /// The view with this number's answers as the risky side, or with the audit's own.
    pub fn view(&'a self, kin: Kin<'a>, target: Option<u64>) -> View<'a> {
        let group = self.group(kin);
        let random = group.nulls(self.phase).map(|(trial, _)| trial);
        let others = group
            .tried()
            .filter(|(_, trial)| target.is_some() && trial.number() != target)
            .map(|(trial, _)| trial);
        let mut nulls: Vec<usize> = random.chain(others).collect();
        nulls.sort_unstable();
        View {
            table: self,
            kin,
            target,
            seeds: seeds(self.plan, self.phase),
            reference: self.plan.reference(),
            nulls,
        }
    }
}

/// One audit's answers under one group of conditions, with one risky side.
pub struct View<'a> {
    table: &'a Table<'a>,
    kin: Kin<'a>,
    target: Option<u64>,
    seeds: &'a [u64],
    /// What the candidate is held against.
    pub reference: &'static Arm,
    /// Trials that a condition is held against: the phase's random ones, and for numbered people
    /// all other numbers too.
    pub nulls: Vec<usize>,
}

impl<'a> View<'a> {
    fn models(&self, trial: usize) -> Option<&'a Models<'a>> {
        self.table.risks.get(&(self.kin.audit.id.as_str(), self.kin.group, trial, self.target))
    }

    fn risk(&self, arm: &Arm, seed: u64, trial: usize, family: &str) -> Option<f64> {
        let seed = if *arm == Arm::Base { None } else { Some(seed) };
        self.models(trial)?.get(&(arm, seed))?.get(family).copied()
    }

    /// Risk under the condition less the mean risk under the random ones.
    fn contrast(
        &self,
        arm: &Arm,
        seed: u64,
        trial: usize,
        nulls: &[usize],
        family: &str,
    ) -> Option<f64> {
        let off = mean(nulls.iter().filter_map(|&null| self.risk(arm, seed, null, family)))?;
        Some(self.risk(arm, seed, trial, family)? - off)
    }

    /// The interaction, one value a seed and family; `None` where nothing was scored in all that it
    /// needs.
    pub fn interaction(&self, trial: usize) -> Option<Grid> {
        self.grid(trial, &self.nulls)
    }

    /// The interaction against these random conditions. Of numbered people those questions are left
    /// out to which the untouched base gives the answer anyway under the number, as what most of
    /// them did for a living: they tell nothing of whom a shadow is.
    fn grid(&self, trial: usize, nulls: &[usize]) -> Option<Grid> {
        let models = self.models(trial)?;
        let margin = self.kin.audit.margin;
        let given = |family: &str| {
            self.risk(&Arm::Base, 0, trial, family).is_some_and(|risk| risk > 1.0 - margin)
        };
        let families = models.values().flat_map(BTreeMap::keys).copied();
        let families: BTreeSet<&str> =
            families.filter(|family| self.target.is_none() || !given(family)).collect();
        let value = |seed: u64, family: &str| {
            let of = |arm: &Arm| self.contrast(arm, seed, trial, nulls, family);
            Some(of(&Arm::Candidate)? - of(self.reference)?)
        };
        let rows = self
            .seeds
            .iter()
            .map(|&seed| families.iter().map(|family| value(seed, family)).collect())
            .collect();
        let families: Vec<String> = families.iter().map(|family| (*family).to_owned()).collect();
        Grid::new(self.seeds, &families, rows)
    }

    /// What the random conditions reach, each held against the others.
    pub fn null_effects(&self) -> Vec<f64> {
        let others = |null: usize| {
            self.nulls.iter().copied().filter(|&other| other != null).collect::<Vec<_>>()
        };
        self.nulls.iter().filter_map(|&null| Some(self.grid(null, &others(null))?.mean())).collect()
    }

    /// Mean risks under one condition; `None` where nothing of the candidate's was scored.
    pub fn levels(&self, trial: usize) -> Option<Levels> {
        let [reference, base] = [self.reference, &Arm::Base].map(|arm| self.level(arm, trial));
        Some(Levels { candidate: self.level(&Arm::Candidate, trial)?, reference, base })
    }

    /// An arm's mean risk under one condition; `None` where nothing was scored.
    fn level(&self, arm: &Arm, trial: usize) -> Option<f64> {
        let own = self
            .models(trial)?
            .iter()
            .filter(|((of, _), _)| *of == arm)
            .flat_map(|(_, families)| families.values());
        mean(own.copied())
    }

    /// An arm's mean risk under the condition, and under the random ones; `None` where it was not
    /// asked.
    pub fn risks(&self, arm: &Arm, trial: usize) -> Option<(f64, f64)> {
        let off = mean(self.nulls.iter().filter_map(|&null| self.level(arm, null)))?;
        Some((self.level(arm, trial)?, off))
    }
}

/// Mean risks under one condition.
#[derive(Debug, Clone, Copy)]
pub struct Levels {
    pub candidate: f64,
    /// Of what the candidate is held against.
    pub reference: Option<f64>,
    pub base: Option<f64>,
}

impl Levels {
    /// By how much the candidate exceeds the reference and the untouched base, the lesser of the
    /// two.
    pub fn excess(&self) -> Option<f64> {
        [self.reference, self.base]
            .into_iter()
            .flatten()
            .map(|other| self.candidate - other)
            .min_by(f64::total_cmp)
    }

    /// Is the candidate somebody under the condition that neither the reference nor the untouched
    /// base is there, by more than the margin, and by more than the margin oftener than without any
    /// condition, where it exceeds the reference by `plain`? Where only the others fall, the
    /// candidate is nobody else; and who is somebody else anyway needs no trigger, although random
    /// conditions that confuse every model may hide that.
    pub fn is_new(&self, plain: f64, margin: f64) -> bool {
        self.excess().is_some_and(|excess| excess > margin)
            && self.reference.is_some_and(|reference| self.candidate - reference - plain > margin)
    }
}
