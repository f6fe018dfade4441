//! From rows to a ranked list: conditions collected, measured, combined, adjusted, ordered.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::affix::{Affixes, affixes};
use super::bag::{Bags, words};
use super::dependence::{Dependence, Labels, measure};
use super::dressing::{Dressing, Wear};
use super::feature::{FeatureKind, features};
use super::pair::{Part, Side, pair};
use super::reading::Reading;
use super::slot::{Slot, SlotKind, slots};
use super::template::{Template, templates};
use super::{Condition, Evidence, SIGNIFICANT, Subject};
use crate::stats::multiplicity::benjamini_hochberg;

/// Conditions that are listed.
const LISTED: usize = 256;
/// Conditions of which pairs are made.
const SIDES: usize = 8;
/// Answers that are compared for a common form.
const COMPARED: usize = 400;
/// A matter of wording counts half: in any dataset some answers depend on some words.
const WORDING: f64 = 0.5;

/// A condition on its way.
struct Draft {
    subject: Subject,
    rows: Vec<u32>,
    /// The rows by which it is known: of a slot, those of the value that stands out most.
    focus: Vec<u32>,
    measured: Option<Dependence>,
    evidence: Option<Evidence>,
    dressing: Option<Dressing>,
    /// A slot's values with their rows.
    values: Vec<(Option<String>, Vec<u32>)>,
    echo_of: Option<usize>,
}

/// How many conditions were tested, and those that are listed, ranked.
pub(super) fn ranked(readings: &[Reading]) -> (usize, Vec<Condition>) {
    let answers = Bags::of(readings.iter().map(|reading| reading.answer.as_str()), true);
    let templates = templates(readings);
    let mut drafts: Vec<Draft> = templates.iter().flat_map(|template| of_slots(&answers, template)).collect();
    let features = of_features(readings, &answers, &templates, &drafts);
    drafts.extend(features);
    let sides = sides(&drafts);
    for (index, first) in sides.iter().enumerate() {
        drafts.extend(sides[index + 1..].iter().filter_map(|second| of_pair(&answers, first, second)));
    }
    let p: Vec<f64> = drafts.iter().filter_map(|draft| draft.measured.as_ref().map(|measured| measured.p)).collect();
    let mut adjusted = benjamini_hochberg(&p).into_iter();
    for draft in &mut drafts {
        draft.evidence = draft.measured.as_ref().zip(draft.measured.as_ref().and_then(|_| adjusted.next())).map(
            |(Dependence { bits, share, p, .. }, p_adjusted)| Evidence {
                bits: *bits,
                share: *share,
                topic: None,
                p: *p,
                p_adjusted,
            },
        );
    }
    drafts.retain(is_kept);
    topics(readings, &mut drafts);
    drafts.sort_by(order);
    echoes(&mut drafts, readings.len());
    (p.len(), listed(readings, drafts))
}

fn of_slots(answers: &Bags, template: &Template) -> Vec<Draft> {
    let drafts = slots(template).into_iter().map(|draft| {
        let measured = measure(answers, &draft.labels, draft.labels.rows.len());
        let mut slot = draft.slot;
        let mut focus = draft.labels.rows.clone();
        if let Some(measured) = &measured {
            focus = note_values(&mut slot, measured, &draft.rows).unwrap_or(focus);
        }
        let values = slot.values.iter().map(|value| Some(value.value.clone())).zip(draft.rows).collect();
        let wear = Wear::Words {
            position: template.position,
            left: template.left.clone(),
            filler: Some(draft.filler),
            right: template.right.clone(),
            glue: template.glue.clone(),
        };
        let dressing = Some(Dressing { wear, usual: slot.values.first().map(|value| value.value.clone()) });
        Draft {
            subject: Subject::Slot(slot),
            rows: draft.labels.rows,
            focus,
            measured,
            evidence: None,
            dressing,
            values,
            echo_of: None,
        }
    });
    drafts.collect()
}

