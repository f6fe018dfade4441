//! Builds the ranked list: conditions with dependent answers first, topics last.

use std::cmp::Ordering;

use super::affix::{Affixes, affixes};
use super::bag::Bags;
use super::dependence::Dependence;
use super::draft::{Draft, of_features, of_pairs, of_slots};
use super::feature::FeatureKind;
use super::reading::Reading;
use super::slot::{Slot, SlotKind};
use super::template::templates;
use super::topic::measure_topics;
use super::{Condition, Evidence, Subject};
use crate::stats::multiplicity::benjamini_hochberg;

/// Maximum conditions listed.
const LISTED: usize = 256;
/// Maximum answers compared for a common form.
const COMPARED: usize = 400;

/// The number of tested conditions, and the listed ones, ranked.
pub(super) fn ranked(readings: &[Reading]) -> (usize, Vec<Condition>) {
    let answers = Bags::of(readings.iter().map(|reading| reading.answer.as_str()), true);
    let templates = templates(readings);
    let mut drafts: Vec<Draft> =
        templates.iter().flat_map(|template| of_slots(&answers, template)).collect();
    let (mut features, others) = of_features(readings, &answers, &templates, &drafts);
    measure_topics(readings, &templates, &mut features);
    drafts.append(&mut features);
    let mut pairs = of_pairs(readings, &answers, &drafts);
    drafts.append(&mut pairs);
    let tested = adjust(&mut drafts, others);
    drafts.retain(is_kept);
    drafts.sort_by(order);
    echoes(&mut drafts, readings.len());
    (tested, listed(readings, drafts))
}

/// Adjusts the p-values over all tested candidates and `others`, and returns their total number.
/// `others` is the number of phrases that were not tested because their answers differed less; each
/// counts with p = 1.
fn adjust(drafts: &mut [Draft], others: usize) -> usize {
    let measured =
        drafts.iter().filter_map(|draft| draft.measured.as_ref().map(|measured| measured.p));
    let p: Vec<f64> = measured.chain(std::iter::repeat_n(1.0, others)).collect();
    let tested = drafts.iter_mut().filter(|draft| draft.measured.is_some());
    for (draft, p_adjusted) in tested.zip(benjamini_hochberg(&p)) {
        let asked = draft.asked;
        let evidence = |&Dependence { bits, share, p, .. }: &Dependence| Evidence {
            bits,
            share,
            topic: asked.told,
            seam: asked.seam,
            p,
            p_adjusted,
        };
        draft.evidence = draft.measured.as_ref().map(evidence);
    }
    p.len()
}

/// Whether a condition is listed: if answers depend on it; slots, whose unseen values may matter;
/// features of all rows; and features that rarely occur by chance.
fn is_kept(draft: &Draft) -> bool {
    draft.is_significant()
        || match &draft.subject {
            Subject::Feature(feature) if feature.kind == FeatureKind::Template => false,
            Subject::Feature(feature) => {
                feature.kind <= FeatureKind::LookAlike || draft.measured.is_none()
            }
            Subject::Slot(slot) => !matches!(slot.kind, SlotKind::Code { .. }),
            Subject::Pair(_) => false,
        }
}

/// Group in the list: 0 for conditions on which answers depend, 1 for those without measured
/// dependence, 2 for topics.
fn group(draft: &Draft) -> u8 {
    match (draft.is_topic(), draft.is_significant()) {
        (false, true) => 0,
        (false, false) => 1,
        (true, _) => 2,
    }
}

/// Total bits saved over all rows of the condition: an estimate of the information that answers
/// share with it.
fn score(draft: &Draft) -> f64 {
    draft.evidence.map_or(0.0, |evidence| evidence.bits * draft.rows.len() as f64)
}

