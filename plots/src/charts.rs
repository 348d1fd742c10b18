//! What each chart shows: throughput, speed-up, acceptance by draft position and by category of prompt.

use bench_core::preset::StackKind;
use bench_core::report::{ArmReport, Estimate, Report};
use maud::{Markup, html};

use crate::curves::{self, CurveChart};
use crate::error::PlotError;
use crate::marks::Drawing;
use crate::rows::{self, Axis, Interval, Row, RowChart};
use crate::theme::Theme;
use crate::words::{absence, date, incomparable, number, percent, variant, verdict, within_stack};
use crate::{concurrency, latency, machine, speed, tables};

/// A chart with the name of its files and its numbers.
#[derive(Debug, Clone)]
pub(crate) struct Chart {
    pub(crate) name: &'static str,
    pub(crate) picture: Picture,
    pub(crate) table: Markup,
}

/// What is drawn.
#[derive(Debug, Clone)]
pub(crate) enum Picture {
    Rows(RowChart),
    Curves(CurveChart),
}

impl Picture {
    /// The picture as SVG, and what can be pointed at on it.
    pub(crate) fn draw(&self, width: f64, theme: Theme) -> Result<Drawing, PlotError> {
        match self {
            Self::Rows(chart) => rows::draw(chart, width, theme),
            Self::Curves(chart) => curves::draw(chart, width, theme),
        }
    }

    pub(crate) fn title(&self) -> &str {
        match self {
            Self::Rows(chart) => &chart.title,
            Self::Curves(chart) => &chart.title,
        }
    }
}

/// The charts of a report in page order, and for those that it has no numbers for one line that says why.
#[derive(Debug, Default)]
pub(crate) struct Charts {
    pub(crate) drawn: Vec<Chart>,
    pub(crate) missing: Vec<&'static str>,
}

impl Charts {
    pub(crate) fn add(&mut self, name: &'static str, picture: Picture, table: Markup) {
        self.drawn.push(Chart { name, picture, table });
    }

    /// Adds the chart, or why it is not there.
    pub(crate) fn offer(&mut self, name: &'static str, made: Option<(Picture, Markup)>, why: &'static str) {
        match made {
            Some((picture, table)) => self.add(name, picture, table),
            None => self.missing.push(why),
        }
    }
}

/// All charts of a report.
pub(crate) fn charts(report: &Report) -> Charts {
    let mut charts = Charts::default();
    let table = html! { (tables::throughput(report)) (tables::gaps(report)) (tables::thinking(report)) (tables::category_speed(report)) };
    charts.add("throughput", Picture::Rows(throughput(report)), table);
    let within: Vec<_> = within_stack(report).map(|(_, comparison)| comparison).collect();
    let compared =
        (!within.is_empty()).then(|| (Picture::Rows(speedup(report)), tables::comparisons(report, within)));
    charts.offer("speedup", compared, "Speed-up: one way of decoding was measured.");
    charts.offer(
        "speedup-by-category",
        speed::by_category(report),
        "Speed-up by category: no valid arm has a ratio to its baseline by category.",
    );
    let speculates = speculating(report).next().is_some();
    let made = speculates.then(|| (Picture::Rows(acceptance(report)), tables::acceptance(report)));
    charts.offer("acceptance", made, no_acceptance(report));
    let made = speculating(report).any(|arm| !arm.categories.is_empty()).then(|| {
        let table = html! { (tables::categories(report)) (tables::category_positions(report)) };
        (Picture::Rows(by_category(report)), table)
    });
    charts.offer("acceptance-by-category", made, "Acceptance by category: no arm has counts by category.");
    concurrency::add(report, &mut charts);
    speed::add(report, &mut charts);
    latency::add(report, &mut charts);
    machine::add(report, &mut charts);
    charts
}

fn throughput(report: &Report) -> RowChart {
    let mut rows = Vec::new();
    for (stack, arms) in stacks(report) {
        rows.push(Row::Group { text: stack.to_string(), stack: Some(stack) });
        let count = arms.len().max(1) as f64;
        for (nth, arm) in arms.iter().enumerate() {
            let label = variant(&arm.label).to_owned();
            let Some(value) = arm.tokens_per_s else {
                rows.push(Row::Gap { label, text: absence(arm) });
                continue;
            };
            let text = number(value.point) + if arm.valid { "" } else { " invalid" };
            let strength = 0.55 + 0.45 * (nth + 1) as f64 / count;
            rows.push(Row::Bar { label, stack, strength, hollow: !arm.valid, value: interval(value), text });
        }
    }
    let highest = report.arms.iter().filter_map(|arm| arm.tokens_per_s).map(|e| e.high.unwrap_or(e.point));
    let max = highest.fold(0.0, f64::max);
    RowChart {
        title: "Decode throughput".to_owned(),
        subtitle: format!("Tokens per second of one stream, preset {}. {}", report.preset, whisker(report)),
        footer: footer(report),
        axis: Axis {
            min: 0.0,
            max: if max > 0.0 { max } else { 1.0 },
            reference: 0.0,
            is_log: false,
            tick: plain_tick,
        },
        rows,
    }
}

