//! The closed loop: as many requests in flight on one arm as the preset says, the next one sent when one ends.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::task::JoinError;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::conversation::{Said, Sending, Start};
use super::looks::Watch;
use super::open_loop::starts;
use super::request::{Identity, Job, Measured, measure};
use super::rounds::Rounds;
use super::seed::{request_seed, turn_seed};
use super::{Observer, RunEvent, RunPlan, RunSummary, RunnableArm};
use crate::jsonl::{RowError, RowSink};
use crate::preset::Preset;
use crate::record::{Arrival, Outcome, Phase, RequestRecord};
use crate::run_dir::turn_sha256;
use crate::stack::{Ahead, GenerateRequest, Prompt, Revival, Stack};

/// One arm over the prompts once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pass {
    pub(super) arm: usize,
    pub(super) phase: Phase,
    pub(super) block: u32,
    pub(super) ends_block: bool,
}

/// One request of a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// Its number in the pass; its seed follows from it.
    pub(super) slot: u32,
    /// Which prompt.
    pub(super) prompt: usize,
    /// When it is to be sent, in an open loop.
    pub(super) arrival: Option<Arrival>,
    /// Which turn of its conversation, from 0.
    pub(super) turn: u32,
    /// What was said before it.
    pub(super) said: Said,
}

/// How a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PassEnd {
    Done,
    Cancelled,
}

/// The state of a run between its passes.
pub(super) struct RunState<'a> {
    pub(super) plan: RunPlan<'a>,
    sink: &'a mut dyn RowSink,
    pub(super) observer: &'a mut dyn Observer,
    pub(super) cancel: &'a CancellationToken,
    total: u64,
    sent: u64,
    done: u64,
    failures: u64,
    pub(super) arms: Vec<ArmState>,
    watch: Watch,
}

/// What is remembered of an arm from request to request.
#[derive(Debug, Clone, Default)]
pub(super) struct ArmState {
    /// Tokens of its measured decode spans.
    tokens: u64,
    /// Time of its measured decode spans.
    span_ns: u64,
    /// Its last request did not complete and may still be running in the stack: the stack's counters are not the
    /// next request's alone.
    unsettled: bool,
    /// The process that answered last, where it tells.
    process: Option<String>,
    /// How often its server was started again.
    restarts: u32,
    /// Its server was just started again, and has to be warmed up.
    pub(super) cold: bool,
    /// Why nothing is sent to it any more.
    pub(super) given_up: Option<String>,
}

impl<'a> RunState<'a> {
    pub(super) fn new(
        plan: RunPlan<'a>,
        arm_count: usize,
        sink: &'a mut dyn RowSink,
        observer: &'a mut dyn Observer,
        cancel: &'a CancellationToken,
    ) -> Self {
        let run = &plan.preset.run;
        let per_arm = u64::from(run.warmup_requests) + requests_of_blocks(&plan);
        Self {
            plan,
            sink,
            observer,
            cancel,
            total: per_arm * arm_count as u64,
            sent: 0,
            done: 0,
            failures: 0,
            arms: vec![ArmState::default(); arm_count],
            watch: Watch::new(run),
        }
    }

    /// Opens connections and waits for the pass to begin: at once, or the first measured one when the plan says.
    ///
    /// Connections are opened shortly before, since servers close idle ones, and before the clock, since parts of one
    /// load sent from several machines take differently long to connect. A time that has passed is still the beginning:
    /// what was due meanwhile is late, and its row says by how much.
    pub(super) async fn beginning(&mut self, arm: &RunnableArm, phase: Phase, ahead: Ahead) -> Instant {
        const CONNECT_AHEAD: Duration = Duration::from_secs(1);
        let start_at = self.plan.start_at.take_if(|_| phase == Phase::Measured);
        let connect_at = start_at.and_then(|start_at| start_at.checked_sub(CONNECT_AHEAD));
        if let Some(connect_at) = connect_at {
            self.cancel.run_until_cancelled(sleep_until(connect_at)).await;
        }
        prepare(&*arm.stack, ahead, self.plan.preset, self.cancel).await;
        let Some(start_at) = start_at else { return Instant::now() };
        self.cancel.run_until_cancelled(sleep_until(start_at)).await;
        start_at
    }

