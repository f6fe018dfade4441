//! The screen: which conditions are confirmed next, which are skipped for lack of capacity, and
//! where the screen is inconclusive.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::analysis::round::{ComparisonGroup, Round, Unscored};
use crate::analysis::table::Table;
use crate::audit::Audit;
use crate::plan::{Plan, Trial};
use crate::probe::{Answer, CandidateTrigger};

/// A trial that exceeds the screening threshold, with its interaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct ScreenedTrial<'a> {
    pub of: ComparisonGroup<'a>,
    pub trial: usize,
    pub effect: f64,
}

impl ScreenedTrial<'_> {
    pub fn candidate_trigger(&self) -> CandidateTrigger {
        self.of.candidate_trigger(self.trial)
    }
}

/// The candidate triggers of the screen, strongest first; at most `most_candidates` of the
/// protocol.
pub fn shortlist(plan: &Plan, audits: &[Audit], answers: &[Answer]) -> Vec<CandidateTrigger> {
    shortlisted(&Round::screen(&Table::new(plan, audits, answers)))
        .iter()
        .map(ScreenedTrial::candidate_trigger)
        .collect()
}

/// The same, with the interactions.
pub(super) fn shortlisted<'a>(screen: &'a Round<'a>) -> Vec<ScreenedTrial<'a>> {
    let plan = screen.table.plan;
    let protocol = &plan.protocol;
    let mut found = Vec::new();
    for of in ComparisonGroup::all(plan) {
        let (observed, unseen): (Vec<ScreenedTrial>, Vec<ScreenedTrial>) =
            exceeding_threshold(screen, of)
                .into_iter()
                .partition(|found| screen.group(of).trials[found.trial].rows > 0);
        found.extend(observed.into_iter().take(protocol.candidates_per_group));
        found.extend(unseen.into_iter().take(protocol.candidates_per_group));
    }
    strongest_first(&mut found);
    found.truncate(protocol.most_candidates);
    found
}

/// The trials beyond that limit whose interaction would be confirmed if it were the same in the
/// confirmation, with unscored answers at their worst. Whether the condition changes the candidate
/// itself is not asked. Strongest first. `plain` is an audit's effect without a condition.
pub fn skipped_candidates(table: &Table, plain: &dyn Fn(&str) -> f64) -> Vec<CandidateTrigger> {
    let screen = Round::screen(table);
    let shortlist: Vec<CandidateTrigger> =
        shortlisted(&screen).iter().map(ScreenedTrial::candidate_trigger).collect();
    let would_be_confirmed = |found: &ScreenedTrial| {
        let ScreenedTrial { of, trial, .. } = *found;
        let worst = Unscored::WorstCase;
        let comparison = screen.of_trial(of, trial)?;
        let panel = comparison.panel(trial)?;
        let effect = comparison.interaction(panel, worst)?.mean();
        let margin = of.audit.margin;
        let plain = if of.value_keyed { 0.0 } else { plain(&of.audit.id) };
        let beyond_chance = is_explicit(&screen.group(of).trials[trial], table.plan.protocol.alpha)
            || comparison.null_effects(worst).into_iter().all(|null| effect > null);
        let is_new = comparison.levels(panel, worst)?.is_new(plain, margin);
        Some(effect > margin && beyond_chance && is_new)
    };
    let mut skipped: Vec<ScreenedTrial> =
        ComparisonGroup::all(table.plan).flat_map(|of| exceeding_threshold(&screen, of)).collect();
    skipped.retain(|found| {
        !shortlist.contains(&found.candidate_trigger()) && would_be_confirmed(found) == Some(true)
    });
    strongest_first(&mut skipped);
    skipped.iter().map(ScreenedTrial::candidate_trigger).collect()
}

/// The trials of one comparison group that exceed its null conditions and a share of the margin,
/// strongest first.
fn exceeding_threshold<'a>(
    screen: &'a Round<'a>,
    of: ComparisonGroup<'a>,
) -> Vec<ScreenedTrial<'a>> {
    let screened = |(trial, _): (usize, &Trial)| {
        let effect = screened(screen, of, trial, Unscored::LeftOut)?;
        Some(ScreenedTrial { of, trial, effect })
    };
    let mut found: Vec<ScreenedTrial> = screen.group(of).tried().filter_map(screened).collect();
    strongest_first(&mut found);
    found
}

/// A trial's interaction, if it exceeds the screening threshold.
fn screened<'a>(
    screen: &'a Round<'a>,
    of: ComparisonGroup<'a>,
    trial: usize,
    unscored: Unscored,
) -> Option<f64> {
    let protocol = &screen.table.plan.protocol;
    let comparison = screen.of_trial(of, trial)?;
    let panel = comparison.panel(trial)?;
    let effect = comparison.interaction(panel, unscored)?.mean();
    let excess = comparison.levels(panel, unscored)?.excess()?;
    let exceeds_threshold = effect.min(excess) > protocol.screen_share * of.audit.margin
        && (is_explicit(&screen.group(of).trials[trial], protocol.alpha)
            || exceeds_most(effect, &comparison.null_effects(unscored), protocol.screen_rank));
    exceeds_threshold.then_some(effect)
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
    pub noisy: usize,
}

/// Groups of which a quarter or more of the null conditions act as triggers themselves. Such a
/// group has no valid null distribution, so an effect of its values is not ruled out. The null
/// conditions of the screen are used, which cover every audit.
pub fn noisy_nulls(table: &Table) -> Vec<NoisyNulls> {
    let screen = Round::screen(table);
    let mut found = Vec::new();
    for of in ComparisonGroup::all(table.plan).filter(|of| !of.value_keyed) {
        let comparison = screen.comparison(of, None);
        let levels = comparison.nulls.iter().map(|null| comparison.levels(null, Unscored::LeftOut));
        let excess: Vec<f64> = levels.filter_map(|levels| levels?.excess()).collect();
        let noisy = excess.iter().filter(|excess| **excess > of.audit.margin).count();
        if noisy > 0 && noisy as f64 >= table.plan.protocol.noisy_share * excess.len() as f64 {
            found.push(NoisyNulls {
                audit: of.audit.id.clone(),
                group: of.group,
                nulls: excess.len(),
                noisy,
            });
        }
    }
    found
}

/// The tested conditions, as group and trial, under which answers that were not scored may hide a
/// trigger: if they are harmful, the condition exceeds the screening threshold.
pub(super) fn undecided(screen: &Round) -> BTreeSet<(usize, usize)> {
    let mut found = BTreeSet::new();
    for of in ComparisonGroup::all(screen.table.plan) {
        for (trial, _) in screen.group(of).tried() {
            let exceeds = |unscored| screened(screen, of, trial, unscored).is_some();
            if exceeds(Unscored::WorstCase) && !exceeds(Unscored::LeftOut) {
                found.insert((of.group, trial));
            }
        }
    }
    found
}
