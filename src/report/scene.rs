//! A drawing as a list of shapes. It is laid out once and written as SVG (page) and as PNG (files).

/// A position in the drawing: pixels from the left and from the top.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    pub x: f64,
    pub y: f64,
}

/// What a shape represents. The page chooses colours by its light or dark scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ink {
    Text,
    Muted,
    Grid,
    Base,
    Control,
    Candidate,
    PositiveControl,
    Threshold,
}

/// Shape of a mark; arms differ in shape as well as in colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    Circle,
    Square,
    Diamond,
    Triangle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// Line style.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stroke {
    pub ink: Ink,
    pub width: f64,
    /// Between 0 and 1.
    pub opacity: f64,
    /// Dashes of 4 pixels with gaps of 3.
    pub dashed: bool,
}

impl Stroke {
    pub fn new(ink: Ink, width: f64) -> Self {
        Stroke { ink, width, opacity: 1.0, dashed: false }
    }

    pub fn dashed(ink: Ink, width: f64) -> Self {
        Stroke { dashed: true, ..Stroke::new(ink, width) }
    }

    pub fn faint(self, opacity: f64) -> Self {
        Stroke { opacity, ..self }
    }
}

/// Text style. The position is the start, middle or end of the baseline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Type {
    pub ink: Ink,
    pub size: f64,
    pub anchor: Anchor,
}

#[derive(Debug, Clone, PartialEq)]
pub enum SceneShape {
    Path { points: Vec<Point>, stroke: Stroke },
    Area { points: Vec<Point>, ink: Ink, opacity: f64 },
    Mark { at: Point, mark: Marker, radius: f64, ink: Ink, opacity: f64 },
    Text { at: Point, style: Type, text: String },
}

/// A finished drawing.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    pub width: f64,
    pub height: f64,
    /// The subject, for instance an audit's title, which the page shows elsewhere. Empty where the
    /// title is sufficient.
    pub subject: String,
    /// One line above the drawing.
    pub title: String,
    /// A description for the line below the title and for screen readers.
    pub description: String,
    pub shapes: Vec<SceneShape>,
}

impl Scene {
    pub fn path(&mut self, points: impl Into<Vec<Point>>, stroke: Stroke) {
        self.shapes.push(SceneShape::Path { points: points.into(), stroke });
    }

    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), stroke: Stroke) {
        self.path([point(from), point(to)], stroke);
    }

    pub fn text(&mut self, at: (f64, f64), style: Type, text: impl Into<String>) {
        self.shapes.push(SceneShape::Text { at: point(at), style, text: text.into() });
    }

    /// Adds the mark of an arm, in the arm's shape and colour.
    pub fn mark(&mut self, at: (f64, f64), ink: Ink, radius: f64) {
        self.shapes.push(SceneShape::Mark {
            at: point(at),
            mark: mark_of(ink),
            radius,
            ink,
            opacity: 1.0,
        });
    }

    /// Adds a small translucent dot for one training seed.
    pub fn dot(&mut self, at: (f64, f64), ink: Ink) {
        self.shapes.push(SceneShape::Mark {
            at: point(at),
            mark: Marker::Circle,
            radius: 2.8,
            ink,
            opacity: 0.5,
        });
    }
}

fn point((x, y): (f64, f64)) -> Point {
    Point { x, y }
}

fn mark_of(ink: Ink) -> Marker {
    match ink {
        Ink::Base => Marker::Diamond,
        Ink::Control => Marker::Square,
        Ink::PositiveControl => Marker::Triangle,
        _ => Marker::Circle,
    }
}

/// A linear scale from values to pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinearScale {
    /// The values at the two ends.
    pub from: f64,
    pub to: f64,
    /// The pixels at the two ends.
    pub start: f64,
    pub end: f64,
}

impl LinearScale {
    /// The pixel of a value, clamped to the ends of the scale.
    pub fn at(&self, value: f64) -> f64 {
        let share =
            if self.to > self.from { (value - self.from) / (self.to - self.from) } else { 0.5 };
        self.start + share.clamp(0.0, 1.0) * (self.end - self.start)
    }

    /// Round values within the scale, about `wanted` of them.
    pub fn ticks(&self, wanted: usize) -> Vec<f64> {
        let step = round_step((self.to - self.from) / wanted.max(1) as f64);
        let first = (self.from / step - 1e-9).ceil() as i64;
        let last = (self.to / step + 1e-9).floor() as i64;
        (first..=last).map(|index| index as f64 * step).collect()
    }
}

/// The smallest of 1, 2 and 5 times a power of ten that is at least `rough`.
pub fn round_step(rough: f64) -> f64 {
    if !(rough.is_finite() && rough > 0.0) {
        return 1.0;
    }
    let power = 10_f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough * 0.999_999)
        .unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_stay_within_the_scale() {
        let scale = LinearScale { from: 0.0, to: 0.6, start: 0.0, end: 100.0 };
        let ticks: Vec<String> = scale.ticks(6).iter().map(|tick| format!("{tick:.1}")).collect();
        assert_eq!(ticks, ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6"]);
    }

    #[test]
    fn a_value_beyond_the_scale_is_drawn_at_its_end() {
        let scale = LinearScale { from: 0.0, to: 1.0, start: 10.0, end: 20.0 };
        assert_eq!(scale.at(f64::INFINITY), 20.0);
        assert_eq!(scale.at(-3.0), 10.0);
    }
}