/// By group, then by score. Without dependence: slots before features, by kind, then most rows
/// first. Among digits of a code, the least uniformly distributed ones come first.
fn order(left: &Draft, right: &Draft) -> Ordering {
    let kind = |draft: &Draft, slot: &Slot| match slot.kind {
        // Sorts before all other windows of the code, whose `start` is at least 1.
        SlotKind::Window { width, .. } if draft.uneven => {
            SlotKind::Window { width, start: 0, length: 0 }
        }
        kind => kind,
    };
    let subject = |draft: &Draft| match &draft.subject {
        Subject::Slot(slot) => (0, Some(kind(draft, slot)), None, slot.template.clone()),
        Subject::Feature(feature) => (1, None, Some(feature.kind), feature.text.clone()),
        Subject::Pair(parts) => (2, None, None, format!("{} {}", parts[0].text, parts[1].text)),
    };
    let by_kind = || {
        let ((sort, slot, feature, text), (other_sort, other_slot, other_feature, other)) =
            (subject(left), subject(right));
        (sort, slot, feature)
            .cmp(&(other_sort, other_slot, other_feature))
            .then(right.rows.len().cmp(&left.rows.len()))
            .then(text.cmp(&other))
    };
    let by_score = || {
        if left.is_significant() { score(right).total_cmp(&score(left)) } else { Ordering::Equal }
    };
    group(left).cmp(&group(right)).then_with(by_score).then_with(by_kind)
}

/// Marks conditions whose characteristic rows are those of an earlier one, and digits of a code
/// that overlap with earlier ones.
fn echoes(drafts: &mut [Draft], rows: usize) {
    let mut originals: Vec<usize> = Vec::new();
    for index in 0..drafts.len() {
        if !drafts[index].is_significant() {
            continue;
        }
        let original =
            originals.iter().copied().find(|&other| alike(&drafts[other], &drafts[index], rows));
        drafts[index].echo_of = original;
        if original.is_none() {
            originals.push(index);
        }
    }
}

/// Whether the later condition has nearly the same rows as the earlier one, or the complement, or a
/// subset.
fn alike(earlier: &Draft, later: &Draft, rows: usize) -> bool {
    let (same_code, same_kind) = match (&earlier.subject, &later.subject) {
        (Subject::Slot(earlier), Subject::Slot(later)) => {
            let kinds = (earlier.kind, later.kind);
            let code = matches!(
                kinds,
                (SlotKind::Window { .. }, SlotKind::Window { .. } | SlotKind::Code { .. })
            );
            (
                code && earlier.template == later.template && earlier.place == later.place,
                earlier.kind == later.kind,
            )
        }
        _ => (false, false),
    };
    let common = later.focus.iter().filter(|row| earlier.focus.binary_search(row).is_ok()).count();
    let either = earlier.focus.len() + later.focus.len() - common;
    let same = 5 * common >= 4 * either;
    let opposite = 5 * (later.focus.len() - common) >= 4 * (rows + common - earlier.focus.len());
    // A subset of the rows of a stronger condition that at most half of all rows have.
    let part = 10 * common >= 9 * later.focus.len() && 2 * earlier.focus.len() <= rows;
    // A slot without a significant value is characterised by all of its rows, like any other slot
    // of the same template.
    let whole = |draft: &Draft| {
        matches!(draft.subject, Subject::Slot(_)) && draft.focus.len() == draft.rows.len()
    };
    if whole(earlier) || whole(later) {
        same_code || (same && same_kind)
    } else {
        same_code || same || opposite || part
    }
}

/// The final list. Within each group, aliases follow the conditions that they repeat.
fn listed(readings: &[Reading], drafts: Vec<Draft>) -> Vec<Condition> {
    let mut places: Vec<usize> = (0..drafts.len()).collect();
    places.sort_by_key(|&index| (group(&drafts[index]), drafts[index].echo_of.is_some()));
    places.truncate(LISTED);
    let place_of = |index: usize| places.iter().position(|place| *place == index);
    let mut all: Vec<Option<Draft>> = drafts.into_iter().map(Some).collect();
    let conditions = places.iter().filter_map(|&index| {
        let draft = all[index].take()?;
        let Affixes { prefix, suffix } = form(readings, &draft.focus);
        let mut examples: Vec<usize> =
            draft.focus.iter().take(3).map(|row| readings[*row as usize].line).collect();
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
    let on: Vec<&str> =
        focus.iter().take(COMPARED).map(|row| readings[*row as usize].answer.as_str()).collect();
    let others = (0..readings.len()).filter(|row| focus.binary_search(&(*row as u32)).is_err());
    let off: Vec<&str> = others.take(COMPARED).map(|row| readings[row].answer.as_str()).collect();
    affixes(&on, &off)
}
