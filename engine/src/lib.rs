//! Native Gemma 4 inference with speculative decoding: from token ids to accepted token ids.
//!
//! One decode round: a [`spec::Proposer`] drafts up to K tokens, the target verifies K + 1 rows in one pass over its
//! weights ([`spec::Target::forward`]), `spec::accept` decides how many drafts stand, the caches roll back to the
//! accepted length. This crate does not know that it is being benchmarked.

pub mod attention;
pub mod backend;
pub mod chat;
mod error;
pub mod gguf;
#[cfg(feature = "cuda")]
pub mod kernels;
pub mod kv_cache;
pub mod model;
pub mod quant;
pub mod session;
pub mod spec;
pub mod synth;
pub mod tokenizer;

pub use error::EngineError;
pub use session::{DeviceChoice, Engine, EngineConfig, EngineInfo, Speculation};
