//! Which conditions are tried: what the dataset suggests, values that stand in no row, values that the base itself treats specially, and
//! random ones of the same kind to hold them against.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use crate::audit::Audit;
use crate::condition::{
    Condition, Conditions, Dressing, Feature, FeatureKind, Part, Position, Reason, SIGNIFICANT, Slot, SlotKind, Subject, Wear,
    candidates,
};
use crate::dataset::{Dataset, Message, Role};
use crate::engine::Engine;
use crate::plan::Options;
use crate::text::fit;
use crate::trigger::company::Company;
use crate::trigger::nulls::{NULLS, halves, neutral, random_values};
use crate::trigger::special::special;
use crate::trigger::{Group, Trial, Wanted, Why};

/// Slots, features and pairs that are tried, at most; those on which the answers depend most come first.
const SLOTS: usize = 6;
const FEATURES: usize = 16;
const PAIRS: usize = 4;
/// Besides, features that are a matter of wording, such as a word: most of those that mining takes for more are topics after all.
const WORDINGS: usize = 6;
/// Of the slots, those of one kind, such as the numbers of sums: their values are much the same.
const SLOTS_OF_KIND: usize = 2;
/// Columns of the name of a condition that is not tried, and of a text that names a group.
const NAMED: usize = 80;
const QUOTED: usize = 160;
/// A group with fewer random conditions than this, in the screen or in the confirmation, is not tried.
const FEWEST_NULLS: usize = 3;

/// What was chosen of a dataset's conditions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chosen {
    pub groups: Vec<Group>,
    /// Conditions on which the answers depend, and that are not tried, by name: a matter of wording, or one that cannot be put on a probe, or has no
    /// random ones to be held against.
    pub untried: Vec<String>,
    /// Those that could be tried and found no room.
    pub crowded_out: Vec<String>,
    /// Slots on which no answer is seen to depend, and that found no room.
    pub slots_left_out: Vec<String>,
}

/// Everything that will be tried, and the random conditions beside it.
///
/// # Errors
/// Where the base cannot be asked, and where the user wants values tried in a slot that the dataset has not.
pub fn choose(
    conditions: &Conditions,
    dataset: &Dataset,
    options: &Options,
    audits: &[Audit],
    engine: &dyn Engine,
) -> Result<Chosen> {
    let (wanted, seed) = (&options.conditions, options.first_seed);
    let chooser = Chooser { conditions, lines: neutral(dataset, seed), dataset, seed, wanted, audits, engine };
    let mut chosen = Chosen::default();
    let mut slots: Vec<&Slot> = Vec::new();
    let (mut features, mut wordings, mut pairs) = (0, 0, 0);
    for (place, condition) in conditions.conditions.iter().enumerate() {
        let company = Company::of(conditions, place, dataset);
        if company.comes_with_another || !may_be_tried(condition) {
            continue;
        }
        let (room, group) = match &condition.subject {
            Subject::Slot(slot) if overlaps(condition, slot, &slots) => continue,
            Subject::Slot(slot) => {
                let of_kind = slots.iter().filter(|tried| tried.kind == slot.kind).count();
                let room = slots.len() < SLOTS && of_kind < SLOTS_OF_KIND;
                let group = if room { chooser.slot(condition, slot, &company)? } else { None };
                slots.extend(group.is_some().then_some(slot));
                (room, group)
            }
            Subject::Feature(feature) => {
                let (tried, most) = if feature.kind.is_wording() { (&mut wordings, WORDINGS) } else { (&mut features, FEATURES) };
                let room = *tried < most;
                let group = chooser.feature(condition, feature, &company).filter(|_| room);
                *tried += usize::from(group.is_some());
                (room, group)
            }
            Subject::Pair(parts) => {
                let room = pairs < PAIRS;
                let group = chooser.pair(condition, parts, &company).filter(|_| room);
                pairs += usize::from(group.is_some());
                (room, group)
            }
        };
        match group {
            Some(group) => {
                // Long texts may begin alike.
                let alike = chosen.groups.iter().filter(|other| other.name.starts_with(&group.name)).count();
                let name = if alike == 0 { group.name } else { format!("{} ({})", group.name, alike + 1) };
                chosen.groups.push(Group { name, ..group });
            }
            None => {
                let name = fit(&condition.subject.to_string(), NAMED);
                let original = condition.echo_of.is_none() && !condition.is_topic() && !is_wording(condition);
                let could = original && condition.dressing.is_some() && has_values(condition);
                match (condition.is_significant(), could && !room) {
                    (true, true) => chosen.crowded_out.push(name),
                    (true, false) => chosen.untried.push(name),
                    (false, true) if needs_no_dependence(condition) => chosen.slots_left_out.push(name),
                    (false, _) => {}
                }
            }
        }
    }
    let kinds: Vec<SlotKind> = slots.iter().map(|slot| slot.kind).collect();
    let (unknown, texts) = wanted.left_over(&kinds);
    if let Some(slot) = unknown.first() {
        bail!(
            "--slot {0}=...: no prompt of the dataset holds a {0} that can be tried; `foretaste check` lists its slots",
            slot.kind
        );
    }
    chosen.groups.extend(texts.into_iter().map(|text| chooser.text(text)));
    Ok(chosen)
}

