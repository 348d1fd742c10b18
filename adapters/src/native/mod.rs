//! Our engine in this process, behind the same trait as a server.
//!
//! One thread owns the engine and takes one request at a time; requests wait in a bounded channel, and events go back
//! through another, so a slow reader slows the engine down instead of filling memory. Invariants: events are stamped
//! by the engine when a round's tokens are known; dropping the stream ends the generation after the round that runs;
//! equal requests give equal tokens, because every generation starts from empty caches.

mod engine;
mod kv_quality;

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bench_core::clock;
use bench_core::explanation::{ROUND_TIMES, Round, RoundTimes};
use bench_core::stack::{
    CounterReading, EventStream, FinishReason, GenerateRequest, Prompt, Readback, Revival, SpecCounts,
    SpecSource, Stack, StackError, StackInfo, StreamEvent, TOP2_MARGINS, Usage,
};
use bench_core::thinking::Splitter;
use bench_engine::EngineError;
use bench_engine::spec::generation::{Finish, GenerateParams, GenerateSummary, SpecTotals, StepEvent};
use bench_engine::spec::sampler::SamplingParams;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

pub(crate) use self::engine::config;
pub use self::engine::kv_types;
pub use self::kv_quality::measure_kv_quality;
use crate::arm::ConnectRequest;

/// Events that may wait for their reader.
const EVENTS_AHEAD: usize = 256;

/// Prompt to rounds of tokens: the engine, or a script in tests.
trait Generate {
    /// The ids a prompt becomes.
    fn encode(&self, prompt: &Prompt) -> Result<Vec<u32>, StackError>;

    /// Generates from empty caches; `on_step` gets every round and may end the generation.
    fn generate(
        &mut self,
        prompt: &[u32],
        params: &GenerateParams,
        on_step: &mut dyn FnMut(&StepEvent<'_>) -> ControlFlow<()>,
    ) -> Result<GenerateSummary, EngineError>;
}

/// Token ids to text.
trait Decode {
    /// The text that these ids complete, after the ids decoded before.
    fn decode(&mut self, ids: &[u32]) -> String;

    /// Splitter of an answer to a prompt of these ids.
    fn splitter(&self, prompt: &[u32]) -> Splitter;

    /// Text that was held back because it ended inside a character; what follows is a new text.
    fn rest(&mut self) -> String;
}

/// Text to the number of its tokens.
type Counter = Arc<dyn Fn(&str) -> usize + Send + Sync>;

/// What is loaded. The thread owns generator and decoder.
struct Loaded<G, D> {
    info: StackInfo,
    generator: G,
    decoder: D,
    counter: Counter,
}

/// A loaded engine and its thread.
struct NativeStack {
    info: StackInfo,
    counter: Counter,
    /// `None` after a shutdown.
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    /// Closed once the thread has dropped the engine.
    thread: tokio::sync::Mutex<mpsc::Receiver<()>>,
}

struct Job {
    request: GenerateRequest,
    events: Events,
}

type Events = mpsc::Sender<Result<StreamEvent, StackError>>;

/// Loads the arm's models.
pub(crate) async fn connect(request: &ConnectRequest<'_>) -> Result<Arc<dyn Stack>, StackError> {
    let config = config(request)?;
    Ok(Arc::new(NativeStack::start(move || engine::load(&config)).await?))
}

impl std::fmt::Debug for NativeStack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NativeStack").field("info", &self.info).finish_non_exhaustive()
    }
}