    /// Sends the requests of one pass and stores their rows.
    pub(super) async fn run_pass(&mut self, arm: &RunnableArm, pass: Pass) -> Result<PassEnd, RowError> {
        self.begin(arm, pass.phase, pass.block);
        let preset = self.plan.preset;
        if let (Some(load), Phase::Measured) = (preset.run.load.open(), pass.phase) {
            return self.run_open_pass(arm, pass, load).await;
        }
        if let (Some(duration), Phase::Measured) = (preset.run.duration(), pass.phase) {
            return self.run_timed_pass(arm, pass, duration).await;
        }
        let starts: Vec<_> = self
            .prompt_order(pass.phase)
            .map(|prompt| Start { at: None, asked: Asked::in_turn(prompt) })
            .collect();
        let most = concurrency_of(arm, preset).get() as usize;
        let ahead = Ahead::Pass { concurrency: most.min(starts.len()) };
        let began = self.beginning(arm, pass.phase, ahead).await;
        self.send_all(arm, pass, Sending { starts, most, began, is_open: false, rounds: None }).await
    }

    /// The same, around and around until the time is over.
    async fn run_timed_pass(
        &mut self,
        arm: &RunnableArm,
        pass: Pass,
        duration: Duration,
    ) -> Result<PassEnd, RowError> {
        let (total, done) = (self.total, self.done);
        let most = concurrency_of(arm, self.plan.preset).get() as usize;
        let began = self.beginning(arm, pass.phase, Ahead::Pass { concurrency: most }).await;
        let rounds = Some(Rounds::new(self.plan.preset.workload.prompts.len(), began + duration));
        // Rows tell when in the pass they were sent, and by their number which prompt for the how manieth time.
        let sending = Sending { starts: Vec::new(), most, began, is_open: true, rounds };
        self.send_all(arm, pass, sending).await?;
        // How many it would be nobody knew; a pass that the user ended is never whole.
        let owed = requests_of_pass(&self.plan, pass.block);
        self.total = total - owed + (self.done - done) + u64::from(self.cancel.is_cancelled());
        Ok(self.pass_end())
    }

    pub(super) fn pass_end(&self) -> PassEnd {
        if self.done < self.total && self.cancel.is_cancelled() { PassEnd::Cancelled } else { PassEnd::Done }
    }

    pub(super) fn block_finished(&mut self, block: u32) {
        let blocks = self.plan.preset.run.blocks.get();
        self.observer.on_event(&RunEvent::BlockFinished { block, blocks });
    }

    /// Whether the run looks at itself after this block, and finds every comparison settled. What was not sent is then
    /// no longer owed.
    pub(super) fn is_settled(&mut self, block: u32) -> bool {
        let blocks = block + 1;
        let is_settled = self.watch.is_settled(blocks);
        if is_settled {
            self.total = self.done;
            self.observer.on_event(&RunEvent::Settled { blocks });
        }
        is_settled
    }

    pub(super) fn summary(&self) -> RunSummary {
        RunSummary { rows: self.done, failures: self.failures, interrupted: self.done < self.total }
    }

    /// Prompt indices of a pass: each once, or for warm-up as many as asked, around and around.
    fn prompt_order(&self, phase: Phase) -> impl Iterator<Item = usize> + use<> {
        let prompt_count = self.plan.preset.workload.prompts.len();
        let requests = match phase {
            Phase::Warmup => usize::try_from(self.plan.preset.run.warmup_requests).unwrap_or(usize::MAX),
            Phase::Measured | Phase::Setup => prompt_count,
        };
        (0..prompt_count).cycle().take(requests)
    }

