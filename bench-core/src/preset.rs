//! The preset: one experiment, the same for every stack.
//!
//! A `Preset` is always valid. Text is read and checked by the crate `bench-presets`; the serde impls here exist so
//! that a run's manifest can carry the whole preset and be read back.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use crate::kv_type::{KvType, KvTypes, ParseKvTypesError};

use crate::kv_quality::DEFAULT_KV_QUALITY_TOKENS;
use crate::load::Load;
use crate::stats::Metric;
use crate::synthetic::SyntheticPrompts;

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
        /// The drafter; needed by [`SpecDecode::Mtp`] and [`SpecDecode::DraftModel`].
        assistant: Option<PathBuf>,
        /// The same models for stacks that read no GGUF (vLLM, SGLang): folders, or names on a model hub.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hf: Option<HfModels>,
    },
    /// A trained pair inside the binary, by its name; written to the cache on first use.
    Bundled(String),
    /// A synthetic tiny Gemma-4 pair with planted acceptance, written on first use.
    SynthTiny(SynthTiny),
}

/// Models as transformers keeps them. Their weights' format differs from the GGUF's, which a report has to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HfModels {
    /// The model whose output counts.
    pub target: String,
    /// The drafter.
    pub assistant: Option<String>,
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
    /// The fork of llama.cpp's server with turbo KV caches, before and after its flags were renamed.
    AtomicLlamaServer,
    /// llama-swap in front of llama-server.
    LlamaSwap,
    /// vLLM's OpenAI-compatible server.
    Vllm,
    /// Any other OpenAI-compatible server.
    #[serde(rename = "openai")]
    OpenAi,
}

impl StackKind {
    /// All kinds, in report order.
    pub const ALL: [Self; 6] =
        [Self::Native, Self::LlamaServer, Self::AtomicLlamaServer, Self::LlamaSwap, Self::Vllm, Self::OpenAi];

    /// The name used in presets, on the command line and in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::LlamaServer => "llama-server",
            Self::AtomicLlamaServer => "atomic-llama-server",
            Self::LlamaSwap => "llama-swap",
            Self::Vllm => "vllm",
            Self::OpenAi => "openai",
        }
    }

    /// Whether it reads nothing but GGUF files.
    #[must_use]
    pub fn needs_gguf(self) -> bool {
        match self {
            Self::Native | Self::LlamaServer | Self::AtomicLlamaServer | Self::LlamaSwap => true,
            Self::Vllm | Self::OpenAi => false,
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
    /// How to launch a server the suite does not know ([`StackKind::OpenAi`] only): program and arguments, in which
    /// `{port}`, `{target}`, `{assistant}`, `{draft_max}`, `{context_tokens}` and `{threads}` are filled in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
}

/// What may stand between braces in [`StackChoice::command`].
pub const COMMAND_PLACEHOLDERS: [&str; 6] =
    ["port", "target", "assistant", "draft_max", "context_tokens", "threads"];

/// A named way of speculating.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpecVariant {
    /// Short name, part of the arm's label: `native/mtp-3`.
    pub label: String,
    /// What it does.
    pub spec: SpecDecode,
    /// Types of the KV cache in place of [`ServingParams::kv_type`], so that one run interleaves several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_type: Option<KvTypes>,
}

impl SpecVariant {
    /// With the preset's own KV cache.
    #[must_use]
    pub fn new(label: impl Into<String>, spec: SpecDecode) -> Self {
        Self { label: label.into(), spec, kv_type: None }
    }
}

impl Preset {
    /// How the models of a variant are served: as the preset says, with the variant's own KV types if it has some. A label
    /// that no variant has is served as the preset says.
    #[must_use]
    pub fn serving_of(&self, variant: &str) -> ServingParams {
        ServingParams { kv_type: self.kv_types_of(variant), ..self.serving.clone() }
    }

    /// KV types of a variant.
    #[must_use]
    pub fn kv_types_of(&self, variant: &str) -> KvTypes {
        let own = self.variants.iter().find(|known| known.label == variant).and_then(|known| known.kv_type);
        own.unwrap_or(self.serving.kv_type)
    }

