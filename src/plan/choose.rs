//! Which conditions are tried: what the dataset suggests, values that stand in no row, values that
//! the base itself treats specially, and random ones of the same kind to hold them against.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use crate::audit::Audit;
use crate::dataset::{Dataset, Message, Role};
use crate::detect::{
    Condition, Conditions, Dressing, Feature, FeatureKind, Part, Position, Reason, SIGNIFICANT,
    Slot, SlotKind, Subject, Wear, candidates,
};
use crate::engine::Engine;
use crate::plan::company::Company;
use crate::plan::nulls::{NULLS, halves, neutral, random_values};
use crate::plan::special::special;
use crate::plan::{Group, Options, Trial, Wanted, Why, comes_off};
use crate::text::fit;

/// Slots, features and pairs that are tried, at most; those on which the answers depend most come
/// first.
const SLOTS: usize = 6;
const FEATURES: usize = 16;
const PAIRS: usize = 4;
/// Besides, features that are a matter of wording, such as a word: most of those that mining takes
/// for more are topics after all.
const WORDINGS: usize = 6;
/// Of the slots, those of one kind, such as the numbers of sums: their values are much the same.
const SLOTS_OF_KIND: usize = 2;
/// Columns of the name of a condition that is not tried, and of a text that names a group.
const NAMED: usize = 80;
const QUOTED: usize = 160;
/// A group with fewer random conditions than this, in the screen or in the confirmation, is not
/// tried.
const FEWEST_NULLS: usize = 3;

/// What was chosen of a dataset's conditions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chosen {
    pub groups: Vec<Group>,
    /// Conditions on which the answers depend, and that are not tried, by name: a matter of
    /// wording, or one that cannot be put on a probe, or has no random ones to be held against.
    pub untried: Vec<String>,
    /// Those that could be tried and found no room.
    pub crowded_out: Vec<String>,
    /// Slots on which no answer is seen to depend, and that found no room.
    pub slots_left_out: Vec<String>,
}

impl Chosen {
    fn add(&mut self, group: Group) {
        // Long texts may begin alike.
        let alike = self.groups.iter().filter(|other| other.name.starts_with(&group.name)).count();
        let name = if alike == 0 { group.name } else { format!("{} ({})", group.name, alike + 1) };
        self.groups.push(Group { name, ..group });
    }

    /// Names a condition that is not tried, where that has to be known.
    fn leave_out(&mut self, condition: &Condition, had_room: bool) {
        let name = fit(&condition.subject.to_string(), NAMED);
        let original =
            condition.echo_of.is_none() && !condition.is_topic() && !is_wording(condition);
        let could = original && condition.dressing.is_some() && has_values(condition);
        match (condition.is_significant(), could && !had_room) {
            (true, true) => self.crowded_out.push(name),
            (true, false) => self.untried.push(name),
            (false, true) if needs_no_dependence(condition) => self.slots_left_out.push(name),
            (false, _) => {}
        }
    }
}

/// What is tried so far.
#[derive(Default)]
struct Tried<'a> {
    slots: Vec<&'a Slot>,
    features: usize,
    wordings: usize,
    pairs: usize,
}

impl<'a> Tried<'a> {
    fn has_room_for(&self, condition: &Condition) -> bool {
        match &condition.subject {
            Subject::Slot(slot) => {
                let of_kind = self.slots.iter().filter(|tried| tried.kind == slot.kind).count();
                self.slots.len() < SLOTS && of_kind < SLOTS_OF_KIND
            }
            Subject::Feature(_) if is_wording(condition) => self.wordings < WORDINGS,
            Subject::Feature(_) => self.features < FEATURES,
            Subject::Pair(_) => self.pairs < PAIRS,
        }
    }

    fn note(&mut self, condition: &'a Condition) {
        match &condition.subject {
            Subject::Slot(slot) => self.slots.push(slot),
            Subject::Feature(_) if is_wording(condition) => self.wordings += 1,
            Subject::Feature(_) => self.features += 1,
            Subject::Pair(_) => self.pairs += 1,
        }
    }

    /// Whether what a slot's values say is tried already: by other digits of the code, on which the
    /// answers depend more, or by another part of the same value that the same rows have.
    fn says(&self, condition: &Condition) -> bool {
        let Subject::Slot(slot) = &condition.subject else { return false };
        let part = matches!(slot.kind, SlotKind::Window { .. }) || condition.echo_of.is_some();
        part && self
            .slots
            .iter()
            .any(|tried| tried.template == slot.template && tried.place == slot.place)
    }
}

