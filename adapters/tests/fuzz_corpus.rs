//! Replays the fuzzing corpus of event streams. The first byte of a file is the size of its pieces; `ok-*` end well,
//! `bad-*` end with an error, anything else may do either; whole and cut they read the same.

use std::path::Path;

use bench_adapters::sse::{Event, Splitter, SseError};

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Event>, Option<SseError>) {
    let (mut splitter, mut events) = (Splitter::new(256), Vec::new());
    for piece in pieces {
        if let Err(error) = splitter.push(piece, &mut events) {
            return (events, Some(error));
        }
    }
    (events, splitter.finish().err())
}

#[test]
fn the_event_stream_corpus_reads_as_its_names_say() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/sse");
    let mut replayed = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).unwrap();
        let Some((&size, bytes)) = bytes.split_first() else { continue };
        let whole = read(std::iter::once(bytes));
        assert_eq!(read(bytes.chunks(usize::from(size).max(1))), whole, "{name}");
        if name.starts_with("ok-") {
            assert!(whole.1.is_none() && !whole.0.is_empty(), "{name}: {whole:?}");
        } else if name.starts_with("bad-") {
            assert!(whole.1.is_some(), "{name}: {whole:?}");
        }
        replayed += 1;
    }
    assert!(replayed >= 8, "only {replayed} files in {}", dir.display());
}
