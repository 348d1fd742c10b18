//! The table of the terminal.

use anstyle::{AnsiColor, Style};
use bench_core::gate::{ArmGate, Check, GateReport, GateVerdict};

use super::words;
use crate::table;

/// What `bench gate` prints.
pub(crate) fn gate_table(report: &GateReport) -> String {
    let bold = Style::new().bold();
    let head = ["arm", "metric", "of", "baseline", "candidate", "ratio", "margin", "verdict"];
    let mut rows = vec![head.map(|cell| format!("{bold}{cell}{bold:#}"))];
    for arm in &report.arms {
        rows.extend(arm.checks.iter().enumerate().map(|(nth, check)| row(arm, nth, check)));
    }
    let mut text = if rows.len() > 1 { table::columns(&rows) + "\n" } else { String::new() };
    let mut lines = vec![
        format!(
            "Gate: {}. {} (exit code {}).",
            verdict(report.verdict),
            words::runs(report),
            report.verdict.exit_code()
        ),
        words::legend(report),
    ];
    lines.extend(words::provenance(report));
    lines.extend(report.problems.iter().map(|problem| format!("not judged: {problem}")));
    for arm in &report.arms {
        let name = words::arms(arm);
        lines.extend(arm.problems.iter().map(|problem| format!("{name}: not judged: {problem}")));
        lines.extend(arm.warnings.iter().map(|warning| format!("{name}: {warning}")));
    }
    lines.extend(report.warnings.iter().chain(&report.notes).cloned());
    text += &(lines.join("\n") + "\n");
    text
}

fn row(arm: &ArmGate, nth: usize, check: &Check) -> [String; 8] {
    let why = words::because(check).map_or_else(String::new, |why| format!(": {why}"));
    [
        if nth == 0 { words::arms(arm) } else { String::new() },
        check.metric.to_string(),
        check.subject.as_str().to_owned(),
        words::value(check.baseline),
        words::value(check.candidate),
        words::ratio(check),
        words::share(check.margin),
        verdict(check.verdict) + &why,
    ]
}

fn verdict(verdict: GateVerdict) -> String {
    let colour = match verdict {
        GateVerdict::Regression => AnsiColor::Red,
        GateVerdict::Inconclusive => AnsiColor::Yellow,
        GateVerdict::Pass => AnsiColor::Green,
    };
    let style = Style::new().fg_color(Some(colour.into()));
    format!("{style}{verdict}{style:#}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::testing::report;

    #[test]
    fn every_check_problem_and_warning_is_told() {
        let text = anstream::adapter::strip_str(&gate_table(&report())).to_string();
        insta::assert_snapshot!(text);
    }
}
