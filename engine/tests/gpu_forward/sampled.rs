//! Sampled generations whose tokens and drafts are chosen on the device, against the same models with the host choosing.

use std::ops::ControlFlow;

use bench_engine::EngineError;
use bench_engine::model::{CudaMtpProposer, CudaTarget};
use bench_engine::spec::accept::AcceptanceRule;
use bench_engine::spec::driver::{Drafting, Driver};
use bench_engine::spec::generation::{GenerateParams, SpecTotals};
use bench_engine::spec::sampler::SamplingParams;
use bench_engine::spec::{Draft, DraftRequest, LogitRows, Proposer, Target};

/// A target on the device whose rows are brought to the host to be decided on: the trait's own way.
pub(crate) struct OnHost<'t>(pub(crate) &'t mut CudaTarget);

/// The proposer for it, which draws drafts on the host.
#[derive(Debug)]
pub(crate) struct ForHost<'p>(pub(crate) &'p mut CudaMtpProposer);

impl Target for OnHost<'_> {
    fn vocab_size(&self) -> usize {
        self.0.vocab_size()
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn forward(&mut self, tokens: &[u32], rows: LogitRows) -> Result<(), EngineError> {
        self.0.forward(tokens, rows)
    }

    fn fetch_logits(&mut self) -> Result<(), EngineError> {
        self.0.fetch_logits()
    }

    fn logits(&self, row: usize) -> &[f32] {
        self.0.logits(row)
    }

    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }
}

impl<'t> Proposer<OnHost<'t>> for ForHost<'_> {
    fn name(&self) -> &'static str {
        "mtp"
    }

    fn reset(&mut self) {
        Proposer::reset(self.0);
    }

    fn propose(
        &mut self,
        target: &mut OnHost<'t>,
        request: DraftRequest<'_>,
        draft: &mut Draft,
    ) -> Result<(), EngineError> {
        self.0.propose_on_host(target.0, request, draft)
    }
}

/// Tokens after a prompt by parameters and rule.
pub(crate) fn sample<T: Target>(
    target: &mut T,
    proposer: Option<&mut dyn Proposer<T>>,
    prompt: &[u32],
    sampling: &SamplingParams,
    acceptance: AcceptanceRule,
) -> (Vec<u32>, SpecTotals) {
    let drafting = proposer.map(|proposer| Drafting { proposer, draft_max: 4, acceptance });
    let params = GenerateParams { max_tokens: 150, ignore_eos: true, sampling: sampling.clone() };
    let mut tokens = Vec::new();
    let summary = Driver { target, drafting, eog: &[] }
        .generate(prompt, &params, &mut |event| {
            tokens.extend_from_slice(event.tokens);
            ControlFlow::Continue(())
        })
        .unwrap();
    (tokens, summary.totals)
}
