//! Synthetic models, deterministic by seed and streamed to disk row by row.
//!
//! * [`tiny`]: a small Gemma-4 pair whose greedy output and acceptance are known beforehand (a correctness fixture).
//! * [`real`]: random weights in the shapes of the released models (real speed, meaningless text).
//!
//! Equal parameters give byte-equal files on every machine: random numbers are integers of `SplitMix64` scaled to a
//! uniform distribution, and only additions, multiplications and square roots follow, which IEEE 754 defines exactly.

pub mod real;
pub mod tiny;

mod block;
mod experts;
mod fill;
mod metadata;
mod random;
mod rule;
mod vocabulary;

pub use experts::Experts;
pub use rule::{PlantedRule, Prediction};
