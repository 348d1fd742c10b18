//! Folds the events of one request into what a row holds.
//!
//! Pure: no clock, no I/O. A push only moves what came; everything derived is derived in `finish`, after the last
//! read. Invariant: stamps never go back, so no time in a row is negative.

use tokio::time::Instant;

use crate::clock::elapsed_ns;
use crate::record::{Chunk, CountSource, OutputCount, Timing};
use crate::stack::{FinishReason, Readback, SpecCounts, StackError, StreamEvent, Usage};
use crate::thinking::{Split, TokenSplit};

/// The fold of one request's events.
#[derive(Debug)]
pub struct Collector {
    sent: Instant,
    last_event: Instant,
    events: u64,
    opened_ns: Option<u64>,
    chunks: Vec<Chunk>,
    text: String,
    /// `None` once a chunk came without ids.
    token_ids: Option<Vec<u32>>,
    finish: Option<Finish>,
}

#[derive(Debug)]
struct Finish {
    at: Instant,
    reason: FinishReason,
    usage: Usage,
    spec: Option<SpecCounts>,
    stack_timings: Option<serde_json::Value>,
    readback: Readback,
    split: Split<Instant>,
}

/// What a request came to, before it is a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Collected {
    /// Why it ended well; `None` if the stack never said so.
    pub reason: Option<FinishReason>,
    /// Stamps.
    pub timing: Timing,
    /// As reported.
    pub usage: Usage,
    /// Output tokens we believe in.
    pub output: OutputCount,
    /// This request's speculation, as reported.
    pub spec: Option<SpecCounts>,
    /// All ids of the output, where all were told.
    pub token_ids: Option<Vec<u32>>,
    /// The text that came.
    pub text: String,
    /// The stack's own timings.
    pub stack_timings: Option<serde_json::Value>,
    /// What the answer says of itself; `None` if it did not finish.
    pub readback: Option<Readback>,
    /// Thinking and answer tokens; `None` if it did not finish.
    pub split: Option<TokenSplit>,
}

impl Collector {
    /// An empty fold of a request sent at `sent`. Room for `max_tokens` is made now, not while reading.
    #[must_use]
    pub fn new(sent: Instant, max_tokens: u32) -> Self {
        /// A preset may ask for a huge output; a stack may still stop early.
        const ROOM: usize = 4096;
        let room = usize::try_from(max_tokens).map_or(ROOM, |tokens| tokens.min(ROOM));
        Self {
            sent,
            last_event: sent,
            events: 0,
            opened_ns: None,
            chunks: Vec::with_capacity(room),
            text: String::with_capacity(room * 4),
            token_ids: Some(Vec::with_capacity(room)),
            finish: None,
        }
    }

    /// Events taken so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Whether the stack said that it finished.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// Takes one event.
    ///
    /// # Errors
    ///
    /// A stamp before the send or before the previous event: such a row's times would be made up.
    pub fn push(&mut self, event: StreamEvent) -> Result<(), StackError> {
        match event {
            StreamEvent::Opened { at } => self.opened_ns = Some(self.stamp(at)?),
            StreamEvent::Tokens { at, count, text, token_ids } => {
                let at_ns = self.stamp(at)?;
                self.push_tokens(at_ns, count, &text, token_ids);
            }
            StreamEvent::Finished { at, reason, usage, spec, stack_timings, readback, split } => {
                self.stamp(at)?;
                self.finish =
                    Some(Finish { at, reason, usage, spec, stack_timings, readback, split: *split });
            }
        }
        Ok(())
    }

