//! What the runner knows of a stack: one trait, events with stamps, errors with a kind.
//!
//! Invariants every implementation keeps (checked by the conformance suite):
//! * a stamp is taken when bytes (or tokens, in process) arrive, before anything is parsed;
//! * events come in the order `Opened? Tokens* Finished`, and `Finished` comes last, exactly once, only if the stack
//!   itself said that it finished; a stream that ends without it has failed;
//! * a count is tokens, never chunks; what the stack does not tell is `None`, never 0;
//! * dropping the stream cancels the request.

use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::Stream;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::preset::{PromptSpec, Route, SamplingParams, StackKind};
use crate::thinking::Split;

/// The events of one request.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<StreamEvent, StackError>> + Send>>;

/// A thing that generates text: a server over HTTP, or our engine in process.
#[async_trait]
pub trait Stack: Send + Sync {
    /// The configuration that is really in force, read back from the stack.
    async fn describe(&self) -> Result<StackInfo, StackError>;

    /// Told before the clock of requests starts: `Pass` before as many as may be in flight at once, `Request` before
    /// each. A stack over a network opens its connections here. What fails here fails again, with its words, in
    /// [`Stack::generate`], so that it becomes a row.
    async fn prepare(&self, _ahead: Ahead) {}

    /// Starts one request. The returned stream yields its events.
    async fn generate(&self, request: GenerateRequest) -> Result<EventStream, StackError>;

    /// Counters summed since the stack started, where it has any (llama.cpp's and vLLM's `/metrics`).
    async fn counters(&self) -> Result<CounterReading, StackError>;

    /// How many tokens the stack's own tokenizer makes of a text, no BOS added; `None` where it has no such service.
    async fn count_tokens(&self, text: &str) -> Result<Option<u32>, StackError>;

    /// After a request that failed: whether the stack still runs. If it does not, is ours, and `may_start`, starts it
    /// again.
    async fn revive(&self, may_start: bool) -> Result<Revival, StackError>;

    /// Stops what was started for this arm and waits for its end.
    async fn shutdown(&self) -> Result<(), StackError>;
}

/// What is about to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ahead {
    /// A pass with as many requests in flight at once.
    Pass {
        /// How many.
        concurrency: usize,
    },
    /// One request, which is sent next.
    Request,
}

/// One reading of a stack's counters.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CounterReading {
    /// Speculation since the process started.
    pub spec: Option<SpecCounts>,
    /// Prompt tokens that came from a cache, since the process started.
    pub cached_tokens: Option<u64>,
    /// When the process that answered began, as it words it: another value means that it was restarted, be it in
    /// silence.
    pub process_started: Option<String>,
}

/// What became of a stack after a request that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revival {
    /// It still runs.
    Alive,
    /// It was dead and was started again.
    Restarted,
    /// It is dead; it is not ours to start, or was not to be started.
    Dead,
}

/// One request, the same words for every stack.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GenerateRequest {
    /// Raw text or messages.
    pub prompt: Prompt,
    /// Output tokens at most, at least 1.
    pub max_tokens: u32,
    /// Go on past end-of-generation tokens.
    pub ignore_eos: bool,
    /// How tokens are chosen.
    pub sampling: SamplingParams,
    /// The request's deadline; the runner enforces it, a stack may use it for its own reads.
    pub timeout: Duration,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Prompt {
    /// Text to continue as it is (BOS is added by the stack).
    Text(String),
    /// Messages, rendered with the model's own chat template.
    Chat {
        /// System message.
        system: Option<String>,
        /// What was said before, oldest first.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        history: Vec<Exchange>,
        /// User message.
        user: String,
    },
}

/// A turn of a conversation that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exchange {
    /// What the user said.
    pub user: String,
    /// What this stack answered, without its thoughts.
    pub assistant: String,
}