impl NativeStack {
    /// Loads on the thread that will own what was loaded.
    async fn start<G: Generate, D: Decode>(
        load: impl FnOnce() -> Result<Loaded<G, D>, StackError> + Send + 'static,
    ) -> Result<Self, StackError> {
        let (loaded_tx, loaded) = oneshot::channel();
        let (jobs, mut queue) = mpsc::channel::<Job>(1);
        let (alive, thread) = mpsc::channel(1);
        let run = move || {
            match load() {
                Ok(Loaded { info, mut generator, mut decoder, counter }) => {
                    drop(loaded_tx.send(Ok((info, counter))));
                    while let Some(job) = queue.blocking_recv() {
                        serve(&mut generator, &mut decoder, &job);
                    }
                }
                Err(error) => drop(loaded_tx.send(Err(error))),
            }
            drop(alive);
        };
        let builder = std::thread::Builder::new().name("engine".to_owned());
        drop(
            builder
                .spawn(run)
                .map_err(|error| failed(format!("cannot start the engine's thread: {error}")))?,
        );
        let (info, counter) = loaded
            .await
            .map_err(|error| failed(format!("the engine's thread died while loading: {error}")))??;
        Ok(Self { info, counter, jobs: Mutex::new(Some(jobs)), thread: tokio::sync::Mutex::new(thread) })
    }
}

