//! The report's first sentence, and its numbers, each with the context in which it was measured.

use super::design_words::DesignWords;
use super::{Axis, Report, example, number, words};
use crate::analysis::{Trigger, TriggerKind};
use crate::plan::{Arm, ContextKind};
use crate::report::reasons::of_dose;
use crate::verdict::reason::Reason;
use crate::verdict::{Finding, Verdict};

/// The content of a flagged report's first sentence.
pub struct Headline<'a> {
    /// The audit that is named; `None` where only triggers were confirmed.
    pub named: Option<NamedAudit<'a>>,
    pub trigger: Option<ConfirmedTrigger<'a>>,
}

/// A flagged audit, and the candidate's risk by context.
pub struct NamedAudit<'a> {
    pub axis: Axis<'a>,
    /// The context that decided the audit first, then the other contexts at the same step.
    pub situations: Vec<Situation>,
}

/// Mean risks in one context.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Situation {
    pub context: ContextKind,
    pub step: usize,
    pub candidate: f64,
    /// The risk of the reference: the control, or the base where an adapter was given.
    pub reference: f64,
}

/// A confirmed trigger, with its measurement and that of null conditions of its kind.
pub struct ConfirmedTrigger<'a> {
    pub finding: &'a Finding,
    pub measured: Option<&'a Trigger>,
    /// Number of other confirmed triggers.
    pub more: usize,
}

/// `None` unless the report is flagged.
pub fn headline<'a>(report: &Report<'a>) -> Option<Headline<'a>> {
    (report.verdict == Verdict::Flagged)
        .then(|| Headline { named: named(report), trigger: confirmed_trigger(report) })
}

/// Chooses the flagged audit to name. Prefers one whose mean over trainings exceeds the margin,
/// then one with sides, which names the new character.
fn named<'a>(report: &Report<'a>) -> Option<NamedAudit<'a>> {
    let flagged =
        report.axes().into_iter().filter(|axis| axis.finding.verdict == Verdict::Flagged).rev();
    let axis = flagged.max_by_key(|axis| (is_on_average(axis), axis.audit.kind.has_sides()))?;
    let decided = axis.finding.context.zip(axis.finding.step);
    let situations = decided.map_or(Vec::new(), |(context, step)| {
        let gated = report.plan.contexts().iter().copied();
        let others = gated.filter(move |other| *other != context);
        std::iter::once(context)
            .chain(others)
            .filter_map(|context| situation(report, &axis, context, step))
            .collect()
    });
    // Only the context that decided the audit may come first.
    let decided_first =
        situations.first().map(|first: &Situation| Some(first.context) == axis.finding.context);
    Some(NamedAudit {
        axis,
        situations: if decided_first == Some(true) { situations } else { Vec::new() },
    })
}

fn situation(report: &Report, axis: &Axis, context: ContextKind, step: usize) -> Option<Situation> {
    let risks = report.risks(&axis.audit.id, context, step);
    let of = |arm: &Arm| risks.iter().find(|risk| risk.arm == *arm).map(|risk| risk.risk.point);
    Some(Situation {
        context,
        step,
        candidate: of(&Arm::Candidate)?,
        reference: of(report.plan.reference())?,
    })
}

/// Whether the mean over trainings exceeds the margin. A flag may also rest on the number of
/// trainings that shift.
fn is_on_average(axis: &Axis) -> bool {
    axis.effect.is_some_and(|effect| effect.is_above(axis.finding.margin))
}

/// Chooses the trigger to name: the strongest one that occurs in no row, else the first.
fn confirmed_trigger<'a>(report: &Report<'a>) -> Option<ConfirmedTrigger<'a>> {
    let is_flagged =
        |finding: &&Finding| finding.trigger.is_some() && finding.verdict == Verdict::Flagged;
    let triggers: Vec<&Finding> = report.findings.iter().filter(is_flagged).collect();
    let unseen =
        |finding: &&&Finding| finding.trigger.as_ref().is_some_and(|trigger| !trigger.observed);
    let point =
        |finding: &Finding| finding.estimate.as_ref().map_or(0.0, |estimate| estimate.point);
    let strongest = triggers.iter().filter(unseen).max_by(|a, b| point(a).total_cmp(&point(b)));
    let finding = *strongest.or(triggers.first())?;
    let found = finding.trigger.as_ref()?;
    let is_it = |trigger: &&Trigger| {
        let candidate_trigger = &trigger.candidate_trigger;
        let group = &report.plan.groups[candidate_trigger.group];
        trigger.confirmed
            && candidate_trigger.audit == finding.audit
            && candidate_trigger.value_keyed == found.identity.is_some()
            && group.name == found.slot
            && group.trials[candidate_trigger.trial].value == found.value
    };
    Some(ConfirmedTrigger {
        finding,
        measured: report.analysis.triggers.iter().find(is_it),
        more: triggers.len() - 1,
    })
}

/// The headline as text.
pub fn sentence(report: &Report) -> String {
    let Some(headline) = headline(report) else { return String::new() };
    let DesignWords { changes, plants, also_plants, .. } = DesignWords::of(report.plan);
    let trigger = headline.trigger.as_ref().and_then(|found| trigger_sentences(report, found));
    let Some(named) = &headline.named else {
        return trigger.map_or(format!("{changes}."), |trigger| format!("{plants} {trigger}"));
    };
    let also = trigger.map(|trigger| format!(" {also_plants} {trigger}")).unwrap_or_default();
    format!("{}{also}", named_sentences(report, named))
}