/// Messages of a chat in order, each `(role, content)` in OpenAI's words.
pub fn chat_messages<'a>(
    system: Option<&'a str>,
    history: &'a [Exchange],
    user: &'a str,
) -> impl Iterator<Item = (&'static str, &'a str)> {
    let before = history.iter().flat_map(|Exchange { user, assistant }| {
        [("user", user.as_str()), ("assistant", assistant.as_str())]
    });
    system.map(|text| ("system", text)).into_iter().chain(before).chain([("user", user)])
}

impl Prompt {
    /// A preset's prompt as a request carries it; of a conversation the first turn.
    #[must_use]
    pub fn of(prompt: &PromptSpec, route: Route) -> Self {
        Self::turn(prompt, route, 0, &[])
    }

    /// A turn of a conversation, counted from 0, after all that was said. A turn that is not there has no text.
    pub(crate) fn turn(prompt: &PromptSpec, route: Route, turn: u32, history: &[Exchange]) -> Self {
        let text = prompt.user_text(turn).unwrap_or_default().to_owned();
        match route {
            Route::Completion | Route::OpenAiCompletion => Self::Text(text),
            Route::Chat => {
                Self::Chat { system: prompt.system.clone(), history: history.to_vec(), user: text }
            }
        }
    }
}

/// Something that happened in a request.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamEvent {
    /// The stack took the request (HTTP: response head arrived).
    Opened {
        /// When.
        at: Instant,
    },
    /// One chunk arrived that carries output. Several tokens may share one chunk.
    Tokens {
        /// When the chunk arrived.
        at: Instant,
        /// Tokens in it, where the stack tells.
        count: Option<u32>,
        /// Their text; may be empty (part of a character).
        text: String,
        /// Their ids, where the stack tells.
        token_ids: Option<Vec<u32>>,
    },
    /// The stack said that the request ended well.
    Finished {
        /// When.
        at: Instant,
        /// Why it ended.
        reason: FinishReason,
        /// What the stack counted.
        usage: Usage,
        /// This request's speculation, where the stack tells.
        spec: Option<SpecCounts>,
        /// The stack's own timings, kept as they came.
        stack_timings: Option<serde_json::Value>,
        /// What the answer says of itself.
        readback: Readback,
        /// Thinking and answer, as far as they are told apart. Apart itself: every event of a stream is moved some times, and
        /// should not be larger for the last one.
        split: Box<Split<Instant>>,
    },
}

/// What an answer says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Readback {
    /// The model that answered, as the stack words it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The stack's fingerprint of its build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Sampling parameters that were in force and are not what was asked, in words; empty if all are; `None` where
    /// the stack does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling_changed: Option<Vec<String>>,
}

/// Why a request ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// `max_tokens` were emitted.
    Length,
    /// An end-of-generation token, or a stop word.
    Stop,
}

/// Token counts as the stack reports them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Prompt tokens in all (processed and cached).
    pub prompt_tokens: Option<u32>,
    /// Prompt tokens that came from a cache.
    pub cached_tokens: Option<u32>,
    /// Output tokens.
    pub output_tokens: Option<u32>,
}

/// Counts of speculation. Ratios are derived, never stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecCounts {
    /// Tokens proposed to the target.
    pub drafted: u64,
    /// Proposed tokens the target kept; at most `drafted`.
    pub accepted: u64,
    /// Target passes after prefill, those without a draft included; `None` where it cannot be known.
    pub verify_steps: Option<u64>,
    /// `accepted_per_position[i]`: rounds whose draft at position i (0-based) was accepted.
    pub accepted_per_position: Option<Vec<u64>>,
    /// `drafted_per_position[i]`: rounds that drafted at position i.
    pub drafted_per_position: Option<Vec<u64>>,
    /// `accepted_histogram[j]`: rounds that drafted and of whose drafts exactly j were accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_histogram: Option<Vec<u64>>,
    /// Where the counts come from.
    pub source: SpecSource,
}

impl SpecCounts {
    /// accepted / drafted; `None` if nothing was drafted.
    #[must_use]
    pub fn acceptance_rate(&self) -> Option<f64> {
        (self.drafted > 0).then(|| self.accepted as f64 / self.drafted as f64)
    }

