//! Any bytes as an event stream: how they are cut never changes the events, and no event outgrows the limit.

#![no_main]

use bench_adapters::sse::{Event, Splitter, SseError};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 256;

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Event>, Option<SseError>) {
    let (mut splitter, mut events) = (Splitter::new(LIMIT), Vec::new());
    for piece in pieces {
        if let Err(error) = splitter.push(piece, |event| events.push(event.clone())) {
            return (events, Some(error));
        }
    }
    (events, splitter.finish().err())
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&size, bytes)) = bytes.split_first() else { return };
    let whole = read(std::iter::once(bytes));
    assert_eq!(read(bytes.chunks(usize::from(size).max(1))), whole);
    assert_eq!(read(bytes.chunks(1)), whole);
    assert!(
        whole.0.iter().all(|event| !event.data.is_empty() && event.data.len() + event.name.len() <= LIMIT)
    );
});
