//! Charts of why an arm is fast or slow: its speed-up by category, by acceptance, by draft length, where its rounds spend
//! their time, and how near its verify pass is to the ceiling.

use bench_core::explanation::Explanation;
use bench_core::report::{ArmReport, Estimate, Report};
use maud::Markup;

use crate::charts::{Charts, Picture, footer, interval, plain_tick, ratio_tick, stacks, whisker};
use crate::curves::{CurveChart, Point, Series};
use crate::rows::{Axis, Interval, Row, RowChart};
use crate::tables::table;
use crate::words::{absence, estimate, number, percent, variant, within_stack};

/// Adds what the report has numbers for.
pub(crate) fn add(report: &Report, charts: &mut Charts) {
    charts.offer(
        "acceptance-length",
        against_length(report),
        "Acceptance length against speed-up: no arm has both a ratio to its baseline and counts of verify steps.",
    );
    charts.offer(
        "draft-length",
        draft_lengths(report),
        "Draft length: no way of speculating was measured at two lengths.",
    );
    let why = "Where the time went and per cent of the ceiling: no stack of this run tells the times of its rounds.";
    if explained(report).next().is_none() {
        charts.missing.push(why);
        return;
    }
    charts.offer("round-time", Some(round_time(report)), why);
    charts.offer(
        "ceiling",
        ceiling(report),
        "Per cent of the ceiling: the memory bandwidth or the bytes of a pass are not known.",
    );
}

/// Ratios to the baseline, a group a category: a forest plot.
pub(crate) fn by_category(report: &Report) -> Option<(Picture, Markup)> {
    let mut names: Vec<&str> = Vec::new();
    for category in report.arms.iter().flat_map(|arm| &arm.categories) {
        if category.ratio.is_some() && !names.contains(&category.category.as_str()) {
            names.push(&category.category);
        }
    }
    let candidates: Vec<_> = within_stack(report).map(|(arm, _)| arm).collect();
    let (mut rows, mut ratios, mut cells) = (Vec::new(), Vec::new(), Vec::new());
    for name in &names {
        rows.push(Row::Group { text: (*name).to_owned(), stack: None });
        for arm in &candidates {
            let category = arm.categories.iter().find(|category| category.category == *name);
            let ratio = category.and_then(|category| category.ratio);
            cells.push(vec![arm.label.clone(), (*name).to_owned(), estimate(ratio)]);
            let label = if stacks(report).len() > 1 {
                format!("{} · {}", variant(&arm.label), arm.stack)
            } else {
                variant(&arm.label).to_owned()
            };
            rows.push(match ratio {
                Some(ratio) => {
                    ratios.push(ratio);
                    let text = format!("{:.2}×{}", ratio.point, if arm.valid { "" } else { " invalid" });
                    Row::Point { label, stack: arm.stack, value: interval(ratio), text }
                }
                None if arm.valid => Row::Gap { label, text: "no pair of this category".to_owned() },
                None => Row::Gap { label, text: absence(arm) },
            });
        }
    }
    let chart = RowChart {
        title: "Speed-up by category of prompt".to_owned(),
        subtitle: format!(
            "Ratio of tokens per second to the same stack's baseline; right of the line at 1 speculation pays. {}",
            whisker(report)
        ),
        footer: footer(report),
        axis: ratio_axis(&ratios)?,
        rows,
    };
    Some((Picture::Rows(chart), table(&["arm", "category", "ratio"], &cells)))
}

/// Around all intervals and 1; `None` without a ratio.
pub(crate) fn ratio_axis(ratios: &[Estimate]) -> Option<Axis> {
    let low = ratios.iter().map(|ratio| ratio.low.unwrap_or(ratio.point)).min_by(f64::total_cmp)?.min(1.0);
    let high = ratios.iter().map(|ratio| ratio.high.unwrap_or(ratio.point)).max_by(f64::total_cmp)?.max(1.0);
    let pad = ((high - low) * 0.08).max(0.02);
    Some(Axis { min: low - pad, max: high + pad, reference: 1.0, is_log: false, tick: ratio_tick })
}

fn explained(report: &Report) -> impl Iterator<Item = (&ArmReport, &Explanation)> {
    report.arms.iter().filter_map(|arm| Some((arm, arm.explanation.as_ref()?)))
}

