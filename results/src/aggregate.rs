//! Counts and sums of every arm by polars, intervals by `bench_core::stats`.

use std::collections::{BTreeMap, BTreeSet};

use bench_core::environment::EnvironmentSample;
use bench_core::noise::{NoiseFloor, is_aa, noise_key};
use bench_core::preset::SpecVariant;
use bench_core::prompt_set::PromptSet;
use bench_core::record::{ArmManifest, ArmStatus, Phase};
use bench_core::report::{ArmReport, FailureSummary, REPORT_SCHEMA, Report};
use bench_core::stats::{BootstrapConfig, Looks};
use bench_core::truth::over_arms;

use crate::arrivals::load_report;
use crate::categories::categories;
use crate::compare::{compare, noise_entries};
use crate::effective::effective;
use crate::error::ResultsError;
use crate::explanation::explain;
use crate::frame::{failure, kind_name};
use crate::gaps::{between_chunks, between_tokens};
use crate::kv_quality::{kv_quality, warnings};
use crate::latency::{percentiles, timeline};
use crate::load::Loaded;
use crate::refused::withhold_acceptance;
use crate::row::Row;
use crate::samples::{
    PromptIndex, accepted_of_drafted, completed_rows, decode_parts, e2e_parts, extra_tokens_a_step, plus_one,
    position_sums,
};
use crate::served::served;
use crate::surroundings::{all_readings, around_arm, run_environments};
use crate::sweeps::sweeps;
use crate::thinking::thinking;
use crate::totals::{Totals, totals};
use crate::truth::{Facts, Finding, findings};
use crate::validity::invalid_reasons;

/// Makes the report of loaded runs.
pub fn aggregate(loaded: &Loaded) -> Result<Report, ResultsError> {
    let totals = totals(&loaded.rows)?;
    let first = loaded.first();
    let readings = all_readings(loaded);
    let totals_of = |label: &str| totals.get(label).copied().unwrap_or_default();
    let run = &first.preset.run;
    // Looks are paid for by every interval, whether the run ended early or not.
    let confidence = Looks::new(run.blocks.get(), run.max_looks).confidence();
    let config = BootstrapConfig { confidence, ..BootstrapConfig::default() };
    let mut arms: Vec<_> = loaded
        .arms
        .iter()
        .map(|arm| arm_report(loaded, arm, totals_of(&arm.label), &readings, &config))
        .collect();
    let by_category: Vec<_> = arms.iter().map(|arm| categories(loaded, &arms, arm, &config)).collect();
    for (arm, categories) in arms.iter_mut().zip(by_category) {
        arm.categories = categories;
    }
    let comparisons = compare(loaded, &arms, &config)?;
    let mut explained = explain(loaded, &comparisons)?;
    for arm in &mut arms {
        arm.explanation = explained.arms.remove(&arm.label);
        withhold_acceptance(arm);
    }
    let checks: Vec<_> = arms.iter().map(|arm| (arm.label.as_str(), &*arm.truth)).collect();
    Ok(Report {
        truth: over_arms(&checks),
        environment: run_environments(loaded),
        imported: None,
        schema: REPORT_SCHEMA,
        preset: first.preset.name.clone(),
        preset_description: first.preset.description.clone(),
        preset_sha256: first.preset_sha256.clone(),
        prompt_set: Some(PromptSet::of(&first.preset.workload)),
        target_sha256: first.target_sha256.clone(),
        assistant_sha256: first.assistant_sha256.clone(),
        run_ids: loaded.manifests.iter().map(|run| run.run_id.clone()).collect(),
        started_unix_ms: loaded.manifests.iter().map(|run| run.started_unix_ms).min().unwrap_or_default(),
        interrupted: loaded.manifests.iter().any(|run| run.end.is_none_or(|end| end.interrupted)),
        suite_version: first.suite_version.clone(),
        host: first.host.clone(),
        blocks: full_blocks(loaded),
        confidence: config.confidence,
        notes: notes(loaded).into_iter().chain(explained.notes).collect(),
        method_notes: looks_note(loaded)
            .into_iter()
            .chain([noise_note(loaded)])
            .chain(kv_types_note(loaded))
            .collect(),
        sweeps: sweeps(loaded, &arms, &comparisons),
        comparisons,
        arms,
    })
}

