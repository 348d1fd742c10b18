//! The first page of a site of many runs: a list with filters, and trends of what was measured more than once.
//!
//! The only script of all our pages stands here, and it only hides rows: without it every run is listed. Nothing is
//! loaded, so the site works from a disk as from a server.

use std::path::{Path, PathBuf};

use bench_core::report::Report;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::canvas::register_fonts;
use crate::charts::{Picture, interval, plain_tick};
use crate::curves::{CurveChart, Point, Series};
use crate::error::PlotError;
use crate::page::{STYLE, drawn, fonts, summary};
use crate::rows::Axis;
use crate::speed::ratio_axis;
use crate::tables::table;
use crate::words::{date, estimate, within_stack};

const SCRIPT: &str = include_str!("site.js");

/// A run of the site: its directory under `runs/`, and its report.
#[derive(Debug, Clone, Copy)]
pub struct SiteRun<'a> {
    /// The directory's name; its page is `runs/NAME/report/index.html`.
    pub name: &'a str,
    /// What was measured.
    pub report: &'a Report,
}

/// Writes `index.html` into `out`: newest run first. Returns its path.
///
/// # Errors
///
/// If a trend cannot be drawn or the file cannot be written.
pub fn write_index(runs: &[SiteRun<'_>], out: &Path) -> Result<PathBuf, PlotError> {
    std::fs::create_dir_all(out).map_err(|source| PlotError::write(out, source))?;
    register_fonts()?;
    let mut runs = runs.to_vec();
    runs.sort_by(|a, b| (b.report.started_unix_ms, b.name).cmp(&(a.report.started_unix_ms, a.name)));
    let path = out.join("index.html");
    std::fs::write(&path, index(&runs)?).map_err(|source| PlotError::write(&path, source))?;
    Ok(path)
}

fn index(runs: &[SiteRun<'_>]) -> Result<String, PlotError> {
    let trends = trends(runs)?;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                link rel="icon" href="data:,";
                title { "Speculative decoding benchmarks" }
                style { (PreEscaped(fonts())) (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#runs" { "Skip to the runs" }
                main {
                    header { p.kicker { "Speculative decoding benchmarks" }
                        h1 { (runs.len()) @if runs.len() == 1 { " run" } @else { " runs" } } }
                    (filters(runs))
                    section id="runs" tabindex="-1" {
                        p #count role="status" { (runs.len()) " of " (runs.len()) " runs" }
                        ul.runs { @for run in runs { (entry(run)) } }
                    }
                    section { h2 { "Trends over builds" }
                        @if trends.is_empty() { p { "No experiment (equal preset, models and machine) was run twice." } }
                        @for trend in &trends { (trend) } }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    Ok(page.into_string())
}

/// What the list is filtered by: attribute, label, and a run's values, which are several for stacks.
type Facet = (&'static str, &'static str, fn(&Report) -> Vec<String>);

const FACETS: [Facet; 6] = [
    ("stack", "Stack", |report| distinct(report.arms.iter().map(|arm| arm.stack.to_string()))),
    ("model", "Model", Report::models),
    ("gpu", "GPU", gpus),
    ("preset", "Preset", |report| vec![report.preset.clone()]),
    ("cpu", "CPU", |report| vec![cpu(report)]),
    ("threads", "Threads", |report| report.told("threads")),
];

pub(crate) fn gpus(report: &Report) -> Vec<String> {
    let names = report.gpus();
    if names.is_empty() { vec!["none seen".to_owned()] } else { names }
}

fn distinct(values: impl Iterator<Item = String>) -> Vec<String> {
    let mut values: Vec<_> = values.collect();
    values.sort();
    values.dedup();
    values
}

fn filters(runs: &[SiteRun<'_>]) -> Markup {
    // Without the script they would do nothing; it shows them.
    html! { form.filters hidden aria-label="Filters" {
        @for (name, label, values) in FACETS {
            label { (label) " " select name=(name) {
                option value="" { "all" }
                @for value in distinct(runs.iter().flat_map(|run| values(run.report))) { option value=(value) { (value) } }
            } }
        }
    } }
}

fn entry(run: &SiteRun<'_>) -> Markup {
    let SiteRun { name, report } = run;
    let (claim, ground) = summary(report);
    let values = |nth: usize| FACETS[nth].2(report).join("\n");
    let invalid = report.arms.iter().filter(|arm| !arm.valid && arm.skipped.is_none()).count();
    html! { li data-stack=(values(0)) data-model=(values(1)) data-gpu=(values(2)) data-preset=(values(3)) data-cpu=(values(4)) data-threads=(values(5)) {
        a href={ "runs/" (name) "/report/index.html" } { (claim) }
        p { (ground) @if invalid > 0 { " " (invalid) " of " (report.arms.len()) " arms are invalid." } }
        p { strong { (report.preset) } " · " (date(report.started_unix_ms)) " · " (machine(report)) " · " (threads(report)) " · " (models(report)) }
        p.lead { (name) " · suite " (report.suite_version) " · "
            a href={ "runs/" (name) "/rows.jsonl" } { "rows" } ", " a href={ "runs/" (name) "/manifest.json" } { "manifest" } ", "
            a href={ "runs/" (name) "/report/report.json" } { "report.json" } }
    } }
}

fn cpu(report: &Report) -> String {
    let host = &report.host;
    let cpu = host.cpu.clone().unwrap_or_else(|| "unknown CPU".to_owned());
    host.cpu_count.map_or_else(|| cpu.clone(), |count| format!("{cpu}, {count} CPUs"))
}

fn machine(report: &Report) -> String {
    let gpu = gpus(report).join(", ");
    if gpu == "none seen" { cpu(report) } else { format!("{}, {gpu}", cpu(report)) }
}

/// `1 thread`, `1 or 2 threads`, or that no arm tells.
fn threads(report: &Report) -> String {
    match report.told("threads").as_slice() {
        [] => "threads not told".to_owned(),
        [one] if one == "1" => "1 thread".to_owned(),
        several => format!("{} threads", several.join(" or ")),
    }
}

/// Names as the stacks tell them, and the beginning of the file's hash: equal names may be of other weights.
pub(crate) fn models(report: &Report) -> String {
    let names = report.models();
    let names = if names.is_empty() { "model not told".to_owned() } else { names.join(", ") };
    let hash = report.target_sha256.as_ref().and_then(|hash| hash.get(..8));
    hash.map_or_else(|| names.clone(), |hash| format!("{names} ({hash})"))
}

/// One chart for every experiment (equal hash of the preset, machine and models) with two runs or more, oldest first.
fn trends(runs: &[SiteRun<'_>]) -> Result<Vec<Markup>, PlotError> {
    let mut groups: Vec<(String, Vec<SiteRun<'_>>)> = Vec::new();
    for run in runs.iter().rev() {
        let report = run.report;
        // The preset's hash, not its name: another number of threads is another experiment.
        let key = format!("{} on {} {:?}", report.preset_sha256, machine(report), report.target_sha256);
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, runs)) => runs.push(*run),
            None => groups.push((key, vec![*run])),
        }
    }
    let repeated = groups.into_iter().filter(|(_, runs)| runs.len() > 1);
    let pictures = repeated.filter_map(|(_, runs)| trend(&runs)).enumerate();
    pictures.map(|(nth, (picture, table))| drawn(&format!("trend-{nth}"), &picture, &table)).collect()
}

/// Speed-up of every arm, run by run; `None` without a ratio.
fn trend(runs: &[SiteRun<'_>]) -> Option<(Picture, Markup)> {
    let first = runs.first()?.report;
    let (mut series, mut ratios, mut cells): (Vec<Series>, _, _) = (Vec::new(), Vec::new(), Vec::new());
    for (nth, run) in runs.iter().enumerate() {
        for (arm, comparison) in within_stack(run.report) {
            let day = date(run.report.started_unix_ms);
            cells.push(vec![
                arm.label.clone(),
                format!("{}: {day}, suite {}", nth + 1, run.report.suite_version),
                estimate(comparison.ratio),
            ]);
            let Some(ratio) = comparison.ratio else { continue };
            ratios.push(ratio);
            let point = Point::new((nth + 1) as f64, interval(ratio));
            match series.iter_mut().find(|known| known.label == arm.label) {
                Some(known) => known.points.push(point),
                None => series.push(Series {
                    label: arm.label.clone(),
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
    }
    for series in &mut series {
        series.line = series.points.iter().map(|point| (point.x, point.y.point)).collect();
    }
    let chart = CurveChart {
        title: format!("{}: speed-up over builds", first.preset),
        subtitle: "Ratio of tokens per second to the same stack's baseline, with its interval; runs in the order of their \
                   dates. A run whose arm is invalid has no point; the table says so."
            .to_owned(),
        footer: format!("{} runs · {}", runs.len(), machine(first)),
        x: Axis { min: 0.5, max: runs.len() as f64 + 0.5, reference: 0.5, is_log: false, tick: plain_tick },
        x_values: Some((1..=runs.len()).map(|nth| nth as f64).collect()),
        x_title: "run".to_owned(),
        y: ratio_axis(&ratios)?,
        y_title: "times the baseline".to_owned(),
        series,
    };
    Some((Picture::Curves(chart), table(&["arm", "run", "speed-up"], &cells)))
}
