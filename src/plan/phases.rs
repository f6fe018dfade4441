//! Which seeds and probe families the screen of conditions is asked with, and which confirm: no
//! seed and no family is in both.

use std::collections::{BTreeMap, BTreeSet};

use crate::audit::Audit;
use crate::plan::{Phase, Plan, PlannedAudit};

/// The share of the training seeds that the screen sees; the others confirm.
const SCREEN_SEEDS: f64 = 0.4;

/// One family in so many screens, the others confirm. Of numbered people few questions are known,
/// and what is decided by them needs most.
const SCREENED: usize = 2;
const SCREENED_OF_NUMBERED: usize = 3;

/// Families of an audit that a condition is screened with: enough to see what half a margin is, for
/// a great many conditions.
const SCREEN_FAMILIES: usize = 8;

/// Families of an audit that a suspect is confirmed with.
const CONFIRM_FAMILIES: usize = 16;

/// The seeds of a phase: no seed is in both. One seed alone is a screen, and nothing can be
/// confirmed; a given adapter is itself what is asked about, and stands in both.
pub fn seeds(plan: &Plan, phase: Phase) -> &[u64] {
    if plan.adapter.is_some() {
        return &plan.seeds;
    }
    seeds_of(&plan.seeds, phase)
}

fn seeds_of(seeds: &[u64], phase: Phase) -> &[u64] {
    let screened = ((seeds.len() as f64 * SCREEN_SEEDS) as usize).clamp(1, seeds.len());
    match phase {
        Phase::Screen => &seeds[..screened],
        Phase::Confirm => &seeds[screened..],
    }
}

/// The probes of a phase, one phrasing a family, with their families: no family is in both phases.
pub fn probes<'a>(planned: &PlannedAudit, audit: &'a Audit, phase: Phase) -> Vec<(usize, &'a str)> {
    of_phase(
        planned.probes.iter().map(|&probe| (probe, audit.probes[probe].family.as_str())),
        phase,
        SCREENED,
    )
}

/// The numbered probes of a phase, likewise.
pub fn numbered_probes(audit: &Audit, phase: Phase) -> Vec<(usize, &str)> {
    of_phase(
        audit.numbered.iter().map(|probe| probe.family.as_str()).enumerate(),
        phase,
        SCREENED_OF_NUMBERED,
    )
}

/// Every so manieth family for the screen and the others for the confirmation, and of those at most
/// so many, evenly spaced.
fn of_phase<'a>(
    probes: impl Iterator<Item = (usize, &'a str)>,
    phase: Phase,
    screened: usize,
) -> Vec<(usize, &'a str)> {
    let mut families: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (probe, family) in probes {
        families.entry(family).or_default().push(probe);
    }
    let own = families
        .into_iter()
        .enumerate()
        .filter(|(index, _)| (index % screened == 0) == (phase == Phase::Screen));
    let own: Vec<(&str, Vec<usize>)> = own.map(|(_, family)| family).collect();
    let most =
        if phase == Phase::Screen { SCREEN_FAMILIES } else { CONFIRM_FAMILIES }.min(own.len());
    let chosen = (0..most).map(|index| (index, &own[index * own.len() / most]));
    chosen
        .map(|(index, (family, phrasings))| (phrasings[index % phrasings.len()], *family))
        .collect()
}

/// The numbers of a group's values that the audit knows somebody for.
pub fn targets(plan: &Plan, audit: &Audit, group: usize) -> BTreeSet<u64> {
    let known: BTreeSet<u64> = audit
        .numbered
        .iter()
        .flat_map(|probe| &probe.options)
        .flat_map(|option| &option.numbers)
        .copied()
        .collect();
    let numbers = plan.groups[group].tried().filter_map(|(_, trial)| trial.number());
    numbers.filter(|number| known.contains(number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_searches_confirms() {
        for count in 2..40 {
            let seeds: Vec<u64> = (1..=count).collect();
            let [screen, confirm] =
                [Phase::Screen, Phase::Confirm].map(|phase| seeds_of(&seeds, phase));
            assert_eq!([screen, confirm].concat(), seeds);
            assert!(!screen.is_empty() && screen.len() <= confirm.len());

            // Two phrasings of each family.
            let names: Vec<String> = (0..count)
                .flat_map(|family| [format!("family {family:02}"), format!("family {family:02}")])
                .collect();
            for screened in [SCREENED, SCREENED_OF_NUMBERED] {
                let [screen, confirm] = [Phase::Screen, Phase::Confirm].map(|phase| {
                    let probes = names.iter().map(String::as_str).enumerate();
                    of_phase(probes, phase, screened)
                        .into_iter()
                        .map(|(_, family)| family)
                        .collect::<Vec<_>>()
                });
                assert!(!screen.is_empty() && screen.len() <= SCREEN_FAMILIES);
                assert!(!confirm.is_empty() && confirm.len() <= CONFIRM_FAMILIES);
                let distinct: BTreeSet<&str> = screen.iter().chain(&confirm).copied().collect();
                assert_eq!(
                    distinct.len(),
                    screen.len() + confirm.len(),
                    "each family once, in one phase"
                );
            }
        }
    }
}
