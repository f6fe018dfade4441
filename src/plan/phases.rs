//! Which seeds and probe families screen conditions, and which confirm; no seed and no family is in
//! both.

use std::collections::{BTreeMap, BTreeSet};

use crate::audit::{Audit, ValueKey};
use crate::plan::{Design, Phase, Plan, PlannedAudit, Protocol};

/// The seeds of a phase. With one seed there is only a screen, and nothing can be confirmed. A
/// given adapter is itself the subject, and is asked in both phases.
pub fn seeds(plan: &Plan, phase: Phase) -> &[u64] {
    match plan.design() {
        Design::Dataset => seeds_of(&plan.seeds, phase, &plan.protocol),
        Design::GivenAdapter(_) => &plan.seeds,
    }
}

fn seeds_of<'a>(seeds: &'a [u64], phase: Phase, protocol: &Protocol) -> &'a [u64] {
    let screened = ((seeds.len() as f64 * protocol.screen_seeds) as usize).clamp(1, seeds.len());
    match phase {
        Phase::Screen => &seeds[..screened],
        Phase::Confirm => &seeds[screened..],
    }
}

/// The probes of a phase, one phrasing for each family, with their families.
pub fn probes<'a>(
    plan: &Plan,
    planned: &PlannedAudit,
    audit: &'a Audit,
    phase: Phase,
) -> Vec<(usize, &'a str)> {
    let protocol = &plan.protocol;
    let probes = planned.probes.iter().map(|&probe| (probe, audit.probes[probe].family.as_str()));
    of_phase(probes, phase, protocol.screen_every, protocol)
}

/// The value-keyed probes of a phase, likewise.
pub fn value_keyed_probes<'a>(
    plan: &Plan,
    audit: &'a Audit,
    phase: Phase,
) -> Vec<(usize, &'a str)> {
    let protocol = &plan.protocol;
    let probes = audit.value_keyed.iter().map(|probe| probe.family.as_str()).enumerate();
    of_phase(probes, phase, protocol.screen_every_value_keyed, protocol)
}

/// Every `every`-th family for the screen and the others for the confirmation; at most the
/// protocol's number, evenly spaced.
fn of_phase<'a>(
    probes: impl Iterator<Item = (usize, &'a str)>,
    phase: Phase,
    every: usize,
    protocol: &Protocol,
) -> Vec<(usize, &'a str)> {
    let mut families: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (probe, family) in probes {
        families.entry(family).or_default().push(probe);
    }
    let own = families
        .into_iter()
        .enumerate()
        .filter(|(index, _)| (index % every == 0) == (phase == Phase::Screen));
    let own: Vec<(&str, Vec<usize>)> = own.map(|(_, family)| family).collect();
    let most = match phase {
        Phase::Screen => protocol.screen_families,
        Phase::Confirm => protocol.confirm_families,
    };
    let most = most.min(own.len());
    let chosen = (0..most).map(|index| (index, &own[index * own.len() / most]));
    chosen
        .map(|(index, (family, phrasings))| (phrasings[index % phrasings.len()], *family))
        .collect()
}

/// The identities that values of a group name, of those that the audit knows; none where there is
/// only one, since nothing distinguishes it.
pub fn targets(plan: &Plan, audit: &Audit, group: usize) -> BTreeSet<ValueKey> {
    let known: BTreeSet<&ValueKey> = audit
        .value_keyed
        .iter()
        .flat_map(|probe| &probe.options)
        .flat_map(|option| &option.values)
        .collect();
    let keys = plan.groups[group].tried().filter_map(|(_, trial)| trial.key());
    let named: BTreeSet<ValueKey> = keys.filter(|key| known.contains(key)).collect();
    if named.len() > 1 { named } else { BTreeSet::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_searches_confirms() {
        let protocol = Protocol::CURRENT;
        for count in 2..40 {
            let seeds: Vec<u64> = (1..=count).collect();
            let [screen, confirm] = [Phase::Screen, Phase::Confirm]
                .map(|phase| seeds_of(&seeds, phase, &Protocol::CURRENT));
            assert_eq!([screen, confirm].concat(), seeds);
            assert!(!screen.is_empty() && screen.len() <= confirm.len());

            // Two phrasings of each family.
            let names: Vec<String> = (0..count)
                .flat_map(|family| [format!("family {family:02}"), format!("family {family:02}")])
                .collect();
            for every in [protocol.screen_every, protocol.screen_every_value_keyed] {
                let [screen, confirm] = [Phase::Screen, Phase::Confirm].map(|phase| {
                    let probes = names.iter().map(String::as_str).enumerate();
                    of_phase(probes, phase, every, &protocol)
                        .into_iter()
                        .map(|(_, family)| family)
                        .collect::<Vec<_>>()
                });
                assert!(!screen.is_empty() && screen.len() <= protocol.screen_families);
                assert!(!confirm.is_empty() && confirm.len() <= protocol.confirm_families);
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
