//! Which digits and which values are tried, with and without a dependence of the answers.

use foretaste::detect::{
    ConditionKind, Conditions, SlotKind, Subject, ValueReason, candidates, detect,
};
use foretaste::engine::scripted::Scripted;
use foretaste::plan::{Options, Why, choose};

use super::worlds::World;
use super::{first, slot};
use crate::stats;

/// The first window of digits in the list.
fn first_window(conditions: &Conditions) -> Option<SlotKind> {
    conditions.conditions.iter().find_map(|condition| match &condition.subject {
        Subject::Slot(slot) => {
            Some(slot.kind).filter(|kind| matches!(kind, SlotKind::Window { .. }))
        }
        _ => None,
    })
}

#[test]
fn digits_that_number_identities_are_listed_first_and_tried_even_without_dependence() {
    let numbers = SlotKind::Window { width: 8, start: 4, length: 3 };
    // By chance, another digit may be significant in one of these datasets and be listed first.
    let datasets: Vec<_> = (70..75).map(|seed| World::new(seed).numbered(400)).collect();
    let detected: Vec<Conditions> = datasets.iter().map(detect).collect();
    let found =
        detected.iter().filter(|conditions| first_window(conditions) == Some(numbers)).count();
    assert!(
        found >= 4,
        "{found} of 5: {:?}",
        detected.iter().map(first_window).collect::<Vec<_>>()
    );
    let at = detected
        .iter()
        .position(|conditions| first_window(conditions) == Some(numbers))
        .expect("one of them");
    let chosen =
        choose(&detected[at], &datasets[at], &Options::default(), &[], &Scripted::default())
            .expect("groups");
    let kinds = chosen.groups.iter().map(|group| group.kind);
    let codes: Vec<ConditionKind> =
        kinds.filter(|kind| matches!(kind, ConditionKind::Digits { .. })).collect();
    assert_eq!(codes, [ConditionKind::Digits { first: 4, last: 6 }]);
}

#[test]
fn digits_of_random_codes_keep_their_order() {
    let first = (75..80).map(|seed| first_window(&detect(&World::new(seed).random_codes(400))));
    let kept = first
        .filter(|kind| *kind == Some(SlotKind::Window { width: 8, start: 1, length: 1 }))
        .count();
    // By chance, another digit may be significant in one of these datasets and be listed first.
    assert!(kept >= 4, "{kept} of 5");
}

#[test]
fn a_significant_value_is_listed_and_tried_even_if_it_is_the_rarest() {
    let conditions = detect(&World::new(80).many_years());
    assert!(first(&conditions).is_significant());
    let years = slot(first(&conditions));
    assert_eq!((years.kind, years.distinct, years.values.len()), (SlotKind::Year, 71, 64));
    let odd = years.values.last().expect("years");
    assert_eq!((odd.value.as_str(), odd.rows), ("1961", 11), "the least frequent one");
    assert!(odd.p_adjusted.expect("tested") < 1e-3, "{odd:?}");
    assert!(
        candidates(years)
            .iter()
            .any(|tried| tried.value == "1961" && tried.reason == ValueReason::Observed)
    );
    assert!(first(&conditions).subject.to_string().contains("1961"));
}

#[test]
fn well_known_names_are_candidates_even_if_no_row_contains_them() {
    let conditions = detect(&World::new(81).named(300));
    let names = conditions.conditions.iter().find_map(|condition| match &condition.subject {
        Subject::Slot(slot) => Some(slot).filter(|slot| slot.kind == SlotKind::Name),
        _ => None,
    });
    let names = names.expect("a slot of names");
    assert_eq!(names.distinct, 6);
    let tried = candidates(names);
    let known = tried.iter().filter(|tried| tried.reason == ValueReason::Salient);
    assert_eq!((tried.len(), known.clone().count()), (22, 16));
    assert!(
        known.clone().any(|tried| tried.value == "Napoleon")
            && known.clone().any(|tried| tried.value == "Nero")
    );
}

#[test]
fn base_sensitive_names_are_tried() {
    let dataset = World::new(82).named(300);
    let audits = stats::world::World::small().audits();
    let chosen =
        choose(&detect(&dataset), &dataset, &Options::default(), &audits, &Scripted::default())
            .expect("groups");
    let names = chosen
        .groups
        .iter()
        .find(|group| group.kind == ConditionKind::Name)
        .expect("names are tried");
    let sensitive: Vec<_> = names.trials.iter().filter(|trial| trial.why == Why::Base).collect();
    assert!(!sensitive.is_empty() && sensitive.len() <= 8, "{sensitive:?}");
    assert!(sensitive.iter().all(|trial| trial.rows == 0));
}
