//! A stream's bytes read without a server, for fuzz targets and their replay. No part of the interface.

use std::collections::VecDeque;

use bench_core::preset::Route;
use bench_core::stack::{StackError, StreamEvent};
use bench_core::thinking::{MARKERS, MarkerIds, Splitter};
use serde_json::json;
use tokio::time::Instant;

use crate::decoder::{Decoder, Dialect, Ready};
use crate::llama_server::response::LlamaDialect;
use crate::llama_swap::SwapDialect;
use crate::openai_server::OpenAiDialect;
use crate::sse::{self, SseError};
use crate::vllm::VllmDialect;

/// Largest event, in bytes: small, so that the limit is met.
pub const EVENT_LIMIT: usize = 4096;

/// The events of a body that came in these pieces, all stamped alike, and why it broke if it did. `dialect` picks who
/// sent it, and on which route.
pub fn read<'a>(
    dialect: u8,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<StreamEvent>, Option<StackError>) {
    let (mut decoder, mut ready) = (Decoder::new(pick(dialect), Splitter::new(markers())), VecDeque::new());
    let end = fold(&mut decoder, pieces, &mut ready);
    (ready.into_iter().filter_map(Result::ok).collect(), end.err())
}

/// Ids that a mutated stream meets.
fn markers() -> MarkerIds {
    let texts = || MARKERS.iter().flat_map(|(open, close)| [*open, *close]);
    MarkerIds::of_vocabulary(|text| texts().zip(0..).find(|(marker, _)| *marker == text).map(|(_, id)| id))
}

fn pick(dialect: u8) -> Box<dyn Dialect> {
    let llama = |route| LlamaDialect { route, sent: json!({ "temperature": 0.0, "top_k": 40 }) };
    match dialect % 6 {
        0 => Box::new(llama(Route::Completion)),
        1 => Box::new(llama(Route::Chat)),
        2 => Box::new(SwapDialect(llama(Route::Chat))),
        3 => Box::new(VllmDialect { drafts_every_step: false }),
        4 => Box::new(VllmDialect { drafts_every_step: true }),
        _ => Box::new(OpenAiDialect),
    }
}

fn fold<'a>(
    decoder: &mut Decoder,
    pieces: impl Iterator<Item = &'a [u8]>,
    ready: &mut Ready,
) -> Result<(), StackError> {
    let (mut splitter, at) = (sse::Splitter::new(EVENT_LIMIT), Instant::now());
    let broken = |error: SseError| StackError::Protocol {
        what: "expected an event stream".to_owned(),
        excerpt: error.to_string(),
    };
    for piece in pieces {
        let mut read = Ok(());
        let split = splitter.push(piece, |event| {
            if read.is_ok() && !decoder.is_finished() {
                read = decoder.event(&event.data, at, ready);
            }
        });
        read?;
        if decoder.is_finished() {
            return Ok(());
        }
        split.map_err(broken)?;
    }
    splitter.finish().map_err(broken)?;
    decoder.end(ready)
}
