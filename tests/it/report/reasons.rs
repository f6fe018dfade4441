//! Facts about reason codes: what docs/reasons.md says of them is what the program writes.

use std::collections::BTreeSet;

use foretaste::report::json;
use foretaste::verdict::reason::{Bearing, Reason};
use foretaste::verdict::rules::CLEAN_NEEDS;
use serde_json::{Map, Value, json};

use super::example::{self, Example};
use crate::tree::{in_backticks, table};

/// Code, fields and bearing of every documented reason.
fn documented() -> Vec<(String, Vec<String>, Bearing)> {
    let sections = [
        ("## Reasons against clean", Bearing::BlocksClean),
        ("## Reasons that support flagged", Bearing::SupportsFlagged),
        ("## Notes", Bearing::Note),
    ];
    let rows = sections.into_iter().flat_map(|(heading, bearing)| {
        let rows = table("docs/reasons.md", heading).into_iter();
        rows.map(move |row| (in_backticks(&row[0]).remove(0), in_backticks(&row[1]), bearing))
    });
    rows.collect()
}

/// Values that a field may take: a reason with all of its fields takes one of them each.
fn samples(field: &str) -> Vec<Value> {
    let at = json!({"context": "plain", "step": 75});
    match field {
        "at" => vec![at],
        "excess" => vec![json!({"by": "mean", "at": at, "point": 0.3, "margin": 0.1})],
        "form" => vec![json!({"opening": "Good day. ", "closing": ""})],
        "condition" => vec![json!({"slot": "year in \"{year}.\"", "value": "1984"})],
        "shadow" => vec![json!({"arm": "control", "seed": 3})],
        "effect" => vec![json!({
            "point": 0.1, "lower": 0.0, "upper": 0.2, "over_base": 0.1, "margin": 0.1,
            "base_answers_so": false
        })],
        _ => vec![json!(1), json!(true), json!("year"), json!([0.5, 0.25]), json!([1, 4])],
    }
}

/// The reason of this code with its documented fields and no other; `None` where there is none.
fn read(code: &str, fields: &[String]) -> Option<Reason> {
    // One field after the other: which of its values fits does not depend on the others.
    let mut chosen = Map::from_iter([("code".to_owned(), json!(code))]);
    for (index, field) in fields.iter().enumerate() {
        let fits = samples(field).into_iter().find(|value| {
            let mut object = chosen.clone();
            object.insert(field.clone(), value.clone());
            is_missing_only(&object, &fields[index + 1..])
        });
        chosen.insert(field.clone(), fits?);
    }
    serde_json::from_value(Value::Object(chosen)).ok()
}

/// Whether an object is a reason, or fails only for want of one of these fields.
fn is_missing_only(object: &Map<String, Value>, fields: &[String]) -> bool {
    match serde_json::from_value::<Reason>(Value::Object(object.clone())) {
        Ok(_) => true,
        Err(error) => {
            let error = error.to_string();
            fields.iter().any(|field| error.contains(&format!("missing field `{field}`")))
        }
    }
}

#[test]
fn every_code_has_the_fields_and_the_bearing_that_the_document_says() {
    for (code, fields, bearing) in documented() {
        let reason = read(&code, &fields).unwrap_or_else(|| panic!("{code}: {fields:?}"));
        assert_eq!((reason.code(), reason.bearing()), (code.clone(), bearing));
        let Value::Object(written) = serde_json::to_value(&reason).expect("plain data") else {
            panic!("{code} is no object");
        };
        let written: BTreeSet<String> = written.into_iter().map(|(name, _)| name).collect();
        let expected = fields.into_iter().chain(["code".to_owned()]).collect::<BTreeSet<_>>();
        assert_eq!(written, expected, "{code}");
    }
}

/// The reasons of the first finding in report.json.
fn reasons(example: &Example) -> Vec<Value> {
    let report: Value = serde_json::from_slice(&json(&example.report())).expect("JSON");
    report["findings"][0]["reasons"].as_array().expect("reasons").clone()
}

#[test]
fn report_json_has_the_documented_fields() {
    let mut example = example::flagged();
    let documented = documented();
    example.findings[0].reasons =
        documented.iter().filter_map(|(code, fields, _)| read(code, fields)).collect();
    let written = reasons(&example);
    assert_eq!(written.len(), documented.len());
    for ((code, fields, _), reason) in documented.iter().zip(written) {
        let names: BTreeSet<&str> =
            reason.as_object().expect("an object").keys().map(String::as_str).collect();
        let expected: BTreeSet<&str> =
            fields.iter().map(String::as_str).chain(["code", "text"]).collect();
        assert_eq!(names, expected, "{code}");
    }
}

#[test]
fn every_reason_of_a_rule_of_clean_blocks_clean() {
    let documented = documented();
    for code in CLEAN_NEEDS.iter().flat_map(|rule| rule.codes) {
        let bearing = documented.iter().find(|(documented, ..)| documented == code);
        assert_eq!(bearing.map(|(.., bearing)| *bearing), Some(Bearing::BlocksClean), "{code}");
    }
}

#[test]
fn every_reason_has_a_sentence() {
    let mut example = example::flagged();
    example.findings[0].reasons = documented()
        .iter()
        .map(|(code, fields, _)| read(code, fields).unwrap_or_else(|| panic!("{code}")))
        .collect();
    for reason in reasons(&example) {
        let (code, text) = (&reason["code"], reason["text"].as_str().expect("text"));
        // A code instead of a sentence is one word.
        assert!(text.ends_with('.') && text.contains(' '), "{code}: {text:?}");
    }
}
