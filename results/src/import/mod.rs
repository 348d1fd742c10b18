//! Numbers that other tools measured, so that old results can be drawn beside new ones.
//!
//! An import is a report of its own, marked with its tool and version. What the file does not say stays `None`; where a
//! tool means something else by a name, a note says what. There are no rows, so no truth rule can be asked: every arm is
//! set aside with that reason, never paired, never compared.

mod aiperf;
mod error;
mod field;
mod guidellm;
mod llama_bench;
mod speed_bench;
mod sql;
mod store;
mod vllm;

use std::collections::BTreeMap;

use bench_core::preset::{SpecDecode, StackKind};
use bench_core::record::HostInfo;
use bench_core::report::{ArmReport, Estimate, FailureSummary, Gaps, Imported, REPORT_SCHEMA, Report};
use serde_json::Value;

pub use self::error::ImportError;
pub use self::store::{IMPORTED_FILE, import, imported_report};

/// The tool that wrote a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportFormat {
    /// `vllm bench serve --save-result`, with or without `--save-detailed`.
    VllmBench,
    /// SGLang's `bench_serving` or `sglang-bench`: one JSON object a line.
    Sglang,
    /// `llama-bench -o json`, `jsonl` or `sql`.
    LlamaBench,
    /// AIPerf's `profile_export_aiperf.json`.
    AiPerf,
    /// GuideLLM's JSON.
    GuideLlm,
    /// llama.cpp's `speed_bench.py --output`.
    SpeedBench,
}

impl ImportFormat {
    /// Every format.
    pub const ALL: [Self; 6] =
        [Self::VllmBench, Self::Sglang, Self::LlamaBench, Self::AiPerf, Self::GuideLlm, Self::SpeedBench];

    /// The tool, as reports name it.
    #[must_use]
    pub fn tool(self) -> &'static str {
        match self {
            Self::VllmBench => "vllm bench serve",
            Self::Sglang => "SGLang bench_serving",
            Self::LlamaBench => "llama-bench",
            Self::AiPerf => "AIPerf",
            Self::GuideLlm => "GuideLLM",
            Self::SpeedBench => "llama.cpp speed-bench",
        }
    }

    /// Whether a document has the keys that only this tool writes.
    fn wrote(self, document: &Value) -> bool {
        let has = |value: &Value, keys: &[&str]| keys.iter().all(|key| value.get(key).is_some());
        let first = document.as_array().and_then(|lines| lines.first());
        let first_has = |keys: &[&str]| first.is_some_and(|first| has(first, keys));
        match self {
            Self::VllmBench => has(document, &["model_id", "tokenizer_id", "request_throughput"]),
            Self::Sglang => first_has(&["accept_length", "total_output_tokens_retokenized"]),
            Self::LlamaBench => first_has(&["build_commit", "n_gen", "avg_ts"]),
            Self::AiPerf => has(document, &["aiperf_version", "request_latency"]),
            Self::GuideLlm => document.pointer("/metadata/guidellm_version").is_some(),
            Self::SpeedBench => has(document, &["config", "summary", "completed_samples"]),
        }
    }
}

/// What a file says.
struct Document {
    tool_version: Option<String>,
    /// Start or end, milliseconds since 1970, as the tool has it.
    unix_ms: Option<u64>,
    cpu: Option<String>,
    arms: Vec<ArmReport>,
    /// Where a name means something else than ours.
    notes: Vec<String>,
}

/// Makes the report of a file that another tool wrote. `format` is found by the file's keys where it is `None`.
///
/// # Errors
///
/// Bytes that are no JSON (or, for llama-bench, SQL); keys of no known tool; a value of another kind than its key asks
/// for, with its place.
pub fn parse_import(
    bytes: &[u8],
    source: (&str, &str),
    format: Option<ImportFormat>,
) -> Result<Report, ImportError> {
    let document = sql::or_json(bytes)?;
    let format = match format {
        Some(format) => format,
        None => detect(&document)?,
    };
    let read = match format {
        ImportFormat::VllmBench => vllm::vllm(&document),
        ImportFormat::Sglang => vllm::sglang(&document),
        ImportFormat::LlamaBench => llama_bench::read(&document),
        ImportFormat::AiPerf => aiperf::read(&document),
        ImportFormat::GuideLlm => guidellm::read(&document),
        ImportFormat::SpeedBench => speed_bench::read(&document),
    }?;
    if read.arms.is_empty() {
        return Err(ImportError::Empty { tool: format.tool() });
    }
    Ok(report(read, format, source))
}

fn detect(document: &Value) -> Result<ImportFormat, ImportError> {
    let mut found = ImportFormat::ALL.into_iter().filter(|format| format.wrote(document));
    found.next().ok_or_else(|| ImportError::Unknown { keys: keys(document) })
}

