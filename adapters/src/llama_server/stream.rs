//! One streaming request: response head, events, end.
//!
//! Invariant: a stamp is taken when the bytes are in our hands and before they are looked at; all events of one read
//! share it. The end is a success only if the server said so (`stop: true`, a `finish_reason`), whatever the status
//! and however tidily the connection closed. Dropping the stream closes the connection, which cancels the request.

use std::collections::VecDeque;

use bench_core::preset::Route;
use bench_core::stack::{EventStream, FinishReason, StackError, StreamEvent, Usage};
use futures_util::stream;
use reqwest::{Response, StatusCode, header};
use serde_json::Value;
use tokio::time::Instant;

use super::response::{self, Chunk};
use crate::sse::{self, Splitter, SseError};

/// Bytes of an error body that are read.
const ERROR_BODY_BYTES: usize = 64 << 10;

/// The events of a response whose head arrived at `opened`.
pub(super) async fn events(
    route: Route,
    response: Response,
    opened: Instant,
) -> Result<EventStream, StackError> {
    let response = expect_ok(response).await?;
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let content_type =
        content_type.and_then(|value| value.to_str().ok()).unwrap_or("no content type").to_owned();
    if !content_type.starts_with("text/event-stream") {
        let what = format!("expected text/event-stream, got {content_type}");
        return Err(StackError::Protocol { what, excerpt: beginning(response).await });
    }
    let reader = Reader {
        response: Some(response),
        splitter: Splitter::default(),
        decoder: Decoder::new(route),
        ready: VecDeque::from([Ok(StreamEvent::Opened { at: opened })]),
    };
    Ok(Box::pin(stream::unfold(reader, |mut reader| async move {
        let item = reader.next().await?;
        Some((item, reader))
    })))
}

/// The response, if its status is 200; otherwise the server's message.
pub(super) async fn expect_ok(response: Response) -> Result<Response, StackError> {
    if response.status() == StatusCode::OK {
        return Ok(response);
    }
    let (address, status) = (response.url().to_string(), response.status().as_u16());
    let body = beginning(response).await;
    let message = response::error_message(&body).unwrap_or_else(|| body.chars().take(200).collect());
    Err(StackError::Status { address, status, message })
}

/// As much of a body as an error may need; a body that breaks gives what came.
async fn beginning(mut response: Response) -> String {
    let mut body = Vec::new();
    while let Ok(Some(bytes)) = response.chunk().await {
        body.extend_from_slice(&bytes);
        if body.len() >= ERROR_BODY_BYTES {
            break;
        }
    }
    String::from_utf8_lossy(&body).into_owned()
}

struct Reader {
    /// `None` once the stream is over.
    response: Option<Response>,
    splitter: Splitter,
    decoder: Decoder,
    ready: VecDeque<Result<StreamEvent, StackError>>,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<StreamEvent, StackError>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            let read = self.response.as_mut()?.chunk().await;
            let at = Instant::now();
            let result = match read {
                Ok(Some(bytes)) => self.take(&bytes, at),
                Ok(None) => self.end(),
                Err(error) => Err(self.decoder.aborted(causes(&error))),
            };
            if let Err(error) = result {
                self.response = None;
                self.ready.push_back(Err(error));
            }
        }
    }

    fn take(&mut self, bytes: &[u8], at: Instant) -> Result<(), StackError> {
        let mut events = Vec::new();
        let split = self.splitter.push(bytes, &mut events);
        // What came whole before a bad line still counts.
        for event in events {
            self.decoder.event(&event, at, &mut self.ready)?;
            if self.decoder.is_finished() {
                self.response = None;
                return Ok(());
            }
        }
        split.map_err(|error| match error {
            SseError::TooLong { .. } | SseError::NotUtf8 { .. } => StackError::Protocol {
                what: "expected an event stream".to_owned(),
                excerpt: error.to_string(),
            },
            SseError::Incomplete { .. } => self.decoder.aborted(error.to_string()),
        })
    }

    fn end(&mut self) -> Result<(), StackError> {
        self.response = None;
        let rest = std::mem::take(&mut self.splitter).finish();
        rest.map_err(|error| self.decoder.aborted(error.to_string()))?;
        self.decoder.end(&mut self.ready)
    }
}

