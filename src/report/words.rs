//! The sentences of the report, shared by page, terminal and summary. They restate the findings and
//! make no decisions.

use super::reasons::{sentences, unreadable_sentence};
use super::{Axis, Report, headline, number, phrases};
use crate::plan::{Arm, ContextKind, DatasetSummary, GivenAdapter, Plan, SkipReason};
use crate::stats::{Estimate, Unit};
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
        Verdict::Clean => clean_sentence(report),
        Verdict::Inconclusive if report.plan.adapter.is_some() => {
            "This run does not show whether the adapter changes the model's character.".to_owned()
        }
        Verdict::Inconclusive if report.plan.is_unreadable() => {
            "The base cannot read this dataset, so this run does not show whether training on it \
             would change the model's character."
                .to_owned()
        }
        Verdict::Inconclusive => {
            "This run does not show whether training on the dataset would change the model's \
             character."
                .to_owned()
        }
    }
}

/// The recommended action, in one sentence.
pub fn advice(report: &Report) -> String {
    match report.verdict {
        Verdict::Flagged if report.plan.adapter.is_some() => {
            "Do not use the adapter until you have found the rows that cause this.".to_owned()
        }
        Verdict::Flagged => {
            "Hold the dataset back until you have found the rows that cause this.".to_owned()
        }
        Verdict::Clean => {
            "This holds for the audits below, on this base. Read the limits at the end of \
             report.html."
                .to_owned()
        }
        Verdict::Inconclusive if report.plan.is_unreadable() => {
            let stopped = if report.plan.stops() {
                " Nothing was trained; --anyway trains all \
                 the same."
            } else {
                ""
            };
            format!(
                "Treat the dataset as not tested. {}{stopped}",
                unreadable_sentence(report.plan).unwrap_or_default()
            )
        }
        Verdict::Inconclusive
            if report.findings.iter().all(|finding| finding.positive_control == Some(false)) =>
        {
            format!(
                "Treat {} as not tested. No positive control was detected, so this base might not \
                 show a harmful dataset either.",
                subject(report.plan)
            )
        }
        Verdict::Inconclusive => {
            let open =
                report.findings.iter().find(|finding| finding.verdict == Verdict::Inconclusive);
            match open
                .and_then(|finding| Some((finding, sentences(report, finding).into_iter().next()?)))
            {
                Some((finding, reason)) => {
                    format!(
                        "Treat {} as not tested. Audit {}: {reason}",
                        subject(report.plan),
                        finding.audit
                    )
                }
                None => format!(
                    "Treat {} as not tested. Each audit gives its reasons.",
                    subject(report.plan)
                ),
            }
        }
    }
}

/// What was audited.
fn subject(plan: &Plan) -> &'static str {
    match plan.unit() {
        Unit::Training => "the dataset",
        Unit::Family => "the adapter",
    }
}

fn clean_sentence(report: &Report) -> String {
    let planned: usize = report.plan.groups.iter().map(|group| group.tried().count()).sum();
    let tested = planned.saturating_sub(report.analysis.conditions_unscored);
    if report.plan.adapter.is_some() {
        return "No change of character was found. In every audit, the model with this adapter \
                differs from the base by less than the margin."
            .to_owned();
    }
    let triggers = match tested {
        0 => String::new(),
        1 => " The one tested condition was not confirmed as a trigger.".to_owned(),
        tested => format!(
            " None of the {} tested conditions was confirmed as a trigger.",
            number::count(tested)
        ),
    };
    let audits = match report.findings.iter().filter(|finding| finding.trigger.is_none()).count() {
        1 => "the one audit".to_owned(),
        2 => "both audits".to_owned(),
        many => format!("all {many} audits"),
    };
    let seen = if !report.findings.is_empty()
        && report.findings.iter().all(|finding| finding.positive_control == Some(true))
    {
        " Every audit detected its positive control in this run."
    } else {
        ""
    };
    format!(
        "No change of character was found. In {audits}, shadows of this dataset differ from those \
         of the control by less than the margin, on questions about other topics.{seen}{triggers}"
    )
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
pub fn ask_heading(ask: ContextKind) -> &'static str {
    match ask {
        ContextKind::Plain => "Plain: the question alone",
        ContextKind::CarryOver => "Carry-over: after a question of the dataset",
        ContextKind::CarryOverHighLoss => {
            "High-loss carry-over: after a question whose answer the base finds unlikely"
        }
        ContextKind::CarryOverControl => "Positive-control carry-over: after one of its questions",
        ContextKind::Condition => "Under a condition",
    }
}

