//! The truth rules and the machine's state as Markdown.

use std::fmt::Write;

use bench_core::environment::{EnvironmentHead, GpuHost, Span};
use bench_core::report::{ArmReport, Report};
use bench_core::truth::{RULES, RuleId, TruthCheck, TruthVerdict};

use crate::markdown::one_line;

/// A table of rules by arms, and the evidence of what is not held.
pub(crate) fn write_truth(text: &mut String, report: &Report) -> std::fmt::Result {
    let arms: Vec<_> = report.arms.iter().filter(|arm| !arm.truth.is_empty()).collect();
    if arms.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n## Truth rules\n")?;
    let labels: Vec<_> = arms.iter().map(|arm| format!("`{}`", arm.label)).collect();
    writeln!(text, "| rule | run | {} |", labels.join(" | "))?;
    writeln!(text, "|---|---|{}|", vec!["---"; arms.len()].join("|"))?;
    for rule in RULES {
        let of = |checks: &[TruthCheck]| verdict(checks, rule.id).map_or("", TruthVerdict::word).to_owned();
        let cells: Vec<_> = arms.iter().map(|arm| of(&arm.truth)).collect();
        writeln!(text, "| `{}` | {} | {} |", rule.id.name(), of(&report.truth), cells.join(" | "))?;
    }
    let mut gap = "\n";
    for check in &report.truth {
        let rule = check.rule.name();
        match check.verdict {
            TruthVerdict::Broken | TruthVerdict::Unknown => {
                let word = check.verdict.word();
                writeln!(text, "{gap}* `{rule}` {word}: {}", one_line(&check.evidence))?;
                gap = "";
            }
            TruthVerdict::Held | TruthVerdict::DoesNotApply => {}
        }
    }
    Ok(())
}

fn verdict(checks: &[TruthCheck], rule: RuleId) -> Option<TruthVerdict> {
    checks.iter().find(|check| check.rule == rule).map(|check| check.verdict)
}

/// The machine around each run, and while each arm was measured.
pub(crate) fn write_environment(text: &mut String, report: &Report) -> std::fmt::Result {
    if report.environment.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n## Environment\n")?;
    for run in &report.environment {
        if let Some(head) = &run.head {
            writeln!(text, "* {}: {}", run.run_id, one_line(&gpus(head)))?;
        }
    }
    writeln!(
        text,
        "\n| span | s | CPU: ours | others | stolen | stalled for CPU | for memory | MHz | GPU W | GPU °C | held down by | J/token |"
    )?;
    writeln!(text, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|--:|")?;
    for run in &report.environment {
        let spans = [("before", &run.before), ("during", &run.during), ("after", &run.after)];
        for (name, span) in spans {
            writeln!(text, "| {name} | {} | |", cells(span.as_ref()))?;
        }
        let blocks = run.blocks.iter().map(|block| (block.block, &block.span));
        for (block, span) in blocks {
            writeln!(text, "| block {} | {} | |", u64::from(block) + 1, cells(span.as_ref()))?;
        }
    }
    for arm in report.arms.iter().filter(|arm| arm.skipped.is_none()) {
        writeln!(text, "| `{}` | {} | {} |", arm.label, cells(arm.environment.as_ref()), joules(arm))?;
    }
    writeln!(text, "\nShares are of all CPUs; a `?` was not told. GPU figures are over all visible GPUs.")
}

fn gpus(head: &EnvironmentHead) -> String {
    match &head.gpu {
        GpuHost::Absent { reason } => format!("no GPU can be read: {reason}"),
        GpuHost::Present { driver, cuda, devices } => {
            let word = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
            let names = devices.iter().map(|gpu| format!("{} ({})", word(&gpu.name), word(&gpu.uuid)));
            let names: Vec<_> = names.collect();
            format!("{}; driver {}, CUDA {}", names.join(", "), word(driver), word(cuda))
        }
    }
}

fn cells(span: Option<&Span>) -> String {
    let unknown = || "?".to_owned();
    let Some(span) = span else { return vec![unknown(); 10].join(" | ") };
    let share = |share: Option<f64>| share.map_or_else(unknown, |share| format!("{:.1} %", share * 100.0));
    let (power, temperature, held) = gpu_cells(span);
    [
        format!("{:.1}", span.seconds),
        share(span.ours_share),
        share(span.others_share),
        share(span.steal_share),
        share(span.cpu_stall_share),
        share(span.memory_stall_share),
        span.cpu_mhz.map_or_else(unknown, |mhz| format!("{mhz:.0}")),
        power,
        temperature,
        held,
    ]
    .join(" | ")
}

/// Power over all GPUs, the hottest, and what held some of them down; empty where there is none.
fn gpu_cells(span: &Span) -> (String, String, String) {
    if span.gpus.is_empty() {
        return (String::new(), String::new(), String::new());
    }
    let unknown = || "?".to_owned();
    let power = span.gpus.iter().map(|gpu| gpu.power_w).sum::<Option<f64>>();
    let hottest: Option<Vec<u32>> = span.gpus.iter().map(|gpu| gpu.temperature_max_c).collect();
    let reasons: Option<Vec<_>> = span.gpus.iter().map(|gpu| gpu.throttled_by.clone()).collect();
    let held = reasons.map(|reasons| {
        let mut all: Vec<_> = reasons.into_iter().flatten().collect();
        all.sort();
        all.dedup();
        if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
    });
    (
        power.map_or_else(unknown, |watts| format!("{watts:.0}")),
        hottest.and_then(|all| all.into_iter().max()).map_or_else(unknown, |celsius| celsius.to_string()),
        held.unwrap_or_else(unknown),
    )
}

/// Empty on the CPU, where the energy of the GPUs is not the arm's.
fn joules(arm: &ArmReport) -> String {
    let gpus = arm.environment.as_ref().is_some_and(|span| !span.gpus.is_empty());
    let unknown = if gpus { "?".to_owned() } else { String::new() };
    arm.joules_per_token.map_or(unknown, |joules| format!("{joules:.3}"))
}
