//! A preset as it is written: every key optional, numbers not yet checked.

use bench_core::load::RampCurve;
use bench_core::preset::{Device, DraftHead, KvTypes, PleTable, Route, RunOrder, StackKind, WeightType};
use serde::{Deserialize, Serialize};

/// The whole text. Keys and defaults are described in `fields`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawPreset {
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) inherits: Option<String>,
    pub(crate) models: Option<RawModels>,
    pub(crate) stacks: Option<Vec<RawStack>>,
    pub(crate) variants: Option<Vec<RawVariant>>,
    pub(crate) serving: Option<RawServing>,
    pub(crate) workload: Option<RawWorkload>,
    pub(crate) sampling: Option<RawSampling>,
    pub(crate) run: Option<RawRun>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawModels {
    pub(crate) target: Option<String>,
    pub(crate) assistant: Option<String>,
    pub(crate) hf_target: Option<String>,
    pub(crate) hf_assistant: Option<String>,
    pub(crate) bundled: Option<String>,
    pub(crate) synth_tiny: Option<RawSynthTiny>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSynthTiny {
    pub(crate) acceptance: Option<f64>,
    pub(crate) cycle: Option<i64>,
    pub(crate) weights: Option<WeightType>,
    pub(crate) seed: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawStack {
    pub(crate) kind: StackKind,
    pub(crate) required: Option<bool>,
    pub(crate) command: Option<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawVariant {
    pub(crate) label: Option<String>,
    pub(crate) method: Option<Method>,
    pub(crate) draft_max: Option<i64>,
    pub(crate) draft_block_size: Option<i64>,
    pub(crate) sweep_draft_max: Option<Vec<i64>>,
    pub(crate) draft_min: Option<i64>,
    pub(crate) acceptance: Option<Acceptance>,
    pub(crate) synthetic_rates: Option<Vec<f64>>,
    pub(crate) synthetic_length: Option<f64>,
    pub(crate) draft_head: Option<DraftHead>,
    pub(crate) ngram_min: Option<i64>,
    pub(crate) ngram_max: Option<i64>,
    pub(crate) kv_type: Option<KvTypes>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Method {
    None,
    Mtp,
    Nextn,
    DraftModel,
    Ngram,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Acceptance {
    SampleAndCompare,
    Rejection,
    Synthetic,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawServing {
    pub(crate) context_tokens: Option<i64>,
    pub(crate) kv_type: Option<KvTypes>,
    pub(crate) threads: Option<i64>,
    pub(crate) route: Option<Route>,
    pub(crate) device: Option<Device>,
    pub(crate) ple_table: Option<PleTable>,
    pub(crate) slots: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawWorkload {
    pub(crate) max_tokens: Option<i64>,
    pub(crate) ignore_eos: Option<bool>,
    pub(crate) salted: Option<bool>,
    pub(crate) set: Option<PromptSet>,
    pub(crate) file: Option<RawPromptFile>,
    pub(crate) synthetic: Option<RawSynthetic>,
    pub(crate) categories: Option<Vec<String>>,
    pub(crate) per_category: Option<i64>,
    pub(crate) prompts: Option<Vec<RawPrompt>>,
}

/// Prompts from a file that others made.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawPromptFile {
    pub(crate) path: Option<String>,
    pub(crate) format: Option<FileWord>,
    pub(crate) sha256: Option<String>,
    pub(crate) limit: Option<i64>,
    pub(crate) turns: Option<i64>,
}

/// Prompts of synthetic tokens.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSynthetic {
    pub(crate) input_tokens: Option<Vec<i64>>,
    pub(crate) count: Option<i64>,
    pub(crate) spread: Option<f64>,
    pub(crate) seed: Option<i64>,
}

/// Shapes of prompt files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FileWord {
    Own,
    Sharegpt,
    Questions,
}

/// Prompt sets in the binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PromptSet {
    Suite,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawPrompt {
    pub(crate) id: Option<String>,
    pub(crate) category: Option<String>,
    pub(crate) system: Option<String>,
    pub(crate) text: Option<String>,
    pub(crate) turns: Option<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSampling {
    pub(crate) temperature: Option<f64>,
    pub(crate) top_k: Option<i64>,
    pub(crate) top_p: Option<f64>,
    pub(crate) min_p: Option<f64>,
    pub(crate) seed: Option<i64>,
}

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LoadWord {
    Closed,
    Constant,
    Poisson,
    Gamma,
    Ramp,
    Trace,
}

impl LoadWord {
    /// As presets write it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Constant => "constant",
            Self::Poisson => "poisson",
            Self::Gamma => "gamma",
            Self::Ramp => "ramp",
            Self::Trace => "trace",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRun {
    pub(crate) blocks: Option<i64>,
    pub(crate) warmup_requests: Option<i64>,
    pub(crate) concurrency: Option<i64>,
    pub(crate) sweep_concurrency: Option<Vec<i64>>,
    pub(crate) load: Option<LoadWord>,
    pub(crate) rate: Option<f64>,
    pub(crate) rate_end: Option<f64>,
    pub(crate) ramp: Option<RampCurve>,
    pub(crate) burstiness: Option<f64>,
    pub(crate) trace: Option<String>,
    pub(crate) trace_us: Option<Vec<u64>>,
    pub(crate) requests: Option<i64>,
    pub(crate) duration_s: Option<i64>,
    pub(crate) max_in_flight: Option<i64>,
    pub(crate) request_timeout: Option<String>,
    pub(crate) max_restarts: Option<i64>,
    pub(crate) min_acceptance: Option<f64>,
    pub(crate) order: Option<RunOrder>,
    pub(crate) max_looks: Option<i64>,
    pub(crate) throughput_margin: Option<f64>,
    pub(crate) ttft_margin: Option<f64>,
    pub(crate) think_time_ms: Option<i64>,
    pub(crate) kv_quality_tokens: Option<i64>,
}