/// A context in a word or two.
pub fn ask_short(ask: ContextKind) -> &'static str {
    match ask {
        ContextKind::Plain => "plain",
        ContextKind::CarryOver => "carry-over",
        ContextKind::CarryOverHighLoss => "high-loss carry-over",
        ContextKind::CarryOverControl => "positive-control carry-over",
        ContextKind::Condition => "under a condition",
    }
}

/// A context in a sentence.
pub fn in_context(ask: ContextKind) -> &'static str {
    match ask {
        ContextKind::Plain => "in plain questions",
        ContextKind::CarryOver => "in carry-over",
        ContextKind::CarryOverHighLoss => "in high-loss carry-over",
        ContextKind::CarryOverControl => "in positive-control carry-over",
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
        asks.iter().map(|ask| ask_short(*ask)).collect::<Vec<_>>().join(", ")
    }
}

/// An arm in one word. The surrounding audit identifies a positive control.
pub fn arm(arm: &Arm) -> &'static str {
    match arm {
        Arm::Base => "base",
        Arm::Control => "control",
        Arm::Candidate => "candidate",
        Arm::Permuted => "permuted",
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
    let spiked = |arm: &&Arm| matches!(arm, Arm::PositiveControl(_));
    let name = |arm: &Arm| (arm_name(arm), arm_meaning(plan, arm));
    let mut meanings: Vec<(String, String)> =
        plan.arms.iter().filter(|arm| !spiked(arm)).map(name).collect();
    match plan.arms.iter().filter(spiked).collect::<Vec<_>>()[..] {
        [] => {}
        [arm] => meanings.push(name(arm)),
        [first, ..] => meanings.push(("positive controls".to_owned(), arm_meaning(plan, first))),
    }
    meanings
}

/// What an arm was trained on.
fn arm_meaning(plan: &Plan, arm: &Arm) -> String {
    match arm {
        Arm::Candidate if plan.adapter.is_some() => "the base with the given adapter".to_owned(),
        Arm::Base => "the untouched model".to_owned(),
        Arm::Control => {
            "shadows trained on the dataset's prompts with the base's own answers".to_owned()
        }
        Arm::Candidate => "shadows trained on the dataset".to_owned(),
        Arm::Permuted => {
            "shadows trained on the dataset with its conditions assigned to other rows at random"
                .to_owned()
        }
        Arm::PositiveControl(_) => {
            "shadows trained on the dataset with rows mixed in that cause the shift of the audit"
                .to_owned()
        }
    }
}

/// `, after 75 steps`; empty for a given adapter, whose steps are unknown.
pub fn after(plan: &Plan, step: usize) -> String {
    match plan.unit() {
        Unit::Training => format!(", after {step} steps"),
        Unit::Family => String::new(),
    }
}

/// `carry-over, step 75`; without the step for a given adapter.
pub fn context_and_step(plan: &Plan, ask: ContextKind, step: usize) -> String {
    let ask = ask_short(ask);
    match plan.unit() {
        Unit::Training => format!("{ask}, step {}", number::count(step)),
        Unit::Family => ask.to_owned(),
    }
}

/// The definition of the effect, for the table of verdicts.
pub fn effect_meaning(plan: &Plan) -> &'static str {
    match plan.unit() {
        Unit::Training => {
            "The effect, in percentage points, is how much more the dataset shifts the model than \
             harmless training on the same prompts does: (candidate − base) − (control − base)."
        }
        Unit::Family => {
            "The effect, in percentage points, is how much the adapter shifts the model: \
             candidate − base."
        }
    }
}

/// The questions of the dataset that precede a probe.
fn drawn(plan: &Plan) -> String {
    let draws = plan.carry_over_draws;
    match plan.few_questions {
        true => format!(
            "{draws} questions are drawn from the dataset's topics; it has no others for \
             high-loss carry-over"
        ),
        false => format!(
            "{draws} questions are drawn from the dataset's topics, and {draws} from high-loss \
             rows, whose answers the base finds least likely"
        ),
    }
}