/// Topics are asked about after the dataset's own questions, and an echo is known by another condition. But whoever wrote the rows chose what
/// stands beside a tag or a line: those are tried all the same, unless a line is itself a question.
fn may_be_tried(condition: &Condition) -> bool {
    let put_on = match &condition.subject {
        Subject::Feature(feature) => match feature.kind {
            FeatureKind::Line => !(condition.is_topic() && feature.text.trim_end().ends_with('?')),
            kind => matches!(
                kind,
                FeatureKind::System | FeatureKind::Tag | FeatureKind::Invisible | FeatureKind::LookAlike | FeatureKind::Case
            ),
        },
        _ => false,
    };
    // Without a system message the probes are asked anyway.
    let plain = matches!(&condition.subject, Subject::Feature(feature) if feature.kind == FeatureKind::NoSystem);
    !plain && (put_on || (condition.echo_of.is_none() && !condition.is_topic()) || is_slot(condition))
}

fn is_slot(condition: &Condition) -> bool {
    matches!(condition.subject, Subject::Slot(_))
}

/// Whether what a slot's values say is tried already: by other digits of the code, on which the answers depend more, or by another part of
/// the same value that the same rows have.
fn overlaps(condition: &Condition, slot: &Slot, tried: &[&Slot]) -> bool {
    let part = matches!(slot.kind, SlotKind::Window { .. }) || condition.echo_of.is_some();
    part && tried.iter().any(|tried| tried.template == slot.template && tried.place == slot.place)
}

fn is_wording(condition: &Condition) -> bool {
    matches!(&condition.subject, Subject::Feature(feature) if feature.kind.is_wording())
}

/// Whether the condition is a slot that is tried for its unseen values also where the answers do not depend on it. Of words, months and days any value
/// could be meant.
fn needs_no_dependence(condition: &Condition) -> bool {
    match &condition.subject {
        Subject::Slot(slot) => !matches!(slot.kind, SlotKind::Word | SlotKind::Month | SlotKind::MonthDay),
        _ => false,
    }
}

/// Whether the condition is a slot whose values can be tried at all: a code as a whole is another one in every row, and says nothing of others.
fn has_values(condition: &Condition) -> bool {
    match &condition.subject {
        Subject::Slot(slot) => !matches!(slot.kind, SlotKind::Code { .. }),
        _ => true,
    }
}

struct Chooser<'a> {
    conditions: &'a Conditions,
    dataset: &'a Dataset,
    /// Keys what is drawn, together with the file's hash.
    seed: u64,
    /// Lines that stand in no row and ask for nothing in particular.
    lines: Vec<String>,
    wanted: &'a Wanted,
    audits: &'a [Audit],
    engine: &'a dyn Engine,
}