/// At a fixed cost of a round, speed-up is proportional to the tokens it emits: a line through the origin whose slope is
/// the prediction by the length it was made for.
fn against_length(report: &Report) -> Option<(Picture, Markup)> {
    let (mut series, mut ratios, mut cells) = (Vec::new(), Vec::new(), Vec::new());
    let mut longest = 2.0_f64;
    for (arm, comparison) in within_stack(report) {
        let (Some(length), Some(ratio)) = (arm.acceptance_length, comparison.ratio) else { continue };
        let Some(draft_max) = arm.speculation.draft_max() else { continue };
        let most = f64::from(draft_max.get()) + 1.0;
        longest = longest.max(length.point + 0.3).max(most.min(8.0));
        let slope = arm.explanation.as_ref().and_then(|explanation| {
            let predicted = explanation.speedup.as_ref()?.predicted;
            Some(predicted / (1.0 + explanation.accepted_per_round))
        });
        let line = slope.map_or_else(Vec::new, |slope| vec![(1.0, slope), (most, slope * most)]);
        let break_even = slope.map_or_else(|| "–".to_owned(), |slope| number(1.0 / slope));
        cells.push(vec![arm.label.clone(), estimate(Some(length)), estimate(Some(ratio)), break_even]);
        ratios.push(ratio);
        ratios.extend(line.iter().map(|(_, y)| Estimate { point: *y, low: None, high: None }));
        series.push(Series {
            label: arm.label.clone(),
            note: String::new(),
            stack: arm.stack,
            strength: 1.0,
            line,
            is_theory: true,
            points: vec![Point::new(length.point, interval(ratio))],
            crossing: None,
        });
    }
    let y = ratio_axis(&ratios)?;
    let chart = CurveChart {
        title: "Acceptance length against speed-up".to_owned(),
        subtitle: format!(
            "Points are measured; thin lines are what the measured cost of a round would give at other lengths. \
             Above the line at 1 speculation pays. {}",
            whisker(report)
        ),
        footer: footer(report),
        x: Axis { min: 1.0, max: longest, reference: 1.0, is_log: false, tick: plain_tick },
        x_values: None,
        x_title: "tokens a verify step".to_owned(),
        y,
        y_title: "times the baseline".to_owned(),
        series,
    };
    let head = ["arm", "acceptance length", "speed-up", "pays from a length of"];
    Some((Picture::Curves(chart), table(&head, &cells)))
}

fn draft_lengths(report: &Report) -> Option<(Picture, Markup)> {
    let mut series: Vec<Series> = Vec::new();
    let (mut ratios, mut cells, mut longest) = (Vec::new(), Vec::new(), 1.0_f64);
    for (arm, comparison) in within_stack(report) {
        let (Some(draft_max), Some(ratio)) = (arm.speculation.draft_max(), comparison.ratio) else {
            continue;
        };
        let length = f64::from(draft_max.get());
        // In a sweep over concurrency, each of them is a line of its own.
        let at = arm.label.split_once('@').map_or_else(String::new, |(_, n)| format!(", {n} in flight"));
        let label = format!("{} · {}{at}", arm.stack, arm.speculation.method());
        cells.push(vec![arm.label.clone(), draft_max.to_string(), estimate(Some(ratio))]);
        ratios.push(ratio);
        longest = longest.max(length);
        let point = Point::new(length, interval(ratio));
        match series.iter_mut().find(|known| known.label == label) {
            Some(known) => known.points.push(point),
            None => series.push(Series {
                label,
                note: String::new(),
                stack: arm.stack,
                strength: 1.0,
                line: Vec::new(),
                is_theory: false,
                points: vec![point],
                crossing: None,
            }),
        }
    }
    for series in &mut series {
        series.points.sort_by(|a, b| a.x.total_cmp(&b.x));
        series.line = series.points.iter().map(|point| (point.x, point.y.point)).collect();
    }
    if series
        .iter()
        .all(|series| series.line.first().map(|first| first.0) == series.line.last().map(|last| last.0))
    {
        return None;
    }
    let mut values: Vec<f64> = series.iter().flat_map(|series| &series.line).map(|(x, _)| *x).collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    let chart = CurveChart {
        title: "Draft length".to_owned(),
        subtitle: format!("Speed-up by the most tokens drafted in a round. {}", whisker(report)),
        footer: footer(report),
        x: Axis { min: 0.0, max: longest + 0.5, reference: 0.0, is_log: false, tick: plain_tick },
        x_values: Some(values),
        x_title: "most drafted tokens".to_owned(),
        y: ratio_axis(&ratios)?,
        y_title: "times the baseline".to_owned(),
        series,
    };
    Some((Picture::Curves(chart), table(&["arm", "draft length", "speed-up"], &cells)))
}

