//! Speculative decoding: propose, verify, accept.
//!
//! The driver and the acceptance rules see the models only through the two traits here, so they are tested with
//! scripted models; the CPU and the CUDA backend implement [`Target`].

pub mod accept;
pub mod divergence;
pub mod driver;
pub mod follow;
pub mod generation;
pub mod mass;
pub mod ngram;
mod proposer;
pub mod rows;
pub mod sampler;
mod select;
mod target;

pub use proposer::{Draft, DraftRequest, Proposer};
pub use target::{LogitRows, Target};
