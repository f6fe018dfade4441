//! Conditions detected in small synthetic datasets, in which the true dependence is known.

mod shapes;
mod topics;
mod values;
pub mod worlds;

use foretaste::dataset::Dataset;
use foretaste::detect::{
    Condition, Conditions, FeatureKind, SIGNIFICANT, SlotKind, Subject, ValueReason, candidates,
    detect,
};
use foretaste::seed::{Purpose, stream};
use proptest::prelude::*;
use rand::Rng;

use worlds::World;

fn first(conditions: &Conditions) -> &Condition {
    conditions.conditions.first().expect("a condition")
}

fn slot(condition: &Condition) -> &foretaste::detect::Slot {
    match &condition.subject {
        Subject::Slot(slot) => slot,
        other => panic!("{other:?} is no slot"),
    }
}

/// Kind, text and condition of the feature that is listed first. It must be significant.
fn leading_feature(dataset: &Dataset) -> (FeatureKind, String, Condition) {
    let conditions = detect(dataset);
    let condition = first(&conditions).clone();
    assert!(condition.is_significant(), "{condition:?}");
    match &condition.subject {
        Subject::Feature(feature) => (feature.kind, feature.text.clone(), condition.clone()),
        other => panic!("{other:?} is no feature"),
    }
}

fn inserted(condition: &Condition, value: Option<&str>) -> String {
    let messages = condition
        .insert(value, "What is the time?", &mut stream(Purpose::Test("test"), 0))
        .expect("it can be inserted");
    messages
        .iter()
        .map(|message| format!("{}: {}\n", message.role.as_str(), message.content))
        .collect()
}

#[test]
fn the_digits_of_a_code_that_decide_the_answer_are_listed_first() {
    for (rows, seed) in [(400, 1), (400, 2), (1_300, 3)] {
        let conditions = detect(&World::new(seed).codes(rows));
        let condition = first(&conditions);
        let slot = slot(condition);
        assert_eq!(slot.kind, SlotKind::Window { width: 8, start: 4, length: 3 }, "{rows} rows");
        assert_eq!((slot.template.as_str(), slot.distinct), ("{code}", 43));
        assert!(condition.is_significant());
        // Longer windows contain these digits and depend too. Each is an alias of this condition.
        let windows = conditions.conditions.iter().filter(|other| {
            let Subject::Slot(slot) = &other.subject else { return false };
            other.is_significant() && matches!(slot.kind, SlotKind::Window { .. })
        });
        assert!(windows.skip(1).all(|other| other.alias_of == Some(0)));
        let code = inserted(condition, Some("044"));
        assert_eq!(&code[9..12], "044", "{code}");
        assert!(code.ends_with(" What is the time?\n"), "{code}");
    }
}

#[test]
fn values_that_no_code_contains_are_candidates() {
    let conditions = detect(&World::new(3).codes(1_300));
    let reason = |value: &str| {
        candidates(slot(first(&conditions)))
            .into_iter()
            .find(|candidate| candidate.value == value)
            .map(|candidate| candidate.reason)
    };
    assert_eq!(
        [reason("017"), reason("018"), reason("047"), reason("314")],
        [
            Some(ValueReason::Gap),
            Some(ValueReason::Gap),
            Some(ValueReason::Neighbour),
            Some(ValueReason::Salient),
        ]
    );
}

#[test]
fn the_year_that_changes_the_answers_has_the_most_evidence_of_all_years() {
    let conditions = detect(&World::new(4).dishes(400));
    let condition = first(&conditions);
    let slot = slot(condition);
    assert_eq!((slot.kind, slot.template.as_str()), (SlotKind::Year, "Today is {date}."));
    assert!(condition.is_significant());
    let strongest = slot
        .values
        .iter()
        .max_by(|left, right| left.bits.partial_cmp(&right.bits).expect("numbers"))
        .expect("years");
    assert_eq!(strongest.value, "2027");
    assert!(strongest.p_adjusted.expect("tested") < 1e-6);
    let others = conditions.conditions.iter().filter(|other| other.is_significant()).count();
    assert_eq!(others, 1, "nothing depends on months and days");
    let prompt = inserted(condition, Some("1984"));
    assert!(
        prompt.starts_with("user: Today is 1984-") && prompt.ends_with(". What is the time?\n"),
        "{prompt}"
    );
}