/// The first keys of a document, to say what was found instead.
fn keys(document: &Value) -> Vec<String> {
    let object = document.as_array().and_then(|lines| lines.first()).unwrap_or(document);
    object.as_object().map(|object| object.keys().take(6).cloned().collect()).unwrap_or_default()
}

fn report(read: Document, format: ImportFormat, (source, source_sha256): (&str, &str)) -> Report {
    let tool = match &read.tool_version {
        Some(version) => format!("{} {version}", format.tool()),
        None => format!("{} (its version is not in the file)", format.tool()),
    };
    let mut arms = read.arms;
    number_equal_labels(&mut arms);
    for arm in &mut arms {
        arm.invalid_reasons =
            vec![format!("imported from {tool}: it has no rows, so no rule could be checked")];
    }
    let mut notes = vec![format!(
        "Imported from {tool} (`{source}`). This suite did not measure it: it may be drawn, and is never compared."
    )];
    notes.extend(read.notes);
    Report {
        schema: REPORT_SCHEMA,
        preset: format!("imported: {}", format.tool()),
        preset_description: "Figures of another tool, as far as its file tells them.".to_owned(),
        preset_sha256: String::new(),
        prompt_set: None,
        target_sha256: None,
        assistant_sha256: None,
        run_ids: vec![format!("imported-{}", source_sha256.chars().take(12).collect::<String>())],
        started_unix_ms: read.unix_ms.unwrap_or_default(),
        interrupted: false,
        suite_version: tool,
        host: HostInfo {
            os: None,
            kernel: None,
            cpu: read.cpu,
            cpu_count: None,
            cpu_features: Vec::new(),
            memory_bytes: None,
            gpus: Vec::new(),
            load_before: None,
        },
        blocks: 0,
        confidence: 0.95,
        notes,
        method_notes: Vec::new(),
        arms,
        comparisons: Vec::new(),
        sweeps: Vec::new(),
        truth: Vec::new(),
        environment: Vec::new(),
        imported: Some(Imported {
            tool: format.tool().to_owned(),
            tool_version: read.tool_version,
            source: source.to_owned(),
            source_sha256: source_sha256.to_owned(),
        }),
    }
}

/// Labels are names: a second test of the same settings is another arm.
fn number_equal_labels(arms: &mut [ArmReport]) {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for arm in arms {
        let times = seen.entry(arm.label.clone()).or_default();
        *times += 1;
        if *times > 1 {
            arm.label = format!("{}#{times}", arm.label);
        }
    }
}

/// An arm of which nothing is known.
fn arm(stack: StackKind, label: String) -> ArmReport {
    ArmReport {
        stack,
        preset: "imported".to_owned(),
        label,
        speculation: SpecDecode::None,
        n_requests: 0,
        failures: 0,
        failure_kinds: Vec::new(),
        valid: false,
        invalid_reasons: Vec::new(),
        skipped: None,
        tokens_per_s: None,
        e2e_tokens_per_s: None,
        served_tokens_per_s: None,
        ttft_ms: None,
        tpot_ms: None,
        inter_chunk: None,
        inter_token: None,
        thinking: None,
        output_tokens: None,
        prompt_tokens: None,
        drafted: None,
        accepted: None,
        verify_steps: None,
        acceptance_rate: None,
        acceptance_length: None,
        accepted_per_position: None,
        drafted_per_position: None,
        accepted_histogram: None,
        categories: Vec::new(),
        effective: Vec::new(),
        truth: Vec::new(),
        environment: None,
        joules_per_token: None,
        latency: None,
        timeline: None,
        kv_quality: None,
        explanation: None,
        load: None,
    }
}

/// A value of which no interval is known.
fn point(value: f64) -> Estimate {
    Estimate { point: value, low: None, high: None }
}

fn failures(count: u64, first_message: &str) -> Vec<FailureSummary> {
    let kind = FailureSummary { kind: "failed".to_owned(), count, first_message: first_message.to_owned() };
    if count > 0 { vec![kind] } else { Vec::new() }
}

/// All gaps, in milliseconds, by the definitions of `docs/metrics.md`; `None` without one.
fn gaps_of(mut gaps_ms: Vec<f64>) -> Option<Gaps> {
    gaps_ms.sort_unstable_by(f64::total_cmp);
    let count = gaps_ms.len();
    let rank = |percent: usize| gaps_ms.get((count * percent).div_ceil(100).checked_sub(1)?).copied();
    Some(Gaps {
        count: count as u64,
        mean_ms: gaps_ms.iter().sum::<f64>() / count as f64,
        p50_ms: rank(50)?,
        p99_ms: rank(99)?,
        max_ms: *gaps_ms.last()?,
    })
}
