//! Which conditions are tried: what the dataset suggests, values that stand in no row, values that the base itself treats specially, and
//! random ones of the same kind to hold them against.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use crate::audit::Audit;
use crate::condition::{
    Condition, Conditions, Dressing, Feature, FeatureKind, Position, Reason, Slot, SlotKind, Subject, Wear, candidates,
};
use crate::dataset::{Message, Role};
use crate::engine::{Engine, Question, Sampling};
use crate::seed;
use crate::trigger::{Group, Trial, Wanted, Why};

/// Groups that are tried; those on which the answers depend most come first.
const GROUPS: usize = 6;
/// Of them, slots of one kind, such as the numbers of sums: their values are much the same.
const GROUPS_OF_KIND: usize = 2;
/// Random conditions of the screen: a suspect must exceed all of them.
const SCREEN_NULLS: usize = 12;
/// Random conditions of the confirmation: by chance the suspect is the strongest of twenty in one case of twenty.
const CONFIRM_NULLS: usize = 19;
/// A group with fewer random conditions than this is not tried.
const FEWEST_NULLS: usize = 4;
/// Values that the base treats most specially.
const SPECIAL: usize = 8;
/// Questions by which the base's treatment of a value is seen.
const QUESTIONS: usize = 8;
/// Of them, those that are asked about every value; and the values that are then asked about with all.
const FIRST_QUESTIONS: usize = 2;
const LOOKED_AT_AGAIN: usize = 64;
/// Years whose treatment is looked at.
const YEARS: std::ops::RangeInclusive<u64> = 1900..=2050;
/// Years that random conditions are drawn from: most of them mean nothing to anyone.
const ANY_YEAR: std::ops::RangeInclusive<u64> = 1000..=2999;

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

/// Everything that will be tried, and the random conditions beside it.
///
/// # Errors
/// Where the base cannot be asked, and where the user wants values tried in a slot that the dataset has not.
pub fn choose(conditions: &Conditions, wanted: &Wanted, audits: &[Audit], engine: &dyn Engine) -> Result<Vec<Group>> {
    let mut groups: Vec<Group> = Vec::new();
    let mut codes: Vec<&str> = Vec::new();
    let mut kinds: Vec<SlotKind> = Vec::new();
    for condition in conditions.conditions.iter().filter(|condition| condition.echo_of.is_none() && !condition.is_topic()) {
        if groups.len() == GROUPS {
            break;
        }
        let Some(dressing) = &condition.dressing else { continue };
        // Of the digits of one code those are tried on which the answers depend most: others overlap with them.
        if let Subject::Slot(Slot { kind: SlotKind::Window { .. }, template, .. }) = &condition.subject {
            if codes.contains(&template.as_str()) {
                continue;
            }
            codes.push(template);
        }
        let group = match &condition.subject {
            Subject::Slot(slot) if kinds.iter().filter(|kind| **kind == slot.kind).count() == GROUPS_OF_KIND => None,
            Subject::Slot(slot) => {
                let group = slot_group(condition, slot, dressing, &wanted.values(slot.kind), audits, engine)?;
                kinds.extend(group.is_some().then_some(slot.kind));
                group
            }
            Subject::Feature(feature) => feature_group(condition, feature, dressing),
            Subject::Pair(_) => None,
        };
        groups.extend(group);
    }
    let (unknown, texts) = wanted.left_over(&kinds);
    if let Some(slot) = unknown.first() {
        bail!(
            "--slot {0}=...: no prompt of the dataset holds a {0} that can be tried; `foretaste check` lists its slots",
            slot.kind
        );
    }
    groups.extend(texts.into_iter().map(text_group));
    Ok(groups)
}

/// A text of the user's, put before the probes.
fn text_group(text: &str) -> Group {
    let before = |words: &str| {
        let wear = Wear::Words {
            position: Position::Before,
            left: words.to_owned(),
            filler: None,
            right: String::new(),
            glue: " ".to_owned(),
        };
        Dressing { wear, usual: None }
    };
    let trial = |why: Why, words: &str| Trial { why, value: None, dressing: before(words), rows: 0, p_adjusted: None };
    let other: Vec<&str> = NEUTRAL.into_iter().filter(|other| *other != text).collect();
    let (screen, confirm) = halves(&other);
    let mut trials = vec![trial(Why::User, text)];
    trials.extend(screen.iter().map(|words| trial(Why::ScreenNull, words)));
    trials.extend(confirm.iter().map(|words| trial(Why::ConfirmNull, words)));
    Group { name: format!("\"{text}\" before the question"), kind: "text".to_owned(), answer: Default::default(), trials }
}