fn speedup(report: &Report) -> RowChart {
    let mut rows = Vec::new();
    let (mut min, mut max) = (1.0_f64, 1.0_f64);
    for (stack, _) in stacks(report) {
        let of_stack: Vec<_> = within_stack(report).filter(|(arm, _)| arm.stack == stack).collect();
        let Some((_, first)) = of_stack.first() else { continue };
        let baseline = variant(&first.baseline);
        let baseline = baseline.split_once('@').map_or_else(
            || baseline.to_owned(),
            |(variant, _)| format!("{variant} at as many requests in flight"),
        );
        rows.push(Row::Group { text: format!("{stack}, against {baseline}"), stack: Some(stack) });
        for (arm, comparison) in of_stack {
            let label = variant(&arm.label).to_owned();
            let word = verdict(comparison.verdict);
            let Some(ratio) = comparison.ratio else {
                let text = format!("{word}: {}", incomparable(report, comparison));
                rows.push(Row::Gap { label, text });
                continue;
            };
            min = min.min(ratio.low.unwrap_or(ratio.point));
            max = max.max(ratio.high.unwrap_or(ratio.point));
            let text = format!("{:.2}× {word}", ratio.point);
            rows.push(Row::Point { label, stack, value: interval(ratio), text });
        }
    }
    let pad = ((max - min) * 0.08).max(0.02);
    RowChart {
        title: "Speed-up by speculation".to_owned(),
        subtitle: format!(
            "Ratio of tokens per second to the same stack's baseline, paired by block and prompt; 1 is no change. {}",
            whisker(report)
        ),
        footer: footer(report),
        axis: Axis { min: min - pad, max: max + pad, reference: 1.0, is_log: false, tick: ratio_tick },
        rows,
    }
}

fn acceptance(report: &Report) -> RowChart {
    let mut rows = Vec::new();
    for arm in speculating(report) {
        let total = arm.acceptance_rate.map(|rate| format!(", {} of all drafts", percent(rate.point)));
        rows.push(Row::Group {
            text: arm.label.clone() + &total.unwrap_or_default(),
            stack: Some(arm.stack),
        });
        match (&arm.accepted_per_position, &arm.drafted_per_position) {
            (Some(accepted), drafted) => rows.extend(positions(arm, accepted, drafted.as_deref())),
            _ if arm.n_requests > 0 && arm.failures == 0 => {
                rows.push(Row::Gap {
                    label: String::new(),
                    text: "counts by position are not reported".to_owned(),
                });
            }
            _ => rows.push(Row::Gap { label: String::new(), text: absence(arm) }),
        }
    }
    RowChart {
        title: "Acceptance by draft position".to_owned(),
        subtitle: "Strong bar: accepted, of the rounds that drafted at this position (conditional). Pale bar: of all \
                   verify steps (marginal). – is not reported."
            .to_owned(),
        footer: footer(report),
        axis: Axis { min: 0.0, max: 1.0, reference: 0.0, is_log: false, tick: percent },
        rows,
    }
}

/// Rows of a category stand together: how much the kind of text matters is seen between groups, how much the way of
/// speculating does, inside one.
fn by_category(report: &Report) -> RowChart {
    let mut rows = Vec::new();
    let several_stacks = stacks(report).len() > 1;
    // The variant first: a phone cuts labels at their end.
    let label = |arm: &ArmReport| {
        let variant = variant(&arm.label);
        if several_stacks { format!("{variant} · {}", arm.stack) } else { variant.to_owned() }
    };
    for (name, prompts) in category_names(report) {
        let plural = if prompts == 1 { "" } else { "s" };
        rows.push(Row::Group { text: format!("{name}, {prompts} prompt{plural}"), stack: None });
        for arm in speculating(report).filter(|arm| !arm.categories.is_empty()) {
            let category = arm.categories.iter().find(|category| category.category == name);
            let rate = category.and_then(|category| category.acceptance_rate);
            rows.push(match rate {
                Some(rate) => {
                    let value = interval(rate);
                    let text = percent(rate.point) + if arm.valid { "" } else { " invalid" };
                    Row::Point { label: label(arm), stack: arm.stack, value, text }
                }
                None => Row::Gap { label: label(arm), text: "not known".to_owned() },
            });
        }
    }
    let without: Vec<_> = speculating(report).filter(|arm| arm.categories.is_empty()).collect();
    if !without.is_empty() {
        rows.push(Row::Group { text: "without counts".to_owned(), stack: None });
        rows.extend(without.into_iter().map(|arm| Row::Gap { label: label(arm), text: absence(arm) }));
    }
    RowChart {
        title: "Acceptance by category of prompt".to_owned(),
        subtitle: format!(
            "Accepted of all drafted tokens. Whisker: {} bootstrap interval over prompts; none with fewer than five.",
            percent(report.confidence)
        ),
        footer: footer(report),
        axis: Axis { min: 0.0, max: 1.0, reference: 0.0, is_log: false, tick: percent },
        rows,
    }
}

