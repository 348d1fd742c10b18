//! Text tables for the terminal. Colours are styles; the stream strips them where it is no terminal.

use anstyle::{AnsiColor, Style};
use bench_core::kv_quality::KvQualityOutcome;
use bench_core::report::{ArmReport, Comparison, Estimate, Report, Verdict};
use bench_core::truth::TruthVerdict;

/// Aligned columns, two spaces apart, no header; a cell may hold styles.
pub(crate) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(visible_width(cell));
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(cell);
            line.push_str(&" ".repeat(width - visible_width(cell) + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The table that `bench run` and `bench report` print.
pub(crate) fn report_table(report: &Report) -> String {
    let bold = Style::new().bold();
    let head = ["arm", "tokens/s", "against its baseline", "TTFT ms", "TPOT ms", "accepted", "per step"];
    let mut rows = vec![head.map(|cell| format!("{bold}{cell}{bold:#}"))];
    rows.extend(report.arms.iter().map(|arm| arm_row(report, arm)));
    let text = columns(&rows);
    let mut lines = vec![String::new(), how_to_read(report)];
    lines.extend(skipped_stacks(report));
    for arm in &report.arms {
        lines.extend(remarks(arm).iter().map(|line| format!("{}: {line}", arm.label)));
    }
    lines.extend(kv_quality(report));
    lines.extend(truth(report));
    lines.extend(defects(report));
    lines.extend(report.method_notes.iter().chain(&report.notes).cloned());
    text + &lines.join("\n") + "\n"
}

/// What lossy caches cost; those that were not measured are among the notes.
fn kv_quality(report: &Report) -> impl Iterator<Item = String> {
    report.arms.iter().filter_map(|arm| match arm.kv_quality.as_ref()? {
        KvQualityOutcome::Measured(quality) => Some(format!("{}: {quality}", arm.label)),
        KvQualityOutcome::NotMeasured { .. } => None,
    })
}

/// Outputs that differ where no near tie explains it: speculation that is not lossless.
fn defects(report: &Report) -> Vec<String> {
    let audits = report.comparisons.iter().filter_map(|c| Some((c, c.lossless.as_ref()?)));
    audits
        .filter(|(_, audit)| audit.defect > 0)
        .map(|(comparison, audit)| {
            format!(
                "{}: output differs from {}'s without a near tie in {} of {} requests: not lossless",
                comparison.candidate, comparison.baseline, audit.defect, audit.requests
            )
        })
        .collect()
}

fn how_to_read(report: &Report) -> String {
    if report.imported.is_some() {
        return "No intervals: the file of another tool tells none that are ours.".to_owned();
    }
    format!(
        "Interval: {:.0} %, bootstrap over {} blocks. Accepted: of drafted. Per step: tokens a verify step emits, bonus \
         token included.",
        report.confidence * 100.0,
        report.blocks
    )
}

fn arm_row(report: &Report, arm: &ArmReport) -> [String; 7] {
    if arm.skipped.is_some() {
        return [arm.label.clone(), "skipped".to_owned()]
            .into_iter()
            .chain(std::iter::repeat_n(String::new(), 5))
            .collect::<Vec<_>>()
            .try_into()
            .unwrap_or_default();
    }
    [
        arm.label.clone(),
        arm.tokens_per_s.map_or_else(unknown, |e| interval(e, 0, "")),
        comparison_of(report, arm).map_or_else(String::new, comparison_cell),
        arm.ttft_ms.map_or_else(unknown, |e| format!("{:.2}", e.point)),
        arm.tpot_ms.map_or_else(unknown, |e| format!("{:.3}", e.point)),
        accepted_cell(arm),
        arm.acceptance_length.map_or_else(String::new, |e| format!("{:.2}", e.point)),
    ]
}

fn accepted_cell(arm: &ArmReport) -> String {
    match (arm.accepted, arm.drafted) {
        _ if arm.acceptance_refused().is_some() => "refused".to_owned(),
        // A server that counts reports zeros without speculation, too: nothing to show.
        (_, None | Some(0)) if arm.speculation.draft_max().is_none() => String::new(),
        (Some(accepted), Some(drafted)) => format!("{accepted}/{drafted}"),
        _ => unknown(),
    }
}

/// One line a stack, not one for each of its arms.
fn skipped_stacks(report: &Report) -> Vec<String> {
    let mut lines: Vec<String> = report
        .arms
        .iter()
        .filter_map(|arm| arm.skipped.as_ref().map(|why| format!("{} skipped: {why}", arm.stack)))
        .collect();
    lines.dedup();
    lines
}

/// How the truth rules ended, and each broken one that no arm's reasons tell.
fn truth(report: &Report) -> Vec<String> {
    if report.truth.is_empty() {
        return Vec::new();
    }
    let of = |verdict| report.truth.iter().filter(move |check| check.verdict == verdict);
    let names = |verdict| of(verdict).map(|check| check.rule.name()).collect::<Vec<_>>().join(", ");
    let (broken, unknown) = (names(TruthVerdict::Broken), names(TruthVerdict::Unknown));
    let listed = |word: &str, names: &str| {
        if names.is_empty() { String::new() } else { format!("; {word}: {names}") }
    };
    let mut lines = vec![format!(
        "Truth rules: {} held{}{}.",
        of(TruthVerdict::Held).count(),
        listed("broken", &broken),
        listed("unknown", &unknown)
    )];
    let told = of(TruthVerdict::Broken).filter(|check| !check.sets_aside());
    lines.extend(told.map(|check| format!("{}: {}", check.rule.name(), check.evidence)));
    lines
}

/// What has to be said of an arm below the table.
fn remarks(arm: &ArmReport) -> Vec<String> {
    let mut lines: Vec<String> = arm.invalid_reasons.iter().map(|why| format!("invalid: {why}")).collect();
    lines.extend(
        arm.failure_kinds
            .iter()
            .map(|failure| format!("{} x {}: {}", failure.count, failure.kind, failure.first_message)),
    );
    lines
}

/// The comparison of an arm with the baseline of its own stack.
fn comparison_of<'a>(report: &'a Report, arm: &ArmReport) -> Option<&'a Comparison> {
    let same_stack = |label: &str| report.arms.iter().any(|a| a.label == label && a.stack == arm.stack);
    report
        .comparisons
        .iter()
        .find(|c| c.candidate == arm.label && c.metric == "tokens_per_s" && same_stack(&c.baseline))
}

