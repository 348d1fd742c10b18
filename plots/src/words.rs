//! Numbers and verdicts as words, the same in charts and on the page.

use bench_core::audit::Lossless;
use bench_core::report::{ArmReport, Comparison, Estimate, Report, Verdict};

/// Digits that tell: 12.3, 123, 1234.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

/// `812 [790, 830]`, the point alone without an interval, a dash without a value.
pub(crate) fn estimate(value: Option<Estimate>) -> String {
    match value {
        None => "–".to_owned(),
        Some(Estimate { point, low: Some(low), high: Some(high) }) => {
            format!("{} [{}, {}]", number(point), number(low), number(high))
        }
        Some(Estimate { point, .. }) => number(point),
    }
}

/// A share as per cent.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// `62 % [58, 66]`, the point alone without an interval, a dash without a value.
pub(crate) fn percents(share: Option<Estimate>) -> String {
    match share {
        None => "–".to_owned(),
        Some(Estimate { point, low: Some(low), high: Some(high) }) => {
            format!("{} [{:.0}, {:.0}]", percent(point), low * 100.0, high * 100.0)
        }
        Some(Estimate { point, .. }) => percent(point),
    }
}

/// The verdict as a word.
pub(crate) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Faster => "faster",
        Verdict::Slower => "slower",
        Verdict::Equivalent => "equivalent",
        Verdict::NotResolved => "not resolved",
        Verdict::NotComparable => "not comparable",
    }
}

/// The part of an arm's label after its stack.
pub(crate) fn variant(label: &str) -> &str {
    label.split_once('/').map_or(label, |(_, variant)| variant)
}

/// Why an arm has no number to show.
pub(crate) fn absence(arm: &ArmReport) -> String {
    if let Some(why) = &arm.skipped {
        return format!("skipped: {why}");
    }
    let first = arm.failure_kinds.first().map(|kind| format!("failed: {}", kind.first_message));
    first.or_else(|| arm.invalid_reasons.first().cloned()).unwrap_or_else(|| "not measured".to_owned())
}

/// Why a comparison has no ratio.
pub(crate) fn incomparable(report: &Report, comparison: &Comparison) -> String {
    let arm = |label: &str| report.arms.iter().find(|arm| arm.label == label);
    let both = [arm(&comparison.candidate), arm(&comparison.baseline)];
    let Some(culprit) = both.into_iter().flatten().find(|arm| !arm.valid) else {
        let refused = report.acceptance_refused(comparison).map(|why| format!("refused, {why}"));
        let why = refused.or_else(|| comparison.why.clone());
        return why.unwrap_or_else(|| "too few pairs".to_owned());
    };
    let why = culprit.invalid_reasons.first().cloned().unwrap_or_else(|| absence(culprit));
    if culprit.label == comparison.candidate { why } else { format!("{} {why}", culprit.label) }
}

/// What the audit of greedy outputs found: `15 of 15`, or what the others are taken for.
pub(crate) fn audit(lossless: &Lossless) -> String {
    let Lossless { requests, identical, near_tie, defect, unknown_margin, .. } = lossless;
    let kinds = [(near_tie, "near tie"), (defect, "defect"), (unknown_margin, "unknown margin")];
    let kinds: Vec<String> = kinds
        .into_iter()
        .filter(|(count, _)| **count > 0)
        .map(|(count, kind)| format!("{count} {kind}"))
        .collect();
    let others = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
    format!("{identical} of {requests}{others}")
}

/// A chance: `0.03`, `< 0.001`, a dash where it is unknown.
pub(crate) fn chance(p: Option<f64>) -> String {
    match p {
        None => "–".to_owned(),
        Some(p) if p < 0.001 => "< 0.001".to_owned(),
        Some(p) => format!("{p:.3}"),
    }
}

/// Comparisons of an arm with the first arm of its own stack, in report order.
pub(crate) fn within_stack(report: &Report) -> impl Iterator<Item = (&ArmReport, &Comparison)> {
    let arm = |label: &str| report.arms.iter().find(|arm| arm.label == label);
    let of_stack = move |comparison: &Comparison| {
        let (baseline, candidate) = (arm(&comparison.baseline)?, arm(&comparison.candidate)?);
        (baseline.stack == candidate.stack).then_some(candidate)
    };
    // An arm has others where variants differ in their KV types: the one with the first arm comes first.
    let is_first = move |nth: usize, label: &str| {
        let before = &report.comparisons[..nth];
        !before.iter().any(|other| other.candidate == label && of_stack(other).is_some())
    };
    report.comparisons.iter().enumerate().filter_map(move |(nth, comparison)| {
        let candidate = of_stack(comparison)?;
        is_first(nth, &candidate.label).then_some((candidate, comparison))
    })
}

/// The day a run began, UTC (civil calendar from days since 1970, Howard Hinnant's `civil_from_days`).
pub(crate) fn date(unix_ms: u64) -> String {
    let days = unix_ms / 86_400_000 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(951_782_400_000), "2000-02-29");
        assert_eq!(date(1_800_000_000_000), "2027-01-15");
    }
}