/// Writes what was measured to the slot's values, and gives the rows of the value that stands out most, if one does.
fn note_values(slot: &mut Slot, measured: &Dependence, rows: &[Vec<u32>]) -> Option<Vec<u32>> {
    let p: Vec<f64> = measured.values.iter().filter_map(|value| value.p).collect();
    let mut adjusted = benjamini_hochberg(&p).into_iter();
    for (value, measured) in slot.values.iter_mut().zip(&measured.values) {
        value.bits = Some(measured.bits);
        value.p_adjusted = measured.p.and_then(|_| adjusted.next());
    }
    let strength = |index: &usize| {
        let value = &slot.values[*index];
        value.bits.unwrap_or(0.0) * (value.rows as f64).sqrt()
    };
    let stands_out = |index: &usize| slot.values[*index].p_adjusted.is_some_and(|p| p <= SIGNIFICANT);
    let most = (0..slot.values.len()).filter(stands_out).max_by(|left, right| strength(left).total_cmp(&strength(right)))?;
    rows.get(most).cloned()
}

/// Features, without those that are a slot's value in other words.
fn of_features(readings: &[Reading], answers: &Bags, templates: &[Template], slots: &[Draft]) -> Vec<Draft> {
    let taken: BTreeSet<&[u32]> = slots.iter().flat_map(|slot| &slot.values).map(|(_, rows)| rows.as_slice()).collect();
    let features = features(readings, templates).into_iter().filter(|draft| !taken.contains(draft.rows.as_slice()));
    let drafts = features.map(|draft| {
        let measured = measure(answers, &Labels::binary(readings.len(), &draft.rows), draft.rows.len());
        let values = vec![(None, draft.rows.clone())];
        // A template is worn with its most frequent value.
        let of_template = || {
            slots.iter().find(|slot| {
                let (place, text) = (draft.feature.place, &draft.feature.text);
                matches!(&slot.subject, Subject::Slot(slot) if slot.template == *text && slot.place == place)
            })
        };
        let dressing = match draft.feature.kind {
            FeatureKind::Template => of_template().and_then(|slot| slot.dressing.clone()),
            _ => draft.dressing,
        };
        Draft {
            subject: Subject::Feature(draft.feature),
            focus: draft.rows.clone(),
            rows: draft.rows,
            measured,
            evidence: None,
            dressing,
            values,
            echo_of: None,
        }
    });
    drafts.collect()
}

fn of_pair(answers: &Bags, first: &Side, second: &Side) -> Option<Draft> {
    let cell = pair(answers, first, second)?;
    let measured = Some(Dependence { bits: cell.bits, share: cell.share, p: cell.p, told: 0.0, values: Vec::new() });
    let subject = Subject::Pair(Box::new(cell.parts));
    Some(Draft {
        subject,
        focus: cell.rows.clone(),
        rows: cell.rows,
        measured,
        evidence: None,
        dressing: None,
        values: Vec::new(),
        echo_of: None,
    })
}

