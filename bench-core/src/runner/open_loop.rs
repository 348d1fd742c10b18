//! The open loop: every conversation (most have one request) begins at a time of its own, whatever became of those before
//! it.

use super::closed_loop::{Asked, Pass, PassEnd, RunState};
use super::conversation::{Said, Sending, Start};
use super::{RunEvent, RunnableArm};
use crate::jsonl::RowError;
use crate::load::{Intended, OpenLoad, Shard};
use crate::preset::Preset;
use crate::record::{Arrival, Phase};
use crate::stack::Ahead;

/// Connections opened before the clock where nothing limits the requests in flight.
const CONNECTIONS_AHEAD: usize = 64;

impl RunState<'_> {
    /// Sends the requests of a pass when they are due and stores their rows.
    pub(super) async fn run_open_pass(
        &mut self,
        arm: &RunnableArm,
        pass: Pass,
        load: &OpenLoad,
    ) -> Result<PassEnd, RowError> {
        let starts = starts(self.plan.preset, load, pass.block, self.plan.shard);
        let most = load.max_in_flight.map_or(usize::MAX, |most| most.get() as usize);
        let concurrency = most.min(CONNECTIONS_AHEAD).min(starts.len());
        let began = self.beginning(arm, pass.phase, Ahead::Pass { concurrency }).await;
        self.send_all(arm, pass, Sending { starts, most, began, is_open: true, rounds: None }).await
    }

    /// Says that the pass begins.
    pub(super) fn begin(&mut self, arm: &RunnableArm, phase: Phase, block: u32) {
        self.observer.on_event(&RunEvent::PassStarted { arm: &arm.label, phase, block });
    }
}

/// The first requests that this machine sends of a block, ascending: a pure function of preset, block and part. Later turns
/// follow their answers, wherever the first went out.
pub(super) fn starts(preset: &Preset, load: &OpenLoad, block: u32, shard: Option<Shard>) -> Vec<Start> {
    let seed = preset.sampling.seed;
    let all = match preset.run.duration() {
        None => load.schedule(seed, block),
        Some(end) => load.schedule_until(seed, block, end),
    };
    let ours = all.into_iter().filter(|next| shard.is_none_or(|shard| shard.has(next)));
    ours.map(|next| Start { at: Some(next.at_ns), asked: asked(preset, next) }).collect()
}

/// Prompts go around.
fn asked(preset: &Preset, next: Intended) -> Asked {
    let prompts = preset.workload.prompts.len();
    let arrival = Arrival { slot: next.slot, intended_ns: next.at_ns, sent_ns: None };
    Asked {
        slot: next.slot,
        prompt: next.slot as usize % prompts,
        arrival: Some(arrival),
        turn: 0,
        said: Said::default(),
    }
}