/// Names of all categories with the prompts of each, in report order.
fn category_names(report: &Report) -> Vec<(&str, u64)> {
    let mut names: Vec<(&str, u64)> = Vec::new();
    for category in speculating(report).flat_map(|arm| &arm.categories) {
        match names.iter_mut().find(|(name, _)| *name == category.category) {
            Some((_, prompts)) => *prompts = (*prompts).max(category.prompts),
            None => names.push((&category.category, category.prompts)),
        }
    }
    names
}

/// Arms that were asked to speculate.
pub(crate) fn speculating(report: &Report) -> impl Iterator<Item = &ArmReport> {
    let claims =
        |arm: &&ArmReport| arm.speculation.draft_max().is_some() && arm.acceptance_refused().is_none();
    report.arms.iter().filter(claims)
}

/// Why a chart of acceptance has nothing to show.
fn no_acceptance(report: &Report) -> &'static str {
    if report.arms.iter().any(|arm| arm.acceptance_refused().is_some()) {
        "Acceptance: refused, since prompts are synthetic tokens."
    } else {
        "Acceptance: no arm speculates."
    }
}

/// llama.cpp's server counts what was accepted at a position, but not what was drafted there.
fn positions(arm: &ArmReport, accepted: &[u64], drafted: Option<&[u64]>) -> Vec<Row> {
    let share = |part: u64, whole: Option<u64>| {
        whole.filter(|&whole| whole > 0).map(|whole| part as f64 / whole as f64)
    };
    let count = drafted.map_or(accepted.len(), <[u64]>::len);
    let row = |nth: usize| {
        let accepted = accepted.get(nth).copied().unwrap_or_default();
        let label = (nth + 1).to_string();
        let first = share(accepted, drafted.and_then(|drafted| drafted.get(nth).copied()));
        let second = share(accepted, arm.verify_steps);
        if first.is_none() && (second.is_none() || drafted.is_some()) {
            return Row::Gap { label, text: "never drafted".to_owned() };
        }
        let words = |share: Option<f64>| share.map_or_else(|| "–".to_owned(), percent);
        Row::Twin {
            label,
            stack: arm.stack,
            first,
            second,
            text: format!("{} / {}", words(first), words(second)),
        }
    };
    (0..count).map(row).collect()
}

/// Stacks in report order, with their arms.
pub(crate) fn stacks(report: &Report) -> Vec<(StackKind, Vec<&ArmReport>)> {
    let mut stacks: Vec<(StackKind, Vec<&ArmReport>)> = Vec::new();
    for arm in &report.arms {
        match stacks.iter_mut().find(|(stack, _)| *stack == arm.stack) {
            Some((_, arms)) => arms.push(arm),
            None => stacks.push((arm.stack, vec![arm])),
        }
    }
    stacks
}

pub(crate) fn interval(value: Estimate) -> Interval {
    Interval { point: value.point, ends: value.low.zip(value.high) }
}

pub(crate) fn whisker(report: &Report) -> String {
    let drawn = report.arms.iter().filter_map(|arm| arm.tokens_per_s).any(|value| value.low.is_some());
    if drawn {
        format!("Whisker: {} bootstrap interval over blocks.", percent(report.confidence))
    } else {
        "Too few blocks for an interval.".to_owned()
    }
}

/// Stacks that give one model several names are not a caption's matter.
fn models(report: &Report) -> String {
    match report.models().as_slice() {
        [one] => format!(" · {one}"),
        _ => String::new(),
    }
}

pub(crate) fn footer(report: &Report) -> String {
    let requests: u64 = report.arms.iter().map(|arm| arm.n_requests).sum();
    format!(
        "preset {}{} · n = {requests} requests, {} blocks · {} · {} · suite {}",
        report.preset,
        models(report),
        report.blocks,
        report.hardware(),
        date(report.started_unix_ms),
        report.suite_version,
    )
}

/// Ticks are round, and some are small: 0.005 beside 0.01.
pub(crate) fn plain_tick(value: f64) -> String {
    if (value - value.round()).abs() < 1e-6 {
        return format!("{value:.0}");
    }
    format!("{value:.4}").trim_end_matches('0').to_owned()
}

pub(crate) fn ratio_tick(value: f64) -> String {
    let text = format!("{value:.2}");
    format!("{}×", text.trim_end_matches('0').trim_end_matches('.'))
}
