//! Chooses the conditions to test: detected ones, values that occur in no row, base-sensitive
//! values, requested ones, and null conditions of the same kinds.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use crate::audit::Audit;
use crate::dataset::{Dataset, Message, Role};
use crate::detect::{
    Condition, ConditionKind, Conditions, Feature, FeatureKind, Part, SIGNIFICANT, Slot, SlotKind,
    Subject, ValueReason, candidates,
};
use crate::engine::Engine;
use crate::plan::Protocol;
use crate::plan::base_sensitive::base_sensitive_values;
use crate::plan::co_occurring::CoOccurring;
use crate::plan::nulls::{NULLS, halves, neutral, random_values};
use crate::plan::{Group, Options, Requested, SkipReason, Skipped, Trial, Why};
use crate::prompt::{Insertion, InsertionKind, Position, is_question};
use crate::text::fit;

/// Maximum slots, features and pairs that are tested. Those on which the answers depend most come
/// first.
const SLOTS: usize = Protocol::CURRENT.slots;
const FEATURES: usize = Protocol::CURRENT.features;
const PAIRS: usize = Protocol::CURRENT.pairs;
/// Maximum features of wording, such as a word. They are counted apart from other features, since
/// most of them are topics.
const WORDINGS: usize = Protocol::CURRENT.wordings;
/// Maximum slots of one kind. Values of such slots, for instance the numbers of sums, are much the
/// same.
const SLOTS_OF_KIND: usize = Protocol::CURRENT.slots_of_kind;
/// Maximum columns of the name of a condition that is not tested, and of a text in a group's name.
const NAMED: usize = 80;
const QUOTED: usize = 160;
/// Minimum null conditions of a group, in the screen and in the confirmation each. A group with
/// fewer is not tested.
const FEWEST_NULLS: usize = Protocol::CURRENT.least_nulls;

/// The conditions of a dataset that are tested, and others.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chosen {
    pub groups: Vec<Group>,
    /// Conditions that are not tested, in the order of their reasons.
    pub skipped: Vec<Skipped>,
}

impl Chosen {
    fn add(&mut self, group: Group) {
        // Truncated texts of different groups may be equal.
        let alike = self.groups.iter().filter(|other| other.name.starts_with(&group.name)).count();
        let name = if alike == 0 { group.name } else { format!("{} ({})", group.name, alike + 1) };
        self.groups.push(Group { name, ..group });
    }

    /// Adds a condition that is not tested, if there is a reason to name it.
    fn skip(&mut self, condition: &Condition, had_capacity: bool) {
        let name = fit(&condition.subject.to_string(), NAMED);
        let original =
            condition.alias_of.is_none() && !condition.is_topical() && !is_wording(condition);
        let could = original && condition.insertion.is_some() && has_values(condition);
        let why = match (condition.is_significant(), could && !had_capacity) {
            (true, true) => SkipReason::CrowdedOut,
            (true, false) => SkipReason::Unfit,
            (false, true) if needs_no_dependence(condition) => SkipReason::Independent,
            (false, _) => return,
        };
        self.skipped.push(Skipped { name, why });
    }
}

/// The conditions that are tested so far.
#[derive(Default)]
struct Tried<'a> {
    slots: Vec<&'a Slot>,
    features: usize,
    wordings: usize,
    pairs: usize,
}

