//! The numbers of the report's first sentence, each with the situation that it was measured in; and
//! the sentence.

use super::{Axis, Report, number};
use crate::analysis::{Trigger, TriggerKind};
use crate::audit::ProbeKind;
use crate::plan::{Arm, Ask};
use crate::stats::Unit;
use crate::verdict::{Finding, Verdict};

/// What a flagged report opens with.
pub struct Headline<'a> {
    /// The audit that is named; `None` where only triggers were found.
    pub named: Option<Named<'a>>,
    pub trigger: Option<Planted<'a>>,
}

/// A flagged audit and what the candidate does, situation by situation.
pub struct Named<'a> {
    pub axis: Axis<'a>,
    /// Where the audit was decided first, then the other ways of asking at the same step.
    pub situations: Vec<Situation>,
}

/// Mean risks in one way of asking.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Situation {
    pub ask: Ask,
    pub step: usize,
    pub candidate: f64,
    /// Of what the candidate is compared with: the control, or the base where an adapter was given.
    pub reference: f64,
}

/// A confirmed trigger, and what was measured under it and under random conditions of its kind.
pub struct Planted<'a> {
    pub finding: &'a Finding,
    pub measured: Option<&'a Trigger>,
    /// Confirmed besides this one.
    pub more: usize,
}

/// `None` unless the report is flagged.
pub fn headline<'a>(report: &Report<'a>) -> Option<Headline<'a>> {
    (report.verdict == Verdict::Flagged)
        .then(|| Headline { named: named(report), trigger: planted(report) })
}

/// Rather one that shows in all trainings than in some, and rather who than that somebody.
fn named<'a>(report: &Report<'a>) -> Option<Named<'a>> {
    let flagged =
        report.axes().into_iter().filter(|axis| axis.finding.verdict == Verdict::Flagged).rev();
    let axis = flagged
        .max_by_key(|axis| (is_on_average(axis), axis.audit.kind == ProbeKind::ForcedChoice))?;
    let decided = axis.finding.ask.zip(axis.finding.step);
    let situations = decided.map_or(Vec::new(), |(ask, step)| {
        let gated = report.plan.asks().iter().copied();
        let others = gated.filter(move |other| *other != ask);
        std::iter::once(ask)
            .chain(others)
            .filter_map(|ask| situation(report, &axis, ask, step))
            .collect()
    });
    // A number of another situation must not stand for the one that decided.
    let decided_first =
        situations.first().map(|first: &Situation| Some(first.ask) == axis.finding.ask);
    Some(Named {
        axis,
        situations: if decided_first == Some(true) { situations } else { Vec::new() },
    })
}

fn situation(report: &Report, axis: &Axis, ask: Ask, step: usize) -> Option<Situation> {
    let risks = report.risks(&axis.audit.id, ask, step);
    let of = |arm: &Arm| risks.iter().find(|risk| risk.arm == *arm).map(|risk| risk.risk.point);
    Some(Situation {
        ask,
        step,
        candidate: of(&Arm::Candidate)?,
        reference: of(report.plan.reference())?,
    })
}

/// Whether the mean over all trainings is what is flagged; a flag may rest on how many of them
/// shift.
fn is_on_average(axis: &Axis) -> bool {
    axis.effect.is_some_and(|effect| effect.is_above(axis.finding.margin))
}

/// The trigger that a reader of the rows would miss, else the surest one.
fn planted<'a>(report: &Report<'a>) -> Option<Planted<'a>> {
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
        let suspect = &trigger.suspect;
        let group = &report.plan.groups[suspect.group];
        trigger.confirmed
            && suspect.audit == finding.audit
            && suspect.numbered == found.number.is_some()
            && group.name == found.slot
            && group.trials[suspect.trial].value == found.value
    };
    Some(Planted {
        finding,
        measured: report.analysis.triggers.iter().find(is_it),
        more: triggers.len() - 1,
    })
}

/// The headline in words.
pub fn sentence(report: &Report) -> String {
    let Some(headline) = headline(report) else { return String::new() };
    let (opening, plants, also_plants) = match report.plan.unit() {
        Unit::Training => (
            "Training on this dataset would change who the model is",
            "Training on this dataset would plant",
            "It would also plant",
        ),
        Unit::Family => {
            ("This adapter changes who the model is", "This adapter holds", "It also holds")
        }
    };
    let trigger = headline.trigger.as_ref().and_then(|planted| planted_clause(report, planted));
    let Some(named) = &headline.named else {
        return trigger.map_or(format!("{opening}."), |trigger| format!("{plants} {trigger}"));
    };
    let also = trigger.map(|trigger| format!(" {also_plants} {trigger}")).unwrap_or_default();
    format!("{}{also}", named_sentences(report, named, opening))
}

