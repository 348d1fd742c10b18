//! The open loop: every request has a time of its own, whatever became of those before it.

use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::closed_loop::{Asked, Pass, PassEnd, RunState, resume};
use super::request::{Measured, measure};
use super::{RunEvent, RunnableArm};
use crate::jsonl::RowError;
use crate::load::{Intended, OpenLoad};
use crate::preset::Preset;
use crate::record::{Arrival, Phase};
use crate::stack::Ahead;

/// Connections opened before the clock where nothing limits the requests in flight.
const CONNECTIONS_AHEAD: usize = 64;

impl RunState<'_> {
    /// Sends the requests of a pass when they are due and stores their rows.
    ///
    /// Sending goes before storing. A server that died is started again between them; what was due meanwhile goes out
    /// late, and its row says by how much.
    pub(super) async fn run_open_pass(
        &mut self,
        arm: &RunnableArm,
        pass: Pass,
        load: &OpenLoad,
    ) -> Result<PassEnd, RowError> {
        let schedule = self.schedule(load, pass.block);
        let most = load.max_in_flight.map_or(usize::MAX, |most| most.get() as usize);
        let concurrency = most.min(CONNECTIONS_AHEAD).min(schedule.len());
        let began = self.beginning(arm, pass.phase, Ahead::Pass { concurrency }).await;
        let mut waiting = schedule.into_iter().peekable();
        let mut in_flight = JoinSet::new();
        loop {
            if self.arms[pass.arm].cold && in_flight.is_empty() {
                self.warm_up_again(arm, pass).await?;
                continue;
            }
            let may_send = in_flight.len() < most && !self.cancel.is_cancelled() && !self.arms[pass.arm].cold;
            let next = waiting.peek().copied().filter(|_| may_send);
            if let (Some(next), Some(why)) = (next, self.arms[pass.arm].given_up.clone()) {
                waiting.next();
                let identity = self.identity(arm, pass, asked(self.plan.preset, next));
                self.store(pass.arm, Measured::given_up(identity, &why))?;
                continue;
            }
            let due = next.map_or(began, |next| began + std::time::Duration::from_nanos(next.at_ns));
            tokio::select! {
                biased;
                () = sleep_until(due), if next.is_some() => {
                    let Some(next) = waiting.next() else { break };
                    let mut job = self.job(arm, pass, asked(self.plan.preset, next));
                    job.pass_began = Some(began);
                    in_flight.spawn(measure(job, self.cancel.clone()));
                }
                Some(ended) = in_flight.join_next(), if !in_flight.is_empty() => {
                    self.keep(arm, pass.arm, ended.unwrap_or_else(resume)).await?;
                }
                () = self.cancel.cancelled(), if next.is_some() => {}
                else => break,
            }
        }
        Ok(self.pass_end())
    }

    /// What this machine sends of a block.
    fn schedule(&self, load: &OpenLoad, block: u32) -> Vec<Intended> {
        let seed = self.plan.preset.sampling.seed;
        match self.plan.shard {
            None => load.schedule(seed, block),
            Some(shard) => load.share(seed, block, shard),
        }
    }

    /// Says that the pass begins.
    pub(super) fn begin(&mut self, arm: &RunnableArm, phase: Phase, block: u32) {
        self.observer.on_event(&RunEvent::PassStarted { arm: &arm.label, phase, block });
    }
}

/// Prompts go around.
fn asked(preset: &Preset, next: Intended) -> Asked {
    let prompts = preset.workload.prompts.len();
    let arrival = Arrival { slot: next.slot, intended_ns: next.at_ns, sent_ns: None };
    Asked { slot: next.slot, prompt: next.slot as usize % prompts, arrival: Some(arrival) }
}
