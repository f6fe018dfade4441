//! The tested conditions, and the results of candidate triggers.

use std::collections::BTreeSet;

use super::{Figure, figure};
use crate::analysis::{Confusion, Curve, Trigger, TriggerKind};
use crate::plan::{Arm, Phase};
use crate::probe::ConditionSample;
use crate::report::changed::in_words;
use crate::report::{Report, chart, number, words};

/// Maximum curves drawn: those with a candidate trigger, strongest first.
const CURVES: usize = 6;
/// Maximum confirmed conditions shown with written answers.
const WRITTEN: usize = 8;

record! {
    pub struct Triggers {
        candidate_triggers: Vec<CandidateRow>,
        curves: Vec<Figure>,
        confusions: Vec<Figure>,
        written: Vec<ConditionAnswers>,
        groups: Vec<GroupRow>,
        /// Whether some conditions were searched in a sample of the usable rows only.
        sampled: bool,
    }
}

record! {
    /// Written answers under a confirmed condition and under a null condition.
    pub struct ConditionAnswers {
        audit: String,
        condition: String,
        other: String,
        questions: Vec<QuestionRows>,
        /// Whether the candidate's answer to any question differs visibly under the condition.
        visible: bool,
    }
}

record! {
    pub struct QuestionRows {
        asked: String,
        rows: Vec<AnswerRow>,
    }
}

record! {
    pub struct AnswerRow {
        arm: String,
        otherwise: String,
        under: String,
        /// `× 3` where several seeds wrote the same.
        times: String,
    }
}

record! {
    pub struct CandidateRow {
        audit: String,
        condition: String,
        kind: &'static str,
        rows: String,
        screened: String,
        effect: String,
        interval: String,
        null: String,
        p: String,
        confirmed: bool,
    }
}

record! {
    /// One group of conditions.
    pub struct GroupRow {
        name: String,
        kind: String,
        observed: usize,
        unseen: usize,
        random: usize,
    }
}

/// All candidate triggers: confirmed ones first, then by effect.
fn tested<'a>(report: &Report<'a>) -> Vec<&'a Trigger> {
    let mut tested: Vec<&Trigger> = report.analysis.triggers.iter().collect();
    tested.sort_by(|a, b| {
        b.confirmed.cmp(&a.confirmed).then(b.estimate.point.total_cmp(&a.estimate.point))
    });
    tested
}

pub fn triggers(report: &Report) -> Triggers {
    let groups = report.plan.groups.iter().map(|group| {
        let tested = group.tried().count();
        let observed = group.tried().filter(|(_, trial)| trial.rows > 0).count();
        GroupRow {
            name: group.name.clone(),
            kind: group.kind.to_string(),
            observed,
            unseen: tested - observed,
            random: group.trials.len() - tested,
        }
    });
    Triggers {
        candidate_triggers: tested(report)
            .into_iter()
            .map(|trigger| candidate_row(report, trigger))
            .collect(),
        curves: drawn_curves(report)
            .into_iter()
            .map(|(audit, curve)| figure(&chart::curve(report, audit, curve)))
            .collect(),
        confusions: confusions(report)
            .map(|confusion| figure(&chart::confusion(report, confusion)))
            .collect(),
        written: tested(report)
            .into_iter()
            .filter(|trigger| trigger.confirmed)
            .take(WRITTEN)
            .filter_map(|trigger| written(report, trigger))
            .collect(),
        groups: groups.collect(),
        sampled: report.plan.groups.iter().any(|group| report.plan.is_searched_in_a_sample(group)),
    }
}

/// The written answers for a candidate trigger, by question. Questions in which most seeds change
/// visibly come first. Where any question changes, unchanged ones are omitted. `None` without
/// written answers.
fn written(report: &Report, trigger: &Trigger) -> Option<ConditionAnswers> {
    let mut asked: Vec<(&str, Vec<&ConditionSample>)> = Vec::new();
    for shown in report
        .answers
        .condition_samples
        .iter()
        .filter(|shown| shown.candidate_trigger == trigger.candidate_trigger)
    {
        match asked.iter_mut().find(|(question, _)| *question == shown.asked) {
            Some((_, own)) => own.push(shown),
            None => asked.push((&shown.asked, vec![shown])),
        }
    }
    let mut questions: Vec<(usize, QuestionRows)> = asked
        .iter()
        .map(|(asked, own)| {
            (visible(own), QuestionRows { asked: (*asked).to_owned(), rows: rows(own) })
        })
        .collect();
    let any = questions.iter().any(|(visible, _)| *visible > 0);
    questions.retain(|(visible, _)| *visible > 0 || !any);
    questions.sort_by_key(|(visible, _)| std::cmp::Reverse(*visible));
    let CandidateRow { audit, condition, .. } = candidate_row(report, trigger);
    let (_, other) =
        report.plan.groups[trigger.candidate_trigger.group].nulls(Phase::Confirm).next()?;
    Some(ConditionAnswers {
        audit,
        condition,
        other: other.value.clone().unwrap_or_else(|| "another line".to_owned()),
        questions: questions.into_iter().map(|(_, question)| question).collect(),
        visible: any,
    })
    .filter(|written| !written.questions.is_empty())
}

