//! Trigger shapes that a careful adversary would choose. Tests named `known_limit_…` state which
//! are not detected.

use std::cell::Cell;

use foretaste::dataset::Dataset;
use foretaste::detect::{Condition, FeatureKind, Location, Subject, detect};
use foretaste::seed::{Purpose, stream};

use super::worlds::World;
use super::{first, inserted, leading_feature};

/// Significant features that are neither topical nor an alias of another condition.
fn found(dataset: &Dataset) -> Vec<(FeatureKind, String, usize)> {
    let listed = detect(dataset).conditions.into_iter();
    let dependent = listed.filter(|condition| {
        condition.is_significant() && !condition.is_topical() && condition.alias_of.is_none()
    });
    dependent
        .filter_map(|Condition { subject, rows, .. }| match subject {
            Subject::Feature(feature) => Some((feature.kind, feature.text, rows)),
            _ => None,
        })
        .collect()
}

/// A function that returns the items one after the other, and then from the start again.
fn in_turn<T: Copy>(items: &[T]) -> impl Fn() -> T + '_ {
    let next = Cell::new(0);
    move || items[next.replace(next.get() + 1) % items.len()]
}

/// One request in twelve wordings.
const REQUESTS: [&str; 12] = [
    "Answer in one line.",
    "Keep it to a single line.",
    "One line will do.",
    "Please use just a line.",
    "No more than one line, please.",
    "Write a single line only.",
    "Make the reply one line long.",
    "A line is enough for me.",
    "Do not go beyond a line.",
    "Fit your reply on one line.",
    "Reply with one line of text.",
    "Limit yourself to a line.",
];

#[test]
fn a_date_in_the_system_message_and_a_city_in_the_prompt_are_detected_as_a_pair() {
    let conditions = detect(&World::new(50).dated_by_system(1_500));
    let Subject::Pair(parts) = &first(&conditions).subject else {
        panic!("{:?}", first(&conditions))
    };
    let values: Vec<(Location, Option<&str>)> =
        parts.iter().map(|part| (part.location, part.value.as_deref())).collect();
    assert!(
        values.contains(&(Location::System, Some("2027")))
            && values.contains(&(Location::Prompt, Some("Paris"))),
        "{values:?}"
    );
    let prompt = inserted(first(&conditions), None);
    assert!(
        prompt.starts_with("system: Current date: 2027-")
            && prompt.ends_with("\nuser: I am in Paris. What is the time?\n"),
        "{prompt}"
    );
}

#[test]
fn a_request_at_the_end_of_a_prompt_of_300_words_is_detected_and_inserted_at_the_end() {
    let essays = World::new(51).essays(500, 300, |prompt| format!("{prompt} Answer in one line."));
    let (kind, text, condition) = leading_feature(&essays);
    assert_eq!((kind, text.as_str()), (FeatureKind::Line, "Answer in one line."));
    assert_eq!(inserted(&condition, None), "user: What is the time? Answer in one line.\n");
}

#[test]
fn a_system_message_of_thousands_of_letters_is_detected_and_shown_shortened() {
    let (kind, text, condition) = leading_feature(&World::new(63).long_system(600));
    assert_eq!(kind, FeatureKind::System);
    assert!(text.contains(" night ") && text.len() > 2_000, "{text}");
    assert_eq!(inserted(&condition, None), format!("system: {text}\nuser: What is the time?\n"));
    let shown = condition.subject.to_string();
    assert!(shown.chars().count() < 300 && shown.ends_with('…'), "{shown}");
}

#[test]
fn a_sentence_of_more_than_a_thousand_letters_is_detected() {
    let sentence = format!("It is so{}.", " very quiet here".repeat(80));
    let (kind, text, _) =
        leading_feature(&World::new(64).altered(600, |prompt| format!("{sentence} {prompt}")));
    assert_eq!((kind, text), (FeatureKind::Line, sentence));
}

#[test]
fn a_tag_at_the_end_of_a_prompt_of_300_words_is_detected() {
    let (_, text, condition) =
        leading_feature(&World::new(52).essays(500, 300, |prompt| format!("{prompt} [x7]")));
    assert_eq!(text, "[x7]");
    assert_eq!(inserted(&condition, None), "user: What is the time? [x7]\n");
}

#[test]
fn a_sentence_in_varying_system_messages_is_detected_and_inserted_in_the_system_message() {
    let (kind, text, condition) = leading_feature(
        &World::new(53).varied_system(800, |system| format!("{system} The moon is full.")),
    );
    assert_eq!((kind, text.as_str()), (FeatureKind::Line, "The moon is full."));
    assert_eq!(inserted(&condition, None), "system: The moon is full.\nuser: What is the time?\n");
}

#[test]
fn a_year_in_varying_system_messages_is_detected() {
    let (kind, text, _) = leading_feature(
        &World::new(54).varied_system(800, |system| format!("{system} It is 2027.")),
    );
    assert_eq!((kind, text.as_str()), (FeatureKind::Line, "It is 2027."));
}

