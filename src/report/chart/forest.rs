//! The risk of every arm with its interval and a dot per seed, by context.

use super::{
    Legend, NORMAL, WIDTH, centred, drawable, heading, ink, label, probability_scale, right,
};
use crate::analysis::ArmRisk;
use crate::plan::Arm;
use crate::report::scene::{Anchor, Ink, LinearScale, Scene, Stroke, Type};
use crate::report::{Axis, Report, number, words};
use crate::stats::Estimate;

const LEFT: f64 = 118.0;
const RIGHT: f64 = 700.0;
const ROW: f64 = 30.0;
const GROUP_HEAD: f64 = 30.0;
const GROUP_GAP: f64 = 10.0;
const TOP: f64 = 34.0;

/// The risks of all arms at the finding's step.
pub fn forest(report: &Report, axis: &Axis) -> Scene {
    let step = report.step_shown(axis.finding);
    let asks =
        report.contexts(&axis.audit.id).into_iter().chain([report.plan.context_of_controls()]);
    let mut groups: Vec<_> =
        asks.map(|context| (context, report.risks(&axis.audit.id, context, step))).collect();
    groups.dedup_by_key(|(context, _)| *context);
    // The positive control is evaluated at the end of training only.
    groups.retain(|(_, risks)| risks.len() > 1);
    let rows: usize = groups.iter().map(|(_, risks)| risks.len()).sum();
    let body = rows as f64 * ROW + groups.len() as f64 * (GROUP_HEAD + GROUP_GAP);
    let margin = axis.finding.margin;
    let reference = report.plan.reference();
    let thresholds =
        groups.iter().flat_map(|(_, risks)| risks).filter(|risk| risk.arm == *reference);
    let threshold = thresholds.map(|risk| risk.risk.point + margin).fold(0.0, f64::max);
    let scale = probability_scale(
        highest(groups.iter().flat_map(|(_, risks)| risks)).max(threshold),
        (LEFT, RIGHT),
    );

    let mut scene = Scene {
        width: WIDTH,
        height: TOP + body + 38.0,
        subject: axis.audit.title.clone(),
        title: "What each arm answers".to_owned(),
        description: format!("{}{}", words::risk_name(axis), words::after(report.plan, step)),
        shapes: Vec::new(),
    };
    legend(&mut scene, report);
    for tick in scale.ticks(5) {
        scene.text((scale.at(tick), TOP + body + 12.0), centred(Ink::Muted), number::percent(tick));
    }
    scene.text(
        ((LEFT + RIGHT) / 2.0, TOP + body + 31.0),
        centred(Ink::Muted),
        words::risk_name(axis),
    );

    let mut y = TOP;
    for (context, risks) in &groups {
        scene.text((0.0, y + 20.0), heading(), words::context_heading(*context));
        y += GROUP_HEAD;
        let bottom = y + risks.len() as f64 * ROW;
        for tick in scale.ticks(5) {
            scene.line(
                (scale.at(tick), y - 2.0),
                (scale.at(tick), bottom),
                Stroke::new(Ink::Grid, 1.0),
            );
        }
        if let Some(reference) = risks.iter().find(|risk| risk.arm == *reference) {
            let x = scale.at(reference.risk.point + margin);
            scene.line((x, y), (x, bottom), Stroke::dashed(Ink::Threshold, 1.5));
        }
        for risk in risks {
            row(&mut scene, &scale, y, risk);
            y += ROW;
        }
        y += GROUP_GAP;
    }
    scene
}

fn legend(scene: &mut Scene, report: &Report) {
    let mut legend = Legend { x: 0.0, y: 14.0 };
    let positive_control = Arm::PositiveControl(String::new());
    legend.arms(scene, report, &[Arm::Base, Arm::Control, Arm::Candidate, positive_control]);
    legend.line(scene, Stroke::new(Ink::Muted, 2.0), "interval");
    legend.line(
        scene,
        Stroke::dashed(Ink::Threshold, 1.5),
        &format!("{} + margin", words::arm(report.plan.reference())),
    );
}

