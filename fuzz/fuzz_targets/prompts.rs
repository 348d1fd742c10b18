//! Any bytes as a prompt file, of each format and of none named: one error with its words, or prompts with ids of
//! their own.

#![no_main]

use std::collections::HashSet;

use bench_presets::{FileFormat, read_prompt_file};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for format in [None, Some(FileFormat::Own), Some(FileFormat::ShareGpt), Some(FileFormat::Questions)] {
        match read_prompt_file(bytes, format) {
            Err(error) => drop(error.to_string()),
            Ok(file) => {
                let ids: HashSet<_> = file.prompts.iter().map(|prompt| &prompt.id).collect();
                assert_eq!(ids.len(), file.prompts.len(), "ids are unique");
                assert!(
                    file.prompts.iter().all(|prompt| !prompt.text.trim().is_empty()),
                    "prompts say something"
                );
            }
        }
    }
});
