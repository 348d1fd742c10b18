//! The page: one HTML file, fonts and pictures inside, no script, nothing loaded.
//!
//! Order: the verdict in words, what spoils it, the charts with their tables, then everything needed to check them.

use bench_core::preset::StackKind;
use bench_core::report::{ArmReport, Comparison, Report, Verdict};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use plotters::style::RGBColor;

use crate::canvas::{REGULAR, SEMIBOLD};
use crate::charts::{Chart, Charts, Picture};
use crate::effective::configuration;
use crate::error::PlotError;
use crate::explanation::explanation;
use crate::kv_quality::kv_quality;
use crate::load::load;
use crate::marks::layer;
use crate::rows::{NARROW, WIDE};
use crate::site::{gpus, models};
use crate::tables;
use crate::theme::{Theme, stack_colour};
use crate::truth::{surroundings, truth};
use crate::words::{date, estimate, incomparable, number, percent, verdict, within_stack};

pub(crate) const STYLE: &str = include_str!("page.css");

/// The page of a report.
pub(crate) fn page(report: &Report, charts: &Charts) -> Result<String, PlotError> {
    let mut figures = Vec::new();
    for chart in &charts.drawn {
        figures.push(figure(chart)?);
    }
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                link rel="icon" href="data:,";
                title { (report.preset) " · speculative decoding benchmark" }
                style { (PreEscaped(fonts())) (PreEscaped(STYLE)) (PreEscaped(swatches())) }
            }
            body {
                a.skip href="#verdict" { "Skip to the verdict" }
                main id="verdict" tabindex="-1" {
                    (headline(report))
                    (warnings(report))
                    @for figure in &figures { (figure) }
                    (missing(charts))
                    (explanation(report))
                    (load(report))
                    (arms(report))
                    (kv_quality(report))
                    (across(report))
                    (truth(report))
                    (ground(report))
                    (configuration(report))
                    (environment(report))
                    (method(report))
                    footer {
                        p { a href="../rows.jsonl" { "rows.jsonl" } ", "
                            @if !report.environment.is_empty() { a href="../environment.jsonl" { "environment.jsonl" } ", " } a href="../manifest.json" { "manifest.json" }
                            " hold every request, reading and setting this page is made from. "
                            a href="report.json" { "report.json" } ", " a href="report.md" { "report.md" } " and "
                            a href="requests.parquet" { "requests.parquet" } " hold the same numbers for machines." }
                    }
                }
            }
        }
    };
    Ok(page.into_string())
}

/// The stacks' colours, from the table the charts draw with.
fn swatches() -> String {
    let rule = |stack: StackKind| {
        let RGBColor(red, green, blue) = stack_colour(stack);
        format!(".swatch.{stack}{{background:#{red:02x}{green:02x}{blue:02x}}}")
    };
    StackKind::ALL.map(rule).concat()
}

fn headline(report: &Report) -> Markup {
    let lines: Vec<_> = within_stack(report).collect();
    let (claim, ground) = summary(report);
    html! {
        header {
            p.kicker { "Speculative decoding benchmark · " (report.preset) }
            h1 { (claim) }
            @if !ground.is_empty() { p.ground { (ground) } }
            p.lead { (report.preset_description) }
        }
        @if !lines.is_empty() {
            ul.verdicts {
                @for (arm, comparison) in lines {
                    li {
                        span.swatch.(arm.stack.as_str()) {}
                        span.ratio { @if let Some(ratio) = comparison.ratio { (format!("{:.2}×", ratio.point)) } @else { "–" } }
                        span.say { strong { (arm.label) } " " (sentence(report, comparison)) }
                    }
                }
            }
        }
    }
}