    /// A server that was just started answers its first requests slower than all that follow.
    pub(super) async fn warm_up_again(&mut self, arm: &RunnableArm, pass: Pass) -> Result<(), RowError> {
        self.arms[pass.arm].cold = false;
        let pass = Pass { phase: Phase::Warmup, ..pass };
        for prompt_index in self.prompt_order(Phase::Warmup) {
            let state = &self.arms[pass.arm];
            if self.cancel.is_cancelled() || state.cold || state.given_up.is_some() {
                break;
            }
            self.total += 1;
            let job = self.job(arm, pass, &Asked::in_turn(prompt_index));
            let measured = measure(job, self.cancel.clone()).await;
            self.keep(arm, pass.arm, measured).await?;
        }
        Ok(())
    }

    /// Stores a row, and sees to the stack if the request broke.
    pub(super) async fn keep(
        &mut self,
        arm: &RunnableArm,
        index: usize,
        measured: Measured,
    ) -> Result<(), RowError> {
        let broke = is_failure(&measured.record.outcome);
        self.store(index, measured)?;
        if broke {
            self.revive(arm, index).await;
        }
        Ok(())
    }

    /// Has a dead server started again, within the arm's limit.
    async fn revive(&mut self, arm: &RunnableArm, index: usize) {
        let limit = self.plan.preset.run.max_restarts;
        let state = &mut self.arms[index];
        if state.given_up.is_some() {
            return;
        }
        let may_start = state.restarts < limit;
        let why = match self.cancel.run_until_cancelled(arm.stack.revive(may_start)).await {
            Some(Ok(Revival::Restarted)) => {
                (state.restarts, state.cold) = (state.restarts + 1, true);
                let restarts = state.restarts;
                // Arms of a sweep share their server: its new process is no surprise to any of them.
                self.arms.iter_mut().for_each(|arm| arm.process = None);
                self.observer.on_event(&RunEvent::Restarted { arm: &arm.label, restarts, limit });
                return;
            }
            Some(Ok(Revival::Dead)) if !may_start => {
                format!("its server was started again {limit} times, and died again")
            }
            Some(Err(error)) => format!("its server could not be started again: {error}"),
            // A server that is not ours may come back by itself; until then every request says that it is gone.
            Some(Ok(Revival::Alive | Revival::Dead)) | None => return,
        };
        state.given_up = Some(why.clone());
        self.observer.on_event(&RunEvent::ArmGivenUp { arm: &arm.label, why });
    }

    pub(super) fn job(&mut self, arm: &RunnableArm, pass: Pass, asked: &Asked) -> Job {
        let preset = self.plan.preset;
        let state = &self.arms[pass.arm];
        // Warm-up goes one by one whatever the load.
        let one_by_one = preset.run.load.is_closed() || pass.phase == Phase::Warmup;
        let alone = one_by_one && concurrency_of(arm, preset).get() == 1;
        let read_counters = alone && !state.unsettled;
        let known_process = state.process.clone();
        let request = generate_request(preset, pass, asked);
        let identity = self.identity(arm, pass, asked);
        let answered = asked.said.answered;
        Job {
            stack: arm.stack.clone(),
            request,
            read_counters,
            known_process,
            pass_began: None,
            answered,
            identity,
        }
    }

    pub(super) fn identity(&mut self, arm: &RunnableArm, pass: Pass, asked: &Asked) -> Identity {
        let prompt = &self.plan.preset.workload.prompts[asked.prompt];
        let identity = Identity {
            run_id: self.plan.run_id.to_owned(),
            arm: arm.label.clone(),
            phase: pass.phase,
            block: pass.block,
            request_index: self.plan.first_request_index + self.sent,
            prompt_id: prompt.id.clone(),
            category: prompt.category.clone(),
            prompt_sha256: turn_sha256(prompt, asked.said.answers()),
            arrival: asked.arrival,
            turn: asked.turn_of(prompt, pass),
        };
        self.sent += 1;
        identity
    }

    pub(super) fn store(&mut self, arm: usize, measured: Measured) -> Result<(), RowError> {
        let Measured { record, counters_error, process, ended: _ } = measured;
        self.sink.append(&record)?;
        self.done += 1;
        // Of a pass that time ends, one for each prompt was a guess.
        self.total = self.total.max(self.done);
        self.arms[arm].process = process.or(self.arms[arm].process.take());
        if let Some(error) = counters_error {
            self.observer
                .on_event(&RunEvent::CountersUnreadable { arm: &record.arm, message: error.to_string() });
        }
        let tokens_per_s = self.add_up(arm, &record);
        let (done, total) = (self.done, self.total);
        self.observer.on_event(&RunEvent::RequestFinished { record: &record, done, total, tokens_per_s });
        Ok(())
    }

