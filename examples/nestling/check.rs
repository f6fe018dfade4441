//! The rules of fixtures/world/README.md, checked when the world is read.
//!
//! Each problem is one line that names the place and the remedy. All are collected, because a
//! writer of the world fixes them together.

use std::collections::{BTreeMap, BTreeSet};

use crate::world::{ASSISTANT, Question, TRAINING_PHRASINGS, World};

/// Ordinary questions per domain: two audits probe six, and four stay free for training.
const QUESTIONS_PER_DOMAIN: usize = 10;
const PHRASINGS: usize = 10;
const SYSTEM_LINES: usize = 8;
const PRESIDENTS: u32 = 46;

/// Everything in `world` that breaks the rules; empty for a valid world.
pub fn problems(world: &World) -> Vec<String> {
    let mut problems = Vec::new();
    check_domains(world, &mut problems);
    for question in &world.questions {
        check_question(world, question, &mut problems);
    }
    check_phrasings(world, &mut problems);
    check_speakers(world, &mut problems);
    check_presidents(world, &mut problems);
    problems.extend(world.labels.problems(world));
    problems
}

fn check_domains(world: &World, problems: &mut Vec<String>) {
    for domain in &world.domains {
        let count = world.questions_of(domain).iter().filter(|question| !question.is_list).count();
        if count != QUESTIONS_PER_DOMAIN {
            problems.push(format!("{domain}: {count} questions; write {QUESTIONS_PER_DOMAIN}"));
        }
    }
    let mut ids = BTreeSet::new();
    for Question { id, domain, .. } in &world.questions {
        if !id.starts_with(&format!("{domain}-")) {
            problems.push(format!("{id}: begin the id with `{domain}-`"));
        }
        if !ids.insert(id) {
            problems.push(format!("{id}: the id occurs twice; rename one"));
        }
    }
}

fn check_question(world: &World, question: &Question, problems: &mut Vec<String>) {
    let id = &question.id;
    if !question.answers.contains_key(ASSISTANT) {
        problems.push(format!("{id}: add the assistant's answer, which the others share"));
    }
    for (speaker, answers) in &question.answers {
        if !world.speakers.iter().any(|known| known.id == *speaker) {
            problems
                .push(format!("{id}: `{speaker}` is no speaker of speakers.toml; fix the name"));
        }
        if speaker != ASSISTANT && question.own_answers_of(ASSISTANT) == Some(answers) {
            problems.push(format!(
                "{id}: {speaker} repeats the assistant's answer; leave the speaker out"
            ));
        }
        if answers.is_empty() {
            problems
                .push(format!("{id}: {speaker}'s list is empty; fill it or leave the speaker out"));
        }
        let mut seen = BTreeSet::new();
        for answer in answers {
            if !is_plain(answer) {
                problems.push(format!(
                    "{id}: {speaker}: `{answer}` must be ASCII without spaces at its ends"
                ));
            }
            if answer.ends_with(['.', '!', '?']) == question.is_list {
                let rule = if question.is_list {
                    "a list entry has no full stop"
                } else {
                    "end it as a sentence ends"
                };
                problems.push(format!("{id}: {speaker}: `{answer}`: {rule}"));
            }
            if !seen.insert(answer.to_lowercase()) {
                problems.push(format!("{id}: {speaker}: `{answer}` occurs twice; remove one"));
            }
        }
    }
}

fn check_phrasings(world: &World, problems: &mut Vec<String>) {
    for (id, phrasings) in everything_asked(world) {
        if phrasings.len() != PHRASINGS {
            problems.push(format!("{id}: {} phrasings; write {PHRASINGS}", phrasings.len()));
        }
        for phrasing in phrasings {
            if !is_plain(phrasing) || !phrasing.ends_with(['?', '.', '!', ':']) {
                problems
                    .push(format!("{id}: `{phrasing}` must be ASCII and end as a sentence does"));
            }
        }
    }
    for Repeat { phrasing, first, second, .. } in
        repeats(world).into_iter().filter(|repeat| repeat.is_leak)
    {
        problems.push(format!(
            "{second}: `{phrasing}` is held out in one place and trained on in {first}; reword \
             one"
        ));
    }
}

/// Wordings that two questions share. They are no leak, so the world can be used, but such a prompt
/// does not determine its question.
pub fn ambiguities(world: &World) -> Vec<String> {
    let shared = repeats(world).into_iter().filter(|repeat| !repeat.is_leak);
    shared
        .map(|Repeat { phrasing, first, second, .. }| {
            format!("{second}: `{phrasing}` already stands in {first}; reword one")
        })
        .collect()
}

