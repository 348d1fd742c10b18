//! The one form of all our charts: horizontal rows under a value axis, so that labels never collide and a phone shows
//! them at a readable size.

use bench_core::preset::StackKind;

pub(crate) use crate::axis::Axis;
use crate::canvas::{Align, Canvas, Type, fit, svg, text_width, wrap};
use crate::error::PlotError;
use crate::marks::{Drawing, Mark};
use crate::theme::Theme;
use crate::words::number;

/// Width of a chart on a desk, in CSS pixels.
pub(crate) const WIDE: f64 = 840.0;
/// Width of a chart on a phone.
pub(crate) const NARROW: f64 = 340.0;

/// A chart: words, axis and rows.
#[derive(Debug, Clone)]
pub(crate) struct RowChart {
    pub(crate) title: String,
    pub(crate) subtitle: String,
    pub(crate) footer: String,
    pub(crate) axis: Axis,
    pub(crate) rows: Vec<Row>,
}

/// One row.
#[derive(Debug, Clone)]
pub(crate) enum Row {
    /// A heading, with the stack's colour where it is of one.
    Group { text: String, stack: Option<StackKind> },
    /// A bar from zero; hollow if the number may not be compared.
    Bar { label: String, stack: StackKind, strength: f64, hollow: bool, value: Interval, text: String },
    /// A point with its interval.
    Point { label: String, stack: StackKind, value: Interval, text: String },
    /// Two bars from zero, the second one thin and pale; an unknown one is left out.
    Twin { label: String, stack: StackKind, first: Option<f64>, second: Option<f64>, text: String },
    /// Which shade is which of the parts below.
    Key { stack: StackKind, names: Vec<&'static str> },
    /// Parts of a whole from zero by their names, side by side, each paler than the one before.
    Parts { label: String, stack: StackKind, parts: Vec<(&'static str, f64)>, text: String },
    /// Marks on a line from the first to the last, the first one large.
    Strip { label: String, stack: StackKind, marks: Vec<f64>, text: String },
    /// Events at their times, each with its height as a share of the row.
    Events { label: String, stack: StackKind, events: Vec<(f64, f64)>, text: String },
    /// No value, and why.
    Gap { label: String, text: String },
}

/// A value and the ends of its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Interval {
    pub(crate) point: f64,
    pub(crate) ends: Option<(f64, f64)>,
}

pub(crate) const MARGIN: f64 = 16.0;
const ROW: f64 = 32.0;
const GROUP: f64 = 36.0;
const AXIS: f64 = 30.0;
pub(crate) const TITLE: f64 = 20.0;
pub(crate) const SMALL: f64 = 12.5;
pub(crate) const LABEL: f64 = 13.5;

/// Of the parts of a whole, in their order.
pub(crate) const PART_STRENGTHS: [f64; 4] = [1.0, 0.7, 0.45, 0.25];

/// Draws the chart.
pub(crate) fn draw(chart: &RowChart, width: f64, theme: Theme) -> Result<Drawing, PlotError> {
    let room = width - 2.0 * MARGIN;
    let title = wrap(&chart.title, room, TITLE, true);
    let subtitle = wrap(&chart.subtitle, room, SMALL, false);
    let footer = wrap(&chart.footer, room, SMALL - 1.0, false);
    let head = MARGIN + title.len() as f64 * 26.0 + subtitle.len() as f64 * 18.0 + 8.0;
    let body: f64 = chart.rows.iter().map(height).sum();
    let total = head + body + AXIS + footer.len() as f64 * 16.0 + MARGIN;
    let plot = Plot::new(chart, width, theme);
    let svg = svg((width, total), &chart.title, |canvas| {
        canvas.rect((0.0, 0.0), (width, total), theme.background)?;
        let bold = Type { size: TITLE, bold: true, colour: theme.ink };
        lines(canvas, &title, MARGIN, 26.0, bold)?;
        let plain = Type { size: SMALL, bold: false, colour: theme.faint };
        lines(canvas, &subtitle, MARGIN + title.len() as f64 * 26.0, 18.0, plain)?;
        plot.axis(canvas, head, body)?;
        plot.reference(canvas, head, body)?;
        let mut top = head;
        for row in &chart.rows {
            plot.row(canvas, top + height(row) / 2.0, row)?;
            top += height(row);
        }
        lines(canvas, &footer, top + AXIS, 16.0, Type { size: SMALL - 1.0, ..plain })
    })?;
    Ok(Drawing { svg, size: (width, total), marks: marks(chart, width, head) })
}

/// Every row but headings, with the heading it stands under.
fn marks(chart: &RowChart, width: f64, head: f64) -> Vec<Mark> {
    let (mut marks, mut group, mut top) = (Vec::new(), "", head);
    for row in &chart.rows {
        let bottom = top + height(row);
        let text = words(row, chart.axis);
        if let Row::Group { text, .. } = row {
            group = text;
        } else if !text.is_empty() {
            let (from, to) = ((MARGIN, top + 1.0), (width - MARGIN, bottom - 1.0));
            marks.push(Mark { from, to, text: format!("{group}, {text}") });
        }
        top = bottom;
    }
    marks
}

/// A row in words, with what the picture has no room for: whole reasons, ends of intervals, parts.
fn words(row: &Row, axis: Axis) -> String {
    let interval = |value: &Interval, word: &dyn Fn(f64) -> String| {
        value
            .ends
            .map_or_else(String::new, |(low, high)| format!(", interval {} to {}", word(low), word(high)))
    };
    let label = label(row);
    let text = value_text(row);
    match row {
        Row::Group { .. } | Row::Key { .. } => String::new(),
        Row::Gap { text, .. } => format!("{label}: {text}"),
        Row::Bar { value, .. } => format!("{label}: {text}{}", interval(value, &number)),
        Row::Point { value, .. } => format!("{label}: {text}{}", interval(value, &axis.tick)),
        Row::Twin { first, second, .. } => {
            let share =
                |value: &Option<f64>| value.map_or_else(|| "not told".to_owned(), |value| (axis.tick)(value));
            format!("{label}: {} where drafted, {} of all", share(first), share(second))
        }
        Row::Parts { parts, .. } => {
            let parts: Vec<_> = parts.iter().map(|(name, part)| format!("{name} {part:.3}")).collect();
            format!("{label}: {text}: {}", parts.join(", "))
        }
        Row::Strip { marks, .. } => {
            let marks: Vec<_> = marks.iter().map(|mark| number(*mark)).collect();
            format!("{label}: {}", marks.join(", "))
        }
        Row::Events { .. } => format!("{label}: {text}"),
    }
}

pub(crate) fn lines(
    canvas: &Canvas<'_>,
    lines: &[String],
    top: f64,
    step: f64,
    kind: Type,
) -> Result<(), PlotError> {
    let mut y = top + step / 2.0;
    for line in lines {
        canvas.text((MARGIN, y), Align::Start, kind, line)?;
        y += step;
    }
    Ok(())
}

fn height(row: &Row) -> f64 {
    match row {
        Row::Group { .. } => GROUP,
        Row::Key { .. }
        | Row::Bar { .. }
        | Row::Point { .. }
        | Row::Twin { .. }
        | Row::Parts { .. }
        | Row::Strip { .. }
        | Row::Events { .. }
        | Row::Gap { .. } => ROW,
    }
}

fn label(row: &Row) -> &str {
    match row {
        Row::Group { .. } | Row::Key { .. } => "",
        Row::Bar { label, .. }
        | Row::Point { label, .. }
        | Row::Twin { label, .. }
        | Row::Parts { label, .. }
        | Row::Strip { label, .. }
        | Row::Events { label, .. }
        | Row::Gap { label, .. } => label,
    }
}

/// What stands right of the mark.
fn value_text(row: &Row) -> &str {
    match row {
        Row::Group { .. } | Row::Key { .. } | Row::Gap { .. } => "",
        Row::Bar { text, .. }
        | Row::Point { text, .. }
        | Row::Twin { text, .. }
        | Row::Parts { text, .. }
        | Row::Strip { text, .. }
        | Row::Events { text, .. } => text,
    }
}

/// Where values lie on the picture.
struct Plot {
    axis: Axis,
    left: f64,
    right: f64,
    edge: f64,
    theme: Theme,
}

impl Plot {
    /// Room for the widest label at the left, for the widest value at the right.
    fn new(chart: &RowChart, width: f64, theme: Theme) -> Self {
        let widest = |of: fn(&Row) -> &str, size: f64| {
            chart.rows.iter().map(|row| text_width(of(row), size, false)).fold(0.0, f64::max)
        };
        let left = MARGIN + widest(label, LABEL).min(width * 0.3) + 12.0;
        let right = width - MARGIN - widest(value_text, SMALL).min(width * 0.4) - 10.0;
        Self { axis: chart.axis, left, right: right.max(left + 40.0), edge: width - MARGIN, theme }
    }

    fn x(&self, value: f64) -> f64 {
        self.left + self.axis.share(value) * (self.right - self.left)
    }

    fn axis(&self, canvas: &Canvas<'_>, top: f64, body: f64) -> Result<(), PlotError> {
        let kind = Type { size: SMALL - 1.0, bold: false, colour: self.theme.faint };
        for tick in self.axis.ticks(((self.right - self.left) / 75.0).max(2.0)) {
            let x = self.x(tick);
            canvas.line((x, top), (x, top + body), 1.0, self.theme.grid)?;
            canvas.text((x, top + body + 12.0), Align::Middle, kind, &(self.axis.tick)(tick))?;
        }
        Ok(())
    }

    fn reference(&self, canvas: &Canvas<'_>, top: f64, body: f64) -> Result<(), PlotError> {
        if self.axis.is_log {
            return Ok(());
        }
        let x = self.x(self.axis.reference);
        canvas.line((x, top), (x, top + body), 1.25, self.theme.ink)
    }

    fn row(&self, canvas: &Canvas<'_>, y: f64, row: &Row) -> Result<(), PlotError> {
        let ink = Type { size: LABEL, bold: false, colour: self.theme.ink };
        let left = fit(label(row), self.left - MARGIN - 10.0, LABEL);
        canvas.text((self.left - 10.0, y), Align::End, ink, &left)?;
        let end = match row {
            Row::Group { text, stack } => return self.group(canvas, y, text, *stack),
            Row::Key { stack, names } => return self.key(canvas, y, *stack, names),
            Row::Gap { text, .. } => {
                let faint = Type { size: SMALL, bold: false, colour: self.theme.faint };
                let text = fit(text, self.edge - self.left - 8.0, SMALL);
                return self.plate(canvas, (self.left + 8.0, y), faint, &text);
            }
            Row::Bar { stack, strength, hollow, value, .. } => {
                let (from, to) = ((self.x(0.0), y - 9.0), (self.x(value.point), y + 9.0));
                if *hollow {
                    canvas.outline(from, to, self.theme.shade(*stack, *strength))?;
                } else {
                    canvas.rect(from, to, self.theme.shade(*stack, *strength))?;
                }
                self.whisker(canvas, y, *value)?
            }
            Row::Point { stack, value, .. } => {
                let end = self.whisker(canvas, y, *value)?;
                canvas.dot((self.x(value.point), y), 5.0, self.theme.shade(*stack, 1.0))?;
                end.max(self.x(value.point) + 5.0)
            }
            Row::Twin { stack, first, second, .. } => self.twin(canvas, y, *stack, (*first, *second))?,
            Row::Parts { stack, parts, .. } => self.parts(canvas, y, *stack, parts)?,
            Row::Strip { stack, marks, .. } => self.strip(canvas, y, *stack, marks)?,
            Row::Events { stack, events, .. } => self.events(canvas, y, *stack, events)?,
        };
        let kind = Type { size: SMALL, bold: true, colour: self.theme.ink };
        self.plate(canvas, (end + 8.0, y), kind, value_text(row))
    }

    fn twin(
        &self,
        canvas: &Canvas<'_>,
        y: f64,
        stack: StackKind,
        (first, second): (Option<f64>, Option<f64>),
    ) -> Result<f64, PlotError> {
        let zero = self.x(0.0);
        if let Some(first) = first {
            canvas.rect((zero, y - 10.0), (self.x(first), y + 3.0), self.theme.shade(stack, 1.0))?;
        }
        if let Some(second) = second {
            canvas.rect((zero, y + 4.0), (self.x(second), y + 10.0), self.theme.shade(stack, 0.55))?;
        }
        Ok(self.x(first.unwrap_or_default().max(second.unwrap_or_default())))
    }

    fn parts(
        &self,
        canvas: &Canvas<'_>,
        y: f64,
        stack: StackKind,
        parts: &[(&str, f64)],
    ) -> Result<f64, PlotError> {
        let mut from = 0.0;
        for (strength, (_, part)) in PART_STRENGTHS.into_iter().zip(parts) {
            let (left, right) = (self.x(from), self.x(from + part));
            canvas.rect((left, y - 9.0), (right, y + 9.0), self.theme.shade(stack, strength))?;
            // A seam, so that neighbours are told apart by more than their shades; a sliver would vanish in it.
            if from > 0.0 && right - left > 3.0 {
                canvas.line((left, y - 9.0), (left, y + 9.0), 1.0, self.theme.background)?;
            }
            from += part;
        }
        Ok(self.x(from))
    }

    /// Names of parts beside their shades, in the order in which they are drawn.
    fn key(&self, canvas: &Canvas<'_>, y: f64, stack: StackKind, names: &[&str]) -> Result<(), PlotError> {
        let kind = Type { size: SMALL, bold: false, colour: self.theme.ink };
        let mut x = MARGIN;
        let widths: f64 = names.iter().map(|name| text_width(name, SMALL, false) + 35.0).sum();
        canvas.rect((x, y - 9.0), (x + widths - 12.0, y + 9.0), self.theme.background)?;
        for (strength, name) in PART_STRENGTHS.into_iter().zip(names) {
            canvas.rect((x, y - 5.5), (x + 11.0, y + 5.5), self.theme.shade(stack, strength))?;
            canvas.text((x + 17.0, y), Align::Start, kind, name)?;
            x += 17.0 + text_width(name, SMALL, false) + 18.0;
        }
        Ok(())
    }

    fn strip(&self, canvas: &Canvas<'_>, y: f64, stack: StackKind, marks: &[f64]) -> Result<f64, PlotError> {
        let (Some(&first), Some(&last)) = (marks.first(), marks.last()) else { return Ok(self.left) };
        canvas.line((self.x(first), y), (self.x(last), y), 1.5, self.theme.ink)?;
        for (nth, &mark) in marks.iter().enumerate().rev() {
            let radius = if nth == 0 { 5.5 } else { 3.5 };
            canvas.dot((self.x(mark), y), radius, self.theme.shade(stack, 1.0))?;
        }
        Ok(self.x(last) + 4.0)
    }

    fn events(
        &self,
        canvas: &Canvas<'_>,
        y: f64,
        stack: StackKind,
        events: &[(f64, f64)],
    ) -> Result<f64, PlotError> {
        canvas.line((self.x(0.0), y + 10.0), (self.right, y + 10.0), 1.0, self.theme.grid)?;
        for &(at, share) in events {
            let x = self.x(at);
            canvas.line((x, y + 10.0 - 20.0 * share), (x, y + 10.0), 1.25, self.theme.shade(stack, 1.0))?;
        }
        Ok(self.right)
    }

    fn group(
        &self,
        canvas: &Canvas<'_>,
        y: f64,
        text: &str,
        stack: Option<StackKind>,
    ) -> Result<(), PlotError> {
        let (x, y) = (MARGIN, y + 4.0);
        let kind = Type { size: LABEL, bold: true, colour: self.theme.ink };
        let Some(stack) = stack else { return self.plate(canvas, (x, y), kind, text) };
        self.plate(canvas, (x + 18.0, y), kind, text)?;
        canvas.rect((x, y - 5.5), (x + 11.0, y + 5.5), self.theme.shade(stack, 1.0))
    }

    /// Text on a plate of background, so that no grid line runs through it.
    fn plate(
        &self,
        canvas: &Canvas<'_>,
        (x, y): (f64, f64),
        kind: Type,
        text: &str,
    ) -> Result<(), PlotError> {
        let width = text_width(text, kind.size, kind.bold);
        canvas.rect((x - 3.0, y - 9.0), (x + width + 3.0, y + 9.0), self.theme.background)?;
        canvas.text((x, y), Align::Start, kind, text)
    }

    /// The interval with caps; returns where the mark ends.
    fn whisker(&self, canvas: &Canvas<'_>, y: f64, value: Interval) -> Result<f64, PlotError> {
        let Some((low, high)) = value.ends else { return Ok(self.x(value.point)) };
        let (low, high) = (self.x(low), self.x(high));
        canvas.line((low, y), (high, y), 1.5, self.theme.ink)?;
        for end in [low, high] {
            canvas.line((end, y - 4.0), (end, y + 4.0), 1.5, self.theme.ink)?;
        }
        Ok(high)
    }
}
