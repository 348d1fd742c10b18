//! What a run leaves on disk: `manifest.json` and `rows.jsonl`. Nothing else is kept, and everything published is
//! recomputed from these two.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::bandwidth::MemoryBandwidth;
use crate::client::ClientRecord;
use crate::kv_quality::KvQualityOutcome;
use crate::load::Shard;
use crate::noise::NoiseFloor;
use crate::preset::{Preset, SpecDecode, StackKind};
use crate::stack::{Death, FailureKind, FinishReason, Readback, SpecCounts, StackInfo, Usage};
use crate::thinking::TokenSplit;

/// Version of both documents, raised when a field changes its meaning.
pub const RECORD_SCHEMA: u32 = 1;

/// Everything about a run that is not a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunManifest {
    /// Always [`RECORD_SCHEMA`].
    pub schema: u32,
    /// Unique: start time and a random part.
    pub run_id: String,
    /// Version of this suite.
    pub suite_version: String,
    /// The command line.
    pub command: Vec<String>,
    /// Start, milliseconds since 1970.
    pub started_unix_ms: u64,
    /// End; `None` while running and after a crash.
    pub end: Option<RunEnd>,
    /// The experiment, whole.
    pub preset: Preset,
    /// SHA-256 of the preset's canonical JSON, hex.
    pub preset_sha256: String,
    /// SHA-256 of the target's file, hex. A server that was attached to may have loaded another. `None` in manifests
    /// written before it was recorded.
    #[serde(default)]
    pub target_sha256: Option<String>,
    /// SHA-256 of the assistant's file, hex; `None` without an assistant, too.
    #[serde(default)]
    pub assistant_sha256: Option<String>,
    /// The machine.
    pub host: HostInfo,
    /// Every arm the preset asks for, in report order, those that could not run included.
    pub arms: Vec<ArmManifest>,
    /// The part of the load that was sent from here, where others sent the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// What the run knows of its own client. `None` while running, and in manifests written before it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientRecord>,
    /// The noise floor of this machine and experiment, if an A/A run measured it before this run began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise_floor: Option<NoiseFloor>,
    /// Memory bandwidth, for the ceiling of decoding. `None` where no arm runs on this CPU in this process and nobody gave
    /// one, and in manifests written before it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bandwidth: Option<MemoryBandwidth>,
    /// What a reader has to know of the preset beyond itself: what its prompt file held that was not asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEnd {
    /// Milliseconds since 1970.
    pub unix_ms: u64,
    /// Stopped by the user before all was measured.
    pub interrupted: bool,
    /// Rows written.
    pub rows: u64,
}

/// The machine a run was made on. What cannot be read is `None`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostInfo {
    /// Operating system and version.
    pub os: Option<String>,
    /// Kernel version.
    pub kernel: Option<String>,
    /// CPU brand.
    pub cpu: Option<String>,
    /// Logical CPUs.
    pub cpu_count: Option<u32>,
    /// Instruction sets that matter to us: `avx2`, `fma`, `f16c`, `avx512f`.
    pub cpu_features: Vec<String>,
    /// Physical memory.
    pub memory_bytes: Option<u64>,
    /// Names of the GPUs, as NVML has them and in its order; empty where it is absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<String>,
    /// One-minute load average when the run began, our own work not yet included.
    pub load_before: Option<f64>,
}

/// One arm: a stack with one way of speculating.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmManifest {
    /// `STACK/VARIANT`, unique in the run.
    pub label: String,
    /// The stack.
    pub stack: StackKind,
    /// Label of the variant.
    pub variant: String,
    /// Speculation as asked.
    pub spec: SpecDecode,
    /// Requests in flight at once, where the run sweeps over that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<NonZeroU32>,
    /// What became of it before the first request.
    pub status: ArmStatus,
    /// Configuration read back; `None` unless ready.
    pub info: Option<StackInfo>,
    /// SHA-256 of the configuration asked for (speculation, serving, sampling, models' hashes), hex: equal in two runs
    /// that asked the same of a stack.
    #[serde(default)]
    pub config_sha256: Option<String>,
    /// What its KV cache costs in quality, where that is lossy. `None` for other caches, while running, and in manifests
    /// written before it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_quality: Option<KvQualityOutcome>,
}

/// What became of an arm before its first request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ArmStatus {
    /// It was measured.
    Ready,
    /// An optional stack that this machine does not have, or that cannot do what the preset asks.
    Skipped {
        /// Why.
        reason: String,
    },
    /// It should have run and could not; there is a row of phase `setup` too.
    Failed {
        /// Kind of failure.
        kind: FailureKind,
        /// The message.
        detail: String,
    },
}

