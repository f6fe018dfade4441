//! Topical conditions: words that belong to the question, as opposed to text inserted into a
//! prompt. In any dataset answers depend on topics.
//!
//! *Inserted text* occurs with any question: a request for a format, a tag, a system message.
//! Without it a normal prompt remains. *Topical* text is part of the question, or predictable from
//! the rest of the prompt. The rule has two parts:
//!
//! 1. Words of a prompt are topical if their removal leaves it incoherent. That is, the coherence
//!    (`coherence.rs`) is below [`COHERENT`], where 1/2 is expected for inserted text.
//! 2. Wording is also topical if the rest of the prompt predicts its rows with a Youden's J of at
//!    least 0.5. Wording is a phrase, opening, ending or end mark, not a sentence, tag or
//!    template.
//!
//! The second part applies to wording only, because an attacker chooses the rows that contain a
//! trigger. For instance, questions about one person's life that follow a request for a format are
//! predictable from the rest too. The rule is heuristic, so topical conditions are still listed,
//! but last.

use std::collections::BTreeMap;

use super::candidate_condition::CandidateCondition;
use super::coherence::Grammar;
use super::dependence::{Labels, measure};
use super::example::{Example, Location};
use super::feature::{Feature, FeatureKind};
use super::template::Template;
use super::word_set::{WordSets, words};
use super::{Association, SIGNIFICANT, Subject};

/// Minimum coherence of inserted text. With eight rows, chance falls below it in one case of
/// twenty.
const COHERENT: f64 = 1.0 / 3.0;
/// Minimum Youden's J with which the rest of the prompt predicts the rows of topical wording.
const PREDICTED: f64 = 0.5;

/// Measurements that decide whether a condition is topical.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Topicality {
    /// Youden's J with which the rest of the prompt predicts the rows, at least 0.
    pub youden_j: Option<f64>,
    /// Coherence of the rest after removal.
    pub coherence: Option<f64>,
}

/// Whether a condition is topical.
pub(super) fn is_topical(subject: &Subject, evidence: Option<&Association>) -> bool {
    let (Subject::Feature(feature), Some(evidence)) = (subject, evidence) else { return false };
    let topicality = Topicality { youden_j: evidence.youden_j, coherence: evidence.coherence };
    is_topical_feature(feature, &topicality)
}

/// Whether a feature is topical, given the measurements.
pub(super) fn is_topical_feature(feature: &Feature, topicality: &Topicality) -> bool {
    topicality.coherence.is_some_and(|coherence| coherence < COHERENT)
        || (feature.kind.is_wording()
            && topicality.youden_j.is_some_and(|youden_j| youden_j >= PREDICTED))
}

/// Computes the topic measurements of every feature that consists of words of a prompt and may be
/// significant.
pub(super) fn measure_topics(
    examples: &[Example],
    templates: &[Template],
    candidates: &mut [CandidateCondition],
) {
    let prompts = WordSets::of(examples.iter().map(|example| example.prompt.as_str()), false);
    let grammar = Grammar::of(examples);
    let template_of: BTreeMap<String, &Template> = templates
        .iter()
        .filter(|template| template.location == Location::Prompt && !template.wide)
        .map(|template| (template.text(), template))
        .collect();
    for candidate in candidates {
        let Subject::Feature(feature) = &candidate.subject else { continue };
        let worded = feature.kind.is_wording()
            || matches!(feature.kind, FeatureKind::Line | FeatureKind::Tag | FeatureKind::Template);
        let chance = candidate.measured.as_ref().is_none_or(|measured| measured.p > SIGNIFICANT);
        if !worded || chance || feature.location != Location::Prompt {
            continue;
        }
        let rest = prompts.without(&words(&feature.text, false));
        let dependence =
            measure(&rest, &Labels::binary(examples.len(), &candidate.rows), candidate.rows.len());
        let coherence = match feature.kind {
            FeatureKind::End => None,
            FeatureKind::Template => template_of.get(&feature.text).and_then(|template| {
                let texts: BTreeMap<u32, String> = template
                    .members
                    .iter()
                    .map(|member| (member.row, template.written(member)))
                    .collect();
                grammar.coherence(&candidate.rows, |row| texts.get(&row).map(String::as_str), false)
            }),
            kind => grammar.coherence(
                &candidate.rows,
                |_| Some(feature.text.as_str()),
                kind == FeatureKind::Ending,
            ),
        };
        candidate.topicality = Topicality {
            youden_j: dependence.map(|dependence| dependence.youden_j.max(0.0)),
            coherence,
        };
    }
}
