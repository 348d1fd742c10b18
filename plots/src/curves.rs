//! Charts with two value axes: cumulative distributions, and one number of an arm against another.
//!
//! A line is told by its letter, not by its colour alone: the legend under the picture spells the letters out.

use bench_core::preset::StackKind;

use crate::canvas::{Align, Canvas, Type, fit, svg, text_width, wrap};
use crate::error::PlotError;
use crate::rows::{Axis, Interval, LABEL, MARGIN, SMALL, TITLE, lines};
use crate::theme::Theme;

/// A chart of lines and points.
#[derive(Debug, Clone)]
pub(crate) struct CurveChart {
    pub(crate) title: String,
    pub(crate) subtitle: String,
    pub(crate) footer: String,
    pub(crate) x: Axis,
    pub(crate) x_title: String,
    pub(crate) y: Axis,
    pub(crate) y_title: String,
    pub(crate) series: Vec<Series>,
}

/// What is drawn of one arm.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) label: String,
    pub(crate) stack: StackKind,
    /// 1 is the stack's pure colour.
    pub(crate) strength: f64,
    /// A line through these; thin where it is theory.
    pub(crate) line: Vec<(f64, f64)>,
    pub(crate) is_theory: bool,
    /// Measured points, each with its interval upwards and downwards.
    pub(crate) points: Vec<(f64, Interval)>,
}

const AXIS_BELOW: f64 = 46.0;
const LEGEND_ROW: f64 = 22.0;

/// Draws the chart.
pub(crate) fn draw(chart: &CurveChart, width: f64, theme: Theme) -> Result<String, PlotError> {
    let room = width - 2.0 * MARGIN;
    let title = wrap(&chart.title, room, TITLE, true);
    let subtitle = wrap(&chart.subtitle, room, SMALL, false);
    let footer = wrap(&chart.footer, room, SMALL - 1.0, false);
    let head = MARGIN + title.len() as f64 * 26.0 + subtitle.len() as f64 * 18.0 + 8.0;
    let top = head + 24.0;
    let bottom = top + (width * 0.5).clamp(230.0, 360.0);
    let legend = bottom + AXIS_BELOW;
    let columns = if width > 600.0 { 2 } else { 1 };
    let legend_height = chart.series.len().div_ceil(columns) as f64 * LEGEND_ROW;
    let total = legend + legend_height + footer.len() as f64 * 16.0 + 8.0 + MARGIN;
    let ticks = chart.y.ticks(5.0);
    let widest = ticks.iter().map(|tick| text_width(&(chart.y.tick)(*tick), SMALL - 1.0, false));
    let left = MARGIN + widest.fold(0.0, f64::max) + 10.0;
    let plane = Plane { chart, left, right: width - MARGIN - 8.0, top, bottom, theme };
    svg((width, total), &chart.title, |canvas| {
        canvas.rect((0.0, 0.0), (width, total), theme.background)?;
        lines(canvas, &title, MARGIN, 26.0, Type { size: TITLE, bold: true, colour: theme.ink })?;
        let plain = Type { size: SMALL, bold: false, colour: theme.faint };
        lines(canvas, &subtitle, MARGIN + title.len() as f64 * 26.0, 18.0, plain)?;
        plane.axes(canvas, &ticks)?;
        for (nth, series) in chart.series.iter().enumerate() {
            plane.series(canvas, nth, series)?;
        }
        plane.legend(canvas, legend, room / columns as f64, columns)?;
        let small = Type { size: SMALL - 1.0, ..plain };
        lines(canvas, &footer, legend + legend_height + 8.0, 16.0, small)
    })
}

/// The letter of a line: a, b, ... z, then a again.
fn letter(nth: usize) -> String {
    char::from(b"abcdefghijklmnopqrstuvwxyz"[nth % 26]).to_string()
}

/// Where values lie on the picture.
struct Plane<'a> {
    chart: &'a CurveChart,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    theme: Theme,
}

impl Plane<'_> {
    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let across = self.left + self.chart.x.share(x) * (self.right - self.left);
        (across, self.bottom - self.chart.y.share(y) * (self.bottom - self.top))
    }

    fn axes(&self, canvas: &Canvas<'_>, y_ticks: &[f64]) -> Result<(), PlotError> {
        let Self { chart, theme, .. } = self;
        let kind = Type { size: SMALL - 1.0, bold: false, colour: theme.faint };
        for &tick in y_ticks {
            let (_, y) = self.at((chart.x.min, tick));
            canvas.line((self.left, y), (self.right, y), 1.0, theme.grid)?;
            canvas.text((self.left - 8.0, y), Align::End, kind, &(chart.y.tick)(tick))?;
        }
        for tick in chart.x.ticks(((self.right - self.left) / 75.0).max(2.0)) {
            let (x, _) = self.at((tick, chart.y.min));
            canvas.line((x, self.top), (x, self.bottom), 1.0, theme.grid)?;
            canvas.text((x, self.bottom + 12.0), Align::Middle, kind, &(chart.x.tick)(tick))?;
        }
        let (from, to) =
            (self.at((chart.x.min, chart.y.reference)), self.at((chart.x.max, chart.y.reference)));
        canvas.line(from, to, 1.25, theme.ink)?;
        canvas.text((MARGIN, self.top - 14.0), Align::Start, kind, &chart.y_title)?;
        canvas.text((self.right, self.bottom + 29.0), Align::End, kind, &chart.x_title)
    }

    fn series(&self, canvas: &Canvas<'_>, nth: usize, series: &Series) -> Result<(), PlotError> {
        let colour = self.theme.shade(series.stack, series.strength);
        let line: Vec<_> = series.line.iter().map(|point| self.at(*point)).collect();
        let width = if series.is_theory { 1.0 } else { 2.0 };
        canvas.path(&line, width, colour)?;
        for &(x, value) in &series.points {
            let centre = self.at((x, value.point));
            if let Some((low, high)) = value.ends {
                canvas.line(self.at((x, low)), self.at((x, high)), 1.5, self.theme.ink)?;
            }
            canvas.dot(centre, 5.0, colour)?;
        }
        // Letters of neighbouring lines stand at different heights, so that they do not cover each other.
        let count = self.chart.series.len().max(1);
        let place = match series.points.last() {
            Some((x, value)) => self.at((*x, value.point)),
            None if line.is_empty() => return Ok(()),
            None => line[(line.len() - 1) * (nth + 1) / (count + 1)],
        };
        let (x, y) = ((place.0 + 12.0).min(self.right - 4.0), place.1 - 9.0);
        let bold = Type { size: SMALL, bold: true, colour: self.theme.ink };
        canvas.rect((x - 5.0, y - 8.0), (x + 5.0, y + 8.0), self.theme.background)?;
        canvas.text((x, y), Align::Middle, bold, &letter(nth))
    }

    fn legend(&self, canvas: &Canvas<'_>, top: f64, column: f64, columns: usize) -> Result<(), PlotError> {
        for (nth, series) in self.chart.series.iter().enumerate() {
            let x = MARGIN + (nth % columns) as f64 * column;
            let y = top + (nth / columns) as f64 * LEGEND_ROW + LEGEND_ROW / 2.0;
            let colour = self.theme.shade(series.stack, series.strength);
            canvas.rect((x, y - 5.5), (x + 11.0, y + 5.5), colour)?;
            let ink = Type { size: LABEL, bold: false, colour: self.theme.ink };
            let text = format!("{} {}", letter(nth), series.label);
            canvas.text((x + 18.0, y), Align::Start, ink, &fit(&text, column - 26.0, LABEL))?;
        }
        Ok(())
    }
}