fn arm_report(
    loaded: &Loaded,
    arm: &ArmManifest,
    totals: Totals,
    readings: &[EnvironmentSample],
    config: &BootstrapConfig,
) -> ArmReport {
    let rows: Vec<_> = completed_rows(loaded, &arm.label);
    let failure_kinds = failures(loaded, arm);
    let skipped = match &arm.status {
        ArmStatus::Skipped { reason } => Some(reason.clone()),
        ArmStatus::Ready | ArmStatus::Failed { .. } => None,
    };
    let surroundings = around_arm(loaded, readings, &arm.label);
    let facts = Facts::new(loaded, arm, &totals, &surroundings);
    let findings = if skipped.is_some() { Vec::new() } else { findings(&facts) };
    let invalid_reasons = if skipped.is_some() {
        Vec::new()
    } else {
        invalid_reasons(loaded, arm, &totals, &failure_kinds, &findings)
    };
    let prompts = PromptIndex::new(loaded);
    let ratio = |parts: &dyn Fn(&Row) -> Option<(f64, f64)>| prompts.ratio(&rows, parts, config);
    let over_prompts =
        |parts: &dyn Fn(&Row) -> Option<(f64, f64)>| prompts.ratio_over_prompts(&rows, parts, config);
    let median = |value: &dyn Fn(&Row) -> Option<f64>| prompts.median(&rows, value, config);
    let (chunk_gaps, token_gaps) = (between_chunks(&rows), between_tokens(&rows));
    ArmReport {
        stack: arm.stack,
        preset: loaded.first().preset.name.clone(),
        label: arm.label.clone(),
        speculation: arm.spec.clone(),
        n_requests: totals.n_requests,
        failures: failure_kinds.iter().map(|kind| kind.count).sum(),
        failure_kinds,
        valid: skipped.is_none() && invalid_reasons.is_empty(),
        invalid_reasons,
        skipped,
        tokens_per_s: ratio(&decode_parts),
        e2e_tokens_per_s: ratio(&e2e_parts),
        served_tokens_per_s: served(&rows, config),
        ttft_ms: median(&|row| Some(row.timing.first_token_ns? as f64 / 1e6)),
        tpot_ms: median(&|row| {
            row.decode_span().map(|span| span.span_ns as f64 / f64::from(span.tokens) / 1e6)
        }),
        inter_chunk: chunk_gaps.as_ref().map(|spread| spread.gaps),
        inter_token: token_gaps.as_ref().map(|spread| spread.gaps),
        thinking: thinking(&prompts, &rows, config),
        output_tokens: totals.output_tokens,
        prompt_tokens: totals.prompt_tokens,
        drafted: totals.drafted,
        accepted: totals.accepted,
        verify_steps: totals.verify_steps,
        acceptance_rate: totals.drafted.and_then(|_| over_prompts(&accepted_of_drafted)),
        acceptance_length: totals.verify_steps.and_then(|_| over_prompts(&extra_tokens_a_step).map(plus_one)),
        accepted_per_position: position_sums(&rows, |spec| spec.accepted_per_position.as_deref()),
        drafted_per_position: position_sums(&rows, |spec| spec.drafted_per_position.as_deref()),
        accepted_histogram: position_sums(&rows, |spec| spec.accepted_histogram.as_deref()),
        // They need to know which arms are valid.
        categories: Vec::new(),
        effective: effective(arm, &rows),
        truth: findings.iter().map(Finding::check).collect(),
        joules_per_token: joules_per_token(&facts),
        load: load_report(loaded, &arm.label),
        // It needs to know what was compared.
        explanation: None,
        environment: surroundings.span.clone(),
        latency: percentiles(&rows, chunk_gaps.as_ref(), token_gaps.as_ref()),
        timeline: timeline(loaded, &rows),
        kv_quality: kv_quality(loaded, arm),
    }
}

/// Energy of all visible GPUs during the arm's passes, by the tokens that came of them. What was spent on requests that
/// failed is inside.
fn joules_per_token(facts: &Facts<'_>) -> Option<f64> {
    if facts.is_on_cpu() || facts.is_elsewhere() {
        return None;
    }
    let gpus = &facts.surroundings.span.as_ref()?.gpus;
    let tokens = facts.totals.output_tokens.filter(|&tokens| tokens > 0)?;
    let joules: f64 = gpus.iter().map(|gpu| gpu.energy_j).sum::<Option<f64>>()?;
    (!gpus.is_empty()).then(|| joules / tokens as f64)
}

/// Requests that did not complete, and set-ups that failed, by kind in order of appearance. Warm-up is not counted.
fn failures(loaded: &Loaded, arm: &ArmManifest) -> Vec<FailureSummary> {
    let mut kinds: Vec<FailureSummary> = Vec::new();
    let counted = loaded.rows.iter().filter(|row| row.arm == arm.label && row.phase != Phase::Warmup);
    for (kind, message) in counted.filter_map(|row| failure(&row.outcome)) {
        match kinds.iter_mut().find(|known| known.kind == kind) {
            Some(known) => known.count += 1,
            None => kinds.push(FailureSummary { kind, count: 1, first_message: message }),
        }
    }
    // The row of a failed set-up may be the one that a crash tore off.
    if let (true, ArmStatus::Failed { kind, detail }) = (kinds.is_empty(), &arm.status) {
        kinds.push(FailureSummary { kind: kind_name(*kind), count: 1, first_message: detail.clone() });
    }
    kinds
}