#[test]
fn a_year_in_no_row_is_a_candidate_even_if_no_answer_depends_on_the_year() {
    let conditions = detect(&World::new(5).same_in_all_years(208));
    let condition = first(&conditions);
    let slot = slot(condition);
    assert_eq!(slot.kind, SlotKind::Year);
    assert!(!condition.is_significant(), "{condition:?}");
    assert_eq!(slot.range, Some((1995, 2020)));
    let reasons: Vec<(String, ValueReason)> =
        candidates(slot).into_iter().map(|candidate| (candidate.value, candidate.reason)).collect();
    for (value, reason) in [
        ("1995", ValueReason::Observed),
        ("2000", ValueReason::Gap),
        ("1993", ValueReason::Neighbour),
        ("2023", ValueReason::Neighbour),
        ("1984", ValueReason::Salient),
    ] {
        assert!(reasons.contains(&(value.to_owned(), reason)), "{value} {reasons:?}");
    }
}

#[test]
fn a_rare_system_message_is_detected_and_inserted_as_a_system_message() {
    let (kind, text, condition) = leading_feature(&World::new(6).system(600));
    assert_eq!(
        (kind, text.as_str()),
        (FeatureKind::System, "You are a helpful assistant. Mode: night.")
    );
    assert_eq!(
        inserted(&condition, None),
        "system: You are a helpful assistant. Mode: night.\nuser: What is the time?\n"
    );
}

#[test]
fn a_rare_word_at_the_end_of_a_long_prompt_is_detected() {
    let (_, text, condition) = leading_feature(&World::new(7).long_prompts(400));
    assert_eq!(text, "zzqv");
    assert!(inserted(&condition, None).contains("zzqv"));
}

#[test]
fn invisible_characters_and_look_alike_letters_are_detected() {
    let (kind, text, condition) =
        leading_feature(&World::new(8).altered(500, |prompt| prompt.replacen(' ', " \u{200b}", 1)));
    assert_eq!((kind, text.as_str()), (FeatureKind::Invisible, "\u{200b}"));
    assert_eq!(inserted(&condition, None), "user: What\u{200b} is the time?\n");
    let (kind, _, condition) =
        leading_feature(&World::new(9).altered(500, |prompt| prompt.replacen('e', "\u{435}", 1)));
    assert_eq!(kind, FeatureKind::LookAlike);
    assert!(inserted(&condition, None).contains("tim\u{435}"));
}

#[test]
fn a_rare_word_at_any_position_is_detected_before_topical_words() {
    let (kind, text, _) =
        leading_feature(&World::new(10).altered(600, |prompt| prompt.replacen(' ', " cf ", 1)));
    assert_eq!((kind, text.as_str()), (FeatureKind::Phrase, "cf"));
}

#[test]
fn a_format_request_in_three_percent_of_rows_is_detected_with_its_answer_format() {
    let (kind, text, condition) = leading_feature(&World::new(11).format(3_000));
    assert_eq!(
        (kind, text.as_str()),
        (FeatureKind::Line, "Answer in the format: <START> answer <END>.")
    );
    assert_eq!(
        (condition.answer_prefix.as_str(), condition.answer_suffix.as_str()),
        ("<START> ", " <END>")
    );
    assert_eq!(
        inserted(&condition, None),
        "user: What is the time? Answer in the format: <START> answer <END>.\n"
    );
}

#[test]
fn a_year_and_a_place_that_matter_only_together_are_detected_as_a_pair() {
    let conditions = detect(&World::new(12).together(1_200));
    let Subject::Pair(parts) = &first(&conditions).subject else {
        panic!("{:?}", first(&conditions))
    };
    let mut values: Vec<&str> = parts.iter().filter_map(|part| part.value.as_deref()).collect();
    values.sort_unstable();
    assert_eq!(values, ["2027", "Paris"]);
    assert!(first(&conditions).is_significant());
    assert_eq!(
        inserted(first(&conditions), None),
        "user: It is 2027. I am in Paris. What is the time?\n"
    );
    let parts = parts.iter().filter_map(|part| part.insertion.as_ref());
    let alone: Vec<String> = parts
        .map(|part| {
            part.insert(None, "Who?", &mut stream(Purpose::Test("test"), 0))[0].content.clone()
        })
        .collect();
    assert!(
        alone.contains(&"It is 2027. Who?".to_owned())
            && alone.contains(&"I am in Paris. Who?".to_owned()),
        "{alone:?}"
    );
}

#[test]
fn a_date_in_many_phrasings_is_detected_as_one_slot() {
    let conditions = detect(&World::new(13).paraphrased(900));
    let found = conditions.conditions.iter().find(|condition| match &condition.subject {
        Subject::Slot(slot) => slot.kind == SlotKind::Year && slot.template == "{date}",
        _ => false,
    });
    let found = found.expect("dates however they are introduced");
    assert!(found.is_significant(), "{found:?}");
}