/// Folds a request's chunks into events. Pure but for the stamps it is given.
struct Decoder {
    route: Route,
    events: u64,
    /// The server's running sum; `None` once output came without it, since the next difference would be of several
    /// events.
    predicted: Option<u32>,
    /// Reason and moment, once the server said that it finished.
    finish: Option<(FinishReason, Instant)>,
    usage: Option<Usage>,
    timings: Option<Value>,
    finished: bool,
}

type Ready = VecDeque<Result<StreamEvent, StackError>>;

impl Decoder {
    fn new(route: Route) -> Self {
        Self {
            route,
            events: 0,
            predicted: Some(0),
            finish: None,
            usage: None,
            timings: None,
            finished: false,
        }
    }

    fn is_finished(&self) -> bool {
        self.finished
    }

    fn event(&mut self, event: &sse::Event, at: Instant, ready: &mut Ready) -> Result<(), StackError> {
        if event.data == "[DONE]" {
            return self.end(ready);
        }
        self.events += 1;
        if let Some(message) = response::error_message(&event.data) {
            return Err(self.aborted(format!("the server said: {message}")));
        }
        let chunk = response::parse(self.route, &event.data)?;
        let (finish, last) = (chunk.finish, chunk.last);
        if let Some(tokens) = self.tokens(chunk, at)? {
            ready.push_back(Ok(tokens));
            // Stamps never go back, should output follow the reason.
            self.finish = self.finish.map(|(reason, _)| (reason, at));
        }
        self.finish = finish.map(|reason| (reason, at)).or(self.finish);
        if last { self.end(ready) } else { Ok(()) }
    }

    /// The output in a chunk. Its count is how far the server's own sum moved: ids alone leave out tokens that the
    /// server held back because they ended inside a character.
    fn tokens(&mut self, chunk: Chunk, at: Instant) -> Result<Option<StreamEvent>, StackError> {
        let ids = chunk.ids.filter(|ids| !ids.is_empty());
        let by_ids = ids.as_ref().and_then(|ids| u32::try_from(ids.len()).ok());
        let count = match (self.predicted, chunk.predicted) {
            (Some(before), Some(predicted)) => {
                let count = predicted.checked_sub(before).ok_or_else(|| StackError::Protocol {
                    what: "the count of emitted tokens went back".to_owned(),
                    excerpt: format!("{before} then {predicted}"),
                })?;
                self.predicted = Some(predicted);
                Some(count)
            }
            (_, None) | (None, _) => by_ids,
        };
        if count.is_none() && !chunk.text.is_empty() {
            self.predicted = None;
        }
        self.usage = chunk.usage.or(self.usage);
        self.timings = chunk.timings.or(self.timings.take());
        if chunk.text.is_empty() && count.unwrap_or(0) == 0 {
            return Ok(None);
        }
        let token_ids = ids.filter(|_| by_ids == count);
        Ok(Some(StreamEvent::Tokens { at, count, text: chunk.text, token_ids }))
    }

    /// The stream is over, or nothing that matters will come.
    fn end(&mut self, ready: &mut Ready) -> Result<(), StackError> {
        let Some((reason, at)) = self.finish else {
            return Err(self.aborted("neither stop nor finish_reason came".to_owned()));
        };
        let timings = self.timings.take();
        let spec = timings.as_ref().map(response::spec_counts).transpose()?.flatten();
        let usage = match (self.usage, &timings) {
            (Some(usage), _) => usage,
            (None, Some(timings)) => response::usage_of_timings(timings)?,
            (None, None) => Usage::default(),
        };
        self.finished = true;
        ready.push_back(Ok(StreamEvent::Finished { at, reason, usage, spec, stack_timings: timings }));
        Ok(())
    }

    fn aborted(&self, detail: String) -> StackError {
        StackError::Aborted { events: self.events, detail }
    }
}

/// An error with everything beneath it: reqwest's own words say only where it happened.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
