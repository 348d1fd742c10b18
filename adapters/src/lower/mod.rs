//! From a preset's words to each stack's own: command lines, JSON, YAML. The only place that knows the flags.
//!
//! Pure: nothing is started and no file is looked at, so `bench presets lower` can show what would be run. Invariant:
//! what a stack cannot do as the preset says is [`StackError::Unsupported`] with what and why, never an approximation in
//! silence. Draft lengths are converted by [`draft_length`] alone.

use bench_core::preset::{PleTable, ServingParams, StackKind};
use bench_core::stack::StackError;

pub use bench_core::draft_length;

pub mod llama;
pub mod llama_swap;
pub mod native;
pub mod openai;
mod quote;
pub mod vllm;

pub use self::quote::shell_line;

/// Arguments in the making.
#[derive(Default)]
struct Args(Vec<String>);

impl Args {
    fn flag(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    fn pair(&mut self, name: &str, value: impl std::fmt::Display) {
        self.flag(name);
        self.0.push(value.to_string());
    }
}

/// Only our engine can be told where the table of per-layer embeddings goes.
fn refused_ple_table(serving: &ServingParams) -> Option<String> {
    let asked = serving.ple_table;
    (asked != PleTable::Auto).then(|| {
        format!(
            "be told to keep the table of per-layer embeddings on the {}; leave `serving.ple_table` out",
            asked.as_str()
        )
    })
}

fn unsupported(stack: StackKind, what: impl Into<String>) -> StackError {
    StackError::Unsupported { stack, what: what.into() }
}
