//! Training loss, one panel per arm and one line per seed: shows whether every shadow learned its
//! rows.

use super::{SMALL, WIDTH, centred, fitted, heading, ink, right};
use crate::plan::Arm;
use crate::report::scene::{Ink, LinearScale, Point, Scene, Stroke};
use crate::report::{Report, number, words};
use crate::train::TrainingRecord;

const LEFT: f64 = 40.0;
const GAP: f64 = 22.0;
const TOP: f64 = 34.0;
const PLOT: f64 = 150.0;
/// Maximum points per line; longer curves are averaged over windows of equal length.
const POINTS: usize = 60;

/// Panels below this width label the first and the last step only.
const NARROW: f64 = 110.0;

/// The loss curves of all arms that were trained.
pub fn losses(report: &Report) -> Scene {
    let arms: Vec<&Arm> = report
        .plan
        .arms
        .iter()
        .filter(|arm| report.trainings.iter().any(|training| training.arm == **arm))
        .collect();
    let highest = report
        .trainings
        .iter()
        .flat_map(curve)
        .map(|(_, loss)| loss)
        .filter(|loss| loss.is_finite())
        .fold(0.1, f64::max);
    let y = LinearScale { from: 0.0, to: highest * 1.05, start: TOP + PLOT, end: TOP };
    let last = report
        .trainings
        .iter()
        .filter_map(|training| training.losses.last())
        .map(|(step, _)| *step)
        .max()
        .unwrap_or(1)
        .max(1);
    let mut scene = Scene {
        width: WIDTH,
        height: TOP + PLOT + 44.0,
        subject: String::new(),
        title: "Training loss".to_owned(),
        description: "mean loss of a supervised token in nats, one line per seed; + names the \
                      audit of a positive control"
            .to_owned(),
        shapes: Vec::new(),
    };
    let width = (WIDTH - LEFT + GAP) / arms.len().max(1) as f64 - GAP;
    for (index, arm) in arms.iter().enumerate() {
        let start = LEFT + index as f64 * (width + GAP);
        let x = LinearScale { from: 0.0, to: last as f64, start, end: start + width };
        scene.text((start, TOP - 14.0), heading(), fitted(&name(arm), width));
        for tick in y.ticks(4) {
            scene.line(
                (start, y.at(tick)),
                (start + width, y.at(tick)),
                Stroke::new(Ink::Grid, 1.0),
            );
            if index == 0 {
                scene.text(
                    (start - 8.0, y.at(tick) + 4.0),
                    right(Ink::Muted),
                    number::plain(tick, 2),
                );
            }
        }
        scene.line((start, TOP + PLOT), (start + width, TOP + PLOT), Stroke::new(Ink::Muted, 1.0));
        let ticks = match width {
            ..NARROW => vec![0.0, last as f64],
            NARROW..260.0 => x.ticks(3),
            _ => x.ticks(5),
        };
        for tick in ticks {
            let left = x.end - x.at(tick);
            let style = if left < SMALL { right(Ink::Muted) } else { centred(Ink::Muted) };
            scene.text((x.at(tick), TOP + PLOT + 18.0), style, number::count(tick.round() as u64));
        }
        for training in report.trainings.iter().filter(|training| training.arm == **arm) {
            let points = curve(training).into_iter().filter(|(_, loss)| loss.is_finite());
            let points: Vec<Point> =
                points.map(|(step, loss)| Point { x: x.at(step), y: y.at(loss) }).collect();
            scene.path(points, Stroke::new(ink(arm), 1.5).faint(0.75));
        }
    }
    scene.text(((LEFT + WIDTH) / 2.0, TOP + PLOT + 39.0), centred(Ink::Muted), "training step");
    scene
}

fn name(arm: &Arm) -> String {
    match arm {
        Arm::PositiveControl(audit) => format!("+ {audit}"),
        other => words::arm(other).to_owned(),
    }
}

/// (step, loss), averaged over windows for long curves.
fn curve(training: &TrainingRecord) -> Vec<(f64, f64)> {
    let window = training.losses.len().div_ceil(POINTS).max(1);
    let mean = |chunk: &[(usize, f64)]| {
        let count = chunk.len() as f64;
        (
            chunk.iter().map(|(step, _)| *step as f64).sum::<f64>() / count,
            chunk.iter().map(|(_, loss)| loss).sum::<f64>() / count,
        )
    };
    training.losses.chunks(window).map(mean).collect()
}
