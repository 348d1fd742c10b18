//! Drafting with the assistant on the device. The drafts of a round come back together, the likeliest tokens or drawn ones;
//! drawn on the host, which needs the logits there, they come one by one.

use super::assistant::CudaAssistant;
use super::target::CudaTarget;
use crate::EngineError;
use crate::spec::sampler::Sampler;
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
        self.spare.append(&mut draft.probs);
        draft.clear();
        let Some(start) = start(target, &request)? else { return Ok(()) };
        let DraftRequest { hidden_row, max, sampler, .. } = request;
        let Some(sampler) = sampler else {
            return self.assistant.draft(target, start, hidden_row, max, &mut draft.tokens);
        };
        let drawn = !sampler.params().is_greedy()
            && self.assistant.draw(target, (start, hidden_row), max, sampler, draft)?;
        if drawn { Ok(()) } else { self.draw_on_host(target, (start, hidden_row), max, sampler, draft) }
    }
}

impl CudaMtpProposer {
    /// Proposes as [`Proposer::propose`] does, but draws on the host, a draft at a time, and tells the distributions: the
    /// reference that drawing on the device is compared with.
    ///
    /// # Errors
    /// As there.
    pub fn propose_on_host(
        &mut self,
        target: &mut CudaTarget,
        request: DraftRequest<'_>,
        draft: &mut Draft,
    ) -> Result<(), EngineError> {
        if request.sampler.is_none() {
            return self.propose(target, request, draft);
        }
        self.spare.append(&mut draft.probs);
        draft.clear();
        let Some(start) = start(target, &request)? else { return Ok(()) };
        let DraftRequest { hidden_row, max, sampler, .. } = request;
        let Some(sampler) = sampler else { return Ok(()) };
        self.draw_on_host(target, (start, hidden_row), max, sampler, draft)
    }

    fn draw_on_host(
        &mut self,
        target: &mut CudaTarget,
        (mut token, hidden_row): (u32, usize),
        steps: usize,
        sampler: &mut Sampler,
        draft: &mut Draft,
    ) -> Result<(), EngineError> {
        for step in 0..steps {
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

/// The token to start from; none before anything is cached, because then there is nothing to attend to.
fn start(target: &CudaTarget, request: &DraftRequest<'_>) -> Result<Option<u32>, EngineError> {
    let Some(token) = request.tokens.last().copied().filter(|_| !target.is_empty()) else { return Ok(None) };
    if request.tokens.len() != target.len() + 1 {
        return Err(EngineError::InvalidArgument {
            what: "tokens of a draft request",
            got: request.tokens.len().to_string(),
            expected: format!("one more than the {} cached", target.len()),
        });
    }
    Ok(Some(token))
}
