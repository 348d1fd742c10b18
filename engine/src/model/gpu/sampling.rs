//! Draws from the rows of the last pass and decides over drafts, without bringing the rows to the host.
//!
//! Invariant: verdict and numbers taken from the sampler are those of [`accept`] on the host.

use super::target::CudaTarget;
use crate::EngineError;
use crate::backend::cuda::{Drawing, Outcome, RowSampler};
use crate::spec::accept::{self, Verdict};
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
        let vocab = self.vocab_size();
        let device = &self.device;
        let buffers = &mut self.buffers;
        let row_sampler = match &mut buffers.sampler {
            Some(row_sampler) => row_sampler,
            None => buffers.sampler.insert(RowSampler::new(device, buffers.outputs(), vocab)?),
        };
        let (logits, best, params) = (&buffers.logits, &buffers.best, sampler.params());
        let drawing = Drawing { logits, best, first_row, params, rejection };
        Ok(row_sampler.decide(device, &drawing, rows)?)
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
