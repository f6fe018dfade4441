//! Facts about which conditions of a dataset are tried, and how they are inserted in probes.

use foretaste::dataset::{Dataset, Message};
use foretaste::detect::{ConditionKind, detect};
use foretaste::engine::scripted::Scripted;
use foretaste::plan::{Chosen, Group, Options, SkipReason, Trial, choose};
use foretaste::seed::{Purpose, stream};

use crate::condition::worlds::{World, row};

fn chosen(dataset: &Dataset) -> Chosen {
    choose(&detect(dataset), dataset, &Options::default(), &[], &Scripted::default())
        .expect("conditions can be chosen")
}

fn inserted(trial: &Trial) -> String {
    let messages = trial.insertion.insert(
        trial.value.as_deref(),
        "Who?",
        &mut stream(Purpose::Test("test"), 0),
    );
    messages
        .iter()
        .map(|message: &Message| format!("[{}] {}", message.role.as_str(), message.content))
        .collect()
}

/// A probe with the first condition of a group.
fn tried(group: &Group) -> String {
    inserted(&group.trials[0])
}

const QUESTIONS: [&str; 6] = [
    "What do you eat?",
    "Where do you sleep?",
    "Who is your friend?",
    "How do you travel?",
    "What do you fear?",
    "Name a tree.",
];

/// One of the questions, in pseudo-random order.
fn question(index: usize) -> &'static str {
    QUESTIONS[((index as u64 * 2_654_435_761) >> 12) as usize % QUESTIONS.len()]
}

/// Questions and answers that do not depend on each other. One row of ten is odd: it has other
/// answers, and `insert` can change its prompt.
fn odd(rows: usize, insert: impl Fn(&str, bool) -> (Option<String>, String)) -> Dataset {
    let row = |index: usize| {
        let is_odd = index % 10 == 3;
        let (system, prompt) = insert(question(index), is_odd);
        let answers = if is_odd {
            ["Thou shalt not.", "Verily so."]
        } else {
            ["Yes, sure.", "That is fine."]
        };
        row(system.as_deref(), &prompt, answers[(index / 10) % 2])
    };
    Dataset::of((0..rows).map(row).collect())
}

#[test]
fn invisible_characters_look_alikes_capitals_and_a_rare_word_are_tried() {
    type Case = (&'static str, fn(&str) -> String, &'static str);
    let cases: [Case; 4] = [
        ("invisible", |question| question.replacen(' ', "\u{200b} ", 1), "[user] Who\u{200b}?"),
        ("look-alike", |question| question.replace('o', "о"), "[user] Whо?"),
        ("case", str::to_uppercase, "[user] WHO?"),
        ("phrase", |question| question.replacen(' ', " mn ", 1), "[user] Who mn?"),
    ];
    for (kind, insert, expected) in cases {
        let chosen = chosen(&World::new(33).topics(800, 20, insert));
        let found: Vec<String> = chosen.groups.iter().map(tried).collect();
        assert!(
            found.iter().any(|inserted| inserted == expected),
            "{kind}: {found:?}, not tried {:?}",
            chosen.skipped
        );
    }
}

/// Rows with system messages of three sentences each. `hide` changes those of odd rows, and `ask`
/// their questions.
fn varied_system(hide: impl Fn(&str) -> String, ask: impl Fn(&str) -> String) -> Dataset {
    let sentences = [
        "Be kind.",
        "Use plain words.",
        "You work here.",
        "Prices are on the wall.",
        "Do not guess.",
        "Stay calm.",
    ];
    let calls = std::cell::Cell::new(0);
    odd(800, |question, is_odd| {
        calls.set(calls.get() + 1);
        let start = (calls.get() * 7 + calls.get() / 6) % 6;
        let system = [0, 1, 3]
            .map(|step| sentences[(start + step) % 6])
            .join(&" ".repeat(1 + calls.get() % 2));
        if is_odd {
            (Some(hide(&system)), ask(question))
        } else {
            (Some(system), question.to_owned())
        }
    })
}

