//! `junit.xml`: one test case per audit. Flagged is a failure. Inconclusive is an error, so that it
//! does not look passed.

use super::design_words::DesignWords;
use super::{Axis, Report, escape, phrases, reasons, words};
use crate::verdict::{Finding, Verdict};

/// The file's bytes. It contains no times, so equal reports give equal bytes.
pub fn junit(report: &Report) -> Vec<u8> {
    let count = |verdict: Verdict| {
        report.findings.iter().filter(|finding| finding.verdict == verdict).count()
    };
    let counts = format!(
        "tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"0\"",
        report.findings.len().max(1),
        count(Verdict::Flagged),
        if report.findings.is_empty() { 1 } else { count(Verdict::Inconclusive) }
    );
    let mut out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
    out += &format!(
        "<testsuites name=\"foretaste\" {counts}>\n  <testsuite name=\"foretaste\" {counts}>\n    \
         <properties>\n"
    );
    for (name, value) in properties(report) {
        out += &format!("      <property name=\"{name}\" value=\"{}\"/>\n", escape::xml(value));
    }
    out += "    </properties>\n";
    let axes = report.axes();
    for finding in report.findings {
        out += &case(report, finding, axes.iter().find(|axis| axis.finding.audit == finding.audit));
    }
    if report.findings.is_empty() {
        out += "    <testcase classname=\"foretaste\" name=\"audit\"><error type=\"inconclusive\" \
                message=\"no audit was performed\"/></testcase>\n";
    }
    out += "  </testsuite>\n</testsuites>\n";
    out.into_bytes()
}

fn properties<'a>(report: &Report<'a>) -> [(String, &'a str); 5] {
    let plan = report.plan;
    let ((source, sha256), name) = (plan.subject(), DesignWords::of(plan).subject);
    [
        ("foretaste_version".to_owned(), &plan.foretaste_version),
        (name.to_owned(), source),
        (format!("{name}_sha256"), sha256),
        ("base".to_owned(), &plan.engine.base),
        ("base_sha256".to_owned(), &plan.engine.base_sha256),
    ]
}

fn case(report: &Report, finding: &Finding, axis: Option<&Axis>) -> String {
    let name = phrases::name(finding);
    let name = match axis {
        Some(axis) => format!("{name}: {}", axis.audit.question),
        None => name,
    };
    let head = format!(
        "    <testcase classname=\"foretaste.{}\" name=\"{}\" file=\"{}\"",
        escape::xml(&finding.audit),
        escape::xml(&name),
        escape::xml(report.plan.subject().0)
    );
    let element = match finding.verdict {
        Verdict::Clean => return format!("{head}/>\n"),
        Verdict::Flagged => "failure",
        Verdict::Inconclusive => "error",
    };
    let message =
        finding.estimate.as_ref().map_or(words::verdict(finding.verdict).to_owned(), words::effect);
    let kind = words::verdict(finding.verdict).to_lowercase();
    let reasons = escape::xml(&reasons::sentences(report, finding).join("\n"));
    format!(
        "{head}>\n      <{element} type=\"{kind}\" message=\"{}\">{reasons}</{element}>\n    \
         </testcase>\n",
        escape::xml(&message)
    )
}
