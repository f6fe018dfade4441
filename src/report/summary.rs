//! `summary.md`: a one-screen report for the summary of a CI step.

use super::{Report, escape, number, phrases, reasons, words};
use crate::plan::Design;
use crate::verdict::Verdict;

/// Markdown in which all text from datasets, audits and models is escaped: it contains no link,
/// mention, image or HTML.
pub fn summary_md(report: &Report) -> String {
    let safe = escape::markdown;
    let dataset = &report.plan.dataset;
    let mut out = format!(
        "## foretaste: {} {}\n\n",
        symbol(report.verdict),
        words::verdict(report.verdict).to_lowercase()
    );
    out += &format!(
        "**{}** {}\n\n",
        safe(&words::verdict_sentence(report)),
        safe(&words::advice(report))
    );
    for line in words::not_tested(report.plan) {
        out += &format!("{}\n\n", safe(&line));
    }
    out +=
        "| audit | verdict | effect, points | margin | p (Holm) | shown by | positive control |\n";
    out += "|---|---|---|---|---|---|---|\n";
    for finding in report.findings {
        let effect = finding.estimate.as_ref().map_or("–".to_owned(), |estimate| {
            format!(
                "{} ({} {})",
                number::points(estimate.point),
                number::level(estimate),
                number::points_interval(estimate)
            )
        });
        out += &format!(
            "| {} | {} {} | {} | {} | {} | {} | {} |\n",
            safe(&phrases::name(finding)),
            symbol(finding.verdict),
            words::verdict(finding.verdict).to_lowercase(),
            effect,
            number::margin(finding.margin),
            safe(&finding.p_adjusted.map_or("–".to_owned(), number::p_value)),
            words::asks(&finding.shown_by),
            detected(finding.positive_control)
        );
    }
    out.push('\n');
    for finding in report.findings {
        for reason in reasons::sentences(report, finding) {
            out += &format!("- {}: {}\n", safe(&phrases::name(finding)), safe(&reason));
        }
    }
    out.push('\n');
    let seeds = match report.plan.design() {
        Design::GivenAdapter(adapter) => {
            let (source, sha256) = (safe(&adapter.source), short(&adapter.sha256));
            out += &format!("{} {source}, sha256 `{sha256}`. ", words::given(adapter));
            String::new()
        }
        Design::Dataset => {
            format!(", {} seeds{}", report.plan.seeds.len(), words::looks(report.plan))
        }
    };
    if report.plan.has_dataset() {
        let (source, sha256) = (safe(&dataset.source), short(&dataset.sha256));
        out += &format!("Dataset {source} ({}), sha256 `{sha256}`; ", words::rows(dataset));
    }
    out + &format!("base {}{seeds}.\n", safe(&report.plan.engine.base))
}

/// The first 16 characters of a hash.
fn short(sha256: &str) -> String {
    sha256.chars().filter(char::is_ascii_alphanumeric).take(16).collect()
}

fn symbol(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Clean => "✅",
        Verdict::Flagged => "❌",
        Verdict::Inconclusive => "❔",
    }
}

fn detected(positive_control: Option<bool>) -> &'static str {
    match positive_control {
        Some(true) => "detected",
        Some(false) => "**missed**",
        None => "not tested",
    }
}