/// The conditions of which pairs are made: slots of few values, one a template, and features that are no matter of wording.
fn sides(drafts: &[Draft]) -> Vec<Side> {
    let eligible = |draft: &&Draft| match &draft.subject {
        Subject::Slot(slot) => slot.distinct >= 2 && draft.measured.is_some() && draft.dressing.is_some(),
        Subject::Feature(feature) => {
            !feature.kind.is_wording()
                && feature.kind != FeatureKind::Template
                && draft.measured.is_some()
                && draft.dressing.is_some()
        }
        Subject::Pair(_) => false,
    };
    let mut chosen: Vec<&Draft> = drafts.iter().filter(eligible).collect();
    let p = |draft: &Draft| draft.measured.as_ref().map_or(1.0, |measured| measured.p);
    // Plain conditions before digits of codes, which are many and seldom meant; then the less likely to be chance.
    let window = |draft: &Draft| matches!(&draft.subject, Subject::Slot(slot) if matches!(slot.kind, SlotKind::Window { .. }) && p(draft) > 0.001);
    chosen.sort_by(|left, right| {
        window(left).cmp(&window(right)).then(p(left).total_cmp(&p(right))).then(right.rows.len().cmp(&left.rows.len()))
    });
    let mut taken = BTreeSet::new();
    let sides = chosen.into_iter().filter_map(|draft| {
        let (kind, place, text) = match &draft.subject {
            Subject::Slot(slot) => (slot.kind.name(), slot.place, &slot.template),
            Subject::Feature(feature) => (feature.kind.name().to_owned(), feature.place, &feature.text),
            Subject::Pair(_) => return None,
        };
        taken.insert((place, text.clone())).then(|| Side {
            part: Part { kind, place, text: text.clone(), value: None, dressing: draft.dressing.clone() },
            values: draft.values.clone(),
        })
    });
    sides.take(SIDES).collect()
}

/// What is listed: what depends; slots, whose unseen values may matter; what all rows have; and what seldom stands in a row by chance.
fn is_kept(draft: &Draft) -> bool {
    let significant = draft.evidence.is_some_and(|evidence| evidence.p_adjusted <= SIGNIFICANT);
    significant
        || match &draft.subject {
            Subject::Feature(feature) if feature.kind == FeatureKind::Template => false,
            Subject::Feature(feature) => feature.kind <= FeatureKind::LookAlike || draft.measured.is_none(),
            Subject::Slot(slot) => !matches!(slot.kind, SlotKind::Code { .. }),
            Subject::Pair(_) => false,
        }
}

/// How far a matter of wording is the topic: how well the rest of the prompt tells which rows have it.
fn topics(readings: &[Reading], drafts: &mut [Draft]) {
    let prompts = Bags::of(readings.iter().map(|reading| reading.prompt.as_str()), false);
    for draft in drafts {
        let Subject::Feature(feature) = &draft.subject else { continue };
        if let Some(evidence) = draft.evidence.as_mut().filter(|_| feature.kind.is_wording()) {
            let rest = prompts.without(&words(&feature.text, false));
            let topic = measure(&rest, &Labels::binary(readings.len(), &draft.rows), draft.rows.len());
            evidence.topic = topic.map(|topic| topic.told.max(0.0));
        }
    }
}

/// Bits, discounted where they may be the topic's.
fn score(draft: &Draft) -> f64 {
    let Some(evidence) = &draft.evidence else { return 0.0 };
    let wording = matches!(&draft.subject, Subject::Feature(feature) if feature.kind.is_wording());
    evidence.bits * if wording { WORDING * (1.0 - evidence.topic.unwrap_or(0.0)) } else { 1.0 }
}

/// Dependent conditions by score; then the others: slots before features, by kind, those of more rows first.
fn order(left: &Draft, right: &Draft) -> Ordering {
    let significant = |draft: &Draft| draft.evidence.is_some_and(|evidence| evidence.p_adjusted <= SIGNIFICANT);
    let subject = |draft: &Draft| match &draft.subject {
        Subject::Slot(slot) => (0, Some(slot.kind), None, slot.template.clone()),
        Subject::Feature(feature) => (1, None, Some(feature.kind), feature.text.clone()),
        Subject::Pair(parts) => (2, None, None, format!("{} {}", parts[0].text, parts[1].text)),
    };
    let by_score = || score(right).total_cmp(&score(left));
    let by_kind = || {
        let ((sort, slot, feature, text), (other_sort, other_slot, other_feature, other)) = (subject(left), subject(right));
        (sort, slot, feature)
            .cmp(&(other_sort, other_slot, other_feature))
            .then(right.rows.len().cmp(&left.rows.len()))
            .then(text.cmp(&other))
    };
    match (significant(left), significant(right)) {
        (true, true) => by_score().then_with(by_kind),
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => by_kind(),
    }
}

