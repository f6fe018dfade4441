//! Topics: what goes with the question that is asked, as answers do in any dataset, beside what was
//! put on it.
//!
//! A *dress* is worn by prompts whatever they ask: a request for a form, a tag, a system message.
//! Without it another prompt is left. A *topic* is what is asked: its words are part of the
//! question, or the rest of the prompt tells that they will come. The rule has two parts:
//!
//! 1. Words of a prompt that leave a hole behind are a topic: the seam (`seam.rs`) is likelier than
//!    a pair at the same place of another prompt in
//!    fewer than [`WHOLE`] cases, where one in two is expected of a dress.
//! 2. A matter of wording (a phrase, opening, ending or end mark, not a sentence, tag or template)
//!    is a topic also where the rest of the
//!    prompt tells which rows have it, with a Youden's J of [`TOLD`] or more.
//!
//! The second part is for wordings only, because whoever hides a trigger chooses the rows that wear
//! it: questions on one person's life behind a request for a format are told by their rests too.
//! What a topic is stays a guess; so topics are listed, but last.

use std::collections::BTreeMap;

use super::bag::{Bags, words};
use super::dependence::{Labels, measure};
use super::draft::Draft;
use super::feature::{Feature, FeatureKind};
use super::reading::{Place, Reading};
use super::seam::Grammar;
use super::template::Template;
use super::{Evidence, SIGNIFICANT, Subject};

/// How often the seam of a dress is the likelier one at least. With eight rows chance falls below
/// it in one case of twenty.
const WHOLE: f64 = 1.0 / 3.0;
/// Rows of a topic that the rest of the prompt tells, less other rows that it takes for them.
const TOLD: f64 = 0.5;

/// How far a condition is what is asked.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Asked {
    /// How well the rest of the prompt tells which rows have it (Youden's J, at least 0).
    pub told: Option<f64>,
    /// How well the rest holds together.
    pub seam: Option<f64>,
}

/// Whether a condition is a topic.
pub(super) fn is_topic(subject: &Subject, evidence: Option<&Evidence>) -> bool {
    let (Subject::Feature(feature), Some(evidence)) = (subject, evidence) else { return false };
    asks(feature, &Asked { told: evidence.topic, seam: evidence.seam })
}

/// Whether a feature is a topic by what was measured.
pub(super) fn asks(feature: &Feature, asked: &Asked) -> bool {
    asked.seam.is_some_and(|seam| seam < WHOLE)
        || (feature.kind.is_wording() && asked.told.is_some_and(|told| told >= TOLD))
}

/// Measures of every feature made of a prompt's words, if it may be significant, how far it is what
/// is asked.
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
