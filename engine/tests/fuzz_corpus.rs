//! Replays the fuzzing corpus: what a fuzzer once found must stay found. The seeds' names say what they are: `valid`
//! and `ok-*` are read, `truncated-*`, `hostile-*` and `not-*` are refused, anything else may do either.

use std::path::Path;

use bench_engine::gguf::Gguf;

#[test]
fn the_gguf_corpus_is_read_or_refused_as_its_names_say() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/gguf");
    let mut replayed = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let result = Gguf::parse(std::fs::read(&path).unwrap());
        if name == "valid" || name.starts_with("ok-") {
            let gguf = result.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(gguf.tensors().all(|tensor| !tensor.data.is_empty()), "{name}");
        } else if ["truncated-", "hostile-", "not-"].iter().any(|prefix| name.starts_with(prefix)) {
            assert!(result.is_err(), "{name} was read");
        }
        replayed += 1;
    }
    assert!(replayed >= 15, "only {replayed} files in {}", dir.display());
}
