//! Drafting with the assistant on the device. Greedy drafts come back together; sampled ones, whose distribution
//! rejection sampling needs, come one by one.

use super::assistant::CudaAssistant;
use super::target::CudaTarget;
use crate::EngineError;
use crate::spec::{Draft, DraftRequest, Proposer, Target};

/// Proposes with a [`CudaAssistant`].
#[derive(Debug)]
pub struct CudaMtpProposer {
    assistant: CudaAssistant,
    logits: Vec<f32>,
    /// Probability rows of earlier rounds, to be filled again.
    spare: Vec<Vec<f32>>,
}

impl CudaMtpProposer {
    /// A proposer.
    #[must_use]
    pub fn new(assistant: CudaAssistant) -> Self {
        let vocab = assistant.config().decoder.vocab_size;
        Self { assistant, logits: vec![0.0; vocab], spare: Vec::new() }
    }
}

impl Proposer<CudaTarget> for CudaMtpProposer {
    fn name(&self) -> &'static str {
        "mtp"
    }

    fn reset(&mut self) {}

    fn propose(
        &mut self,
        target: &mut CudaTarget,
        request: DraftRequest<'_>,
        draft: &mut Draft,
    ) -> Result<(), EngineError> {
        draft.tokens.clear();
        self.spare.append(&mut draft.probs);
        let DraftRequest { tokens, hidden_row, max, sampler } = request;
        let Some(token) = tokens.last().copied().filter(|_| !target.is_empty()) else { return Ok(()) };
        if tokens.len() != target.len() + 1 {
            return Err(EngineError::InvalidArgument {
                what: "tokens of a draft request",
                got: tokens.len().to_string(),
                expected: format!("one more than the {} cached", target.len()),
            });
        }
        let Some(sampler) = sampler else {
            return self.assistant.draft(target, token, hidden_row, max, &mut draft.tokens);
        };
        let mut token = token;
        for step in 0..max {
            self.assistant.step(target, token, (hidden_row, step), &mut self.logits)?;
            let mut probs = self.spare.pop().unwrap_or_default();
            sampler.distribution(&self.logits, &mut probs)?;
            token = sampler.draw(&probs)?;
            draft.probs.push(probs);
            draft.tokens.push(token);
        }
        Ok(())
    }
}