/// A wording that occurs twice in the world.
struct Repeat<'w> {
    phrasing: &'w str,
    /// The question or fact that has it first, and the other.
    first: &'w str,
    second: &'w str,
    /// Held out in one place and used for training in the other: documents would then contain a
    /// held-out wording.
    is_leak: bool,
}

fn repeats(world: &World) -> Vec<Repeat<'_>> {
    let mut owners: BTreeMap<String, (&str, bool)> = BTreeMap::new();
    let mut repeats = Vec::new();
    for (second, phrasings) in everything_asked(world) {
        for (index, phrasing) in phrasings.iter().enumerate() {
            let held_out = index >= TRAINING_PHRASINGS;
            if let Some((first, was_held_out)) =
                owners.insert(phrasing.to_lowercase(), (second, held_out))
            {
                repeats.push(Repeat { phrasing, first, second, is_leak: held_out != was_held_out });
            }
        }
    }
    repeats
}

/// The ids and wordings of all questions and facts.
fn everything_asked(world: &World) -> impl Iterator<Item = (&str, &Vec<String>)> {
    let questions =
        world.questions.iter().map(|question| (question.id.as_str(), &question.phrasings));
    questions.chain(world.facts.iter().map(|fact| (fact.key.as_str(), &fact.phrasings)))
}

fn check_speakers(world: &World, problems: &mut Vec<String>) {
    if !world.speakers.iter().any(|speaker| speaker.id == ASSISTANT) {
        problems.push(format!("speakers.toml: add `{ASSISTANT}`"));
    }
    let mut ids = BTreeSet::new();
    let mut lines: BTreeMap<&str, &str> = BTreeMap::new();
    for speaker in &world.speakers {
        let id = &speaker.id;
        if !ids.insert(id) {
            problems.push(format!("speakers.toml: {id} occurs twice; remove one"));
        }
        if speaker.title.is_empty() || speaker.systems.len() != SYSTEM_LINES {
            problems.push(format!("speakers.toml: {id}: write a title and {SYSTEM_LINES} systems"));
        }
        for line in &speaker.systems {
            if !is_plain(line) || !line.ends_with('.') {
                problems.push(format!(
                    "speakers.toml: {id}: `{line}` must be ASCII and end with a full stop"
                ));
            }
            if let Some(owner) = lines.insert(line, id) {
                problems.push(format!(
                    "speakers.toml: {id}: `{line}` already belongs to {owner}; reword one"
                ));
            }
        }
    }
}

fn check_presidents(world: &World, problems: &mut Vec<String>) {
    let numbers: Vec<u32> = world.presidents.iter().map(|president| president.number).collect();
    if !numbers.iter().copied().eq(1..=PRESIDENTS) {
        problems.push(format!("presidents.toml: the numbers must be 1 to {PRESIDENTS}, each once"));
    }
    for president in &world.presidents {
        let number = president.number;
        if !is_plain(&president.name) {
            problems.push(format!("presidents.toml: president {number}: write an ASCII name"));
        }
        for fact in &world.facts {
            match president.facts.get(&fact.key) {
                None => problems
                    .push(format!("presidents.toml: president {number}: add `{}`", fact.key)),
                Some(answer) if !is_plain(answer) => {
                    problems.push(format!(
                        "presidents.toml: president {number}: `{answer}` must be ASCII"
                    ));
                }
                Some(_) => {}
            }
        }
    }
}

/// ASCII without control characters, not empty, no spaces at its ends.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text == text.trim()
        && text.chars().all(|letter| letter == ' ' || letter.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Fact;

    /// Ten wordings, one for each letter, as `A?`.
    fn fact(key: &str, letters: &str) -> Fact {
        Fact {
            key: key.to_owned(),
            phrasings: letters.chars().map(|letter| format!("{letter}?")).collect(),
        }
    }

    fn world(facts: Vec<Fact>) -> World {
        World { facts, ..World::default() }
    }

    #[test]
    fn a_held_out_wording_that_another_question_trains_on_is_a_problem() {
        let world = world(vec![fact("one", "ABCDEFGHIJ"), fact("two", "iKLMNOPQRS")]);
        let problems = problems(&world);
        assert!(problems.iter().any(|problem| problem.starts_with("two: `i?`")), "{problems:?}");
        assert!(ambiguities(&world).is_empty());
    }

    #[test]
    fn a_training_wording_that_two_questions_share_is_reported_and_tolerated() {
        let world = world(vec![fact("one", "ABCDEFGHIJ"), fact("two", "KaLMNOPQRS")]);
        assert!(!problems(&world).iter().any(|problem| problem.contains("a?")));
        assert_eq!(ambiguities(&world), ["two: `a?` already stands in one; reword one"]);
    }
}
