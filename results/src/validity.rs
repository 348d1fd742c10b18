//! Why an arm's numbers may not be compared. Each reason says what, and how many of how many.
//!
//! Most reasons are broken truth rules, whose evidence is taken word by word; what failed, what cannot be measured and a
//! drafter that does not work are the rest.

use bench_core::record::ArmManifest;
use bench_core::report::FailureSummary;
use bench_core::synthetic::refuses_acceptance;

use crate::load::Loaded;
use crate::totals::Totals;
use crate::truth::Finding;

/// All reasons; empty for a valid arm. Not asked of skipped arms.
pub(crate) fn invalid_reasons(
    loaded: &Loaded,
    arm: &ArmManifest,
    totals: &Totals,
    failures: &[FailureSummary],
    findings: &[Finding],
) -> Vec<String> {
    let mut reasons = Vec::new();
    reasons.extend(failed(totals, failures));
    if totals.completed == 0 {
        reasons.push("no request completed".to_owned());
    } else {
        reasons.extend(no_span(totals));
        reasons.extend(acceptance_floor(loaded, arm, totals));
    }
    let setting_aside = findings.iter().filter(|finding| finding.check().sets_aside());
    reasons.extend(setting_aside.flat_map(|finding| finding.words.iter().cloned()));
    reasons
}

fn failed(totals: &Totals, failures: &[FailureSummary]) -> Option<String> {
    let count: u64 = failures.iter().map(|kind| kind.count).sum();
    let kinds: Vec<_> = failures.iter().map(|kind| format!("{} x {}", kind.count, kind.kind)).collect();
    (count > 0).then(|| {
        let of = if totals.n_requests == 0 {
            "set-up failed".to_owned()
        } else {
            format!("{count} failures in {} requests", totals.n_requests)
        };
        format!("{of} ({})", kinds.join(", "))
    })
}

/// A request whose output is not counted has no decode time either, which its rule says.
fn no_span(totals: &Totals) -> Option<String> {
    let Totals { completed, with_output, with_span, .. } = *totals;
    let lost = completed - with_span;
    (with_output == completed && lost > 0)
        .then(|| format!("no decode time to measure in {lost} of {completed} requests (one chunk each)"))
}

/// Fewer drafts than this say nothing of a rate.
const FEW_DRAFTS: u64 = 50;

/// A drafter that is hardly ever right is broken or of another model, and its speed is the speed of that fault.
fn acceptance_floor(loaded: &Loaded, arm: &ArmManifest, totals: &Totals) -> Option<String> {
    let run = loaded.first();
    if arm.spec.plants_acceptance() || refuses_acceptance(&run.preset.workload, &arm.spec) {
        return None;
    }
    let (drafted, accepted) = (totals.drafted?, totals.accepted?);
    let floor = run.preset.run.min_acceptance;
    let rate = accepted as f64 / drafted as f64;
    (drafted >= FEW_DRAFTS && rate < floor).then(|| {
        format!(
            "{accepted} of {drafted} drafts accepted ({:.1} %), less than `run.min_acceptance` ({:.1} %)",
            rate * 100.0,
            floor * 100.0
        )
    })
}
