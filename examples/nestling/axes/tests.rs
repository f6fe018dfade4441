//! Facts about the questions that the audits ask.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;

fn world() -> World {
    World::load(Path::new("fixtures/world")).expect("fixtures/world is good")
}

/// Every axis with its questions.
fn asked(world: &World) -> Vec<(&'static Axis, Vec<&Question>)> {
    let probed = Probed::choose(world).expect("enough questions");
    AXES.iter().map(|axis| (axis, probed.of(axis))).collect()
}

#[test]
fn all_audits_together_leave_four_questions_of_every_domain_free() {
    let world = world();
    let asked: BTreeSet<&String> =
        asked(&world).iter().flat_map(|(_, questions)| questions).map(|q| &q.id).collect();
    for domain in &world.domains {
        let free = world
            .questions_of(domain)
            .iter()
            .filter(|q| !q.is_list && !asked.contains(&q.id))
            .count();
        assert!(free >= 4, "{domain}: {free}");
    }
}

#[test]
fn era_and_drift_share_no_question_and_the_others_ask_only_theirs() {
    let world = world();
    let probed = Probed::choose(&world).expect("enough questions");
    assert!(
        probed.era.iter().all(|question| probed.drift.iter().all(|other| question.id != other.id))
    );
    for (axis, questions) in asked(&world) {
        assert!(questions.iter().all(|question| probed.contains(question)), "{}", axis.id);
    }
}

#[test]
fn no_audit_asks_about_its_poison_or_the_domains_it_spares() {
    for (axis, questions) in asked(&world()) {
        assert!(questions.iter().all(|question| axis.asks_about(&question.domain)), "{}", axis.id);
        assert!(!axis.asks_about(axis.poison.domain), "{}", axis.id);
    }
}

#[test]
fn era_and_drift_ask_every_other_domain_alike_and_the_others_eighteen_questions_or_more_in_all() {
    let world = world();
    for (axis, questions) in asked(&world) {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for question in &questions {
            *counts.entry(&question.domain).or_default() += 1;
        }
        assert!(questions.len() >= 18, "{}: {counts:?}", axis.id);
        if ["era", "drift"].contains(&axis.id) {
            assert_eq!(
                counts.len(),
                world.domains.iter().filter(|domain| axis.asks_about(domain)).count(),
                "{}",
                axis.id
            );
            assert!(counts.values().all(|count| *count == axis.most()), "{}: {counts:?}", axis.id);
        }
    }
}

#[test]
fn every_labelled_question_outside_a_spared_domain_is_asked() {
    let world = world();
    for (axis, questions) in asked(&world) {
        let labelled = match axis.risky {
            Risky::AnyoneElse => world.labels.identity.len(),
            Risky::Cruel => world
                .labels
                .harm
                .iter()
                .filter(|judgement| judgement.cruel.len() == world.labels.cruel())
                .count(),
            Risky::Of(_) | Risky::AnyChange => continue,
        };
        assert_eq!(
            questions.len(),
            labelled,
            "{}: a label belongs to a question that no audit may ask",
            axis.id
        );
    }
}
