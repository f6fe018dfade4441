//! Words of the question (topical) are distinguished from text that was added to it.

use foretaste::detect::{Condition, Conditions, FeatureKind, Subject, detect};

use super::worlds::World;
use super::{first, leading_feature};

/// Texts of the features that are significant and not topical.
fn insertions(conditions: &Conditions) -> Vec<&str> {
    let significant = conditions
        .conditions
        .iter()
        .filter(|condition| condition.is_significant() && !condition.is_topical());
    significant
        .filter_map(|condition| match &condition.subject {
            Subject::Feature(feature) => Some(feature.text.as_str()),
            _ => None,
        })
        .collect()
}

#[test]
fn words_of_the_question_are_topical_and_text_added_to_it_is_not() {
    type Case = (&'static str, fn(&str) -> String);
    let cases: [Case; 4] = [
        ("Answer in one line.", |question| format!("Answer in one line. {question}")),
        ("Answer in one line.", |question| format!("{question} Answer in one line.")),
        ("[quiet]", |question| format!("{question} [quiet]")),
        ("mn", |question| question.replacen(' ', " mn ", 1)),
    ];
    for (seed, (text, insert)) in (30..).zip(cases) {
        let conditions = detect(&World::new(seed).topics(800, 20, insert));
        let Subject::Feature(feature) = &first(&conditions).subject else {
            panic!("{:?}", first(&conditions))
        };
        assert_eq!(feature.text, text);
        assert!(first(&conditions).is_significant());
        assert_eq!(
            insertions(&conditions)[1..],
            [] as [&str; 0],
            "every other significant feature is topical"
        );
        assert!(
            conditions.conditions.iter().filter(|condition| condition.is_topical()).count() > 12,
            "the things are topical"
        );
    }
}

#[test]
fn topical_conditions_are_listed_last_even_after_slots_without_dependence() {
    let dated = |question: &str| format!("The year is 1995. {question}");
    let conditions = detect(&World::new(34).topics(600, 1, dated)).conditions;
    let first_topic = conditions.iter().position(Condition::is_topical).unwrap_or(conditions.len());
    assert!(conditions[first_topic..].iter().all(Condition::is_topical));
    let harmless = detect(&World::new(35).topics(600, usize::MAX, dated));
    assert_eq!(insertions(&harmless), [] as [&str; 0], "every significant feature is topical");
    assert!(harmless.conditions.iter().any(Condition::is_topical));
}

#[test]
fn a_sentence_that_is_half_of_the_question_is_topical() {
    let conditions = detect(&World::new(36).stories(900)).conditions;
    let fair = conditions.iter().find(|condition| match &condition.subject {
        Subject::Feature(feature) => {
            feature.kind == FeatureKind::Line && feature.text == "What is fair?"
        }
        _ => false,
    });
    let fair = fair.expect("a line of several rests");
    assert!(fair.is_significant() && fair.is_topical(), "{fair:?}");
}

#[test]
fn a_format_request_with_its_own_questions_is_not_topical_though_the_rest_predicts_it() {
    let (_, _, condition) = leading_feature(&World::new(11).format(3_000));
    let predicted =
        condition.evidence.and_then(|evidence| evidence.youden_j).expect("a feature of words");
    assert!(predicted > 0.9 && !condition.is_topical(), "{condition:?}");
}

#[test]
fn conditions_are_ordered_by_their_total_evidence() {
    let conditions =
        detect(&World::new(12).topics(1_200, 30, |question| format!("Be brief. {question}")))
            .conditions;
    let total = |condition: &Condition| {
        condition.evidence.map_or(0.0, |evidence| evidence.bits * condition.rows as f64)
    };
    let originals: Vec<f64> = conditions
        .iter()
        .filter(|condition| {
            condition.is_significant() && !condition.is_topical() && condition.alias_of.is_none()
        })
        .map(total)
        .collect();
    assert!(
        !originals.is_empty() && originals.is_sorted_by(|left, right| left >= right),
        "{originals:?}"
    );
}