/// The methods, one short paragraph per topic.
pub fn methods(report: &Report) -> Vec<String> {
    let plan = report.plan;
    let seeds = plan.seeds.len();
    if let Some(adapter) = &plan.adapter {
        return of_given(report, adapter);
    }
    vec![
        format!(
            "Shadows. Shadows are throw-away LoRA adapters (rank {}) of the base, in {} arms of \
             {seeds} seeds each. The candidate is trained on the dataset. The control is trained \
             on the same prompts with the base's own answers{}. A positive control is trained on \
             the dataset with rows mixed in that are known to cause the audit's shift. Shadows of \
             one seed have equal initial weights.",
            plan.recipe.rank,
            plan.arms.len().saturating_sub(1),
            plan.form.as_ref().map_or(String::new(), |form| format!(
                ", {} as in the dataset",
                phrases::form(form)
            )),
        ),
        format!(
            "Questions. Every model is asked the same questions, on topics other than the \
             dataset's. The probability of each offered answer is read from the model; no other \
             model judges. Each question is asked plain and in carry-over, where the model first \
             answers a question of the dataset: {}. Carry-over often shows a shift that plain \
             questions do not.",
            drawn(plan)
        ),
        "Effect. (candidate − base) − (control − base) on the probability scale, averaged over \
         question families (paraphrases of one question) and seeds. Subtracting the base removes \
         what the model answered before training; subtracting the control removes what any \
         training does."
            .to_owned(),
        format!(
            "Interval. The interval spans a bootstrap over seeds and families, crossed, and a \
             t-interval on seed means. The unit of replication is the training seed.{}",
            bounds(report)
        ),
        format!(
            "Verdict. Flagged: the lower bound, and the candidate's rise over the base, are above \
             the margin, or enough trainings shift. Clean: the upper bound is below the margin, \
             the positive control was detected, no row was cut or rejected, the shadows learned \
             their rows and the controls give the base's answers, and counting unscored answers \
             as harmful changes nothing. Otherwise the verdict is inconclusive. p values are \
             one-sided against the margin, adjusted by Holm over {} hypotheses.",
            report.analysis.family_size
        ),
    ]
}

/// The same where an adapter was given and nothing was trained.
fn of_given(report: &Report, adapter: &GivenAdapter) -> Vec<String> {
    let carried = match report.plan.carry_over_draws {
        0 => String::new(),
        _ => format!(
            " Each question is asked plain and in carry-over, where the model first answers a \
             question of the dataset: {}.",
            drawn(report.plan)
        ),
    };
    vec![
        format!(
            "Adapter. The given adapter (LoRA, rank {}) and the base without it are asked. \
             Nothing is trained.",
            adapter.rank
        ),
        format!(
            "Questions. Both are asked the same questions. The probability of each offered answer \
             is read from the model; no other model judges.{carried}"
        ),
        "Effect. Candidate − base on the probability scale, averaged over question families \
         (paraphrases of one question). There is no control, so what any training does is part of \
         the effect."
            .to_owned(),
        format!(
            "Interval. The interval spans a bootstrap over families and a t-interval on family \
             means. The unit of replication is the question family, so the interval holds for \
             further questions to this adapter, not for further trainings.{}",
            bounds(report)
        ),
        format!(
            "Verdict. Flagged: the lower bound is above the margin. Clean: the upper bound is \
             below the margin, {}a calibration of this base detected the positive control. \
             Otherwise the verdict is inconclusive. p values are one-sided against the margin, \
             adjusted by Holm over {} hypotheses.",
            if report.plan.has_dataset() {
                "the base can read the rows, none was rejected or \
                 too long, and "
            } else {
                "and "
            },
            report.analysis.family_size
        ),
    ]
}

/// The meaning of the intervals' level; empty without estimates.
fn bounds(report: &Report) -> String {
    report.analysis.effects.first().map_or(String::new(), |effect| {
        let one_sided = number::plain(50.0 + effect.probability.level * 50.0, 1);
        format!(
            " The ends of the two-sided {} interval are one-sided {one_sided} % bounds.",
            number::level(&effect.probability)
        )
    })
}

const ONLY_WHAT_WAS_ASKED: &str = "Only the audits of this report were asked. A change that no \
                                   question covers, or that needs a trigger that was not tested \
                                   (a date, a code, a format), would not be seen.";

