//! Prints conditions as table rows: rows, values, strength, adjusted p, description, and example
//! lines.

use super::{COLUMNS, Lines};
use crate::detect::{Condition, Conditions, FeatureKind, Subject};
use crate::text::{fit, grouped, terminal, wrap};

/// Maximum conditions printed, without aliases; the JSON lists all.
const SHOWN: usize = 12;
/// Maximum topics named.
const NAMED: usize = 5;
/// Columns per topic name.
const NAME: usize = 40;
/// Columns of the numbers on the left.
const NUMBERS: usize = 35;
/// Maximum columns of a condition's description.
const TEXT: usize = 180;

/// Prints the strongest conditions.
pub(super) fn lines(conditions: &Conditions, lines: &mut Lines) {
    let sample = if conditions.sampled { "a random sample of " } else { "" };
    let examined = format!(
        "in {sample}{} rows; {} tested",
        grouped(conditions.rows_examined),
        grouped(conditions.tested)
    );
    lines.blank();
    if conditions.conditions.is_empty() {
        lines.fact("conditions", &format!("none, {examined}"));
        return;
    }
    lines.fact("conditions", &examined);
    lines.fact("", "bits: saved per answer if the condition is known");
    lines.line(&format!("{:>8}{:>8}{:>8}{:>9}  condition", "rows", "values", "bits", "adj. p"));
    let (topics, others): (Vec<&Condition>, Vec<&Condition>) =
        conditions.conditions.iter().partition(|condition| condition.is_topical());
    let originals =
        |list: &[&Condition]| list.iter().filter(|condition| condition.alias_of.is_none()).count();
    for condition in others.iter().filter(|condition| condition.alias_of.is_none()).take(SHOWN) {
        line(condition, lines);
    }
    let more = others.len() - originals(&others).min(SHOWN);
    if more > 0 {
        lines.line(&format!("{:NUMBERS$}… and {} more; --json lists them", "", grouped(more)));
    }
    name_topics(&topics, lines);
}

/// Prints all topics in one or two lines, since in any dataset answers depend on topics.
fn name_topics(topics: &[&Condition], lines: &mut Lines) {
    if topics.is_empty() {
        return;
    }
    // Aliases are omitted unless all topics are aliases.
    let mut named: Vec<&&Condition> =
        topics.iter().filter(|topic| topic.alias_of.is_none()).collect();
    if named.is_empty() {
        named = topics.iter().collect();
    }
    let names: Vec<String> = named.iter().take(NAMED).map(|topic| name(&topic.subject)).collect();
    let more = topics.len() - names.len();
    let more = if more > 0 { format!(" and {} more", grouped(more)) } else { String::new() };
    let text = format!("topics: {}{more} (words of the question itself)", names.join(", "));
    for part in wrap(&text, COLUMNS - NUMBERS) {
        lines.line(&format!("{:NUMBERS$}{part}", ""));
    }
}

/// The words of a topic.
fn name(subject: &Subject) -> String {
    let text = match subject {
        Subject::Feature(feature) if feature.kind == FeatureKind::End => {
            format!("the end {}", feature.text)
        }
        Subject::Feature(feature) => feature.text.clone(),
        other => other.to_string(),
    };
    fit(&terminal(&text), NAME)
}

fn line(condition: &Condition, lines: &mut Lines) {
    let values = match &condition.subject {
        Subject::Slot(slot) => grouped(slot.distinct),
        _ => String::new(),
    };
    let (bits, p) = match condition.evidence {
        // Adding 0.0 turns -0.0 into 0.0.
        Some(evidence) => (
            format!("{:.2}", (100.0 * evidence.bits).round() / 100.0 + 0.0),
            probability(evidence.p_adjusted),
        ),
        None => ("–".into(), "–".into()),
    };
    let numbers = format!("{:>8}{values:>8}{bits:>8}{p:>9}  ", grouped(condition.rows));
    let examples: Vec<String> = condition.examples.iter().map(usize::to_string).collect();
    let text = fit(&terminal(&condition.subject.to_string()), TEXT);
    let text = format!(
        "{text} (line{} {})",
        if examples.len() == 1 { "" } else { "s" },
        examples.join(", ")
    );
    for (index, part) in wrap(&text, COLUMNS - NUMBERS).iter().enumerate() {
        lines.line(&format!("{:NUMBERS$}{part}", if index == 0 { numbers.as_str() } else { "" }));
    }
}

/// Formats a p-value; it fits in nine columns.
fn probability(p: f64) -> String {
    if p >= 0.001 { format!("{p:.3}") } else { format!("{p:.0e}") }
}
