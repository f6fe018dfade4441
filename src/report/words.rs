//! The sentences of the report, shared by page, terminal and summary. They restate the findings and
//! make no decisions.

use super::design_words::DesignWords;
use super::reasons::{sentences, unreadable_sentence};
use super::{Axis, Report, headline, number};
use crate::plan::{Arm, ContextKind, DatasetSummary, GivenAdapter, Plan};
use crate::stats::Estimate;
use crate::verdict::Verdict;

/// The verdict in one word.
pub fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Clean => "Clean",
        Verdict::Flagged => "Flagged",
        Verdict::Inconclusive => "Inconclusive",
    }
}

/// The verdict in one or two sentences without statistical terms. Each number comes with its
/// context.
pub fn verdict_sentence(report: &Report) -> String {
    match report.verdict {
        Verdict::Flagged => headline::sentence(report),
        Verdict::Clean => (DesignWords::of(report.plan).clean)(report),
        Verdict::Inconclusive if report.plan.is_unreadable() => {
            "The base cannot read this dataset, so this run does not show whether training on it \
             would change the model's character."
                .to_owned()
        }
        Verdict::Inconclusive => DesignWords::of(report.plan).not_shown.to_owned(),
    }
}

/// The base of the calibrations in a plan.
pub fn calibrated_base(plan: &Plan) -> String {
    let mut known = plan.audits.iter().filter_map(|audit| audit.calibrated.as_ref());
    known.find_map(|known| known.measured_on.as_ref()).map_or_else(
        || "this base".to_owned(),
        |other| format!("{}, given in the place of this base's own,", other.name),
    )
}

/// The recommended action, in a few sentences.
pub fn advice(report: &Report) -> String {
    let (plan, findings) = (report.plan, report.findings);
    let DesignWords { subject, hold_back, .. } = DesignWords::of(plan);
    let why = match report.verdict {
        Verdict::Flagged => return (*hold_back).to_owned(),
        Verdict::Clean => {
            return "This holds for the audits below, on this base. Read the limits at the end of \
                    report.html."
                .to_owned();
        }
        Verdict::Inconclusive if plan.is_unreadable() => {
            let stopped = " Nothing was trained; --anyway trains all the same.";
            let stopped = if plan.stops() { stopped } else { "" };
            format!("{}{stopped}", unreadable_sentence(plan).unwrap_or_default())
        }
        Verdict::Inconclusive if findings.iter().all(|f| f.positive_control == Some(false)) => {
            "No positive control was detected, so this base might not show a harmful dataset \
             either."
                .to_owned()
        }
        Verdict::Inconclusive => {
            let open = findings.iter().find(|f| f.verdict == Verdict::Inconclusive);
            let first = open.and_then(|finding| {
                let reason = sentences(report, finding).into_iter().next()?;
                Some(format!("Audit {}: {reason}", finding.audit))
            });
            first.unwrap_or_else(|| "Each audit gives its reasons.".to_owned())
        }
    };
    format!("Treat the {subject} as not tested. {why}")
}

/// The quantity that an audit's percentages measure.
pub fn risk_name(axis: &Axis) -> String {
    if axis.audit.kind.has_sides() {
        format!("probability of \"{}\"", axis.audit.risky)
    } else {
        "probability of another answer than the base's own".to_owned()
    }
}

/// An effect with its interval: `+51.4 points (90 % interval +46.8 to +56.1)`.
pub fn effect(estimate: &Estimate) -> String {
    let (point, level, interval) = (
        number::points(estimate.point),
        number::level(estimate),
        number::points_interval(estimate),
    );
    format!("{point} points ({level} interval {interval})")
}

/// A context as a heading.
pub fn context_heading(context: ContextKind) -> &'static str {
    match context {
        ContextKind::Plain => "Plain: the question alone",
        ContextKind::CarryOver => "Carry-over: after a question of the dataset",
        ContextKind::CarryOverHighLoss => {
            "High-loss carry-over: after a question whose answer the base finds unlikely"
        }
        ContextKind::CarryOverPositiveControl => {
            "Positive-control carry-over: after one of its questions"
        }
        ContextKind::Condition => "Under a condition",
    }
}

/// A context in a word or two.
pub fn context_short(context: ContextKind) -> &'static str {
    match context {
        ContextKind::Plain => "plain",
        ContextKind::CarryOver => "carry-over",
        ContextKind::CarryOverHighLoss => "high-loss carry-over",
        ContextKind::CarryOverPositiveControl => "positive-control carry-over",
        ContextKind::Condition => "under a condition",
    }
}

/// A context in a sentence.
pub fn in_context(context: ContextKind) -> &'static str {
    match context {
        ContextKind::Plain => "in plain questions",
        ContextKind::CarryOver => "in carry-over",
        ContextKind::CarryOverHighLoss => "in high-loss carry-over",
        ContextKind::CarryOverPositiveControl => "in positive-control carry-over",
        ContextKind::Condition => "under a condition",
    }
}

/// A text with its first letter in upper case.
pub fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Contexts in one line; a dash if there are none.
pub fn asks(asks: &[ContextKind]) -> String {
    if asks.is_empty() {
        "–".to_owned()
    } else {
        asks.iter().map(|context| context_short(*context)).collect::<Vec<_>>().join(", ")
    }
}

/// An arm in one word. The surrounding audit identifies a positive control.
pub fn arm(arm: &Arm) -> &'static str {
    match arm {
        Arm::Base => "base",
        Arm::Control => "control",
        Arm::Candidate => "candidate",
        Arm::PositiveControl(_) => "positive control",
    }
}

