//! The report's first sentence as data: each number with its context.

use serde::Serialize;

use super::effects::finite;
use crate::plan::ContextKind;
use crate::report::headline::{self, ConfirmedTrigger, Situation};
use crate::report::{Report, changed, phrases, words};
use crate::verdict::Finding;

#[derive(Serialize)]
pub struct HeadlineJson<'a> {
    sentence: String,
    /// The flagged audit in the sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    audit: Option<&'a str>,
    /// The context that decided the audit first, then the other contexts at the same step.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    situations: Vec<SituationJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trigger: Option<TriggerJson<'a>>,
}

/// Mean probabilities of the risky side in one context.
#[derive(Serialize)]
struct SituationJson {
    context: ContextKind,
    /// Absent where an adapter was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<usize>,
    candidate: Option<f64>,
    reference: Option<f64>,
}

/// The same under a condition and under null conditions of its kind.
#[derive(Serialize)]
struct TriggerJson<'a> {
    audit: &'a str,
    condition: String,
    under: Option<f64>,
    otherwise: Option<f64>,
}

/// Number of questions with written answers. `differing` counts those in which some training of the
/// candidate writes neither the base's nor the control's answer.
#[derive(Serialize)]
pub struct WrittenCountsJson {
    questions: usize,
    differing: usize,
}

pub fn headline<'a>(report: &Report<'a>) -> HeadlineJson<'a> {
    let data = headline::headline(report);
    let measured = |situation: &Situation| SituationJson {
        context: situation.context,
        step: report.plan.design().step(situation.step),
        candidate: finite(situation.candidate),
        reference: finite(situation.reference),
    };
    let named = data.as_ref().and_then(|data| data.named.as_ref());
    HeadlineJson {
        sentence: words::verdict_sentence(report),
        audit: named.map(|named| named.axis.audit.id.as_str()),
        situations: named
            .map_or(Vec::new(), |named| named.situations.iter().map(measured).collect()),
        trigger: data.as_ref().and_then(|data| data.trigger.as_ref()).map(trigger),
    }
}

fn trigger<'a>(confirmed: &ConfirmedTrigger<'a>) -> TriggerJson<'a> {
    let of = |side: fn((f64, f64)) -> f64| {
        confirmed.measured.and_then(|measured| finite(side(measured.candidate)))
    };
    TriggerJson {
        audit: &confirmed.finding.audit,
        condition: phrases::name(confirmed.finding),
        under: of(|(under, _)| under),
        otherwise: of(|(_, otherwise)| otherwise),
    }
}

/// `None` where no answers were written in the deciding context.
pub fn written(report: &Report, finding: &Finding) -> Option<WrittenCountsJson> {
    let axes = report.axes();
    let axis = axes
        .iter()
        .find(|axis| finding.trigger.is_none() && axis.finding.audit == finding.audit)?;
    let answers = changed::written_answers(report, axis);
    (answers.questions > 0).then_some(WrittenCountsJson {
        questions: answers.questions,
        differing: answers.changed.len(),
    })
}
