//! Conditions that were tried, and what came of those that stood out.

use super::{Figure, figure};
use crate::report::{Report, chart, number};
use crate::trigger::{Confusion, Curve, Phase, Shown, Trigger, TriggerKind};

/// Curves that the page draws: those with a suspect, strongest first.
const CURVES: usize = 6;
/// Confirmed conditions of which written answers are shown.
const WRITTEN: usize = 8;

record! {
    pub struct Triggers {
        suspects: Vec<Suspect>,
        curves: Vec<Figure>,
        confusions: Vec<Figure>,
        written: Vec<Written>,
        groups: Vec<Tried>,
        /// Whether usable rows were not looked at for some of them.
        sampled: bool,
    }
}

record! {
    /// What models write under a confirmed condition, and otherwise.
    pub struct Written {
        audit: String,
        condition: String,
        other: String,
        questions: Vec<Question>,
    }
}

record! {
    pub struct Question {
        asked: String,
        rows: Vec<Said>,
    }
}

record! {
    pub struct Said {
        arm: String,
        otherwise: String,
        under: String,
    }
}

record! {
    pub struct Suspect {
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
    pub struct Tried {
        name: String,
        kind: String,
        observed: usize,
        unseen: usize,
        random: usize,
    }
}

/// Every suspect: the confirmed first, then by the effect.
fn tested<'a>(report: &Report<'a>) -> Vec<&'a Trigger> {
    let mut tested: Vec<&Trigger> = report.analysis.triggers.iter().collect();
    tested.sort_by(|a, b| b.confirmed.cmp(&a.confirmed).then(b.estimate.point.total_cmp(&a.estimate.point)));
    tested
}

pub fn triggers(report: &Report) -> Triggers {
    let groups = report.plan.groups.iter().map(|group| {
        let tried = group.tried().count();
        let observed = group.tried().filter(|(_, trial)| trial.rows > 0).count();
        Tried {
            name: group.name.clone(),
            kind: group.kind.clone(),
            observed,
            unseen: tried - observed,
            random: group.trials.len() - tried,
        }
    });
    Triggers {
        suspects: tested(report).into_iter().map(|trigger| suspect(report, trigger)).collect(),
        curves: pictured(report).into_iter().map(|(audit, curve)| figure(&chart::curve(report, audit, curve))).collect(),
        confusions: confusions(report).map(|confusion| figure(&chart::confusion(report, confusion))).collect(),
        written: tested(report)
            .into_iter()
            .filter(|trigger| trigger.confirmed)
            .take(WRITTEN)
            .filter_map(|trigger| written(report, trigger))
            .collect(),
        groups: groups.collect(),
        sampled: report.plan.groups.iter().any(|group| report.plan.is_looked_for_in_a_sample(group)),
    }
}

/// The written answers of a suspect, question by question; `None` where there are none.
fn written(report: &Report, trigger: &Trigger) -> Option<Written> {
    let own: Vec<&Shown> = report.answers.shown.iter().filter(|shown| shown.suspect == trigger.suspect).collect();
    let mut asked: Vec<&str> = Vec::new();
    for shown in &own {
        if !asked.contains(&shown.asked.as_str()) {
            asked.push(&shown.asked);
        }
    }
    let of = |asked: &str| -> Vec<Said> {
        let own = own.iter().filter(|shown| shown.asked == asked);
        own.map(|shown| Said { arm: shown.arm.to_string(), otherwise: shown.otherwise.clone(), under: shown.under.clone() })
            .collect()
    };
    let Suspect { audit, condition, .. } = suspect(report, trigger);
    let (_, other) = report.plan.groups[trigger.suspect.group].nulls(Phase::Confirm).next()?;
    Some(Written {
        audit,
        condition,
        other: other.value.clone().unwrap_or_else(|| "another line".to_owned()),
        questions: asked.iter().map(|asked| Question { asked: (*asked).to_owned(), rows: of(asked) }).collect(),
    })
    .filter(|written| !written.questions.is_empty())
}

/// The curves of groups in which something stood out, in the order in which they are pictured.
pub fn pictured<'a>(report: &Report<'a>) -> Vec<(&'a crate::plan::PlannedAudit, &'a Curve)> {
    let mut places: Vec<(&str, usize)> = Vec::new();
    for trigger in tested(report).into_iter().filter(|trigger| !trigger.suspect.numbered) {
        let place = (trigger.suspect.audit.as_str(), trigger.suspect.group);
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let find = |(audit, group): (&str, usize)| {
        let curve = report.analysis.curves.iter().find(|curve| curve.audit == audit && curve.group == group)?;
        // A condition that is only there or not has no curve.
        let trials = &report.plan.groups[group].trials;
        let many = curve.points.iter().filter(|point| !trials[point.trial].why.is_null()).count() > 2;
        Some((report.plan.audits.iter().find(|planned| planned.id == audit)?, curve)).filter(|_| many)
    };
    places.into_iter().filter_map(find).take(CURVES).collect()
}

/// The confusion matrices in which a number stood out.
pub fn confusions<'a>(report: &Report<'a>) -> impl Iterator<Item = &'a Confusion> {
    let triggers = &report.analysis.triggers;
    report.analysis.confusions.iter().filter(|confusion| {
        let own = |trigger: &Trigger| {
            let suspect = &trigger.suspect;
            suspect.numbered && suspect.audit == confusion.audit && suspect.group == confusion.group
        };
        triggers.iter().any(own)
    })
}

fn suspect(report: &Report, trigger: &Trigger) -> Suspect {
    let group = &report.plan.groups[trigger.suspect.group];
    let trial = &group.trials[trigger.suspect.trial];
    Suspect {
        audit: match trial.number().filter(|_| trigger.suspect.numbered) {
            Some(number) => format!("{}: number {number}", trigger.suspect.audit),
            None => trigger.suspect.audit.clone(),
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
