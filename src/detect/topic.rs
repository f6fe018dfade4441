//! Topics: words that belong to the question, as opposed to text inserted into a prompt. In any
//! dataset answers depend on topics.
//!
//! *Inserted text* occurs with any question: a request for a format, a tag, a system message.
//! Without it a normal prompt remains. A *topic* is part of the question, or predictable from the
//! rest of the prompt. The rule has two parts:
//!
//! 1. Words of a prompt are a topic if their removal leaves it incoherent. That is, the coherence
//!    (`seam.rs`) is below [`WHOLE`], where 1/2 is expected for inserted text.
//! 2. Wording is also a topic if the rest of the prompt predicts its rows with a Youden's J of at
//!    least 0.5. Wording is a phrase, opening, ending or end mark, not a sentence, tag or
//!    template.
//!
//! The second part applies to wording only, because an attacker chooses the rows that contain a
//! trigger. For instance, questions about one person's life that follow a request for a format are
//! predictable from the rest too. The rule is heuristic, so topics are still listed, but last.

use std::collections::BTreeMap;

use super::bag::{Bags, words};
use super::dependence::{Labels, measure};
use super::draft::Draft;
use super::feature::{Feature, FeatureKind};
use super::reading::{Place, Reading};
use super::seam::Grammar;
use super::template::Template;
use super::{Evidence, SIGNIFICANT, Subject};

/// Minimum coherence of inserted text. With eight rows, chance falls below it in one case of
/// twenty.
const WHOLE: f64 = 1.0 / 3.0;
/// Minimum Youden's J with which the rest of the prompt predicts the rows of a topic.
const TOLD: f64 = 0.5;

/// Measurements that decide whether a condition is a topic.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Asked {
    /// Youden's J with which the rest of the prompt predicts the rows, at least 0.
    pub told: Option<f64>,
    /// Coherence of the rest after removal.
    pub seam: Option<f64>,
}

/// Whether a condition is a topic.
pub(super) fn is_topic(subject: &Subject, evidence: Option<&Evidence>) -> bool {
    let (Subject::Feature(feature), Some(evidence)) = (subject, evidence) else { return false };
    asks(feature, &Asked { told: evidence.topic, seam: evidence.seam })
}

/// Whether a feature is a topic, given the measurements.
pub(super) fn asks(feature: &Feature, asked: &Asked) -> bool {
    asked.seam.is_some_and(|seam| seam < WHOLE)
        || (feature.kind.is_wording() && asked.told.is_some_and(|told| told >= TOLD))
}

/// Computes the topic measurements of every feature that consists of words of a prompt and may be
/// significant.
pub(super) fn measure_topics(readings: &[Reading], templates: &[Template], drafts: &mut [Draft]) {
    let prompts = Bags::of(readings.iter().map(|reading| reading.prompt.as_str()), false);
    let grammar = Grammar::of(readings);
    let template_of: BTreeMap<String, &Template> = templates
        .iter()
        .filter(|template| template.place == Place::Prompt && !template.wide)
        .map(|template| (template.text(), template))
        .collect();
    for draft in drafts {
        let Subject::Feature(feature) = &draft.subject else { continue };
        let worded = feature.kind.is_wording()
            || matches!(feature.kind, FeatureKind::Line | FeatureKind::Tag | FeatureKind::Template);
        let chance = draft.measured.as_ref().is_none_or(|measured| measured.p > SIGNIFICANT);
        if !worded || chance || feature.place != Place::Prompt {
            continue;
        }
        let rest = prompts.without(&words(&feature.text, false));
        let told = measure(&rest, &Labels::binary(readings.len(), &draft.rows), draft.rows.len());
        let seam = match feature.kind {
            FeatureKind::End => None,
            FeatureKind::Template => template_of.get(&feature.text).and_then(|template| {
                let texts: BTreeMap<u32, String> = template
                    .members
                    .iter()
                    .map(|member| (member.row, template.written(member)))
                    .collect();
                grammar.seam(&draft.rows, |row| texts.get(&row).map(String::as_str), false)
            }),
            kind => grammar.seam(
                &draft.rows,
                |_| Some(feature.text.as_str()),
                kind == FeatureKind::Ending,
            ),
        };
        draft.asked = Asked { told: told.map(|told| told.told.max(0.0)), seam };
    }
}
