//! The thread that owns the engine: one generation after the other, rounds out as events.
//!
//! The channel of a request is as long as its output may get, so a client that does not read holds up nobody and costs
//! no more memory than its tokens. Invariant: a client that is gone ends its generation after the round that runs.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use bench_engine::spec::generation::{Finish, GenerateParams, StepEvent};
use bench_engine::tokenizer::{TextDecoder, Tokenizer};
use bench_engine::{Engine, EngineError};
use tokio::sync::mpsc;

use super::Shared;
use super::error::ApiError;
use super::model::Model;
use super::queue::Waiting;
use super::stop::StopMatcher;
use super::tally::Tally;

/// A request in the engine's words.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) prompt: Vec<u32>,
    pub(super) params: GenerateParams,
    pub(super) stops: Vec<String>,
    pub(super) events: mpsc::Sender<Event>,
}

/// What comes of a request: rounds, then `Done` or `Failed`.
#[derive(Debug)]
pub(super) enum Event {
    Round(Round),
    Done(Done),
    Failed(ApiError),
}

/// One round's tokens.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) ids: Vec<u32>,
    /// Whole characters that cannot be part of a stop string any more; may be empty.
    pub(super) text: String,
    /// After this round.
    pub(super) tally: Tally,
}

/// The end of a request.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) reason: Reason,
    /// Text that was held back and is output after all.
    pub(super) rest: String,
    pub(super) tally: Tally,
}

/// Why it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reason {
    /// As many tokens as were asked for, or as fit.
    Length,
    /// An end-of-generation token.
    Eos,
    /// A stop string.
    Word(String),
}

impl Waiting for Job {
    fn is_given_up(&self) -> bool {
        self.events.is_closed()
    }
}

/// Loads, then serves until the queue is closed. However it ends, nobody is left waiting.
pub(super) fn run(
    shared: &Shared,
    load: impl FnOnce() -> Result<Engine, EngineError>,
) -> Result<(), EngineError> {
    /// Closes the line even when the thread panics.
    struct Close<'a>(&'a Shared);
    impl Drop for Close<'_> {
        fn drop(&mut self) {
            self.0.queue.close();
        }
    }
    let _close = Close(shared);
    let mut engine = load()?;
    let model = Arc::new(Model::new(&engine, &shared.alias));
    shared.model.send_replace(Some(Arc::clone(&model)));
    while let Some(job) = shared.queue.next() {
        serve(shared, &mut engine, &model.tokenizer, &job);
    }
    Ok(())
}

fn serve(shared: &Shared, engine: &mut Engine, tokenizer: &Tokenizer, job: &Job) {
    let tally = Tally::new(job.prompt.len(), shared.draft_max, Instant::now());
    let mut output = Output {
        tokenizer,
        decoder: TextDecoder::new(),
        stops: StopMatcher::new(&job.stops),
        stopped: None,
        tally,
        events: &job.events,
    };
    let result = engine.generate(&job.prompt, &job.params, &mut |step| {
        if shared.queue.is_closed() { ControlFlow::Break(()) } else { output.round(step) }
    });
    let last = match result {
        Ok(summary) => output.end(summary.finish),
        Err(error) => Some(Event::Failed(ApiError::of_engine(&error))),
    };
    let finished = matches!(last, Some(Event::Done(_)));
    shared.counters().add(&output.tally, finished);
    // Without a last event the server stops, or the client left and will not see this.
    let last = last.unwrap_or_else(|| Event::Failed(ApiError::unavailable("the server is stopping")));
    drop(job.events.try_send(last));
}

/// The text of a generation on its way out.
struct Output<'a> {
    tokenizer: &'a Tokenizer,
    decoder: TextDecoder,
    stops: StopMatcher,
    /// The stop string that ended it.
    stopped: Option<String>,
    tally: Tally,
    events: &'a mpsc::Sender<Event>,
}

impl Output<'_> {
    fn round(&mut self, step: &StepEvent<'_>) -> ControlFlow<()> {
        let mut text = String::new();
        let mut kept = 0;
        for &id in step.tokens {
            kept += 1;
            self.stopped = self.stops.push(&self.decoder.push(self.tokenizer, id), &mut text);
            if self.stopped.is_some() {
                break;
            }
        }
        self.tally.add(step, kept);
        let round = Round { ids: step.tokens[..kept].to_vec(), text, tally: self.tally.clone() };
        let sent = self.events.try_send(Event::Round(round));
        if sent.is_err() || self.stopped.is_some() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// The last event; `None` where the generation was cancelled.
    fn end(&mut self, finish: Finish) -> Option<Event> {
        let mut rest = String::new();
        if self.stopped.is_none() {
            if finish == Finish::Cancelled {
                return None;
            }
            self.stopped = self.stops.push(&self.decoder.finish(), &mut rest);
            rest.push_str(&self.stops.finish());
        }
        let reason = match (self.stopped.take(), finish) {
            (Some(stop), _) => Reason::Word(stop),
            (None, Finish::Stop) => Reason::Eos,
            (None, Finish::Length | Finish::Cancelled) => Reason::Length,
        };
        Some(Event::Done(Done { reason, rest, tally: self.tally.clone() }))
    }
}
