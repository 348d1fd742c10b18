//! What a pass reads and writes besides weights and caches, and what came of the last one.

use super::super::layer::Scratch;
use super::GRAPH_ROWS;
use crate::backend::cuda::{Activations, Argmax, Buffer, CudaError, Device, RowSampler, VERDICT};
use crate::model::config::TargetConfig;
use crate::spec::accept::Verdict;

/// All that a pass reads and writes besides weights and caches.
#[derive(Debug)]
pub(in super::super) struct Buffers {
    pub(super) scratch: Scratch,
    pub(super) ids: Buffer<u32>,
    /// `[kv_len, first_pos]` of a pass, and of its last row.
    pub(super) state: Buffer<i32>,
    pub(super) last_state: Buffer<i32>,
    /// Rows after the output norm.
    pub(super) hidden: Activations,
    /// `[rows][vocab]`
    pub(in super::super) logits: Buffer<f32>,
    pub(super) argmax: Argmax,
    /// `[outputs]` ids of the greatest logits, `[outputs]` their margins as bits of f32, and the verdict over the last
    /// pass's tokens as greedy drafts: one copy brings them all.
    pub(in super::super) best: Buffer<u32>,
    /// The same on the host, for the rows of the last forward pass; the verdict only where that was one pass.
    pub(super) chosen: Vec<u32>,
    pub(super) margins: Vec<f32>,
    pub(super) verdict: Option<Verdict>,
    /// Rows that the last pass gave.
    pub(super) pass_rows: usize,
    /// Logits on the host; empty until asked for.
    pub(super) fetched: Vec<f32>,
    /// Made when a token is first sampled.
    pub(in super::super) sampler: Option<RowSampler>,
    pub(super) kept: Kept,
}

/// Results of the passes of one forward pass that had to be several.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) hidden: Buffer<f32>,
    pub(super) logits: Buffer<f32>,
    /// `[outputs]` ids, `[outputs]` margins.
    pub(super) best: Buffer<u32>,
}

impl Buffers {
    /// Rows that a forward pass can give.
    pub(in super::super) fn outputs(&self) -> usize {
        (self.best.len() - VERDICT) / 2
    }

    /// For passes of `rows` rows, and forward passes that give up to `outputs`.
    pub(super) fn new(
        device: &Device,
        config: &TargetConfig,
        rows: usize,
        outputs: usize,
    ) -> Result<Self, CudaError> {
        let decoder = &config.decoder;
        let hidden = Activations::new(device, outputs, decoder.hidden_size)?;
        // Passes are never split where there is but one row.
        let kept = if outputs > 1 { outputs } else { 0 };
        Ok(Self {
            kept: Kept {
                hidden: device.zeros("hidden rows", kept * hidden.stride())?,
                logits: device.zeros("logits", kept * decoder.vocab_size)?,
                best: device.zeros("token ids", 2 * kept)?,
            },
            scratch: Scratch::new(device, decoder, rows, config.ple_width)?,
            ids: device.zeros("token ids", rows)?,
            state: device.zeros("positions", 2)?,
            last_state: device.zeros("positions", 2)?,
            hidden,
            logits: device.zeros("logits", outputs * decoder.vocab_size)?,
            argmax: Argmax::new(device, GRAPH_ROWS)?.with_margins_at(outputs),
            best: device.zeros("token ids", 2 * outputs + VERDICT)?,
            chosen: Vec::with_capacity(outputs),
            margins: Vec::with_capacity(outputs),
            verdict: None,
            pass_rows: 0,
            fetched: Vec::new(),
            sampler: None,
        })
    }
}