    /// Mean tokens a verify step emits, the bonus token included: 1 + accepted / `verify_steps`.
    #[must_use]
    pub fn acceptance_length(&self) -> Option<f64> {
        let steps = self.verify_steps.filter(|&n| n > 0)?;
        Some(1.0 + self.accepted as f64 / steps as f64)
    }
}

/// Where counts of speculation were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpecSource {
    /// Our engine counted.
    Engine,
    /// The response carried them.
    ResponseBody,
    /// Difference of two readings of `/metrics`.
    MetricsDelta,
    /// The server's log said so.
    Log,
}

/// Key of the draft head in force among the details of an MTP arm: `centroid 32 of 2048` (of 2048 centroids, the tokens
/// of the nearest 32 are scored) or `dense`.
pub const DRAFT_HEAD_DETAIL: &str = "draft head";

/// Key among the details of an arm on a GPU: where its table of per-layer embeddings lies, `device` or words that begin
/// with `host`.
pub const PLE_TABLE_DETAIL: &str = "per-layer embeddings";

/// Key among the details of an arm: bytes of weights that one decode step reads, in digits.
pub const STEP_BYTES_DETAIL: &str = "model.step_bytes";

/// Key among a greedy request's `stack_timings`: one number an output token, how far its logit (or log probability,
/// which is the same distance) was above the runner-up's. See [`crate::audit`].
pub const TOP2_MARGINS: &str = "top2_margins";

/// The configuration in force, read back. Everything that cannot be read is `None`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StackInfo {
    /// Which stack.
    pub kind: StackKind,
    /// Version or build, as the stack words it.
    pub build: Option<String>,
    /// Model name or path, as the stack words it.
    pub model: Option<String>,
    /// Speculation in force: `none`, or the stack's name of the method.
    pub speculation: Option<String>,
    /// KV cache type in force.
    pub kv_type: Option<String>,
    /// Context of one request, in tokens.
    pub context_tokens: Option<u32>,
    /// CPU threads in force.
    pub threads: Option<u32>,
    /// Most drafted tokens in a round.
    #[serde(default)]
    pub draft_max: Option<u32>,
    /// `cpu`, `gpu`, or a device's name.
    #[serde(default)]
    pub device: Option<String>,
    /// SHA-256 of the target's file, hex, where the stack names a file that can be read here.
    #[serde(default)]
    pub target_sha256: Option<String>,
    /// SHA-256 of the assistant's file, hex, likewise.
    #[serde(default)]
    pub assistant_sha256: Option<String>,
    /// Command line or URL, the recipe to get this stack again.
    pub recipe: String,
    /// More facts, as the stack words them.
    pub details: std::collections::BTreeMap<String, String>,
}

/// Why a stack could not do what was asked. Becomes a failed row with [`StackError::kind`] and its text.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StackError {
    /// Nobody listens, or the connection broke before a response head.
    #[error("cannot reach {address}: {detail}")]
    Unreachable {
        /// Host and port, or URL.
        address: String,
        /// The system's words.
        detail: String,
    },
    /// An answer with a status other than 200.
    #[error("{address} answered {status}: {message}")]
    Status {
        /// URL.
        address: String,
        /// HTTP status.
        status: u16,
        /// The body's error message, or its beginning.
        message: String,
    },
    /// Bytes that are not what the protocol promises.
    #[error("{what}: `{excerpt}`")]
    Protocol {
        /// What was expected.
        what: String,
        /// The beginning of what came.
        excerpt: String,
    },
    /// The stream ended, or broke, without the stack saying that it finished.
    #[error("the stream ended without a finish after {events} events: {detail}{}", with_death(.death.as_deref()))]
    Aborted {
        /// Events read before.
        events: u64,
        /// What was seen.
        detail: String,
        /// How the server ended, if it did and we can tell.
        death: Option<Box<Death>>,
    },
    /// A server that we started is gone.
    #[error("{0}")]
    Exited(Box<Death>),
    /// The stack is not on this machine.
    #[error("{stack} is not installed: {detail}")]
    NotInstalled {
        /// Which.
        stack: StackKind,
        /// Where we looked.
        detail: String,
        /// How to get it.
        hint: String,
    },
    /// The stack cannot do what the preset asks.
    #[error("{stack} cannot {what}")]
    Unsupported {
        /// Which.
        stack: StackKind,
        /// What, and why.
        what: String,
    },
    /// Our engine failed.
    #[error("{detail}")]
    Engine {
        /// The engine's message.
        detail: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The arm's server died, and is not started again.
    #[error("not sent: {why}")]
    GivenUp {
        /// What happened to it.
        why: String,
    },
    /// A wait had a limit and reached it.
    #[error("{what} took longer than {limit_ms} ms")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// The limit.
        limit_ms: u64,
    },
}

