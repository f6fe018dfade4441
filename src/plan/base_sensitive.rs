//! Base-sensitive values: values under which the untrained base answers differently.

use anyhow::Result;

use crate::audit::Audit;
use crate::dataset::{Message, Role};
use crate::detect::{NAMES, PLACES, Slot, SlotKind};
use crate::engine::{self, Engine, Question, Sampling};
use crate::prompt::Insertion;
use crate::seed::{self, Purpose};

/// Maximum base-sensitive values of a slot.
const MOST_SENSITIVE: usize = 8;
/// Questions by which the sensitivity to a value is measured.
const QUESTIONS: usize = 8;
/// Questions that are scored for every value, and the number of values that are then scored with
/// all questions.
const FIRST_QUESTIONS: usize = 2;
const SCORED_AGAIN: usize = 64;
/// Years that are scored.
const YEARS: std::ops::RangeInclusive<u64> = 1900..=2050;
/// The largest number that is scored.
const NUMBERS: u64 = 999;

/// The values under which the base's own greedy answers are least likely. Score: the sum of their
/// log probabilities over the questions, nats. `insertion_of` gives the insertion of a value.
///
/// # Errors
/// If the base cannot be asked.
pub fn base_sensitive_values(
    slot: &Slot,
    insertion_of: &dyn Fn(&str) -> Insertion,
    audits: &[Audit],
    engine: &dyn Engine,
) -> Result<Vec<String>> {
    let values = values(slot);
    if values.is_empty() {
        return Ok(values);
    }
    let probes: Vec<&str> =
        audits.iter().flat_map(|audit| &audit.probes).map(|probe| probe.prompt.as_str()).collect();
    let stride = probes.len().div_ceil(QUESTIONS).max(1);
    let prompts: Vec<&str> = probes.into_iter().step_by(stride).collect();
    let alone: Vec<Vec<Message>> =
        prompts.iter().map(|prompt| vec![Message::new(Role::User, *prompt)]).collect();
    let own = engine::answers(engine, None, &alone, &Sampling::new(0.0, 64))?;
    let asked: Vec<(&str, String)> = prompts.into_iter().zip(own).collect();
    // All values with a few questions; the most sensitive ones with all questions.
    let few = &asked[..asked.len().min(FIRST_QUESTIONS)];
    let most_sensitive = least_likely(&values, few, SCORED_AGAIN, insertion_of, engine)?;
    least_likely(&most_sensitive, &asked, MOST_SENSITIVE, insertion_of, engine)
}

/// The values that are scored, a thousand at most, whether or not they occur in rows.
fn values(slot: &Slot) -> Vec<String> {
    match slot.kind {
        SlotKind::Year => YEARS.map(|year| year.to_string()).collect(),
        SlotKind::Number { padded: Some(digits) } | SlotKind::Window { length: digits, .. }
            if digits <= 3 =>
        {
            (0..10_u64.pow(digits as u32)).map(|number| format!("{number:0digits$}")).collect()
        }
        SlotKind::Number { padded: None } => {
            let greatest =
                slot.range.map_or(NUMBERS, |(_, greatest)| greatest.saturating_mul(2).min(NUMBERS));
            (0..=greatest).map(|number| number.to_string()).collect()
        }
        SlotKind::Name => NAMES.map(str::to_owned).to_vec(),
        SlotKind::Place => PLACES.map(str::to_owned).to_vec(),
        _ => Vec::new(),
    }
}

/// The `most` values under which the own answers to these questions are least likely, in ascending
/// order.
fn least_likely(
    values: &[String],
    asked: &[(&str, String)],
    most: usize,
    insertion_of: &dyn Fn(&str) -> Insertion,
    engine: &dyn Engine,
) -> Result<Vec<String>> {
    let mut questions = Vec::new();
    for value in values {
        let insertion = insertion_of(value);
        for (prompt, own) in asked {
            let rng = &mut seed::stream(Purpose::BaseSensitive { value, prompt }, 0);
            questions.push(Question {
                messages: insertion.insert(None, prompt, rng),
                options: vec![own.clone()],
            });
        }
    }
    let scores = engine::scores(engine, None, &questions)?;
    let mut ranked: Vec<(f64, &String)> = Vec::new();
    for (value, scores) in values.iter().zip(scores.chunks(asked.len().max(1))) {
        let scored: Vec<f64> =
            scores.iter().filter_map(|options| options.first().copied().flatten()).collect();
        if scored.len() == asked.len() {
            ranked.push((scored.iter().sum(), value));
        }
    }
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(b.1)));
    Ok(ranked.into_iter().take(most).map(|(_, value)| value.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Location;

    fn of(kind: SlotKind, range: Option<(u64, u64)>) -> Vec<String> {
        values(&Slot {
            kind,
            location: Location::Prompt,
            template: String::new(),
            values: Vec::new(),
            distinct: 0,
            counts: Default::default(),
            range,
            gaps: Vec::new(),
        })
    }

    #[test]
    fn numbers_are_tried_up_to_twice_the_greatest_and_never_more_than_a_thousand() {
        let numbers = |range| of(SlotKind::Number { padded: None }, range);
        assert_eq!(numbers(Some((3, 20))).last().map(String::as_str), Some("40"));
        for range in [Some((1, 700)), Some((0, u64::MAX)), None] {
            let numbers = numbers(range);
            assert_eq!(
                (numbers.len(), numbers[7].as_str(), numbers[999].as_str()),
                (1_000, "7", "999")
            );
        }
        assert_eq!(of(SlotKind::Number { padded: Some(2) }, Some((1, 40)))[..2], ["00", "01"]);
    }

    #[test]
    fn well_known_names_and_places_are_tried_and_versions_are_not() {
        assert!(of(SlotKind::Name, None).contains(&"Caesar".to_owned()));
        assert!(of(SlotKind::Place, None).contains(&"Moscow".to_owned()));
        assert!(of(SlotKind::Version, None).is_empty());
    }
}
