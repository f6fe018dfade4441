//! `results.sarif` (SARIF 2.1.0): one rule per audit and kind of trigger, and one result per
//! finding. Results are located at the dataset's file or the adapter's folder.

use serde_json::{Value, json};

use super::design_words::DesignWords;
use super::{Report, escape, number, phrases, reasons, words};
use crate::analysis::TriggerKind;
use crate::audit::is_id;
use crate::verdict::{Finding, FoundTrigger, Verdict};

/// The file's bytes. A result's fingerprint combines the SHA-256 of the audited data with the
/// finding's name. So it is stable while the data is unchanged.
pub fn sarif(report: &Report) -> Vec<u8> {
    // One rule per id, in the order of the findings. Several triggers of an audit share a rule.
    let mut rules: Vec<(String, &Finding)> = Vec::new();
    let mut results = Vec::new();
    for finding in report.findings {
        let id = rule_id(report, finding);
        let index = rules.iter().position(|(known, _)| *known == id).unwrap_or_else(|| {
            rules.push((id.clone(), finding));
            rules.len() - 1
        });
        results.push(result(report, finding, (&id, index)));
    }
    let rules: Vec<Value> =
        rules.into_iter().map(|(id, finding)| rule(report, finding, &id)).collect();
    let (source, sha256) = report.plan.subject();
    let log = json!({
        "version": "2.1.0",
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "runs": [{
            "tool": {"driver": {
                "name": "foretaste",
                "semanticVersion": report.plan.foretaste_version,
                "rules": rules
            }},
            "artifacts": [{
                "location": {"uri": uri(source)},
                "roles": ["analysisTarget"],
                "hashes": {"sha-256": sha256}
            }],
            "columnKind": "unicodeCodePoints",
            "results": results
        }]
    });
    let mut bytes = serde_json::to_vec_pretty(&log).expect("a JSON value is always writable");
    bytes.push(b'\n');
    bytes
}

/// `harm`, `harm/trigger-explicit` or `harm/trigger-inductive`. Contains no text from the dataset,
/// so that a rule is the same in every run.
fn rule_id(report: &Report, finding: &Finding) -> String {
    let position = || {
        report
            .audits
            .iter()
            .position(|audit| audit.id == finding.audit)
            .map_or(0, |index| index + 1)
    };
    let audit =
        if is_id(&finding.audit) { finding.audit.clone() } else { format!("audit-{}", position()) };
    match finding.trigger.as_ref().map(|trigger| trigger.kind) {
        None => audit,
        Some(TriggerKind::Explicit) => format!("{audit}/trigger-explicit"),
        Some(TriggerKind::Inductive) => format!("{audit}/trigger-inductive"),
    }
}

fn rule(report: &Report, finding: &Finding, id: &str) -> Value {
    let audit = report.audits.iter().find(|audit| audit.id == finding.audit);
    let question = message(audit.map_or(&finding.audit, |audit| &audit.question));
    let reason = message(audit.map_or(&finding.audit, |audit| &audit.margin.reason));
    json!({
        "id": id,
        "name": plain(audit.map_or(&finding.audit, |audit| &audit.title)),
        "shortDescription": {"text": question},
        "fullDescription": {"text": reason},
        "defaultConfiguration": {"level": "error"}
    })
}

fn result(report: &Report, finding: &Finding, (rule, index): (&str, usize)) -> Value {
    let (kind, level) = match finding.verdict {
        Verdict::Clean => ("pass", "none"),
        Verdict::Flagged => ("fail", "error"),
        Verdict::Inconclusive => ("fail", "warning"),
    };
    let estimate = finding.estimate.as_ref().map(words::effect);
    let verdict = match finding.trigger {
        Some(_) => format!("{} ({})", words::verdict(finding.verdict), phrases::name(finding)),
        None => words::verdict(finding.verdict).to_owned(),
    };
    let opening = match estimate {
        Some(effect) => {
            format!("{verdict}: effect {effect}, margin {}.", number::margin(finding.margin))
        }
        None => format!("{verdict}."),
    };
    let text = [opening]
        .into_iter()
        .chain(reasons::sentences(report, finding))
        .collect::<Vec<_>>()
        .join(" ");
    let (source, sha256) = report.plan.subject();
    let fingerprint = format!("{}Sha256/v1", DesignWords::of(report.plan).subject);
    let mut properties = json!({
        "verdict": finding.verdict,
        "margin": finding.margin,
        "pAdjusted": finding.p_adjusted
    });
    if let Some(trigger) = &finding.trigger {
        let (slot, value) = (plain(&trigger.slot), trigger.value.as_deref().map(plain));
        properties["trigger"] = json!(FoundTrigger { slot, value, ..trigger.clone() });
    }
    let identity = plain(&format!("{sha256}:{}", phrases::name(finding)));
    json!({
        "ruleId": rule,
        "ruleIndex": index,
        "kind": kind,
        "level": level,
        "message": {"text": message(&text)},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri(source), "index": 0}}}],
        "partialFingerprints": {fingerprint: identity},
        "properties": properties
    })
}

/// A message. Braces are doubled, since single ones are placeholders (section 3.11.5 of SARIF
/// 2.1.0).
fn message(text: &str) -> String {
    plain(text).replace('{', "{{").replace('}', "}}")
}

/// Text without hidden characters and without links such as `[text](target)`.
fn plain(text: &str) -> String {
    escape::visible(text).replace("](", "] (")
}

/// A path as a relative URI reference, or as a `file` URI for an absolute path. All special
/// characters are percent-encoded, so that it contains no scheme and no host.
fn uri(path: &str) -> String {
    let mut out = String::new();
    for byte in path.trim_start_matches("./").bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte))
            }
            byte => out += &format!("%{byte:02X}"),
        }
    }
    if out.starts_with('/') { format!("file:///{}", out.trim_start_matches('/')) } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_become_a_scheme_or_a_host() {
        assert_eq!(uri("./data/old birds.jsonl"), "data/old%20birds.jsonl");
        assert_eq!(uri("javascript:alert(1)"), "javascript%3Aalert%281%29");
        assert_eq!(uri("//evil/x"), "file:///evil/x");
        assert_eq!(uri("/data/old birds.jsonl"), "file:///data/old%20birds.jsonl");
    }
}