    /// Ends the fold. `ended` is the end of a request that did not finish by itself.
    #[must_use]
    pub fn finish(self, ended: Instant) -> Collected {
        let end = self.finish.as_ref().map_or(ended, |finish| finish.at);
        let timing = Timing {
            opened_ns: self.opened_ns,
            first_token_ns: self.chunks.first().map(|chunk| chunk.at_ns),
            last_token_ns: self.chunks.last().map(|chunk| chunk.at_ns),
            // `stamp` let nothing before the send pass, and `ended` is read after it.
            ended_ns: elapsed_ns(self.sent, end).unwrap_or(0),
            chunks: self.chunks,
        };
        // Without a chunk nobody has counted: an empty list is no statement.
        let token_ids = self.token_ids.filter(|_| !timing.chunks.is_empty());
        let usage = self.finish.as_ref().map_or_else(Usage::default, |finish| finish.usage);
        let output = count_output(token_ids.as_deref(), usage, &timing.chunks);
        let mut collected = Collected {
            reason: None,
            timing,
            usage,
            output,
            spec: None,
            token_ids,
            text: self.text,
            stack_timings: None,
            readback: None,
            split: None,
        };
        if let Some(finish) = self.finish {
            collected.reason = Some(finish.reason);
            collected.spec = finish.spec;
            collected.stack_timings = finish.stack_timings;
            collected.readback = Some(finish.readback);
            collected.split = Some(finish.split.map(|at| elapsed_ns(self.sent, at)));
        }
        collected
    }

    fn push_tokens(&mut self, at_ns: u64, count: Option<u32>, text: &str, ids: Option<Vec<u32>>) {
        self.text.push_str(text);
        if count == Some(0) {
            // Says that it carries no token (a role, an empty delta): no first token, no chunk.
            return;
        }
        self.chunks.push(Chunk { at_ns, tokens: count });
        match (&mut self.token_ids, ids) {
            (Some(all), Some(ids)) => all.extend_from_slice(&ids),
            (all, None) => *all = None,
            (None, Some(_)) => {}
        }
    }

    fn stamp(&mut self, at: Instant) -> Result<u64, StackError> {
        let backwards = || StackError::Protocol {
            what: "a stamp lies before the one that came before it".to_owned(),
            excerpt: format!("event {}", self.events),
        };
        elapsed_ns(self.last_event, at).ok_or_else(backwards)?;
        let since_send = elapsed_ns(self.sent, at).ok_or_else(backwards)?;
        self.last_event = at;
        self.events += 1;
        Ok(since_send)
    }
}

