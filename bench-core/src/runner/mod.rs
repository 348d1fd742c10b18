//! Runs a preset on its arms: warm-up, then interleaved blocks, one row a request.
//!
//! # Order
//!
//! A block is one pass of every arm over all prompts. Arms never overlap. Even blocks go through the arms forward,
//! odd blocks backward (A B B A): a machine that drifts evenly, by heat or by a neighbour's load, then gives every
//! arm the same mean position in time, so the drift cancels in a comparison of arms instead of looking like an
//! effect of one. With `run.order = "random"` every block shuffles its arms anew, from the seed. Within a pass the prompts keep their order, so a pair (block, prompt) meets the same history in
//! every arm.
//!
//! # What is kept
//!
//! Every request that was sent becomes a row, whatever became of it. A failure is a row and the run goes on; only a
//! row that cannot be stored ends the run. After cancellation the requests in flight become rows too, and no further
//! request is sent.
//!
//! A stack that died is started again, up to the preset's limit, and warmed up again, since a cold server is another
//! measurement; beyond the limit its arm is given up, and every request it still owes is a row that says so.
//!
//! A run may look at its own results at blocks that the preset fixes (`run.max_looks`), and end once every comparison is
//! settled; the report pays for the looks with wider intervals.
//!
//! In a closed loop the next request is sent when one has ended; in an open loop (`run.load`) each has a time of its own,
//! which its row tells beside the time at which it went out. A prompt of several user turns is a conversation, one unit of
//! either load: a turn is due when the answer before it is complete and the think time is over.
//!
//! Requests run as tasks of their own, so that storing one row never delays the reading of another stream. This
//! module prints nothing: an [`Observer`] is told.

mod closed_loop;
mod collect;
mod conversation;
mod counters;
mod looks;
mod open_loop;
mod order;
mod request;
mod rounds;
mod seed;

use std::num::NonZeroU32;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub use self::collect::{Collected, Collector};
pub use self::counters::{MergedCounts, merge_counts, subtract_counts};
pub use self::request::setup_row;
pub use self::seed::request_seed;

use self::closed_loop::{Pass, PassEnd, RunState};
use self::order::arms_of_block;
use crate::jsonl::{RowError, RowSink};
use crate::load::Shard;
use crate::preset::Preset;
use crate::record::{Phase, RequestRecord};
use crate::stack::Stack;

/// What to run. The preset's stacks and variants have become arms by now; the rest is read from it.
#[derive(Debug, Clone, Copy)]
pub struct RunPlan<'a> {
    /// Goes into every row.
    pub run_id: &'a str,
    /// Prompts, sampling, repetition.
    pub preset: &'a Preset,
    /// Index of the first row; above 0 where set-up rows were written before.
    pub first_request_index: u64,
    /// The part of an open loop's schedule that is sent from here; `None`: all of it.
    pub shard: Option<Shard>,
    /// When the first measured pass begins; `None`: at once. Intended times count from it even if warm-up outlasted it.
    pub start_at: Option<tokio::time::Instant>,
}

/// One arm that is ready to answer.
#[derive(Clone)]
pub struct RunnableArm {
    /// `STACK/VARIANT`, unique in the run.
    pub label: String,
    /// Who answers.
    pub stack: Arc<dyn Stack>,
    /// Requests in flight at once; `None`: as the preset says.
    pub concurrency: Option<NonZeroU32>,
}

impl std::fmt::Debug for RunnableArm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunnableArm").field("label", &self.label).finish_non_exhaustive()
    }
}

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunSummary {
    /// Rows stored by this call.
    pub rows: u64,
    /// Measured requests that did not complete; those cancelled by the user are none.
    pub failures: u64,
    /// Cancelled before all was measured.
    pub interrupted: bool,
}

/// Told of progress. Called between requests, never between two reads of a stream; still, keep it short.
pub trait Observer: Send {
    /// Something happened.
    fn on_event(&mut self, event: &RunEvent<'_>);
}

/// An observer that looks away.
impl Observer for () {
    fn on_event(&mut self, _event: &RunEvent<'_>) {}
}

/// Something an observer may show.
#[derive(Debug, Clone)]
pub enum RunEvent<'a> {
    /// An arm begins a pass over its prompts (or its warm-up).
    PassStarted {
        /// The arm's label.
        arm: &'a str,
        /// Warm-up or measured.
        phase: Phase,
        /// The block, from 0.
        block: u32,
    },
    /// A row was stored.
    RequestFinished {
        /// The row.
        record: &'a RequestRecord,
        /// Requests of this run that have ended.
        done: u64,
        /// Requests this run will send.
        total: u64,
        /// Decode throughput of this arm's measured requests so far, tokens per second.
        tokens_per_s: Option<f64>,
    },
    /// A stack has counters of speculation and they could not be read; the row carries none.
    CountersUnreadable {
        /// The arm's label.
        arm: &'a str,
        /// What the stack said.
        message: String,
    },
    /// An arm's server died and was started again.
    Restarted {
        /// The arm's label.
        arm: &'a str,
        /// Restarts of this arm so far.
        restarts: u32,
        /// Restarts it may have.
        limit: u32,
    },
    /// An arm's server died and will not be started again: no request is sent to it any more.
    ArmGivenUp {
        /// The arm's label.
        arm: &'a str,
        /// Why.
        why: String,
    },
    /// Every arm has answered every prompt once more.
    BlockFinished {
        /// The block, from 0.
        block: u32,
        /// Blocks in all.
        blocks: u32,
    },
    /// Every comparison is settled: the run ends before its last block.
    Settled {
        /// Blocks measured.
        blocks: u32,
    },
}

/// Runs the plan. Does not start or stop stacks.
///
/// # Errors
///
/// Only where a row cannot be stored. Requests in flight are dropped then.
pub async fn run(
    plan: RunPlan<'_>,
    arms: &[RunnableArm],
    sink: &mut dyn RowSink,
    observer: &mut dyn Observer,
    cancel: &CancellationToken,
) -> Result<RunSummary, RowError> {
    let mut state = RunState::new(plan, arms.len(), sink, observer, cancel);
    for pass in passes(plan.preset, arms.len()) {
        if state.run_pass(&arms[pass.arm], pass).await? == PassEnd::Cancelled {
            break;
        }
        if pass.ends_block {
            state.block_finished(pass.block);
            if state.is_settled(pass.block) {
                break;
            }
        }
    }
    Ok(state.summary())
}

/// All passes in order: warm-up of every arm, then the blocks.
fn passes(preset: &Preset, arm_count: usize) -> impl Iterator<Item = Pass> + use<> {
    let warmup = (preset.run.warmup_requests > 0)
        .then(|| (0..arm_count).map(|arm| Pass { arm, phase: Phase::Warmup, block: 0, ends_block: false }));
    let blocks = 0..preset.run.blocks.get();
    let (order, seed) = (preset.run.order, preset.sampling.seed);
    let measured = blocks.flat_map(move |block| {
        let arms = arms_of_block(order, seed, block, arm_count);
        arms.into_iter().enumerate().map(move |(position, arm)| Pass {
            arm,
            phase: Phase::Measured,
            block,
            ends_block: position + 1 == arm_count,
        })
    });
    warmup.into_iter().flatten().chain(measured)
}

#[cfg(test)]
mod tests;
