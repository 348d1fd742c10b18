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
    /// The parameters without the seed, which is in no launch, and where the target keeps what drafts are drawn from.
    made_for: Option<(SamplingParams, u64)>,
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
        let place = target.row_sampler()?.begin_drafts(&device, &sampler.upcoming(steps))?;
        self.make_graph(target, steps, (sampler.params(), place))?;
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

    /// Captures a round of `steps` by these parameters into this place, unless they are the last ones and it was done.
    fn make_graph(
        &mut self,
        target: &mut CudaTarget,
        steps: usize,
        (params, place): (&SamplingParams, u64),
    ) -> Result<(), EngineError> {
        let params = SamplingParams { seed: 0, ..params.clone() };
        if self.drawn.made_for.as_ref() != Some(&(params.clone(), place)) {
            self.drawn = DrawnGraphs { made_for: Some((params.clone(), place)), graphs: BTreeMap::new() };
        }
        if !self.drawn.graphs.contains_key(&steps) {
            let graph = self.capture(target, steps, Some(&params))?;
            self.drawn.graphs.insert(steps, graph);
        }
        Ok(())
    }
}