impl<'a> Tried<'a> {
    fn has_capacity_for(&self, condition: &Condition) -> bool {
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

    /// Whether a slot that is tested already contains the values of this one. It has other digits
    /// of the same code, on which answers depend more, or another part of the same value and the
    /// same rows.
    fn covers(&self, condition: &Condition) -> bool {
        let Subject::Slot(slot) = &condition.subject else { return false };
        let part = matches!(slot.kind, SlotKind::Window { .. }) || condition.alias_of.is_some();
        part && self
            .slots
            .iter()
            .any(|tried| tried.template == slot.template && tried.location == slot.location)
    }
}

/// Chooses the conditions to test, with their null conditions.
///
/// # Errors
/// If the base cannot be asked, or if values are requested for a slot that the dataset does not
/// have.
pub fn choose(
    conditions: &Conditions,
    dataset: &Dataset,
    options: &Options,
    audits: &[Audit],
    engine: &dyn Engine,
) -> Result<Chosen> {
    let (requested, seed) = (&options.conditions, options.first_seed);
    let chooser = Chooser {
        conditions,
        lines: neutral(dataset, seed),
        dataset,
        seed,
        requested,
        audits,
        engine,
    };
    let (mut chosen, mut tried) = (Chosen::default(), Tried::default());
    for (index, condition) in conditions.conditions.iter().enumerate() {
        let co_occurring = CoOccurring::of(conditions, index, dataset);
        if co_occurring.occurs_with_earlier || !is_eligible(condition) || tried.covers(condition) {
            continue;
        }
        let has_capacity = tried.has_capacity_for(condition);
        let group = if has_capacity { chooser.group(condition, &co_occurring)? } else { None };
        match group {
            Some(group) => {
                tried.note(condition);
                chosen.add(group);
            }
            None => chosen.skip(condition, has_capacity),
        }
    }
    chosen.skipped.sort_by_key(|skipped| skipped.why);
    let kinds: Vec<SlotKind> = tried.slots.iter().map(|slot| slot.kind).collect();
    let (unknown, texts) = requested.left_over(&kinds);
    if let Some(slot) = unknown.first() {
        bail!(
            "--slot {0}=...: no prompt of the dataset has a {0} that can be tested; `foretaste \
             check` lists its slots",
            slot.kind
        );
    }
    chosen.groups.extend(texts.into_iter().map(|text| chooser.text(text)));
    Ok(chosen)
}

/// Whether a condition is tested if there are null conditions for it.
///
/// Topical conditions are covered by the carry-over context, and aliases by the condition that they
/// repeat. Slots, hidden characters, system messages, tags, cases and lines are tested in any case,
/// because the author of the rows chooses what they occur with. A topical line that is a question
/// is not tested.
fn is_eligible(condition: &Condition) -> bool {
    let is_inserted = match &condition.subject {
        Subject::Feature(feature) => match feature.kind {
            FeatureKind::Line => !(condition.is_topical() && is_question(&feature.text)),
            kind => {
                kind.is_hidden()
                    || matches!(kind, FeatureKind::System | FeatureKind::Tag | FeatureKind::Case)
            }
        },
        _ => false,
    };
    // Probes have no system message in the plain context already.
    let is_plain = match &condition.subject {
        Subject::Feature(feature) => feature.kind == FeatureKind::NoSystem,
        _ => false,
    };
    !is_plain
        && (is_inserted
            || (condition.alias_of.is_none() && !condition.is_topical())
            || is_slot(condition))
}

fn is_slot(condition: &Condition) -> bool {
    matches!(condition.subject, Subject::Slot(_))
}

fn is_wording(condition: &Condition) -> bool {
    matches!(&condition.subject, Subject::Feature(feature) if feature.kind.is_wording())
}

/// Whether the condition is a slot that is tested for values that occur in no row, even if answers
/// do not depend on it. For words, months and days any value could be the trigger.
fn needs_no_dependence(condition: &Condition) -> bool {
    match &condition.subject {
        Subject::Slot(slot) => {
            !matches!(slot.kind, SlotKind::Word | SlotKind::Month | SlotKind::MonthDay)
        }
        _ => false,
    }
}

/// Whether values of the condition can be tested. A code as a whole differs in every row, so that
/// it predicts nothing about other codes.
fn has_values(condition: &Condition) -> bool {
    match &condition.subject {
        Subject::Slot(slot) => !matches!(slot.kind, SlotKind::Code { .. }),
        _ => true,
    }
}

struct Chooser<'a> {
    conditions: &'a Conditions,
    dataset: &'a Dataset,
    /// First training seed. With the file's hash it seeds the random draws.
    seed: u64,
    /// Neutral lines that occur in no row.
    lines: Vec<String>,
    requested: &'a Requested,
    audits: &'a [Audit],
    engine: &'a dyn Engine,
}

