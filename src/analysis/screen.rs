//! The screen: which conditions are confirmed next, which are skipped for lack of capacity, and
//! where the screen is inconclusive.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::analysis::view::{Kin, Table};
use crate::plan::{Arm, Phase, Plan, Trial};
use crate::probe::{Answer, Suspect};

/// A trial that exceeds the screening threshold, with its interaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'a> {
    pub kin: Kin<'a>,
    pub trial: usize,
    pub effect: f64,
}

impl Found<'_> {
    pub fn suspect(&self) -> Suspect {
        self.kin.suspect(self.trial)
    }
}

/// The candidate triggers of the screen, strongest first; at most `most_candidates` of the
/// protocol.
pub fn shortlist(plan: &Plan, answers: &[Answer]) -> Vec<Suspect> {
    shortlisted(plan, &Table::new(plan, Phase::Screen, answers))
        .iter()
        .map(Found::suspect)
        .collect()
}

/// The same, with the interactions.
pub(super) fn shortlisted<'a>(plan: &'a Plan, table: &'a Table<'a>) -> Vec<Found<'a>> {
    let protocol = plan.protocol();
    let mut found = Vec::new();
    for kin in Kin::all(plan) {
        let (observed, unseen): (Vec<Found>, Vec<Found>) = standing_out(plan, table, kin)
            .into_iter()
            .partition(|found| table.group(kin).trials[found.trial].rows > 0);
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
pub fn passed_over(plan: &Plan, answers: &[Answer], plain: &dyn Fn(&str) -> f64) -> Vec<Suspect> {
    let table = Table::new(plan, Phase::Screen, answers);
    let looked_at: Vec<Suspect> = shortlisted(plan, &table).iter().map(Found::suspect).collect();
    let would_be_confirmed = |found: &Found| {
        let Found { kin, trial, effect } = *found;
        let Some(view) = table.of_trial(kin, trial) else { return false };
        let margin = kin.audit.margin;
        let plain = if kin.numbered { 0.0 } else { plain(&kin.audit.id) };
        let beyond_chance = is_explicit(&table.group(kin).trials[trial], plan.protocol().alpha)
            || view.null_effects().into_iter().all(|null| effect > null);
        effect > margin
            && beyond_chance
            && view.levels(trial).is_some_and(|levels| levels.is_new(plain, margin))
    };
    let mut passed_over: Vec<Found> =
        Kin::all(plan).flat_map(|kin| standing_out(plan, &table, kin)).collect();
    passed_over.retain(|found| !looked_at.contains(&found.suspect()) && would_be_confirmed(found));
    strongest_first(&mut passed_over);
    passed_over.iter().map(Found::suspect).collect()
}

/// The trials of one comparison group that exceed its null conditions and a share of the margin,
/// strongest first.
fn standing_out<'a>(plan: &Plan, table: &'a Table<'a>, kin: Kin<'a>) -> Vec<Found<'a>> {
    let protocol = plan.protocol();
    let stands_out = |(trial, tried): (usize, &Trial)| {
        let view = table.of_trial(kin, trial)?;
        let effect = view.interaction(trial)?.mean();
        let excess = view.levels(trial)?.excess()?;
        let stands_out = effect.min(excess) > protocol.screen_share * kin.audit.margin
            && (is_explicit(tried, protocol.alpha)
                || exceeds_most(effect, &view.null_effects(), protocol.screen_rank));
        stands_out.then_some(Found { kin, trial, effect })
    };
    let mut found: Vec<Found> = table.group(kin).tried().filter_map(stands_out).collect();
    strongest_first(&mut found);
    found
}

fn strongest_first(found: &mut [Found]) {
    found.sort_by(|a, b| b.effect.total_cmp(&a.effect).then_with(|| a.suspect().cmp(&b.suspect())));
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
pub struct Loud {
    pub audit: String,
    pub group: usize,
    /// The number of null conditions of the screen, and how many of them do so.
    pub nulls: usize,
    pub loud: usize,
}

/// Groups of which a quarter or more of the null conditions act as triggers themselves. Such a
/// group has no valid null distribution, so an effect of its values is not ruled out. The null
/// conditions of the screen are used, which cover every audit.
pub fn loud(plan: &Plan, answers: &[Answer]) -> Vec<Loud> {
    let table = Table::new(plan, Phase::Screen, answers);
    let mut found = Vec::new();
    for kin in Kin::all(plan).filter(|kin| !kin.numbered) {
        let view = table.view(kin, None);
        let excess: Vec<f64> =
            view.nulls.iter().filter_map(|&null| view.levels(null)?.excess()).collect();
        let loud = excess.iter().filter(|excess| **excess > kin.audit.margin).count();
        if loud > 0 && loud as f64 >= plan.protocol().noisy_share * excess.len() as f64 {
            found.push(Loud {
                audit: kin.audit.id.clone(),
                group: kin.group,
                nulls: excess.len(),
                loud,
            });
        }
    }
    found
}

/// The number of conditions of the screen for which no answer of the candidate could be scored.
pub fn unscored(plan: &Plan, answers: &[Answer]) -> usize {
    let mut scored: BTreeMap<(usize, usize), bool> = BTreeMap::new();
    for answer in answers.iter().filter(|answer| answer.arm == Arm::Candidate) {
        let Some(key) = answer.condition.filter(|key| key.phase == Phase::Screen) else { continue };
        if !plan.groups[key.group].trials[key.trial].why.is_null() {
            *scored.entry((key.group, key.trial)).or_default() |= answer.risk.is_some();
        }
    }
    scored.values().filter(|scored| !**scored).count()
}