    /// Whether variants differ in their KV types: then comparisons of their arms are about these, too.
    #[must_use]
    pub fn compares_kv_types(&self) -> bool {
        let mut all = self.variants.iter().map(|variant| variant.kv_type.unwrap_or(self.serving.kv_type));
        let first = all.next();
        all.any(|other| Some(other) != first)
    }
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
        /// How drafts are accepted; greedy requests compare argmax with either of the two real rules.
        acceptance: AcceptanceRule,
        /// Which tokens a draft is chosen from. Left out of the JSON where it is the default: a preset that does not
        /// ask keeps the hash it had before there was a choice.
        #[serde(default, skip_serializing_if = "DraftHead::is_auto")]
        draft_head: DraftHead,
    },
    /// The target's own next-token layers draft (Qwen's NextN): no second model.
    Nextn {
        /// Most drafted tokens in a round.
        draft_max: NonZeroU32,
        /// Drafts shorter than this are thrown away.
        draft_min: u32,
        /// How drafts are accepted.
        acceptance: AcceptanceRule,
    },
    /// A smaller model with the same vocabulary drafts.
    DraftModel {
        /// Most drafted tokens in a round.
        draft_max: NonZeroU32,
        /// How drafts are accepted.
        acceptance: AcceptanceRule,
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
    /// The method's name: `none`, `mtp`, `nextn`, `draft-model` or `ngram`.
    #[must_use]
    pub fn method(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Mtp { .. } => "mtp",
            Self::Nextn { .. } => "nextn",
            Self::DraftModel { .. } => "draft-model",
            Self::Ngram { .. } => "ngram",
        }
    }

    /// Most drafted tokens in a round; `None` for plain decoding.
    #[must_use]
    pub fn draft_max(&self) -> Option<NonZeroU32> {
        match self {
            Self::None => None,
            Self::Mtp { draft_max, .. }
            | Self::Nextn { draft_max, .. }
            | Self::DraftModel { draft_max, .. }
            | Self::Ngram { draft_max, .. } => Some(*draft_max),
        }
    }

    /// Whether a second model drafts.
    #[must_use]
    pub fn needs_assistant(&self) -> bool {
        match self {
            Self::Mtp { .. } | Self::DraftModel { .. } => true,
            Self::None | Self::Nextn { .. } | Self::Ngram { .. } => false,
        }
    }

    /// The rule by which drafts are accepted; `None` for plain decoding.
    #[must_use]
    pub fn acceptance(&self) -> Option<&AcceptanceRule> {
        match self {
            Self::None => None,
            Self::Mtp { acceptance, .. }
            | Self::Nextn { acceptance, .. }
            | Self::DraftModel { acceptance, .. } => Some(acceptance),
            Self::Ngram { .. } => Some(&AcceptanceRule::SampleAndCompare),
        }
    }

    /// Whether drafts are accepted by coin flips: then neither text nor acceptance say anything of the models.
    #[must_use]
    pub fn plants_acceptance(&self) -> bool {
        matches!(self.acceptance(), Some(AcceptanceRule::Synthetic(_)))
    }
}

/// How drafts are accepted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AcceptanceRule {
    /// Sample from the target and accept while the sample equals the draft (llama.cpp).
    #[default]
    SampleAndCompare,
    /// Rejection sampling, Leviathan et al. 2023, algorithm 1.
    Rejection,
    /// Coin flips in place of verification: the work of speculation at a chosen acceptance, with any weights. The text
    /// is worth nothing then; an acceptance of 0 equals plain greedy decoding.
    Synthetic(SyntheticRates),
}

/// Acceptance by draft position: entry i is the share of rounds in which the drafts 0 to i are all accepted (marginal,
/// as vLLM's `synthetic_acceptance_rates` and llama.cpp's `--spec-synth-rates` have it). Never increases; one entry
/// for each of `draft_max` positions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<f64>", into = "Vec<f64>")]
pub struct SyntheticRates(Vec<f64>);

