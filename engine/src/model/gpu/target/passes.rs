//! Passes over the weights: queued launch by launch, or replayed as a graph, and what is brought back of them.
//!
//! Invariant: a graph's launches depend on the number of its rows alone.

use std::sync::Arc;

use super::super::layer::{Next, Pass};
use super::buffers::Buffers;
use super::{CudaTarget, GRAPH_ROWS};
use crate::EngineError;
use crate::backend::cuda::{NO_TOKEN, ResidualNorm, Rows};
use crate::spec::Target;
use crate::spec::accept::Verdict;

/// What a pass is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Only the caches.
    Nothing,
    /// The last row's logits.
    LastRow,
    /// Every row's.
    EveryRow,
}

impl CudaTarget {
    /// One pass over the weights.
    pub(super) fn pass(&mut self, tokens: &[u32], wanted: Wanted) -> Result<(), EngineError> {
        let (first, rows) = (self.positions.len(), tokens.len());
        let state = |first: usize| {
            let position = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
            [position(self.positions.len() + rows), position(first)]
        };
        let (all, last) = (state(first), state(first + rows - 1));
        self.device.write(&mut self.buffers.ids, tokens)?;
        self.device.write(&mut self.buffers.state, &all)?;
        self.device.write(&mut self.buffers.last_state, &last)?;
        if wanted == Wanted::EveryRow {
            self.replay(rows)?;
        } else {
            self.queue(rows, wanted)?;
        }
        self.positions.advance(rows);
        self.buffers.pass_rows = if wanted == Wanted::EveryRow { rows } else { 1 };
        Ok(())
    }

    /// Launches the graph of a pass over `rows` rows, captured when it is first needed.
    fn replay(&mut self, rows: usize) -> Result<(), EngineError> {
        if !self.graphs.contains_key(&rows) {
            let device = Arc::clone(&self.device);
            let mut queued = Ok(());
            let graph = device.capture(|| {
                queued = self.queue(rows, Wanted::EveryRow);
                Ok(())
            });
            queued?;
            self.graphs.insert(rows, graph?);
        }
        Ok(self.graphs[&rows].launch()?)
    }

    /// Queues every launch of a pass over the rows whose ids and positions are on the device.
    fn queue(&mut self, rows: usize, wanted: Wanted) -> Result<(), EngineError> {
        let Self {
            device,
            ops,
            config,
            layers,
            caches,
            buffers,
            ple,
            frequencies,
            output_norm,
            gather,
            embedding,
            ..
        } = self;
        let Buffers { scratch, state, last_state, ids, hidden, .. } = buffers;
        let (decoder, count) = (&config.decoder, as_u32(rows));
        let n = decoder.hidden_size;
        let scale = (n as f32).sqrt();
        gather.launch(device, embedding.table(), ids, count, scale, &mut scratch.h, n)?;
        let (stream, eps) = (Rows::of(&scratch.h, n), decoder.rms_eps);
        if let Some(ple) = ple {
            ops.residual_norm(device, count, &ResidualNorm::stream(stream, None, eps), &mut scratch.x)?;
            ple.run(device, ops, config, ids, count, &scratch.x)?;
        }
        let first_norm = layers.first().map(|layer| &layer.attn_norm);
        ops.residual_norm(device, count, &ResidualNorm::stream(stream, first_norm, eps), &mut scratch.x)?;
        let ple = ple.as_ref().map(|ple| (&ple.values, config.ple_width));
        let mut pass = Pass { device, ops, decoder, frequencies, state, rows: count, first_row: 0, ple };
        let last_own = config.first_shared - 1;
        for (index, layer) in layers.iter().enumerate() {
            let ends_own = index == last_own && wanted != Wanted::EveryRow;
            let next = match layers.get(index + 1) {
                _ if ends_own && wanted == Wanted::Nothing => Next::Nobody,
                Some(next) if ends_own => Next::LastRow(&next.attn_norm),
                Some(next) => Next::Layer(&next.attn_norm),
                // Prefill of a model whose layers all have their own keys: every row got here.
                None if wanted == Wanted::LastRow && pass.rows > 1 => Next::LastRow(output_norm),
                None => Next::Output(output_norm, hidden),
            };
            let (is_output, alone) = (matches!(next, Next::Output(..)), matches!(next, Next::LastRow(_)));
            layer.run(&pass, index, caches, scratch, next)?;
            if ends_own && wanted == Wanted::Nothing {
                return Ok(());
            }
            if alone {
                pass = Pass { rows: 1, first_row: rows - 1, state: last_state, ..pass };
            }
            if index + 1 == layers.len() && !is_output {
                // The stream of the last row is normed into its place.
                let h = Rows { buffer: &scratch.h, from: pass.first_row * n, stride: n };
                ops.residual_norm(device, 1, &ResidualNorm::stream(h, Some(output_norm), eps), hidden)?;
            }
        }
        self.choose(if wanted == Wanted::LastRow { 1 } else { rows })
    }

