//! The numbers of the charts as tables, one below each chart.

use bench_core::audit::Lossless;
use bench_core::report::{Comparison, Gaps, Report, Verdict};
use maud::{Markup, html};

use crate::words::{chance, estimate, incomparable, number, percent, percents, verdict};

pub(crate) fn throughput(report: &Report) -> Markup {
    html! {
        table {
            thead { tr { th { "arm" } th.n { "tokens/s" } th.n { "with prefill" } th.n { "requests" } th.n { "failures" } } }
            tbody { @for arm in &report.arms { tr {
                th scope="row" { (arm.label) }
                td.n { (estimate(arm.tokens_per_s)) } td.n { (estimate(arm.e2e_tokens_per_s)) }
                td.n { (arm.n_requests) } td.n { (arm.failures) }
            } } }
        }
    }
}

/// Time between chunks and between tokens; nothing for reports made before it was kept.
pub(crate) fn gaps(report: &Report) -> Markup {
    let cell = |gaps: Option<Gaps>, of: fn(Gaps) -> f64| {
        gaps.map_or_else(|| "–".to_owned(), |gaps| number(of(gaps)))
    };
    html! { @if report.arms.iter().any(|arm| arm.inter_chunk.is_some()) {
        table {
            thead { tr { th { "arm" } th.n { "between chunks, ms: p50" } th.n { "p99" } th.n { "longest" } th.n { "between tokens, ms: p50" } th.n { "p99" } } }
            tbody { @for arm in &report.arms { tr {
                th scope="row" { (arm.label) }
                td.n { (cell(arm.inter_chunk, |gaps| gaps.p50_ms)) } td.n { (cell(arm.inter_chunk, |gaps| gaps.p99_ms)) }
                td.n { (cell(arm.inter_chunk, |gaps| gaps.max_ms)) }
                td.n { (cell(arm.inter_token, |gaps| gaps.p50_ms)) } td.n { (cell(arm.inter_token, |gaps| gaps.p99_ms)) }
            } } }
        }
    } }
}

/// Thinking and answer apart; nothing where nothing was thought, or nobody tells.
pub(crate) fn thinking(report: &Report) -> Markup {
    let told = || report.arms.iter().filter_map(|arm| Some((arm, arm.thinking.as_ref()?)));
    html! { @if told().any(|(_, thinking)| thinking.has_thoughts()) {
        table {
            thead { tr { th { "arm" } th.n { "thinking tokens" } th.n { "answer tokens" } th.n { "first answer token, ms" } th.n { "no answer" } th.n { "not told" } th { "told by" } } }
            tbody { @for (arm, thinking) in told() { tr {
                th scope="row" { (arm.label) }
                td.n { (count(thinking.thinking_tokens)) } td.n { (count(thinking.answer_tokens)) }
                td.n { (estimate(thinking.first_answer_ms)) }
                td.n { (thinking.without_answer) } td.n { (thinking.unsplit_requests) }
                td { (thinking.split_by_words()) }
            } } }
        }
    } }
}

pub(crate) fn comparisons(report: &Report, comparisons: Vec<&Comparison>) -> Markup {
    html! {
        table {
            thead { tr { th { "candidate" } th { "baseline" } th.n { "ratio" } th.n { "pairs" } th { "verdict" } th { "same output" } } }
            tbody { @for comparison in comparisons { tr {
                th scope="row" { (comparison.candidate) } td { (comparison.baseline) }
                td.n { (estimate(comparison.ratio)) } td.n { (comparison.pairs) }
                td { (verdict(comparison.verdict))
                    @if comparison.verdict == Verdict::NotComparable { ": " (incomparable(report, comparison)) }
                    @else if let Some(why) = &comparison.why { ": " (why) } }
                td { (same_output(report, comparison)) }
            } } }
        }
    }
}

/// Whether outputs are the same, or that nobody may say.
fn same_output(report: &Report, comparison: &Comparison) -> &'static str {
    match comparison.same_output {
        Some(true) => "yes",
        Some(false) => "no",
        None if report.acceptance_refused(comparison).is_some() => "refused",
        None => "–",
    }
}

/// Every metric of every comparison with its tests.
pub(crate) fn tests(report: &Report) -> Markup {
    // What could not be compared stands above, with its reason; here it would be rows of dashes.
    let compared = report.comparisons.iter().filter(|comparison| comparison.has_ratio());
    let rows = compared.flat_map(|comparison| {
        let main = (comparison.metric.as_str(), comparison.ratio, comparison.verdict, comparison.test);
        let others = comparison.other_metrics.iter();
        let others = others.map(|other| {
            ((other.metric.as_str(), other.ratio, other.verdict, other.test), other.why.as_ref())
        });
        std::iter::once((main, comparison.why.as_ref())).chain(others).map(move |row| (comparison, row))
    });
    html! {
        table {
            thead { tr { th { "candidate" } th { "baseline" } th { "metric" } th.n { "ratio" } th { "verdict" } th.n { "p (Holm)" } th.n { "p (ranks)" } th.n { "noise floor" } th.n { "could find" } } }
            tbody { @for (comparison, ((metric, ratio, word, test), why)) in rows { tr {
                th scope="row" { (comparison.candidate) } td { (comparison.baseline) } td { (metric) }
                td.n { (estimate(ratio)) } td { (verdict(word)) @if let Some(why) = why { ": " (why) } }
                td.n { (chance(test.and_then(|test| test.p_holm))) }
                td.n { (chance(test.and_then(|test| test.p_ranks))) }
                td.n { (tenths(test.and_then(|test| test.noise_floor))) }
                td.n { (tenths(test.and_then(|test| test.detectable))) }
            } } }
        }
    }
}