/// Blocks in which every arm that was measured was asked every prompt.
fn full_blocks(loaded: &Loaded) -> u32 {
    let ready: Vec<_> = loaded.arms.iter().filter(|arm| arm.status == ArmStatus::Ready).collect();
    let preset = &loaded.first().preset;
    if preset.run.duration_s.is_some() {
        return blocks_of_all(loaded, ready.len());
    }
    let whole = ready.len() * preset.workload.prompts.len();
    let mut asked: BTreeMap<u32, BTreeSet<(&str, &str)>> = BTreeMap::new();
    for row in loaded.rows.iter().filter(|row| row.phase == Phase::Measured) {
        asked.entry(row.block).or_default().insert((&row.arm, &row.prompt_id));
    }
    let full = asked.values().filter(|pairs| pairs.len() == whole).count();
    u32::try_from(full).unwrap_or(u32::MAX)
}

/// Blocks in which every arm was asked something: how much, where time ends a pass, is what an arm is measured by.
fn blocks_of_all(loaded: &Loaded, arms: usize) -> u32 {
    let mut asked: BTreeMap<u32, BTreeSet<&str>> = BTreeMap::new();
    for row in loaded.rows.iter().filter(|row| row.phase == Phase::Measured) {
        asked.entry(row.block).or_default().insert(&row.arm);
    }
    let full = asked.values().filter(|found| found.len() == arms).count();
    u32::try_from(full).unwrap_or(u32::MAX)
}

fn notes(loaded: &Loaded) -> Vec<String> {
    let crashed = loaded.manifests.iter().filter(|run| run.end.is_none());
    let mut notes: Vec<_> = crashed
        .map(|run| format!("run {} has no end in its manifest: it crashed or is still running", run.run_id))
        .collect();
    notes.extend(loaded.notes.iter().cloned());
    notes.extend(warnings(loaded));
    notes
}

/// What a run that may end early has to say of it.
/// What a reader of comparisons across KV types has to know, with the types of every variant.
fn kv_types_note(loaded: &Loaded) -> Option<String> {
    let preset = &loaded.first().preset;
    let of = |variant: &SpecVariant| format!("{} {}", variant.label, preset.kv_types_of(&variant.label));
    preset.compares_kv_types().then(|| {
        format!(
            "variants keep KV caches of different types ({}): speeds of arms of different types are compared, as this is \
             what they differ in; so may their text, their lengths and their acceptance, for which see the quality of the \
             KV cache, and their outputs are not held against each other",
            preset.variants.iter().map(of).collect::<Vec<_>>().join(", ")
        )
    })
}

fn looks_note(loaded: &Loaded) -> Option<String> {
    let run = &loaded.first().preset.run;
    let asked = run.blocks.get();
    let done = full_blocks(loaded);
    let ended = loaded.manifests.iter().all(|run| run.end.is_some_and(|end| !end.interrupted));
    (run.max_looks > 1).then(|| {
        let stopped = if loaded.manifests.len() == 1 && ended && done < asked {
            format!("; ended after block {done} of {asked}, all comparisons settled")
        } else {
            String::new()
        };
        let confidence = Looks::new(asked, run.max_looks).confidence() * 100.0;
        format!(
            "up to {} looks were allowed, so intervals are of {confidence:.1} % to be right in 95 % of runs{stopped}",
            run.max_looks
        )
    })
}

/// Whether small differences can be told from the machine's own.
fn noise_note(loaded: &Loaded) -> String {
    if is_aa(&loaded.first().preset) {
        return "an A/A run: both arms are the same, and every difference is noise".to_owned();
    }
    match loaded.noise_floor() {
        Some(floor) => format!("noise floor of this machine from the A/A run {}", floor.run_id),
        None => {
            "no noise floor is known for this machine and experiment: measure it with `bench run PRESET --aa`"
                .to_owned()
        }
    }
}

/// What an A/A run shows of its machine; `None` of another run, and where too few blocks were measured or an arm is
/// invalid.
///
/// # Errors
///
/// Only where the experiment cannot be hashed.
pub fn noise_floor(loaded: &Loaded, report: &Report) -> Result<Option<NoiseFloor>, ResultsError> {
    let run = loaded.first();
    let entries = noise_entries(loaded, &report.arms);
    if !is_aa(&run.preset) || entries.is_empty() {
        return Ok(None);
    }
    Ok(Some(NoiseFloor {
        key: noise_key(&run.host, &run.preset)?,
        run_id: run.run_id.clone(),
        started_unix_ms: run.started_unix_ms,
        suite_version: run.suite_version.clone(),
        entries,
    }))
}