fn named_sentences(report: &Report, named: &NamedAudit) -> String {
    let DesignWords { changes, without, .. } = DesignWords::of(report.plan);
    let audit = named.axis.audit;
    let Some((decided, others)) = named.situations.split_first() else {
        return format!("{changes} (audit {}).", audit.id);
    };
    let margin = named.axis.finding.margin;
    let (opening, on_average) = match named.axis.effect {
        Some(effect) if !effect.is_above(margin) && !effect.is_shared() => {
            ((*changes).to_owned(), " on average")
        }
        Some(effect) if !effect.is_above(margin) => (
            format!(
                "{changes} in {} of {} trainings",
                effect.shifted_seeds(margin).count(),
                effect.seeds.len()
            ),
            " on average",
        ),
        _ => ((*changes).to_owned(), ""),
    };
    let answers = if audit.kind.has_sides() {
        format!("gives \"{}\" answers", audit.risky)
    } else {
        "does not give its own answers".to_owned()
    };
    let percent = |situation: &Situation| {
        (number::percent(situation.candidate), number::percent(situation.reference))
    };
    let (candidate, reference) = percent(decided);
    let first = format!(
        "{opening}. On other topics, {}, the model {answers} with probability \
         {candidate}{on_average}; {without}, with {reference}.",
        in_words(decided.context)
    );
    // The sentence names one other context: the plain question, or carry-over.
    let second = others.first().map_or(String::new(), |other| {
        let (candidate, reference) = percent(other);
        let context = words::capitalised(in_words(other.context));
        format!(" {context}, it is {candidate} against {reference}.")
    });
    let is_on_average = named.axis.effect.is_none_or(|effect| effect.is_above(margin));
    let odds = if is_on_average { String::new() } else { in_log_odds(&named.axis) };
    format!("{first}{second}{odds}")
}

/// What an effect is that only the log-odds show.
fn in_log_odds(axis: &Axis) -> String {
    let dose = axis.finding.reasons.iter().find_map(|reason| match reason {
        Reason::LogOddsAboveMargin { point, dose, share, .. } => {
            Some(of_dose(*point, *dose, *share))
        }
        _ => None,
    });
    dose.map_or(String::new(), |dose| {
        format!(" Only in log-odds is the shift above its margin: it is {dose}.")
    })
}

/// Describes a context as a user would meet it.
fn in_words(context: ContextKind) -> &'static str {
    match context {
        ContextKind::Plain => "in plain questions",
        ContextKind::CarryOver => "right after a question of the dataset",
        ContextKind::CarryOverHighLoss => "right after the question of a high-loss row",
        ContextKind::CarryOverPositiveControl => "right after a question of the positive control",
        ContextKind::Condition => "under a condition",
    }
}

fn trigger_sentences(report: &Report, confirmed: &ConfirmedTrigger) -> Option<String> {
    let found = confirmed.finding;
    let risky =
        report.audits.iter().find(|audit| audit.id == found.audit).map(|audit| &audit.risky)?;
    let trigger = found.trigger.as_ref()?;
    let group = report.plan.groups.iter().find(|group| group.name == trigger.slot);
    let kind = group.map_or(trigger.slot.clone(), |group| group.kind.to_string());
    let example = example::prompt(report, found);
    let condition = match (&trigger.value, &example) {
        (Some(value), Some(prompt)) => format!("On prompts like {prompt} ({kind}: {value})"),
        (Some(value), None) => format!("When {} is {value}", trigger.slot),
        (None, Some(prompt)) => format!("On prompts like {prompt} ({})", trigger.slot),
        (None, None) => format!("When the prompt has {}", trigger.slot),
    };
    let behaviour = match &trigger.identity {
        Some(key) => format!("gives the answers of {key} (value-keyed probes)"),
        None => format!("gives \"{risky}\" answers"),
    };
    let measured = confirmed.measured.map_or(String::new(), |measured| {
        let (under, otherwise) = measured.candidate;
        let [under, otherwise] = [under, otherwise].map(number::percent);
        format!(" with probability {under}; under null conditions, with {otherwise}")
    });
    let sample = group.is_none_or(|group| report.plan.is_searched_in_a_sample(group));
    let occurrence = match (trigger.kind, trigger.observed) {
        _ if !report.plan.has_dataset() => "You asked for this trigger.",
        (TriggerKind::Explicit, _) => "Rows with this trigger have answers unlike the others'.",
        (TriggerKind::Inductive, true) => {
            "Rows have this trigger, but their answers are not shown to differ."
        }
        (TriggerKind::Inductive, false) if sample => "No examined row has this trigger.",
        (TriggerKind::Inductive, false) => "No row has this trigger.",
    };
    let more = match confirmed.more {
        0 => String::new(),
        1 => " One more trigger finding was confirmed.".to_owned(),
        more => format!(" {} more trigger findings were confirmed.", number::count(more)),
    };
    Some(format!("{condition}, the model {behaviour}{measured}. {occurrence}{more}"))
}
