//! Why an arm's numbers may not be compared. Each reason says what, and how many of how many.

use bench_core::preset::SpecDecode;
use bench_core::record::{ArmManifest, Phase};
use bench_core::report::FailureSummary;
use bench_core::run_dir::prompt_sha256;

use crate::load::Loaded;
use crate::samples::completed_rows;
use crate::totals::Totals;

/// All reasons; empty for a valid arm. Not asked of skipped arms.
pub(crate) fn invalid_reasons(
    loaded: &Loaded,
    arm: &ArmManifest,
    totals: &Totals,
    failures: &[FailureSummary],
) -> Vec<String> {
    let mut reasons = Vec::new();
    reasons.extend(failed(totals, failures));
    if totals.completed == 0 {
        reasons.push("no request completed".to_owned());
    } else {
        reasons.extend(counts(totals));
        reasons.extend(speculation_counts(arm, totals));
        reasons.extend(short_outputs(loaded, arm, totals));
    }
    reasons.extend(foreign_prompts(loaded, arm));
    reasons.extend(contradictions(loaded, arm));
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

fn counts(totals: &Totals) -> Vec<String> {
    let Totals { completed, disputed, with_output, with_span, .. } = *totals;
    let mut reasons = Vec::new();
    if disputed > 0 {
        reasons.push(format!("output count disputed by two sources in {disputed} of {completed} requests"));
    }
    if with_output < completed {
        reasons.push(format!("output count unknown in {} of {completed} requests", completed - with_output));
    } else if with_span < completed {
        let lost = completed - with_span;
        reasons.push(format!("no decode time to measure in {lost} of {completed} requests (one chunk each)"));
    }
    reasons
}

fn speculation_counts(arm: &ArmManifest, totals: &Totals) -> Option<String> {
    arm.spec.draft_max()?;
    let method = arm.spec.method();
    match totals.drafted {
        Some(0) => Some(format!("speculation asked ({method}), nothing drafted")),
        Some(_) => None,
        None => {
            let (known, completed) = (totals.with_drafted, totals.completed);
            let unknown = completed - known;
            Some(format!("speculation asked ({method}), drafts unknown in {unknown} of {completed} requests"))
        }
    }
}

/// With `ignore_eos` every request has to reach `max_tokens`; one that does not did other work than its pair.
fn short_outputs(loaded: &Loaded, arm: &ArmManifest, totals: &Totals) -> Option<String> {
    let workload = &loaded.first().preset.workload;
    if !workload.ignore_eos {
        return None;
    }
    let asked = workload.max_tokens.get();
    let rows = completed_rows(loaded, &arm.label);
    let other = rows.iter().filter(|row| row.output.tokens.is_some_and(|tokens| tokens != asked)).count();
    (other > 0).then(|| {
        format!(
            "ignore_eos is set, and {other} of {} requests emitted other than {asked} tokens",
            totals.completed
        )
    })
}

/// The hash in the row is of what was sent; the preset says what had to be.
fn foreign_prompts(loaded: &Loaded, arm: &ArmManifest) -> Option<String> {
    let hashes: Vec<_> = loaded
        .first()
        .preset
        .workload
        .prompts
        .iter()
        .map(|prompt| (prompt.id.as_str(), prompt_sha256(prompt)))
        .collect();
    let measured: Vec<_> =
        loaded.rows.iter().filter(|row| row.arm == arm.label && row.phase == Phase::Measured).collect();
    let expected = |id: &str| hashes.iter().find(|(known, _)| *known == id).map(|(_, hash)| hash.as_str());
    let foreign = measured.iter().filter(|row| expected(&row.prompt_id) != Some(&row.prompt_sha256)).count();
    (foreign > 0).then(|| {
        format!(
            "prompt text differs from the preset's, and so from other arms', in {foreign} of {} requests",
            measured.len()
        )
    })
}

/// What the stack says of itself against what was asked. What it does not say contradicts nothing.
fn contradictions(loaded: &Loaded, arm: &ArmManifest) -> Vec<String> {
    let Some(info) = &arm.info else { return Vec::new() };
    let asked_kv = loaded.first().preset.serving.kv_type.as_str();
    let mut reasons = Vec::new();
    if let Some(kv) = info.kv_type.as_deref().filter(|kv| !kv.eq_ignore_ascii_case(asked_kv)) {
        reasons.push(format!("KV cache in force is {kv}, the preset asks for {asked_kv}"));
    }
    let plain = arm.spec == SpecDecode::None;
    let speculation = info.speculation.as_deref();
    if let Some(method) = speculation.filter(|method| method.eq_ignore_ascii_case("none") != plain) {
        reasons.push(format!("speculation in force is {method}, the preset asks for {}", arm.spec.method()));
    }
    reasons
}