    /// Head, soft cap and the greatest logit of the first `rows` hidden rows.
    fn choose(&mut self, rows: usize) -> Result<(), EngineError> {
        let count = as_u32(rows);
        let head = match &self.head {
            Some(head) => head,
            None => &self.embedding,
        };
        let Buffers { hidden, logits, argmax, best, ids, .. } = &mut self.buffers;
        head.launch(&self.device, hidden, count, logits)?;
        let (n, cap) = (self.config.decoder.vocab_size, self.config.softcap.unwrap_or(0.0));
        Ok(self.ops.argmax(
            &self.device,
            count,
            (n, cap),
            logits,
            argmax,
            (best, 0),
            None,
            None,
            Some(ids),
        )?)
    }

    /// Every row of `tokens`: in one pass, or where that would change a row's bits, or there are more rows than a graph
    /// has, in several.
    pub(super) fn verify(&mut self, tokens: &[u32]) -> Result<usize, EngineError> {
        let (n, vocab) = (self.config.decoder.hidden_size, self.vocab_size());
        let margins_at = self.buffers.outputs();
        let mut done = 0;
        while done < tokens.len() {
            let rows = self.rows_alike(self.positions.len(), tokens.len() - done);
            self.pass(&tokens[done..done + rows], Wanted::EveryRow)?;
            if rows < tokens.len() {
                let Buffers { hidden, logits, best, kept, .. } = &mut self.buffers;
                let stride = hidden.stride();
                self.device.copy(hidden.values(), 0..rows * stride, &mut kept.hidden, done * stride)?;
                self.device.copy(logits, 0..rows * vocab, &mut kept.logits, done * vocab)?;
                self.device.copy(best, 0..rows, &mut kept.best, done)?;
                self.device.copy(best, margins_at..margins_at + rows, &mut kept.best, margins_at + done)?;
            }
            done += rows;
            if done == tokens.len() && rows < tokens.len() {
                let Buffers { hidden, logits, best, kept, .. } = &mut self.buffers;
                let stride = n.next_multiple_of(32);
                self.device.copy(&kept.hidden, 0..done * stride, hidden.values_mut(), 0)?;
                self.device.copy(&kept.logits, 0..done * vocab, logits, 0)?;
                self.device.copy(&kept.best, 0..2 * margins_at, best, 0)?;
            }
        }
        Ok(done)
    }

    /// Ids and margins of the first `rows` rows, and the verdict of the last pass, to the host; waits for the device.
    pub(super) fn take_choice(&mut self, rows: usize) -> Result<(), EngineError> {
        let ids = self.device.download(&self.buffers.best)?;
        let (ids, rest) = ids.split_at(self.buffers.outputs());
        let (margins, verdict) = rest.split_at(self.buffers.outputs());
        self.buffers.chosen.clear();
        self.buffers.chosen.extend_from_slice(&ids[..rows]);
        self.buffers.margins.clear();
        self.buffers.margins.extend(margins[..rows].iter().map(|&bits| f32::from_bits(bits)));
        self.buffers.verdict = match *verdict {
            [accepted, next] if next != NO_TOKEN && rows == self.buffers.pass_rows => {
                Some(Verdict { accepted: accepted as usize, next })
            }
            _ => None,
        };
        self.buffers.fetched.clear();
        Ok(())
    }

    /// The device's verdict over `drafts` as greedy ones, if those are what the last forward pass, in one piece, was over.
    pub(super) fn greedy_verdict(&self, drafts: &[u32]) -> Option<Verdict> {
        let whole = drafts.len() + 1 == self.rows() && self.tokens.ends_with(drafts);
        self.buffers.verdict.filter(|_| whole)
    }

    /// Most rows from position `first` on that one pass may have so that each gets the bits it would have alone.
    fn rows_alike(&self, first: usize, rows: usize) -> usize {
        let alike =
            |rows: &usize| self.layers.iter().all(|layer| layer.attention().divides_alike(first, *rows));
        (1..=rows.min(GRAPH_ROWS)).rev().find(alike).unwrap_or(1)
    }
}

fn as_u32(rows: usize) -> u32 {
    u32::try_from(rows).unwrap_or(u32::MAX)
}