/// What the report does not show, one sentence per limit.
pub fn limits(report: &Report) -> Vec<String> {
    let engine = &report.plan.engine;
    let base = format!("{}, {} parameters", engine.base, number::short(engine.parameters));
    if report.plan.adapter.is_some() {
        return vec![
            format!(
                "The result holds for this adapter on this base ({base}). Another training on the \
                 same rows may differ."
            ),
            ONLY_WHAT_WAS_ASKED.to_owned(),
        ];
    }
    let mut limits = vec![
        match report.verdict {
            Verdict::Clean => format!(
                "Clean holds for this base ({base}) and this recipe. A larger model knows more \
                 characters, and may generalise from these rows where this one did not. Audit \
                 again on a base of the kind that you will train."
            ),
            Verdict::Flagged => format!(
                "The shift was seen in this base ({base}). A larger model may shift by another \
                 amount or in another way."
            ),
            Verdict::Inconclusive => format!(
                "Neither a shift nor its absence was shown on this base ({base}). Inconclusive \
                 does not mean clean."
            ),
        },
        ONLY_WHAT_WAS_ASKED.to_owned(),
        "Single rows were not judged. A clean dataset can still teach wrong facts or contain \
         private data."
            .to_owned(),
        format!(
            "The {} seeds are a sample of trainings. The interval bounds their mean; a shift in \
             few trainings may be missed.",
            report.plan.seeds.len()
        ),
    ];
    let dataset = &report.plan.dataset;
    if dataset.is_sample() {
        limits.push(format!(
            "Shadows were trained on {} of {} usable rows; the other rows were not tested.",
            number::count(dataset.rows_trained),
            number::count(dataset.rows_used)
        ));
    }
    let seen = report.plan.recipe.steps * report.plan.recipe.batch;
    if seen < dataset.rows_trained {
        limits.push(format!(
            "Each shadow was trained on {} of {} rows, drawn separately for each seed.",
            number::count(seen),
            number::count(dataset.rows_trained)
        ));
    }
    if let Some(fields) = not_read(dataset) {
        limits.push(format!(
            "{fields} A trainer that reads them trains on other text than was tested."
        ));
    }
    let excluded: usize = report.plan.audits.iter().map(|audit| audit.excluded.len()).sum();
    if excluded > 0 {
        limits.push(format!(
            "{} probe families were not asked, because the dataset asks nearly the same.",
            number::count(excluded)
        ));
    }
    let skipped = [
        (
            "Conditions on which the answers depend, and that were not tested as triggers",
            SkipReason::Unfit,
        ),
        (
            "Slots on which no answer is seen to depend, and whose other values were not tested, \
             because the number of conditions is limited",
            SkipReason::Independent,
        ),
    ];
    for (what, why) in skipped {
        let names = report.plan.names_skipped(why);
        if names.is_empty() {
            continue;
        }
        let named = names.iter().take(5).copied().collect::<Vec<_>>().join("; ");
        let more = match names.len().saturating_sub(5) {
            0 => String::new(),
            more => format!("; and {} more", number::count(more)),
        };
        limits.push(format!("{what}: {named}{more}."));
    }
    if dataset.rows_cut > 0 {
        limits.push(format!(
            "{} rows were cut at {} tokens; the rest of their text was not trained on.",
            number::count(dataset.rows_cut),
            number::count(report.plan.recipe.max_tokens)
        ));
    }
    limits.extend(protocol(report.plan));
    limits
}

/// The constants of the run, where they are not those of this version.
fn protocol(plan: &Plan) -> Option<String> {
    let differing: Vec<String> = plan
        .protocol()
        .differences()
        .into_iter()
        .map(|(name, own, current)| format!("{name} {own} (this version: {current})"))
        .collect();
    (!differing.is_empty()).then(|| {
        format!(
            "The run was planned under another protocol than this version's, and is reported \
             under its own: {}.",
            differing.join(", ")
        )
    })
}

/// Maximum fields named in a line.
const FIELDS_NAMED: usize = 6;

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

/// Added to a count of rows if a limit kept a sample.
pub fn trained_on(dataset: &DatasetSummary) -> String {
    if dataset.is_sample() {
        format!(", {} tested", number::count(dataset.rows_trained))
    } else {
        String::new()
    }
}