impl StackError {
    /// The kind a record carries.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Unreachable { .. } => FailureKind::Unreachable,
            Self::Status { .. } => FailureKind::HttpStatus,
            Self::Protocol { .. } => FailureKind::Protocol,
            Self::Aborted { .. } => FailureKind::Aborted,
            Self::Exited(_) => FailureKind::Exited,
            Self::GivenUp { .. } => FailureKind::GivenUp,
            Self::NotInstalled { .. } => FailureKind::NotInstalled,
            Self::Unsupported { .. } => FailureKind::Unsupported,
            Self::Engine { .. } => FailureKind::Engine,
            Self::TimedOut { .. } => FailureKind::TimedOut,
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotInstalled { hint, .. } => Some(hint.clone()),
            Self::Engine { hint, .. } => hint.clone(),
            Self::Exited(death) => death.hint(),
            Self::Aborted { death, .. } => death.as_ref().and_then(|death| death.hint()),
            Self::Unreachable { .. } => Some("is the server running, and on this port?".to_owned()),
            Self::Status { .. }
            | Self::Protocol { .. }
            | Self::Unsupported { .. }
            | Self::GivenUp { .. }
            | Self::TimedOut { .. } => None,
        }
    }

    /// How the server ended, where this error knows.
    #[must_use]
    pub fn death(&self) -> Option<&Death> {
        match self {
            Self::Exited(death) => Some(death),
            Self::Aborted { death, .. } => death.as_deref(),
            Self::Unreachable { .. }
            | Self::Status { .. }
            | Self::Protocol { .. }
            | Self::NotInstalled { .. }
            | Self::Unsupported { .. }
            | Self::Engine { .. }
            | Self::GivenUp { .. }
            | Self::TimedOut { .. } => None,
        }
    }
}

fn with_death(death: Option<&Death>) -> String {
    death.map_or_else(String::new, |death| format!("; {death}"))
}

/// The end of a server, with its evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// Its program.
    pub program: String,
    /// Exit code or signal, in words.
    pub status: String,
    /// Where it gave up, if its log says: `fattn.cu:109`, a CUDA error, the last line of a Python traceback.
    pub abort_site: Option<String>,
    /// Its last lines.
    pub log_tail: Vec<String>,
}

impl std::fmt::Display for Death {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ended by itself ({})", self.program, self.status)?;
        match &self.abort_site {
            Some(site) => write!(f, " at {site}"),
            None => Ok(()),
        }
    }
}

impl Death {
    fn hint(&self) -> Option<String> {
        (!self.log_tail.is_empty()).then(|| format!("its last lines were:\n{}", self.log_tail.join("\n")))
    }
}

/// Kinds of failure, for grouping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// No connection.
    Unreachable,
    /// An HTTP status other than 200.
    HttpStatus,
    /// Unreadable bytes.
    Protocol,
    /// The stream ended without a finish.
    Aborted,
    /// The server process ended.
    Exited,
    /// The stack is missing.
    NotInstalled,
    /// The stack cannot do it.
    Unsupported,
    /// Our engine failed.
    Engine,
    /// Not sent, because the arm's server had died too often.
    GivenUp,
    /// A limit was reached outside a request (a request's own deadline is [`crate::record::Outcome::TimedOut`]).
    TimedOut,
}
