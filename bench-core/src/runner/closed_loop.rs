//! The closed loop: as many requests in flight on one arm as the preset says, the next one sent when one ends.

use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::request::{Identity, Job, Measured, measure};
use super::seed::request_seed;
use super::{Observer, RunEvent, RunPlan, RunSummary, RunnableArm};
use crate::jsonl::{RowError, RowSink};
use crate::preset::{Preset, PromptSpec, Route};
use crate::record::{Outcome, Phase, RequestRecord};
use crate::run_dir::prompt_sha256;
use crate::stack::{GenerateRequest, Prompt};

/// One arm over the prompts once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pass {
    pub(super) arm: usize,
    pub(super) phase: Phase,
    pub(super) block: u32,
    pub(super) ends_block: bool,
}

/// How a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PassEnd {
    Done,
    Cancelled,
}

/// The state of a run between its passes.
pub(super) struct RunState<'a> {
    plan: RunPlan<'a>,
    prompt_hashes: Vec<String>,
    sink: &'a mut dyn RowSink,
    observer: &'a mut dyn Observer,
    cancel: &'a CancellationToken,
    total: u64,
    sent: u64,
    done: u64,
    failures: u64,
    arms: Vec<ArmState>,
}

/// What is remembered of an arm from request to request.
#[derive(Debug, Clone, Copy, Default)]
struct ArmState {
    /// Tokens of its measured decode spans.
    tokens: u64,
    /// Time of its measured decode spans.
    span_ns: u64,
    /// Its last request did not complete and may still be running in the stack: the stack's counters are not the
    /// next request's alone.
    unsettled: bool,
}

impl<'a> RunState<'a> {
    pub(super) fn new(
        plan: RunPlan<'a>,
        arm_count: usize,
        sink: &'a mut dyn RowSink,
        observer: &'a mut dyn Observer,
        cancel: &'a CancellationToken,
    ) -> Self {
        let prompts = &plan.preset.workload.prompts;
        let run = &plan.preset.run;
        let per_arm = u64::from(run.warmup_requests) + u64::from(run.blocks.get()) * prompts.len() as u64;
        Self {
            plan,
            prompt_hashes: prompts.iter().map(prompt_sha256).collect(),
            sink,
            observer,
            cancel,
            total: per_arm * arm_count as u64,
            sent: 0,
            done: 0,
            failures: 0,
            arms: vec![ArmState::default(); arm_count],
        }
    }

    /// Sends the requests of one pass and stores their rows.
    pub(super) async fn run_pass(&mut self, arm: &RunnableArm, pass: Pass) -> Result<PassEnd, RowError> {
        self.observer.on_event(&RunEvent::PassStarted {
            arm: &arm.label,
            phase: pass.phase,
            block: pass.block,
        });
        let mut waiting = self.prompt_order(pass.phase);
        let concurrency = usize::try_from(self.plan.preset.run.concurrency.get()).unwrap_or(usize::MAX);
        let mut in_flight = JoinSet::new();
        loop {
            while in_flight.len() < concurrency && !self.cancel.is_cancelled() {
                let Some(prompt_index) = waiting.next() else { break };
                let read_counters = concurrency == 1 && !self.arms[pass.arm].unsettled;
                let job = self.job(arm, pass, prompt_index, read_counters);
                in_flight.spawn(measure(job, self.cancel.clone()));
            }
            let Some(ended) = in_flight.join_next().await else { break };
            let measured = ended.unwrap_or_else(resume);
            self.store(pass.arm, measured)?;
        }
        Ok(if self.done < self.total && self.cancel.is_cancelled() {
            PassEnd::Cancelled
        } else {
            PassEnd::Done
        })
    }

    pub(super) fn block_finished(&mut self, block: u32) {
        let blocks = self.plan.preset.run.blocks.get();
        self.observer.on_event(&RunEvent::BlockFinished { block, blocks });
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

    fn job(&mut self, arm: &RunnableArm, pass: Pass, prompt_index: usize, read_counters: bool) -> Job {
        let preset = self.plan.preset;
        let prompt = &preset.workload.prompts[prompt_index];
        let identity = Identity {
            run_id: self.plan.run_id.to_owned(),
            arm: arm.label.clone(),
            phase: pass.phase,
            block: pass.block,
            request_index: self.plan.first_request_index + self.sent,
            prompt_id: prompt.id.clone(),
            category: prompt.category.clone(),
            prompt_sha256: self.prompt_hashes[prompt_index].clone(),
        };
        self.sent += 1;
        let request = generate_request(preset, prompt, pass, prompt_index);
        Job { stack: arm.stack.clone(), request, read_counters, identity }
    }

    fn store(&mut self, arm: usize, measured: Measured) -> Result<(), RowError> {
        let Measured { record, counters_error } = measured;
        self.sink.append(&record)?;
        self.done += 1;
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
        if let Some(span) = record.decode_span() {
            arm.tokens += u64::from(span.tokens);
            arm.span_ns += span.span_ns;
        }
        (arm.span_ns > 0).then(|| arm.tokens as f64 * 1e9 / arm.span_ns as f64)
    }
}

fn is_failure(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Failed { .. } | Outcome::TimedOut { .. } => true,
        Outcome::Completed { .. } | Outcome::Cancelled => false,
    }
}

fn generate_request(
    preset: &Preset,
    prompt: &PromptSpec,
    pass: Pass,
    prompt_index: usize,
) -> GenerateRequest {
    let block = (pass.phase == Phase::Measured).then_some(pass.block);
    let slot = u32::try_from(prompt_index).unwrap_or(u32::MAX);
    let mut sampling = preset.sampling.clone();
    sampling.seed = request_seed(sampling.seed, block, slot);
    GenerateRequest {
        prompt: match preset.serving.route {
            Route::Completion => Prompt::Text(prompt.text.clone()),
            Route::Chat => Prompt::Chat { system: prompt.system.clone(), user: prompt.text.clone() },
        },
        max_tokens: preset.workload.max_tokens.get(),
        ignore_eos: preset.workload.ignore_eos,
        sampling,
        timeout: Duration::from_millis(preset.run.request_timeout_ms),
    }
}

/// A request's task ends by returning or by a panic, since nobody aborts it. A panic is a bug in a stack, and must
/// not pass for a failed request.
fn resume(error: JoinError) -> Measured {
    std::panic::resume_unwind(error.into_panic())
}
