//! Any text as a preset: one error or a valid preset, which survives being written out and read back.

#![no_main]

use bench_presets::{parse, to_toml};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // A line of its own that begins with `--set ` is an override of what is above it.
    let (text, overrides) = match text.split_once("\n--set ") {
        Some((text, rest)) => (text, rest.split("\n--set ").map(str::to_owned).collect()),
        None => (text, Vec::new()),
    };
    match parse(text, "fuzz", &overrides) {
        Err(error) => drop((error.to_string(), error.hint())),
        Ok(preset) => {
            let written = to_toml(&preset).expect("what was read can be written");
            assert_eq!(parse(&written, "written", &[]).expect("what was written can be read"), preset, "{written}");
        }
    }
});
