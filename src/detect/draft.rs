//! Candidate conditions before ranking: slots, features and pairs, each with its rows and
//! measurements.

use std::collections::BTreeSet;

use super::bag::Bags;
use super::dependence::{Dependence, Labels, measure};
use super::feature::{FeatureKind, features};
use super::kind::ConditionKind;
use super::pair::{Cell, Part, Side, pair};
use super::reading::{Place, Reading};
use super::slot::{Slot, SlotKind, slots};
use super::template::Template;
use super::topic::{Asked, asks};
use super::{Evidence, SIGNIFICANT, Subject};
use crate::prompt::{Dressing, Wear};
use crate::stats::multiplicity::benjamini_hochberg;

/// Maximum number of conditions that are combined into pairs.
const SIDES: usize = 8;
/// Rows of a pair from which the order of its two parts is read.
const COMPARED: usize = 100;

/// A candidate condition.
pub(super) struct Draft {
    pub subject: Subject,
    pub rows: Vec<u32>,
    /// The rows that characterise it. Of a slot, those of the value with the strongest effect.
    pub focus: Vec<u32>,
    pub measured: Option<Dependence>,
    pub asked: Asked,
    /// The measurement with its adjusted p. Set once the number of tests is known.
    pub evidence: Option<Evidence>,
    pub dressing: Option<Dressing>,
    /// A slot's values with their rows.
    pub values: Vec<(Option<String>, Vec<u32>)>,
    pub echo_of: Option<usize>,
    /// Of digits of a code: whether they are the least uniformly distributed ones.
    pub uneven: bool,
}

impl Draft {
    fn of(
        subject: Subject,
        rows: Vec<u32>,
        measured: Option<Dependence>,
        dressing: Option<Dressing>,
    ) -> Draft {
        let (focus, values) = (rows.clone(), vec![(None, rows.clone())]);
        let (asked, evidence, echo_of) = (Asked::default(), None, None);
        Draft {
            subject,
            rows,
            focus,
            measured,
            asked,
            evidence,
            dressing,
            values,
            echo_of,
            uneven: false,
        }
    }

    pub fn is_significant(&self) -> bool {
        self.evidence.is_some_and(|evidence| evidence.p_adjusted <= SIGNIFICANT)
    }

    pub fn is_topic(&self) -> bool {
        super::topic::is_topic(&self.subject, self.evidence.as_ref())
    }

    fn p(&self) -> f64 {
        self.measured.as_ref().map_or(1.0, |measured| measured.p)
    }
}

/// The slots of a template.
pub(super) fn of_slots(answers: &Bags, template: &Template) -> Vec<Draft> {
    let drafts = slots(template).into_iter().map(|mut draft| {
        let measured = measure(answers, &draft.labels, draft.labels.rows.len());
        let usual = draft.slot.values.first().map(|value| value.value.clone());
        let focus = measured
            .as_ref()
            .and_then(|measured| note_values(&mut draft.slot, measured, &draft.rows));
        draft.shorten();
        let slot = draft.slot;
        let values =
            slot.values.iter().map(|value| Some(value.value.clone())).zip(draft.rows).collect();
        let wear = Wear::Words {
            position: template.position,
            left: template.left.clone(),
            filler: Some(draft.filler),
            right: template.right.clone(),
            glue: template.glue.clone(),
        };
        let dressing = Some(Dressing { wear, usual });
        let whole = Draft::of(Subject::Slot(slot), draft.labels.rows, measured, dressing);
        Draft {
            focus: focus.unwrap_or_else(|| whole.rows.clone()),
            values,
            uneven: draft.uneven,
            ..whole
        }
    });
    drafts.collect()
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
        .outstanding()
        .into_iter()
        .max_by(|left, right| strength(left).total_cmp(&strength(right)))?;
    rows.get(most).cloned()
}