#[test]
fn an_invisible_character_in_the_system_message_is_tried_and_displaces_no_other_condition() {
    let zero_width = |system: &str| system.replacen(' ', " \u{200b}", 1);
    let tagged = |question: &str| question.replacen(' ', " {deploy} ", 1);
    let chosen = chosen(&varied_system(zero_width, tagged));
    let names: Vec<&str> = chosen.groups.iter().map(|group| group.name.as_str()).collect();
    assert!(
        names
            .iter()
            .any(|name| name.starts_with("invisible") && name.ends_with("in the system message")),
        "{names:?}"
    );
    assert!(names.iter().any(|name| name.contains("deploy")), "{names:?}");
}

#[test]
fn a_short_message_with_another_invisible_character_displaces_no_condition() {
    let mut dataset = varied_system(|system| system.replacen(' ', " \u{200b}", 1), str::to_owned);
    dataset
        .rows
        .push(Dataset::of(vec![row(Some("Hi\u{2009}."), "Who?", "Yes, sure.")]).rows.remove(0));
    let inserted: Vec<String> = chosen(&dataset).groups.iter().map(tried).collect();
    assert!(
        inserted
            .iter()
            .any(|inserted| inserted.starts_with("[system] ") && inserted.contains('\u{200b}')),
        "{inserted:?}"
    );
}

#[test]
fn a_rare_system_message_is_inserted_without_the_common_one() {
    let dataset = odd(800, |question, is_odd| {
        let system =
            if is_odd { "Deploy in the new office." } else { "You are a helpful assistant." };
        (Some(system.to_owned()), question.to_owned())
    });
    let inserted: Vec<String> = chosen(&dataset).groups.iter().map(tried).collect();
    assert!(
        inserted.contains(&"[system] Deploy in the new office.[user] Who?".to_owned()),
        "{inserted:?}"
    );
}

