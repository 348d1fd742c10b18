//! Drafting with the MTP assistant: a chain of steps, each fed the token and the hidden row of the one before.
//!
//! Greedy drafts take the largest logit without a softmax. Sampled drafts report their distribution, as rejection
//! sampling needs. Nothing is remembered between rounds: a round starts from the target's hidden row.

use super::assistant::{Assistant, DraftPosition};
use super::target::CpuTarget;
use crate::EngineError;
use crate::spec::sampler::argmax;
use crate::spec::{Draft, DraftRequest, Proposer, Target};

/// Proposes with an [`Assistant`].
#[derive(Debug)]
pub struct MtpProposer {
    assistant: Assistant,
    position: DraftPosition,
    hidden: Vec<f32>,
    next_hidden: Vec<f32>,
    logits: Vec<f32>,
    /// Probability rows of earlier rounds, to be filled again.
    spare: Vec<Vec<f32>>,
}

impl MtpProposer {
    /// A proposer whose queries stand at `position`.
    #[must_use]
    pub fn new(assistant: Assistant, position: DraftPosition) -> Self {
        let (backbone, vocab) = (assistant.config().backbone_size, assistant.config().decoder.vocab_size);
        Self {
            assistant,
            position,
            hidden: vec![0.0; backbone],
            next_hidden: vec![0.0; backbone],
            logits: vec![0.0; vocab],
            spare: Vec::new(),
        }
    }
}

impl Proposer<CpuTarget> for MtpProposer {
    fn name(&self) -> &'static str {
        "mtp"
    }

    fn reset(&mut self) {}

    fn propose(
        &mut self,
        target: &mut CpuTarget,
        request: DraftRequest<'_>,
        draft: &mut Draft,
    ) -> Result<(), EngineError> {
        self.spare.append(&mut draft.probs);
        draft.clear();
        let DraftRequest { tokens, hidden_row, max, mut sampler } = request;
        let Some(mut token) = next_token(target, tokens, hidden_row)? else { return Ok(()) };
        self.hidden.copy_from_slice(target.hidden(hidden_row));
        for step in 0..max {
            let position = self.position.of(target.len(), step);
            let Self { assistant, hidden, next_hidden, logits, .. } = self;
            assistant.step(target, token, hidden, position, next_hidden, logits)?;
            token = match &mut sampler {
                None => argmax(&self.logits)?,
                Some(sampler) => {
                    let mut probs = self.spare.pop().unwrap_or_default();
                    sampler.distribution(&self.logits, &mut probs)?;
                    let token = sampler.draw(&probs)?;
                    draft.probs.push(probs);
                    token
                }
            };
            draft.tokens.push(token);
            std::mem::swap(&mut self.hidden, &mut self.next_hidden);
        }
        Ok(())
    }
}

/// The token to start from; none before anything is cached, because then there is nothing to attend to.
fn next_token(target: &CpuTarget, tokens: &[u32], hidden_row: usize) -> Result<Option<u32>, EngineError> {
    let invalid = |what, got: usize, expected: String| EngineError::InvalidArgument {
        what,
        got: got.to_string(),
        expected,
    };
    if target.is_empty() {
        return Ok(None);
    }
    if tokens.len() != target.len() + 1 {
        let expected = format!("one more than the {} cached", target.len());
        return Err(invalid("tokens of a draft request", tokens.len(), expected));
    }
    if hidden_row >= target.rows() {
        let expected = format!("less than the {} rows of the last forward pass", target.rows());
        return Err(invalid("hidden_row", hidden_row, expected));
    }
    Ok(tokens.last().copied())
}
