//! Replays the fuzzing corpora of this crate. `ok-*` are read well, `bad-*` end with an error, anything else may do
//! either. Bodies begin with how they are cut, and whole and cut they read the same.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not take for tests")]

use std::path::Path;

use bench_adapters::sse::{Event, Splitter, SseError};
use bench_adapters::{fuzzing, prometheus};
use bench_core::stack::StreamEvent;

/// Reads every file of a corpus, at least this many: how it went and something to show.
fn replay(corpus: &str, at_least: usize, read: impl Fn(&str, &[u8]) -> (bool, String)) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(corpus);
    let mut replayed = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let (well, shown) = read(&name, &std::fs::read(&path).unwrap());
        assert!(well || !name.starts_with("ok-"), "{name}: {shown}");
        assert!(!well || !name.starts_with("bad-"), "{name}: {shown}");
        replayed += 1;
    }
    assert!(replayed >= at_least, "only {replayed} files in {}", dir.display());
}

fn split<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Event>, Option<SseError>) {
    let (mut splitter, mut events) = (Splitter::new(256), Vec::new());
    for piece in pieces {
        if let Err(error) = splitter.push(piece, |event| events.push(event.clone())) {
            return (events, Some(error));
        }
    }
    (events, splitter.finish().err())
}

#[test]
fn the_event_stream_corpus_reads_as_its_names_say() {
    replay("sse", 8, |name, bytes| {
        let Some((&size, bytes)) = bytes.split_first() else { return (false, "empty".to_owned()) };
        let whole = split(std::iter::once(bytes));
        assert_eq!(split(bytes.chunks(usize::from(size).max(1))), whole, "{name}");
        (whole.1.is_none() && !whole.0.is_empty(), format!("{whole:?}"))
    });
}

#[test]
fn the_answer_corpus_reads_as_its_names_say() {
    let read = |dialect: u8, body: &[u8], size: usize| {
        let (events, error) = fuzzing::read(dialect, body.chunks(size));
        let texts = events.iter().filter_map(|event| match event {
            StreamEvent::Tokens { count, text, token_ids, .. } => {
                Some(format!("{count:?} {text} {token_ids:?}"))
            }
            StreamEvent::Finished { split, .. } => Some(format!(
                "{:?} {:?} {:?} {:?}",
                split.thinking_tokens, split.answer_tokens, split.source, split.unknown
            )),
            StreamEvent::Opened { .. } => None,
        });
        let texts: Vec<_> = texts.collect();
        let finished = matches!(events.last(), Some(StreamEvent::Finished { .. }));
        (finished, texts, error.map(|error| error.to_string()))
    };
    replay("openai", 19, |name, bytes| {
        let [dialect, size, body @ ..] = bytes else { return (false, "empty".to_owned()) };
        let whole = read(*dialect, body, body.len().max(1));
        assert_eq!(read(*dialect, body, usize::from(*size).max(1)), whole, "{name}");
        assert_eq!(whole.0, whole.2.is_none(), "{name}: a finish or an error");
        (whole.0 && !whole.1.is_empty(), format!("{whole:?}"))
    });
}

#[test]
fn the_metrics_corpus_reads_as_its_names_say() {
    replay("prometheus", 13, |_, bytes| {
        let text = std::str::from_utf8(bytes).unwrap();
        match prometheus::parse(text) {
            Ok(samples) => {
                let counts =
                    ["llamacpp:", "vllm:", ""].map(|prefix| prometheus::spec_counts(&samples, prefix));
                (!samples.is_empty(), format!("{counts:?}"))
            }
            Err(error) => (false, error.to_string()),
        }
    });
}
