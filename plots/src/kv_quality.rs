//! What lossy KV caches cost in quality, as a table of the page; nothing where every cache keeps 16 bits or more.

use bench_core::kv_quality::{DraftCounts, KvAcceptance, KvQuality, KvQualityOutcome, nats};
use bench_core::report::Report;
use maud::{Markup, html};

/// The section, if an arm has a lossy cache.
pub(crate) fn kv_quality(report: &Report) -> Markup {
    let arms = report.arms.iter().filter_map(|arm| Some((&arm.label, arm.kv_quality.as_ref()?)));
    let arms: Vec<_> = arms.collect();
    html! { @if !arms.is_empty() {
        section id="kv-quality" {
            h2 { "What the KV cache costs in quality" }
            p { "Next-token distributions against those with an f16 cache, on the greedy answers that f16 gives to some of the \
                 prompts, and what is accepted of drafts along these answers with either cache. KL divergence and \
                 the difference of the negative log-likelihood are in nats. Measured after the requests: no time above holds it." }
            div.scroll tabindex="0" { table {
                thead { tr {
                    th { "arm" } th { "KV type" } th.n { "positions" } th.n { "KL mean" } th.n { "KL p99" }
                    th.n { "same top-1" } th.n { "Δ NLL" } th.n { "accepted / drafted" } th.n { "f16’s" }
                    th.n { "per step" } th.n { "f16’s" }
                } }
                tbody { @for (label, outcome) in arms { tr {
                    th scope="row" { (label) }
                    @match outcome {
                        KvQualityOutcome::Measured(quality) => (cells(quality)),
                        KvQualityOutcome::NotMeasured { reason } => td colspan="10" { "not measured: " (reason) },
                    }
                } } }
            } }
        }
    } }
}

fn cells(quality: &KvQuality) -> Markup {
    let at = quality.divergence;
    let dash = || "–".to_owned();
    let accepted = |of: fn(&KvAcceptance) -> DraftCounts| {
        quality
            .acceptance
            .as_ref()
            .map(of)
            .map_or_else(dash, |counts| format!("{} / {}", counts.accepted, counts.drafted))
    };
    let length = |of: fn(&KvAcceptance) -> DraftCounts| {
        let length = quality.acceptance.as_ref().and_then(|both| of(both).acceptance_length());
        length.map_or_else(dash, |length| format!("{length:.2}"))
    };
    html! {
        td { (quality.kv_type) } td.n { (at.positions) } td.n { (nats(at.kl_mean_nats)) } td.n { (nats(at.kl_p99_nats)) }
        td.n { (at.top1_agreement().map_or_else(dash, |share| format!("{:.1} %", share * 100.0))) } td.n { (format!("{:+.4}", at.nll_difference_nats())) }
        td.n { (accepted(|both| both.with)) } td.n { (accepted(|both| both.reference)) }
        td.n { (length(|both| both.with)) } td.n { (length(|both| both.reference)) }
    }
}