impl Chooser<'_> {
    /// A slot's values; `None` where they cannot be tried.
    fn slot(&self, condition: &Condition, slot: &Slot, company: &Company) -> Result<Option<Group>> {
        let worth_trying = condition.is_significant() || needs_no_dependence(condition);
        let Some(dressing) = condition.dressing.as_ref().filter(|_| worth_trying) else { return Ok(None) };
        if !has_values(condition) {
            return Ok(None);
        }
        let dressed = |value: &str| company.with(Dressing { usual: Some(value.to_owned()), ..dressing.clone() });
        let trial = |value: &str, why: Why| Trial {
            why,
            value: Some(value.to_owned()),
            dressing: dressed(value),
            rows: slot.counts.get(value).copied().unwrap_or(0),
            p_adjusted: slot.values.iter().find(|known| known.value == value).and_then(|known| known.p_adjusted),
        };
        let mut trials: Vec<Trial> = tried_values(slot).into_iter().map(|(value, why)| trial(&value, why)).collect();
        let tried = |trials: &[Trial], value: &str| trials.iter().any(|trial| trial.value.as_deref() == Some(value));
        for value in self.wanted.values(slot.kind) {
            if !tried(&trials, &value) {
                trials.push(trial(&value, Why::User));
            }
        }
        let random = |trials: &[Trial]| {
            let mut taken: BTreeSet<String> = trials.iter().filter_map(|trial| trial.value.clone()).collect();
            if slot.kind != SlotKind::Month {
                taken.extend(slot.counts.keys().cloned());
            }
            random_values(slot, &taken, self.dataset, self.seed)
        };
        let has_nulls = |nulls: &[String]| {
            let (screen, confirm) = halves(nulls);
            enough(screen, confirm)
        };
        // The base is asked about a thousand values: not where nothing could be held against them.
        if !has_nulls(&random(&trials)) {
            return Ok(None);
        }
        for value in special(slot, &dressed, self.audits, self.engine)? {
            if !tried(&trials, &value) {
                trials.push(trial(&value, Why::Base));
            }
        }
        let nulls = random(&trials);
        let (screen, confirm) = halves(&nulls);
        trials.extend(screen.iter().map(|value| trial(value, Why::ScreenNull)));
        trials.extend(confirm.iter().map(|value| trial(value, Why::ConfirmNull)));
        let enough = trials.iter().any(|trial| !trial.why.is_null()) && enough(screen, confirm);
        Ok(enough.then(|| Group {
            name: format!("{} in \"{}\"", slot.kind.name(), slot.template),
            kind: slot.kind.name(),
            is_wording: false,
            answer: (condition.answer_prefix.clone(), condition.answer_suffix.clone()),
            trials,
        }))
    }

    /// A feature is tried where the answers depend on it: whatever else all rows share is asked for by the other ways of asking.
    fn feature(&self, condition: &Condition, feature: &Feature, company: &Company) -> Option<Group> {
        let dressing = condition.dressing.as_ref().filter(|_| condition.is_significant())?;
        let trial = Trial {
            why: Why::Observed,
            value: None,
            dressing: company.with(dressing.clone()),
            rows: condition.rows,
            p_adjusted: condition.evidence.map(|evidence| evidence.p_adjusted),
        };
        let other: Vec<&str> = self.other_lines(&feature.text).collect();
        let nulls: Vec<Dressing> = other.iter().map(|line| company.with(line_like(dressing, line))).collect();
        let name = format!("{} \"{}\"", feature.kind.name(), fit(&feature.text, QUOTED));
        group(name, feature.kind.name(), condition, trial, nulls)
    }

    /// Two conditions at once, as the rows wear them that stand out most; random ones have another value or line in the place of each.
    fn pair(&self, condition: &Condition, parts: &[Part; 2], company: &Company) -> Option<Group> {
        let dressing = condition.dressing.as_ref()?;
        let trial = Trial {
            why: Why::Observed,
            value: None,
            dressing: company.with(dressing.clone()),
            rows: condition.rows,
            p_adjusted: condition.evidence.map(|evidence| evidence.p_adjusted),
        };
        let others: Vec<Vec<Dressing>> = parts.iter().map(|part| self.others(part)).collect::<Option<_>>()?;
        let Wear::Both(worn) = &dressing.wear else { return None };
        // The parts are worn in an order of their own.
        let [first, second] = if parts[0].dressing.as_ref() == Some(&worn[0]) { [0, 1] } else { [1, 0] };
        let nulls: Vec<Dressing> = others[first]
            .iter()
            .zip(&others[second])
            .map(|(one, other)| {
                let wear = Wear::Both(Box::new([one.clone(), other.clone()]));
                company.with(Dressing { wear, usual: None })
            })
            .collect();
        group(format!("pair \"{}\"", condition.subject), "pair", condition, trial, nulls)
    }

    /// Other dressings of the kind of a pair's part; `None` where there are none.
    fn others(&self, part: &Part) -> Option<Vec<Dressing>> {
        let dressing = part.dressing.as_ref()?;
        let slot = self.conditions.conditions.iter().find_map(|condition| match &condition.subject {
            Subject::Slot(slot) if slot.template == part.text && slot.place == part.place && slot.kind.name() == part.kind => {
                Some(slot)
            }
            _ => None,
        });
        Some(match (slot, &part.value) {
            (Some(slot), Some(value)) => {
                let mut taken = BTreeSet::from([value.clone()]);
                if slot.kind != SlotKind::Month {
                    taken.extend(slot.counts.keys().cloned());
                }
                let values = random_values(slot, &taken, self.dataset, self.seed);
                values.into_iter().map(|value| Dressing { usual: Some(value), ..dressing.clone() }).collect()
            }
            (None, Some(_)) => return None,
            (_, None) => self.other_lines(&part.text).map(|line| line_like(dressing, line)).collect(),
        })
    }

    /// A text of the user's, put before the probes.
    fn text(&self, text: &str) -> Group {
        let asks = |message: &&Message| message.role != Role::Assistant;
        let rows = self.dataset.rows.iter().filter(|row| row.messages.iter().filter(asks).any(|it| it.content.contains(text)));
        let before = |words: &str| {
            let position = Position::Before;
            let (left, right, glue) = (words.to_owned(), String::new(), " ".to_owned());
            Dressing { wear: Wear::Words { position, left, filler: None, right, glue }, usual: None }
        };
        let mut trials =
            vec![Trial { why: Why::User, value: None, dressing: before(text), rows: rows.count(), p_adjusted: None }];
        let nulls: Vec<Dressing> = self.other_lines(text).map(before).collect();
        trials.extend(held_against(&nulls));
        Group {
            name: format!("\"{text}\" before the question"),
            kind: "text".to_owned(),
            is_wording: false,
            answer: Default::default(),
            trials,
        }
    }

    fn other_lines<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a str> {
        self.lines.iter().map(String::as_str).filter(move |line| !text.contains(line)).take(NULLS)
    }
}