fn comparison_cell(comparison: &Comparison) -> String {
    let ratio = comparison.ratio.map_or_else(unknown, |e| interval(e, 2, "x"));
    let why = comparison.why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    format!("{ratio} {}{why}", verdict(comparison.verdict))
}

/// The verdict as a coloured word.
pub(crate) fn verdict(verdict: Verdict) -> String {
    let (word, colour) = match verdict {
        Verdict::Faster => ("faster", Some(AnsiColor::Green)),
        Verdict::Slower => ("slower", Some(AnsiColor::Red)),
        Verdict::Equivalent => ("equivalent", None),
        Verdict::NotResolved => ("not resolved", None),
        Verdict::NotComparable => ("not comparable", Some(AnsiColor::Yellow)),
    };
    let style = Style::new().fg_color(colour.map(Into::into));
    format!("{style}{word}{style:#}")
}

/// `812 [790, 830]`, or the point alone where there is no interval.
pub(crate) fn interval(estimate: Estimate, digits: usize, unit: &str) -> String {
    let point = estimate.point;
    match (estimate.low, estimate.high) {
        (Some(low), Some(high)) => format!("{point:.digits$}{unit} [{low:.digits$}, {high:.digits$}]"),
        _ => format!("{point:.digits$}{unit}"),
    }
}

/// What nobody told.
pub(crate) fn unknown() -> String {
    "?".to_owned()
}

/// Characters a terminal shows: escape sequences of styles count nothing.
fn visible_width(cell: &str) -> usize {
    anstream::adapter::strip_str(cell).to_string().chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_do_not_shift_columns() {
        let red = Style::new().fg_color(Some(AnsiColor::Red.into()));
        let rows = [["a".to_owned(), "b".to_owned()], [format!("{red}long{red:#}"), "c".to_owned()]];
        let text = anstream::adapter::strip_str(&columns(&rows)).to_string();
        assert_eq!(text, "a     b\nlong  c\n");
    }
}
