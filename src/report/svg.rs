//! A scene as SVG inside the page. Colours are classes, so that light and dark schemes apply; text
//! remains text.

use std::fmt::Write;

use super::escape;
use super::scene::{Anchor, Ink, Marker, Point, Scene, SceneShape, Stroke, Type};

/// The `<svg>` element. All of it except numbers and fixed names is escaped.
pub fn svg(scene: &Scene) -> String {
    let mut out = String::new();
    let (title, description) = (safe(&scene.title), safe(&scene.description));
    let (width, height) = (number(scene.width), number(scene.height));
    put(
        &mut out,
        format_args!(
            "<svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
             role=\"img\">"
        ),
    );
    put(&mut out, format_args!("<title>{title}</title><desc>{description}</desc>"));
    for shape in &scene.shapes {
        match shape {
            SceneShape::Path { points, stroke } => path(&mut out, points, stroke),
            SceneShape::Area { points, ink, opacity } => {
                put(
                    &mut out,
                    format_args!(
                        "<polygon class=\"f-{}\" opacity=\"{opacity}\" points=\"{}\"/>",
                        class(*ink),
                        list(points)
                    ),
                );
            }
            SceneShape::Mark { at, mark, radius, ink, opacity } => {
                self::mark(&mut out, (*at, *mark, *radius), *ink, *opacity)
            }
            SceneShape::Text { at, style, text } => self::text(&mut out, *at, style, text),
        }
    }
    out.push_str("</svg>");
    out
}

fn path(out: &mut String, points: &[Point], stroke: &Stroke) {
    let dash = if stroke.dashed { " stroke-dasharray=\"4 3\"" } else { "" };
    let opacity = if stroke.opacity < 1.0 {
        format!(" opacity=\"{}\"", stroke.opacity)
    } else {
        String::new()
    };
    let (class, width, points) = (class(stroke.ink), stroke.width, list(points));
    put(
        out,
        format_args!(
            "<polyline class=\"s-{class}\" stroke-width=\"{width}\"{dash}{opacity} \
             points=\"{points}\"/>"
        ),
    );
}

fn mark(out: &mut String, (at, mark, radius): (Point, Marker, f64), ink: Ink, opacity: f64) {
    let class = class(ink);
    let opacity = if opacity < 1.0 {
        format!(" opacity=\"{opacity}\"")
    } else {
        " stroke-width=\"1.5\"".to_owned()
    };
    let halo = if opacity.contains("stroke") { " halo" } else { "" };
    match outline(mark, at, radius) {
        None => {
            let (x, y, radius) = (number(at.x), number(at.y), number(radius));
            put(
                out,
                format_args!(
                    "<circle class=\"f-{class}{halo}\"{opacity} cx=\"{x}\" cy=\"{y}\" \
                     r=\"{radius}\"/>"
                ),
            );
        }
        Some(points) => put(
            out,
            format_args!(
                "<polygon class=\"f-{class}{halo}\"{opacity} points=\"{}\"/>",
                list(&points)
            ),
        ),
    }
}

/// The corners of a mark with the same visual weight as a circle of `radius`; `None` for a circle.
pub fn outline(mark: Marker, at: Point, radius: f64) -> Option<Vec<Point>> {
    let corner = |x: f64, y: f64| Point { x: at.x + x * radius, y: at.y + y * radius };
    match mark {
        Marker::Circle => None,
        Marker::Square => Some(vec![
            corner(-0.88, -0.88),
            corner(0.88, -0.88),
            corner(0.88, 0.88),
            corner(-0.88, 0.88),
        ]),
        Marker::Diamond => {
            Some(vec![corner(0.0, -1.25), corner(1.25, 0.0), corner(0.0, 1.25), corner(-1.25, 0.0)])
        }
        Marker::Triangle => Some(vec![corner(0.0, -1.2), corner(1.1, 0.8), corner(-1.1, 0.8)]),
    }
}

fn text(out: &mut String, at: Point, style: &Type, text: &str) {
    let anchor = match style.anchor {
        Anchor::Start => "",
        Anchor::Middle => " text-anchor=\"middle\"",
        Anchor::End => " text-anchor=\"end\"",
    };
    let (x, y, size, class, text) =
        (number(at.x), number(at.y), style.size, class(style.ink), safe(text));
    put(
        out,
        format_args!(
            "<text class=\"f-{class}\" x=\"{x}\" y=\"{y}\" \
             font-size=\"{size}\"{anchor}>{text}</text>"
        ),
    );
}

/// Escaped as in the page's template, including the slash, so that the page contains no URL.
fn safe(text: &str) -> String {
    escape::xml(text).replace('/', "&#47;")
}

fn list(points: &[Point]) -> String {
    points
        .iter()
        .map(|point| format!("{},{}", number(point.x), number(point.y)))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Rounded to a tenth of a pixel.
fn number(value: f64) -> String {
    let digits = format!("{value:.1}");
    digits.strip_suffix(".0").map_or(digits.clone(), str::to_owned)
}

fn class(ink: Ink) -> &'static str {
    match ink {
        Ink::Text => "text",
        Ink::Muted => "muted",
        Ink::Grid => "grid",
        Ink::Base => "base",
        Ink::Control => "control",
        Ink::Candidate => "candidate",
        Ink::PositiveControl => "positive",
        Ink::Threshold => "threshold",
    }
}

fn put(out: &mut String, arguments: std::fmt::Arguments) {
    out.write_fmt(arguments).expect("writing to a string cannot fail");
}