const PARTS: [&str; 4] = ["verify", "draft", "sample", "host"];

fn round_time(report: &Report) -> (Picture, Markup) {
    let (mut rows, mut cells, mut max) = (Vec::new(), Vec::new(), 0.0_f64);
    if let Some((arm, _)) = explained(report).next() {
        rows.push(Row::Key { stack: arm.stack, names: PARTS.to_vec() });
    }
    for (stack, arms) in stacks(report) {
        rows.push(Row::Group { text: stack.to_string(), stack: Some(stack) });
        if arms.iter().all(|arm| is_silent(arm)) {
            rows.push(silent());
            continue;
        }
        for arm in arms {
            let label = variant(&arm.label).to_owned();
            let Some(explanation) = &arm.explanation else {
                rows.push(Row::Gap { label, text: untold(arm) });
                continue;
            };
            let parts = explanation.round_ms;
            max = max.max(parts.total);
            let ms = [parts.verify, parts.draft, parts.sample, parts.host];
            let parts_ms: Vec<_> = PARTS.into_iter().zip(ms).collect();
            let mut cell = vec![arm.label.clone()];
            cell.extend(ms.iter().chain([&parts.total]).map(|ms| format!("{ms:.3}")));
            cells.push(cell);
            let text = format!("{} ms", number(parts.total));
            rows.push(Row::Parts { label, stack, parts: parts_ms, text });
        }
    }
    let chart = RowChart {
        title: "Where the time of a round went".to_owned(),
        subtitle: "Mean milliseconds a round. A plain round is one pass and one token.".to_owned(),
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
    let head = ["arm", "verify, ms", "draft", "sample", "host", "a round"];
    (Picture::Rows(chart), table(&head, &cells))
}

/// Measured, but its stack does not tell.
fn is_silent(arm: &ArmReport) -> bool {
    arm.valid && arm.explanation.is_none()
}

/// One row for all arms of a stack that does not tell.
fn silent() -> Row {
    Row::Gap { label: "all".to_owned(), text: "the stack tells no times of rounds".to_owned() }
}

fn untold(arm: &ArmReport) -> String {
    if arm.valid { "the stack tells no times of rounds".to_owned() } else { absence(arm) }
}

fn ceiling(report: &Report) -> Option<(Picture, Markup)> {
    let known = explained(report).filter_map(|(_, explanation)| explanation.ceiling);
    let max = known.map(|ceiling| ceiling.share).max_by(f64::total_cmp)?.max(1.0);
    let (mut rows, mut cells) = (Vec::new(), Vec::new());
    for (stack, arms) in stacks(report) {
        rows.push(Row::Group { text: stack.to_string(), stack: Some(stack) });
        if arms.iter().all(|arm| is_silent(arm)) {
            rows.push(silent());
            continue;
        }
        for arm in arms {
            let label = variant(&arm.label).to_owned();
            let Some(ceiling) = arm.explanation.as_ref().and_then(|explanation| explanation.ceiling) else {
                rows.push(Row::Gap { label, text: untold(arm) });
                continue;
            };
            let text = percent(ceiling.share);
            cells.push(vec![
                arm.label.clone(),
                text.clone(),
                format!("{:.3}", ceiling.floor_ms),
                number(ceiling.bandwidth_bytes_per_s / 1e9),
            ]);
            let value = Interval { point: ceiling.share, ends: None };
            rows.push(Row::Bar { label, stack, strength: 1.0, hollow: !arm.valid, value, text });
        }
    }
    let chart = RowChart {
        title: "Per cent of the ceiling".to_owned(),
        subtitle:
            "Time to read the weights once at the memory bandwidth, by the mean time of a verify pass. At \
                   100 % a pass does nothing but read."
                .to_owned(),
        footer: footer(report),
        axis: Axis { min: 0.0, max, reference: 0.0, is_log: false, tick: percent },
        rows,
    };
    let head = ["arm", "of the ceiling", "least time of a pass, ms", "bandwidth, GB/s"];
    Some((Picture::Rows(chart), table(&head, &cells)))
}
