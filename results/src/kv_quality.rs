//! What lossy KV caches cost in quality: from manifests to the report, its warnings, and its table in Markdown.

use std::fmt::Write;

use bench_core::kv_quality::{DraftCounts, KvQualityOutcome, nats};
use bench_core::preset::KvTypes;
use bench_core::record::{ArmManifest, ArmStatus};
use bench_core::report::Report;

use crate::load::Loaded;
use crate::markdown::one_line;

/// What is known of an arm's cache; `None` where it loses nothing, and of an arm that never ran.
pub(crate) fn kv_quality(loaded: &Loaded, arm: &ArmManifest) -> Option<KvQualityOutcome> {
    let is_lossy = loaded.first().preset.kv_types_of(&arm.variant).is_quantised();
    let unknown = || KvQualityOutcome::NotMeasured {
        reason: "the run ended before it, or was made before it was measured".to_owned(),
    };
    (is_lossy && arm.status == ArmStatus::Ready).then(|| arm.kv_quality.clone().unwrap_or_else(unknown))
}

/// A warning for each reason why a lossy cache was not measured.
pub(crate) fn warnings(loaded: &Loaded) -> Vec<String> {
    let mut reasons: Vec<((KvTypes, String), Vec<&str>)> = Vec::new();
    for arm in &loaded.arms {
        let Some(KvQualityOutcome::NotMeasured { reason }) = kv_quality(loaded, arm) else { continue };
        let key = (loaded.first().preset.kv_types_of(&arm.variant), reason);
        match reasons.iter_mut().find(|(known, _)| *known == key) {
            Some((_, labels)) => labels.push(&arm.label),
            None => reasons.push((key, vec![&arm.label])),
        }
    }
    let warning = |((kv_type, reason), labels): ((KvTypes, String), Vec<&str>)| {
        format!(
            "the KV cache of {} is {kv_type}, which loses precision, and its quality was not measured: {reason}",
            labels.join(", ")
        )
    };
    reasons.into_iter().map(warning).collect()
}

/// A row an arm with a lossy cache.
pub(crate) fn write_kv_quality(text: &mut String, report: &Report) -> std::fmt::Result {
    let arms = report.arms.iter().filter_map(|arm| Some((&arm.label, arm.kv_quality.as_ref()?)));
    let arms: Vec<_> = arms.collect();
    if arms.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n## Quality of the KV cache\n")?;
    writeln!(
        text,
        "| arm | KV type | positions | KL nats: mean | p99 | same top-1 | NLL difference nats | tokens per verify step | against |"
    )?;
    writeln!(text, "|---|---|--:|--:|--:|--:|--:|--:|--:|")?;
    for (label, outcome) in arms {
        match outcome {
            KvQualityOutcome::NotMeasured { reason } => {
                writeln!(text, "| `{label}` | not measured: {} |", one_line(reason))?;
            }
            KvQualityOutcome::Measured(quality) => {
                let at = quality.divergence;
                let length = |of: fn(&bench_core::kv_quality::KvAcceptance) -> DraftCounts| {
                    let length = quality.acceptance.as_ref().and_then(|both| of(both).acceptance_length());
                    length.map_or_else(String::new, |length| format!("{length:.2}"))
                };
                let share =
                    at.top1_agreement().map_or_else(String::new, |share| format!("{:.1} %", share * 100.0));
                writeln!(
                    text,
                    "| `{label}` | {} | {} | {} | {} | {share} | {:+.4} | {} | {} |",
                    quality.kv_type,
                    at.positions,
                    nats(at.kl_mean_nats),
                    nats(at.kl_p99_nats),
                    at.nll_difference_nats(),
                    length(|both| both.with),
                    length(|both| both.reference),
                )?;
            }
        }
    }
    writeln!(
        text,
        "\nAgainst an f16 cache, on the greedy answers that it gives to some of the preset's prompts; acceptance along the \
         same answers with either. Measured after the requests."
    )
}
