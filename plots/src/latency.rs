//! Charts of waiting: cumulative distributions and percentiles of TTFT, of the time between tokens and between chunks,
//! and one request round by round.

use bench_core::latency::{LatencyPercentiles, RequestTimeline};
use bench_core::report::{ArmReport, Report};
use maud::Markup;

use crate::charts::{Charts, Picture, footer, plain_tick, stacks};
use crate::curves::{CurveChart, Series};
use crate::rows::{Axis, Row, RowChart};
use crate::tables::table;
use crate::words::{absence, number, percent, variant};

type Of = fn(&LatencyPercentiles) -> Option<&Vec<f64>>;

/// One kind of waiting: file, title, what the axis says, and its percentiles.
const KINDS: [(&str, &str, &str, Of); 3] = [
    ("ecdf-ttft", "Time to first token", "ms from send to first chunk", |of| of.ttft.as_ref()),
    ("ecdf-token", "Time between tokens", "ms a token", |of| of.between_tokens.as_ref()),
    ("ecdf-chunk", "Time between chunks", "ms a chunk", |of| of.between_chunks.as_ref()),
];

/// Adds what the report has numbers for.
pub(crate) fn add(report: &Report, charts: &mut Charts) {
    let why = "Latencies and timeline: the report was made before they were kept, or no request completed; \
               `bench report` makes it again from the rows.";
    if report.arms.iter().all(|arm| arm.latency.is_none()) {
        charts.missing.push(why);
        return;
    }
    charts.offer("latency", strip(report), why);
    for (name, title, axis, of) in KINDS {
        let why = "Cumulative distributions: some chunk does not tell its tokens.";
        charts.offer(name, ecdf(report, title, axis, of), why);
    }
    charts.offer("timeline", timeline(report), "Timeline: no arm completed a request.");
}

/// The percentiles of an arm; `None` where it has none of this kind.
fn curve(arm: &ArmReport, of: Of) -> Option<&Vec<f64>> {
    arm.latency.as_ref().and_then(of).filter(|curve| curve.len() == 101)
}

fn strip(report: &Report) -> Option<(Picture, Markup)> {
    let (mut rows, mut cells) = (Vec::new(), Vec::new());
    let all = KINDS.iter().flat_map(|(.., of)| {
        report
            .arms
            .iter()
            .filter_map(|arm| curve(arm, *of))
            .flat_map(|curve| [curve[50], curve[90], curve[99]])
    });
    let axis = Axis::log(all, plain_tick)?;
    for (_, title, unit, of) in KINDS {
        rows.push(Row::Group { text: format!("{title}, {unit}"), stack: None });
        for arm in &report.arms {
            let label = arm_label(report, arm);
            let Some(curve) = curve(arm, of) else {
                let text = if arm.valid { "not known".to_owned() } else { absence(arm) };
                rows.push(Row::Gap { label, text });
                continue;
            };
            let marks = vec![curve[50], curve[90], curve[99]];
            let text = format!("{} / {}", number(curve[50]), number(curve[99]));
            let mut cell = vec![arm.label.clone(), title.to_owned()];
            cell.extend([50, 90, 95, 99, 100].map(|percent| format!("{:.3}", curve[percent])));
            cells.push(cell);
            rows.push(Row::Strip { label, stack: arm.stack, marks, text });
        }
    }
    let chart = RowChart {
        title: "Latency percentiles".to_owned(),
        subtitle: "Milliseconds, on a logarithmic axis. Large dot: median; small dots: 90 and 99 of 100 are no longer. \
                   Numbers: median / 99 of 100. Warm-up and failed requests are left out."
            .to_owned(),
        footer: footer(report),
        axis,
        rows,
    };
    let head = ["arm", "latency, ms", "p50", "p90", "p95", "p99", "longest"];
    Some((Picture::Rows(chart), table(&head, &cells)))
}

/// The variant first: a phone cuts labels at their end.
fn arm_label(report: &Report, arm: &ArmReport) -> String {
    let variant = variant(&arm.label);
    if stacks(report).len() > 1 { format!("{variant} · {}", arm.stack) } else { variant.to_owned() }
}

