//! The summary as Markdown: for GitHub's step summary, and to paste.

use bench_core::gate::{ArmGate, Check, GateReport};

use super::words;

/// The whole document.
pub(crate) fn markdown(report: &GateReport) -> String {
    let mut text = format!(
        "### bench gate: {}\n\n{}. {}\n",
        report.verdict,
        plain(&words::runs(report)),
        words::legend(report)
    );
    if report.arms.iter().any(|arm| !arm.checks.is_empty()) {
        text += "\n| arm | metric | of | baseline | candidate | ratio | margin | verdict |\n";
        text += "|---|---|---|--:|--:|--:|--:|---|\n";
        for arm in &report.arms {
            for check in &arm.checks {
                text += &row(arm, check);
            }
        }
    }
    let problems = report.problems.iter().cloned().chain(
        report
            .arms
            .iter()
            .flat_map(|arm| arm.problems.iter().map(|problem| format!("{}: {problem}", words::arms(arm)))),
    );
    text += &list("Not judged", problems);
    let warnings = report
        .arms
        .iter()
        .flat_map(|arm| arm.warnings.iter().map(|warning| format!("{}: {warning}", words::arms(arm))));
    text += &list("To know", warnings.chain(report.warnings.iter().cloned()));
    text +=
        &list("How to read it", words::provenance(report).into_iter().chain(report.notes.iter().cloned()));
    text
}

fn row(arm: &ArmGate, check: &Check) -> String {
    let why = words::because(check).map_or_else(String::new, |why| format!(": {}", plain(&why)));
    format!(
        "| {} | `{}` | {} | {} | {} | {} | {} | **{}**{why} |\n",
        plain(&words::arms(arm)),
        check.metric,
        check.subject.as_str(),
        words::value(check.baseline),
        words::value(check.candidate),
        words::ratio(check),
        words::share(check.margin),
        check.verdict,
    )
}

fn list(title: &str, lines: impl Iterator<Item = String>) -> String {
    let items: String = lines.map(|line| format!("* {}\n", plain(&line))).collect();
    if items.is_empty() { items } else { format!("\n{title}:\n\n{items}") }
}

/// Text that is nothing but text in a cell or a list: no markup of a failure's message is taken for ours.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\r' => out.push(' '),
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            '|' | '*' | '_' | '[' | ']' | '\\' | '#' => {
                out.push('\\');
                out.push(letter);
            }
            _ => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::testing::report;

    #[test]
    fn the_summary_has_a_row_a_check() {
        insta::assert_snapshot!(markdown(&report()));
        assert_eq!(plain("a|b\n<script>"), "a\\|b &lt;script>");
    }
}
