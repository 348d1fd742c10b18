//! The one error of the binary: a message, and a hint where there is one.

use std::fmt;

/// What went wrong, in words for a person.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// Exit code of the command that fails with it.
    pub(crate) code: u8,
}

/// Usage and set-up errors.
const USAGE: u8 = 1;

impl Failure {
    /// A failure with a hint.
    pub(crate) fn with_hint(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: Some(hint.into()), code: USAGE }
    }

    /// A failed file operation: what was done, to which path, the system's words.
    pub(crate) fn io(verb: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Self { message: format!("cannot {verb} `{}`: {error}", path.display()), hint: None, code: USAGE }
    }

    /// The same with another exit code.
    pub(crate) fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Every library error knows its hint.
macro_rules! from_library {
    ($($error:ty),+ $(,)?) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self { hint: error.hint(), message: error.to_string(), code: USAGE }
            }
        }
    )+};
}

from_library!(
    bench_presets::PresetError,
    bench_presets::UnknownPair,
    bench_core::run_dir::RunDirError,
    bench_core::jsonl::RowError,
    bench_core::stack::StackError,
    bench_adapters::run_store::RunStoreError,
    bench_engine::EngineError,
    bench_results::ResultsError,
    bench_plots::PlotError,
);
