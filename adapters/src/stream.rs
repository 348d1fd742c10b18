//! One streaming request: response head, events, end.
//!
//! Invariant: a stamp is that of the bytes, when they arrived, and is taken before they are looked at; all events of one read
//! share it. The end is a success only if the server said so (`stop: true`, a `finish_reason`), whatever the status
//! and however tidily the connection closed. Dropping the stream closes the connection, which cancels the request.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bench_core::stack::{Death, EventStream, StackError, StreamEvent};
use futures_util::stream;
use tokio::time::Instant;

use crate::decoder::{self, Decoder, Dialect, Ready};
use crate::http1::Response;
use crate::secret::Secret;
use crate::sse::{Splitter, SseError};

/// Bytes of an error body that are read.
const ERROR_BODY_BYTES: usize = 64 << 10;
/// Room for the content of one read, made before the first.
const ROOM_BYTES: usize = 1024;

/// Somebody who can tell how the server ended, after a stream broke.
#[async_trait]
pub(crate) trait Watch: Send + Sync {
    /// How it ended; `None` if it lives, or if nobody can tell.
    async fn death(&self) -> Option<Death>;
}

/// What a stream has to know beside its bytes.
pub(crate) struct Reading {
    /// What the events mean.
    pub(crate) dialect: Box<dyn Dialect>,
    /// Tells thinking from answer.
    pub(crate) split: bench_core::thinking::Splitter,
    /// Asked when the stream breaks.
    pub(crate) watch: Arc<dyn Watch>,
    /// Taken out of the server's words.
    pub(crate) key: Option<Secret>,
}

/// The events of a response to a request of `address`.
pub(crate) async fn events(
    mut response: Response,
    address: &str,
    reading: Reading,
) -> Result<EventStream, StackError> {
    if response.status != 200 {
        return Err(refused(address, response.status, &beginning(&mut response).await));
    }
    let content_type = response.content_type.as_deref().unwrap_or("no content type");
    if !content_type.starts_with("text/event-stream") {
        let what = format!("expected text/event-stream, got {content_type}");
        return Err(StackError::Protocol { what, excerpt: beginning(&mut response).await });
    }
    let opened = response.opened;
    // Boxed: `unfold` moves it into the future of every event and back out.
    let reader = Box::new(Reader {
        response: Some(response),
        bytes: Vec::with_capacity(ROOM_BYTES),
        splitter: Splitter::default(),
        decoder: Decoder::new(reading.dialect, reading.split),
        ready: VecDeque::from([Ok(StreamEvent::Opened { at: opened })]),
        watch: reading.watch,
        key: reading.key,
    });
    Ok(Box::pin(stream::unfold(reader, |mut reader| async move {
        let item = reader.next().await?;
        Some((item, reader))
    })))
}

/// An answer of another status than 200, with the server's message.
pub(crate) fn refused(address: &str, status: u16, body: &str) -> StackError {
    let message = decoder::error_message(body).unwrap_or_else(|| body.chars().take(200).collect());
    StackError::Status { address: address.to_owned(), status, message }
}

/// As much of a body as an error may need; a body that breaks gives what came.
async fn beginning(response: &mut Response) -> String {
    let (mut body, mut bytes) = (Vec::new(), Vec::new());
    while let Ok(Some(_)) = response.read(&mut bytes).await {
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
    /// The content of the last read.
    bytes: Vec<u8>,
    splitter: Splitter,
    decoder: Decoder,
    ready: Ready,
    watch: Arc<dyn Watch>,
    key: Option<Secret>,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<StreamEvent, StackError>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            let read = self.response.as_mut()?.read(&mut self.bytes).await;
            let result = match read {
                Ok(Some(at)) => self.take(at),
                Ok(None) => self.end(),
                Err(error) => Err(self.decoder.aborted(causes(&error))),
            };
            if let Err(error) = result {
                self.response = None;
                let error = self.with_death(error).await;
                let error = match &self.key {
                    Some(key) => key.redact_error(error),
                    None => error,
                };
                self.ready.push_back(Err(error));
            }
        }
    }

    /// A stream that broke, with how its server ended.
    async fn with_death(&self, error: StackError) -> StackError {
        if let StackError::Aborted { events, detail, death: None } = error {
            let death = self.watch.death().await.map(Box::new);
            return StackError::Aborted { events, detail, death };
        }
        error
    }

    fn take(&mut self, at: Instant) -> Result<(), StackError> {
        let (decoder, ready, mut read) = (&mut self.decoder, &mut self.ready, Ok(()));
        let split = self.splitter.push(&self.bytes, |event| {
            if read.is_ok() && !decoder.is_finished() {
                read = decoder.event(&event.data, at, ready);
            }
        });
        // What came whole before a bad line still counts.
        read?;
        if self.decoder.is_finished() {
            self.response = None;
            return Ok(());
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

/// An error with everything beneath it: reqwest's own words say only where it happened.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
