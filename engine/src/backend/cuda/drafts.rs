//! Drawing drafts where a drafter's logits are, so that a round's chain of them is one graph.
//!
//! The host's part is the uniform numbers, a row of 64 bytes a draft, written before the chain; each draft is then drawn
//! from its row as [`RowSampler`] draws from a target's, becomes the next step's token, and leaves its probabilities as
//! the q of the row that it will stand or fall by. Nothing of them crosses to the host: with 4 drafts over 262144 tokens
//! that is 4 MB down and 4 MB up a round.
//!
//! Does not: know what computes the logits, nor take numbers from a sampler. Invariant: the drafts and their
//! probabilities are, to the bit, what [`Sampler`](crate::spec::sampler::Sampler) makes of the same logits and numbers.

use super::ops::at_least;
use super::sampling::{SampledRow, Span, Told};
use super::{Buffer, CudaError, Device, Drawing, RowSampler};

impl RowSampler {
    /// Makes what drawing drafts needs and writes the uniform numbers of the drafts to come, `numbers`. What
    /// [`Self::draw_draft`] queues may then be captured; what was captured is good as long as the address that comes back,
    /// where the distributions will lie, is the same.
    ///
    /// # Errors
    /// More drafts than rows, no memory, or the driver's.
    pub fn begin_drafts(&mut self, device: &Device, numbers: &[f64]) -> Result<u64, CudaError> {
        at_least("rows of a sampler", self.rows.len(), numbers.len())?;
        self.held.clear();
        let place = self.q_room(device)?.address();
        let rows: Vec<SampledRow> = numbers.iter().map(|&u| SampledRow::undrafted(u)).collect();
        device.write(&mut self.rows, &rows)?;
        Ok(place)
    }

    /// Queues the drawing of draft `step` into `drafts[step]` and `token`, which gets 0 where the row gives none. The
    /// addresses of all buffers stay in the launches.
    ///
    /// # Errors
    /// A buffer too small, no [`Self::begin_drafts`] before, or the driver's.
    pub fn draw_draft(
        &self,
        device: &Device,
        drawing: &Drawing<'_>,
        step: usize,
        (drafts, token): (&mut Buffer<u32>, &mut Buffer<u32>),
    ) -> Result<(), CudaError> {
        let q = self.q.as_ref().map_or((0, 0), |q| (q.address(), q.len()));
        at_least("distributions of drafts", q.1, (step + 1) * self.vocab)?;
        at_least("rows of a sampler", self.rows.len(), step + 1)?;
        at_least("logits", drawing.logits.len(), (drawing.first_row + 1) * self.vocab)?;
        at_least("greatest logits", drawing.best.len(), drawing.first_row + 1)?;
        at_least("drafts", drafts.len(), step + 1)?;
        at_least("token of the next step", token.len(), 1)?;
        let told = Told {
            q: q.0 + 4 * (step * self.vocab) as u64,
            drawn: drafts.address() + 4 * step as u64,
            onwards: token.address(),
        };
        self.queue(device, drawing, Span { first: step, rows: 1, told })
    }

    /// Notes that `drafts` are what was drawn, so that their distributions can be asked for.
    pub fn hold(&mut self, drafts: &[u32]) {
        self.held.clear();
        self.held.extend_from_slice(drafts);
    }

    /// Whether the distributions of these drafts are here.
    #[must_use]
    pub fn holds(&self, drafts: &[u32]) -> bool {
        !drafts.is_empty() && self.held.starts_with(drafts)
    }

    /// The distributions `[vocab]` of the drafts that are held, to the host.
    ///
    /// # Errors
    /// The driver's.
    pub fn download_held(&self, device: &Device) -> Result<Vec<Vec<f32>>, CudaError> {
        let Some(q) = self.q.as_ref().filter(|_| !self.held.is_empty()) else { return Ok(Vec::new()) };
        let rows = device.download(q)?;
        Ok(rows.chunks(self.vocab).take(self.held.len()).map(<[f32]>::to_vec).collect())
    }
}