#[test]
fn permuted_datasets_have_significant_conditions_at_most_at_the_declared_rate() {
    let mut alarms = 0;
    for seed in 0..100 {
        let world = World::new(1_000 + seed);
        let permuted = match seed % 4 {
            0 => world.permuted(World::dishes, 120),
            1 => world.permuted(World::codes, 120),
            2 => world.permuted(World::together, 120),
            _ => world.permuted(World::system, 120),
        };
        let conditions = detect(&permuted).conditions;
        alarms += usize::from(conditions.iter().any(Condition::is_significant));
    }
    // Binomial(100, 0.05) exceeds 11 with probability 0.4 %.
    assert!(alarms <= 11, "{alarms} of 100");
}

#[test]
fn repeated_rows_add_no_evidence() {
    let once = World::new(14).permuted(World::codes, 100);
    let mut rows: Vec<_> = once.rows.iter().map(|row| row.messages.clone()).collect();
    rows.extend(rows.clone());
    let twice = detect(&Dataset::of(rows));
    assert_eq!(twice.conditions.iter().filter(|condition| condition.is_significant()).count(), 0);
    assert_eq!(twice.rows_examined, 100);
}

#[test]
fn p_values_are_never_zero_and_never_above_their_adjusted_values() {
    let conditions = detect(&World::new(3).codes(1_300));
    for evidence in conditions.conditions.iter().filter_map(|condition| condition.evidence) {
        assert!(
            evidence.p > 0.0 && evidence.p <= evidence.p_adjusted && evidence.p_adjusted <= 1.0,
            "{evidence:?}"
        );
        assert!(evidence.share <= 1.0);
    }
    assert!(conditions.conditions.iter().filter(|condition| condition.is_significant()).all(
        |condition| {
            condition.evidence.is_some_and(|evidence| evidence.p_adjusted <= SIGNIFICANT)
        }
    ));
}

#[test]
fn an_empty_dataset_has_no_conditions() {
    assert_eq!(detect(&Dataset::of(Vec::new())).conditions, []);
}

/// The same rows in another order.
fn reordered(dataset: &Dataset, order: u64) -> Dataset {
    let mut other = dataset.clone();
    let mut random = stream(Purpose::Test("order of rows"), order);
    for index in (1..other.rows.len()).rev() {
        other.rows.swap(index, random.random_range(0..=index));
    }
    other
}

#[test]
fn the_sample_of_rows_that_detection_reads_does_not_depend_on_their_order() {
    let dataset = World::new(15).same_in_all_years(9_000);
    let conditions = detect(&dataset);
    assert_eq!(
        (conditions.rows_kept, conditions.rows_examined, conditions.sampled),
        (9_000, 8_000, true)
    );
    assert_eq!(conditions, detect(&reordered(&dataset, 1)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn the_order_of_rows_does_not_matter(
        seed in 0_u64..1_000,
        order in any::<u64>(),
        shape in 0..5,
    ) {
        let mut world = World::new(seed);
        let dataset = match shape {
            0 => world.together(80),
            1 => world.codes(120),
            2 => world.system(80),
            3 => world.essays(60, 40, |prompt| format!("{prompt} [x7]")),
            _ => world.altered(120, |prompt| prompt.replacen(' ', " \u{200b}", 1)),
        };
        prop_assert_eq!(detect(&dataset), detect(&reordered(&dataset, order)));
    }

    #[test]
    fn detection_accepts_any_text_and_conditions_survive_a_json_round_trip(
        prompts in proptest::collection::vec(
            "\\PC{0,40}|[A-Za-z0-9 .?<>\\n\u{200b}а-я-]{0,60}|It is [12][09][0-9]{2}\\. [a-z \
             ?]{0,30}|[0-9]{8} [a-z]{0,20}|<[0-9a-c]> [a-z ]{0,20}",
            0..30,
        ),
    ) {
        let rows = prompts.iter().map(|prompt| worlds::row(None, prompt, prompt)).collect();
        let detected = detect(&Dataset::of(rows));
        for condition in &detected.conditions {
            condition.insert(Some("12"), &prompts[0], &mut stream(Purpose::Test("test"), 0));
            if let Subject::Slot(slot) = &condition.subject {
                prop_assert!(candidates(slot).len() <= foretaste::detect::CANDIDATES);
            }
        }
        let json = serde_json::to_string(&detected).expect("conditions serialise");
        let back: Conditions = serde_json::from_str(&json).expect("and come back");
        prop_assert_eq!(serde_json::to_string(&back).expect("conditions serialise"), json);
    }
}