/// When in a run a row was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Starting or reaching the stack.
    Setup,
    /// Before measuring.
    Warmup,
    /// Counted.
    Measured,
}

/// One request, one line of `rows.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// Always [`RECORD_SCHEMA`].
    pub schema: u32,
    /// The run.
    pub run_id: String,
    /// The arm's label.
    pub arm: String,
    /// When in the run.
    pub phase: Phase,
    /// Block, from 0.
    pub block: u32,
    /// Position among all requests of the run, from 0.
    pub request_index: u64,
    /// The prompt's id; empty for rows of phase `setup`.
    pub prompt_id: String,
    /// The prompt's category; empty for rows of phase `setup`.
    pub category: String,
    /// SHA-256 of the prompt's text (system, a zero byte, user), hex; of a later turn with all that was said before
    /// ([`crate::run_dir::turn_sha256`]; [`Self::answer`] of the rows before it).
    pub prompt_sha256: String,
    /// SHA-256 of the whole request (prompt, length, sampling with this request's seed), hex. `None` in rows of phase
    /// `setup`, and in those written before it was recorded.
    #[serde(default)]
    pub request_sha256: Option<String>,
    /// Sent, milliseconds since 1970.
    pub sent_unix_ms: u64,
    /// When it was to be sent and when it was; `None` in a closed loop, where it was to be sent when another had ended. In a
    /// closed loop that time ends (`run.duration_s`) the number says which prompt for the how manieth time, and nobody meant
    /// another time than that of the send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrival: Option<Arrival>,
    /// Its place in a conversation; `None` where the prompt has one user turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<Turn>,
    /// How it ended.
    pub outcome: Outcome,
    /// Stamps, in nanoseconds after the send.
    pub timing: Timing,
    /// Token counts as the stack reports them.
    pub usage: Usage,
    /// Output tokens we believe in, and why.
    pub output: OutputCount,
    /// Speculation of this request, where the stack tells.
    pub spec: Option<SpecCounts>,
    /// The same from a second source, where there is one that differs in drafted or accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec_disputed: Option<SpecCounts>,
    /// What the answer says of itself; `None` where it did not finish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readback: Option<Readback>,
    /// Thinking and answer tokens; `None` where the request did not finish, and in rows written before they were told
    /// apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<TokenSplit>,
    /// The process that answered is not the one that answered before, and we did not restart it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restarted_in_silence: bool,
    /// Ids of the output, where the stack tells all of them.
    pub token_ids: Option<Vec<u32>>,
    /// The text that came.
    pub text: String,
    /// The stack's own timings, as they came.
    pub stack_timings: Option<serde_json::Value>,
}

/// A request's place in an open loop. Its latency as a user would have it begins at `intended_ns`; the stamps of
/// [`Timing`] begin at `sent_ns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// Its number in the schedule of its block, from 0.
    pub slot: u32,
    /// When it was to be sent, nanoseconds after the beginning of its pass.
    pub intended_ns: u64,
    /// When it was sent. Not before it was to be; `None` if it never was.
    pub sent_ns: Option<u64>,
}

/// A request's place in a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// The conversation: its turns, and no other rows of the arm and phase, have this id.
    pub conversation: String,
    /// From 1.
    pub turn: u32,
    /// User turns of the whole conversation.
    pub of: u32,
    /// From the end of the answer before to this send, nanoseconds: the think time, and what came on top. `None` of a first
    /// turn, and of one that was not sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_answer_ns: Option<u64>,
}

impl Arrival {
    /// How late it was sent.
    #[must_use]
    pub fn late_ns(&self) -> Option<u64> {
        self.sent_ns.map(|sent| sent.saturating_sub(self.intended_ns))
    }
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Outcome {
    /// The stack said that it finished.
    Completed {
        /// Why.
        reason: FinishReason,
    },
    /// It did not.
    Failed {
        /// Kind of failure.
        kind: FailureKind,
        /// The message.
        detail: String,
        /// What the user can do about it.
        hint: Option<String>,
        /// How the server ended, if it did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        death: Option<Death>,
    },
    /// The deadline passed.
    TimedOut {
        /// The deadline.
        limit_ms: u64,
    },
    /// The user stopped the run.
    Cancelled,
}

impl Outcome {
    /// Whether the stack said that it finished.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        matches!(self, Self::Completed { .. })
    }
}

