//! The preset: one experiment, the same for every stack.
//!
//! A `Preset` is always valid. Text is read and checked by the crate `bench-presets`; the serde impls here exist so
//! that a run's manifest can carry the whole preset and be read back.

use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Version of the preset document, raised when a field changes its meaning.
pub const PRESET_SCHEMA: u32 = 1;

/// One experiment: models, arms, prompts, sampling and repetition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// Always [`PRESET_SCHEMA`].
    pub schema: u32,
    /// Short name, `[a-z0-9-]+`.
    pub name: String,
    /// One or two sentences for `bench presets list`.
    pub description: String,
    /// Where the weights come from.
    pub models: ModelSource,
    /// Stacks to run on, in report order.
    pub stacks: Vec<StackChoice>,
    /// Ways of speculating; the first is the baseline of every comparison.
    pub variants: Vec<SpecVariant>,
    /// How a stack has to serve the models.
    pub serving: ServingParams,
    /// What is asked.
    pub workload: Workload,
    /// How tokens are chosen.
    pub sampling: SamplingParams,
    /// How often, how many at once, how long.
    pub run: RunParams,
}

/// Where the weights come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ModelSource {
    /// GGUF files on this machine.
    Files {
        /// The model whose output counts.
        target: PathBuf,
        /// The drafter; needed by [`SpecDecode::Mtp`].
        assistant: Option<PathBuf>,
    },
    /// A trained pair inside the binary, by its name; written to the cache on first use.
    Bundled(String),
    /// A synthetic tiny Gemma-4 pair with planted acceptance, written on first use.
    SynthTiny(SynthTiny),
}

/// Parameters of the synthetic tiny pair. Equal parameters give byte-equal files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SynthTiny {
    /// Share of tokens whose successor the assistant knows, 0 to 1.
    pub acceptance: f32,
    /// Length of the cycles the target walks; `None`: one cycle over all ordinary tokens. Short cycles repeat within an
    /// output, which gives prompt lookup something to find.
    pub cycle: Option<NonZeroU32>,
    /// Weight type of the matrices.
    pub weights: WeightType,
    /// Seed of all random weights.
    pub seed: u64,
}

/// Weight types that synthetic models can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightType {
    /// 32-bit floats.
    F32,
    /// IEEE half precision.
    F16,
    /// Brain floats.
    Bf16,
    /// 8-bit blocks of 32 with one f16 scale.
    #[serde(rename = "q8_0")]
    Q8_0,
}

/// Every stack the suite knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StackKind {
    /// Our engine, in this process.
    Native,
    /// llama.cpp's HTTP server.
    LlamaServer,
}

impl StackKind {
    /// All kinds, in report order.
    pub const ALL: [Self; 2] = [Self::Native, Self::LlamaServer];

    /// The name used in presets, on the command line and in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::LlamaServer => "llama-server",
        }
    }
}

impl std::fmt::Display for StackKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// A stack a preset runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StackChoice {
    /// Which stack.
    pub kind: StackKind,
    /// `false`: where the stack is not installed its arms are reported as skipped, and the run still succeeds.
    pub required: bool,
}

/// A named way of speculating.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpecVariant {
    /// Short name, part of the arm's label: `native/mtp-3`.
    pub label: String,
    /// What it does.
    pub spec: SpecDecode,
}

/// How drafts are made. A method that needs an assistant cannot be written without one (checked against
/// [`ModelSource`] when the preset is read).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "kebab-case", deny_unknown_fields)]
pub enum SpecDecode {
    /// Plain decoding.
    None,
    /// The Gemma 4 assistant (multi-token prediction head) drafts.
    Mtp {
        /// Most drafted tokens in a round (llama.cpp's `n_max`; a "block size" B elsewhere is `draft_max + 1`).
        draft_max: NonZeroU32,
        /// How sampled drafts are accepted; greedy requests compare argmax whatever this says.
        acceptance: AcceptanceRule,
        /// Which tokens a draft is chosen from. Left out of the JSON where it is the default: a preset that does not
        /// ask keeps the hash it had before there was a choice.
        #[serde(default, skip_serializing_if = "DraftHead::is_auto")]
        draft_head: DraftHead,
    },
    /// Prompt lookup: the longest recent n-gram that occurred before is continued.
    Ngram {
        /// Most drafted tokens in a round.
        draft_max: NonZeroU32,
        /// Shortest n-gram that may match.
        ngram_min: NonZeroU32,
        /// Longest n-gram that is tried first.
        ngram_max: NonZeroU32,
    },
}

