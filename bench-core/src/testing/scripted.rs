//! A stack that plays scripts: delays, chunks and faults, exact to the nanosecond on tokio's paused clock.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream;
use tokio::time::Instant;

use super::documents::stack_info;
use crate::stack::{
    CounterReading, EventStream, FinishReason, GenerateRequest, Readback, Revival, SpecCounts, Stack,
    StackError, StackInfo, StreamEvent, Usage,
};
use crate::thinking::Splitter;

/// One step of a script.
#[derive(Debug, Clone)]
pub enum Step {
    /// Let time pass.
    Wait(Duration),
    /// The stack took the request.
    Opened,
    /// A chunk with output.
    Tokens {
        /// Tokens in it, if it tells.
        count: Option<u32>,
        /// Their text.
        text: String,
        /// Their ids, if it tells.
        token_ids: Option<Vec<u32>>,
    },
    /// The stack says that it finished.
    Finish {
        /// Why.
        reason: FinishReason,
        /// What it counted.
        usage: Usage,
        /// This request's speculation.
        spec: Option<SpecCounts>,
    },
    /// The stream breaks with an error.
    Fail(StackError),
    /// Nothing comes any more.
    Hang,
    /// Reads the clock this much too early: a stamp that lies.
    StampTooEarly(Duration),
}

/// What a stack does for one request. A script without a `finish` ends its stream without one.
#[derive(Debug, Clone, Default)]
pub struct Script {
    refusal: Option<StackError>,
    steps: Vec<Step>,
}

impl Script {
    /// Ends at once, without a finish.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `generate` itself answers with this error: nobody listens, an HTTP status, ...
    #[must_use]
    pub fn refuse(error: StackError) -> Self {
        Self { refusal: Some(error), steps: Vec::new() }
    }

    /// `tokens` chunks of one token each: the first after `ttft_ms`, the others `gap_ms` apart, then a finish.
    #[must_use]
    pub fn steady(ttft_ms: u64, gap_ms: u64, tokens: u32) -> Self {
        let mut script = Self::new().wait_ms(ttft_ms);
        for index in 0..tokens {
            script = if index == 0 { script } else { script.wait_ms(gap_ms) };
            script = script.tokens(&[index]);
        }
        script.finish(tokens)
    }

    /// Adds any step.
    #[must_use]
    pub fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Lets milliseconds pass.
    #[must_use]
    pub fn wait_ms(self, ms: u64) -> Self {
        self.step(Step::Wait(Duration::from_millis(ms)))
    }

    /// One chunk with these ids; its text is a letter a token.
    #[must_use]
    pub fn tokens(self, ids: &[u32]) -> Self {
        let count = u32::try_from(ids.len()).ok();
        self.step(Step::Tokens { count, text: "x".repeat(ids.len()), token_ids: Some(ids.to_vec()) })
    }

    /// One chunk of which only the text is told.
    #[must_use]
    pub fn text(self, text: &str) -> Self {
        self.step(Step::Tokens { count: None, text: text.to_owned(), token_ids: None })
    }

    /// Finishes by length, with this many output tokens counted.
    #[must_use]
    pub fn finish(self, output_tokens: u32) -> Self {
        self.finish_with(output_tokens, None)
    }

    /// Finishes by length, with counts of speculation.
    #[must_use]
    pub fn finish_with(self, output_tokens: u32, spec: Option<SpecCounts>) -> Self {
        let usage =
            Usage { prompt_tokens: Some(3), cached_tokens: Some(0), output_tokens: Some(output_tokens) };
        self.step(Step::Finish { reason: FinishReason::Length, usage, spec })
    }
}

/// A stack that plays its scripts one after the other, and from the start again.
#[derive(Debug)]
pub struct ScriptedStack {
    info: StackInfo,
    scripts: Vec<Script>,
    counters: Mutex<VecDeque<Result<CounterReading, StackError>>>,
    counters_hang: bool,
    revivals: Mutex<VecDeque<Result<Revival, StackError>>>,
    requests: Mutex<Vec<(Instant, GenerateRequest)>>,
    load: Arc<Load>,
}

/// Streams that are alive, now and at most.
#[derive(Debug, Default)]
struct Load {
    now: AtomicUsize,
    peak: AtomicUsize,
}

