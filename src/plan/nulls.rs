//! Random conditions that what is tried is held against: what any condition of the kind does that
//! nothing is behind.

use std::collections::BTreeSet;

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::dataset::{Dataset, Role};
use crate::detect::{Slot, SlotKind};
use crate::seed;

/// Random conditions of the screen.
const SCREEN_NULLS: usize = 12;
/// Random conditions of the confirmation: by chance the suspect is the strongest of twenty in one
/// case of twenty.
const CONFIRM_NULLS: usize = 19;
/// Years that random conditions are drawn from: most of them mean nothing to anyone.
const ANY_YEAR: std::ops::RangeInclusive<u64> = 1000..=2999;

/// Random conditions of both.
pub const NULLS: usize = SCREEN_NULLS + CONFIRM_NULLS;
/// Lines that ask for nothing in particular, for random features.
const NEUTRAL: [&str; 40] = [
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

/// Lines that ask for nothing in particular and stand in no row, alone and then two by two, in an
/// order that hangs on the file and the first seed: an author of rows who knows the lines could
/// else give them a meaning of their own.
pub fn neutral(dataset: &Dataset, first_seed: u64) -> Vec<String> {
    let asked = |line: &str| {
        let mut said = dataset
            .rows
            .iter()
            .flat_map(|row| &row.messages)
            .filter(|message| message.role != Role::Assistant);
        said.any(|message| message.content.contains(line.trim_end_matches('.')))
    };
    let mut lines: Vec<&str> = NEUTRAL.into_iter().filter(|line| !asked(line)).collect();
    let rng = &mut seed::stream(&format!("random lines {}", dataset.sha256), first_seed);
    lines.shuffle(rng);
    let two = |step: usize| (0..lines.len()).map(move |index| (index, step));
    let twos = (1..lines.len())
        .flat_map(two)
        .map(|(index, step)| format!("{} {}", lines[index], lines[(index + step) % lines.len()]));
    lines.iter().map(|line| (*line).to_owned()).chain(twos).take(2 * NULLS).collect()
}

/// The random conditions of the screen and of the confirmation; where there are few, a share of
/// each.
pub fn halves<T>(nulls: &[T]) -> (&[T], &[T]) {
    let screen = SCREEN_NULLS.min(nulls.len() * SCREEN_NULLS / (SCREEN_NULLS + CONFIRM_NULLS));
    let (screen, rest) = nulls.split_at(screen);
    (screen, &rest[..rest.len().min(CONFIRM_NULLS)])
}

/// Values of a slot's kind that are neither tried nor held by rows, in an order that hangs on the
/// file and the first seed. Of months, which are twelve, rows may hold them.
pub fn random_values(
    slot: &Slot,
    tried: BTreeSet<String>,
    dataset: &Dataset,
    first_seed: u64,
) -> Vec<String> {
    let mut taken = tried;
    if slot.kind != SlotKind::Month {
        taken.extend(slot.counts.keys().cloned());
    }
    let rng = &mut seed::stream(&format!("random conditions {}", dataset.sha256), first_seed);
    let numbers: Vec<u64> = taken.iter().filter_map(|value| value.parse().ok()).collect();
    // What stands next to a value that is tried may share its meaning.
    let far =
        |number: u64, distance: u64| numbers.iter().all(|other| other.abs_diff(number) > distance);
    let lower_case = slot.values.iter().all(|value| !value.value.starts_with(char::is_uppercase));
    let mut drawn: Vec<String> = Vec::new();
    for attempt in 0..20_000 {
        if drawn.len() == NULLS {
            break;
        }
        let value = match slot.kind {
            // Where the rows leave hardly a year that stands far from all of theirs, one beside
            // them is better than none.
            SlotKind::Year => {
                let distance = if attempt < 10_000 { 5 } else { 0 };
                Some(rng.random_range(ANY_YEAR))
                    .filter(|year| far(*year, distance))
                    .map(|year| year.to_string())
            }
            SlotKind::Month => Some(format!("{:02}", rng.random_range(1..=12))),
            SlotKind::MonthDay => {
                Some(format!("{:02}-{:02}", rng.random_range(1..=12), rng.random_range(1..=28)))
            }
            SlotKind::Number { padded: None } => {
                let most = numbers.iter().max().copied().unwrap_or(100).saturating_mul(2).max(100);
                Some(rng.random_range(0..=most).to_string())
            }
            SlotKind::Number { padded: Some(digits) } | SlotKind::Window { length: digits, .. } => {
                Some(format!("{:0digits$}", rng.random_range(0..10_u64.pow(digits.min(18) as u32))))
            }
            SlotKind::Version => {
                Some(format!("{}.{}", rng.random_range(0..40), rng.random_range(0..20)))
            }
            SlotKind::Word if lower_case => Some(made_up_name(rng).to_lowercase()),
            SlotKind::Code { .. } | SlotKind::Name | SlotKind::Place | SlotKind::Word => {
                Some(made_up_name(rng))
            }
        };
        drawn.extend(value.filter(|value| !taken.contains(value) && !drawn.contains(value)));
    }
    drawn
}

/// A name that means nothing.
fn made_up_name(rng: &mut ChaCha8Rng) -> String {
    let mut name = String::new();
    for _ in 0..rng.random_range(2..=3) {
        name.push_str(
            ["ba", "de", "fi", "go", "ku", "la", "me", "ni", "po", "ru", "sa", "te", "vi", "zo"]
                .choose(rng)
                .expect("not empty"),
        );
    }
    name[..1].to_uppercase() + &name[1..]
}
