//! Small valid documents for tests to start from.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use crate::environment::{EnvironmentSample, Moment};
use crate::kv_quality::DEFAULT_KV_QUALITY_TOKENS;
use crate::load::Load;
use crate::preset::{
    DEFAULT_MAX_LOOKS, DEFAULT_MAX_RESTARTS, DEFAULT_MIN_ACCEPTANCE, DEFAULT_THROUGHPUT_MARGIN,
    DEFAULT_TTFT_MARGIN, Device, KvType, ModelSource, PRESET_SCHEMA, PleTable, Preset, PromptSpec, Route,
    RunOrder, RunParams, SamplingParams, ServingParams, SpecDecode, SpecVariant, StackChoice, StackKind,
    SynthTiny, WeightType, Workload,
};
use crate::record::{
    ArmManifest, ArmStatus, Chunk, CountSource, HostInfo, Outcome, OutputCount, Phase, RECORD_SCHEMA,
    RequestRecord, RunManifest, Timing,
};
use crate::run_dir::prompt_sha256;
use crate::stack::{FinishReason, GenerateRequest, Prompt, StackInfo, Usage};
use crate::thinking::{SplitSource, TokenSplit};

/// Two prompts, one block, one variant, greedy, one request at a time, no warm-up, a deadline of one second.
#[must_use]
pub fn preset() -> Preset {
    Preset {
        schema: PRESET_SCHEMA,
        name: "test".to_owned(),
        description: "For tests.".to_owned(),
        models: ModelSource::SynthTiny(SynthTiny {
            acceptance: 0.7,
            cycle: None,
            weights: WeightType::F16,
            seed: 1,
        }),
        stacks: vec![StackChoice { kind: StackKind::Native, required: true, command: Vec::new() }],
        variants: vec![SpecVariant::new("none", SpecDecode::None)],
        serving: ServingParams {
            context_tokens: NonZeroU32::MIN.saturating_add(1023),
            kv_type: KvType::F16.into(),
            threads: NonZeroU32::MIN,
            route: Route::Completion,
            device: Device::Auto,
            ple_table: PleTable::Auto,
            slots: NonZeroU32::MIN,
        },
        workload: Workload {
            prompts: ["a", "b"].map(prompt).to_vec(),
            max_tokens: NonZeroU32::MIN.saturating_add(7),
            ignore_eos: true,
            salted: false,
            synthetic: None,
        },
        sampling: SamplingParams { temperature: 0.0, top_k: None, top_p: None, min_p: None, seed: 42 },
        run: RunParams {
            blocks: NonZeroU32::MIN,
            warmup_requests: 0,
            concurrency: NonZeroU32::MIN,
            request_timeout_ms: 1000,
            max_restarts: DEFAULT_MAX_RESTARTS,
            min_acceptance: DEFAULT_MIN_ACCEPTANCE,
            order: RunOrder::Abba,
            max_looks: DEFAULT_MAX_LOOKS,
            throughput_margin: DEFAULT_THROUGHPUT_MARGIN,
            ttft_margin: DEFAULT_TTFT_MARGIN,
            duration_s: None,
            think_time_ms: 0,
            kv_quality_tokens: DEFAULT_KV_QUALITY_TOKENS,
            load: Load::Closed,
            sweep_concurrency: Vec::new(),
        },
    }
}

/// A greedy request for 8 tokens after a raw text, with a deadline of one second.
#[must_use]
pub fn generate_request(text: &str) -> GenerateRequest {
    let preset = preset();
    GenerateRequest {
        prompt: Prompt::Text(text.to_owned()),
        max_tokens: preset.workload.max_tokens.get(),
        ignore_eos: preset.workload.ignore_eos,
        sampling: preset.sampling,
        timeout: std::time::Duration::from_millis(preset.run.request_timeout_ms),
    }
}

fn prompt(id: &str) -> PromptSpec {
    PromptSpec {
        id: id.to_owned(),
        category: "prose".to_owned(),
        system: None,
        text: format!("text of {id}"),
        later_turns: Vec::new(),
    }
}