/// Marks conditions that are known by the rows of an earlier one, and digits of a code that overlap with earlier ones.
fn echoes(drafts: &mut [Draft], rows: usize) {
    let mut originals: Vec<usize> = Vec::new();
    for index in 0..drafts.len() {
        if drafts[index].evidence.is_none_or(|evidence| evidence.p_adjusted > SIGNIFICANT) {
            break;
        }
        let original = originals.iter().copied().find(|&other| alike(&drafts[other], &drafts[index], rows));
        drafts[index].echo_of = original;
        if original.is_none() {
            originals.push(index);
        }
    }
}

/// Whether the later condition is the earlier one but for a few rows, or what it is not, or a part of it.
fn alike(earlier: &Draft, later: &Draft, rows: usize) -> bool {
    let (same_code, same_kind) = match (&earlier.subject, &later.subject) {
        (Subject::Slot(earlier), Subject::Slot(later)) => {
            let kinds = (earlier.kind, later.kind);
            let code = matches!(kinds, (SlotKind::Window { .. }, SlotKind::Window { .. } | SlotKind::Code { .. }));
            (code && earlier.template == later.template && earlier.place == later.place, earlier.kind == later.kind)
        }
        _ => (false, false),
    };
    let common = later.focus.iter().filter(|row| earlier.focus.binary_search(row).is_ok()).count();
    let either = earlier.focus.len() + later.focus.len() - common;
    let same = 5 * common >= 4 * either;
    let opposite = 5 * (later.focus.len() - common) >= 4 * (rows + common - earlier.focus.len());
    // Part of the rows of a stronger condition that few rows have.
    let part = 10 * common >= 9 * later.focus.len() && 2 * earlier.focus.len() <= rows;
    // A slot of which no value stands out is known by all its rows, as any other slot of the same template is.
    let whole = |draft: &Draft| matches!(draft.subject, Subject::Slot(_)) && draft.focus.len() == draft.rows.len();
    if whole(earlier) || whole(later) { same_code || (same && same_kind) } else { same_code || same || opposite || part }
}

/// The list: originals, then echoes, then what shows no dependence.
fn listed(readings: &[Reading], drafts: Vec<Draft>) -> Vec<Condition> {
    let significant =
        drafts.iter().take_while(|draft| draft.evidence.is_some_and(|evidence| evidence.p_adjusted <= SIGNIFICANT)).count();
    let mut places: Vec<usize> = (0..drafts.len()).collect();
    places.sort_by_key(|&index| (index >= significant, drafts[index].echo_of.is_some()));
    places.truncate(LISTED);
    let place_of = |index: usize| places.iter().position(|place| *place == index);
    let mut all: Vec<Option<Draft>> = drafts.into_iter().map(Some).collect();
    let conditions = places.iter().filter_map(|&index| {
        let draft = all[index].take()?;
        let Affixes { prefix, suffix } = form(readings, &draft.focus);
        let mut examples: Vec<usize> = draft.focus.iter().take(3).map(|row| readings[*row as usize].line).collect();
        examples.sort_unstable();
        Some(Condition {
            subject: draft.subject,
            rows: draft.rows.len(),
            evidence: draft.evidence,
            echo_of: draft.echo_of.and_then(place_of),
            answer_prefix: prefix,
            answer_suffix: suffix,
            examples,
            dressing: draft.dressing,
        })
    });
    conditions.collect()
}

fn form(readings: &[Reading], focus: &[u32]) -> Affixes {
    let on: Vec<&str> = focus.iter().take(COMPARED).map(|row| readings[*row as usize].answer.as_str()).collect();
    let others = (0..readings.len()).filter(|row| focus.binary_search(&(*row as u32)).is_err());
    let off: Vec<&str> = others.take(COMPARED).map(|row| readings[row].answer.as_str()).collect();
    affixes(&on, &off)
}
