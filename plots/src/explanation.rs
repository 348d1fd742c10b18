//! Where the time of a round went, as a short table and a sentence an arm.

use bench_core::explanation::Explanation;
use bench_core::report::Report;
use maud::{Markup, html};

use crate::words::{number, percent};

/// Nothing for reports whose stacks tell no times of rounds.
pub(crate) fn explanation(report: &Report) -> Markup {
    let explained: Vec<_> =
        report.arms.iter().filter_map(|arm| Some((&arm.label, arm.explanation.as_ref()?))).collect();
    html! { @if !explained.is_empty() {
        section id="explanation" { h2 { "Where the time went" }
            div.scroll { table {
                thead { tr { th { "arm" } th.n { "draft, ms" } th.n { "verify" } th.n { "sample" } th.n { "host" } th.n { "a round" } th.n { "of the ceiling" } th.n { "predicted" } th.n { "measured" } } }
                tbody { @for (label, explanation) in &explained { (row(label, explanation)) } }
            } }
            @for (label, explanation) in &explained { p { strong { (label) } ": " (explanation.sentence()) "." } }
        }
    } }
}

fn row(label: &str, explanation: &Explanation) -> Markup {
    let dash = || "–".to_owned();
    let ratio = |value: Option<f64>| value.map_or_else(dash, |value| format!("{}×", number(value)));
    let parts = explanation.round_ms;
    let speedup = explanation.speedup.as_ref();
    html! { tr {
        th scope="row" { (label) }
        @for ms in [parts.draft, parts.verify, parts.sample, parts.host, parts.total] { td.n { (format!("{ms:.3}")) } }
        td.n { (explanation.ceiling.map_or_else(dash, |ceiling| percent(ceiling.share))) }
        td.n { (ratio(speedup.map(|speedup| speedup.predicted))) }
        td.n { (ratio(speedup.and_then(|speedup| speedup.measured))) }
    } }
}