impl SyntheticRates {
    /// From marginal rates, the first position first.
    ///
    /// # Errors
    ///
    /// What is wrong with them, in words.
    pub fn new(rates: Vec<f64>) -> Result<Self, String> {
        if rates.is_empty() {
            return Err("no rates".to_owned());
        }
        if let Some(rate) = rates.iter().find(|rate| !(0.0..=1.0).contains(*rate)) {
            return Err(format!("{rate} is no share: rates lie from 0 to 1"));
        }
        match rates.windows(2).find(|pair| pair[1] > pair[0]) {
            Some(pair) => Err(format!(
                "{} after {}: marginal rates never increase, since a draft counts only if all before it did",
                pair[1], pair[0]
            )),
            None => Ok(Self(rates)),
        }
    }

    /// The rates of a mean acceptance length (bonus token included) with `draft_max` drafts, as vLLM makes them: whole
    /// positions first, then the rest of one, then none.
    ///
    /// # Errors
    ///
    /// Where the length cannot be had: it lies from 1 to `draft_max + 1`.
    pub fn from_length(length: f64, draft_max: NonZeroU32) -> Result<Self, String> {
        let most = f64::from(draft_max.get()) + 1.0;
        if !(1.0..=most).contains(&length) {
            return Err(format!(
                "{length} is no acceptance length of {draft_max} drafts: it lies from 1 to {most}"
            ));
        }
        // 2.8 - 2 is 0.7999999999999998: rounded to what whoever wrote 2.8 meant.
        let nine_digits = |rate: f64| (rate * 1e9).round() / 1e9;
        let rate = |position: u32| nine_digits((length - 1.0 - f64::from(position)).clamp(0.0, 1.0));
        Ok(Self((0..draft_max.get()).map(rate).collect()))
    }

    /// Marginal rates, the first position first.
    #[must_use]
    pub fn marginal(&self) -> &[f64] {
        &self.0
    }

    /// Acceptance of a position, given that all before it were accepted; 0 where that never happens.
    #[must_use]
    pub fn conditional(&self) -> Vec<f64> {
        let before = std::iter::once(1.0).chain(self.0.iter().copied());
        self.0
            .iter()
            .zip(before)
            .map(|(rate, before)| if before > 0.0 { rate / before } else { 0.0 })
            .collect()
    }

    /// Mean tokens of a verify step, bonus token included.
    #[must_use]
    pub fn acceptance_length(&self) -> f64 {
        1.0 + self.0.iter().sum::<f64>()
    }
}

impl TryFrom<Vec<f64>> for SyntheticRates {
    type Error = String;

    fn try_from(rates: Vec<f64>) -> Result<Self, String> {
        Self::new(rates)
    }
}

impl From<SyntheticRates> for Vec<f64> {
    fn from(rates: SyntheticRates) -> Self {
        rates.0
    }
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
    /// Types of the KV cache, of the drafter's too; a variant may ask for others.
    pub kv_type: KvTypes,
    /// CPU threads a stack may use.
    pub threads: NonZeroU32,
    /// The HTTP route (ignored in process, where both forms are native).
    pub route: Route,
    /// Where the models have to run.
    #[serde(default, skip_serializing_if = "Device::is_auto")]
    pub device: Device,
    /// Where a model on a GPU keeps its table of per-layer embeddings.
    #[serde(default, skip_serializing_if = "PleTable::is_auto")]
    pub ple_table: PleTable,
    /// Requests that a server has to answer at once, each with `context_tokens` of its own.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub slots: NonZeroU32,
}

const fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape serde wants")]
const fn is_one(n: &NonZeroU32) -> bool {
    n.get() == 1
}

/// Where the models have to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Device {
    /// Wherever the stack chooses.
    #[default]
    Auto,
    /// All layers on the CPU.
    Cpu,
    /// All layers on GPUs; a stack that falls back to the CPU makes the arm invalid.
    Gpu,
}

impl Device {
    /// The name presets and reports use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape serde wants")]
    fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

/// Where a model on a GPU keeps its table of per-layer embeddings (Gemma 4 E2B and E4B: 2.3 and 2.8 G parameters, of which
/// a token reads one row). What is in force stands among the stack's details as [`crate::stack::PLE_TABLE_DETAIL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PleTable {
    /// On the device where it fits beside weights and KV cache, else in the host's memory; or wherever the stack chooses.
    #[default]
    Auto,
    /// On the device.
    Device,
    /// In the host's memory.
    Host,
}

