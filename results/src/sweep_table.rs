//! Open loops and sweeps as Markdown.

use std::fmt::Write;

use bench_core::load::{LoadReport, Spread};
use bench_core::report::{Estimate, Report};

/// What was offered, and latencies from the intended time; nothing in a closed loop.
pub(crate) fn write_loads(text: &mut String, report: &Report) -> std::fmt::Result {
    let loads: Vec<_> =
        report.arms.iter().filter_map(|arm| Some((arm.label.as_str(), arm.load.as_ref()?))).collect();
    if loads.is_empty() {
        return Ok(());
    }
    writeln!(
        text,
        "\n| arm | arrivals | offered/s | completed/s | most in flight | late ms: p50 | p99 | max | \
         TTFT from intended ms: p50 | p99 |"
    )?;
    writeln!(text, "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|")?;
    for (label, load) in loads {
        writeln!(text, "{}", load_row(label, load))?;
    }
    Ok(())
}

fn load_row(label: &str, load: &LoadReport) -> String {
    let number = |value: Option<f64>| value.map_or_else(unknown, |value| format!("{value:.2}"));
    let of = |spread: Option<Spread>, of: fn(Spread) -> f64| number(spread.map(of));
    let cells = [
        load.arrivals.clone(),
        number(load.offered_per_s),
        number(load.completed_per_s),
        load.peak_in_flight.to_string(),
        of(load.lateness_ms, |spread| spread.p50),
        of(load.lateness_ms, |spread| spread.p99),
        of(load.lateness_ms, |spread| spread.max),
        of(load.ttft_from_intended_ms, |spread| spread.p50),
        of(load.ttft_from_intended_ms, |spread| spread.p99),
    ];
    format!("| `{label}` | {} |", cells.join(" | "))
}

/// Each sweep with a sentence.
pub(crate) fn write_sweeps(text: &mut String, report: &Report) -> std::fmt::Result {
    for sweep in &report.sweeps {
        writeln!(text, "\n**{}**\n", sweep.sentence())?;
        writeln!(text, "| {} | arm | ratio | tokens/s |", sweep.over)?;
        writeln!(text, "|--:|---|--:|--:|")?;
        for point in &sweep.points {
            let cell = |estimate: Option<Estimate>, digits| {
                estimate.map_or_else(unknown, |estimate| interval(&estimate, digits))
            };
            writeln!(
                text,
                "| {} | `{}` | {} | {} |",
                point.x,
                point.label,
                cell(point.ratio, 3),
                cell(point.tokens_per_s, 1)
            )?;
        }
    }
    Ok(())
}

fn interval(estimate: &Estimate, digits: usize) -> String {
    let Estimate { point, low, high } = estimate;
    let end = |value: &Option<f64>| value.map_or_else(|| "?".to_owned(), |value| format!("{value:.digits$}"));
    match (low, high) {
        (None, None) => format!("{point:.digits$}"),
        (low, high) => format!("{point:.digits$} [{}, {}]", end(low), end(high)),
    }
}

fn unknown() -> String {
    "-".to_owned()
}
