//! Sends one request, reads it to its end, and makes its row.
//!
//! The deadline and the cancellation of a request are here and nowhere else.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::collect::{Collected, Collector};
use super::counters::{merge_counts, subtract_counts};
use crate::clock;
use crate::record::{
    Arrival, CountSource, Outcome, OutputCount, Phase, RECORD_SCHEMA, RequestRecord, Timing, Turn,
};
use crate::run_dir::request_sha256;
use crate::stack::{Ahead, CounterReading, GenerateRequest, Stack, StackError, Usage};

/// One request to send, with everything its row says about it.
pub(super) struct Job {
    pub(super) stack: Arc<dyn Stack>,
    pub(super) request: GenerateRequest,
    /// Read the stack's counters before and after, outside the timed part.
    pub(super) read_counters: bool,
    /// The process that answered last, if that is known and it was not restarted by us.
    pub(super) known_process: Option<String>,
    /// When the pass began, for requests that have a time of their own.
    pub(super) pass_began: Option<Instant>,
    /// When the answer before it in its conversation ended.
    pub(super) answered: Option<Instant>,
    pub(super) identity: Identity,
}

/// Which request a row is about.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Identity {
    pub(super) run_id: String,
    pub(super) arm: String,
    pub(super) phase: Phase,
    pub(super) block: u32,
    pub(super) request_index: u64,
    pub(super) prompt_id: String,
    pub(super) category: String,
    pub(super) prompt_sha256: String,
    pub(super) arrival: Option<Arrival>,
    pub(super) turn: Option<Turn>,
}

/// A request's row, and why its counters could not be read if they could not.
pub(super) struct Measured {
    pub(super) record: RequestRecord,
    pub(super) counters_error: Option<StackError>,
    /// The process that answered, where it tells.
    pub(super) process: Option<String>,
    /// When the request ended; `None` if it was not sent.
    pub(super) ended: Option<Instant>,
}

impl Measured {
    /// The row of a request that was not sent.
    pub(super) fn given_up(identity: Identity, why: &str) -> Self {
        let error = StackError::GivenUp { why: why.to_owned() };
        let record = identity.into_record(clock::unix_ms(), failed(&error), nothing());
        Self { record, counters_error: None, process: None, ended: None }
    }
}

/// Sends the request and reads it to its end, whichever that is.
pub(super) async fn measure(job: Job, cancel: CancellationToken) -> Measured {
    let Job { stack, request, read_counters, known_process, pass_began, answered, mut identity } = job;
    let limit = request.timeout;
    let hash = request_sha256(&request);
    let before = if read_counters {
        limited("reading the counters", stack.counters(), limit, &cancel).await
    } else {
        Ok(None)
    };
    cancel.run_until_cancelled(tokio::time::timeout(limit, stack.prepare(Ahead::Request))).await;
    let sent_unix_ms = clock::unix_ms();
    let sent = Instant::now();
    if let (Some(arrival), Some(began)) = (&mut identity.arrival, pass_began) {
        arrival.sent_ns = clock::elapsed_ns(began, sent);
    }
    if let (Some(turn), Some(answered)) = (&mut identity.turn, answered) {
        turn.since_answer_ns = clock::elapsed_ns(answered, sent);
    }
    let (outcome, collected) = exchange(&*stack, request, sent, &cancel).await;

    let after = match &before {
        Ok(Some(_)) if outcome.is_completed() => {
            limited("reading the counters", stack.counters(), limit, &cancel).await
        }
        Ok(_) | Err(_) => Ok(None),
    };
    let (before, after, counters_error) = match (before, after) {
        (Ok(before), Ok(after)) => (before.unwrap_or_default(), after.unwrap_or_default(), None),
        (Ok(before), Err(error)) => (before.unwrap_or_default(), CounterReading::default(), Some(error)),
        (Err(error), _) => (CounterReading::default(), CounterReading::default(), Some(error)),
    };
    let mut record = identity.into_record(sent_unix_ms, outcome, collected);
    record.request_sha256 = hash;
    let delta = match (&before.spec, &after.spec) {
        (Some(before), Some(after)) => subtract_counts(before, after),
        (_, None) | (None, _) => None,
    };
    let merged = merge_counts(record.spec.take(), delta);
    (record.spec, record.spec_disputed) = (merged.counts, merged.disputed);
    let cached_tokens = || after.cached_tokens?.checked_sub(before.cached_tokens?);
    // The answer's own count is of this request for certain; the counters' is while nothing else runs.
    record.usage.cached_tokens = record.usage.cached_tokens.or_else(|| u32::try_from(cached_tokens()?).ok());
    let seen = [known_process.as_ref(), before.process_started.as_ref(), after.process_started.as_ref()];
    let mut seen: Vec<_> = seen.into_iter().flatten().collect();
    seen.dedup();
    record.restarted_in_silence = seen.len() > 1;
    if record.outcome.is_completed() && !record.text.is_empty() {
        let counted = limited("counting tokens", stack.count_tokens(&record.text), limit, &cancel).await;
        // It is evidence beside the count: without it the row is whole.
        record.output.retokenised = counted.unwrap_or_default().flatten();
    }
    let ended = Some(sent + Duration::from_nanos(record.timing.ended_ns));
    Measured { record, counters_error, ended, process: after.process_started.or(before.process_started) }
}

