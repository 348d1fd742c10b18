//! What the driver needs of a target model and its caches.

use super::accept::{self, ExactRule, Verdict};
use super::proposer::Draft;
use super::sampler::{Sampler, argmax};
use crate::EngineError;

/// Rows of a forward pass whose logits are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogitRows {
    /// Only the last row (prefill, plain decode). The target may then split the tokens into several passes.
    Last,
    /// Every row (verify).
    All,
}

/// A target model with the caches of one sequence.
///
/// Invariant: `len()` tokens are cached; `truncate(n)` makes it exactly as if only the first n had ever been seen.
pub trait Target {
    /// Token ids run from 0 to this, exclusive.
    fn vocab_size(&self) -> usize;

    /// Tokens the caches can hold.
    fn capacity(&self) -> usize;

    /// Tokens cached now.
    fn len(&self) -> usize;

    /// Whether nothing is cached.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends `tokens` at positions `len()..` and computes their logits. With [`LogitRows::All`] every row comes from
    /// one pass over the weights, and has the very bits it would have had if decoded alone: greedy output with and
    /// without speculation can only be equal then.
    ///
    /// # Errors
    /// [`EngineError::ContextFull`], [`EngineError::UnknownToken`]; nothing was appended then.
    fn forward(&mut self, tokens: &[u32], rows: LogitRows) -> Result<(), EngineError>;

    /// The id of the largest logit of a row, the lowest on ties: all that greedy decoding needs, and less to bring from
    /// a device than a row.
    ///
    /// # Errors
    /// [`EngineError::BadLogit`] if there is none, or what the device fails with.
    fn argmax(&mut self, row: usize) -> Result<u32, EngineError> {
        self.fetch_logits()?;
        argmax(self.logits(row))
    }

    /// Brings the logits of the last [`Target::forward`] to where [`Target::logits`] reads them.
    ///
    /// # Errors
    /// What the device fails with.
    fn fetch_logits(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    /// Logits `[vocab_size]` of a row of the last [`Target::forward`] (softcap applied, before temperature), after
    /// [`Target::fetch_logits`]. With [`LogitRows::Last`] only row 0 exists, and it is the last token's.
    fn logits(&self, row: usize) -> &[f32];

    /// Decides over the drafts of the last [`Target::forward`], whose rows follow the last emitted token and each draft. A
    /// target whose rows are on a device decides there and brings the verdict; the verdict, and the numbers taken from
    /// `sampler`, are those of the host. `probs` is the host's scratch.
    ///
    /// # Errors
    /// Those of the rule ([`accept`]), or what the device fails with.
    fn accept(
        &mut self,
        draft: &Draft,
        rule: ExactRule,
        sampler: &mut Sampler,
        probs: &mut Vec<f32>,
    ) -> Result<Verdict, EngineError> {
        accept::on_host(self, draft, rule, sampler, probs)
    }

    /// Draws a token from a row of the last [`Target::forward`], where [`Target::accept`] does.
    ///
    /// # Errors
    /// [`EngineError::BadLogit`], or what the device fails with.
    fn draw(&mut self, row: usize, sampler: &mut Sampler, probs: &mut Vec<f32>) -> Result<u32, EngineError> {
        self.fetch_logits()?;
        sampler.distribution(self.logits(row), probs)?;
        sampler.draw(probs)
    }

    /// How far the logit of `chosen` is above all others of its row; `None` where the row would have to be brought from a
    /// device for it, and for an id outside the vocabulary.
    fn margin(&self, _row: usize, _chosen: u32) -> Option<f32> {
        None
    }

    /// Forgets every token at position `len` and later.
    fn truncate(&mut self, len: usize);
}
