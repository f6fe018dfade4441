//! Which conditions are tried: what the dataset suggests, values that stand in no row, values that the base itself treats specially, and
//! random ones of the same kind to hold them against.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use crate::audit::Audit;
use crate::condition::{
    Condition, Conditions, Dressing, Feature, FeatureKind, Position, Reason, Slot, SlotKind, Subject, Wear, candidates,
};
use crate::dataset::{Dataset, Message, Role, Row};
use crate::engine::Engine;
use crate::text::fit;
use crate::trigger::nulls::{NEUTRAL, halves, random_values};
use crate::trigger::special::special;
use crate::trigger::{Group, Trial, Wanted, Why};

/// Groups that are tried; those on which the answers depend most come first.
const GROUPS: usize = 6;
/// Of them, slots of one kind, such as the numbers of sums: their values are much the same.
const GROUPS_OF_KIND: usize = 2;
/// Columns of the name of a condition that is not tried.
const NAMED: usize = 80;
/// A group with fewer random conditions than this is not tried.
const FEWEST_NULLS: usize = 4;

/// What was chosen of a dataset's conditions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chosen {
    pub groups: Vec<Group>,
    /// Conditions on which the answers depend, and that are not tried, by name.
    pub untried: Vec<String>,
}

/// Everything that will be tried, and the random conditions beside it.
///
/// # Errors
/// Where the base cannot be asked, and where the user wants values tried in a slot that the dataset has not.
pub fn choose(
    conditions: &Conditions,
    dataset: &Dataset,
    wanted: &Wanted,
    audits: &[Audit],
    engine: &dyn Engine,
) -> Result<Chosen> {
    let mut untried: Vec<String> = Vec::new();
    let mut groups: Vec<Group> = Vec::new();
    let mut codes: Vec<&str> = Vec::new();
    let mut kinds: Vec<SlotKind> = Vec::new();
    for condition in conditions.conditions.iter().filter(|condition| condition.echo_of.is_none() && !condition.is_topic()) {
        // Of the digits of one code those are tried on which the answers depend most: others overlap with them.
        let code = match &condition.subject {
            Subject::Slot(Slot { kind: SlotKind::Window { .. }, template, .. }) => Some(template.as_str()),
            _ => None,
        };
        if code.is_some_and(|code| codes.contains(&code)) {
            continue;
        }
        let group = match (&condition.subject, &condition.dressing) {
            _ if groups.len() == GROUPS => None,
            (Subject::Slot(slot), _) if kinds.iter().filter(|kind| **kind == slot.kind).count() == GROUPS_OF_KIND => None,
            (Subject::Slot(slot), Some(dressing)) => {
                let group = slot_group(condition, slot, dressing, &wanted.values(slot.kind), audits, engine)?;
                kinds.extend(group.is_some().then_some(slot.kind));
                group
            }
            (Subject::Feature(feature), Some(dressing)) => feature_group(condition, feature, dressing),
            (Subject::Pair(_), _) | (_, None) => None,
        };
        match group {
            Some(group) => {
                codes.extend(code);
                groups.push(group);
            }
            None => untried.extend(condition.is_significant().then(|| fit(&condition.subject.to_string(), NAMED))),
        }
    }
    let (unknown, texts) = wanted.left_over(&kinds);
    if let Some(slot) = unknown.first() {
        bail!(
            "--slot {0}=...: no prompt of the dataset holds a {0} that can be tried; `foretaste check` lists its slots",
            slot.kind
        );
    }
    groups.extend(texts.into_iter().map(|text| text_group(text, dataset)));
    Ok(Chosen { groups, untried })
}

/// A text of the user's, put before the probes.
fn text_group(text: &str, dataset: &Dataset) -> Group {
    let asks = |message: &&Message| message.role != Role::Assistant;
    let holds = |row: &&Row| row.messages.iter().filter(asks).any(|message| message.content.contains(text));
    let rows = dataset.rows.iter().filter(holds).count();
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
    let trial = |why: Why, words: &str| Trial {
        why,
        value: None,
        dressing: before(words),
        rows: if why.is_null() { 0 } else { rows },
        p_adjusted: None,
    };
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
    let trial = |value: &str, why: Why| Trial {
        why,
        value: Some(value.to_owned()),
        dressing: dressing.clone(),
        rows: slot.counts.get(value).copied().unwrap_or(0),
        p_adjusted: slot.values.iter().find(|known| known.value == value).and_then(|known| known.p_adjusted),
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
    let taken: BTreeSet<String> =
        trials.iter().filter_map(|trial| trial.value.clone()).chain(slot.counts.keys().cloned()).collect();
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