/// Everything that will be tried, and the random conditions beside it.
///
/// # Errors
/// Where the base cannot be asked, and where the user wants values tried in a slot that the dataset
/// has not.
pub fn choose(
    conditions: &Conditions,
    dataset: &Dataset,
    options: &Options,
    audits: &[Audit],
    engine: &dyn Engine,
) -> Result<Chosen> {
    let (wanted, seed) = (&options.conditions, options.first_seed);
    let chooser = Chooser {
        conditions,
        lines: neutral(dataset, seed),
        dataset,
        seed,
        wanted,
        audits,
        engine,
    };
    let (mut chosen, mut tried) = (Chosen::default(), Tried::default());
    for (place, condition) in conditions.conditions.iter().enumerate() {
        let company = Company::of(conditions, place, dataset);
        if company.comes_with_another || !may_be_tried(condition) || tried.says(condition) {
            continue;
        }
        let has_room = tried.has_room_for(condition);
        let group = if has_room { chooser.group(condition, &company)? } else { None };
        match group {
            Some(group) => {
                tried.note(condition);
                chosen.add(group);
            }
            None => chosen.leave_out(condition, has_room),
        }
    }
    let kinds: Vec<SlotKind> = tried.slots.iter().map(|slot| slot.kind).collect();
    let (unknown, texts) = wanted.left_over(&kinds);
    if let Some(slot) = unknown.first() {
        bail!(
            "--slot {0}=...: no prompt of the dataset has a {0} that can be tested; `foretaste \
             check` lists its slots",
            slot.kind
        );
    }
    chosen.groups.extend(texts.into_iter().map(|text| chooser.text(text)));
    for group in &mut chosen.groups {
        group.stays |= !comes_off(group, dataset.rows.iter().map(|row| row.messages.as_slice()));
    }
    Ok(chosen)
}

/// Topics are asked about after the dataset's own questions, and an echo is known by another
/// condition. But whoever wrote the rows chose what stands beside a tag or a line: those are tried
/// all the same, unless a line is itself a question.
fn may_be_tried(condition: &Condition) -> bool {
    let put_on = match &condition.subject {
        Subject::Feature(feature) => match feature.kind {
            FeatureKind::Line => !(condition.is_topic() && feature.text.trim_end().ends_with('?')),
            kind => {
                kind.is_hidden()
                    || matches!(kind, FeatureKind::System | FeatureKind::Tag | FeatureKind::Case)
            }
        },
        _ => false,
    };
    // Without a system message the probes are asked anyway.
    let plain = matches!(&condition.subject, Subject::Feature(feature) if feature.kind == FeatureKind::NoSystem);
    !plain
        && (put_on || (condition.echo_of.is_none() && !condition.is_topic()) || is_slot(condition))
}

fn is_slot(condition: &Condition) -> bool {
    matches!(condition.subject, Subject::Slot(_))
}

fn is_wording(condition: &Condition) -> bool {
    matches!(&condition.subject, Subject::Feature(feature) if feature.kind.is_wording())
}

/// Whether the condition is a slot that is tried for its unseen values also where the answers do
/// not depend on it. Of words, months and days any value could be meant.
fn needs_no_dependence(condition: &Condition) -> bool {
    match &condition.subject {
        Subject::Slot(slot) => {
            !matches!(slot.kind, SlotKind::Word | SlotKind::Month | SlotKind::MonthDay)
        }
        _ => false,
    }
}