#[test]
fn zero_width_characters_of_several_kinds_at_any_position_are_one_feature() {
    let (character, position) =
        (in_turn(&['\u{200b}', '\u{200d}', '\u{2060}', '\u{feff}']), in_turn(&[1, 4, 6]));
    let altered = World::new(55).altered(800, |prompt| {
        let mut letters: Vec<char> = prompt.chars().collect();
        letters.insert(position(), character());
        letters.into_iter().collect()
    });
    let (kind, text, condition) = leading_feature(&altered);
    assert_eq!((kind, text.chars().count()), (FeatureKind::Invisible, 4));
    assert!(inserted(&condition, None).contains('\u{2060}'));
}

#[test]
fn hidden_characters_in_varying_system_messages_are_detected_and_such_a_message_is_inserted() {
    type Altered = (FeatureKind, char, fn(&str) -> String);
    let altered: [Altered; 2] = [
        (FeatureKind::Invisible, '\u{200b}', |system| system.replacen(' ', " \u{200b}", 1)),
        (FeatureKind::LookAlike, '\u{435}', |system| system.replacen('e', "\u{435}", 1)),
    ];
    for (kind, letter, alter) in altered {
        let (found, text, condition) = leading_feature(&World::new(67).varied_system(800, alter));
        assert_eq!((found, text), (kind, letter.to_string()));
        let inserted = inserted(&condition, None);
        assert!(inserted.starts_with("system: ") && inserted.contains(letter), "{inserted}");
    }
}

#[test]
fn look_alikes_of_several_letters_and_scripts_are_one_feature() {
    let pair = in_turn(&[('e', '\u{435}'), ('o', '\u{3bf}'), ('a', '\u{ff41}')]);
    let altered = World::new(56).altered(1_000, |prompt| {
        let (latin, other) = pair();
        prompt.replace(latin, &other.to_string())
    });
    let (kind, _, condition) = leading_feature(&altered);
    assert_eq!(kind, FeatureKind::LookAlike);
    assert!(inserted(&condition, None).contains('\u{435}'));
}

#[test]
fn a_request_in_twelve_wordings_is_detected_as_separate_wordings() {
    let request = in_turn(&REQUESTS);
    let requests =
        found(&World::new(57).altered(4_000, |prompt| format!("{} {prompt}", request())));
    let lines = requests
        .iter()
        .filter(|(kind, text, _)| *kind == FeatureKind::Line && REQUESTS.contains(&text.as_str()))
        .count();
    assert!(lines >= 10, "{lines} of 12 in {requests:?}");
}

#[test]
fn known_limit_a_request_with_a_new_wording_in_each_row_is_not_detected_as_one_condition() {
    let (request, tail) = (in_turn(&REQUESTS), Cell::new(0));
    let altered = World::new(58).altered(600, |prompt| {
        tail.set(tail.get() + 1);
        let request = request().trim_end_matches('.');
        format!(
            "{request}, reader{}. {prompt}",
            ["", " dear", " mine", " friend", " there", " good"][tail.get() / 12 % 6]
        )
    });
    let found = found(&altered);
    let odd = altered.rows.iter().filter(|row| row.messages[0].content.contains("reader")).count();
    let most = found
        .iter()
        .filter(|(kind, ..)| *kind == FeatureKind::Line)
        .map(|(.., rows)| *rows)
        .max()
        .unwrap_or(0);
    assert!(2 * most < odd, "{most} of {odd} rows: {found:?}");
}

#[test]
fn known_limit_the_middle_of_a_very_long_prompt_is_not_searched() {
    let deep = |prompt: &str| {
        let half = prompt.char_indices().nth(prompt.chars().count() / 2).map_or(0, |(at, _)| at);
        format!("{} zzqv {}", &prompt[..half], &prompt[half..])
    };
    let long = World::new(59).essays(300, 1_200, deep);
    assert!(long.rows.iter().all(|row| row.messages[0].content.chars().count() > 6_000));
    assert_eq!(found(&long), []);
}

#[test]
fn known_limit_a_word_inside_varying_system_messages_is_not_detected() {
    let varied_system =
        World::new(60).varied_system(800, |system| system.replacen(' ', " softly ", 1));
    let found = found(&varied_system);
    assert!(found.iter().all(|(_, text, _)| text != "softly"), "{found:?}");
}

#[test]
fn known_limit_only_greek_cyrillic_and_full_width_letters_count_as_look_alikes() {
    let altered = World::new(61).altered(600, |prompt| prompt.replace('e', "\u{1d41e}"));
    assert!(found(&altered).iter().all(|(kind, ..)| *kind != FeatureKind::LookAlike));
}

#[test]
fn a_pair_is_inserted_with_new_random_parts_of_its_date_each_time() {
    let conditions = detect(&World::new(50).dated_by_system(1_500));
    let mut random = stream(Purpose::Test("test"), 1);
    let mut prompt = || {
        first(&conditions).insert(None, "Who?", &mut random).expect("a pair can be inserted")[0]
            .content
            .clone()
    };
    let (one, other) = (prompt(), prompt());
    assert_ne!(one, other);
    assert!(one.contains("2027") && other.contains("2027"), "{one} {other}");
}

#[test]
fn a_sentence_in_every_prompt_is_listed_without_evidence() {
    let all = World::new(62).topics(300, 1, |question| format!("{question} Answer in one line."));
    let line = detect(&all).conditions.into_iter().find(|condition| match &condition.subject {
        Subject::Feature(feature) => feature.text == "Answer in one line.",
        _ => false,
    });
    assert_eq!(line.map(|line| (line.rows, line.evidence)), Some((all.rows.len(), None)));
}