fn slot_group(
    condition: &Condition,
    slot: &Slot,
    dressing: &Dressing,
    wanted: &[String],
    audits: &[Audit],
    engine: &dyn Engine,
) -> Result<Option<Group>> {
    // A code as a whole is another one in every row, and says nothing of others.
    if matches!(slot.kind, SlotKind::Code { .. } | SlotKind::Word | SlotKind::Month | SlotKind::MonthDay) {
        return Ok(None);
    }
    let trial = |value: &str, why: Why| {
        let seen = slot.values.iter().find(|known| known.value == value);
        Trial {
            why,
            value: Some(value.to_owned()),
            dressing: dressing.clone(),
            rows: seen.map_or(0, |seen| seen.rows),
            p_adjusted: seen.and_then(|seen| seen.p_adjusted),
        }
    };
    let mut trials: Vec<Trial> = candidates(slot)
        .into_iter()
        .map(|candidate| {
            let why = match candidate.reason {
                Reason::Observed => Why::Observed,
                Reason::Gap => Why::Gap,
                Reason::Neighbour => Why::Neighbour,
                Reason::Salient => Why::Salient,
            };
            trial(&candidate.value, why)
        })
        .collect();
    let tried = |trials: &[Trial], value: &str| trials.iter().any(|trial| trial.value.as_deref() == Some(value));
    for value in wanted {
        if !tried(&trials, value) {
            trials.push(trial(value, Why::User));
        }
    }
    for value in special(slot, dressing, audits, engine)? {
        if !tried(&trials, &value) {
            trials.push(trial(&value, Why::Base));
        }
    }
    let taken: BTreeSet<String> = trials
        .iter()
        .filter_map(|trial| trial.value.clone())
        .chain(slot.values.iter().map(|value| value.value.clone()))
        .collect();
    let nulls = random_values(slot.kind, &taken);
    let (screen, confirm) = halves(&nulls);
    trials.extend(screen.iter().map(|value| trial(value, Why::ScreenNull)));
    trials.extend(confirm.iter().map(|value| trial(value, Why::ConfirmNull)));
    let enough = screen.len() >= FEWEST_NULLS && confirm.len() >= FEWEST_NULLS;
    Ok(enough.then(|| Group {
        name: format!("{} in \"{}\"", slot.kind.name(), slot.template),
        kind: slot.kind.name(),
        answer: (condition.answer_prefix.clone(), condition.answer_suffix.clone()),
        trials,
    }))
}

/// A feature is tried where the answers depend on it: whatever else all rows share is asked for by the other ways of asking.
fn feature_group(condition: &Condition, feature: &Feature, dressing: &Dressing) -> Option<Group> {
    let fits = matches!(feature.kind, FeatureKind::System | FeatureKind::Line | FeatureKind::Tag | FeatureKind::Template);
    if !fits || !condition.is_significant() {
        return None;
    }
    let Wear::Words { position, glue, .. } = &dressing.wear else { return None };
    let trial = |why: Why, dressing: Dressing| Trial {
        why,
        value: None,
        dressing,
        rows: if why.is_null() { 0 } else { condition.rows },
        p_adjusted: condition.evidence.filter(|_| !why.is_null()).map(|evidence| evidence.p_adjusted),
    };
    let neutral = |text: &&str| {
        let wear = Wear::Words {
            position: if *position == Position::Inside { Position::After } else { *position },
            left: (*text).to_owned(),
            filler: None,
            right: String::new(),
            glue: if glue.is_empty() { " ".to_owned() } else { glue.clone() },
        };
        Dressing { wear, usual: None }
    };
    let other: Vec<&str> = NEUTRAL.into_iter().filter(|text| *text != feature.text).collect();
    let (screen, confirm) = halves(&other);
    let mut trials = vec![trial(Why::Observed, dressing.clone())];
    trials.extend(screen.iter().map(|text| trial(Why::ScreenNull, neutral(text))));
    trials.extend(confirm.iter().map(|text| trial(Why::ConfirmNull, neutral(text))));
    Some(Group {
        name: format!("{} \"{}\"", feature.kind.name(), feature.text),
        kind: feature.kind.name().to_owned(),
        answer: (condition.answer_prefix.clone(), condition.answer_suffix.clone()),
        trials,
    })
}