/// The most that may be said: the best resolved speed-up, or that there is none. A claim, and its ground.
pub(crate) fn summary(report: &Report) -> (String, String) {
    let ratios =
        within_stack(report).filter_map(|(arm, comparison)| Some((arm, comparison, comparison.ratio?)));
    let best = ratios
        .filter(|(_, comparison, _)| comparison.verdict == Verdict::Faster)
        .max_by(|a, b| a.2.point.total_cmp(&b.2.point));
    if let Some((arm, comparison, ratio)) = best {
        let claim = format!("{} decodes {:.2}× as fast as {}", arm.label, ratio.point, comparison.baseline);
        let range = ratio.low.zip(ratio.high).map(|(low, high)| format!("{low:.2}× to {high:.2}×"));
        let ground = format!(
            "{} interval {}, {} pairs of equal prompts.",
            percent(report.confidence),
            range.unwrap_or_default(),
            comparison.pairs
        );
        return (claim, ground);
    }
    let count = |wanted: Verdict| within_stack(report).filter(|(_, c)| c.verdict == wanted).count();
    let (all, slower) = (within_stack(report).count(), count(Verdict::Slower));
    let (same, open) = (count(Verdict::Equivalent), count(Verdict::NotResolved));
    let claim = match (all, slower, open) {
        (0, _, _) => "One way of decoding was measured; there is nothing to compare",
        (_, 0, 0) if same > 0 => "Speculation makes no difference that matters",
        (_, 0, 0) => "No speed-up can be stated: nothing was comparable",
        (_, _, 0) if same == 0 => "Speculation made decoding slower",
        (_, 0, _) if same == 0 => "No difference is resolved by these measurements",
        (_, _, _) => "No way of speculating is resolved to be faster",
    };
    let parts = [
        (slower, "slower"),
        (same, "equivalent"),
        (open, "not resolved"),
        (all - slower - same - open, "not comparable"),
    ];
    let parts: Vec<String> =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    let ground = format!("Of {all} comparisons: {}.", parts.join(", "));
    (claim.to_owned(), if all == 0 { String::new() } else { ground })
}

fn sentence(report: &Report, comparison: &Comparison) -> String {
    let word = verdict(comparison.verdict);
    let interval = comparison.ratio.and_then(|ratio| Some((ratio.low?, ratio.high?)));
    let range = interval.map(|(low, high)| {
        format!("{} interval {low:.2} to {high:.2}, {} pairs", percent(report.confidence), comparison.pairs)
    });
    let output = match comparison.same_output {
        Some(true) => "; same output",
        Some(false) => "; output differs",
        None => "",
    };
    match comparison.verdict {
        Verdict::Faster | Verdict::Slower => {
            format!("{word} than {}: {}{output}", comparison.baseline, range.unwrap_or_default())
        }
        Verdict::Equivalent => {
            format!("{word} to {}: {}{output}", comparison.baseline, range.unwrap_or_default())
        }
        Verdict::NotResolved => {
            let why = comparison.why.as_ref().map_or_else(String::new, |why| format!(", {why}"));
            format!("{word} against {}{why}: {}{output}", comparison.baseline, range.unwrap_or_default())
        }
        Verdict::NotComparable => {
            format!("{word} with {}: {}", comparison.baseline, incomparable(report, comparison))
        }
    }
}

fn warnings(report: &Report) -> Markup {
    let skipped: Vec<_> = report.arms.iter().filter_map(|arm| Some((arm, arm.skipped.as_ref()?))).collect();
    let invalid: Vec<_> = report.arms.iter().filter(|arm| !arm.valid && arm.skipped.is_none()).collect();
    if skipped.is_empty() && invalid.is_empty() && report.notes.is_empty() && !report.interrupted {
        return html! { p.clean { "All arms ran, no request failed, no result had to be set aside." } };
    }
    html! {
        section.warnings {
            h2 { "Set aside" }
            ul {
                @if report.interrupted { li { "The run did not reach its end." } }
                @for note in &report.notes { li { (note) } }
                @for arm in invalid {
                    li { strong { (arm.label) } " is invalid"
                        ul {
                            @for why in &arm.invalid_reasons { li { (why) } }
                            @for kind in &arm.failure_kinds { li { (kind.count) " × " (kind.kind) ": " code { (kind.first_message) } } }
                        }
                    }
                }
                @for (arm, why) in skipped { li { strong { (arm.label) } " was skipped: " (why) } }
            }
        }
    }
}