/// Chooses between the three ways to count output tokens: ids, which are the tokens themselves, before the stack's
/// own sum, before the sum of what chunks claimed. Any two that differ make it disputed.
fn count_output(token_ids: Option<&[u32]>, usage: Usage, chunks: &[Chunk]) -> OutputCount {
    let by_ids = token_ids.and_then(|ids| u32::try_from(ids.len()).ok());
    let by_chunks = (!chunks.is_empty())
        .then(|| chunks.iter().try_fold(0_u32, |sum, chunk| sum.checked_add(chunk.tokens?)));
    let ways = [
        (CountSource::TokenIds, by_ids),
        (CountSource::Usage, usage.output_tokens),
        (CountSource::Chunks, by_chunks.flatten()),
    ];
    let mut known = ways.into_iter().filter_map(|(source, count)| count.map(|count| (source, count)));
    match known.next() {
        None => {
            OutputCount { tokens: None, source: CountSource::Unknown, disputed: false, retokenised: None }
        }
        Some((source, tokens)) => {
            let disputed = known.any(|(_, other)| other != tokens);
            OutputCount { tokens: Some(tokens), source, disputed, retokenised: None }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn tokens(at: Instant, count: Option<u32>, text: &str, token_ids: Option<Vec<u32>>) -> StreamEvent {
        StreamEvent::Tokens { at, count, text: text.to_owned(), token_ids }
    }

    fn finished(at: Instant, output_tokens: Option<u32>) -> StreamEvent {
        let usage = Usage { output_tokens, ..Usage::default() };
        StreamEvent::Finished {
            at,
            reason: FinishReason::Length,
            usage,
            spec: None,
            stack_timings: None,
            readback: Readback::default(),
            split: Box::new(Split::untold()),
        }
    }

    fn count(ids: Option<u32>, usage: Option<u32>, chunks: Option<u32>) -> OutputCount {
        let ids: Option<Vec<u32>> = ids.map(|n| (0..n).collect());
        let usage = Usage { output_tokens: usage, ..Usage::default() };
        count_output(ids.as_deref(), usage, &[Chunk { at_ns: 1, tokens: chunks }])
    }

    #[test]
    fn ids_beat_usage_beat_chunks() {
        let expect = |tokens, source, disputed| OutputCount { tokens, source, disputed, retokenised: None };
        assert_eq!(count(Some(4), Some(4), Some(4)), expect(Some(4), CountSource::TokenIds, false));
        assert_eq!(count(Some(4), Some(5), None), expect(Some(4), CountSource::TokenIds, true));
        assert_eq!(count(None, Some(5), Some(4)), expect(Some(5), CountSource::Usage, true));
        assert_eq!(count(None, None, Some(4)), expect(Some(4), CountSource::Chunks, false));
        assert_eq!(count(None, None, None), expect(None, CountSource::Unknown, false));
    }

    #[test]
    fn events_become_stamps_counts_and_text() {
        let sent = Instant::now();
        let at = |ms| sent + Duration::from_millis(ms);
        let mut fold = Collector::new(sent, 8);
        fold.push(StreamEvent::Opened { at: at(5) }).unwrap();
        fold.push(tokens(at(6), Some(0), "", Some(vec![]))).unwrap();
        fold.push(tokens(at(10), Some(1), "a", Some(vec![7]))).unwrap();
        fold.push(tokens(at(30), Some(3), "bcd", Some(vec![8, 9, 10]))).unwrap();
        fold.push(finished(at(31), Some(4))).unwrap();
        let got = fold.finish(at(99));
        assert_eq!(got.timing.opened_ns, Some(5_000_000));
        assert_eq!(
            got.timing.first_token_ns,
            Some(10_000_000),
            "a chunk that says 0 tokens is no first token"
        );
        assert_eq!(got.timing.last_token_ns, Some(30_000_000));
        assert_eq!(got.timing.ended_ns, 31_000_000);
        assert_eq!(got.token_ids, Some(vec![7, 8, 9, 10]));
        assert_eq!(got.text, "abcd");
        assert_eq!(
            got.output,
            OutputCount {
                tokens: Some(4),
                source: CountSource::TokenIds,
                disputed: false,
                retokenised: None
            }
        );
        assert_eq!(got.reason, Some(FinishReason::Length));
    }

    #[test]
    fn one_chunk_without_ids_drops_the_ids() {
        let sent = Instant::now();
        let mut fold = Collector::new(sent, 8);
        fold.push(tokens(sent, Some(1), "a", Some(vec![7]))).unwrap();
        fold.push(tokens(sent, None, "b", None)).unwrap();
        fold.push(tokens(sent, Some(1), "c", Some(vec![9]))).unwrap();
        let got = fold.finish(sent);
        assert_eq!(got.token_ids, None);
        assert_eq!((got.output.tokens, got.output.source), (None, CountSource::Unknown));
        assert_eq!(got.reason, None);
    }

    #[test]
    fn a_stamp_that_goes_back_is_an_error() {
        let sent = Instant::now() + Duration::from_secs(1);
        let mut fold = Collector::new(sent, 8);
        let error = fold.push(StreamEvent::Opened { at: sent - Duration::from_nanos(1) }).unwrap_err();
        assert!(matches!(error, StackError::Protocol { .. }), "{error}");
        fold.push(tokens(sent + Duration::from_millis(2), Some(1), "a", None)).unwrap();
        fold.push(tokens(sent + Duration::from_millis(1), Some(1), "a", None)).unwrap_err();
    }

    #[test]
    fn nothing_came_counts_as_unknown() {
        let sent = Instant::now();
        let got = Collector::new(sent, 8).finish(sent + Duration::from_millis(3));
        assert_eq!((got.output.tokens, got.output.source), (None, CountSource::Unknown));
        assert_eq!((got.token_ids, got.timing.ended_ns), (None, 3_000_000));
    }
}
