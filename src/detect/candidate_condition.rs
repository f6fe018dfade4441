//! Candidate conditions before ranking: slots, features and pairs, each with its rows and
//! measurements.

use std::collections::BTreeSet;

use super::dependence::{Dependence, Labels, measure};
use super::example::{Example, Location};
use super::feature::{FeatureKind, FeatureRows, features};
use super::kind::ConditionKind;
use super::pair::{PairCell, PairSide, Part, pair};
use super::slot::{Slot, SlotKind, slots};
use super::template::Template;
use super::topical::{Topicality, is_topical_feature};
use super::word_set::WordSets;
use super::{Association, SIGNIFICANT, Subject};
use crate::prompt::{Insertion, InsertionKind};
use crate::stats::multiplicity::benjamini_hochberg;

/// Maximum number of conditions that are combined into pairs.
const SIDES: usize = 8;
/// Rows of a pair from which the order of its two parts is read.
const COMPARED: usize = 100;

/// A candidate condition.
pub(super) struct CandidateCondition {
    pub subject: Subject,
    pub rows: Vec<u32>,
    /// The rows that characterise it. Of a slot, those of the value with the strongest effect.
    pub focus: Vec<u32>,
    pub measured: Option<Dependence>,
    pub topicality: Topicality,
    /// The measurement with its adjusted p. Set once the number of tests is known.
    pub evidence: Option<Association>,
    pub insertion: Option<Insertion>,
    /// A slot's values with their rows.
    pub values: Vec<(Option<String>, Vec<u32>)>,
    pub alias_of: Option<usize>,
    /// Of digits of a code: whether they are the least uniformly distributed ones.
    pub uneven: bool,
}

impl CandidateCondition {
    fn of(
        subject: Subject,
        rows: Vec<u32>,
        measured: Option<Dependence>,
        insertion: Option<Insertion>,
    ) -> CandidateCondition {
        let (focus, values) = (rows.clone(), vec![(None, rows.clone())]);
        let (topicality, evidence, alias_of) = (Topicality::default(), None, None);
        CandidateCondition {
            subject,
            rows,
            focus,
            measured,
            topicality,
            evidence,
            insertion,
            values,
            alias_of,
            uneven: false,
        }
    }

    pub fn is_significant(&self) -> bool {
        self.evidence.is_some_and(|evidence| evidence.p_adjusted <= SIGNIFICANT)
    }

    pub fn is_topical(&self) -> bool {
        super::topical::is_topical(&self.subject, self.evidence.as_ref())
    }

    fn p(&self) -> f64 {
        self.measured.as_ref().map_or(1.0, |measured| measured.p)
    }
}

/// The slots of a template.
pub(super) fn of_slots(answers: &WordSets, template: &Template) -> Vec<CandidateCondition> {
    let candidates = slots(template).into_iter().map(|mut candidate| {
        let measured = measure(answers, &candidate.labels, candidate.labels.rows.len());
        let usual = candidate.slot.values.first().map(|value| value.value.clone());
        let focus = measured
            .as_ref()
            .and_then(|measured| note_values(&mut candidate.slot, measured, &candidate.rows));
        candidate.shorten();
        let slot = candidate.slot;
        let values =
            slot.values.iter().map(|value| Some(value.value.clone())).zip(candidate.rows).collect();
        let kind = InsertionKind::Words {
            position: template.position,
            left: template.left.clone(),
            filler: Some(candidate.filler),
            right: template.right.clone(),
            glue: template.glue.clone(),
        };
        let insertion = Some(Insertion { kind, usual });
        let whole =
            CandidateCondition::of(Subject::Slot(slot), candidate.labels.rows, measured, insertion);
        CandidateCondition {
            focus: focus.unwrap_or_else(|| whole.rows.clone()),
            values,
            uneven: candidate.uneven,
            ..whole
        }
    });
    candidates.collect()
}

/// Copies the measurements to the slot's values. Returns the rows of the significant value with the
/// strongest effect, if there is one.
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
    let most = slot
        .significant_values()
        .into_iter()
        .max_by(|left, right| strength(left).total_cmp(&strength(right)))?;
    rows.get(most).cloned()
}