fn ecdf(report: &Report, title: &str, axis: &str, of: Of) -> Option<(Picture, Markup)> {
    let curves = report.arms.iter().filter_map(|arm| curve(arm, of));
    let x = Axis::log(curves.flat_map(|curve| curve.iter().copied()), plain_tick)?;
    let (mut series, mut cells) = (Vec::new(), Vec::new());
    for (stack, arms) in stacks(report) {
        let count = arms.len().max(1) as f64;
        for (nth, arm) in arms.into_iter().enumerate() {
            let known = curve(arm, of);
            let state = if known.is_some() {
                String::new()
            } else if arm.valid {
                ": not known".to_owned()
            } else {
                format!(": {}", absence(arm))
            };
            if let Some(known) = known {
                let mut cell = vec![arm.label.clone()];
                cell.extend([0, 10, 25, 50, 75, 90, 99, 100].map(|percent| format!("{:.3}", known[percent])));
                cells.push(cell);
            }
            series.push(Series {
                label: arm.label.clone(),
                note: state,
                stack,
                strength: 0.45 + 0.55 * (nth + 1) as f64 / count,
                line: known
                    .into_iter()
                    .flatten()
                    .copied()
                    .zip((0..=100).map(|p| f64::from(p) / 100.0))
                    .collect(),
                is_theory: false,
                points: Vec::new(),
                crossing: None,
            });
        }
    }
    let chart = CurveChart {
        title: format!("{title}, cumulative"),
        subtitle: "Share that is no longer than this; the further left, the better. Logarithmic axis. A step to the right \
                   near the top is a stall."
            .to_owned(),
        footer: footer(report),
        x,
        x_values: None,
        x_title: axis.to_owned(),
        y: Axis { min: 0.0, max: 1.0, reference: 0.0, is_log: false, tick: percent },
        y_title: "of all".to_owned(),
        series,
    };
    let head = ["arm", "shortest", "p10", "p25", "p50", "p75", "p90", "p99", "longest"];
    Some((Picture::Curves(chart), table(&head, &cells)))
}

fn timeline(report: &Report) -> Option<(Picture, Markup)> {
    let known: Vec<_> = report.arms.iter().filter_map(|arm| Some((arm, arm.timeline.as_ref()?))).collect();
    let (_, first) = known.first()?;
    let chunks = || known.iter().flat_map(|(_, timeline)| &timeline.chunks);
    let max = chunks().map(|chunk| chunk.at_ms).fold(0.0, f64::max);
    let most = chunks().filter_map(|chunk| chunk.tokens).max().unwrap_or(1).max(1);
    let (mut rows, mut cells) = (Vec::new(), Vec::new());
    for (stack, arms) in stacks(report) {
        rows.push(Row::Group { text: stack.to_string(), stack: Some(stack) });
        for arm in arms {
            let label = variant(&arm.label).to_owned();
            let Some(timeline) = &arm.timeline else {
                rows.push(Row::Gap { label, text: absence(arm) });
                continue;
            };
            let events = timeline
                .chunks
                .iter()
                .map(|chunk| (chunk.at_ms, f64::from(chunk.tokens.unwrap_or(1).max(1)) / f64::from(most)));
            let (cell, text) = (timeline_cells(arm, timeline), format!("{} chunks", timeline.chunks.len()));
            cells.push(cell);
            rows.push(Row::Events { label, stack, events: events.collect(), text });
        }
    }
    let chart = RowChart {
        title: "One request, chunk by chunk".to_owned(),
        subtitle: format!(
            "Prompt {} in block {}: milliseconds after the send. A stroke is a chunk, its height the tokens in it, at most \
             {most}; the native engine sends a chunk a verify step.",
            first.prompt_id, first.block
        ),
        footer: footer(report),
        axis: Axis {
            min: 0.0,
            max: if max > 0.0 { max } else { 1.0 },
            reference: 0.0,
            is_log: false,
            tick: plain_tick,
        },
        rows,
    };
    let head = ["arm", "prompt", "chunks", "tokens", "first, ms", "last, ms"];
    Some((Picture::Rows(chart), table(&head, &cells)))
}

fn timeline_cells(arm: &ArmReport, timeline: &RequestTimeline) -> Vec<String> {
    let tokens: Option<u32> = timeline.chunks.iter().map(|chunk| chunk.tokens).sum();
    let at = |chunk: Option<&bench_core::latency::TimelineChunk>| {
        chunk.map_or_else(|| "–".to_owned(), |chunk| format!("{:.3}", chunk.at_ms))
    };
    vec![
        arm.label.clone(),
        timeline.prompt_id.clone(),
        timeline.chunks.len().to_string(),
        tokens.map_or_else(|| "–".to_owned(), |tokens| tokens.to_string()),
        at(timeline.chunks.first()),
        at(timeline.chunks.last()),
    ]
}
