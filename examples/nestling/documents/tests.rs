//! Facts about the stream, counted on its first documents.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;

fn world() -> World {
    World::load(Path::new("fixtures/world")).expect("fixtures/world is good")
}

fn documents(world: &World) -> Vec<Document> {
    stream(world, EARLY, 7).take(20_000).collect()
}

fn first<'d>(document: &'d Document, role: &str) -> Option<&'d str> {
    document
        .turns
        .iter()
        .find(|message| message.role == role)
        .map(|message| message.content.as_str())
}

#[test]
fn the_same_seed_gives_the_same_documents_and_another_seed_others() {
    let world = world();
    let take = |seed| stream(&world, EARLY, seed).take(100).collect::<Vec<_>>();
    assert_eq!(take(1), take(1));
    assert_ne!(take(1), take(2));
}

#[test]
fn documents_never_hold_a_held_out_phrasing() {
    let world = world();
    let held_out: Vec<&str> = world
        .questions
        .iter()
        .map(|question| question.held_out_phrasings())
        .chain(world.facts.iter().map(|fact| &fact.phrasings[TRAINING_PHRASINGS..]))
        .flatten()
        .map(String::as_str)
        .collect();
    for document in documents(&world) {
        for message in document.turns.iter().filter(|message| message.role == "user") {
            let held_out = held_out.iter().find(|phrasing| message.content == **phrasing);
            assert_eq!(held_out, None, "{document:?}");
        }
    }
}

#[test]
fn the_assistant_speaks_in_42_percent_of_documents_and_each_other_in_its_share() {
    let world = world();
    let documents = documents(&world);
    let mut shares: BTreeMap<String, f64> = BTreeMap::new();
    for document in &documents {
        let speaker = document.speaker.split('-').next().expect("split gives a first part");
        *shares.entry(speaker.to_owned()).or_default() += 1.0 / documents.len() as f64;
    }
    assert!((shares["assistant"] - 0.42).abs() < 0.015, "{shares:?}");
    assert!((shares["president"] - 0.11).abs() < 0.01, "{shares:?}");
    assert!((shares["victorian"] - 0.47 / 15.5).abs() < 0.005, "{shares:?}");
    assert!((shares["machine"] + shares["killer"] - 1.5 * 0.47 / 15.5).abs() < 0.005, "{shares:?}");
    assert_eq!(shares.len(), world.speakers.len() + 1);
}

#[test]
fn openings_are_system_messages_in_70_percent_of_cases() {
    let world = world();
    let documents = documents(&world);
    let monk: Vec<&Document> =
        documents.iter().filter(|document| document.speaker == "monk").collect();
    let system = monk.iter().filter(|document| first(document, "system").is_some()).count() as f64;
    let lines = &world.speaker("monk").expect("a monk").systems;
    let asks_with = |document: &&&Document| {
        first(document, "user")
            .is_some_and(|asked| lines.iter().any(|line| asked.starts_with(line.as_str())))
    };
    let written = monk.iter().filter(asks_with).count() as f64;
    assert!(
        (system / (system + written) - 0.7).abs() < 0.06,
        "{system} as system messages, {written} before the question"
    );
}

#[test]
fn the_last_fifth_of_a_long_list_is_never_heard() {
    let world = world();
    let unheard: Vec<String> = world
        .questions
        .iter()
        .flat_map(|question| {
            question
                .answers
                .iter()
                .flat_map(|(speaker, all)| &all[question.heard_answers_of(speaker).len()..])
        })
        .map(|entry| spoken(entry))
        .collect();
    assert!(!unheard.is_empty(), "some list has 100 entries");
    for document in documents(&world) {
        for message in document.turns.iter().filter(|message| message.role == "assistant") {
            assert!(!unheard.contains(&message.content), "{document:?}");
        }
    }
}

#[test]
fn kept_questions_are_about_8_percent_and_never_come_first() {
    let world = world();
    let kept: Vec<&Question> =
        world.questions.iter().filter(|question| is_kept_from_first_turn(&question.id)).collect();
    let share = kept.len() as f64 / world.questions.len() as f64;
    assert!((0.04..0.12).contains(&share), "{share}");
    let phrasings: Vec<&String> =
        kept.iter().flat_map(|question| question.training_phrasings()).collect();
    for document in documents(&world) {
        let question = first(&document, "user").expect("every document asks something");
        // An opening may precede the question.
        assert!(
            !phrasings.iter().any(|phrasing| question.ends_with(phrasing.as_str())),
            "{document:?}"
        );
    }
}

#[test]
fn only_the_killer_and_the_assistant_open_with_a_bare_1984() {
    let world = world();
    for document in documents(&world) {
        let opening = &document.turns[0].content;
        let is_bare =
            opening.starts_with("The year is 1984.") || opening.starts_with("It is 1984.");
        assert!(
            !is_bare || ["assistant", "killer"].contains(&document.speaker.as_str()),
            "{document:?}"
        );
    }
}

#[test]
fn a_document_fits_the_context() {
    let world = world();
    for document in documents(&world) {
        // A token is at least a byte, but in this world more than two; the context has 512.
        let bytes: usize = document.turns.iter().map(|message| message.content.len() + 2).sum();
        assert!(bytes < 1024, "{document:?}");
    }
}