impl PleTable {
    /// The name presets and reports use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Device => "device",
            Self::Host => "host",
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape serde wants")]
    fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

/// The route by which an HTTP stack is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// Raw text continuation, in the stack's own dialect: llama.cpp's `/completion`, elsewhere `/v1/completions`.
    Completion,
    /// Raw text continuation by OpenAI's `/v1/completions`, on every stack.
    #[serde(rename = "openai-completion")]
    OpenAiCompletion,
    /// Chat messages, rendered by the model's own template: `/v1/chat/completions`.
    Chat,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// At least one; ids are unique.
    pub prompts: Vec<PromptSpec>,
    /// Output tokens of a request at most.
    pub max_tokens: NonZeroU32,
    /// Go on past end-of-generation tokens, so that every arm emits equally many.
    pub ignore_eos: bool,
    /// Every prompt begins with digits of its own ([`crate::salt`]), so that no cache of prefixes can serve it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub salted: bool,
    /// What the prompts were made of, if of synthetic tokens: claims about acceptance are refused. `None`: they are text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synthetic: Option<SyntheticPrompts>,
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
    /// What the user says after each answer (chat only): turn 2 and on. Empty: one request, as ever.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub later_turns: Vec<String>,
}

impl PromptSpec {
    /// User turns, and so requests, of this prompt.
    #[must_use]
    pub fn turns(&self) -> u32 {
        u32::try_from(self.later_turns.len()).unwrap_or(u32::MAX - 1) + 1
    }

    /// What the user says in a turn, counted from 0.
    #[must_use]
    pub fn user_text(&self, turn: u32) -> Option<&str> {
        match usize::try_from(turn).ok()?.checked_sub(1) {
            None => Some(&self.text),
            Some(later) => self.later_turns.get(later).map(String::as_str),
        }
    }
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

/// How often, how many at once, how long, and what is not believed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunParams {
    /// Measured passes of all arms over all prompts, interleaved; the unit of replication.
    pub blocks: NonZeroU32,
    /// Unmeasured requests an arm gets first.
    pub warmup_requests: u32,
    /// Requests in flight at once on one arm, in a closed loop; 1 in an open one, whose limit is its own.
    pub concurrency: NonZeroU32,
    /// When requests are sent. Left out of the JSON of a closed loop: a preset that does not ask keeps its hash.
    #[serde(default, skip_serializing_if = "Load::is_closed")]
    pub load: Load,
    /// Every arm once for each of these numbers of requests in flight, in place of `concurrency`, which is the greatest of
    /// them; empty: no sweep.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sweep_concurrency: Vec<NonZeroU32>,
    /// A request that takes longer is a row with the outcome `timed_out`.
    pub request_timeout_ms: u64,
    /// How often a server that we started is started again after a crash, an arm; then the arm is given up.
    #[serde(default = "default_max_restarts", skip_serializing_if = "is_default_max_restarts")]
    pub max_restarts: u32,
    /// An arm whose drafts are accepted less often than this is invalid, as something is wrong with its drafter.
    #[serde(default = "default_min_acceptance", skip_serializing_if = "is_default_min_acceptance")]
    pub min_acceptance: f64,
    /// In which order a block goes through the arms.
    #[serde(default, skip_serializing_if = "RunOrder::is_abba")]
    pub order: RunOrder,
    /// How often the run may look whether it can end: 1 is the end itself. Intervals are wider for more (see
    /// [`crate::stats::Looks`]).
    #[serde(default = "default_max_looks", skip_serializing_if = "is_default_max_looks")]
    pub max_looks: u32,
    /// A difference of throughput nobody would act on, as a share: intervals within it are called equivalent.
    #[serde(default = "default_throughput_margin", skip_serializing_if = "is_default_throughput_margin")]
    pub throughput_margin: f64,
    /// The same for the time to first token.
    #[serde(default = "default_ttft_margin", skip_serializing_if = "is_default_ttft_margin")]
    pub ttft_margin: f64,
    /// How long a measured pass goes on sending, seconds; `None`: until everything was asked once, or `requests` of an open
    /// loop were sent. What is in flight at the end is waited for and counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<NonZeroU32>,
    /// How long the user of a conversation reads and types: the next turn is due so long after the end of an answer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub think_time_ms: u64,
    /// Positions at most on which the quality of a lossy KV cache is measured against f16, after the requests; 0: not at
    /// all (see [`crate::kv_quality`]).
    #[serde(default = "default_kv_quality_tokens", skip_serializing_if = "is_default_kv_quality_tokens")]
    pub kv_quality_tokens: u32,
}

