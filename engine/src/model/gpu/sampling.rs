//! Draws from the rows of the last pass and decides over drafts, without bringing the rows to the host.
//!
//! Invariant: verdict and numbers taken from the sampler are those of [`accept`] on the host.

use super::target::{Buffers, CudaTarget};
use crate::EngineError;
use crate::backend::cuda::{CudaError, Device, Drawing, Outcome, RowSampler};
use crate::spec::accept::{self, ExactRule, Verdict};
use crate::spec::rows::{DrawnRow, numbers_taken, side_by_side};
use crate::spec::sampler::Sampler;
use crate::spec::{Draft, Target};

impl CudaTarget {
    /// Decides over drafts; `None` where a row that counts gives no token, with nothing taken from `sampler`.
    pub(super) fn decide(
        &mut self,
        draft: &Draft,
        rejection: bool,
        sampler: &mut Sampler,
    ) -> Result<Option<Verdict>, EngineError> {
        self.check_rows(draft.tokens.len() + 1)?;
        self.check_draft(draft, rejection)?;
        let rows = side_by_side(draft, rejection, sampler);
        let Outcome { accepted, next } = self.draw_rows(0, rejection, sampler, &rows)?;
        let Some(next) = next else { return Ok(None) };
        sampler.skip(numbers_taken(draft, rejection, accepted));
        Ok(Some(Verdict { accepted, next }))
    }

    /// Draws from one row; `None` as in [`Self::decide`].
    pub(super) fn draw_row(&mut self, row: usize, sampler: &mut Sampler) -> Result<Option<u32>, EngineError> {
        self.check_rows(row + 1)?;
        let nothing = Draft::default();
        let rows = side_by_side(&nothing, false, sampler);
        let Outcome { next, .. } = self.draw_rows(row, false, sampler, &rows)?;
        sampler.skip(usize::from(next.is_some()));
        Ok(next)
    }

    fn draw_rows(
        &mut self,
        first_row: usize,
        rejection: bool,
        sampler: &Sampler,
        rows: &[DrawnRow<'_>],
    ) -> Result<Outcome, EngineError> {
        let shape = (self.buffers.outputs(), self.vocab_size());
        let Buffers { logits, best, sampler: room, .. } = &mut self.buffers;
        let row_sampler = made(room, &self.device, shape)?;
        let drawing = Drawing { logits, best, first_row, params: sampler.params(), rejection };
        Ok(row_sampler.decide(&self.device, &drawing, rows)?)
    }

    /// The sampler of rows, made when it is first needed; it also draws drafts, and holds what they were drawn from.
    pub(super) fn row_sampler(&mut self) -> Result<&mut RowSampler, EngineError> {
        let shape = (self.buffers.outputs(), self.vocab_size());
        Ok(made(&mut self.buffers.sampler, &self.device, shape)?)
    }

    /// Decides where the logits have to be looked at one by one, with the drafts' distributions beside them.
    pub(super) fn decide_on_host(
        &mut self,
        draft: &Draft,
        rule: ExactRule,
        sampler: &mut Sampler,
        probs: &mut Vec<f32>,
    ) -> Result<Verdict, EngineError> {
        if !draft.held {
            return accept::on_host(self, draft, rule, sampler, probs);
        }
        let told = Draft { tokens: draft.tokens.clone(), probs: self.download_held(draft)?, held: false };
        accept::on_host(self, &told, rule, sampler, probs)
    }

    /// The distributions `[vocab]` of drafts that were drawn on the device ([`Draft::held`]), to the host.
    ///
    /// # Errors
    /// [`EngineError::InvalidArgument`] where they are not here, or the driver's.
    pub fn download_held(&mut self, draft: &Draft) -> Result<Vec<Vec<f32>>, EngineError> {
        match &self.buffers.sampler {
            Some(sampler) if sampler.holds(&draft.tokens) => Ok(sampler.download_held(&self.device)?),
            Some(_) | None => Err(accept::held_elsewhere("of other drafts, or of none")),
        }
    }

    /// The host would find these when it gets there; kernels must not get there.
    fn check_draft(&self, draft: &Draft, rejection: bool) -> Result<(), EngineError> {
        let vocab_size = self.vocab_size();
        if let Some(&id) = draft.tokens.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(EngineError::UnknownToken { id, vocab_size });
        }
        let drawn = draft.probs.iter().zip(&draft.tokens).filter(|(q, _)| rejection && !q.is_empty());
        for (q, &token) in drawn {
            accept::draft_probability(q, token, vocab_size)?;
        }
        let here = self.buffers.sampler.as_ref().is_some_and(|sampler| sampler.holds(&draft.tokens));
        if draft.held && rejection && !here {
            return Err(accept::held_elsewhere("of other drafts, or of none"));
        }
        Ok(())
    }

    fn check_rows(&self, rows: usize) -> Result<(), EngineError> {
        if rows <= self.rows() {
            return Ok(());
        }
        Err(EngineError::InvalidArgument {
            what: "rows to draw from",
            got: rows.to_string(),
            expected: format!("at most the {} of the last pass", self.rows()),
        })
    }
}

/// What is in a place, put there first if nothing is, for up to `rows` rows of `vocab` logits.
fn made<'r>(
    room: &'r mut Option<RowSampler>,
    device: &Device,
    (rows, vocab): (usize, usize),
) -> Result<&'r mut RowSampler, CudaError> {
    match room {
        Some(sampler) => Ok(sampler),
        room @ None => Ok(room.insert(RowSampler::new(device, rows, vocab)?)),
    }
}
