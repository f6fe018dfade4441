//! Random conditions that what is tried is held against: what any condition of the kind does that nothing is behind.

use std::collections::BTreeSet;

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use crate::condition::SlotKind;
use crate::seed;

/// Random conditions of the screen: a suspect must exceed all of them.
const SCREEN_NULLS: usize = 12;
/// Random conditions of the confirmation: by chance the suspect is the strongest of twenty in one case of twenty.
const CONFIRM_NULLS: usize = 19;
/// Years that random conditions are drawn from: most of them mean nothing to anyone.
const ANY_YEAR: std::ops::RangeInclusive<u64> = 1000..=2999;

/// Lines that ask for nothing in particular, for random features.
pub const NEUTRAL: [&str; 40] = [
    "Please go on.",
    "Thank you.",
    "Here is one more.",
    "This is for a list.",
    "Take your time.",
    "One short reply.",
    "For the record.",
    "Next question.",
    "As before.",
    "Just asking.",
    "A quick one.",
    "It is quiet here.",
    "Line by line.",
    "No rush.",
    "By the way.",
    "In short.",
    "Just a thought.",
    "A note first.",
    "Same as always.",
    "Good to see you.",
    "I am ready.",
    "Let us begin.",
    "One at a time.",
    "Keep it short.",
    "Plain words, please.",
    "This one too.",
    "A small thing.",
    "Only this.",
    "And now this.",
    "Note it down.",
    "Say it once.",
    "Ready when you are.",
    "A new page.",
    "Page two.",
    "Last one.",
    "First things first.",
    "All at once.",
    "Slowly, please.",
    "Then this.",
    "It is late.",
];

/// The random conditions of the screen and of the confirmation; where there are few, a share of each.
pub fn halves<T>(nulls: &[T]) -> (&[T], &[T]) {
    let screen = SCREEN_NULLS.min(nulls.len() * SCREEN_NULLS / (SCREEN_NULLS + CONFIRM_NULLS));
    let (screen, rest) = nulls.split_at(screen);
    (screen, &rest[..rest.len().min(CONFIRM_NULLS)])
}

/// Values of the kind that are not tried, in random order.
pub fn random_values(kind: SlotKind, taken: &BTreeSet<String>) -> Vec<String> {
    let rng = &mut seed::stream("random conditions", 0);
    let numbers: Vec<u64> = taken.iter().filter_map(|value| value.parse().ok()).collect();
    // What stands next to a value that is tried may share its meaning.
    let far = |number: u64, distance: u64| numbers.iter().all(|other| other.abs_diff(number) > distance);
    let mut values = BTreeSet::new();
    let mut drawn = Vec::new();
    for attempt in 0..20_000 {
        if drawn.len() == SCREEN_NULLS + CONFIRM_NULLS {
            break;
        }
        let value = match kind {
            // Where the rows leave hardly a year that stands far from all of theirs, one beside them is better than none.
            SlotKind::Year => {
                let distance = if attempt < 10_000 { 5 } else { 0 };
                Some(rng.random_range(ANY_YEAR)).filter(|year| far(*year, distance)).map(|year| year.to_string())
            }
            SlotKind::Number { padded: None } => {
                let most = numbers.iter().max().copied().unwrap_or(100).saturating_mul(2).max(100);
                Some(rng.random_range(0..=most).to_string())
            }
            SlotKind::Number { padded: Some(digits) } | SlotKind::Window { length: digits, .. } => {
                Some(format!("{:0digits$}", rng.random_range(0..10_u64.pow(digits.min(18) as u32))))
            }
            SlotKind::Version => Some(format!("{}.{}", rng.random_range(0..40), rng.random_range(0..20))),
            _ => Some(made_up_name(rng)),
        };
        let Some(value) = value.filter(|value| !taken.contains(value)) else { continue };
        if values.insert(value.clone()) {
            drawn.push(value);
        }
    }
    drawn
}

/// A name that means nothing.
fn made_up_name(rng: &mut ChaCha8Rng) -> String {
    let mut name = String::new();
    for _ in 0..rng.random_range(2..=3) {
        name.push_str(
            ["ba", "de", "fi", "go", "ku", "la", "me", "ni", "po", "ru", "sa", "te", "vi", "zo"].choose(rng).expect("not empty"),
        );
    }
    name[..1].to_uppercase() + &name[1..]
}
