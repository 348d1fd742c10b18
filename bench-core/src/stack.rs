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

use crate::preset::{SamplingParams, StackKind};

/// The events of one request.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<StreamEvent, StackError>> + Send>>;

/// A thing that generates text: a server over HTTP, or our engine in process.
#[async_trait]
pub trait Stack: Send + Sync {
    /// The configuration that is really in force, read back from the stack.
    async fn describe(&self) -> Result<StackInfo, StackError>;

    /// Starts one request. The returned stream yields its events.
    async fn generate(&self, request: GenerateRequest) -> Result<EventStream, StackError>;

    /// Counters summed since the stack started, where it has any (llama.cpp's and vLLM's `/metrics`).
    async fn spec_counters(&self) -> Result<Option<SpecCounts>, StackError>;

    /// Stops what was started for this arm and waits for its end.
    async fn shutdown(&self) -> Result<(), StackError>;
}

/// One request, the same words for every stack.
#[derive(Debug, Clone, PartialEq)]
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// Text to continue as it is (BOS is added by the stack).
    Text(String),
    /// Messages, rendered with the model's own chat template.
    Chat {
        /// System message.
        system: Option<String>,
        /// User message.
        user: String,
    },
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
        /// When the chunk was read.
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
    },
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
}

/// Key of the draft head in force among the details of an MTP arm: `centroid 32 of 2048` (of 2048 centroids, the tokens
/// of the nearest 32 are scored) or `dense`.
pub const DRAFT_HEAD_DETAIL: &str = "draft head";

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
    #[error("the stream ended without a finish after {events} events: {detail}")]
    Aborted {
        /// Events read before.
        events: u64,
        /// What was seen.
        detail: String,
    },
    /// A server that we started is gone.
    #[error("{program} ended by itself ({status})")]
    Exited {
        /// Its program.
        program: String,
        /// Exit code or signal, in words.
        status: String,
        /// Its last lines.
        log_tail: Vec<String>,
    },
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
            Self::Exited { .. } => FailureKind::Exited,
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
            Self::Exited { log_tail, .. } if !log_tail.is_empty() => {
                Some(format!("its last lines were:\n{}", log_tail.join("\n")))
            }
            Self::Unreachable { .. } => Some("is the server running, and on this port?".to_owned()),
            Self::Exited { .. }
            | Self::Status { .. }
            | Self::Protocol { .. }
            | Self::Aborted { .. }
            | Self::Unsupported { .. }
            | Self::TimedOut { .. } => None,
        }
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
    /// A limit was reached outside a request (a request's own deadline is [`crate::record::Outcome::TimedOut`]).
    TimedOut,
}
