//! Documents, runner and statistics of the suite.
//!
//! Four plain documents live here, and every other crate is one arrow between them:
//!
//! ```text
//! presets:  *.toml ----------> Preset                     what to run
//! adapters: Preset + prompts -> StreamEvent*              HTTP servers, or the engine in process
//! runner:   events ----------> RunManifest + RequestRecord  (manifest.json, rows.jsonl)
//! results:  rows.jsonl ------> Report                     polars inside, never in a signature
//! plots:    Report ----------> SVG, HTML
//! ```
//!
//! This crate knows no HTTP, no CUDA, no polars and no plotters.
//!
//! # Glossary
//!
//! * **target**: the model whose output counts. **assistant** (draft model, MTP head): the small model that drafts.
//! * **drafted**: tokens proposed to the target. **accepted**: drafted tokens the target kept.
//! * **verify step** (round): one target pass over the last token and its drafts.
//! * **acceptance rate**: accepted / drafted.
//! * **acceptance length**: mean tokens a verify step emits, the bonus or correction token included.
//! * **TTFT**: send to first token. **TPOT**: mean time per output token after the first chunk.
//! * **arm**: one stack with one way of speculating. **block**: one pass of all arms over all prompts.

pub mod acceptance;
pub mod audit;
pub mod bandwidth;
pub mod client;
pub mod clock;
pub mod draft_length;
pub mod effective;
pub mod environment;
pub mod explanation;
pub mod gate;
pub mod host;
pub mod jsonl;
pub mod kv_quality;
mod kv_type;
pub mod latency;
pub mod load;
pub mod noise;
pub mod preset;
pub mod prompt_set;
mod random;
pub mod record;
pub mod report;
pub mod row_stream;
pub mod run_dir;
pub mod runner;
pub mod salt;
pub mod stack;
pub mod stats;
pub mod sweep;
pub mod synthetic;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod thinking;
pub mod truth;