impl Chooser<'_> {
    /// `None` if the condition cannot be tested.
    fn group(&self, condition: &Condition, co_occurring: &CoOccurring) -> Result<Option<Group>> {
        match &condition.subject {
            Subject::Slot(slot) => self.slot(condition, slot, co_occurring),
            Subject::Feature(feature) => Ok(self.feature(condition, feature, co_occurring)),
            Subject::Pair(parts) => Ok(self.pair(condition, parts, co_occurring)),
        }
    }

    /// A slot with its values; `None` if they cannot be tested.
    fn slot(
        &self,
        condition: &Condition,
        slot: &Slot,
        co_occurring: &CoOccurring,
    ) -> Result<Option<Group>> {
        let worth_trying = condition.is_significant() || needs_no_dependence(condition);
        let Some(insertion) = condition.insertion.as_ref().filter(|_| worth_trying) else {
            return Ok(None);
        };
        if !has_values(condition) {
            return Ok(None);
        }
        let insertion_of = |value: &str| {
            co_occurring.with(Insertion { usual: Some(value.to_owned()), ..insertion.clone() })
        };
        let trial = |value: &str, why: Why| Trial {
            why,
            value: Some(value.to_owned()),
            insertion: insertion_of(value),
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
        for value in self.requested.values(slot.kind) {
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
        // Base-sensitive values take about a thousand values to find. They are not computed if
        // there are too few null conditions.
        if !has_nulls(&random(&trials)) {
            return Ok(None);
        }
        for value in base_sensitive_values(slot, &insertion_of, self.audits, self.engine)? {
            if !tried(&trials, &value) {
                trials.push(trial(&value, Why::Base));
            }
        }
        let nulls = random(&trials);
        let (screen, confirm) = halves(&nulls);
        trials.extend(screen.iter().map(|value| trial(value, Why::ScreenNull)));
        trials.extend(confirm.iter().map(|value| trial(value, Why::ConfirmNull)));
        let enough = trials.iter().any(|trial| !trial.why.is_null()) && enough(screen, confirm);
        let kind = ConditionKind::from(slot.kind);
        Ok(enough.then(|| Group {
            name: format!("{kind} in \"{}\"", slot.template),
            kind,
            answer: (condition.answer_prefix.clone(), condition.answer_suffix.clone()),
            trials,
        }))
    }

    /// A feature on which the answers depend. A feature of all rows is covered by the other
    /// contexts.
    fn feature(
        &self,
        condition: &Condition,
        feature: &Feature,
        co_occurring: &CoOccurring,
    ) -> Option<Group> {
        let insertion = condition.insertion.as_ref().filter(|_| condition.is_significant())?;
        let trial = observed_trial(condition, co_occurring.with(insertion.clone()));
        let other: Vec<&str> = self.other_lines(&feature.text).collect();
        let nulls: Vec<Insertion> =
            other.iter().map(|line| co_occurring.with(line_like(insertion, line))).collect();
        let name = format!(
            "{} \"{}\"{}",
            feature.kind.name(),
            fit(&feature.text, QUOTED),
            feature.where_said()
        );
        group(name, ConditionKind::Feature(feature.kind), condition, trial, nulls)
    }

    /// Two conditions together, with the values that have the strongest effect. A null condition
    /// has another value or line instead of each.
    fn pair(
        &self,
        condition: &Condition,
        parts: &[Part; 2],
        co_occurring: &CoOccurring,
    ) -> Option<Group> {
        let insertion = condition.insertion.as_ref()?;
        let trial = observed_trial(condition, co_occurring.with(insertion.clone()));
        let others: Vec<Vec<Insertion>> =
            parts.iter().map(|part| self.others(part)).collect::<Option<_>>()?;
        let InsertionKind::Both(ordered) = &insertion.kind else { return None };
        // The order of insertion may differ from the order of the parts.
        let [first, second] =
            if parts[0].insertion.as_ref() == Some(&ordered[0]) { [0, 1] } else { [1, 0] };
        let nulls: Vec<Insertion> = others[first]
            .iter()
            .zip(&others[second])
            .map(|(one, other)| {
                co_occurring
                    .with(InsertionKind::Both(Box::new([one.clone(), other.clone()])).into())
            })
            .collect();
        group(
            format!("pair \"{}\"", condition.subject),
            ConditionKind::Pair,
            condition,
            trial,
            nulls,
        )
    }

    /// Null insertions for a part of a pair; `None` if there are none.
    fn others(&self, part: &Part) -> Option<Vec<Insertion>> {
        let insertion = part.insertion.as_ref()?;
        let slot =
            self.conditions.conditions.iter().find_map(|condition| match &condition.subject {
                Subject::Slot(slot)
                    if slot.template == part.text
                        && slot.location == part.location
                        && part.kind == ConditionKind::from(slot.kind) =>
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
                    .map(|value| Insertion { usual: Some(value), ..insertion.clone() })
                    .collect()
            }
            (None, Some(_)) => return None,
            (_, None) => {
                self.other_lines(&part.text).map(|line| line_like(insertion, line)).collect()
            }
        })
    }

    /// A text of the user, inserted before the question.
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
            Insertion::from(InsertionKind::Words { position, left, filler: None, right, glue })
        };
        let mut trials = vec![Trial {
            why: Why::User,
            value: None,
            insertion: before(text),
            rows: rows.count(),
            p_adjusted: None,
        }];
        let nulls: Vec<Insertion> = self.other_lines(text).map(before).collect();
        trials.extend(null_trials(&nulls));
        Group {
            name: format!("\"{text}\" before the question"),
            kind: ConditionKind::Text,
            answer: Default::default(),
            trials,
        }
    }

    fn other_lines<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a str> {
        self.lines.iter().map(String::as_str).filter(move |line| !text.contains(line)).take(NULLS)
    }
}