/// A small share: `1.3 %`.
fn tenths(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), |share| format!("{:.1} %", share * 100.0))
}

/// What the audit of greedy outputs found, with the first difference.
pub(crate) fn audit(audited: &[(&Comparison, &Lossless)]) -> Markup {
    html! {
        table {
            thead { tr { th { "candidate" } th { "baseline" } th { "same output" } th { "first difference" } } }
            tbody { @for (comparison, lossless) in audited { tr {
                th scope="row" { (comparison.candidate) } td { (comparison.baseline) }
                td { (crate::words::audit(lossless)) }
                td { @if let Some(first) = &lossless.first {
                    (first.prompt_id) @if let Some(token) = first.divergence.token { ", token " (token) }
                    @if let Some(margin) = first.divergence.margin { ", logits " (format!("{margin:.3}")) " apart" }
                    ": " code { "…" (first.divergence.before) } " then "
                    code { (first.divergence.baseline) } " or " code { (first.divergence.candidate) }
                } }
            } } }
        }
    }
}

pub(crate) fn acceptance(report: &Report) -> Markup {
    html! {
        table {
            thead { tr { th { "arm" } th.n { "position" } th.n { "accepted" } th.n { "drafted" } th.n { "conditional" } th.n { "verify steps" } th.n { "marginal" } } }
            tbody { @for arm in report.arms.iter().filter(|arm| arm.speculation.draft_max().is_some()) {
                @match &arm.accepted_per_position {
                    None => tr { th scope="row" { (arm.label) } td colspan="6" { "not reported" } },
                    Some(accepted) => @for (nth, accepted) in accepted.iter().enumerate() {
                        @let drafted = arm.drafted_per_position.as_ref().and_then(|drafted| drafted.get(nth).copied());
                        tr {
                            th scope="row" { (arm.label) } td.n { (nth + 1) } td.n { (accepted) } td.n { (count(drafted)) }
                            td.n { (share(*accepted, drafted)) }
                            td.n { (count(arm.verify_steps)) } td.n { (share(*accepted, arm.verify_steps)) }
                        }
                    },
                }
            } }
        }
    }
}

/// What was accepted in each category. Plain arms draft nothing and are not in it.
pub(crate) fn categories(report: &Report) -> Markup {
    html! {
        table {
            thead { tr { th { "arm" } th { "category" } th.n { "prompts" } th.n { "accepted / drafted" } th.n { "accepted" } th.n { "per verify step" } } }
            tbody { @for arm in report.arms.iter().filter(|arm| arm.speculation.draft_max().is_some()) {
                @for category in &arm.categories { tr {
                    th scope="row" { (arm.label) } td { (category.category) } td.n { (category.prompts) }
                    td.n { @match category.accepted.zip(category.drafted) {
                        Some((accepted, drafted)) => (format!("{accepted} / {drafted}")),
                        None => "–",
                    } }
                    td.n { (percents(category.acceptance_rate)) } td.n { (estimate(category.acceptance_length)) }
                } }
            } }
        }
    }
}

/// How fast each category was; nothing for reports without categories.
pub(crate) fn category_speed(report: &Report) -> Markup {
    html! { @if report.arms.iter().any(|arm| !arm.categories.is_empty()) {
        table {
            thead { tr { th { "arm" } th { "category" } th.n { "prompts" } th.n { "tokens/s" } th.n { "ratio" } } }
            tbody { @for arm in &report.arms { @for category in &arm.categories { tr {
                th scope="row" { (arm.label) } td { (category.category) } td.n { (category.prompts) }
                td.n { (estimate(category.tokens_per_s)) } td.n { (estimate(category.ratio)) }
            } } } }
        }
    } }
}

/// Draft position by draft position. Arms whose stack does not count by position are not in it.
pub(crate) fn category_positions(report: &Report) -> Markup {
    html! {
        table {
            thead { tr { th { "arm" } th { "category" } th.n { "position" } th.n { "accepted" } th.n { "drafted" } th.n { "conditional" } th.n { "of steps that drafted" } } }
            tbody { @for arm in &report.arms { @for category in &arm.categories {
                @for (nth, position) in category.positions.iter().flatten().enumerate() { tr {
                    th scope="row" { (arm.label) } td { (category.category) } td.n { (nth + 1) }
                    td.n { (position.accepted) } td.n { (count(position.drafted)) }
                    td.n { (percents(position.conditional)) } td.n { (percents(position.marginal)) }
                } }
            } } }
        }
    }
}

/// A share in per cent; unknown or of nothing is a dash.
fn share(part: u64, whole: Option<u64>) -> String {
    match whole {
        Some(whole) if whole > 0 => percent(part as f64 / whole as f64),
        _ => "–".to_owned(),
    }
}

/// A number; a dash where it is unknown.
pub(crate) fn count(value: Option<u64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| value.to_string())
}

/// A table of words: the first cell of a row names it, the others are set as numbers.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> Markup {
    html! {
        table {
            thead { tr { @for (nth, name) in head.iter().enumerate() { th.n[nth > 0] { (name) } } } }
            tbody { @for row in rows { tr {
                @for (nth, cell) in row.iter().enumerate() {
                    @if nth == 0 { th scope="row" { (cell) } } @else { td.n { (cell) } }
                }
            } } }
        }
    }
}