impl ScriptedStack {
    /// Plays these scripts, at least one.
    ///
    /// # Panics
    ///
    /// Without a script.
    #[must_use]
    pub fn new(scripts: Vec<Script>) -> Self {
        assert!(!scripts.is_empty(), "a scripted stack needs a script");
        Self {
            info: stack_info(),
            scripts,
            counters: Mutex::default(),
            counters_hang: false,
            revivals: Mutex::default(),
            requests: Mutex::default(),
            load: Arc::default(),
        }
    }

    /// Answers `counters` with these, one by one, and with nothing afterwards.
    #[must_use]
    pub fn with_counters(self, readings: Vec<Result<CounterReading, StackError>>) -> Self {
        Self { counters: Mutex::new(readings.into()), ..self }
    }

    /// Answers `revive` with these, one by one, and says that it is alive afterwards. Instead of a restart that it may
    /// not make, it says that it is dead.
    #[must_use]
    pub fn with_revivals(self, revivals: Vec<Result<Revival, StackError>>) -> Self {
        Self { revivals: Mutex::new(revivals.into()), ..self }
    }

    /// Never answers `counters`.
    #[must_use]
    pub fn with_hanging_counters(self) -> Self {
        Self { counters_hang: true, ..self }
    }

    /// Answers `describe` with this.
    #[must_use]
    pub fn with_info(self, info: StackInfo) -> Self {
        Self { info, ..self }
    }

    /// The requests so far, with the moment each came.
    #[must_use]
    pub fn requests(&self) -> Vec<(Instant, GenerateRequest)> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Streams that are alive: 0 once all were read to their end or dropped.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.load.now.load(Ordering::SeqCst)
    }

    /// Most streams that were alive at once.
    #[must_use]
    pub fn peak_in_flight(&self) -> usize {
        self.load.peak.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Stack for ScriptedStack {
    async fn describe(&self) -> Result<StackInfo, StackError> {
        Ok(self.info.clone())
    }

    async fn generate(&self, request: GenerateRequest) -> Result<EventStream, StackError> {
        let index = {
            let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
            requests.push((Instant::now(), request));
            (requests.len() - 1) % self.scripts.len()
        };
        let script = self.scripts[index].clone();
        match script.refusal {
            Some(error) => Err(error),
            None => Ok(play(script.steps, Alive::new(self.load.clone()))),
        }
    }

    async fn counters(&self) -> Result<CounterReading, StackError> {
        if self.counters_hang {
            std::future::pending::<()>().await;
        }
        let next = self.counters.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        next.unwrap_or(Ok(CounterReading::default()))
    }

    /// A token a character.
    async fn count_tokens(&self, text: &str) -> Result<Option<u32>, StackError> {
        Ok(u32::try_from(text.chars().count()).ok())
    }

    async fn revive(&self, may_start: bool) -> Result<Revival, StackError> {
        let next = self.revivals.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let revival = next.unwrap_or(Ok(Revival::Alive))?;
        Ok(if revival == Revival::Restarted && !may_start { Revival::Dead } else { revival })
    }

    async fn shutdown(&self) -> Result<(), StackError> {
        Ok(())
    }
}

fn play(steps: Vec<Step>, alive: Alive) -> EventStream {
    let state = (steps.into_iter(), Duration::ZERO, Splitter::default(), alive);
    Box::pin(stream::unfold(state, |(mut steps, mut early, mut split, alive)| async move {
        loop {
            let at = |early| Instant::now() - early;
            let item = match steps.next()? {
                Step::Wait(duration) => {
                    tokio::time::sleep(duration).await;
                    continue;
                }
                Step::StampTooEarly(duration) => {
                    early = duration;
                    continue;
                }
                Step::Hang => std::future::pending().await,
                Step::Opened => Ok(StreamEvent::Opened { at: at(early) }),
                Step::Tokens { count, text, token_ids } => {
                    let at = at(early);
                    split.push(at, count, token_ids.as_deref(), &text, 0);
                    Ok(StreamEvent::Tokens { at, count, text, token_ids })
                }
                Step::Finish { reason, usage, spec } => Ok(StreamEvent::Finished {
                    at: at(early),
                    reason,
                    usage,
                    spec,
                    stack_timings: None,
                    readback: Readback::default(),
                    split: Box::new(split.finish()),
                }),
                Step::Fail(error) => Err(error),
            };
            return Some((item, (steps, early, split, alive)));
        }
    }))
}

/// Counts a stream for as long as it lives.
struct Alive(Arc<Load>);

impl Alive {
    fn new(load: Arc<Load>) -> Self {
        let now = load.now.fetch_add(1, Ordering::SeqCst) + 1;
        load.peak.fetch_max(now, Ordering::SeqCst);
        Self(load)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}