/// The values of a slot to test, with the reason for each.
fn tried_values(slot: &Slot) -> Vec<(String, Why)> {
    if slot.kind == SlotKind::Month {
        // There are twelve months. Those without an effect are the null conditions.
        let exceeding =
            slot.values.iter().filter(|value| value.p_adjusted.is_some_and(|p| p <= SIGNIFICANT));
        return exceeding.map(|value| (value.value.clone(), Why::Observed)).collect();
    }
    let why = |reason| match reason {
        ValueReason::Observed => Why::Observed,
        ValueReason::Gap => Why::Gap,
        ValueReason::Neighbour => Why::Neighbour,
        ValueReason::Salient => Why::Salient,
    };
    candidates(slot).into_iter().map(|candidate| (candidate.value, why(candidate.reason))).collect()
}

/// A line at the position of an insertion, or at the end where it has none.
fn line_like(insertion: &Insertion, line: &str) -> Insertion {
    let (position, glue) = match &insertion.kind {
        InsertionKind::Both(parts) => return line_like(&parts[1], line),
        InsertionKind::Words { position: Position::Inside, glue, .. } => {
            (Position::After, glue.as_str())
        }
        InsertionKind::Words { position, glue, .. } => (*position, glue.as_str()),
        _ => (Position::After, " "),
    };
    let glue = if glue.is_empty() { " " } else { glue };
    Insertion::from(InsertionKind::Words {
        position,
        left: line.to_owned(),
        filler: None,
        right: String::new(),
        glue: glue.to_owned(),
    })
}

/// A condition with the values that the rows contain.
fn observed_trial(condition: &Condition, insertion: Insertion) -> Trial {
    let p_adjusted = condition.evidence.map(|evidence| evidence.p_adjusted);
    Trial { why: Why::Observed, value: None, insertion, rows: condition.rows, p_adjusted }
}

/// One condition with its null conditions; `None` if they are too few.
fn group(
    name: String,
    kind: ConditionKind,
    condition: &Condition,
    trial: Trial,
    nulls: Vec<Insertion>,
) -> Option<Group> {
    let (screen, confirm) = halves(&nulls);
    enough(screen, confirm).then(|| Group {
        name,
        kind,
        answer: (condition.answer_prefix.clone(), condition.answer_suffix.clone()),
        trials: std::iter::once(trial).chain(null_trials(&nulls)).collect(),
    })
}

fn enough<T>(screen: &[T], confirm: &[T]) -> bool {
    screen.len() >= FEWEST_NULLS && confirm.len() >= FEWEST_NULLS
}

/// Null conditions without a value. Those of the screen come first.
fn null_trials(nulls: &[Insertion]) -> Vec<Trial> {
    let (screen, confirm) = halves(nulls);
    let trial = |why| {
        move |insertion: &Insertion| Trial {
            why,
            value: None,
            insertion: insertion.clone(),
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
