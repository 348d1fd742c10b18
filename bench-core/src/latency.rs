//! Latencies of an arm as plain data for charts: percentiles, and the chunks of one request.
//!
//! It computes nothing; the formulas stand in docs/metrics.md. Invariant: what some chunk does not tell is `None`.

use serde::{Deserialize, Serialize};

/// Percentiles 0 to 100 of each latency, by nearest rank: 101 values, milliseconds, ascending.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LatencyPercentiles {
    /// Send to first chunk, over requests.
    pub ttft: Option<Vec<f64>>,
    /// Time between successive chunks, over all of them.
    pub between_chunks: Option<Vec<f64>>,
    /// Time between tokens: each gap in equal parts to the tokens of the chunk that ends it.
    pub between_tokens: Option<Vec<f64>>,
}

/// One request as its client saw it: the same prompt and block for every arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestTimeline {
    /// The prompt.
    pub prompt_id: String,
    /// The block.
    pub block: u32,
    /// Its chunks, in order. The native engine sends one a verify step.
    pub chunks: Vec<TimelineChunk>,
}

/// One chunk with output.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TimelineChunk {
    /// Milliseconds after the send.
    pub at_ms: f64,
    /// Tokens in it; `None` where the stack does not tell.
    pub tokens: Option<u32>,
}
