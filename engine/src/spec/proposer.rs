//! What the driver needs of a drafter.

use crate::EngineError;

/// What a proposer is told.
#[derive(Debug)]
pub struct DraftRequest<'a> {
    /// Every token so far, prompt and accepted output. The last one is not in the target's cache yet.
    pub tokens: &'a [u32],
    /// Row of the target's last forward pass that produced the last token: its hidden state starts the draft.
    /// After a prefill this is row 0, after a verify step it is the number of accepted drafts.
    pub hidden_row: usize,
    /// Most tokens to draft, at least 1.
    pub max: usize,
    /// `Some`: sample drafts from the drafter's own distribution under this sampler and report it, as rejection
    /// sampling needs. `None`: draft greedily.
    pub sampler: Option<&'a mut crate::spec::sampler::Sampler>,
}

/// Tokens proposed in one round.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Draft {
    /// The drafts, in order; empty means "no idea, decode plainly".
    pub tokens: Vec<u32>,
    /// `probs[i][id]`: the distribution `tokens[i]` was sampled from (after temperature and truncation); empty
    /// where the proposer is deterministic (a point mass on the draft).
    pub probs: Vec<Vec<f32>>,
    /// The tokens were sampled from distributions that the target holds where it decides over drafts, on its device;
    /// `probs` is empty then.
    pub held: bool,
}

impl Draft {
    /// No draft.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.probs.clear();
        self.held = false;
    }
}

/// A drafter, for one kind of target.
pub trait Proposer<T: ?Sized> {
    /// A name for reports: `mtp`, `ngram`.
    fn name(&self) -> &'static str;

    /// Forgets the previous sequence.
    fn reset(&mut self);

    /// Proposes up to `request.max` tokens into `draft` (cleared first).
    ///
    /// # Errors
    /// Whatever the drafter's own forward pass can fail with.
    fn propose(
        &mut self,
        target: &mut T,
        request: DraftRequest<'_>,
        draft: &mut Draft,
    ) -> Result<(), EngineError>;
}