/// Features, without those whose rows equal those of a slot value; and the number of features that
/// were not tested.
pub(super) fn of_features(
    readings: &[Reading],
    answers: &Bags,
    templates: &[Template],
    slots: &[Draft],
) -> (Vec<Draft>, usize) {
    // A slot with one value cannot be tested, since all of its rows have it. The same words as a
    // feature can.
    let varied = slots.iter().filter(|slot| slot.values.len() >= 2);
    let taken: BTreeSet<&[u32]> =
        varied.flat_map(|slot| &slot.values).map(|(_, rows)| rows.as_slice()).collect();
    let (features, others) = features(readings, answers, templates);
    let features = features.into_iter().filter(|draft| !taken.contains(draft.rows.as_slice()));
    let drafts = features.map(|draft| {
        let measured = measure(answers, &Labels::binary(readings.len(), &draft.rows), draft.rows.len());
        // A template is inserted with its most frequent value.
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
        Draft::of(Subject::Feature(draft.feature), draft.rows, measured, dressing)
    });
    (drafts.collect(), others)
}

/// All pairs of the strongest conditions.
pub(super) fn of_pairs(readings: &[Reading], answers: &Bags, drafts: &[Draft]) -> Vec<Draft> {
    let sides = sides(drafts);
    let mut pairs = Vec::new();
    for (index, first) in sides.iter().enumerate() {
        let cells = sides[index + 1..].iter().filter_map(|second| pair(answers, first, second));
        pairs.extend(cells.map(|cell| of_cell(readings, cell)));
    }
    pairs
}

fn of_cell(readings: &[Reading], cell: Cell) -> Draft {
    let [one, other] = &cell.parts;
    // Both parts may be in the system message. If they are in different messages, their order is
    // irrelevant.
    let place = if one.place == other.place { one.place } else { Place::Prompt };
    let texts: Vec<&str> = cell
        .rows
        .iter()
        .take(COMPARED)
        .filter_map(|row| readings[*row as usize].at(place))
        .collect();
    let dressings = one.dressing.clone().zip(other.dressing.clone());
    let dressing = dressings.map(|(one, other)| Dressing::together(vec![one, other], &texts));
    let measured =
        Dependence { bits: cell.bits, share: cell.share, p: cell.p, told: 0.0, values: Vec::new() };
    Draft::of(Subject::Pair(Box::new(cell.parts)), cell.rows, Some(measured), dressing)
}

/// The conditions that are combined into pairs: slots, one per template, and features that are
/// neither wording nor topic.
fn sides(drafts: &[Draft]) -> Vec<Side> {
    let eligible = |draft: &&Draft| {
        let sort = match &draft.subject {
            Subject::Slot(slot) => slot.distinct >= 2,
            Subject::Feature(feature) => {
                !feature.kind.is_wording()
                    && feature.kind != FeatureKind::Template
                    && !asks(feature, &draft.asked)
            }
            Subject::Pair(_) => false,
        };
        sort && draft.measured.is_some() && draft.dressing.is_some()
    };
    let mut chosen: Vec<&Draft> = drafts.iter().filter(eligible).collect();
    // Digits of codes come last unless p is 0.001 or less, since they are many and rarely
    // relevant. Then order by p.
    let window = |draft: &Draft| matches!(&draft.subject, Subject::Slot(slot) if matches!(slot.kind, SlotKind::Window { .. }) && draft.p() > 0.001);
    chosen.sort_by(|left, right| {
        window(left)
            .cmp(&window(right))
            .then(left.p().total_cmp(&right.p()))
            .then(right.rows.len().cmp(&left.rows.len()))
    });
    let mut taken = BTreeSet::new();
    let sides = chosen.into_iter().filter_map(|draft| {
        let (kind, place, text) = match &draft.subject {
            Subject::Slot(slot) => (slot.kind.into(), slot.place, &slot.template),
            Subject::Feature(feature) => {
                (ConditionKind::Feature(feature.kind), feature.place, &feature.text)
            }
            Subject::Pair(_) => return None,
        };
        taken.insert((place, text.clone())).then(|| Side {
            part: Part {
                kind,
                place,
                text: text.clone(),
                value: None,
                dressing: draft.dressing.clone(),
            },
            values: draft.values.clone(),
        })
    });
    sides.take(SIDES).collect()
}
