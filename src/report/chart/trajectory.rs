//! The effect along training, one panel per context.

use super::{Legend, SMALL, WIDTH, centred, drawable, heading, right};
use crate::analysis::Effect;
use crate::plan::ContextKind;
use crate::report::scene::{Ink, LinearScale, Point, Scene, SceneShape, Stroke};
use crate::report::{Axis, Report, number, words};

const LEFT: f64 = 44.0;
const GAP: f64 = 28.0;
const TOP: f64 = 64.0;
const PLOT: f64 = 200.0;

/// The candidate's effects at every checkpoint.
pub fn trajectory(report: &Report, axis: &Axis) -> Scene {
    let asks = report.contexts(&axis.audit.id);
    let panels: Vec<(ContextKind, Vec<&Effect>)> = asks
        .into_iter()
        .map(|context| (context, report.candidate_effects(&axis.audit.id, context)))
        .collect();
    let effects = || panels.iter().flat_map(|(_, effects)| effects.iter().copied());
    let last = effects().map(|effect| effect.step).max().unwrap_or(1).max(1);
    let (from, to) = range(effects(), axis.finding.margin);
    let y = LinearScale { from, to, start: TOP + PLOT, end: TOP };

    let mut scene = Scene {
        width: WIDTH,
        height: TOP + PLOT + 46.0,
        subject: axis.audit.title.clone(),
        title: "Effect by checkpoint".to_owned(),
        description: format!("effect on the {}, percentage points", words::risk_name(axis)),
        shapes: Vec::new(),
    };
    legend(&mut scene);
    let width = (WIDTH - LEFT + GAP) / panels.len().max(1) as f64 - GAP;
    for (index, (context, effects)) in panels.iter().enumerate() {
        let start = LEFT + index as f64 * (width + GAP);
        let x = LinearScale {
            from: 0.0,
            to: last as f64,
            start: start + 8.0,
            end: start + width - 8.0,
        };
        scene.text(
            (start, TOP - 14.0),
            heading(),
            words::capitalised(words::context_short(*context)),
        );
        for tick in y.ticks(5) {
            let stroke = if tick.abs() < 1e-9 {
                Stroke::new(Ink::Muted, 1.0)
            } else {
                Stroke::new(Ink::Grid, 1.0)
            };
            scene.line((start, y.at(tick)), (start + width, y.at(tick)), stroke);
            if index == 0 {
                scene.text(
                    (start - 8.0, y.at(tick) + 4.0),
                    right(Ink::Muted),
                    number::plain(tick * 100.0, 1).replace('-', "−"),
                );
            }
        }
        steps(&mut scene, &x, effects.iter().map(|effect| effect.step));
        let threshold = y.at(axis.finding.margin);
        scene.line(
            (start, threshold),
            (start + width, threshold),
            Stroke::dashed(Ink::Threshold, 1.5),
        );
        series(&mut scene, (&x, &y), effects);
    }
    scene.text(((LEFT + WIDTH) / 2.0, TOP + PLOT + 42.0), centred(Ink::Muted), "training step");
    scene
}

fn legend(scene: &mut Scene) {
    let mut legend = Legend { x: 0.0, y: 14.0 };
    legend.mark(scene, Ink::Candidate, "candidate, with interval");
    legend.dot(scene, "one training seed");
    legend.line(scene, Stroke::dashed(Ink::Threshold, 1.5), "margin");
}

/// Labels of the checkpoints, without those that would overlap.
fn steps(scene: &mut Scene, x: &LinearScale, steps: impl Iterator<Item = usize>) {
    let mut steps: Vec<usize> = steps.collect();
    steps.sort_unstable();
    steps.dedup();
    let mut taken = f64::INFINITY;
    for step in steps.into_iter().rev() {
        let at = x.at(step as f64);
        scene.line((at, TOP + PLOT), (at, TOP + PLOT + 4.0), Stroke::new(Ink::Muted, 1.0));
        let text = number::count(step);
        let half = text.len() as f64 * SMALL * 0.34 + 3.0;
        if at + half < taken {
            scene.text((at, TOP + PLOT + 19.0), centred(Ink::Muted), text);
            taken = at - half;
        }
    }
}

fn series(scene: &mut Scene, (x, y): (&LinearScale, &LinearScale), effects: &[&Effect]) {
    let ink = Ink::Candidate;
    let place = |effect: &Effect, value: f64| Point { x: x.at(effect.step as f64), y: y.at(value) };
    let banded: Vec<(&Effect, (f64, f64))> = effects
        .iter()
        .filter_map(|effect| {
            Some((*effect, drawable((effect.probability.lower, effect.probability.upper))?))
        })
        .collect();
    let lower = banded.iter().map(|(effect, (lower, _))| place(effect, *lower));
    let upper = banded.iter().rev().map(|(effect, (_, upper))| place(effect, *upper));
    if banded.len() > 1 {
        scene.shapes.push(SceneShape::Area {
            points: lower.chain(upper).collect(),
            ink,
            opacity: 0.16,
        });
    } else if let [(effect, (lower, upper))] = banded[..] {
        scene.path([place(effect, lower), place(effect, upper)], Stroke::new(ink, 2.0));
    }
    for effect in effects {
        for seed in &effect.seeds {
            let at = place(effect, seed.effect);
            scene.dot((at.x, at.y), ink);
        }
    }
    let path: Vec<Point> =
        effects.iter().map(|effect| place(effect, effect.probability.point)).collect();
    scene.path(path, Stroke::new(ink, 2.2));
    for effect in effects {
        let at = place(effect, effect.probability.point);
        scene.mark((at.x, at.y), ink, 4.8);
    }
}

/// The range of the drawn values, zero and margin included, with 5 % padding.
fn range<'a>(effects: impl Iterator<Item = &'a Effect>, margin: f64) -> (f64, f64) {
    let (mut low, mut high) = (0.0_f64, margin * 1.3);
    for effect in effects {
        let estimate = &effect.probability;
        let seeds = effect.seeds.iter().map(|seed| seed.effect);
        for value in seeds
            .chain([estimate.lower, estimate.upper, estimate.point])
            .filter(|value| value.is_finite())
        {
            (low, high) = (low.min(value), high.max(value));
        }
    }
    let padding = (high - low) * 0.05;
    (if low < 0.0 { (low - padding).max(-1.0) } else { 0.0 }, (high + padding).min(1.0))
}
