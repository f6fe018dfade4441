//! Charts, laid out as [`Scene`]s for both page and PNG.

mod confusion;
mod curve;
mod families;
mod forest;
mod losses;
mod trajectory;

pub use confusion::confusion;
pub use curve::curve;
pub use families::{SHOWN as FAMILIES_SHOWN, families};
pub use forest::{forest, interval};
pub use losses::losses;
pub use trajectory::trajectory;

use super::scene::{Anchor, Ink, LinearScale, Scene, Stroke, Type, round_step};
use super::{Report, escape, words};
use crate::plan::Arm;

/// The width of every chart: the page's column.
const WIDTH: f64 = 880.0;
const SMALL: f64 = 12.0;
const NORMAL: f64 = 13.0;

fn ink(arm: &Arm) -> Ink {
    match arm {
        Arm::Base => Ink::Base,
        Arm::Control => Ink::Control,
        Arm::Candidate => Ink::Candidate,
        Arm::PositiveControl(_) => Ink::PositiveControl,
    }
}

fn label(ink: Ink) -> Type {
    Type { ink, size: SMALL, anchor: Anchor::Start }
}

fn centred(ink: Ink) -> Type {
    Type { anchor: Anchor::Middle, ..label(ink) }
}

fn right(ink: Ink) -> Type {
    Type { anchor: Anchor::End, ..label(ink) }
}

fn heading() -> Type {
    Type { ink: Ink::Text, size: NORMAL, anchor: Anchor::Start }
}

/// Untrusted text for a drawing: one line, escaped, at most about `width` pixels.
fn fitted(text: &str, width: f64) -> String {
    escape::cut(&escape::terminal(text), (width / (SMALL * 0.56)) as usize)
}

/// Approximate width of a text of small size, in pixels.
fn width_of(text: &str) -> f64 {
    escape::columns(text) as f64 * SMALL * 0.54
}

/// A one-line legend.
struct Legend {
    x: f64,
    y: f64,
}

impl Legend {
    fn mark(&mut self, scene: &mut Scene, ink: Ink, text: &str) {
        scene.mark((self.x + 5.0, self.y - 4.0), ink, 5.0);
        self.text(scene, 16.0, text);
    }

    /// The arms that this design has, and the dot of a seed where there are several.
    fn arms(&mut self, scene: &mut Scene, report: &Report, arms: &[Arm]) {
        let design = report.plan.design();
        let given = [Arm::Base, Arm::Candidate];
        for arm in arms.iter().filter(|arm| design.trains() || given.contains(arm)) {
            self.mark(scene, ink(arm), words::arm(arm));
        }
        if design.trains() {
            self.dot(scene, "one training seed");
        }
    }

    fn dot(&mut self, scene: &mut Scene, text: &str) {
        scene.dot((self.x + 4.0, self.y - 4.0), Ink::Muted);
        self.text(scene, 13.0, text);
    }

    fn line(&mut self, scene: &mut Scene, stroke: Stroke, text: &str) {
        scene.line((self.x, self.y - 4.0), (self.x + 20.0, self.y - 4.0), stroke);
        self.text(scene, 27.0, text);
    }

    fn text(&mut self, scene: &mut Scene, indent: f64, text: &str) {
        scene.text((self.x + indent, self.y), label(Ink::Muted), text);
        self.x += indent + width_of(text) + 20.0;
    }
}

/// A probability scale from 0 to a round number of at least `highest`.
fn probability_scale(highest: f64, (start, end): (f64, f64)) -> LinearScale {
    let highest = if highest.is_finite() { highest.clamp(0.02, 1.0) } else { 1.0 };
    let step = round_step(highest / 5.0);
    LinearScale { from: 0.0, to: ((highest / step - 1e-9).ceil() * step).min(1.0), start, end }
}

/// The ends of an interval, clamped to the drawable range; `None` without an interval.
fn drawable((lower, upper): (f64, f64)) -> Option<(f64, f64)> {
    (!lower.is_nan() && !upper.is_nan() && upper - lower > 1e-9)
        .then(|| (lower.clamp(-1.0, 1.0), upper.clamp(-1.0, 1.0)))
}