fn failed(detail: String) -> StackError {
    StackError::Engine { detail, hint: None }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape map_err wants")]
fn engine_error(error: EngineError) -> StackError {
    StackError::Engine { hint: error.hint(), detail: error.to_string() }
}

/// One request, from its prompt to its last event. A reader that is gone needs no answer.
fn serve(generator: &mut impl Generate, decoder: &mut impl Decode, job: &Job) {
    let Job { request, events } = job;
    let opened = StreamEvent::Opened { at: Instant::now() };
    if events.blocking_send(Ok(opened)).is_err() {
        return;
    }
    let last = match answer(generator, decoder, request, events) {
        Ok(Some(finished)) => Ok(finished),
        Ok(None) => return,
        Err(error) => Err(error),
    };
    drop(events.blocking_send(last));
}

/// Sends the rounds; the event that ends the request, or `None` if the reader went away.
fn answer(
    generator: &mut impl Generate,
    decoder: &mut impl Decode,
    request: &GenerateRequest,
    events: &Events,
) -> Result<Option<StreamEvent>, StackError> {
    let prompt = generator.encode(&request.prompt)?;
    // A generation that was cut short may have left half a character behind.
    drop(decoder.rest());
    let mut split = decoder.splitter(&prompt);
    let send = |at, ids: &[u32], text: String| {
        let count = u32::try_from(ids.len()).ok();
        let event = StreamEvent::Tokens { at, count, text, token_ids: Some(ids.to_vec()) };
        if events.blocking_send(Ok(event)).is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    };
    let params = params(request)?;
    let mut rounds = RoundClock::default();
    let summary = generator
        .generate(&prompt, &params, &mut |step| {
            rounds.stamp(step);
            let (at, mut text) = (step.at.into(), String::new());
            // One by one, since markers leave no text: a thought's text ends at its last token.
            for id in step.tokens {
                let piece = decoder.decode(std::slice::from_ref(id));
                split.push(at, Some(1), Some(std::slice::from_ref(id)), &piece, 0);
                text.push_str(&piece);
            }
            send(at, step.tokens, text)
        })
        .map_err(engine_error)?;
    let reason = match summary.finish {
        Finish::Length => FinishReason::Length,
        Finish::Stop => FinishReason::Stop,
        Finish::Cancelled => return Ok(None),
    };
    let at = Instant::now();
    let rest = decoder.rest();
    split.push(at, Some(0), Some(&[]), &rest, 0);
    if !rest.is_empty() && send(at, &[], rest).is_break() {
        return Ok(None);
    }
    let usage = Usage {
        prompt_tokens: u32::try_from(summary.prompt_tokens).ok(),
        cached_tokens: Some(0),
        output_tokens: u32::try_from(summary.output_tokens).ok(),
    };
    let stack_timings = Some(timings(&summary, &rounds.times));
    let (spec, readback) = (spec_counts(summary.totals), Readback::default());
    let split = Box::new(split.finish());
    Ok(Some(StreamEvent::Finished { at, reason, usage, spec, stack_timings, readback, split }))
}

fn params(request: &GenerateRequest) -> Result<GenerateParams, StackError> {
    let sampling = &request.sampling;
    let max_tokens = usize::try_from(request.max_tokens);
    Ok(GenerateParams {
        max_tokens: max_tokens
            .map_err(|error| failed(format!("max_tokens = {}: {error}", request.max_tokens)))?,
        ignore_eos: request.ignore_eos,
        sampling: SamplingParams {
            temperature: sampling.temperature,
            top_k: sampling.top_k,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            seed: sampling.seed,
        },
    })
}

/// `None` for plain decoding, which is not the same as drafting nothing.
fn spec_counts(totals: SpecTotals) -> Option<SpecCounts> {
    (!totals.drafted_per_position.is_empty()).then_some(SpecCounts {
        drafted: totals.drafted,
        accepted: totals.accepted,
        verify_steps: Some(totals.verify_steps),
        accepted_per_position: Some(totals.accepted_per_position),
        drafted_per_position: Some(totals.drafted_per_position),
        accepted_histogram: Some(totals.accepted_histogram),
        source: SpecSource::Engine,
    })
}

/// Times of the rounds of one request.
#[derive(Default)]
struct RoundClock {
    times: RoundTimes,
    /// Stamp of the tokens before; `None` until the prefill gave its token, which is no round.
    before: Option<Instant>,
}

impl RoundClock {
    fn stamp(&mut self, step: &StepEvent<'_>) {
        let at = Instant::from(step.at);
        let total_ns = self.before.replace(at).and_then(|before| clock::elapsed_ns(before, at));
        self.times.extend(total_ns.map(|total_ns| Round {
            drafted: step.drafted,
            accepted: step.accepted,
            draft_ns: step.draft_ns,
            verify_ns: step.verify_ns,
            sample_ns: step.sample_ns,
            total_ns,
        }));
    }
}

fn timings(summary: &GenerateSummary, rounds: &RoundTimes) -> Value {
    let mut timings = json!({
        "prefill_ns": summary.prefill_ns,
        "draft_ns": summary.draft_ns,
        "verify_ns": summary.verify_ns,
        "sample_ns": summary.sample_ns,
        ROUND_TIMES: rounds,
    });
    if !summary.top2_margins.is_empty() {
        // Four digits: a row holds one an output token, and near ties are told apart at a quarter.
        let round = |margin: &f32| (f64::from(*margin) * 1e4).round() / 1e4;
        timings[TOP2_MARGINS] = summary.top2_margins.iter().map(round).collect();
    }
    timings
}

#[async_trait]
impl Stack for NativeStack {
    async fn describe(&self) -> Result<StackInfo, StackError> {
        Ok(self.info.clone())
    }

    async fn generate(&self, request: GenerateRequest) -> Result<EventStream, StackError> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let jobs = jobs.ok_or_else(|| failed("the engine was shut down".to_owned()))?;
        let (events, received) = mpsc::channel(EVENTS_AHEAD);
        let sent = jobs.send(Job { request, events }).await;
        sent.map_err(|error| failed(format!("the engine's thread has died: {error}")))?;
        Ok(Box::pin(stream::unfold(received, |mut received| async move {
            let event = received.recv().await?;
            Some((event, received))
        })))
    }

    /// Nothing: each response carries its own counts, and the process is ours.
    async fn counters(&self) -> Result<CounterReading, StackError> {
        Ok(CounterReading::default())
    }

    async fn count_tokens(&self, text: &str) -> Result<Option<u32>, StackError> {
        Ok(u32::try_from((self.counter)(text)).ok())
    }

    /// A thread that died took a bug with it, which a restart would hide.
    async fn revive(&self, _may_start: bool) -> Result<Revival, StackError> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(if jobs.as_ref().is_some_and(|jobs| !jobs.is_closed()) { Revival::Alive } else { Revival::Dead })
    }

    async fn shutdown(&self) -> Result<(), StackError> {
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        // Nothing is ever sent: this waits for the thread to drop its end.
        self.thread.lock().await.recv().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
