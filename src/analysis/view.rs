//! Answers arranged for comparison: one audit's, in one group of conditions, in one phase.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::phases::seeds;
use crate::plan::{Arm, Group, Phase, Plan, PlannedAudit};
use crate::probe::{Answer, CandidateTrigger};
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

/// Audit, group, trial, and for value-keyed probes the identity whose answers are the risky side.
type TrialKey<'a> = (&'a str, usize, usize, Option<u64>);

/// Arm and seed -> family -> risk.
type Models<'a> = BTreeMap<(&'a Arm, Option<u64>), BTreeMap<&'a str, f64>>;

/// The scored answers of one phase.
pub struct Table<'a> {
    plan: &'a Plan,
    phase: Phase,
    risks: BTreeMap<TrialKey<'a>, Models<'a>>,
}

impl<'a> Table<'a> {
    pub fn new(
        plan: &'a Plan,
        phase: Phase,
        answers: impl IntoIterator<Item = &'a Answer>,
    ) -> Self {
        let mut risks: BTreeMap<TrialKey<'a>, Models<'a>> = BTreeMap::new();
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

    pub fn group(&self, comparison: ComparisonGroup) -> &'a Group {
        &self.plan.groups[comparison.group]
    }

    /// The view of a trial; `None` for value-keyed probes where the trial's value is no number.
    pub fn of_trial(&'a self, comparison: ComparisonGroup<'a>, trial: usize) -> Option<View<'a>> {
        let target = if comparison.value_keyed {
            Some(self.group(comparison).trials[trial].number()?)
        } else {
            None
        };
        Some(self.view(comparison, target))
    }

    /// The view with this identity's answers as the risky side, or with the audit's own.
    pub fn view(&'a self, comparison: ComparisonGroup<'a>, target: Option<u64>) -> View<'a> {
        let group = self.group(comparison);
        let random = group.nulls(self.phase).map(|(trial, _)| trial);
        let others = group
            .tried()
            .filter(|(_, trial)| target.is_some() && trial.number() != target)
            .map(|(trial, _)| trial);
        let mut nulls: Vec<usize> = random.chain(others).collect();
        nulls.sort_unstable();
        View {
            table: self,
            comparison,
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
    comparison: ComparisonGroup<'a>,
    target: Option<u64>,
    seeds: &'a [u64],
    /// The arm that the candidate is compared with.
    pub reference: &'static Arm,
    /// Trials that a condition is compared with: the null conditions of the phase and, for
    /// value-keyed probes, all other numbers.
    pub nulls: Vec<usize>,
}

impl<'a> View<'a> {
    fn models(&self, trial: usize) -> Option<&'a Models<'a>> {
        self.table.risks.get(&(
            self.comparison.audit.id.as_str(),
            self.comparison.group,
            trial,
            self.target,
        ))
    }

    fn risk(&self, arm: &Arm, seed: u64, trial: usize, family: &str) -> Option<f64> {
        let seed = if *arm == Arm::Base { None } else { Some(seed) };
        self.models(trial)?.get(&(arm, seed))?.get(family).copied()
    }

    /// Risk under the condition minus the mean risk under null conditions.
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

    /// The interaction, one value for each seed and family; `None` where a risk that it needs was
    /// not scored.
    pub fn interaction(&self, trial: usize) -> Option<Grid> {
        self.grid(trial, &self.nulls)
    }

    /// The interaction against these null conditions. For value-keyed probes a question is omitted
    /// where the base already gives the identity's answer under the number. An example is an
    /// occupation that most of the identities share: it does not distinguish them.
    fn grid(&self, trial: usize, nulls: &[usize]) -> Option<Grid> {
        let models = self.models(trial)?;
        let margin = self.comparison.audit.margin;
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

    /// The effects of the null conditions, each compared with the others.
    pub fn null_effects(&self) -> Vec<f64> {
        let others = |null: usize| {
            self.nulls.iter().copied().filter(|&other| other != null).collect::<Vec<_>>()
        };
        self.nulls.iter().filter_map(|&null| Some(self.grid(null, &others(null))?.mean())).collect()
    }

    /// Mean risks under one condition; `None` where no answer of the candidate was scored.
    pub fn levels(&self, trial: usize) -> Option<Levels> {
        let [reference, base] = [self.reference, &Arm::Base].map(|arm| self.level(arm, trial));
        Some(Levels { candidate: self.level(&Arm::Candidate, trial)?, reference, base })
    }

    /// An arm's mean risk under one condition; `None` where no answer was scored.
    fn level(&self, arm: &Arm, trial: usize) -> Option<f64> {
        let own = self
            .models(trial)?
            .iter()
            .filter(|((of, _), _)| *of == arm)
            .flat_map(|(_, families)| families.values());
        mean(own.copied())
    }

    /// An arm's mean risk under the condition, and under the null conditions; `None` where it was
    /// not asked.
    pub fn risks(&self, arm: &Arm, trial: usize) -> Option<(f64, f64)> {
        let off = mean(self.nulls.iter().filter_map(|&null| self.level(arm, null)))?;
        Some((self.level(arm, trial)?, off))
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