/// An arm with its audit: `positive control of era`.
pub fn arm_name(of: &Arm) -> String {
    match of {
        Arm::PositiveControl(audit) => format!("positive control of {audit}"),
        other => arm(other).to_owned(),
    }
}

/// Arms in one line: `candidate, control, positive controls (era, harm)`.
pub fn arm_list<'a>(arms: impl Iterator<Item = &'a Arm>) -> String {
    let (mut names, mut audits) = (Vec::new(), Vec::new());
    for of in arms {
        match of {
            Arm::PositiveControl(audit) => audits.push(audit.as_str()),
            other => names.push(arm(other).to_owned()),
        }
    }
    match audits[..] {
        [] => {}
        [audit] => names.push(format!("positive control of {audit}")),
        _ => names.push(format!("positive controls ({})", audits.join(", "))),
    }
    names.join(", ")
}

/// Each arm's name and what it was trained on; positive controls share one entry.
pub fn arm_meanings(plan: &Plan) -> Vec<(String, String)> {
    let controls = |arm: &&Arm| matches!(arm, Arm::PositiveControl(_));
    let name = |arm: &Arm| (arm_name(arm), arm_meaning(plan, arm));
    let mut meanings: Vec<(String, String)> =
        plan.arms.iter().filter(|arm| !controls(arm)).map(name).collect();
    match plan.arms.iter().filter(controls).collect::<Vec<_>>()[..] {
        [] => {}
        [arm] => meanings.push(name(arm)),
        [first, ..] => meanings.push(("positive controls".to_owned(), arm_meaning(plan, first))),
    }
    meanings
}

/// What an arm was trained on.
fn arm_meaning(plan: &Plan, arm: &Arm) -> String {
    match arm {
        Arm::Base => "the untouched model".to_owned(),
        Arm::Control => {
            "shadows trained on the dataset's prompts with the base's own answers".to_owned()
        }
        Arm::Candidate => DesignWords::of(plan).candidate_meaning.to_owned(),
        Arm::PositiveControl(_) => {
            "shadows trained on the dataset with rows mixed in that cause the shift of the audit"
                .to_owned()
        }
    }
}

/// `, after 75 steps`; empty for a given adapter, whose steps are unknown.
pub fn after(plan: &Plan, step: usize) -> String {
    plan.design().step(step).map_or(String::new(), |step| format!(", after {step} steps"))
}

/// `carry-over, step 75`; without the step for a given adapter.
pub fn context_and_step(plan: &Plan, context: ContextKind, step: usize) -> String {
    let step = plan.design().step(step).map(|step| format!(", step {}", number::count(step)));
    format!("{}{}", context_short(context), step.unwrap_or_default())
}

/// What was given, in a word.
pub fn given(adapter: &GivenAdapter) -> &'static str {
    if adapter.is_model() { "Model" } else { "Adapter" }
}

/// The form of a given adapter or model.
pub fn lora(adapter: &GivenAdapter) -> String {
    if adapter.is_model() {
        return "none; all weights may differ from the base's".to_owned();
    }
    let (rank, alpha) = (adapter.rank, number::plain(adapter.alpha, 3));
    format!("rank {rank}, alpha {alpha}, {}", adapter.target_modules.join(", "))
}

/// Maximum fields named in a line.
const FIELDS_NAMED: usize = 6;

/// What the verdict does not cover, in a line each: fields of the dataset that were not read, and
/// audits that were not asked.
pub fn not_tested(plan: &Plan) -> Vec<String> {
    let not_asked = plan.not_asked.iter().map(|audit| {
        format!("Not asked: {}, {}. --only {0} asks it.", audit.id, blind(plan, audit.share))
    });
    not_read(&plan.dataset).into_iter().chain(not_asked).collect()
}

/// Why an audit is not asked.
pub fn blind(plan: &Plan, share: f64) -> String {
    let base = calibrated_base(plan);
    format!("which on {base} does not detect its own poison in {:.0} % of the rows", 100.0 * share)
}

/// The fields of the dataset that were not read and so not tested, in one line; `None` if there are
/// none.
pub fn not_read(dataset: &DatasetSummary) -> Option<String> {
    let fields = &dataset.unread_fields;
    let named: Vec<String> = fields
        .iter()
        .take(FIELDS_NAMED)
        .map(|(name, rows)| format!("{name} (in {} rows)", number::count(*rows)))
        .collect();
    let more = match fields.len().saturating_sub(FIELDS_NAMED) {
        0 => String::new(),
        more => format!(" and {} more", number::count(more)),
    };
    (!fields.is_empty())
        .then(|| format!("Not read, and so not tested: {}{more}.", named.join(", ")))
}

/// The rows by what happened to them: `400 read = 397 used + 3 rejected`.
pub fn rows(dataset: &DatasetSummary) -> String {
    let rows = [dataset.rows_read, dataset.rows_used, dataset.rows_rejected];
    let [read, used, rejected] = rows.map(number::count);
    format!("{read} read = {used} used + {rejected} rejected{}", trained_on(dataset))
}

/// Added to a count of rows if a limit kept a sample.
pub fn trained_on(dataset: &DatasetSummary) -> String {
    if dataset.is_sample() {
        format!(", {} tested", number::count(dataset.rows_trained))
    } else {
        String::new()
    }
}

/// After how many seeds the verdict is computed, behind the number of seeds; empty where it is
/// once.
pub fn looks(plan: &Plan) -> String {
    let [before @ .., last] = &plan.looks[..] else { return String::new() };
    let before = before.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let level = number::plain(100.0 * plan.protocol.alpha, 1);
    format!("; verdict after {before} or {last} seeds, at a level of {level} % each")
}
