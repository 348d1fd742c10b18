//! Why an arm's numbers may not be compared. Each reason says what, and how many of how many.

use std::collections::BTreeSet;

use bench_core::effective::{Asked, differences};
use bench_core::preset::AcceptanceRule;
use bench_core::record::{ArmManifest, Phase, RequestRecord};
use bench_core::report::FailureSummary;
use bench_core::run_dir::prompt_sha256;

use crate::client;
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
        reasons.extend(acceptance_floor(loaded, arm, totals));
        reasons.extend(short_outputs(loaded, arm, totals));
        reasons.extend(silent_changes(&completed_rows(loaded, &arm.label), arm));
    }
    reasons.extend(foreign_prompts(loaded, arm));
    reasons.extend(contradictions(loaded, arm));
    reasons.extend(client::reasons(loaded, arm));
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
    let method = arm.spec.method();
    if arm.spec.draft_max().is_none() {
        let drafted = totals.drafted.filter(|&drafted| drafted > 0)?;
        return Some(format!("plain decoding asked, and {drafted} tokens were drafted"));
    }
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

/// Fewer drafts than this say nothing of a rate.
const FEW_DRAFTS: u64 = 50;

/// A drafter that is hardly ever right is broken or of another model, and its speed is the speed of that fault.
fn acceptance_floor(loaded: &Loaded, arm: &ArmManifest, totals: &Totals) -> Option<String> {
    if let Some(AcceptanceRule::Synthetic(_)) = arm.spec.acceptance() {
        return None;
    }
    let (drafted, accepted) = (totals.drafted?, totals.accepted?);
    let floor = loaded.first().preset.run.min_acceptance;
    let rate = accepted as f64 / drafted as f64;
    (drafted >= FEW_DRAFTS && rate < floor).then(|| {
        format!(
            "{accepted} of {drafted} drafts accepted ({:.1} %), less than `run.min_acceptance` ({:.1} %)",
            rate * 100.0,
            floor * 100.0
        )
    })
}

/// What may change from request to request without an error: each would make a number of something else.
fn silent_changes(rows: &[&RequestRecord], arm: &ArmManifest) -> Vec<String> {
    let of = |count: usize, what: &str| {
        (count > 0).then(|| format!("{what} in {count} of {} requests", rows.len()))
    };
    let count = |is: &dyn Fn(&RequestRecord) -> bool| rows.iter().filter(|row| is(row)).count();
    let cached = count(&|row| row.usage.cached_tokens.is_some_and(|tokens| tokens > 0));
    let disputed = count(&|row| row.spec_disputed.is_some());
    let restarted = count(&|row| row.restarted_in_silence);
    let contradictory = count(&|row| row.spec.as_ref().is_some_and(|spec| !spec.contradictions().is_empty()));
    let too_long = arm.spec.draft_max().map_or(0, |most| {
        let most = usize::try_from(most.get()).unwrap_or(usize::MAX);
        count(&|row| {
            let accepted = row.spec.as_ref().and_then(|spec| spec.accepted_per_position.as_deref());
            accepted.is_some_and(|positions| positions.iter().skip(most).any(|&rounds| rounds > 0))
        })
    });
    let mut found: Vec<_> = [
        of(cached, "prompt tokens came from a cache"),
        of(disputed, "drafted and accepted tokens disputed by two sources"),
        of(contradictory, "counts of speculation contradict each other"),
        of(too_long, "more drafts a round accepted than the preset allows"),
        of(restarted, "another process answered than before, without a word"),
    ]
    .into_iter()
    .flatten()
    .collect();
    found.extend(changed_sampling(rows));
    let models: BTreeSet<_> = rows.iter().filter_map(|row| row.readback.as_ref()?.model.as_deref()).collect();
    if models.len() > 1 {
        let models: Vec<_> = models.into_iter().collect();
        found.push(format!("{} models answered: {}", models.len(), models.join(", ")));
    }
    found
}

fn changed_sampling(rows: &[&RequestRecord]) -> Option<String> {
    let changes = rows.iter().filter_map(|row| row.readback.as_ref()?.sampling_changed.as_deref());
    let changed: Vec<_> = changes.filter(|changes| !changes.is_empty()).collect();
    let first = changed.first()?;
    Some(format!(
        "sampling was changed on the way in {} of {} requests ({})",
        changed.len(),
        rows.len(),
        first.join(", ")
    ))
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
    let run = loaded.first();
    let asked = Asked {
        preset: &run.preset,
        spec: &arm.spec,
        target_sha256: run.target_sha256.as_deref(),
        assistant_sha256: run.assistant_sha256.as_deref(),
    };
    differences(asked, info)
}