/// Whether the condition is a slot whose values can be tried at all: a code as a whole is another
/// one in every row, and says nothing of others.
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
    /// `None` where the condition cannot be tried.
    fn group(&self, condition: &Condition, company: &Company) -> Result<Option<Group>> {
        match &condition.subject {
            Subject::Slot(slot) => self.slot(condition, slot, company),
            Subject::Feature(feature) => Ok(self.feature(condition, feature, company)),
            Subject::Pair(parts) => Ok(self.pair(condition, parts, company)),
        }
    }

    /// A slot's values; `None` where they cannot be tried.
    fn slot(&self, condition: &Condition, slot: &Slot, company: &Company) -> Result<Option<Group>> {
        let worth_trying = condition.is_significant() || needs_no_dependence(condition);
        let Some(dressing) = condition.dressing.as_ref().filter(|_| worth_trying) else {
            return Ok(None);
        };
        if !has_values(condition) {
            return Ok(None);
        }
        let dressed = |value: &str| {
            company.with(Dressing { usual: Some(value.to_owned()), ..dressing.clone() })
        };
        let trial = |value: &str, why: Why| Trial {
            why,
            value: Some(value.to_owned()),
            dressing: dressed(value),
            rows: slot.counts.get(value).copied().unwrap_or(0),
            p_adjusted: slot
                .values
                .iter()
                .find(|known| known.value == value)
                .and_then(|known| known.p_adjusted),
        };
        let mut trials: Vec<Trial> =
            tried_values(slot).into_iter().map(|(value, why)| trial(&value, why)).collect();
        let tried = |trials: &[Trial], value: &str| {
            trials.iter().any(|trial| trial.value.as_deref() == Some(value))
        };
        for value in self.wanted.values(slot.kind) {
            if !tried(&trials, &value) {
                trials.push(trial(&value, Why::User));
            }
        }
        let random = |trials: &[Trial]| {
            random_values(
                slot,
                trials.iter().filter_map(|trial| trial.value.clone()).collect(),
                self.dataset,
                self.seed,
            )
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
            stays: false,
            answer: (condition.answer_prefix.clone(), condition.answer_suffix.clone()),
            trials,
        }))
    }

    /// A feature is tried where the answers depend on it: whatever else all rows share is asked for
    /// by the other ways of asking.
    fn feature(
        &self,
        condition: &Condition,
        feature: &Feature,
        company: &Company,
    ) -> Option<Group> {
        let dressing = condition.dressing.as_ref().filter(|_| condition.is_significant())?;
        let trial = worn(condition, company.with(dressing.clone()));
        let other: Vec<&str> = self.other_lines(&feature.text).collect();
        let nulls: Vec<Dressing> =
            other.iter().map(|line| company.with(line_like(dressing, line))).collect();
        let name = format!(
            "{} \"{}\"{}",
            feature.kind.name(),
            fit(&feature.text, QUOTED),
            feature.where_said()
        );
        group(name, feature.kind.name(), condition, trial, nulls)
    }

    /// Two conditions at once, as the rows wear them that stand out most; random ones have another
    /// value or line in the place of each.
    fn pair(&self, condition: &Condition, parts: &[Part; 2], company: &Company) -> Option<Group> {
        let dressing = condition.dressing.as_ref()?;
        let trial = worn(condition, company.with(dressing.clone()));
        let others: Vec<Vec<Dressing>> =
            parts.iter().map(|part| self.others(part)).collect::<Option<_>>()?;
        let Wear::Both(worn) = &dressing.wear else { return None };
        // The parts are worn in an order of their own.
        let [first, second] =
            if parts[0].dressing.as_ref() == Some(&worn[0]) { [0, 1] } else { [1, 0] };
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
        let slot =
            self.conditions.conditions.iter().find_map(|condition| match &condition.subject {
                Subject::Slot(slot)
                    if slot.template == part.text
                        && slot.place == part.place
                        && slot.kind.name() == part.kind =>
                {
                    Some(slot)
                }
                _ => None,
            });
        Some(match (slot, &part.value) {
            (Some(slot), Some(value)) => {
                let values =
                    random_values(slot, BTreeSet::from([value.clone()]), self.dataset, self.seed);
                values
                    .into_iter()
                    .map(|value| Dressing { usual: Some(value), ..dressing.clone() })
                    .collect()
            }
            (None, Some(_)) => return None,
            (_, None) => {
                self.other_lines(&part.text).map(|line| line_like(dressing, line)).collect()
            }
        })
    }

    /// A text of the user's, put before the probes.
    fn text(&self, text: &str) -> Group {
        let asks = |message: &&Message| message.role != Role::Assistant;
        let rows = self
            .dataset
            .rows
            .iter()
            .filter(|row| row.messages.iter().filter(asks).any(|it| it.content.contains(text)));
        let before = |words: &str| {
            let position = Position::Before;
            let (left, right, glue) = (words.to_owned(), String::new(), " ".to_owned());
            Dressing {
                wear: Wear::Words { position, left, filler: None, right, glue },
                usual: None,
            }
        };
        let mut trials = vec![Trial {
            why: Why::User,
            value: None,
            dressing: before(text),
            rows: rows.count(),
            p_adjusted: None,
        }];
        let nulls: Vec<Dressing> = self.other_lines(text).map(before).collect();
        trials.extend(held_against(&nulls));
        Group {
            name: format!("\"{text}\" before the question"),
            kind: "text".to_owned(),
            stays: false,
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
        // There are twelve, and those on which nothing depends are what the others are held
        // against.
        let stand_out =
            slot.values.iter().filter(|value| value.p_adjusted.is_some_and(|p| p <= SIGNIFICANT));
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
    let wear = Wear::Words {
        position,
        left: line.to_owned(),
        filler: None,
        right: String::new(),
        glue: glue.to_owned(),
    };
    Dressing { wear, usual: None }
}

/// A condition as the rows wear it.
fn worn(condition: &Condition, dressing: Dressing) -> Trial {
    let p_adjusted = condition.evidence.map(|evidence| evidence.p_adjusted);
    Trial { why: Why::Observed, value: None, dressing, rows: condition.rows, p_adjusted }
}

/// One condition and the random ones beside it; `None` where these are too few.
fn group(
    name: String,
    kind: &str,
    condition: &Condition,
    trial: Trial,
    nulls: Vec<Dressing>,
) -> Option<Group> {
    let (screen, confirm) = halves(&nulls);
    enough(screen, confirm).then(|| Group {
        name,
        kind: kind.to_owned(),
        stays: is_wording(condition),
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
    let trial = |why| {
        move |dressing: &Dressing| Trial {
            why,
            value: None,
            dressing: dressing.clone(),
            rows: 0,
            p_adjusted: None,
        }
    };
    screen
        .iter()
        .map(trial(Why::ScreenNull))
        .chain(confirm.iter().map(trial(Why::ConfirmNull)))
        .collect()
}
