//! The risk by value of a slot, for all tested values. Values that occur in the dataset are marked.

use super::{Legend, SMALL, WIDTH, centred, fitted, probability_scale, right};
use crate::analysis::{Curve, CurvePoint};
use crate::plan::{Arm, Group, PlannedAudit};
use crate::report::scene::{Ink, LinearScale, Point, Scene, Stroke};
use crate::report::{Report, number};

const LEFT: f64 = 44.0;
const TOP: f64 = 44.0;
const PLOT: f64 = 210.0;
/// Maximum width of a value's name, pixels.
const LABEL: f64 = 90.0;
/// Values with the highest risk that are named before others.
const HIGHEST: usize = 3;

/// Values in axis order: numbers by size, others by name. Null conditions are excluded.
fn ordered<'a>(
    group: &'a Group,
    curve: &'a Curve,
) -> Vec<(&'a str, Option<f64>, bool, &'a CurvePoint)> {
    let mut values: Vec<_> = curve
        .points
        .iter()
        .filter_map(|point| {
            let trial = group.trials.get(point.trial)?;
            let value = trial.value.as_deref().unwrap_or("present");
            (!trial.why.is_null())
                .then(|| (value, value.parse::<f64>().ok(), trial.rows > 0, point))
        })
        .collect();
    values.sort_by(|a, b| {
        a.1.unwrap_or(f64::MAX).total_cmp(&b.1.unwrap_or(f64::MAX)).then(a.0.cmp(b.0))
    });
    values
}

/// The values that are named below the axis: highest risk first, then from left to right where
/// space is left.
fn named(
    values: &[(&str, Option<f64>, bool, &CurvePoint)],
    at: impl Fn(usize) -> f64,
) -> Vec<usize> {
    let risk = |index: &usize| values[*index].3.candidate.unwrap_or(0.0);
    let mut by_risk: Vec<usize> = (0..values.len()).collect();
    by_risk.sort_by(|a, b| risk(b).total_cmp(&risk(a)).then(a.cmp(b)));
    let mut taken: Vec<(f64, f64)> = Vec::new();
    let mut named = Vec::new();
    for index in by_risk.into_iter().take(HIGHEST).chain(0..values.len()) {
        let half = fitted(values[index].0, LABEL).len() as f64 * SMALL * 0.34 + 3.0;
        let (from, to) = (at(index) - half, at(index) + half);
        if to < WIDTH + 10.0 && taken.iter().all(|(left, right)| to < *left || from > *right) {
            taken.push((from, to));
            named.push(index);
        }
    }
    named
}

/// Mean risk of base, control and candidate for every value of a group.
pub fn curve(report: &Report, audit: &PlannedAudit, curve: &Curve) -> Scene {
    let group = &report.plan.groups[curve.group];
    let values = ordered(group, curve);
    let risky = report
        .audits
        .iter()
        .find(|known| known.id == audit.id)
        .map_or("risky", |known| known.risky.as_str());
    let highest = values
        .iter()
        .flat_map(|(.., point)| point.seeds.iter().copied().chain(point.control))
        .fold(0.05, f64::max);
    let y = probability_scale(highest, (TOP + PLOT, TOP));
    let x = LinearScale {
        from: 0.0,
        to: values.len().saturating_sub(1) as f64,
        start: LEFT + 14.0,
        end: WIDTH - 14.0,
    };
    let named = named(&values, |index| x.at(index as f64));
    let mut scene = Scene {
        width: WIDTH,
        height: TOP + PLOT + 46.0,
        subject: audit.id.clone(),
        title: format!("Risk by {}", fitted(&group.name, 560.0)),
        description: format!(
            "probability of \"{}\" in the screen; a bar below marks a value of the dataset",
            fitted(risky, 200.0)
        ),
        shapes: Vec::new(),
    };
    let mut legend = Legend { x: 0.0, y: 14.0 };
    legend.arms(&mut scene, report, &[Arm::Base, Arm::Control, Arm::Candidate]);
    legend.line(&mut scene, Stroke::new(Ink::Text, 4.0), "in the dataset");
    for tick in y.ticks(5) {
        scene.line((LEFT, y.at(tick)), (WIDTH, y.at(tick)), Stroke::new(Ink::Grid, 1.0));
        scene.text((LEFT - 8.0, y.at(tick) + 4.0), right(Ink::Muted), number::percent(tick));
    }
    for (index, (value, _, in_rows, point)) in values.iter().enumerate() {
        let at = x.at(index as f64);
        if *in_rows {
            scene.line((at, TOP + PLOT + 2.0), (at, TOP + PLOT + 8.0), Stroke::new(Ink::Text, 4.0));
        }
        if named.contains(&index) {
            scene.text((at, TOP + PLOT + 24.0), centred(Ink::Muted), fitted(value, LABEL));
        }
        for seed in &point.seeds {
            scene.dot((at, y.at(*seed)), Ink::Candidate);
        }
    }
    let of = [(Ink::Base, 3.2), (Ink::Control, 3.2), (Ink::Candidate, 4.2)];
    for (ink, radius) in of {
        let risk = |point: &CurvePoint| match ink {
            Ink::Base => point.base,
            Ink::Control => point.control,
            _ => point.candidate,
        };
        let drawn: Vec<Point> = values
            .iter()
            .enumerate()
            .filter_map(|(index, (.., point))| {
                Some(Point { x: x.at(index as f64), y: y.at(risk(point)?) })
            })
            .collect();
        if ink == Ink::Candidate {
            scene.path(drawn.clone(), Stroke::new(ink, 1.4).faint(0.6));
        }
        for point in drawn {
            scene.mark((point.x, point.y), ink, radius);
        }
    }
    scene.text(
        ((LEFT + WIDTH) / 2.0, TOP + PLOT + 43.0),
        centred(Ink::Muted),
        fitted(&group.kind.to_string(), 300.0),
    );
    scene
}
