//! Replays the fuzzing corpora of presets and of prompt files. `ok-*` are read (presets survive being written out),
//! `bad-*` have one error, anything else may do either. A line of a preset that begins with `--set ` is an override of
//! what is above it.

use std::path::Path;

use bench_presets::{parse, read_prompt_file, to_toml};

#[test]
fn the_preset_corpus_is_read_or_refused_as_its_names_say() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/preset");
    let mut replayed = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let (text, overrides) = match text.split_once("\n--set ") {
            Some((text, rest)) => (text, rest.split("\n--set ").map(str::to_owned).collect()),
            None => (text.as_str(), Vec::new()),
        };
        match parse(text, &name, &overrides) {
            Ok(preset) => {
                assert!(!name.starts_with("bad-"), "{name} was read");
                let written = to_toml(&preset).unwrap();
                assert_eq!(parse(&written, "written", &[]).unwrap(), preset, "{name}: {written}");
            }
            Err(error) => assert!(!name.starts_with("ok-"), "{name}: {error}"),
        }
        replayed += 1;
    }
    assert!(replayed >= 10, "only {replayed} files in {}", dir.display());
}

#[test]
fn the_corpus_of_prompt_files_is_read_or_refused_as_its_names_say() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/prompts");
    let mut replayed = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match read_prompt_file(&std::fs::read(&path).unwrap(), None) {
            Ok(file) => assert!(!name.starts_with("bad-"), "{name} was read: {file:?}"),
            Err(error) => assert!(!name.starts_with("ok-"), "{name}: {error}"),
        }
        replayed += 1;
    }
    assert!(replayed >= 10, "only {replayed} files in {}", dir.display());
}
