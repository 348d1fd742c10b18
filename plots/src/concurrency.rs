//! Charts of runs over concurrency: what one stream gets against what all get, and where speculation stops paying.

use bench_core::report::{ArmReport, Estimate, Report};
use bench_core::sweep::Sweep;
use maud::Markup;

use crate::charts::{Charts, Picture, footer, interval, plain_tick, whisker};
use crate::curves::{Crossing, CurveChart, Point, Series};
use crate::rows::Axis;
use crate::speed::ratio_axis;
use crate::tables::table;
use crate::words::{absence, estimate, number, variant};

/// Adds what the report has numbers for.
pub(crate) fn add(report: &Report, charts: &mut Charts) {
    let swept = report.sweeps.iter().any(|sweep| sweep.over == OVER);
    let why = "Latency against throughput, speed-up over concurrency: no way of speculating was measured at two concurrencies.";
    if !swept {
        charts.missing.push(why);
        return;
    }
    charts.offer(
        "latency-throughput",
        against_latency(report),
        "Latency against throughput: no arm tells what all its streams got together.",
    );
    charts.offer("concurrency", ratios(report), "Speed-up over concurrency: no arm could be compared.");
}

const OVER: &str = "concurrency";

fn has_crossover(report: &Report) -> bool {
    report.sweeps.iter().any(|sweep| sweep.over == OVER && sweep.crossover.is_some())
}

/// One way of decoding over concurrencies, ascending.
struct Line<'a> {
    name: String,
    arms: Vec<(u32, &'a ArmReport)>,
    /// `None` for a baseline.
    sweep: Option<&'a Sweep>,
}

/// Each baseline once, followed by the ways of speculating that were held against it.
fn swept(report: &Report) -> Vec<Line<'_>> {
    let arm = |label: &str| report.arms.iter().find(|arm| arm.label == label);
    let mut found: Vec<Line<'_>> = Vec::new();
    for sweep in report.sweeps.iter().filter(|sweep| sweep.over == OVER) {
        let arms: Vec<_> =
            sweep.points.iter().filter_map(|point| Some((point.x, arm(&point.label)?))).collect();
        let baseline = |candidate: &ArmReport| {
            let of = report.comparisons.iter().filter(|comparison| comparison.candidate == candidate.label);
            of.filter_map(|comparison| arm(&comparison.baseline)).find(|base| base.stack == candidate.stack)
        };
        let baselines: Vec<_> = arms.iter().filter_map(|(x, arm)| Some((*x, baseline(arm)?))).collect();
        let name = |arm: &ArmReport| {
            let variant = variant(&arm.label);
            format!("{}/{}", arm.stack, variant.split('@').next().unwrap_or(variant))
        };
        if let Some((_, first)) = baselines.first()
            && found.iter().all(|line| line.name != name(first))
        {
            found.push(Line { name: name(first), arms: baselines, sweep: None });
        }
        found.push(Line { name: format!("{}/{}", sweep.stack, sweep.variant), arms, sweep: Some(sweep) });
    }
    found
}

/// Those arms of a line that have no point.
fn gaps(line: &Line<'_>, has_point: impl Fn(&ArmReport) -> bool) -> String {
    let gaps = line.arms.iter().filter(|(_, arm)| !has_point(arm));
    let gaps: Vec<_> = gaps.map(|(x, arm)| format!("not at {x}: {}", absence(arm))).collect();
    if gaps.is_empty() { String::new() } else { format!(" ({})", gaps.join("; ")) }
}

/// Milliseconds a token, waiting inside: the inverse of what one stream gets.
fn latency_ms(arm: &ArmReport) -> Option<Estimate> {
    let rate = arm.e2e_tokens_per_s.filter(|_| arm.valid)?;
    let ms = |rate: f64| 1000.0 / rate;
    Some(Estimate { point: ms(rate.point), low: rate.high.map(ms), high: rate.low.map(ms) })
}