impl SpecDecode {
    /// The method's name: `none`, `mtp` or `ngram`.
    #[must_use]
    pub fn method(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Mtp { .. } => "mtp",
            Self::Ngram { .. } => "ngram",
        }
    }

    /// Most drafted tokens in a round; `None` for plain decoding.
    #[must_use]
    pub fn draft_max(&self) -> Option<NonZeroU32> {
        match self {
            Self::None => None,
            Self::Mtp { draft_max, .. } | Self::Ngram { draft_max, .. } => Some(*draft_max),
        }
    }
}

/// How a sampled draft is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AcceptanceRule {
    /// Sample from the target and accept while the sample equals the draft (llama.cpp).
    #[default]
    SampleAndCompare,
    /// Rejection sampling, Leviathan et al. 2023, algorithm 1.
    Rejection,
}

/// How the assistant scores the vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DraftHead {
    /// The tokens of the nearest centroids where the assistant has centroids and the stack reads them, else all
    /// tokens. What is in force stands among the stack's details as [`crate::stack::DRAFT_HEAD_DETAIL`].
    #[default]
    Auto,
    /// All tokens.
    Dense,
}

impl DraftHead {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape serde wants")]
    fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

/// How a stack has to serve the models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServingParams {
    /// Tokens of context of one request, prompt and output together.
    pub context_tokens: NonZeroU32,
    /// Type of the KV cache.
    pub kv_type: KvType,
    /// CPU threads a stack may use.
    pub threads: NonZeroU32,
    /// The HTTP route (ignored in process, where both forms are native).
    pub route: Route,
}

/// Element type of the KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvType {
    /// 32-bit floats.
    F32,
    /// IEEE half precision.
    F16,
    /// 8-bit blocks of 32 with one f16 scale.
    #[serde(rename = "q8_0")]
    Q8_0,
}

impl KvType {
    /// The name llama.cpp and presets use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
        }
    }
}

/// The route by which an HTTP stack is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// Raw text continuation: llama.cpp's `/completion`.
    Completion,
    /// Chat messages, rendered by the model's own template: `/v1/chat/completions`.
    Chat,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// At least one; ids are unique.
    pub prompts: Vec<PromptSpec>,
    /// Output tokens of a request at most.
    pub max_tokens: NonZeroU32,
    /// Go on past end-of-generation tokens, so that every arm emits equally many.
    pub ignore_eos: bool,
}

/// One prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptSpec {
    /// Unique in the preset.
    pub id: String,
    /// Kind of text, the unit results are grouped by: `json`, `code`, `prose`.
    pub category: String,
    /// System message (chat only).
    pub system: Option<String>,
    /// The user's text, or the raw text to continue.
    pub text: String,
}

/// How tokens are chosen. Order: top-k, top-p, min-p, temperature; as llama.cpp.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplingParams {
    /// 0 is greedy.
    pub temperature: f32,
    /// Keep the k most likely tokens.
    pub top_k: Option<NonZeroU32>,
    /// Keep the smallest set whose probability reaches p.
    pub top_p: Option<f32>,
    /// Drop tokens less likely than `min_p` times the most likely.
    pub min_p: Option<f32>,
    /// Seed of the sampler.
    pub seed: u64,
}

/// How often, how many at once, how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunParams {
    /// Measured passes of all arms over all prompts, interleaved; the unit of replication.
    pub blocks: NonZeroU32,
    /// Unmeasured requests an arm gets first.
    pub warmup_requests: u32,
    /// Requests in flight at once on one arm (closed loop).
    pub concurrency: NonZeroU32,
    /// A request that takes longer is a row with the outcome `timed_out`.
    pub request_timeout_ms: u64,
}
