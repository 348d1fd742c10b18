//! Sweeps and open loops on the page.

use bench_core::load::Spread;
use bench_core::report::Report;
use maud::{Markup, html};

use crate::words::{estimate, number};

/// What each sweep found, and arrivals with their lateness; nothing where there is neither.
pub(crate) fn load(report: &Report) -> Markup {
    let has_loads = report.arms.iter().any(|arm| arm.load.is_some());
    html! {
        @if !report.sweeps.is_empty() { section #sweeps {
            h2 { "Where it pays" }
            @for sweep in &report.sweeps {
                p { (sweep.sentence()) "." }
                div.scroll tabindex="0" { table {
                    thead { tr { th.n { (sweep.over) } th { "arm" } th.n { "ratio" } th.n { "tokens/s" } } }
                    tbody { @for point in &sweep.points { tr {
                        th.n scope="row" { (point.x) } td { (point.label) }
                        td.n { (estimate(point.ratio)) } td.n { (estimate(point.tokens_per_s)) }
                    } } }
                } }
            }
        } }
        @if has_loads { section #load {
            h2 { "Arrivals" }
            p { "Requests were sent at times of their own. A user waits from the intended time; how late a request went out \
                 is part of that wait." }
            div.scroll tabindex="0" { (arrivals(report)) }
        } }
    }
}

fn arrivals(report: &Report) -> Markup {
    let number = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), number);
    let of = |spread: Option<Spread>, of: fn(Spread) -> f64| number(spread.map(of));
    html! { table {
        thead { tr {
            th { "arm" } th { "arrivals" } th.n { "offered/s" } th.n { "completed/s" } th.n { "most in flight" }
            th.n { "late, ms: p50" } th.n { "p99" } th.n { "TTFT from intended, ms: p50" } th.n { "p99" } th.n { "longest" }
        } }
        tbody { @for (arm, load) in report.arms.iter().filter_map(|arm| Some((arm, arm.load.as_ref()?))) { tr {
            th scope="row" { (arm.label) } td { (load.arrivals) }
            td.n { (number(load.offered_per_s)) } td.n { (number(load.completed_per_s)) } td.n { (load.peak_in_flight) }
            td.n { (of(load.lateness_ms, |late| late.p50)) } td.n { (of(load.lateness_ms, |late| late.p99)) }
            td.n { (of(load.ttft_from_intended_ms, |ttft| ttft.p50)) } td.n { (of(load.ttft_from_intended_ms, |ttft| ttft.p99)) }
            td.n { (of(load.ttft_from_intended_ms, |ttft| ttft.max)) }
        } } }
    } }
}