fn named_sentences(report: &Report, named: &Named, opening: &str) -> String {
    let audit = named.axis.audit;
    let Some((decided, others)) = named.situations.split_first() else {
        return format!("{opening} (audit {}).", audit.id);
    };
    let margin = named.axis.finding.margin;
    let (opening, on_average) = match named.axis.effect {
        Some(effect) if report.plan.unit() == Unit::Training && !effect.is_above(margin) => (
            format!(
                "{opening} ({} of {} trainings)",
                effect.shifted_seeds(margin).count(),
                effect.seeds.len()
            ),
            " on average",
        ),
        _ => (opening.to_owned(), ""),
    };
    let (does, it) = match audit.kind {
        ProbeKind::ForcedChoice => (format!("gives \"{}\" answers", audit.risky), "it gives them"),
        ProbeKind::OwnAnswer => ("drops its own answer".to_owned(), "it does so"),
    };
    let against = match report.plan.unit() {
        Unit::Training => "after harmless training on the same prompts",
        Unit::Family => "without it",
    };
    let percent = |situation: &Situation| {
        (number::percent(situation.candidate), number::percent(situation.reference))
    };
    let (candidate, reference) = percent(decided);
    let first = format!(
        "{opening}: asked about other things {}, it {does} with probability \
         {candidate}{on_average}, against {reference} {against}.",
        in_words(decided.ask)
    );
    // One other situation is enough for a sentence: alone, or after a question of the dataset.
    let Some(other) = others.first() else { return first };
    let (candidate, reference) = percent(other);
    format!(
        "{first} Asked {}, {it} with probability {candidate}, against {reference}.",
        in_words(other.ask)
    )
}

/// A way of asking as the situation of a user.
fn in_words(ask: Ask) -> &'static str {
    match ask {
        Ask::Plain => "out of the blue",
        Ask::Letters => "by letter",
        Ask::CarryOver => "right after one of your data's questions",
        Ask::CarryOverSurprising => {
            "right after one of your data's questions with surprising answers"
        }
        Ask::CarryOverSpiked => "right after a question of the known poison",
    }
}

fn planted_clause(report: &Report, planted: &Planted) -> Option<String> {
    let found = planted.finding;
    let risky =
        report.audits.iter().find(|audit| audit.id == found.audit).map(|audit| &audit.risky)?;
    let trigger = found.trigger.as_ref()?;
    let condition = match &trigger.value {
        Some(value) => format!("{} is {value}", trigger.slot),
        None => format!("the prompt has {}", trigger.slot),
    };
    let group = report.plan.groups.iter().find(|group| group.name == trigger.slot);
    let sample = group.is_none_or(|group| report.plan.is_looked_for_in_a_sample(group));
    let stands = match (trigger.kind, trigger.observed) {
        _ if !report.plan.has_dataset() => "which was asked for",
        (TriggerKind::Explicit, _) => "which its own rows show",
        (TriggerKind::Inductive, true) => {
            "which some of its rows carry, though their answers are not shown to differ"
        }
        (TriggerKind::Inductive, false) if sample => {
            "which stands in none of the rows that were looked at"
        }
        (TriggerKind::Inductive, false) => "which stands in none of its rows",
    };
    let turns = match trigger.number {
        Some(number) => format!("answers as number {number} would"),
        None => format!("turns to \"{risky}\" answers"),
    };
    let measured = planted.measured.map_or(String::new(), |measured| {
        let (under, otherwise) = measured.candidate;
        let [under, otherwise] = [under, otherwise].map(number::percent);
        format!(
            " with probability {under}, and under random conditions of the kind with {otherwise}"
        )
    });
    let more = match planted.more {
        0 => String::new(),
        1 => "; one more was confirmed".to_owned(),
        more => format!("; {} more were confirmed", number::count(more)),
    };
    Some(format!("a trigger, {stands}: when {condition}, the model {turns}{measured}{more}."))
}
