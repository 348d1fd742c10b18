//! Charts with two value axes: cumulative distributions, and one number of an arm against another.
//!
//! A line is told by its letter, not by its colour alone: the legend under the picture spells the letters out.

use bench_core::preset::StackKind;

use crate::canvas::{Align, Canvas, Type, fit, svg, text_width, wrap};
use crate::error::PlotError;
use crate::labels::Labels;
use crate::marks::{Drawing, Mark};
use crate::rows::{Axis, Interval, LABEL, MARGIN, SMALL, TITLE, lines};
use crate::theme::Theme;
use crate::words::number;

/// A chart of lines and points.
#[derive(Debug, Clone)]
pub(crate) struct CurveChart {
    pub(crate) title: String,
    pub(crate) subtitle: String,
    pub(crate) footer: String,
    pub(crate) x: Axis,
    /// Where only some values are possible: ticks stand there alone, and points of one value stand side by side.
    pub(crate) x_values: Option<Vec<f64>>,
    pub(crate) x_title: String,
    pub(crate) y: Axis,
    pub(crate) y_title: String,
    pub(crate) series: Vec<Series>,
}

/// What is drawn of one arm.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) label: String,
    /// What the legend adds: what is missing of it, and why.
    pub(crate) note: String,
    pub(crate) stack: StackKind,
    /// 1 is the stack's pure colour.
    pub(crate) strength: f64,
    /// A line through these; thin where it is theory.
    pub(crate) line: Vec<(f64, f64)>,
    pub(crate) is_theory: bool,
    /// Measured points.
    pub(crate) points: Vec<Point>,
    /// Where something tips.
    pub(crate) crossing: Option<Crossing>,
}

/// A measured point.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    pub(crate) x: f64,
    /// The interval to the left and to the right.
    pub(crate) x_ends: Option<(f64, f64)>,
    /// With its interval upwards and downwards.
    pub(crate) y: Interval,
    /// Written beside it.
    pub(crate) name: Option<String>,
}

/// A place on a line with its interval along the line.
#[derive(Debug, Clone)]
pub(crate) struct Crossing {
    pub(crate) at: (f64, f64),
    pub(crate) span: Vec<(f64, f64)>,
    /// What tips there.
    pub(crate) text: String,
}

impl Point {
    /// Without a name and an interval sideways.
    pub(crate) fn new(x: f64, y: Interval) -> Self {
        Self { x, x_ends: None, y, name: None }
    }
}

const AXIS_BELOW: f64 = 46.0;
const LEGEND_ROW: f64 = 22.0;
/// Between points of one value.
const ASIDE: f64 = 7.0;

