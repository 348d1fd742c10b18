//! Sampled drafts, drawn on the device: a round is one graph, as greedy drafts are, and the ids are all that comes back.
//!
//! Which uniform number a draft gets is known before the round, so all go over at once; what the drafts were drawn from
//! stays where the target decides over them. Invariant: the drafts, and the numbers taken from the sampler, are those of
//! drawing on the host, step by step ([`CudaMtpProposer::propose_on_host`](super::CudaMtpProposer::propose_on_host)).

use std::collections::BTreeMap;

use super::assistant::CudaAssistant;
use super::target::CudaTarget;
use crate::EngineError;
use crate::backend::cuda::{Graph, NO_TOKEN};
use crate::spec::Draft;
use crate::spec::sampler::{Sampler, SamplingParams};

/// Graphs of rounds whose drafts are drawn by the same parameters, by their steps.
#[derive(Debug, Default)]
pub(super) struct DrawnGraphs {
    /// Without the seed, which is in no launch.
    params: Option<SamplingParams>,
    graphs: BTreeMap<usize, Graph>,
}

impl CudaAssistant {
    /// Draws `steps` drafts after `token`, whose hidden row is row `hidden_row` of the target's last forward pass, and
    /// leaves what they were drawn from with the target. `false` where a row gives no token, with nothing taken from
    /// `sampler` and no draft: the host says which logit is bad. The sampler is not greedy.
    ///
    /// # Errors
    /// The driver's.
    pub fn draw(
        &mut self,
        target: &mut CudaTarget,
        (token, hidden_row): (u32, usize),
        steps: usize,
        sampler: &mut Sampler,
        draft: &mut Draft,
    ) -> Result<bool, EngineError> {
        let device = std::sync::Arc::clone(&self.device);
        self.begin(target, token, hidden_row)?;
        target.row_sampler()?.begin_drafts(&device, &sampler.upcoming(steps))?;
        self.make_graph(target, steps, sampler.params())?;
        self.drawn.graphs[&steps].launch()?;
        let mut ids = device.download(&self.buffers.drafts)?;
        ids.truncate(steps);
        if ids.contains(&NO_TOKEN) {
            return Ok(false);
        }
        sampler.skip(steps);
        target.row_sampler()?.hold(&ids);
        *draft = Draft { tokens: ids, held: true, ..Draft::default() };
        Ok(true)
    }

    /// Captures a round of `steps` by `params`, if that is not the last parameters' already.
    fn make_graph(
        &mut self,
        target: &mut CudaTarget,
        steps: usize,
        params: &SamplingParams,
    ) -> Result<(), EngineError> {
        let params = SamplingParams { seed: 0, ..params.clone() };
        if self.drawn.params.as_ref() != Some(&params) {
            self.drawn = DrawnGraphs { params: Some(params.clone()), graphs: BTreeMap::new() };
        }
        if !self.drawn.graphs.contains_key(&steps) {
            let graph = self.capture(target, steps, Some(&params))?;
            self.drawn.graphs.insert(steps, graph);
        }
        Ok(())
    }
}
