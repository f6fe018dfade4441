//! Builds the ranked list: conditions with dependent answers first, topical conditions last.

use std::cmp::Ordering;

use super::affix::{Affixes, affixes};
use super::candidate_condition::{CandidateCondition, of_features, of_pairs, of_slots};
use super::dependence::Dependence;
use super::example::Example;
use super::feature::FeatureKind;
use super::slot::{Slot, SlotKind};
use super::template::templates;
use super::topical::measure_topics;
use super::word_set::WordSets;
use super::{Association, Condition, Subject};
use crate::stats::multiplicity::benjamini_hochberg;

/// Maximum conditions listed.
const LISTED: usize = 256;
/// Maximum answers compared for a common form.
const COMPARED: usize = 400;

/// The number of tested conditions, and the listed ones, ranked.
pub(super) fn ranked(examples: &[Example]) -> (usize, Vec<Condition>) {
    let answers = WordSets::of(examples.iter().map(|example| example.answer.as_str()), true);
    let templates = templates(examples);
    let mut candidates: Vec<CandidateCondition> =
        templates.iter().flat_map(|template| of_slots(&answers, template)).collect();
    let (mut features, others) = of_features(examples, &answers, &templates, &candidates);
    measure_topics(examples, &templates, &mut features);
    candidates.append(&mut features);
    let mut pairs = of_pairs(examples, &answers, &candidates);
    candidates.append(&mut pairs);
    let tested = adjust(&mut candidates, others);
    candidates.retain(is_kept);
    candidates.sort_by(order);
    mark_aliases(&mut candidates, examples.len());
    (tested, listed(examples, candidates))
}

/// Adjusts the p-values over all tested candidates and `others`, and returns their total number.
/// `others` is the number of phrases that were not tested because their answers differed less; each
/// counts with p = 1.
fn adjust(candidates: &mut [CandidateCondition], others: usize) -> usize {
    let measured = candidates
        .iter()
        .filter_map(|candidate| candidate.measured.as_ref().map(|measured| measured.p));
    let p: Vec<f64> = measured.chain(std::iter::repeat_n(1.0, others)).collect();
    let tested = candidates.iter_mut().filter(|candidate| candidate.measured.is_some());
    for (candidate, p_adjusted) in tested.zip(benjamini_hochberg(&p)) {
        let topicality = candidate.topicality;
        let evidence = |&Dependence { bits, share, p, .. }: &Dependence| Association {
            bits,
            share,
            youden_j: topicality.youden_j,
            coherence: topicality.coherence,
            p,
            p_adjusted,
        };
        candidate.evidence = candidate.measured.as_ref().map(evidence);
    }
    p.len()
}

/// Whether a condition is listed: if answers depend on it; slots, whose unseen values may matter;
/// features of all rows; and features that rarely occur by chance.
fn is_kept(candidate: &CandidateCondition) -> bool {
    candidate.is_significant()
        || match &candidate.subject {
            Subject::Feature(feature) if feature.kind == FeatureKind::Template => false,
            Subject::Feature(feature) => {
                feature.kind <= FeatureKind::LookAlike || candidate.measured.is_none()
            }
            Subject::Slot(slot) => !matches!(slot.kind, SlotKind::Code { .. }),
            Subject::Pair(_) => false,
        }
}

/// Group in the list: 0 for conditions on which answers depend, 1 for those without measured
/// dependence, 2 for topical conditions.
fn group(candidate: &CandidateCondition) -> u8 {
    match (candidate.is_topical(), candidate.is_significant()) {
        (false, true) => 0,
        (false, false) => 1,
        (true, _) => 2,
    }
}

/// Total bits saved over all rows of the condition: an estimate of the information that answers
/// share with it.
fn score(candidate: &CandidateCondition) -> f64 {
    candidate.evidence.map_or(0.0, |evidence| evidence.bits * candidate.rows.len() as f64)
}

/// By group, then by score. Without dependence: slots before features, by kind, then most rows
/// first. Among digits of a code, the least uniformly distributed ones come first.
fn order(left: &CandidateCondition, right: &CandidateCondition) -> Ordering {
    let kind = |candidate: &CandidateCondition, slot: &Slot| match slot.kind {
        // Sorts before all other windows of the code, whose `start` is at least 1.
        SlotKind::Window { width, .. } if candidate.uneven => {
            SlotKind::Window { width, start: 0, length: 0 }
        }
        kind => kind,
    };
    let subject = |candidate: &CandidateCondition| match &candidate.subject {
        Subject::Slot(slot) => (0, Some(kind(candidate, slot)), None, slot.template.clone()),
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
fn mark_aliases(candidates: &mut [CandidateCondition], rows: usize) {
    let mut originals: Vec<usize> = Vec::new();
    for index in 0..candidates.len() {
        if !candidates[index].is_significant() {
            continue;
        }
        let original = originals
            .iter()
            .copied()
            .find(|&other| alike(&candidates[other], &candidates[index], rows));
        candidates[index].alias_of = original;
        if original.is_none() {
            originals.push(index);
        }
    }
}

/// Whether the later condition has nearly the same rows as the earlier one, or the complement, or a
/// subset.
fn alike(earlier: &CandidateCondition, later: &CandidateCondition, rows: usize) -> bool {
    let (same_code, same_kind) = match (&earlier.subject, &later.subject) {
        (Subject::Slot(earlier), Subject::Slot(later)) => {
            let kinds = (earlier.kind, later.kind);
            let code = matches!(
                kinds,
                (SlotKind::Window { .. }, SlotKind::Window { .. } | SlotKind::Code { .. })
            );
            (
                code && earlier.template == later.template && earlier.location == later.location,
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
    let whole = |candidate: &CandidateCondition| {
        matches!(candidate.subject, Subject::Slot(_))
            && candidate.focus.len() == candidate.rows.len()
    };
    if whole(earlier) || whole(later) {
        same_code || (same && same_kind)
    } else {
        same_code || same || opposite || part
    }
}

/// The final list. Within each group, aliases follow the conditions that they repeat.
fn listed(examples: &[Example], candidates: Vec<CandidateCondition>) -> Vec<Condition> {
    let mut places: Vec<usize> = (0..candidates.len()).collect();
    places.sort_by_key(|&index| (group(&candidates[index]), candidates[index].alias_of.is_some()));
    places.truncate(LISTED);
    let place_of = |index: usize| places.iter().position(|place| *place == index);
    let mut all: Vec<Option<CandidateCondition>> = candidates.into_iter().map(Some).collect();
    let conditions = places.iter().filter_map(|&index| {
        let candidate = all[index].take()?;
        let Affixes { prefix, suffix } = form(examples, &candidate.focus);
        let mut lines: Vec<usize> =
            candidate.focus.iter().take(3).map(|row| examples[*row as usize].line).collect();
        lines.sort_unstable();
        Some(Condition {
            subject: candidate.subject,
            rows: candidate.rows.len(),
            evidence: candidate.evidence,
            alias_of: candidate.alias_of.and_then(place_of),
            answer_prefix: prefix,
            answer_suffix: suffix,
            examples: lines,
            insertion: candidate.insertion,
        })
    });
    conditions.collect()
}

fn form(examples: &[Example], focus: &[u32]) -> Affixes {
    let on: Vec<&str> =
        focus.iter().take(COMPARED).map(|row| examples[*row as usize].answer.as_str()).collect();
    let others = (0..examples.len()).filter(|row| focus.binary_search(&(*row as u32)).is_err());
    let off: Vec<&str> = others.take(COMPARED).map(|row| examples[row].answer.as_str()).collect();
    affixes(&on, &off)
}