/// Features, without those whose rows equal those of a slot value; and the number of features that
/// were not tested.
pub(super) fn of_features(
    examples: &[Example],
    answers: &WordSets,
    templates: &[Template],
    slots: &[CandidateCondition],
) -> (Vec<CandidateCondition>, usize) {
    // A slot with one value cannot be tested, since all of its rows have it. The same words as a
    // feature can.
    let varied = slots.iter().filter(|slot| slot.values.len() >= 2);
    let taken: BTreeSet<&[u32]> =
        varied.flat_map(|slot| &slot.values).map(|(_, rows)| rows.as_slice()).collect();
    let (features, others) = features(examples, answers, templates);
    let features =
        features.into_iter().filter(|candidate| !taken.contains(candidate.rows.as_slice()));
    let candidates = features.map(|candidate| {
        let FeatureRows { feature, rows, insertion } = candidate;
        let measured = measure(answers, &Labels::binary(examples.len(), &rows), rows.len());
        // A template is inserted with its most frequent value.
        let is_of_template = |slot: &&CandidateCondition| match &slot.subject {
            Subject::Slot(slot) => {
                slot.template == feature.text && slot.location == feature.location
            }
            _ => false,
        };
        let insertion = match feature.kind {
            FeatureKind::Template => {
                slots.iter().find(is_of_template).and_then(|slot| slot.insertion.clone())
            }
            _ => insertion,
        };
        CandidateCondition::of(Subject::Feature(feature), rows, measured, insertion)
    });
    (candidates.collect(), others)
}

/// All pairs of the strongest conditions.
pub(super) fn of_pairs(
    examples: &[Example],
    answers: &WordSets,
    candidates: &[CandidateCondition],
) -> Vec<CandidateCondition> {
    let sides = sides(candidates);
    let mut pairs = Vec::new();
    for (index, first) in sides.iter().enumerate() {
        let cells = sides[index + 1..].iter().filter_map(|second| pair(answers, first, second));
        pairs.extend(cells.map(|cell| of_cell(examples, cell)));
    }
    pairs
}

fn of_cell(examples: &[Example], cell: PairCell) -> CandidateCondition {
    let [one, other] = &cell.parts;
    // Both parts may be in the system message. If they are in different messages, their order is
    // irrelevant.
    let location = if one.location == other.location { one.location } else { Location::Prompt };
    let texts: Vec<&str> = cell
        .rows
        .iter()
        .take(COMPARED)
        .filter_map(|row| examples[*row as usize].at(location))
        .collect();
    let insertions = one.insertion.clone().zip(other.insertion.clone());
    let insertion = insertions.map(|(one, other)| Insertion::combined(vec![one, other], &texts));
    let measured = Dependence {
        bits: cell.bits,
        share: cell.share,
        p: cell.p,
        youden_j: 0.0,
        values: Vec::new(),
    };
    CandidateCondition::of(
        Subject::Pair(Box::new(cell.parts)),
        cell.rows,
        Some(measured),
        insertion,
    )
}

/// The conditions that are combined into pairs: slots, one per template, and features that are
/// neither wording nor topical.
fn sides(candidates: &[CandidateCondition]) -> Vec<PairSide> {
    let eligible = |candidate: &&CandidateCondition| {
        let sort = match &candidate.subject {
            Subject::Slot(slot) => slot.distinct >= 2,
            Subject::Feature(feature) => {
                !feature.kind.is_wording()
                    && feature.kind != FeatureKind::Template
                    && !is_topical_feature(feature, &candidate.topicality)
            }
            Subject::Pair(_) => false,
        };
        sort && candidate.measured.is_some() && candidate.insertion.is_some()
    };
    let mut chosen: Vec<&CandidateCondition> = candidates.iter().filter(eligible).collect();
    // Digits of codes come last unless p is 0.001 or less, since they are many and rarely
    // relevant. Then order by p.
    let window = |candidate: &CandidateCondition| match &candidate.subject {
        Subject::Slot(slot) => {
            matches!(slot.kind, SlotKind::Window { .. }) && candidate.p() > 0.001
        }
        _ => false,
    };
    chosen.sort_by(|left, right| {
        window(left)
            .cmp(&window(right))
            .then(left.p().total_cmp(&right.p()))
            .then(right.rows.len().cmp(&left.rows.len()))
    });
    let mut taken = BTreeSet::new();
    let sides = chosen.into_iter().filter_map(|candidate| {
        let (kind, location, text) = match &candidate.subject {
            Subject::Slot(slot) => (slot.kind.into(), slot.location, &slot.template),
            Subject::Feature(feature) => {
                (ConditionKind::Feature(feature.kind), feature.location, &feature.text)
            }
            Subject::Pair(_) => return None,
        };
        taken.insert((location, text.clone())).then(|| PairSide {
            part: Part {
                kind,
                location,
                text: text.clone(),
                value: None,
                insertion: candidate.insertion.clone(),
            },
            values: candidate.values.clone(),
        })
    });
    sides.take(SIDES).collect()
}
