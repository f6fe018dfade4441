//! `results.sarif` (SARIF 2.1.0): one rule and one result an audit, located at the dataset's file, or at the adapter's folder.

use serde_json::{Value, json};

use super::{Report, escape, number, words};
use crate::finding::{Finding, Verdict};

/// The file's bytes. A result's fingerprint is the SHA-256 of what was audited with the audit's id, so that a finding is the same finding
/// until that changes.
pub fn sarif(report: &Report) -> Vec<u8> {
    let rules: Vec<Value> = report.findings.iter().map(|finding| rule(report, finding)).collect();
    let results: Vec<Value> = report.findings.iter().enumerate().map(|(index, finding)| result(report, finding, index)).collect();
    let (source, sha256) = report.plan.subject();
    let log = json!({
        "version": "2.1.0",
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "runs": [{
            "tool": {"driver": {"name": "foretaste", "semanticVersion": report.plan.foretaste_version, "rules": rules}},
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

fn rule(report: &Report, finding: &Finding) -> Value {
    let audit = report.audits.iter().find(|audit| audit.id == finding.audit);
    json!({
        "id": plain(&finding.name()),
        "name": plain(audit.map_or(&finding.audit, |audit| &audit.title)),
        "shortDescription": {"text": plain(audit.map_or(&finding.audit, |audit| &audit.question))},
        "fullDescription": {"text": plain(audit.map_or(&finding.audit, |audit| &audit.margin.reason))},
        "defaultConfiguration": {"level": "error"}
    })
}

fn result(report: &Report, finding: &Finding, index: usize) -> Value {
    let (kind, level) = match finding.verdict {
        Verdict::Clean => ("pass", "none"),
        Verdict::Flagged => ("fail", "error"),
        Verdict::Inconclusive => ("fail", "warning"),
    };
    let estimate = finding.estimate.as_ref().map(words::effect);
    let opening = match estimate {
        Some(effect) => {
            format!("{}: effect {effect}, margin {}.", words::verdict(finding.verdict), number::margin(finding.margin))
        }
        None => format!("{}.", words::verdict(finding.verdict)),
    };
    let text = [opening].into_iter().chain(finding.reasons.iter().cloned()).collect::<Vec<_>>().join(" ");
    let (source, sha256) = report.plan.subject();
    let fingerprint = if report.plan.adapter.is_some() { "adapterSha256/v1" } else { "datasetSha256/v1" };
    json!({
        "ruleId": plain(&finding.name()),
        "ruleIndex": index,
        "kind": kind,
        "level": level,
        "message": {"text": plain(&text)},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri(source), "index": 0}}}],
        "partialFingerprints": {fingerprint: plain(&format!("{sha256}:{}", finding.name()))},
        "properties": {"verdict": finding.verdict, "margin": finding.margin, "pAdjusted": finding.p_adjusted}
    })
}

/// Text that says only what it shows: nothing in it is invisible, and nothing a link, as `[text](target)` is in a message.
fn plain(text: &str) -> String {
    escape::visible(text).replace("](", "] (")
}

/// A path as a relative URI reference: everything but plain characters percent-encoded, so that it can name no scheme or host.
fn uri(path: &str) -> String {
    let mut out = String::new();
    for byte in path.trim_start_matches("./").bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => out.push(char::from(byte)),
            byte => out += &format!("%{byte:02X}"),
        }
    }
    match out.strip_prefix("//") {
        Some(rest) => format!("/{}", rest.trim_start_matches('/')),
        None => out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_become_a_scheme_or_a_host() {
        assert_eq!(uri("./data/old birds.jsonl"), "data/old%20birds.jsonl");
        assert_eq!(uri("javascript:alert(1)"), "javascript%3Aalert%281%29");
        assert_eq!(uri("//evil/x"), "/evil/x");
    }
}
