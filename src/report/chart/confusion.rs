//! Confusion matrix of value-keyed probes. Rows are the values shown in prompts, columns the
//! identities whose answers are preferred; darker means more probable.

use super::{SMALL, WIDTH, centred, fitted, label, right};
use crate::analysis::Confusion;
use crate::report::Report;
use crate::report::scene::{Ink, Point, Scene, SceneShape, Stroke};

const LEFT: f64 = 96.0;
const TOP: f64 = 40.0;
/// Maximum side of a square, pixels.
const SIDE: f64 = 26.0;

/// The candidate's confusion matrix from the screen.
pub fn confusion(report: &Report, confusion: &Confusion) -> Scene {
    let group = &report.plan.groups[confusion.group];
    let columns = confusion.identities.len().max(1);
    let side = ((WIDTH - LEFT) / columns as f64).min(SIDE);
    let bar = match report.plan.is_searched_in_a_sample(group) {
        true => "a bar marks a value in no examined row",
        false => "a bar marks a value in no row",
    };
    let mut scene = Scene {
        width: WIDTH,
        height: TOP + confusion.rows.len() as f64 * side + 44.0,
        subject: confusion.audit.clone(),
        title: format!("Answers of each identity, by {}", fitted(&group.kind.to_string(), 200.0)),
        description: format!(
            "rows: value in the prompt; columns: value whose answers the candidate gives; {bar}"
        ),
        shapes: Vec::new(),
    };
    scene.text(
        (0.0, 14.0),
        label(Ink::Muted),
        "darker is more probable; on the diagonal, the model gives the answers of the value in \
         the prompt",
    );
    for (index, of) in confusion.identities.iter().enumerate() {
        let x = LEFT + (index as f64 + 0.5) * side;
        if side > 16.0 || index % 2 == 0 {
            scene.text((x, TOP - 6.0), centred(Ink::Muted), of.bare());
        }
    }
    for (index, row) in confusion.rows.iter().enumerate() {
        let top = TOP + index as f64 * side;
        let trial = &group.trials[row.trial];
        let unseen = trial.rows == 0;
        let ink = if unseen { Ink::Text } else { Ink::Muted };
        scene.text(
            (LEFT - 14.0, top + side / 2.0 + SMALL / 3.0),
            right(ink),
            fitted(trial.value.as_deref().unwrap_or_default(), 70.0),
        );
        if unseen {
            scene.line(
                (LEFT - 6.0, top + 3.0),
                (LEFT - 6.0, top + side - 3.0),
                Stroke::new(Ink::Candidate, 4.0),
            );
        }
        for (column, probability) in row.candidate.iter().enumerate() {
            let left = LEFT + column as f64 * side;
            square(&mut scene, (left, top), side, (Ink::Grid, 0.35));
            if let Some(probability) = probability.filter(|probability| probability.is_finite()) {
                square(
                    &mut scene,
                    (left, top),
                    side,
                    (Ink::Candidate, probability.clamp(0.0, 1.0)),
                );
            }
            if confusion.identities.get(column) == Some(&row.identity) && side > 18.0 {
                let text = probability
                    .map_or("–".to_owned(), |probability| format!("{:.0}", 100.0 * probability));
                scene.text((left + side / 2.0, top + side / 2.0 + 4.0), centred(Ink::Text), text);
            }
        }
    }
    let bottom = TOP + confusion.rows.len() as f64 * side;
    scene.text(
        (LEFT, bottom + 26.0),
        label(Ink::Muted),
        "value whose answers are measured; on the diagonal, percent",
    );
    scene
}

fn square(scene: &mut Scene, (left, top): (f64, f64), side: f64, (ink, opacity): (Ink, f64)) {
    let (right, bottom) = (left + side - 1.5, top + side - 1.5);
    let points = [(left, top), (right, top), (right, bottom), (left, bottom)]
        .map(|(x, y)| Point { x, y })
        .to_vec();
    scene.shapes.push(SceneShape::Area { points, ink, opacity });
}