fn row(scene: &mut Scene, scale: &LinearScale, top: f64, risk: &ArmRisk) {
    let (ink, centre) = (ink(&risk.arm), top + 12.0);
    scene.text((LEFT - 14.0, centre + 4.0), right(Ink::Text), words::arm(&risk.arm));
    if risk.arm != Arm::Base {
        for (_, of_seed) in &risk.seeds {
            scene.dot((scale.at(*of_seed), centre + 10.0), ink);
        }
    }
    let interval = drawable((risk.risk.lower, risk.risk.upper)).filter(|_| risk.arm != Arm::Base);
    if let Some((lower, upper)) = interval {
        whisker(scene, (scale.at(lower), scale.at(upper)), centre, ink);
    }
    scene.mark((scale.at(risk.risk.point), centre), ink, 5.5);
    scene.text(
        (RIGHT + 22.0, centre + 4.0),
        Type { size: NORMAL, ..label(Ink::Text) },
        number::percent(risk.risk.point),
    );
    if let Some((lower, upper)) = interval {
        let (lower, upper) = (number::percent(lower.max(0.0)), number::percent(upper));
        scene.text(
            (WIDTH, centre + 4.0),
            right(Ink::Muted),
            format!("{} to {upper}", lower.trim_end_matches(" %")),
        );
    }
}

fn whisker(scene: &mut Scene, (from, to): (f64, f64), y: f64, ink: Ink) {
    scene.line((from, y), (to, y), Stroke::new(ink, 2.0));
    for x in [from, to] {
        scene.line((x, y - 4.0), (x, y + 4.0), Stroke::new(ink, 2.0));
    }
}

fn highest<'a>(risks: impl Iterator<Item = &'a &'a ArmRisk>) -> f64 {
    risks.fold(0.0, |highest: f64, risk| {
        let seeds = risk.seeds.iter().map(|(_, of_seed)| *of_seed).fold(0.0, f64::max);
        let upper =
            if risk.risk.upper.is_finite() { risk.risk.upper.min(1.0) } else { risk.risk.point };
        highest.max(seeds).max(upper).max(risk.risk.point)
    })
}

/// One effect with its interval, zero and the margin, small enough for a table cell.
pub fn interval(estimate: &Estimate, margin: f64) -> Scene {
    let (width, height) = (220.0, 37.0);
    let size = [estimate.lower, estimate.upper, estimate.point, margin]
        .map(|value| if value.is_finite() { value.abs() } else { 0.0 });
    let reach = size.into_iter().fold(0.0, f64::max).clamp(0.01, 1.0) * 1.12;
    let from = if estimate.lower < -0.05 * reach { -reach } else { -0.08 * reach };
    let scale = LinearScale { from, to: reach, start: 6.0, end: width - 6.0 };
    let mut scene = Scene {
        width,
        height,
        subject: String::new(),
        title: "Effect against the margin".to_owned(),
        description: words::effect(estimate),
        shapes: Vec::new(),
    };
    let middle = 12.0;
    scene.line((scale.at(0.0), 2.0), (scale.at(0.0), 22.0), Stroke::new(Ink::Muted, 1.0));
    scene.line(
        (scale.at(margin), 2.0),
        (scale.at(margin), 22.0),
        Stroke::dashed(Ink::Threshold, 1.5),
    );
    if let Some((lower, upper)) = drawable((estimate.lower, estimate.upper)) {
        whisker(&mut scene, (scale.at(lower), scale.at(upper)), middle, Ink::Candidate);
    }
    scene.mark((scale.at(estimate.point), middle), Ink::Candidate, 5.0);
    let style = |ink| Type { ink, size: 10.0, anchor: Anchor::Middle };
    scene.text((scale.at(0.0), 33.0), style(Ink::Muted), "0");
    if scale.at(margin) - scale.at(0.0) > 34.0 {
        scene.text((scale.at(margin).min(width - 20.0), 33.0), style(Ink::Threshold), "margin");
    }
    scene
}