/// The timed part: from the send to the end of the stream, the deadline or the cancellation.
async fn exchange(
    stack: &dyn Stack,
    request: GenerateRequest,
    sent: Instant,
    cancel: &CancellationToken,
) -> (Outcome, Collected) {
    let limit = request.timeout;
    let max_tokens = request.max_tokens;
    let mut collector = Collector::new(sent, max_tokens);
    // Biased: a stack whose stream is always ready must not starve the other two.
    let end = tokio::select! {
        biased;
        () = cancel.cancelled() => End::Cancelled,
        () = tokio::time::sleep_until(sent + limit) => End::TimedOut,
        read = read_to_end(stack, request, &mut collector) => End::Read(read),
    };
    let collected = collector.finish(Instant::now());
    let outcome = match (end, collected.reason) {
        (End::Cancelled, _) => Outcome::Cancelled,
        (End::TimedOut, _) => {
            Outcome::TimedOut { limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX) }
        }
        (End::Read(Ok(())), Some(reason)) => Outcome::Completed { reason },
        (End::Read(Ok(())), None) => failed(&StackError::Aborted {
            events: collected.timing.chunks.len() as u64,
            detail: "the stream is over".to_owned(),
            death: None,
        }),
        (End::Read(Err(error)), _) => failed(&error),
    };
    (outcome, collected)
}

enum End {
    Cancelled,
    TimedOut,
    Read(Result<(), StackError>),
}

/// Reads events until the stack says that it finished, or until there are no more.
async fn read_to_end(
    stack: &dyn Stack,
    request: GenerateRequest,
    collector: &mut Collector,
) -> Result<(), StackError> {
    let mut events = stack.generate(request).await?;
    while !collector.is_finished() {
        match events.next().await {
            Some(event) => collector.push(event?)?,
            None => break,
        }
    }
    Ok(())
}

/// A question to the stack beside the requests. With a limit, and given up when the user stops the run (`None`): a
/// stack that hangs here must hang neither the run nor its end.
async fn limited<T>(
    what: &str,
    question: impl Future<Output = Result<T, StackError>>,
    limit: Duration,
    cancel: &CancellationToken,
) -> Result<Option<T>, StackError> {
    let timed_out = |_elapsed| StackError::TimedOut {
        what: what.to_owned(),
        limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
    };
    match cancel.run_until_cancelled(tokio::time::timeout(limit, question)).await {
        Some(read) => read.map_err(timed_out)?.map(Some),
        None => Ok(None),
    }
}

fn failed(error: &StackError) -> Outcome {
    Outcome::Failed {
        kind: error.kind(),
        detail: error.to_string(),
        hint: error.hint(),
        death: error.death().cloned(),
    }
}

impl Identity {
    fn into_record(self, sent_unix_ms: u64, outcome: Outcome, collected: Collected) -> RequestRecord {
        RequestRecord {
            schema: RECORD_SCHEMA,
            run_id: self.run_id,
            arm: self.arm,
            phase: self.phase,
            block: self.block,
            request_index: self.request_index,
            prompt_id: self.prompt_id,
            category: self.category,
            prompt_sha256: self.prompt_sha256,
            request_sha256: None,
            sent_unix_ms,
            arrival: self.arrival,
            turn: self.turn,
            outcome,
            timing: collected.timing,
            usage: collected.usage,
            output: collected.output,
            spec: collected.spec,
            spec_disputed: None,
            readback: collected.readback,
            split: collected.split,
            restarted_in_silence: false,
            token_ids: collected.token_ids,
            text: collected.text,
            stack_timings: collected.stack_timings,
        }
    }
}

/// The row of an arm that could not be made ready: phase `setup`, no prompt, no time.
#[must_use]
pub fn setup_row(run_id: &str, arm: &str, request_index: u64, error: &StackError) -> RequestRecord {
    let identity = Identity {
        run_id: run_id.to_owned(),
        arm: arm.to_owned(),
        phase: Phase::Setup,
        block: 0,
        request_index,
        prompt_id: String::new(),
        category: String::new(),
        prompt_sha256: String::new(),
        arrival: None,
        turn: None,
    };
    identity.into_record(clock::unix_ms(), failed(error), nothing())
}

/// What came of a request that was not sent.
fn nothing() -> Collected {
    Collected {
        reason: None,
        timing: Timing::default(),
        usage: Usage::default(),
        output: OutputCount {
            tokens: None,
            source: CountSource::Unknown,
            disputed: false,
            retokenised: None,
        },
        spec: None,
        token_ids: None,
        text: String::new(),
        stack_timings: None,
        readback: None,
        split: None,
    }
}
