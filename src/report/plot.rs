//! The charts as PNG files, drawn by plotters with the bundled font, so that bytes are equal on
//! every machine.
//!
//! Drawn at four times the size and averaged down to two. This smooths edges and positions letters
//! to half a pixel.

mod png;

use std::sync::Once;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::scene::{Anchor, Ink, Marker, Point, Scene, SceneShape, Stroke, Type};
use super::{Report, chart, svg};

/// Drawn pixels per pixel of the scene.
const DRAWN: f64 = 4.0;
/// Drawn pixels per pixel of the file, in each direction.
const AVERAGED: usize = 2;
/// Height of title and description above a chart, and the border around it; pixels of the scene.
const HEAD: f64 = 62.0;
const BORDER: f64 = 24.0;

const IN_MEMORY: &str = "drawing into memory with the bundled font cannot fail";
const FAMILY: &str = "foretaste";
static FONT: &[u8] = include_bytes!("font/Inter-Regular.otf");
/// ab_glyph scales a font by the distance from ascender to descender; for Inter it is 3408 of 2816
/// units per em.
const EM: f64 = 3408.0 / 2816.0;

type Canvas<'a> = DrawingArea<BitMapBackend<'a>, Shift>;

/// (file name, PNG) of every chart. Per audit: the forest, the effect along training and the
/// families. Then the losses, the curves of triggers and the confusion matrices.
///
/// File names contain only ASCII letters, digits, `-` and `_` of an audit's id.
pub fn plots(report: &Report) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for (index, axis) in report.axes().iter().enumerate() {
        let stem = file_stem(&axis.audit.id, index);
        if !report.contexts(&axis.audit.id).is_empty() {
            files.push((format!("{stem}-arms.png"), png(&chart::forest(report, axis))));
        }
        if report.has_trajectory(&axis.audit.id) {
            files.push((format!("{stem}-training.png"), png(&chart::trajectory(report, axis))));
        }
        if let Some(effect) = axis.effect.filter(|effect| !effect.families.is_empty()) {
            files.push((
                format!("{stem}-questions.png"),
                png(&chart::families(report, axis, effect)),
            ));
        }
    }
    for (index, (audit, curve)) in super::view::drawn_curves(report).into_iter().enumerate() {
        files
            .push((format!("trigger-{}.png", index + 1), png(&chart::curve(report, audit, curve))));
    }
    for (index, confusion) in super::view::confusions(report).enumerate() {
        files.push((
            format!("identities-{}.png", index + 1),
            png(&chart::confusion(report, confusion)),
        ));
    }
    if !report.trainings.is_empty() {
        files.push(("losses.png".to_owned(), png(&chart::losses(report))));
    }
    files
}