fn figure(chart: &Chart) -> Result<Markup, PlotError> {
    let drawn = drawn(chart.name, &chart.picture, &chart.table)?;
    Ok(
        html! { div.chart id=(chart.name) { (drawn) p.raw { a href="../rows.jsonl" { "Raw rows" } " of this chart" } } },
    )
}

/// A picture for either width and scheme, with its numbers below. `name` is its own on the page.
pub(crate) fn drawn(name: &str, picture: &Picture, table: &Markup) -> Result<Markup, PlotError> {
    let mut views = Vec::new();
    for (view, width) in [("wide", WIDE), ("narrow", NARROW)] {
        let (light, dark) = (picture.draw(width, Theme::LIGHT)?, picture.draw(width, Theme::DARK)?);
        views.push(html! { div.view.(view) {
            div.light { (PreEscaped(&light.svg)) }
            div.dark { (PreEscaped(&dark.svg)) }
            (layer(&light, &format!("{name}-{view}"), picture.title()))
        } });
    }
    Ok(html! {
        figure {
            @for view in &views { (view) }
            details { summary { "Numbers of this chart" } div.scroll tabindex="0" { (table) } }
        }
    })
}

/// A chart that is not there says why, so that nobody takes it for forgotten.
fn missing(charts: &Charts) -> Markup {
    html! { @if !charts.missing.is_empty() {
        section id="not-drawn" { h2 { "Charts without numbers" }
            ul { @for why in &charts.missing { li { (why) } } } }
    } }
}

fn arms(report: &Report) -> Markup {
    html! {
        section {
            h2 { "Every arm" }
            div.scroll tabindex="0" { table {
                thead { tr { th { "arm" } th.n { "TTFT ms" } th.n { "TPOT ms" } th.n { "output tokens" } th.n { "accepted / drafted" } th.n { "per verify step" } } }
                tbody { @for arm in &report.arms { tr {
                    th scope="row" { (arm.label) @if let Some(state) = state(arm) { " " span.tag { (state) } } }
                    td.n { (estimate(arm.ttft_ms)) } td.n { (estimate(arm.tpot_ms)) } td.n { (tables::count(arm.output_tokens)) }
                    td.n { (accepted(arm)) }
                    td.n { (estimate(arm.acceptance_length)) }
                } } }
            } }
        }
    }
}

fn across(report: &Report) -> Markup {
    let within: Vec<_> = within_stack(report).map(|(_, comparison)| comparison).collect();
    let across: Vec<_> =
        report.comparisons.iter().filter(|comparison| !within.contains(comparison)).collect();
    html! { @if !across.is_empty() {
        section { h2 { "Across stacks" } p { "The same variant on another stack, against the first stack." }
            div.scroll tabindex="0" { (tables::comparisons(report, across)) } }
    } }
}

/// What the verdicts rest on: every metric's test, and the audit of outputs.
fn ground(report: &Report) -> Markup {
    let audited: Vec<_> = report
        .comparisons
        .iter()
        .filter_map(|comparison| Some((comparison, comparison.lossless.as_ref()?)))
        .collect();
    html! {
        @if report.comparisons.iter().any(|comparison| comparison.test.is_some()) {
            section { h2 { "What the verdicts rest on" }
                @for note in &report.method_notes { p { (note) "." } }
                div.scroll tabindex="0" { (tables::tests(report)) } }
        }
        @if !audited.is_empty() {
            section { h2 { "Is it lossless?" }
                p { "Greedy outputs token by token. Where they part, the distance of the two best logits tells a near tie                      from a defect." }
                div.scroll tabindex="0" { (tables::audit(&audited)) } }
        }
    }
}