/// Stamps of a request, in nanoseconds after the send, taken when a chunk was read and before it was parsed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Timing {
    /// The stack took the request.
    pub opened_ns: Option<u64>,
    /// The first chunk with output: TTFT.
    pub first_token_ns: Option<u64>,
    /// The last chunk with output.
    pub last_token_ns: Option<u64>,
    /// The end, whichever it was.
    pub ended_ns: u64,
    /// Every chunk with output: stamp and tokens in it (`None` where the stack does not tell).
    pub chunks: Vec<Chunk>,
}

/// One chunk with output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Nanoseconds after the send.
    pub at_ns: u64,
    /// Tokens in it.
    pub tokens: Option<u32>,
}

/// How many tokens came, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputCount {
    /// `None` where nobody tells.
    pub tokens: Option<u32>,
    /// Who says so.
    pub source: CountSource,
    /// `true` if two sources disagree (both are in the record).
    pub disputed: bool,
    /// Tokens the stack's tokenizer makes of the text that came. Evidence, not a count: a text has more than one
    /// tokenisation, and special tokens leave no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retokenised: Option<u32>,
}

/// Who counted the output tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CountSource {
    /// The token ids that came.
    TokenIds,
    /// The stack's usage report.
    Usage,
    /// The sum of per-chunk counts.
    Chunks,
    /// Nobody.
    Unknown,
}

impl OutputCount {
    /// Why this count is believed, in words.
    #[must_use]
    pub fn because(&self) -> &'static str {
        match (self.source, self.disputed) {
            (CountSource::TokenIds, false) => "the ids of all tokens came, and nothing contradicts them",
            (CountSource::TokenIds, true) => {
                "the ids of all tokens came; another count differs, and ids are the tokens themselves"
            }
            (CountSource::Usage, false) => {
                "the stack's usage report; no ids came, and nothing contradicts it"
            }
            (CountSource::Usage, true) => {
                "the stack's usage report; the sum of its chunks differs, and chunks may hold tokens back"
            }
            (CountSource::Chunks, _) => "the sum of what chunks said; neither ids nor usage came",
            (CountSource::Unknown, _) => "nobody counted",
        }
    }
}

impl RequestRecord {
    /// The text without its thoughts, as far as they are told: what the next turn of a conversation carries.
    #[must_use]
    pub fn answer(&self) -> &str {
        let thought = self.split.as_ref().map_or(0, |split| split.thought_bytes);
        // A row of foreign make may point anywhere.
        self.text.get(thought..).unwrap_or(&self.text)
    }

    /// What pairs it with the same request to another arm: block, prompt, its number in the schedule where there is
    /// one, since an open loop may ask a prompt more than once, and its turn of a conversation.
    #[must_use]
    pub fn place(&self) -> Place<'_> {
        Place {
            block: self.block,
            prompt_id: &self.prompt_id,
            slot: self.arrival.map_or(0, |arrival| arrival.slot),
            turn: self.turn.as_ref().map_or(1, |turn| turn.turn),
        }
    }

    /// Seconds between the first and the last chunk, and the tokens that came after the first chunk: what decode
    /// throughput and TPOT are made of. `None` unless the request completed, at least two chunks came, and the
    /// first chunk's token count is known.
    #[must_use]
    pub fn decode_span(&self) -> Option<DecodeSpan> {
        if !self.outcome.is_completed() {
            return None;
        }
        let first = self.timing.chunks.first()?;
        let span_ns = self.timing.last_token_ns?.checked_sub(first.at_ns)?;
        let tokens = self.output.tokens?.checked_sub(first.tokens.or_else(|| self.one_token_each())?)?;
        (span_ns > 0 && tokens > 0).then_some(DecodeSpan { tokens, span_ns })
    }

    /// 1 where the output is as many tokens as chunks came: no chunk without a token is kept, so each holds one, even
    /// if the stack does not say so chunk by chunk.
    fn one_token_each(&self) -> Option<u32> {
        let chunks = u32::try_from(self.timing.chunks.len()).ok()?;
        (self.output.tokens == Some(chunks)).then_some(1)
    }
}

/// Which of a block's requests a row is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place<'a> {
    /// Block, from 0.
    pub block: u32,
    /// The prompt's id.
    pub prompt_id: &'a str,
    /// Number in the schedule; 0 in a closed loop.
    pub slot: u32,
    /// Turn of a conversation, from 1.
    pub turn: u32,
}

/// Tokens after the first chunk, and the time they took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeSpan {
    /// Tokens after the first chunk.
    pub tokens: u32,
    /// First chunk to last chunk.
    pub span_ns: u64,
}