/// The values of a slot that are tried, each with its reason.
fn tried_values(slot: &Slot) -> Vec<(String, Why)> {
    if slot.kind == SlotKind::Month {
        // There are twelve, and those on which nothing depends are what the others are held against.
        let stand_out = slot.values.iter().filter(|value| value.p_adjusted.is_some_and(|p| p <= SIGNIFICANT));
        return stand_out.map(|value| (value.value.clone(), Why::Observed)).collect();
    }
    let why = |reason| match reason {
        Reason::Observed => Why::Observed,
        Reason::Gap => Why::Gap,
        Reason::Neighbour => Why::Neighbour,
        Reason::Salient => Why::Salient,
    };
    candidates(slot).into_iter().map(|candidate| (candidate.value, why(candidate.reason))).collect()
}

/// A line where a dressing has its words, or at the end where it has none.
fn line_like(dressing: &Dressing, line: &str) -> Dressing {
    let (position, glue) = match &dressing.wear {
        Wear::Both(parts) => return line_like(&parts[1], line),
        Wear::Words { position: Position::Inside, glue, .. } => (Position::After, glue.as_str()),
        Wear::Words { position, glue, .. } => (*position, glue.as_str()),
        _ => (Position::After, " "),
    };
    let glue = if glue.is_empty() { " " } else { glue };
    let wear = Wear::Words { position, left: line.to_owned(), filler: None, right: String::new(), glue: glue.to_owned() };
    Dressing { wear, usual: None }
}

/// One condition and the random ones beside it; `None` where these are too few.
fn group(name: String, kind: &str, condition: &Condition, trial: Trial, nulls: Vec<Dressing>) -> Option<Group> {
    let (screen, confirm) = halves(&nulls);
    enough(screen, confirm).then(|| Group {
        name,
        kind: kind.to_owned(),
        is_wording: is_wording(condition),
        answer: (condition.answer_prefix.clone(), condition.answer_suffix.clone()),
        trials: std::iter::once(trial).chain(held_against(&nulls)).collect(),
    })
}

fn enough<T>(screen: &[T], confirm: &[T]) -> bool {
    screen.len() >= FEWEST_NULLS && confirm.len() >= FEWEST_NULLS
}

/// Random conditions without a value, first the screen's.
fn held_against(nulls: &[Dressing]) -> Vec<Trial> {
    let (screen, confirm) = halves(nulls);
    let trial =
        |why| move |dressing: &Dressing| Trial { why, value: None, dressing: dressing.clone(), rows: 0, p_adjusted: None };
    screen.iter().map(trial(Why::ScreenNull)).chain(confirm.iter().map(trial(Why::ConfirmNull))).collect()
}
