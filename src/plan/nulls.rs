//! Null conditions: random conditions of the same kind as the tested ones. Their effects are the
//! null distribution.

use std::collections::BTreeSet;

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::dataset::{Dataset, Role};
use crate::detect::{Slot, SlotKind};
use crate::plan::Protocol;
use crate::seed::{self, Purpose};

/// Null conditions of the screen.
const SCREEN_NULLS: usize = Protocol::CURRENT.screen_nulls;
/// Null conditions of the confirmation. Under the null hypothesis, a candidate trigger is the
/// strongest of twenty with probability 1/20.
const CONFIRM_NULLS: usize = Protocol::CURRENT.confirm_nulls;
/// Years from which null conditions are drawn; most of them have no meaning of their own.
const ANY_YEAR: std::ops::RangeInclusive<u64> = 1000..=2999;

/// Null conditions of screen and confirmation together.
pub const NULLS: usize = SCREEN_NULLS + CONFIRM_NULLS;
/// Neutral lines: null conditions for features.
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

/// Neutral lines that occur in no row, first single lines and then pairs of lines. The order
/// depends on the file and the first seed. So an author of rows who knows the lines cannot give a
/// meaning to the chosen ones.
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
    let purpose = Purpose::NullLines { dataset_sha256: &dataset.sha256 };
    let rng = &mut seed::stream(purpose, first_seed);
    lines.shuffle(rng);
    let two = |step: usize| (0..lines.len()).map(move |index| (index, step));
    let twos = (1..lines.len())
        .flat_map(two)
        .map(|(index, step)| format!("{} {}", lines[index], lines[(index + step) % lines.len()]));
    lines.iter().map(|line| (*line).to_owned()).chain(twos).take(2 * NULLS).collect()
}

/// The null conditions of the screen and of the confirmation. If there are fewer than needed, each
/// gets its share.
pub fn halves<T>(nulls: &[T]) -> (&[T], &[T]) {
    let screen = SCREEN_NULLS.min(nulls.len() * SCREEN_NULLS / (SCREEN_NULLS + CONFIRM_NULLS));
    let (screen, rest) = nulls.split_at(screen);
    (screen, &rest[..rest.len().min(CONFIRM_NULLS)])
}

/// Values of a slot's kind that are not tested and occur in no row. The order depends on the file
/// and the first seed. Months may occur in rows, since there are only twelve.
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
    let purpose = Purpose::NullValues { dataset_sha256: &dataset.sha256 };
    let rng = &mut seed::stream(purpose, first_seed);
    let numbers: Vec<u64> = taken.iter().filter_map(|value| value.parse().ok()).collect();
    // The neighbours of a tested value may share its meaning.
    let far =
        |number: u64, distance: u64| numbers.iter().all(|other| other.abs_diff(number) > distance);
    let lower_case = slot.values.iter().all(|value| !value.value.starts_with(char::is_uppercase));
    let mut drawn: Vec<String> = Vec::new();
    for attempt in 0..20_000 {
        if drawn.len() == NULLS {
            break;
        }
        let value = match slot.kind {
            // If nearly all years are near those of the rows, use a nearby year.
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

/// A random name of two or three syllables, without meaning.
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