fn against_latency(report: &Report) -> Option<(Picture, Markup)> {
    let place = |arm: &ArmReport| latency_ms(arm).zip(arm.served_tokens_per_s);
    let (mut series, mut cells, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for line in swept(report) {
        let Some((_, first)) = line.arms.first() else { continue };
        let mut points = Vec::new();
        for (x, arm) in &line.arms {
            let [ms, each, together] = [latency_ms(arm), arm.e2e_tokens_per_s, arm.served_tokens_per_s];
            cells.push(vec![
                arm.label.clone(),
                x.to_string(),
                estimate(ms),
                estimate(each),
                estimate(together),
            ]);
            let Some((ms, served)) = place(arm) else { continue };
            all.push((ms, served));
            let x_ends = interval(ms).ends;
            points.push((*x, Point { x: ms.point, x_ends, y: interval(served), name: Some(x.to_string()) }));
        }
        series.push(Series {
            label: line.name.clone(),
            note: gaps(&line, |arm| place(arm).is_some()),
            stack: first.stack,
            strength: if line.sweep.is_some() { 1.0 } else { 0.75 },
            line: points.iter().map(|(_, point)| (point.x, point.y.point)).collect(),
            is_theory: false,
            crossing: line.sweep.and_then(|sweep| on_line(sweep, &points)),
            points: points.into_iter().map(|(_, point)| point).collect(),
        });
    }
    let ends = |of: Estimate| [of.low.unwrap_or(of.point), of.high.unwrap_or(of.point)];
    let x = Axis::log(all.iter().flat_map(|(ms, _)| ends(*ms)), plain_tick)?;
    let max = all.iter().flat_map(|(_, served)| ends(*served)).fold(0.0, f64::max) * 1.05;
    let chart = CurveChart {
        title: "Latency against throughput".to_owned(),
        subtitle: format!(
            "A point is a number of requests in flight, written beside it. Further left a user waits less, further up the \
             machine gives more to all.{} {}",
            if has_crossover(report) {
                " A cross is where the speed-up of a stream falls through 1, the thick stroke its interval."
            } else {
                ""
            },
            whisker(report)
        ),
        footer: footer(report),
        x,
        x_values: None,
        x_title: "ms a token, from send to last token (log)".to_owned(),
        y: Axis { min: 0.0, max, reference: 0.0, is_log: false, tick: plain_tick },
        y_title: "tokens/s of all streams together".to_owned(),
        series,
    };
    let head = ["arm", "in flight", "ms a token, waiting inside", "tokens/s of one", "tokens/s of all"];
    Some((Picture::Curves(chart), table(&head, &cells)))
}

/// The crossover on a line through its measured points: straight along the logarithm of concurrency.
fn on_line(sweep: &Sweep, points: &[(u32, Point)]) -> Option<Crossing> {
    let crossover = sweep.crossover?;
    let at = |concurrency: f64| {
        let next = points.iter().position(|(x, _)| f64::from(*x) >= concurrency)?;
        let (to, b) = &points[next];
        let (from, a) = &points[next.saturating_sub(1)];
        let span = f64::from(*to).ln() - f64::from(*from).ln();
        let share = if span > 0.0 { (concurrency.ln() - f64::from(*from).ln()) / span } else { 0.0 };
        let between = |from: f64, to: f64| from + share * (to - from);
        Some((between(a.x.ln(), b.x.ln()).exp(), between(a.y.point, b.y.point)))
    };
    let (least, most) = (f64::from(points.first()?.0), f64::from(points.last()?.0));
    let (low, high) = (crossover.low.unwrap_or(least), crossover.high.unwrap_or(most));
    let inside = points.iter().filter(|(x, _)| (low..=high).contains(&f64::from(*x)));
    let inside = inside.map(|(_, point)| Some((point.x, point.y.point)));
    let span = std::iter::once(at(low)).chain(inside).chain([at(high)]).flatten().collect();
    Some(Crossing { at: at(crossover.point)?, span, text: crossover_words(&crossover) })
}

/// `the speed-up falls through 1 at 2.8 [2.1, 3.9] in flight`; an end that was not reached is told as such.
fn crossover_words(crossover: &Estimate) -> String {
    let end = |end: Option<f64>| end.map_or_else(|| "beyond what was measured".to_owned(), number);
    let Estimate { point, low, high } = crossover;
    format!("the speed-up falls through 1 at {} [{}, {}] in flight", number(*point), end(*low), end(*high))
}

fn ratios(report: &Report) -> Option<(Picture, Markup)> {
    let (mut series, mut cells, mut all) = (Vec::new(), Vec::new(), Vec::new());
    let lines: Vec<_> =
        swept(report).into_iter().filter_map(|line| line.sweep.map(|sweep| (line, sweep))).collect();
    let mut values: Vec<u32> = lines.iter().flat_map(|(line, _)| line.arms.iter().map(|(x, _)| *x)).collect();
    values.sort_unstable();
    values.dedup();
    let (least, most) = (f64::from(*values.first()?), f64::from(*values.last()?));
    for (line, sweep) in &lines {
        let known = |label: &str| sweep.points.iter().any(|p| p.label == label && p.ratio.is_some());
        let points: Vec<_> = sweep
            .points
            .iter()
            .filter_map(|point| Some(Point::new(f64::from(point.x), interval(point.ratio?))))
            .collect();
        all.extend(sweep.points.iter().filter_map(|point| point.ratio));
        let words = sweep.crossover.as_ref().map_or_else(|| "–".to_owned(), |at| estimate(Some(*at)));
        cells.extend(sweep.points.iter().map(|point| {
            vec![point.label.clone(), point.x.to_string(), estimate(point.ratio), words.clone()]
        }));
        series.push(Series {
            label: line.name.clone(),
            note: gaps(line, |arm| known(&arm.label)),
            stack: sweep.stack,
            strength: 1.0,
            line: points.iter().map(|point| (point.x, point.y.point)).collect(),
            is_theory: false,
            points,
            crossing: sweep.crossover.map(|at| Crossing {
                at: (at.point, 1.0),
                span: vec![(at.low.unwrap_or(least), 1.0), (at.high.unwrap_or(most), 1.0)],
                text: crossover_words(&at),
            }),
        });
    }
    let crossover = if has_crossover(report) {
        "A cross on the line at 1 is where speculation stops paying, the thick stroke its interval."
    } else {
        "No line falls through 1: no crossover was measured."
    };
    let chart = CurveChart {
        title: "Speed-up over concurrency".to_owned(),
        subtitle: format!(
            "Speed of a stream against the same stack without speculation at the same number of requests in flight. \
             {crossover} {}",
            whisker(report)
        ),
        footer: footer(report),
        x: Axis { min: least / 1.3, max: most * 1.3, reference: least, is_log: true, tick: plain_tick },
        x_values: Some(values.into_iter().map(f64::from).collect()),
        x_title: "requests in flight (log)".to_owned(),
        y: ratio_axis(&all)?,
        y_title: "times the baseline".to_owned(),
        series,
    };
    Some((Picture::Curves(chart), table(&["arm", "in flight", "speed-up", "falls through 1 at"], &cells)))
}