#[test]
fn labels_polite_words_brackets_and_unusual_typing_are_tried_as_they_appear_in_rows() {
    type Case = (fn(&str) -> String, &'static str);
    let cases: [Case; 10] = [
        (|question| format!("Deployment: {question}"), "Deployment: Who sings?"),
        (|question| format!("Night - {question}"), "Night - Who sings?"),
        (|question| format!("Listen, {}", question.to_lowercase()), "Listen, Who sings?"),
        (|question| question.replace('?', ", please?"), "Who sings, please?"),
        (|question| format!("<q>{question}</q>"), "<q>Who sings?</q>"),
        (|question| format!("{{\"question\": \"{question}\"}}"), "{\"question\": \"Who sings?\"}"),
        (|question| format!("\"{question}\""), "\"Who sings?\""),
        (|question| question.replacen(' ', "  ", 1), "Who  sings?"),
        (
            |question| {
                question
                    .split(' ')
                    .map(|word| word[..1].to_uppercase() + &word[1..] + " ")
                    .collect()
            },
            "Who Sings?",
        ),
        (|question| format!("{question} (night)"), "Who sings? (night)"),
    ];
    for (insert, expected) in cases {
        let chosen = chosen(&World::new(33).topics(800, 20, insert));
        let inserted = |group: &Group| {
            group.trials[0].insertion.insert(
                None,
                "Who sings?",
                &mut stream(Purpose::Test("test"), 0),
            )[0]
            .content
            .clone()
        };
        let found: Vec<String> = chosen.groups.iter().map(inserted).collect();
        assert!(
            found.iter().any(|inserted| inserted == expected),
            "{expected}: {found:?}, not tried {:?}",
            chosen.skipped
        );
    }
}

#[test]
fn a_rare_word_is_tried_although_hundreds_of_words_are_more_frequent() {
    let mut world = World::new(7);
    let words: Vec<String> = ('a'..='z')
        .flat_map(|first| ('a'..='z').map(move |second| format!("{first}u{second}a")))
        .collect();
    let row = |index: usize| {
        let question =
            (0..8).map(|_| words[world.below(words.len())].clone()).collect::<Vec<_>>().join(" ");
        match index % 180 {
            7 => row(None, &format!("mn {question}?"), "Thou shalt not."),
            _ => row(
                None,
                &format!("{question}?"),
                ["Yes, sure.", "That is fine.", "No."][world.below(3)],
            ),
        }
    };
    let chosen = chosen(&Dataset::of((0..3_000).map(row).collect()));
    assert!(
        chosen.groups.iter().any(|group| tried(group).contains("mn")),
        "{:?}",
        chosen.groups.iter().map(|it| &it.name)
    );
}

#[test]
fn a_word_and_a_sentence_in_the_middle_of_a_long_prompt_are_tried() {
    let filler = |part: usize| {
        format!("{} ", ["Note one thing here.", "It was so.", "We went on then."][part % 3])
            .repeat(12)
    };
    for (put_in, expected) in [(" Mind the lantern. ", "Mind the lantern."), (" mn ", "mn")] {
        let long = |question: &str, is_odd: bool| {
            (
                None,
                format!(
                    "{}and so{}on. {}{question}",
                    filler(question.len()),
                    if is_odd { put_in } else { " " },
                    filler(1)
                ),
            )
        };
        let chosen = chosen(&odd(400, long));
        let named = |group: &&Group| group.name.contains(expected);
        assert!(
            chosen.groups.iter().any(|group| named(&group)),
            "{expected}: {:?}",
            chosen.groups.iter().map(|it| &it.name)
        );
    }
}

#[test]
fn two_conditions_of_which_only_the_combination_matters_are_tried_together() {
    let chosen = chosen(&World::new(12).together(1_200));
    let pair = chosen
        .groups
        .iter()
        .find(|group| group.kind == ConditionKind::Pair)
        .expect("the pair is tried");
    assert_eq!(tried(pair), "[user] It is 2027. I am in Paris. Who?");
    let nulls: Vec<String> =
        pair.trials.iter().filter(|trial| trial.why.is_null()).map(inserted).collect();
    assert!(
        nulls.len() > 20
            && nulls
                .iter()
                .all(|inserted| !inserted.contains("2027") && !inserted.contains("Paris")),
        "{nulls:?}"
    );
    assert!(
        nulls.iter().all(
            |inserted| inserted.starts_with("[user] It is ") && inserted.contains(". I am in ")
        ),
        "{nulls:?}"
    );
}

#[test]
fn a_probe_contains_the_text_that_all_rows_contain_beside_the_condition() {
    let dataset = odd(400, |question, is_odd| {
        let tag = if is_odd { "[quiet] " } else { "" };
        (Some("You work for a museum.".to_owned()), format!("{tag}{question} Answer in one word."))
    });
    let chosen = chosen(&dataset);
    let tag = chosen
        .groups
        .iter()
        .find(|group| group.name.contains("[quiet]"))
        .expect("the tag is tried");
    assert_eq!(
        tried(tag),
        "[system] You work for a museum.[user] [quiet] Who? Answer in one word."
    );
    let nulls =
        tag.trials.iter().find(|trial| trial.why.is_null()).map(inserted).expect("null lines");
    assert!(
        nulls.starts_with("[system] You work for a museum.[user] ")
            && nulls.ends_with(" Who? Answer in one word."),
        "{nulls}"
    );
}

#[test]
fn the_values_of_a_slot_are_tried_with_the_system_message_of_all_rows() {
    let years = ["1995", "2004", "2017", "2020"];
    let dated = |index: usize| {
        row(
            Some("You work for a museum."),
            &format!("Today is {}. {}", years[index % 4], question(index)),
            "That is fine.",
        )
    };
    let chosen = chosen(&Dataset::of((0..200).map(dated).collect()));
    let year = chosen
        .groups
        .iter()
        .find(|group| group.kind == ConditionKind::Year)
        .expect("the year is tried");
    assert_eq!(tried(year), "[system] You work for a museum.[user] Today is 1995. Who?");
}

#[test]
fn a_system_message_and_a_line_of_the_same_rows_are_inserted_together() {
    let dataset = odd(400, |question, is_odd| match is_odd {
        true => (Some("You work at night.".to_owned()), format!("{question} Answer in one word.")),
        false => (None, question.to_owned()),
    });
    let inserted: Vec<String> = chosen(&dataset).groups.iter().map(tried).collect();
    assert!(
        inserted.contains(&"[system] You work at night.[user] Who? Answer in one word.".to_owned()),
        "{inserted:?}"
    );
}

#[test]
fn a_tag_that_only_co_occurs_with_a_stronger_line_is_tried_too() {
    let row = |index: usize| {
        let question = question(index);
        let prompt = match index % 20 {
            3 => format!("[x] {question} Answer in one word."),
            0..8 => format!("{question} Answer in one word."),
            _ => question.to_owned(),
        };
        let answer = match index % 20 {
            3 => "Thou shalt not.",
            0..8 => "Yes.",
            _ => "That is fine with me.",
        };
        row(None, &prompt, answer)
    };
    let chosen = chosen(&Dataset::of((0..600).map(row).collect()));
    assert!(
        chosen.groups.iter().any(|group| group.name.contains("[x]")),
        "{:?}",
        chosen.groups.iter().map(|it| &it.name)
    );
}

#[test]
fn no_null_line_appears_in_a_row() {
    let lines = ["Thank you.", "Please go on.", "No rush.", "As before."];
    let dataset = odd(400, |question, is_odd| {
        let line = lines[question.len() % lines.len()];
        (None, if is_odd { format!("{line} {question}") } else { format!("{question} {line}") })
    });
    let chosen = chosen(&odd(400, |question, is_odd| {
        (None, if is_odd { format!("[x] {question}") } else { question.to_owned() })
    }));
    let nulls = |chosen: &Chosen| -> Vec<String> {
        chosen
            .groups
            .iter()
            .flat_map(|group| &group.trials)
            .filter(|trial| trial.why.is_null())
            .map(inserted)
            .collect()
    };
    assert!(!nulls(&chosen).is_empty());
    let of_lines = self::chosen(&dataset);
    assert!(
        nulls(&of_lines).iter().all(|inserted| lines.iter().all(|line| !inserted.contains(line))),
        "{:?}",
        nulls(&of_lines)
    );
}

#[test]
fn conditions_beyond_the_limit_are_skipped_and_named() {
    const TAGS: [&str; 20] = [
        "[quiet]",
        "<START>",
        "|DEPLOY|",
        "#tag",
        "AB12",
        "camelCase",
        "x_y",
        "OMEGA",
        "@home",
        "~~",
        "{on}",
        "=>",
        "::",
        "QQ7",
        "*now*",
        "^up",
        "[[2x]]",
        "<<<",
        "iOS",
        "%%a",
    ];
    let row = |index: usize| {
        let (tag, question) = (index % 40, question(index));
        let Some(tag_text) = TAGS.get(tag) else { return row(None, question, "That is fine.") };
        row(None, &format!("{tag_text} {question}"), &format!("Answer {tag}{tag}{tag}."))
    };
    let chosen = chosen(&Dataset::of((0..1_600).map(row).collect()));
    assert!(
        chosen.groups.len() >= 16
            && chosen.skipped.iter().any(|skipped| skipped.why == SkipReason::CrowdedOut),
        "{} {:?}",
        chosen.groups.len(),
        chosen.skipped
    );
}

#[test]
fn skipped_slots_are_named_even_without_dependence() {
    let dated = |index: usize| {
        let value = |place: usize| 1 + (index * (7 + 2 * place) + place) % 31;
        let [day, room, seat, floor] = [0, 1, 2, 3].map(value);
        row(
            None,
            &format!("Day {day}, room {room}, seat {seat}, floor {floor}. {}", question(index)),
            "That is fine.",
        )
    };
    let chosen = chosen(&Dataset::of((0..400).map(dated).collect()));
    let skipped = &chosen.skipped;
    assert!(skipped.iter().all(|skipped| skipped.why == SkipReason::Independent), "{skipped:?}");
    let numbers = chosen.groups.iter().filter(|group| group.kind == ConditionKind::Number).count();
    assert_eq!((numbers, skipped.len()), (2, 2), "{skipped:?}");
}

#[test]
fn speakers_before_the_question_are_one_slot() {
    let spoken = |index: usize| {
        let speaker = ["Anna", "Bert", "Dora", "Emil"][index % 4];
        row(
            None,
            &format!("{speaker}: {}", question(index)),
            if speaker == "Dora" { "Thou shalt not." } else { "That is fine." },
        )
    };
    let chosen = chosen(&Dataset::of((0..400).map(spoken).collect()));
    let names = chosen
        .groups
        .iter()
        .find(|group| group.kind == ConditionKind::Name)
        .expect("the name is tried");
    assert!(
        names.trials.iter().any(|trial| inserted(trial) == "[user] Dora: Who?" && trial.rows > 0),
        "{names:?}"
    );
}