/// Draws the chart.
pub(crate) fn draw(chart: &CurveChart, width: f64, theme: Theme) -> Result<Drawing, PlotError> {
    let room = width - 2.0 * MARGIN;
    let title = wrap(&chart.title, room, TITLE, true);
    let subtitle = wrap(&chart.subtitle, room, SMALL, false);
    let footer = wrap(&chart.footer, room, SMALL - 1.0, false);
    let head = MARGIN + title.len() as f64 * 26.0 + subtitle.len() as f64 * 18.0 + 8.0;
    let top = head + 24.0;
    let bottom = top + (width * 0.5).clamp(230.0, 360.0);
    let legend = bottom + AXIS_BELOW;
    // Failures stand in labels: nothing of them is cut where a row of their own shows it.
    let fits = |series: &Series| {
        text_width(&(series.label.clone() + &series.note), LABEL, false) < room / 2.0 - 44.0
    };
    let columns = if width > 600.0 && chart.series.iter().all(fits) { 2 } else { 1 };
    let legend_height = chart.series.len().div_ceil(columns) as f64 * LEGEND_ROW;
    let total = legend + legend_height + footer.len() as f64 * 16.0 + 8.0 + MARGIN;
    let ticks = chart.y.ticks(5.0);
    let widest = ticks.iter().map(|tick| text_width(&(chart.y.tick)(*tick), SMALL - 1.0, false));
    let left = MARGIN + widest.fold(0.0, f64::max) + 10.0;
    let plane = Plane { chart, left, right: width - MARGIN - 8.0, top, bottom, theme };
    let svg = svg((width, total), &chart.title, |canvas| {
        canvas.rect((0.0, 0.0), (width, total), theme.background)?;
        lines(canvas, &title, MARGIN, 26.0, Type { size: TITLE, bold: true, colour: theme.ink })?;
        let plain = Type { size: SMALL, bold: false, colour: theme.faint };
        lines(canvas, &subtitle, MARGIN + title.len() as f64 * 26.0, 18.0, plain)?;
        plane.axes(canvas, &ticks)?;
        plane.shapes(canvas)?;
        plane.names(canvas)?;
        plane.legend(canvas, legend, room / columns as f64, columns)?;
        let small = Type { size: SMALL - 1.0, ..plain };
        lines(canvas, &footer, legend + legend_height + 8.0, 16.0, small)
    })?;
    Ok(Drawing { svg, size: (width, total), marks: plane.marks() })
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
    /// A place of the `nth` series, moved aside where others have the same value.
    fn at(&self, nth: usize, (x, y): (f64, f64)) -> (f64, f64) {
        let (across, down) = self.plain((x, y));
        let middle = (self.chart.series.len().saturating_sub(1)) as f64 / 2.0;
        let aside = if self.chart.x_values.is_some() { (nth as f64 - middle) * ASIDE } else { 0.0 };
        (across + aside, down)
    }

    fn plain(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let across = self.left + self.chart.x.share(x) * (self.right - self.left);
        (across, self.bottom - self.chart.y.share(y) * (self.bottom - self.top))
    }

    fn axes(&self, canvas: &Canvas<'_>, y_ticks: &[f64]) -> Result<(), PlotError> {
        let Self { chart, theme, .. } = self;
        let kind = Type { size: SMALL - 1.0, bold: false, colour: theme.faint };
        for &tick in y_ticks {
            let (_, y) = self.plain((chart.x.min, tick));
            canvas.line((self.left, y), (self.right, y), 1.0, theme.grid)?;
            canvas.text((self.left - 8.0, y), Align::End, kind, &(chart.y.tick)(tick))?;
        }
        let about = ((self.right - self.left) / 75.0).max(2.0);
        for tick in chart.x_values.clone().unwrap_or_else(|| chart.x.ticks(about)) {
            let (x, _) = self.plain((tick, chart.y.min));
            canvas.line((x, self.top), (x, self.bottom), 1.0, theme.grid)?;
            canvas.text((x, self.bottom + 12.0), Align::Middle, kind, &(chart.x.tick)(tick))?;
        }
        let ends = [chart.x.min, chart.x.max].map(|x| self.plain((x, chart.y.reference)));
        canvas.line(ends[0], ends[1], 1.25, theme.ink)?;
        canvas.text((MARGIN, self.top - 14.0), Align::Start, kind, &chart.y_title)?;
        canvas.text((self.right, self.bottom + 29.0), Align::End, kind, &chart.x_title)
    }

    /// Lines below intervals below points, so that none hides a point.
    fn shapes(&self, canvas: &Canvas<'_>) -> Result<(), PlotError> {
        let each = || self.chart.series.iter().enumerate();
        let colour = |series: &Series| self.theme.shade(series.stack, series.strength);
        for (nth, series) in each() {
            let line: Vec<_> = series.line.iter().map(|place| self.at(nth, *place)).collect();
            canvas.path(&line, if series.is_theory { 1.0 } else { 2.0 }, colour(series))?;
        }
        for (nth, series) in each() {
            for point in &series.points {
                self.whiskers(canvas, nth, point)?;
            }
        }
        for series in &self.chart.series {
            let Some(crossing) = &series.crossing else { continue };
            let span: Vec<_> = crossing.span.iter().map(|place| self.plain(*place)).collect();
            canvas.path(&span, 6.0, self.theme.ink)?;
            canvas.path(&span, 3.0, colour(series))?;
            canvas.cross(self.plain(crossing.at), 6.0, self.theme.ink)?;
        }
        for (nth, series) in each() {
            for point in &series.points {
                canvas.dot(self.at(nth, (point.x, point.y.point)), 5.0, colour(series))?;
            }
        }
        Ok(())
    }

    fn whiskers(&self, canvas: &Canvas<'_>, nth: usize, point: &Point) -> Result<(), PlotError> {
        let ink = self.theme.ink;
        if let Some((low, high)) = point.y.ends {
            let (low, high) = (self.at(nth, (point.x, low)), self.at(nth, (point.x, high)));
            canvas.line(low, high, 1.25, ink)?;
            for (x, y) in [low, high] {
                canvas.line((x - 3.0, y), (x + 3.0, y), 1.25, ink)?;
            }
        }
        if let Some((low, high)) = point.x_ends {
            let (low, high) = (self.at(nth, (low, point.y.point)), self.at(nth, (high, point.y.point)));
            canvas.line(low, high, 1.25, ink)?;
            for (x, y) in [low, high] {
                canvas.line((x, y - 3.0), (x, y + 3.0), 1.25, ink)?;
            }
        }
        Ok(())
    }

    /// Letters of lines and names of points, none upon another.
    fn names(&self, canvas: &Canvas<'_>) -> Result<(), PlotError> {
        let each = || self.chart.series.iter().enumerate();
        let mut labels = Labels::new((self.left, self.top), (self.right, self.bottom));
        for (nth, series) in each() {
            let points = series.points.iter().map(|point| self.at(nth, (point.x, point.y.point)));
            let crossing = series.crossing.iter().map(|crossing| self.plain(crossing.at));
            points.chain(crossing).for_each(|place| labels.avoid(place, 6.0));
        }
        let bold = Type { size: SMALL, bold: true, colour: self.theme.ink };
        let plain = Type { size: SMALL - 1.0, bold: false, colour: self.theme.ink };
        for (nth, series) in each() {
            let letter = letter(nth);
            if let Some(last) = series.points.last() {
                self.label(canvas, &mut labels, self.at(nth, (last.x, last.y.point)), bold, &letter)?;
            } else if let Some(place) = labels.claim(&self.on_line(nth, series), (6.0, 8.0)) {
                self.plate(canvas, place, bold, &letter)?;
            }
        }
        for (nth, series) in each() {
            for (point, name) in series.points.iter().filter_map(|point| Some((point, point.name.as_ref()?)))
            {
                self.label(canvas, &mut labels, self.at(nth, (point.x, point.y.point)), plain, name)?;
            }
        }
        Ok(())
    }

    fn label(
        &self,
        canvas: &Canvas<'_>,
        labels: &mut Labels,
        place: (f64, f64),
        kind: Type,
        text: &str,
    ) -> Result<(), PlotError> {
        let half = text_width(text, kind.size, kind.bold) / 2.0 + 2.0;
        self.plate(canvas, labels.place(place, (half, 8.0)), kind, text)
    }

    fn plate(
        &self,
        canvas: &Canvas<'_>,
        (x, y): (f64, f64),
        kind: Type,
        text: &str,
    ) -> Result<(), PlotError> {
        let half = text_width(text, kind.size, kind.bold) / 2.0 + 2.0;
        canvas.rect((x - half, y - 7.5), (x + half, y + 7.5), self.theme.background)?;
        canvas.text((x, y), Align::Middle, kind, text)
    }

    /// Places on a line: of every line another one first, so that letters stand apart, then the others near it.
    fn on_line(&self, nth: usize, series: &Series) -> Vec<(f64, f64)> {
        let last = series.line.len().saturating_sub(1);
        let first = last * (nth + 1) / (self.chart.series.len().max(1) + 1);
        let mut order: Vec<usize> = (0..series.line.len()).collect();
        order.sort_by_key(|index| index.abs_diff(first));
        order.into_iter().map(|index| self.at(nth, series.line[index])).collect()
    }

    fn legend(&self, canvas: &Canvas<'_>, top: f64, column: f64, columns: usize) -> Result<(), PlotError> {
        for (nth, series) in self.chart.series.iter().enumerate() {
            let x = MARGIN + (nth % columns) as f64 * column;
            let y = top + (nth / columns) as f64 * LEGEND_ROW + LEGEND_ROW / 2.0;
            let colour = self.theme.shade(series.stack, series.strength);
            canvas.rect((x, y - 5.5), (x + 11.0, y + 5.5), colour)?;
            let ink = Type { size: LABEL, bold: false, colour: self.theme.ink };
            let text = format!("{} {}{}", letter(nth), series.label, series.note);
            canvas.text((x + 18.0, y), Align::Start, ink, &fit(&text, column - 26.0, LABEL))?;
        }
        Ok(())
    }

    /// Every point; of a line without points its middle and its end; every crossing.
    fn marks(&self) -> Vec<Mark> {
        let mut marks = Vec::new();
        let mut add = |(x, y): (f64, f64), text: String| {
            marks.push(Mark { from: (x - 11.0, y - 11.0), to: (x + 11.0, y + 11.0), text });
        };
        for (nth, series) in self.chart.series.iter().enumerate() {
            for point in &series.points {
                add(self.at(nth, (point.x, point.y.point)), self.point_words(series, point));
            }
            let last = series.line.len().saturating_sub(1);
            for share in [50, 90, 99].into_iter().filter(|_| series.points.is_empty()) {
                let Some(&(x, y)) = series.line.get(last * share / 100) else { continue };
                let CurveChart { x_title, y_title, y: axis, .. } = self.chart;
                let text = format!("{}: {} {x_title}, {} {y_title}", series.label, number(x), (axis.tick)(y));
                add(self.at(nth, (x, y)), text);
            }
            if let Some(crossing) = &series.crossing {
                add(self.plain(crossing.at), format!("{}: {}", series.label, crossing.text));
            }
        }
        marks
    }

    fn point_words(&self, series: &Series, point: &Point) -> String {
        let CurveChart { x, x_title, y_title, .. } = self.chart;
        let interval = |ends: Option<(f64, f64)>| {
            ends.map_or_else(String::new, |(low, high)| format!(" [{}, {}]", number(low), number(high)))
        };
        let across = if self.chart.x_values.is_some() { (x.tick)(point.x) } else { number(point.x) };
        format!(
            "{}{}: {}{} {y_title}, {across}{} {x_title}",
            series.label,
            point.name.as_ref().map_or_else(String::new, |name| format!(" at {name}")),
            number(point.y.point),
            interval(point.y.ends),
            interval(point.x_ends),
        )
    }
}
