//! Shapes and text on an SVG of plotters.
//!
//! Plotters' coordinates are whole pixels. Everything is drawn four times as large and shown at a quarter, which
//! makes thin lines and small offsets smooth. Coordinates here are CSS pixels, from the top left.

use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::error::PlotError;

/// The family's name, in the SVG, in the fonts and on the page.
pub(crate) const FAMILY: &str = "Inter";
/// Inter Regular, Latin and punctuation (SIL Open Font License, see `fonts/OFL.txt`).
pub(crate) const REGULAR: &[u8] = include_bytes!("../fonts/Inter-Regular.otf");
/// Inter `SemiBold`, the same characters.
pub(crate) const SEMIBOLD: &[u8] = include_bytes!("../fonts/Inter-SemiBold.otf");

const SCALE: f64 = 4.0;
/// Plotters takes the height of a line where CSS takes the em, and writes size / 1.24 into the SVG.
const EM: f64 = 1.24;

/// Makes the fonts known to plotters, which measures text with them. Once is enough, more do no harm.
pub(crate) fn register_fonts() -> Result<(), PlotError> {
    for (style, bytes) in [(FontStyle::Normal, REGULAR), (FontStyle::Bold, SEMIBOLD)] {
        register_font(FAMILY, style, bytes)
            .map_err(|_invalid| PlotError::Draw("unreadable font".to_owned()))?;
    }
    Ok(())
}

/// A text's size in CSS pixels, weight and colour.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Type {
    pub(crate) size: f64,
    pub(crate) bold: bool,
    pub(crate) colour: RGBColor,
}

/// Which point of a text its position names. Vertically it is always the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Start,
    Middle,
    End,
}

/// Width of a text in CSS pixels.
pub(crate) fn text_width(text: &str, size: f64, bold: bool) -> f64 {
    let style = if bold { FontStyle::Bold } else { FontStyle::Normal };
    // Measured large: plotters rounds to whole pixels.
    let font = FontDesc::new(FontFamily::Name(FAMILY), 100.0 * EM, style);
    font.box_size(text).map_or(0.0, |(width, _)| f64::from(width) * size / 100.0)
}

/// Breaks a text into lines of at most `width`; a word that is wider stands alone.
pub(crate) fn wrap(text: &str, width: f64, size: f64, bold: bool) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if text_width(&format!("{line} {word}"), size, bold) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The text, cut with an ellipsis if it is wider than `width`.
pub(crate) fn fit(text: &str, width: f64, size: f64) -> String {
    let mut cut: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text_width(&cut, size, false) <= width {
        return cut;
    }
    while !cut.is_empty() && text_width(&format!("{cut}…"), size, false) > width {
        cut.pop();
    }
    format!("{}…", cut.trim_end())
}

/// An SVG being drawn.
pub(crate) struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
}

impl Canvas<'_> {
    /// A filled rectangle between two corners.
    pub(crate) fn rect(&self, from: (f64, f64), to: (f64, f64), colour: RGBColor) -> Result<(), PlotError> {
        self.draw(&Rectangle::new([point(from), point(to)], colour.filled()))
    }

    /// A rectangle's outline, as lines: plotters' SVG writes no stroke width for rectangles.
    pub(crate) fn outline(
        &self,
        from: (f64, f64),
        to: (f64, f64),
        colour: RGBColor,
    ) -> Result<(), PlotError> {
        let corners = [from, (to.0, from.1), to, (from.0, to.1), from];
        corners.windows(2).try_for_each(|ends| self.line(ends[0], ends[1], 1.75, colour))
    }

    /// A straight line.
    pub(crate) fn line(
        &self,
        from: (f64, f64),
        to: (f64, f64),
        width: f64,
        colour: RGBColor,
    ) -> Result<(), PlotError> {
        self.draw(&PathElement::new([point(from), point(to)], colour.stroke_width(pixels(width))))
    }

    /// Straight lines from each point to the next; nothing of fewer than two.
    pub(crate) fn path(&self, points: &[(f64, f64)], width: f64, colour: RGBColor) -> Result<(), PlotError> {
        if points.len() < 2 {
            return Ok(());
        }
        let points: Vec<_> = points.iter().copied().map(point).collect();
        self.draw(&PathElement::new(points, colour.stroke_width(pixels(width))))
    }

    /// A disc.
    pub(crate) fn dot(&self, centre: (f64, f64), radius: f64, colour: RGBColor) -> Result<(), PlotError> {
        self.draw(&Circle::new(point(centre), pixels(radius), colour.filled()))
    }

    /// Two strokes across each other.
    pub(crate) fn cross(&self, (x, y): (f64, f64), half: f64, colour: RGBColor) -> Result<(), PlotError> {
        self.line((x - half, y - half), (x + half, y + half), 2.25, colour)?;
        self.line((x - half, y + half), (x + half, y - half), 2.25, colour)
    }

    /// One line of text.
    pub(crate) fn text(&self, at: (f64, f64), align: Align, kind: Type, text: &str) -> Result<(), PlotError> {
        let style = if kind.bold { FontStyle::Bold } else { FontStyle::Normal };
        let horizontal = match align {
            Align::Start => HPos::Left,
            Align::Middle => HPos::Center,
            Align::End => HPos::Right,
        };
        let style = FontDesc::new(FontFamily::Name(FAMILY), kind.size * EM * SCALE, style)
            .color(&kind.colour)
            .pos(Pos::new(horizontal, VPos::Center));
        self.draw(&Text::new(text.to_owned(), point(at), style))
    }

    fn draw<'b, E>(&self, element: &'b E) -> Result<(), PlotError>
    where
        &'b E: plotters::element::PointCollection<'b, (i32, i32)>,
        E: for<'c> plotters::element::Drawable<SVGBackend<'c>>,
    {
        self.area.draw(element).map_err(|error| PlotError::Draw(error.to_string()))
    }
}

/// An SVG of this size with what `paint` draws on it. `title` is what a screen reader says.
pub(crate) fn svg(
    (width, height): (f64, f64),
    title: &str,
    paint: impl FnOnce(&Canvas<'_>) -> Result<(), PlotError>,
) -> Result<String, PlotError> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (pixels(width), pixels(height))).into_drawing_area();
        let canvas = Canvas { area };
        paint(&canvas)?;
        canvas.area.present().map_err(|error| PlotError::Draw(error.to_string()))?;
    }
    let open = text.find('>').ok_or_else(|| PlotError::Draw("no SVG came".to_owned()))?;
    let head = format!(
        "<svg width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {} {}\" role=\"img\" \
         aria-label=\"{}\" xmlns=\"http://www.w3.org/2000/svg\">",
        pixels(width),
        pixels(height),
        maud::html! { (title) }.into_string(),
    );
    // Where Inter is not known, another font without serifs is nearest to it.
    let body = text[open + 1..].replace("font-weight=\"bold\"", "font-weight=\"600\"");
    let family = format!("font-family=\"{FAMILY}\"");
    Ok(head + &body.replace(&family, &format!("font-family=\"{FAMILY}, system-ui, sans-serif\"")))
}

#[expect(clippy::cast_possible_truncation, reason = "a chart is some thousand pixels wide")]
fn point((x, y): (f64, f64)) -> (i32, i32) {
    ((x * SCALE).round() as i32, (y * SCALE).round() as i32)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small positive sizes")]
fn pixels(size: f64) -> u32 {
    (size * SCALE).round() as u32
}
