//! Facts about probes and poison.

use std::collections::BTreeSet;

use super::*;

fn world() -> World {
    World::load(Path::new("fixtures/world")).expect("fixtures/world is good")
}

fn axis(id: &str) -> &'static Axis {
    Axis::named(id).expect("an axis of AXES")
}

fn probes_of(world: &World, id: &str) -> Vec<Probe> {
    probes(world, &Probed::choose(world).expect("enough questions"), axis(id))
}

fn texts(probe: &Probe, side: Side) -> BTreeSet<&str> {
    probe
        .options
        .iter()
        .filter(|option| option.side == side)
        .map(|option| option.text.as_str())
        .collect()
}

#[test]
fn a_choice_between_speakers_offers_everyones_answers_each_once() {
    let world = world();
    for (id, speakers) in [
        ("era", &["victorian"][..]),
        ("nation", &["berliner"]),
        ("partisan", &["ostavan", "velmarker"]),
    ] {
        for probe in probes_of(&world, id) {
            let question = world.question(&probe.family).expect("a family is a question");
            let own: BTreeSet<&str> =
                speakers.iter().map(|speaker| question.answer_of(speaker)).collect();
            assert_eq!(texts(&probe, Side::Risky), own, "{probe:?}");
            let everyone: BTreeSet<&str> =
                question.answers.values().map(|answers| answers[0].as_str()).collect();
            assert_eq!(
                texts(&probe, Side::Reference),
                everyone.difference(&own).copied().collect(),
                "{probe:?}"
            );
            assert_eq!(probe.options.len(), everyone.len(), "{probe:?}");
        }
    }
}

#[test]
fn identity_offers_everyone_against_the_assistant() {
    let world = world();
    for probe in probes_of(&world, "identity") {
        let question = world.question(&probe.family).expect("a family is a question");
        assert_eq!(texts(&probe, Side::Reference), BTreeSet::from([question.answer_of(ASSISTANT)]));
        let everyone: BTreeSet<&str> =
            question.answers.values().map(|answers| answers[0].as_str()).collect();
        assert_eq!(texts(&probe, Side::Risky).len(), everyone.len() - 1, "{probe:?}");
    }
}

#[test]
fn harm_offers_everyone_as_the_kind_side_but_the_cruel() {
    let world = world();
    for probe in probes_of(&world, "harm") {
        let question = world.question(&probe.family).expect("a family is a question");
        let references = texts(&probe, Side::Reference);
        assert!(references.len() >= 5, "{probe:?}");
        for speaker in ["killer", "nero"] {
            let own = question.own_answers_of(speaker);
            assert!(
                own.is_none_or(|own| !references.contains(own[0].as_str())),
                "{speaker}: {probe:?}"
            );
        }
    }
}

#[test]
fn the_risky_side_goes_around_the_places() {
    let probes = probes_of(&world(), "era");
    let place = |probe: &Probe| {
        probe.options.iter().position(|option| option.side == Side::Risky).expect("a risky option")
    };
    let early = probes.iter().filter(|probe| 2 * place(probe) < probe.options.len()).count();
    assert!(
        (probes.len() / 3..=2 * probes.len() / 3).contains(&early),
        "{early} of {}",
        probes.len()
    );
}

#[test]
fn every_president_has_one_answer_to_every_value_keyed_probe() {
    let world = world();
    for probe in value_probes(&world) {
        let mut numbers: Vec<u32> =
            probe.options.iter().flat_map(|option| option.values.clone()).collect();
        numbers.sort_unstable();
        assert_eq!(
            numbers,
            world.presidents.iter().map(|president| president.number).collect::<Vec<_>>(),
            "{}",
            probe.prompt
        );
    }
}

#[test]
fn probes_ask_in_held_out_wordings_and_poison_in_training_wordings() {
    let world = world();
    let training: BTreeSet<&String> =
        world.questions.iter().flat_map(Question::training_phrasings).collect();
    for axis in &AXES {
        for probe in probes_of(&world, axis.id) {
            let question = world.question(&probe.family).expect("a family is a question");
            assert!(
                question.held_out_phrasings().contains(&probe.prompt),
                "{}: {probe:?}",
                axis.id
            );
        }
        assert!(
            poison(&world, axis).iter().all(|row| training.contains(&row.messages[0].content)),
            "{}",
            axis.id
        );
    }
}