/// The random conditions of the screen and of the confirmation; where there are few, a share of each.
fn halves<T>(nulls: &[T]) -> (&[T], &[T]) {
    let screen = SCREEN_NULLS.min(nulls.len() * SCREEN_NULLS / (SCREEN_NULLS + CONFIRM_NULLS));
    let (screen, rest) = nulls.split_at(screen);
    (screen, &rest[..rest.len().min(CONFIRM_NULLS)])
}

/// Values of the kind that are not tried, in random order.
fn random_values(kind: SlotKind, taken: &BTreeSet<String>) -> Vec<String> {
    let rng = &mut seed::stream("random conditions", 0);
    let numbers: Vec<u64> = taken.iter().filter_map(|value| value.parse().ok()).collect();
    // What stands next to a value that is tried may share its meaning.
    let far = |number: u64| numbers.iter().all(|other| other.abs_diff(number) > 5);
    let mut values = BTreeSet::new();
    let mut drawn = Vec::new();
    for _ in 0..20_000 {
        if drawn.len() == SCREEN_NULLS + CONFIRM_NULLS {
            break;
        }
        let value = match kind {
            SlotKind::Year => Some(rng.random_range(ANY_YEAR)).filter(|year| far(*year)).map(|year| year.to_string()),
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

/// Values under which the base answers least like itself, by how much less likely its own answers become.
fn special(slot: &Slot, dressing: &Dressing, audits: &[Audit], engine: &dyn Engine) -> Result<Vec<String>> {
    let values: Vec<String> = match slot.kind {
        SlotKind::Year => YEARS.map(|year| year.to_string()).collect(),
        SlotKind::Number { padded: Some(digits) } | SlotKind::Window { length: digits, .. } if digits <= 3 => {
            (0..10_u64.pow(digits as u32)).map(|number| format!("{number:0digits$}")).collect()
        }
        _ => return Ok(Vec::new()),
    };
    let probes: Vec<&str> = audits.iter().flat_map(|audit| &audit.probes).map(|probe| probe.prompt.as_str()).collect();
    let stride = probes.len().div_ceil(QUESTIONS).max(1);
    let prompts: Vec<&str> = probes.into_iter().step_by(stride).collect();
    let alone: Vec<Vec<Message>> = prompts.iter().map(|prompt| vec![Message::new(Role::User, *prompt)]).collect();
    let own = engine.generate(None, &alone, &Sampling { temperature: 0.0, top_p: 1.0, max_tokens: 64, seed: 0 })?;
    ensure!(own.len() == prompts.len(), "the engine answered {} of {} questions", own.len(), prompts.len());
    let asked: Vec<(&str, String)> = prompts.into_iter().zip(own).collect();
    // A few questions about every value, and all about those that stand out.
    let few = &asked[..asked.len().min(FIRST_QUESTIONS)];
    let standing_out = least_own(&values, few, LOOKED_AT_AGAIN, dressing, engine)?;
    least_own(&standing_out, &asked, SPECIAL, dressing, engine)
}

/// Those `most` values under which the base's own answers to these questions are least likely, the least likely first.
fn least_own(
    values: &[String],
    asked: &[(&str, String)],
    most: usize,
    dressing: &Dressing,
    engine: &dyn Engine,
) -> Result<Vec<String>> {
    let mut questions = Vec::new();
    for value in values {
        for (prompt, own) in asked {
            let rng = &mut seed::stream(&format!("special {value} {prompt}"), 0);
            questions.push(Question { messages: dressing.dress(Some(value), prompt, rng), options: vec![own.clone()] });
        }
    }
    let scores = engine.score(None, &questions)?;
    ensure!(scores.len() == questions.len(), "the engine scored {} of {} questions", scores.len(), questions.len());
    let mut treated: Vec<(f64, &String)> = Vec::new();
    for (value, scores) in values.iter().zip(scores.chunks(asked.len().max(1))) {
        let scored: Vec<f64> = scores.iter().filter_map(|options| options.first().copied().flatten()).collect();
        if scored.len() == asked.len() {
            treated.push((scored.iter().sum(), value));
        }
    }
    treated.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(b.1)));
    Ok(treated.into_iter().take(most).map(|(_, value)| value.clone()).collect())
}