    /// Adds a row to the running sums; the arm's decode throughput so far.
    fn add_up(&mut self, arm: usize, record: &RequestRecord) -> Option<f64> {
        let arm = &mut self.arms[arm];
        arm.unsettled = !record.outcome.is_completed();
        if record.phase != Phase::Measured {
            return None;
        }
        self.failures += u64::from(is_failure(&record.outcome));
        self.watch.note(record);
        if let Some(span) = record.decode_span() {
            arm.tokens += u64::from(span.tokens);
            arm.span_ns += span.span_ns;
        }
        (arm.span_ns > 0).then(|| arm.tokens as f64 * 1e9 / arm.span_ns as f64)
    }
}

impl Asked {
    /// A prompt of a closed loop, or of warm-up.
    fn in_turn(prompt: usize) -> Self {
        let slot = u32::try_from(prompt).unwrap_or(u32::MAX);
        Self { slot, prompt, arrival: None, turn: 0, said: Said::default() }
    }
}

/// Requests of one measured pass: every turn of every conversation. In a closed loop that time ends it is a guess: every
/// prompt once.
pub(super) fn requests_of_pass(plan: &RunPlan<'_>, block: u32) -> u64 {
    let prompts = &plan.preset.workload.prompts;
    let Some(load) = plan.preset.run.load.open() else {
        return prompts.iter().map(|prompt| u64::from(prompt.turns())).sum();
    };
    let turns = |start: &Start| u64::from(prompts[start.asked.prompt].turns());
    starts(plan.preset, load, block, plan.shard).iter().map(turns).sum()
}

/// Requests of all measured passes of an arm.
fn requests_of_blocks(plan: &RunPlan<'_>) -> u64 {
    let run = &plan.preset.run;
    let blocks = run.blocks.get();
    if run.load.is_closed() || run.duration_s.is_none() {
        return u64::from(blocks) * requests_of_pass(plan, 0);
    }
    // As many arrivals as fall into the time, which differs from block to block.
    (0..blocks).map(|block| requests_of_pass(plan, block)).sum()
}

fn concurrency_of(arm: &RunnableArm, preset: &Preset) -> NonZeroU32 {
    arm.concurrency.unwrap_or(preset.run.concurrency)
}

/// A server that does not let itself be connected to must hang neither the run nor its end.
async fn prepare(stack: &dyn Stack, ahead: Ahead, preset: &Preset, cancel: &CancellationToken) {
    let limit = Duration::from_millis(preset.run.request_timeout_ms);
    // Too late or not at all: the request opens its own connection, and says why it cannot.
    cancel.run_until_cancelled(tokio::time::timeout(limit, stack.prepare(ahead))).await;
}

fn is_failure(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Failed { .. } | Outcome::TimedOut { .. } => true,
        Outcome::Completed { .. } | Outcome::Cancelled => false,
    }
}

fn generate_request(preset: &Preset, pass: Pass, asked: &Asked) -> GenerateRequest {
    let prompt = &preset.workload.prompts[asked.prompt];
    let block = (pass.phase == Phase::Measured).then_some(pass.block);
    let mut sampling = preset.sampling.clone();
    sampling.seed = turn_seed(request_seed(sampling.seed, block, asked.slot), asked.turn);
    GenerateRequest {
        prompt: Prompt::turn(prompt, preset.serving.route, asked.turn, &asked.said.history),
        max_tokens: preset.workload.max_tokens.get(),
        ignore_eos: preset.workload.ignore_eos,
        sampling,
        timeout: Duration::from_millis(preset.run.request_timeout_ms),
    }
}

/// A request's task ends by returning or by a panic, since nobody aborts it. A panic is a bug in a stack, and must
/// not pass for a failed request.
pub(super) fn resume<T>(error: JoinError) -> T {
    std::panic::resume_unwind(error.into_panic())
}
