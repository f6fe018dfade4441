//! Risk by question: base, control and candidate, strongest effect first.

use super::{Legend, WIDTH, centred, fitted, ink, label, probability_scale, right};
use crate::analysis::Effect;
use crate::plan::Arm;
use crate::report::scene::{Ink, Scene, Stroke};
use crate::report::{Axis, Report, number, words};

/// Maximum families drawn; the table lists all.
pub const SHOWN: usize = 20;

const LEFT: f64 = 250.0;
const RIGHT: f64 = 800.0;
const ROW: f64 = 22.0;
const TOP: f64 = 32.0;

/// The families of the deciding effect.
pub fn families(report: &Report, axis: &Axis, effect: &Effect) -> Scene {
    let families = &effect.families[..effect.families.len().min(SHOWN)];
    let bottom = TOP + families.len() as f64 * ROW + 6.0;
    let highest = families
        .iter()
        .flat_map(|family| [family.base, family.control, family.candidate])
        .fold(0.0, f64::max);
    let scale = probability_scale(highest * 1.02, (LEFT, RIGHT));
    let mut scene = Scene {
        width: WIDTH,
        height: bottom + 42.0,
        subject: axis.audit.title.clone(),
        title: "Risk by question".to_owned(),
        description: format!(
            "{}, {}{}",
            words::risk_name(axis),
            words::context_short(effect.context),
            words::after(report.plan, effect.step)
        ),
        shapes: Vec::new(),
    };
    let mut legend = Legend { x: 0.0, y: 14.0 };
    let is_shown = |arm: &Arm| *arm != Arm::Control || report.plan.arms.contains(arm);
    for arm in [Arm::Base, Arm::Control, Arm::Candidate].into_iter().filter(is_shown) {
        legend.mark(&mut scene, ink(&arm), words::arm(&arm));
    }
    scene.text((WIDTH, 14.0), right(Ink::Muted), "effect, points");
    for tick in scale.ticks(5) {
        scene.line((scale.at(tick), TOP), (scale.at(tick), bottom), Stroke::new(Ink::Grid, 1.0));
        scene.text((scale.at(tick), bottom + 17.0), centred(Ink::Muted), number::percent(tick));
    }
    scene.text(((LEFT + RIGHT) / 2.0, bottom + 36.0), centred(Ink::Muted), words::risk_name(axis));
    for (index, family) in families.iter().enumerate() {
        let y = TOP + (index as f64 + 0.5) * ROW + 3.0;
        scene.text((0.0, y + 4.0), label(Ink::Text), fitted(&family.family, LEFT - 20.0));
        let (from, to) = (scale.at(family.control), scale.at(family.candidate));
        scene.line((from, y), (to, y), Stroke::new(Ink::Candidate, 2.0).faint(0.45));
        for (arm, value) in [
            (Arm::Base, family.base),
            (Arm::Control, family.control),
            (Arm::Candidate, family.candidate),
        ] {
            if value.is_finite() && is_shown(&arm) {
                scene.mark((scale.at(value), y), ink(&arm), 4.6);
            }
        }
        scene.text((WIDTH, y + 4.0), right(Ink::Text), number::points(family.effect));
    }
    scene
}