fn environment(report: &Report) -> Markup {
    let host = &report.host;
    let unknown = || "unknown".to_owned();
    let memory = host.memory_bytes.map(|bytes| format!("{:.1} GiB", bytes as f64 / f64::from(1_u32 << 30)));
    let facts = [
        ("models", models(report)),
        ("GPUs", gpus(report).join(", ")),
        ("CPU", host.cpu.clone().unwrap_or_else(unknown)),
        ("logical CPUs", host.cpu_count.map_or_else(unknown, |count| count.to_string())),
        ("instruction sets", host.cpu_features.join(" ")),
        ("memory", memory.unwrap_or_else(unknown)),
        ("system", host.os.clone().unwrap_or_else(unknown)),
        ("kernel", host.kernel.clone().unwrap_or_else(unknown)),
        ("load before", host.load_before.map_or_else(unknown, number)),
        ("started", date(report.started_unix_ms)),
        ("suite", report.suite_version.clone()),
        ("preset SHA-256", report.preset_sha256.clone()),
        ("prompts", report.prompt_set.as_ref().map_or_else(unknown, ToString::to_string)),
        ("target SHA-256", report.target_sha256.clone().unwrap_or_else(unknown)),
        ("assistant SHA-256", report.assistant_sha256.clone().unwrap_or_else(unknown)),
        ("runs", report.run_ids.join(", ")),
    ];
    html! { section {
        h2 { "Environment" }
        dl { @for (name, value) in facts { dt { (name) } dd { (value) } } }
        (surroundings(report))
    } }
}

fn method(report: &Report) -> Markup {
    let interval = percent(report.confidence);
    html! {
        section {
            h2 { "How each number is made" }
            dl {
                dt { "tokens/s" } dd { "tokens after the first chunk, summed over requests, by the time from first to last chunk, summed" }
                dt { "with prefill" } dd { "output tokens by the time from send to last chunk, both summed" }
                dt { "TTFT, TPOT" } dd { "medians over requests: send to first chunk; decode time by token after the first chunk" }
                dt { "ratio" } dd { "tokens/s of the candidate by that of the baseline, over the same blocks and prompts" }
                dt { "interval" } dd { (interval) " bootstrap: blocks are drawn first, then requests inside a block, the same for both arms of a ratio; fewer than five blocks give none; of acceptance: prompts are drawn, since greedy decoding repeats its counts in every block" }
                dt { "verdict" } dd { "faster or slower if the interval lies on one side of 1, not resolved if it holds 1" }
                dt { "accepted" } dd { "accepted tokens by drafted tokens" }
                dt { "per verify step" } dd { "1 + accepted tokens by verify steps: the bonus or correction token counts" }
                dt { "left out" } dd { "warm-up requests; a request that failed counts as a failure and makes its arm invalid" }
            }
        }
    }
}

/// `5580 / 9000, 62 %`.
fn accepted(arm: &ArmReport) -> String {
    match (arm.accepted, arm.drafted, arm.acceptance_rate) {
        (Some(accepted), Some(drafted), Some(rate)) => {
            format!("{accepted} / {drafted}, {}", percent(rate.point))
        }
        (Some(accepted), Some(drafted), None) => format!("{accepted} / {drafted}"),
        _ if arm.acceptance_refused().is_some() => "refused".to_owned(),
        _ => "–".to_owned(),
    }
}

fn state(arm: &ArmReport) -> Option<&'static str> {
    if arm.skipped.is_some() { Some("skipped") } else { (!arm.valid).then_some("invalid") }
}

/// The embedded fonts as CSS, so that the page looks the same everywhere and the charts' widths are right.
pub(crate) fn fonts() -> String {
    let face = |weight: u32, bytes: &[u8]| {
        format!(
            "@font-face{{font-family:Inter;font-weight:{weight};src:url(data:font/otf;base64,{}) format('opentype')}}",
            base64(bytes)
        )
    };
    face(400, REGULAR) + &face(600, SEMIBOLD)
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group.iter().fold(0_usize, |word, byte| word << 8 | usize::from(*byte))
            << (8 * (3 - group.len()));
        for place in 0..4 {
            let letter = char::from(LETTERS[word >> (18 - 6 * place) & 63]);
            text.push(if place > group.len() { '=' } else { letter });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        let pairs = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
        assert!(pairs.iter().all(|(text, coded)| base64(text.as_bytes()) == *coded));
    }
}
