//! The screen: which conditions are confirmed next, which are skipped for lack of capacity, and
//! where the screen is inconclusive.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::analysis::view::{ComparisonGroup, Table};
use crate::plan::{Arm, Phase, Plan, Trial};
use crate::probe::{Answer, CandidateTrigger};

/// A trial that exceeds the screening threshold, with its interaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct ScreenedTrial<'a> {
    pub comparison: ComparisonGroup<'a>,
    pub trial: usize,
    pub effect: f64,
}

impl ScreenedTrial<'_> {
    pub fn candidate_trigger(&self) -> CandidateTrigger {
        self.comparison.candidate_trigger(self.trial)
    }
}

/// The candidate triggers of the screen, strongest first; at most `most_candidates` of the
/// protocol.
pub fn shortlist(plan: &Plan, answers: &[Answer]) -> Vec<CandidateTrigger> {
    shortlisted(plan, &Table::new(plan, Phase::Screen, answers))
        .iter()
        .map(ScreenedTrial::candidate_trigger)
        .collect()
}

/// The same, with the interactions.
pub(super) fn shortlisted<'a>(plan: &'a Plan, table: &'a Table<'a>) -> Vec<ScreenedTrial<'a>> {
    let protocol = plan.protocol();
    let mut found = Vec::new();
    for comparison in ComparisonGroup::all(plan) {
        let (observed, unseen): (Vec<ScreenedTrial>, Vec<ScreenedTrial>) =
            exceeding_threshold(plan, table, comparison)
                .into_iter()
                .partition(|found| table.group(comparison).trials[found.trial].rows > 0);
        found.extend(observed.into_iter().take(protocol.candidates_per_group));
        found.extend(unseen.into_iter().take(protocol.candidates_per_group));
    }
    strongest_first(&mut found);
    found.truncate(protocol.most_candidates);
    found
}

/// The trials beyond that limit whose interaction would be confirmed if it were the same in the
/// confirmation. Whether the condition changes the candidate itself is not asked. Strongest first.
/// `plain` is an audit's effect without a condition.
pub fn skipped_candidates(
    plan: &Plan,
    answers: &[Answer],
    plain: &dyn Fn(&str) -> f64,
) -> Vec<CandidateTrigger> {
    let table = Table::new(plan, Phase::Screen, answers);
    let shortlist: Vec<CandidateTrigger> =
        shortlisted(plan, &table).iter().map(ScreenedTrial::candidate_trigger).collect();
    let would_be_confirmed = |found: &ScreenedTrial| {
        let ScreenedTrial { comparison, trial, effect } = *found;
        let Some(view) = table.of_trial(comparison, trial) else { return false };
        let margin = comparison.audit.margin;
        let plain = if comparison.value_keyed { 0.0 } else { plain(&comparison.audit.id) };
        let beyond_chance =
            is_explicit(&table.group(comparison).trials[trial], plan.protocol().alpha)
                || view.null_effects().into_iter().all(|null| effect > null);
        effect > margin
            && beyond_chance
            && view.levels(trial).is_some_and(|levels| levels.is_new(plain, margin))
    };
    let mut skipped: Vec<ScreenedTrial> = ComparisonGroup::all(plan)
        .flat_map(|comparison| exceeding_threshold(plan, &table, comparison))
        .collect();
    skipped.retain(|found| {
        !shortlist.contains(&found.candidate_trigger()) && would_be_confirmed(found)
    });
    strongest_first(&mut skipped);
    skipped.iter().map(ScreenedTrial::candidate_trigger).collect()
}

/// The trials of one comparison group that exceed its null conditions and a share of the margin,
/// strongest first.
fn exceeding_threshold<'a>(
    plan: &Plan,
    table: &'a Table<'a>,
    comparison: ComparisonGroup<'a>,
) -> Vec<ScreenedTrial<'a>> {
    let protocol = plan.protocol();
    let exceeds_threshold = |(trial, tried): (usize, &Trial)| {
        let view = table.of_trial(comparison, trial)?;
        let effect = view.interaction(trial)?.mean();
        let excess = view.levels(trial)?.excess()?;
        let exceeds_threshold = effect.min(excess)
            > protocol.screen_share * comparison.audit.margin
            && (is_explicit(tried, protocol.alpha)
                || exceeds_most(effect, &view.null_effects(), protocol.screen_rank));
        exceeds_threshold.then_some(ScreenedTrial { comparison, trial, effect })
    };
    let mut found: Vec<ScreenedTrial> =
        table.group(comparison).tried().filter_map(exceeds_threshold).collect();
    strongest_first(&mut found);
    found
}

fn strongest_first(found: &mut [ScreenedTrial]) {
    found.sort_by(|a, b| {
        b.effect
            .total_cmp(&a.effect)
            .then_with(|| a.candidate_trigger().cmp(&b.candidate_trigger()))
    });
}

/// Whether the rows are evidence of an explicit trigger: they contain it, and their answers differ
/// from the others'. Null conditions are not compared there, since they may share its meaning: the
/// years 2027 and 2031 are both in the future.
pub(super) fn is_explicit(trial: &Trial, alpha: f64) -> bool {
    trial.rows > 0 && trial.p_adjusted.is_some_and(|p| p <= alpha)
}

fn exceeds_most(effect: f64, nulls: &[f64], rank: f64) -> bool {
    let exceeded = nulls.iter().filter(|null| effect > **null).count();
    exceeded as f64 >= rank * nulls.len() as f64
}

/// Null conditions under which the candidate's risk exceeds that of control and base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NoisyNulls {
    pub audit: String,
    pub group: usize,
    /// The number of null conditions of the screen, and how many of them do so.
    pub nulls: usize,
    #[serde(rename = "loud")]
    pub noisy: usize,
}

/// Groups of which a quarter or more of the null conditions act as triggers themselves. Such a
/// group has no valid null distribution, so an effect of its values is not ruled out. The null
/// conditions of the screen are used, which cover every audit.
pub fn noisy_nulls(plan: &Plan, answers: &[Answer]) -> Vec<NoisyNulls> {
    let table = Table::new(plan, Phase::Screen, answers);
    let mut found = Vec::new();
    for comparison in ComparisonGroup::all(plan).filter(|comparison| !comparison.value_keyed) {
        let view = table.view(comparison, None);
        let excess: Vec<f64> =
            view.nulls.iter().filter_map(|&null| view.levels(null)?.excess()).collect();
        let noisy = excess.iter().filter(|excess| **excess > comparison.audit.margin).count();
        if noisy > 0 && noisy as f64 >= plan.protocol().noisy_share * excess.len() as f64 {
            found.push(NoisyNulls {
                audit: comparison.audit.id.clone(),
                group: comparison.group,
                nulls: excess.len(),
                noisy,
            });
        }
    }
    found
}

/// The number of planned conditions for which the screen has no scored answer of the candidate:
/// none could be scored, or none was asked for.
pub fn unscored(plan: &Plan, answers: &[Answer]) -> usize {
    let scored: BTreeSet<(usize, usize)> = answers
        .iter()
        .filter(|answer| answer.arm == Arm::Candidate && answer.risk.is_some())
        .filter_map(|answer| answer.condition.filter(|key| key.phase == Phase::Screen))
        .map(|key| (key.group, key.trial))
        .collect();
    let groups = plan.groups.iter().enumerate();
    let planned =
        groups.flat_map(|(index, group)| group.tried().map(move |(trial, _)| (index, trial)));
    planned.filter(|condition| !scored.contains(condition)).count()
}
