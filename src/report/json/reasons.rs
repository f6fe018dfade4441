//! The reasons of a finding with their fields and sentences.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::report::{Report, phrases, reasons};
use crate::verdict::Finding;
use crate::verdict::reason::Reason;

/// A reason as data, `code` first, and its sentence.
#[derive(Serialize)]
pub struct ReasonJson {
    #[serde(flatten)]
    fields: Map<String, Value>,
    text: String,
}

pub fn worded(report: &Report<'_>, finding: &Finding) -> Vec<ReasonJson> {
    let sentences = reasons::sentences(report, finding);
    let worded = |(reason, text)| ReasonJson { fields: fields(reason), text };
    finding.reasons.iter().zip(sentences).map(worded).collect()
}

/// The fields of a reason. Forms and conditions are text, as the schema says.
fn fields(reason: &Reason) -> Map<String, Value> {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(reason) else {
        unreachable!("a reason is an object of numbers, texts and names")
    };
    match reason {
        Reason::ControlIncoherent { form: Some(form), .. }
        | Reason::FormMovesControl { form, .. } => {
            fields.insert("form".to_owned(), phrases::form(form).into());
        }
        Reason::TriggerUnresolved { condition, .. }
        | Reason::TriggersNotConfirmed { condition, .. }
        | Reason::TriggerShown { condition, .. } => {
            fields.insert("condition".to_owned(), phrases::condition(condition).into());
        }
        _ => {}
    }
    fields
}