/// An audit's id as a file name. Numbered if characters were removed, so that file names are
/// unique.
fn file_stem(id: &str, index: usize) -> String {
    let safe: String = id
        .chars()
        .filter(|char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_'))
        .take(60)
        .collect();
    if safe == id { safe } else { format!("{}-{safe}", index + 1) }
}

/// One scene on a white background, with its title and description.
fn png(scene: &Scene) -> Vec<u8> {
    let (width, height) = (scene.width + 2.0 * BORDER, scene.height + HEAD + BORDER);
    let (columns, rows) = ((width * DRAWN) as usize, (height * DRAWN) as usize);
    let mut pixels = vec![255; columns * rows * 3];
    {
        let backend = BitMapBackend::with_buffer(&mut pixels, (columns as u32, rows as u32));
        draw(&backend.into_drawing_area(), scene);
    }
    let (columns, rows, pixels) = png::average(columns, rows, &pixels, AVERAGED);
    png::encode(columns, rows, &pixels)
}

fn draw(canvas: &Canvas, scene: &Scene) {
    register();
    let type_ = |ink, size| Type { ink, size, anchor: Anchor::Start };
    letters(canvas, Point { x: 0.0, y: -34.0 }, &type_(Ink::Text, 18.0), &heading(scene));
    letters(
        canvas,
        Point { x: 0.0, y: -13.0 },
        &type_(Ink::Muted, 13.0),
        &super::escape::cut(&super::escape::terminal(&scene.description), 120),
    );
    for shape in &scene.shapes {
        match shape {
            SceneShape::Path { points, stroke } => path(canvas, points, stroke),
            SceneShape::Area { points, ink, opacity } => {
                polygon(canvas, points, &colour(*ink, *opacity))
            }
            SceneShape::Mark { at, mark, radius, ink, opacity } => {
                if *opacity >= 1.0 {
                    self::mark(canvas, (*at, *mark, radius + 1.2), &WHITE.to_rgba());
                }
                self::mark(canvas, (*at, *mark, *radius), &colour(*ink, *opacity));
            }
            SceneShape::Text { at, style, text } => letters(canvas, *at, style, text),
        }
    }
}

/// Subject and title, shortened to one line.
fn heading(scene: &Scene) -> String {
    let subject = super::escape::cut(&super::escape::terminal(&scene.subject), 60);
    if subject.is_empty() {
        scene.title.clone()
    } else {
        format!("{subject}: {}", lower_first(&scene.title))
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

fn mark(canvas: &Canvas, (at, mark, radius): (Point, Marker, f64), colour: &RGBAColor) {
    match svg::outline(mark, at, radius) {
        None => canvas
            .draw(&Circle::new(pixel(at), (radius * DRAWN).round() as i32, colour.filled()))
            .expect(IN_MEMORY),
        Some(points) => polygon(canvas, &points, colour),
    }
}

fn polygon(canvas: &Canvas, points: &[Point], colour: &RGBAColor) {
    let points: Vec<(i32, i32)> = points.iter().copied().map(pixel).collect();
    canvas.draw(&Polygon::new(points, colour.filled())).expect(IN_MEMORY);
}

fn path(canvas: &Canvas, points: &[Point], stroke: &Stroke) {
    let width = (stroke.width * DRAWN).round().max(1.0) as u32;
    let style = colour(stroke.ink, stroke.opacity).stroke_width(width);
    let pieces = if stroke.dashed { dashes(points) } else { vec![points.to_vec()] };
    for piece in pieces {
        let pixels: Vec<(i32, i32)> = piece.into_iter().map(pixel).collect();
        canvas.draw(&PathElement::new(pixels, style)).expect(IN_MEMORY);
    }
}

/// Cuts a path into dashes of 4 pixels with gaps of 3.
fn dashes(points: &[Point]) -> Vec<Vec<Point>> {
    const PERIOD: f64 = 7.0;
    const DASH: f64 = 4.0;
    let mut pieces = Vec::new();
    let mut done = 0.0;
    for pair in points.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let length = (to.x - from.x).hypot(to.y - from.y);
        let at = |along: f64| Point {
            x: from.x + (to.x - from.x) * along / length,
            y: from.y + (to.y - from.y) * along / length,
        };
        let mut start = -(done % PERIOD);
        while start < length && length > 0.0 {
            let (begin, end) = (start.max(0.0), (start + DASH).min(length));
            if end > begin {
                pieces.push(vec![at(begin), at(end)]);
            }
            start += PERIOD;
        }
        done += length;
    }
    pieces
}

fn letters(canvas: &Canvas, at: Point, style: &Type, text: &str) {
    let horizontal = match style.anchor {
        Anchor::Start => HPos::Left,
        Anchor::Middle => HPos::Center,
        Anchor::End => HPos::Right,
    };
    let size = style.size * DRAWN * EM;
    let colour = colour(style.ink, 1.0);
    let font = TextStyle::from((FAMILY, size).into_font())
        .color(&colour)
        .pos(Pos::new(horizontal, VPos::Top));
    let (x, y) = pixel(at);
    // plotters places the baseline half the size below the given position.
    canvas.draw(&Text::new(text.to_owned(), (x, y - (size / 2.0) as i32), font)).expect(IN_MEMORY);
}

fn pixel(at: Point) -> (i32, i32) {
    (((at.x + BORDER) * DRAWN).round() as i32, ((at.y + HEAD) * DRAWN).round() as i32)
}

fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        register_font(FAMILY, FontStyle::Normal, FONT)
            .unwrap_or_else(|_| unreachable!("the bundled font is a font"));
    });
}

/// The colours of the page's light scheme; see `page.css`.
fn colour(ink: Ink, opacity: f64) -> RGBAColor {
    let (red, green, blue) = match ink {
        Ink::Text => (0x1c, 0x23, 0x2b),
        Ink::Muted => (0x5b, 0x66, 0x73),
        Ink::Grid => (0xe3, 0xe7, 0xec),
        Ink::Base => (0x6b, 0x74, 0x80),
        Ink::Control => (0x00, 0x72, 0xb2),
        Ink::Candidate => (0xc9, 0x4f, 0x00),
        Ink::PositiveControl => (0x8f, 0x56, 0xa8),
        Ink::Threshold => (0x1c, 0x23, 0x2b),
    };
    RGBAColor(red, green, blue, opacity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_cover_four_sevenths_of_a_long_line() {
        let pieces = dashes(&[Point { x: 0.0, y: 0.0 }, Point { x: 700.0, y: 0.0 }]);
        let drawn: f64 = pieces.iter().map(|piece| piece[1].x - piece[0].x).sum();
        assert!((drawn - 400.0).abs() < 4.0, "{drawn}");
    }

    #[test]
    fn an_audit_cannot_choose_a_path() {
        assert_eq!(file_stem("era", 0), "era");
        assert_eq!(file_stem("../../etc/passwd", 2), "3-etcpasswd");
    }
}
