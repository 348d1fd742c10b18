//! Explanations as Markdown: where the time of a round went, and what that predicts.

use std::fmt::Write;

use bench_core::explanation::{DepthFit, Explanation};
use bench_core::preset::StackKind;
use bench_core::report::Report;

use crate::markdown::one_line;

pub(crate) fn write_explanations(text: &mut String, report: &Report) -> std::fmt::Result {
    let explained: Vec<_> =
        report.arms.iter().filter_map(|arm| Some((&*arm.label, arm.explanation.as_ref()?))).collect();
    if explained.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n| arm | rounds | draft ms | verify ms | sample ms | host ms | a round ms |")?;
    writeln!(text, "|---|--:|--:|--:|--:|--:|--:|")?;
    for (label, explanation) in &explained {
        let parts = explanation.round_ms;
        let parts =
            [parts.draft, parts.verify, parts.sample, parts.host, parts.total].map(|ms| format!("{ms:.3}"));
        writeln!(text, "| `{label}` | {} | {} |", explanation.rounds, parts.join(" | "))?;
    }
    writeln!(
        text,
        "\n| arm | W ms | C ms | D ms | drafted a round | accepted a round | break-even | predicted | measured | of the \
         ceiling |"
    )?;
    writeln!(text, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
    for (label, explanation) in &explained {
        writeln!(text, "| `{label}` | {} |", costs(explanation).join(" | "))?;
    }
    writeln!(text)?;
    for (label, explanation) in &explained {
        writeln!(text, "* `{label}`: {}.", one_line(&explanation.sentence()))?;
    }
    write_depths(text, report)?;
    writeln!(
        text,
        "\nW + n C: a target pass over n drafts, ± its standard error. D: drafting a token. Break-even: accepted drafts a \
         round. The ceiling is a pass that only reads its weights. docs/explanation.md has the formulas."
    )
}

/// The law by the tokens in the cache, once a stack, whose arms share it; one depth alone would repeat the table above.
fn write_depths(text: &mut String, report: &Report) -> std::fmt::Result {
    let depths = |stack| {
        let mut arms = report.arms.iter().filter(|arm| arm.stack == stack);
        Some((stack, &arms.find_map(|arm| arm.explanation.as_ref())?.by_kv_depth))
    };
    let by_stack: Vec<_> = StackKind::ALL.into_iter().filter_map(depths).collect();
    if by_stack.iter().all(|(_, depths)| depths.len() < 2) {
        return Ok(());
    }
    writeln!(text, "\n| stack | tokens in the KV cache | rounds | W ms | C ms |")?;
    writeln!(text, "|---|---|--:|--:|--:|")?;
    for (stack, depths) in by_stack {
        for DepthFit { from, to, fit } in depths {
            let [w, c] = [(fit.w_ms, fit.w_se_ms), (fit.c_ms, fit.c_se_ms)].map(with_error);
            writeln!(text, "| {stack} | {from} to {} | {} | {w} | {c} |", to - 1, fit.rounds)?;
        }
    }
    Ok(())
}

fn costs(explanation: &Explanation) -> [String; 9] {
    let Explanation { fit, speedup, .. } = explanation;
    let fitted = |value: Option<(f64, f64)>| value.map_or_else(unknown, with_error);
    let digits = |value: Option<f64>| value.map_or_else(unknown, |value| format!("{value:.3}"));
    // Of the baseline there is nothing to predict.
    let predicted = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.3}"));
    [
        fitted(fit.as_ref().map(|fit| (fit.w_ms, fit.w_se_ms))),
        fitted(fit.as_ref().map(|fit| (fit.c_ms, fit.c_se_ms))),
        predicted(explanation.draft_ms_per_token),
        digits(Some(explanation.drafted_per_round)),
        digits(Some(explanation.accepted_per_round)),
        predicted(speedup.as_ref().map(|speedup| speedup.break_even_accepted)),
        predicted(speedup.as_ref().map(|speedup| speedup.predicted)),
        speedup.as_ref().map_or_else(String::new, |speedup| digits(speedup.measured)),
        explanation.ceiling.map_or_else(unknown, |ceiling| format!("{:.0} %", ceiling.share * 100.0)),
    ]
}

fn with_error((value, error): (f64, f64)) -> String {
    format!("{value:.3} ± {error:.3}")
}

fn unknown() -> String {
    "?".to_owned()
}
