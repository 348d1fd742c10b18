//! The truth rules and the machine's state on the page: verdicts in a table, evidence behind a fold.

use bench_core::environment::{GpuHost, Span};
use bench_core::report::{ArmReport, Report};
use bench_core::truth::{Consequence, RULES, RuleId, TruthCheck, TruthVerdict};
use maud::{Markup, html};

use crate::words::{number, percent};

/// Rules by arms, then each arm's evidence. Nothing for reports made before there were rules.
pub(crate) fn truth(report: &Report) -> Markup {
    let arms: Vec<_> = report.arms.iter().filter(|arm| !arm.truth.is_empty()).collect();
    html! { @if !arms.is_empty() { section.truth {
        h2 { "Truth rules" }
        p { (summary(&report.truth)) " Unknown is not held: nobody told what the rule needs." }
        div.scroll tabindex="0" { table {
            thead { tr { th { "rule" } th { "run" } @for arm in &arms { th { (arm.label) } } } }
            tbody { @for rule in &RULES { tr {
                th scope="row" title=(rule.claim) { (rule.id.name()) }
                (cell(find(&report.truth, rule.id)))
                @for arm in &arms { (cell(find(&arm.truth, rule.id))) }
            } } }
        } }
        @for arm in &arms { (evidence(arm)) }
    } } }
}

fn find(checks: &[TruthCheck], rule: RuleId) -> Option<&TruthCheck> {
    checks.iter().find(|check| check.rule == rule)
}

fn cell(check: Option<&TruthCheck>) -> Markup {
    html! { @match check {
        None => td { "–" },
        Some(check) => td title=(check.evidence) {
            @if check.verdict == TruthVerdict::Broken { strong { "broken" } } @else { (check.verdict.word()) }
        },
    } }
}

/// `Of 15 rules: 10 held, 3 unknown, 1 not applicable, 1 broken (0 set an arm aside).`
fn summary(checks: &[TruthCheck]) -> String {
    let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
    let (broken, aside) =
        (count(TruthVerdict::Broken), checks.iter().filter(|check| check.sets_aside()).count());
    format!(
        "Of {} rules: {} held, {} unknown, {} not applicable, {broken} broken ({aside} set an arm aside).",
        checks.len(),
        count(TruthVerdict::Held),
        count(TruthVerdict::Unknown),
        count(TruthVerdict::DoesNotApply),
    )
}

fn evidence(arm: &ArmReport) -> Markup {
    html! { details { summary { "Evidence: " (arm.label) } dl {
        @for check in &arm.truth {
            dt { (check.rule.name()) }
            dd { @if check.verdict == TruthVerdict::Broken { strong { "broken" } } @else { (check.verdict.word()) }
                @if check.verdict == TruthVerdict::Broken && check.rule.rule().consequence == Consequence::Told { " (told)" }
                @if check.refuses_acceptance() { " (refuses acceptance)" }
                ": " (check.evidence) }
        }
    } } }
}

/// The machine before, during and after, block by block and arm by arm.
pub(crate) fn surroundings(report: &Report) -> Markup {
    html! { @for run in &report.environment {
        h3 { "Around run " (run.run_id) }
        @if let Some(head) = &run.head { p { (gpus(&head.gpu)) } }
        div.scroll tabindex="0" { table {
            thead { tr { th { "span" } th.n { "s" } th.n { "ours" } th.n { "others" } th.n { "stolen" } th.n { "waited for CPU" }
                th.n { "for memory" } th.n { "CPU MHz" } th.n { "GPU W" } th.n { "GPU MHz" } th.n { "GPU °C" } th.n { "J/token" } } }
            tbody {
                (row("before", run.before.as_ref(), None))
                (row("during", run.during.as_ref(), None))
                (row("after", run.after.as_ref(), None))
                @for block in &run.blocks { (row(&format!("block {}", u64::from(block.block) + 1), block.span.as_ref(), None)) }
                @for arm in report.arms.iter().filter(|arm| arm.skipped.is_none()) {
                    (row(&arm.label, arm.environment.as_ref(), arm.joules_per_token))
                }
            }
        } }
        p { "Shares are of all CPUs. A dash was not told. Readings: " (run.readings) "." }
    } }
}

fn row(name: &str, span: Option<&Span>, joules_per_token: Option<f64>) -> Markup {
    let dash = || "–".to_owned();
    let share = |of: fn(&Span) -> Option<f64>| span.and_then(of).map_or_else(dash, percent);
    let gpu = |of: &dyn Fn(&Span) -> Option<f64>| span.and_then(of).map_or_else(dash, number);
    html! { tr {
        th scope="row" { (name) }
        td.n { (span.map_or_else(dash, |span| number(span.seconds))) }
        td.n { (share(|span| span.ours_share)) } td.n { (share(|span| span.others_share)) }
        td.n { (share(|span| span.steal_share)) } td.n { (share(|span| span.cpu_stall_share)) }
        td.n { (share(|span| span.memory_stall_share)) } td.n { (gpu(&|span| span.cpu_mhz)) }
        td.n { (gpu(&|span| over_gpus(span, |gpu| gpu.power_w).map(|all| all.iter().sum()))) }
        td.n { (gpu(&|span| over_gpus(span, |gpu| gpu.sm_clock_mhz).map(|all| all.iter().sum::<f64>() / all.len() as f64))) }
        td.n { (gpu(&|span| over_gpus(span, |gpu| gpu.temperature_max_c.map(f64::from))?.into_iter().max_by(f64::total_cmp))) }
        td.n { (joules_per_token.map_or_else(dash, |joules| format!("{joules:.3}"))) }
    } }
}

/// A value of every GPU; `None` if one does not tell, or there is none.
fn over_gpus(
    span: &Span,
    value: impl Fn(&bench_core::environment::GpuSpan) -> Option<f64>,
) -> Option<Vec<f64>> {
    let all: Option<Vec<f64>> = span.gpus.iter().map(value).collect();
    all.filter(|all| !all.is_empty())
}

fn gpus(host: &GpuHost) -> String {
    let unknown = || "not told".to_owned();
    match host {
        GpuHost::Absent { reason } => format!("No GPU can be read: {reason}"),
        GpuHost::Present { driver, cuda, devices } => {
            let names = devices.iter().map(|gpu| {
                let uuid = gpu.uuid.clone().unwrap_or_else(unknown);
                format!("{} ({uuid})", gpu.name.clone().unwrap_or_else(unknown))
            });
            format!(
                "{}; driver {}, CUDA {}",
                names.collect::<Vec<_>>().join(", "),
                driver.clone().unwrap_or_else(unknown),
                cuda.clone().unwrap_or_else(unknown)
            )
        }
    }
}