/// A completed request: first token after 250 ms, 4 tokens 10 ms apart.
#[must_use]
pub fn record(arm: &str, block: u32, request_index: u64) -> RequestRecord {
    let chunks: Vec<_> =
        (0..4).map(|index| Chunk { at_ns: 250_000_000 + index * 10_000_000, tokens: Some(1) }).collect();
    let asked = prompt("a");
    RequestRecord {
        schema: RECORD_SCHEMA,
        run_id: "run".to_owned(),
        arm: arm.to_owned(),
        phase: Phase::Measured,
        block,
        request_index,
        prompt_id: asked.id.clone(),
        category: asked.category.clone(),
        prompt_sha256: prompt_sha256(&asked),
        request_sha256: None,
        sent_unix_ms: 1_800_000_000_000,
        outcome: Outcome::Completed { reason: FinishReason::Length },
        timing: Timing {
            opened_ns: Some(1_000_000),
            first_token_ns: chunks.first().map(|chunk| chunk.at_ns),
            last_token_ns: chunks.last().map(|chunk| chunk.at_ns),
            ended_ns: 281_000_000,
            chunks,
        },
        usage: Usage { prompt_tokens: Some(3), cached_tokens: Some(0), output_tokens: Some(4) },
        output: OutputCount {
            tokens: Some(4),
            source: CountSource::TokenIds,
            disputed: false,
            retokenised: None,
        },
        spec: None,
        spec_disputed: None,
        readback: None,
        split: Some(TokenSplit {
            thinking_tokens: Some(0),
            answer_tokens: Some(4),
            first_answer: Some(250_000_000),
            source: Some(SplitSource::TokenIds),
            unknown: None,
            thought_bytes: 0,
            server_thinking_tokens: None,
        }),
        restarted_in_silence: false,
        token_ids: Some(vec![1, 2, 3, 4]),
        text: "abcd".to_owned(),
        stack_timings: None,
        arrival: None,
        turn: None,
    }
}

/// A finished run of `preset` on one ready native arm.
#[must_use]
pub fn manifest(preset: Preset) -> RunManifest {
    let arm = ArmManifest {
        label: "native/none".to_owned(),
        stack: StackKind::Native,
        variant: "none".to_owned(),
        spec: SpecDecode::None,
        status: ArmStatus::Ready,
        info: Some(stack_info()),
        config_sha256: None,
        kv_quality: None,
        concurrency: None,
    };
    RunManifest {
        schema: RECORD_SCHEMA,
        run_id: "run".to_owned(),
        suite_version: env!("CARGO_PKG_VERSION").to_owned(),
        command: vec!["bench".to_owned(), "run".to_owned()],
        started_unix_ms: 1_800_000_000_000,
        end: None,
        preset_sha256: "0".repeat(64),
        target_sha256: Some("1".repeat(64)),
        assistant_sha256: None,
        preset,
        host: host(),
        arms: vec![arm],
        client: None,
        noise_floor: None,
        shard: None,
        memory_bandwidth: None,
        notes: Vec::new(),
    }
}

/// A machine of which nothing is known.
#[must_use]
pub fn host() -> HostInfo {
    HostInfo {
        os: None,
        kernel: None,
        cpu: None,
        cpu_count: None,
        cpu_features: Vec::new(),
        memory_bytes: None,
        gpus: Vec::new(),
        load_before: None,
    }
}

/// A native stack of which nothing is known.
#[must_use]
pub fn stack_info() -> StackInfo {
    StackInfo {
        kind: StackKind::Native,
        build: None,
        model: None,
        speculation: None,
        kv_type: None,
        context_tokens: None,
        threads: None,
        draft_max: None,
        device: None,
        target_sha256: None,
        assistant_sha256: None,
        recipe: "scripted".to_owned(),
        details: BTreeMap::new(),
    }
}

/// A reading of a machine that tells nothing.
#[must_use]
pub fn environment_sample(at_unix_ms: u64, moment: Moment) -> EnvironmentSample {
    EnvironmentSample {
        at_unix_ms,
        moment,
        cpu: None,
        ours_cpu_ms: None,
        ours_memory_bytes: None,
        cpu_mhz: None,
        load_1m: None,
        memory_available_bytes: None,
        context_switches: None,
        ours_preempted: None,
        pressure: None,
        group_pressure: None,
        group_throttled_us: None,
        gpus: None,
    }
}
