//! The words that all forms share.

use bench_core::gate::{ArmGate, Check, GateReport, Provenance, Sitting};

use crate::table;

/// `native/mtp-3`, or `native/none -> native/mtp-3` where the labels differ.
pub(super) fn arms(arm: &ArmGate) -> String {
    if arm.baseline == arm.candidate {
        arm.candidate.clone()
    } else {
        format!("{} -> {}", arm.baseline, arm.candidate)
    }
}

/// `0.981x [0.970, 0.992]`.
pub(super) fn ratio(check: &Check) -> String {
    check.ratio.map_or_else(table::unknown, |ratio| table::interval(ratio, 3, "x"))
}

/// Of a value in the metric's unit: four digits that count.
pub(super) fn value(value: Option<f64>) -> String {
    match value {
        None => table::unknown(),
        Some(value) if value.abs() >= 1000.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 100.0 => format!("{value:.1}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.2}"),
        Some(value) => format!("{value:.3}"),
    }
}

/// `3 %`.
pub(super) fn share(share: f64) -> String {
    let text = format!("{:.2}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Why, and what would settle it.
pub(super) fn because(check: &Check) -> Option<String> {
    let needed = check.needed.map(|blocks| {
        format!(
            "{blocks} blocks would show a pass in most runs where nothing changed, {} were measured",
            check.clusters
        )
    });
    let parts: Vec<_> = check.why.iter().cloned().chain(needed).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// One check in a sentence.
pub(super) fn sentence(arm: &ArmGate, check: &Check) -> String {
    let why = because(check).map_or_else(String::new, |why| format!(": {why}"));
    format!(
        "{} of {} ({}): {} of the baseline, margin {}: {}{why}",
        check.metric,
        arms(arm),
        check.subject.as_str(),
        ratio(check),
        share(check.margin),
        check.verdict,
    )
}

/// What was held against what.
pub(super) fn runs(report: &GateReport) -> String {
    match report.sitting {
        Sitting::Interleaved => format!("arms of run {}", report.candidate_run),
        Sitting::TwoSittings => format!("run {} against run {}", report.candidate_run, report.baseline_run),
    }
}

/// How to read the columns.
pub(super) fn legend(report: &GateReport) -> String {
    format!(
        "Interval: {:.1} %, candidate / baseline, over blocks (acceptance: over prompts). Margin: the loss that is acted on.",
        report.confidence * 100.0
    )
}

/// Who put the baseline aside.
pub(super) fn provenance(report: &GateReport) -> Option<String> {
    let Provenance { saved_unix_ms, saved_by, commit, host, .. } = report.provenance.as_ref()?;
    let part = |word: &str, value: &Option<String>| {
        value.as_ref().map_or_else(String::new, |value| format!(" {word} {value}"))
    };
    Some(format!(
        "baseline put aside on {}{}{}{}",
        day(*saved_unix_ms),
        part("by", saved_by),
        part("on", host),
        part("at commit", commit)
    ))
}

/// `2026-11-23`, in UTC: Howard Hinnant's `civil_from_days`.
fn day(unix_ms: u64) -> String {
    let days = unix_ms / 86_400_000 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        // date -u -d @N +%F
        for (seconds, expected) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_795_392_000, "2026-11-23"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(day(seconds * 1000), expected);
        }
    }

    #[test]
    fn shares_and_values_have_no_idle_digits() {
        assert_eq!(
            [share(0.03), share(0.025), share(0.1), share(0.0005)],
            ["3 %", "2.5 %", "10 %", "0.05 %"]
        );
        let values = [None, Some(2.0), Some(33.333), Some(812.34), Some(12_345.6)].map(value);
        assert_eq!(values, ["?", "2.000", "33.33", "812.3", "12346"]);
    }
}