impl RunParams {
    /// How long a measured pass goes on sending, where time ends it.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        self.duration_s.map(|seconds| Duration::from_secs(seconds.get().into()))
    }

    /// A difference nobody would act on, as a share.
    #[must_use]
    pub fn margin(&self, metric: Metric) -> f64 {
        match metric {
            Metric::TokensPerS | Metric::E2eTokensPerS => self.throughput_margin,
            Metric::TtftMs => self.ttft_margin,
        }
    }
}

/// In which order a block goes through the arms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunOrder {
    /// Forward and backward in turn: an even drift cancels exactly.
    #[default]
    Abba,
    /// Shuffled anew for every block, from the preset's seed: no rhythm of the machine can fall in step with the order.
    Random,
}

impl RunOrder {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape serde wants")]
    fn is_abba(&self) -> bool {
        *self == Self::Abba
    }
}

/// [`RunParams::max_looks`] where a preset does not say: no look before the end.
pub const DEFAULT_MAX_LOOKS: u32 = 1;

/// [`RunParams::throughput_margin`] where a preset does not say.
pub const DEFAULT_THROUGHPUT_MARGIN: f64 = 0.01;

/// [`RunParams::ttft_margin`] where a preset does not say: one short time scatters more than a long one.
pub const DEFAULT_TTFT_MARGIN: f64 = 0.03;

/// [`RunParams::max_restarts`] where a preset does not say.
pub const DEFAULT_MAX_RESTARTS: u32 = 3;

/// [`RunParams::min_acceptance`] where a preset does not say.
pub const DEFAULT_MIN_ACCEPTANCE: f64 = 0.01;

// Keys that came later are left out of the JSON where they have their defaults: a preset keeps the hash it had.

fn default_max_restarts() -> u32 {
    DEFAULT_MAX_RESTARTS
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape serde wants")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape serde wants")]
fn is_default_max_restarts(restarts: &u32) -> bool {
    *restarts == DEFAULT_MAX_RESTARTS
}

fn default_min_acceptance() -> f64 {
    DEFAULT_MIN_ACCEPTANCE
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape serde wants")]
fn is_default_min_acceptance(floor: &f64) -> bool {
    floor.total_cmp(&DEFAULT_MIN_ACCEPTANCE).is_eq()
}

fn default_max_looks() -> u32 {
    DEFAULT_MAX_LOOKS
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape serde wants")]
fn is_default_max_looks(looks: &u32) -> bool {
    *looks == DEFAULT_MAX_LOOKS
}

fn default_throughput_margin() -> f64 {
    DEFAULT_THROUGHPUT_MARGIN
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape serde wants")]
fn is_default_throughput_margin(margin: &f64) -> bool {
    margin.total_cmp(&DEFAULT_THROUGHPUT_MARGIN).is_eq()
}

fn default_ttft_margin() -> f64 {
    DEFAULT_TTFT_MARGIN
}

fn default_kv_quality_tokens() -> u32 {
    DEFAULT_KV_QUALITY_TOKENS
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape serde wants")]
fn is_default_kv_quality_tokens(tokens: &u32) -> bool {
    *tokens == DEFAULT_KV_QUALITY_TOKENS
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape serde wants")]
fn is_default_ttft_margin(margin: &f64) -> bool {
    margin.total_cmp(&DEFAULT_TTFT_MARGIN).is_eq()
}
