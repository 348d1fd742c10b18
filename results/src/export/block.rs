//! The block of fixed width that people paste into issues, in the order and wording of `vllm bench serve`, with the lines
//! that it lacks: the interval, and why an arm does not count.

use bench_core::report::{ArmReport, Estimate, Report};
use bench_core::stats::percentile;

use super::Serving;
use crate::load::Loaded;

/// Width of a line.
const WIDTH: usize = 50;

pub(super) fn blocks(loaded: &Loaded, report: &Report) -> String {
    let blocks: Vec<_> = report.arms.iter().map(|arm| block(loaded, report, arm)).collect();
    blocks.join("\n")
}

fn block(loaded: &Loaded, report: &Report, arm: &ArmReport) -> String {
    let mut lines = Vec::new();
    let mut line = |line: &str| lines.push(line.to_owned());
    line(&centered("Serving Benchmark Result", '='));
    line(&format!("{:<16} {}", "Arm:", arm.label));
    line(&format!("{:<16} {} ({})", "Preset:", report.preset, &short(&report.preset_sha256)));
    if let Some(set) = &report.prompt_set {
        line(&format!("{:<16} {set}", "Prompts:"));
    }
    line(&format!("{:<16} {}", "Machine:", report.hardware()));
    if let Some(why) = &arm.skipped {
        line(&format!("{:<16} {why}", "Skipped:"));
    } else {
        for why in &arm.invalid_reasons {
            line(&format!("{:<16} {why}", "INVALID:"));
        }
        figures(loaded, arm, &mut line);
    }
    line(&"=".repeat(WIDTH));
    lines.join("\n") + "\n"
}

fn figures(loaded: &Loaded, arm: &ArmReport, line: &mut impl FnMut(&str)) {
    let serving = Serving::new(loaded, &arm.label);
    let (input, output) = (arm.prompt_tokens, arm.output_tokens);
    let completed = serving.rows.len() as u64;
    line(&entry("Successful requests:", &completed.to_string()));
    line(&entry("Failed requests:", &serving.failed.to_string()));
    line(&entry("Benchmark duration (s):", &decimal(Some(serving.duration_s))));
    line(&entry("Total input tokens:", &whole(input)));
    line(&entry("Total generated tokens:", &whole(output)));
    let per_s = |count: Option<u64>| decimal(count.and_then(|count| serving.per_s(count as f64)));
    line(&entry("Request throughput (req/s):", &per_s(Some(completed))));
    line(&entry("Output token throughput (tok/s):", &per_s(output)));
    line(&entry("Total token throughput (tok/s):", &per_s(input.zip(output).map(|(a, b)| a + b))));
    line(&entry("Decode of one stream (tok/s):", &interval(arm.tokens_per_s)));
    let sections = [
        ("Time to First Token", "TTFT", serving.ttfts_ms()),
        ("Time per Output Token (excl. 1st token)", "TPOT", serving.tpots_ms()),
        ("Inter-chunk Latency (vLLM's ITL)", "ITL", serving.itls_ms().concat()),
    ];
    for (title, name, values) in sections {
        line(&centered(title, '-'));
        let mean = (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
        line(&entry(&format!("Mean {name} (ms):"), &decimal(mean)));
        line(&entry(&format!("Median {name} (ms):"), &decimal(percentile(&values, 0.5))));
        line(&entry(&format!("P99 {name} (ms):"), &decimal(percentile(&values, 0.99))));
    }
    if arm.drafted.is_some_and(|drafted| drafted > 0) {
        line(&centered("Speculative Decoding", '-'));
        let percent = arm.acceptance_rate.map(|rate| rate.point * 100.0);
        line(&entry("Acceptance rate (%):", &decimal(percent)));
        line(&entry("Acceptance length:", &decimal(arm.acceptance_length.map(|length| length.point))));
        line(&entry("Draft tokens:", &whole(arm.drafted)));
        line(&entry("Accepted tokens:", &whole(arm.accepted)));
    }
}

/// A title in the middle of a line, as Python's `str.center` has it.
fn centered(title: &str, fill: char) -> String {
    let title = if fill == '=' { format!(" {title} ") } else { title.to_owned() };
    let room = WIDTH.saturating_sub(title.chars().count());
    let left = room / 2 + (room & WIDTH & 1);
    let side = |count: usize| fill.to_string().repeat(count);
    side(left) + &title + &side(room - left)
}

fn entry(name: &str, value: &str) -> String {
    format!("{name:<40} {value:<10}").trim_end().to_owned()
}

fn decimal(value: Option<f64>) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| format!("{value:.2}"))
}

fn whole(value: Option<u64>) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| value.to_string())
}

fn interval(estimate: Option<Estimate>) -> String {
    let Some(Estimate { point, low, high }) = estimate else { return "unknown".to_owned() };
    let ends = low.zip(high).map_or_else(String::new, |(low, high)| format!(" [{low:.2}, {high:.2}]"));
    format!("{point:.2}{ends}")
}

fn short(hash: &str) -> String {
    hash.chars().take(12).collect()
}