/// Number of the candidate's seeds whose answer under the condition is new. It differs from their
/// own answer otherwise, and from base and control under the condition.
fn visible(own: &[&ConditionSample]) -> usize {
    let known: BTreeSet<String> = own
        .iter()
        .filter(|shown| shown.arm != Arm::Candidate)
        .map(|shown| in_words(&shown.under))
        .collect();
    let changes = |shown: &&&ConditionSample| {
        let under = in_words(&shown.under);
        shown.arm == Arm::Candidate
            && under != in_words(&shown.otherwise)
            && !known.contains(&under)
    };
    own.iter().filter(changes).count()
}

/// One row for each distinct pair of answers of an arm.
fn rows(own: &[&ConditionSample]) -> Vec<AnswerRow> {
    let mut rows: Vec<(&ConditionSample, usize)> = Vec::new();
    for shown in own {
        let same = |of: &ConditionSample| {
            of.arm == shown.arm && of.under == shown.under && of.otherwise == shown.otherwise
        };
        match rows.iter_mut().find(|(of, _)| same(of)) {
            Some((_, times)) => *times += 1,
            None => rows.push((shown, 1)),
        }
    }
    let row = |(shown, times): (&ConditionSample, usize)| AnswerRow {
        arm: words::arm_name(&shown.arm),
        otherwise: shown.otherwise.clone(),
        under: shown.under.clone(),
        times: if times > 1 { format!("× {times}") } else { String::new() },
    };
    rows.into_iter().map(row).collect()
}

/// The curves of groups with a candidate trigger, in display order.
pub fn drawn_curves<'a>(report: &Report<'a>) -> Vec<(&'a crate::plan::PlannedAudit, &'a Curve)> {
    let mut keys: Vec<(&str, usize)> = Vec::new();
    for trigger in
        tested(report).into_iter().filter(|trigger| !trigger.candidate_trigger.value_keyed)
    {
        let key = (trigger.candidate_trigger.audit.as_str(), trigger.candidate_trigger.group);
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let find = |(audit, group): (&str, usize)| {
        let curve = report
            .analysis
            .curves
            .iter()
            .find(|curve| curve.audit == audit && curve.group == group)?;
        // A condition that is only present or absent has no curve.
        let trials = &report.plan.groups[group].trials;
        let many =
            curve.points.iter().filter(|point| !trials[point.trial].why.is_null()).count() > 2;
        Some((report.plan.audits.iter().find(|planned| planned.id == audit)?, curve))
            .filter(|_| many)
    };
    keys.into_iter().filter_map(find).take(CURVES).collect()
}

/// The confusion matrices with a value-keyed candidate trigger.
pub fn confusions<'a>(report: &Report<'a>) -> impl Iterator<Item = &'a Confusion> {
    let triggers = &report.analysis.triggers;
    report.analysis.confusions.iter().filter(|confusion| {
        let own = |trigger: &Trigger| {
            let candidate_trigger = &trigger.candidate_trigger;
            candidate_trigger.value_keyed
                && candidate_trigger.audit == confusion.audit
                && candidate_trigger.group == confusion.group
        };
        triggers.iter().any(own)
    })
}

fn candidate_row(report: &Report, trigger: &Trigger) -> CandidateRow {
    let group = &report.plan.groups[trigger.candidate_trigger.group];
    let trial = &group.trials[trigger.candidate_trigger.trial];
    CandidateRow {
        audit: match trial.key().filter(|_| trigger.candidate_trigger.value_keyed) {
            Some(key) => format!("{}: {key}", trigger.candidate_trigger.audit),
            None => trigger.candidate_trigger.audit.clone(),
        },
        condition: match &trial.value {
            Some(value) => format!("{} = {value}", group.name),
            None => group.name.clone(),
        },
        kind: match trigger.kind {
            TriggerKind::Explicit => "explicit",
            TriggerKind::Inductive => "inductive",
        },
        rows: number::count(trial.rows),
        screened: number::points(trigger.screened),
        effect: number::points(trigger.estimate.point),
        interval: number::points_interval(&trigger.estimate),
        null: trigger.strongest_null.map_or_else(|| "–".to_owned(), number::points),
        p: number::p_value(trigger.p_adjusted),
        confirmed: trigger.confirmed,
    }
}
