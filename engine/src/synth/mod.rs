//! Synthetic models: made from a seed, nothing is copied from a released one.
//!
//! [`tiny`] writes a pair whose greedy output and acceptance are known beforehand, for tests and quick runs.
//! [`real`] writes random weights in the exact shapes of the released models, for speed. Nothing here is trained, so
//! no text that comes out means anything.
//!
//! Invariant: equal parameters give byte-equal files on every machine. Random numbers come from integers, and only
//! `+ - * /` and `sqrt` are done to them, which IEEE 754 rounds alike everywhere; no function of libm is called.

mod random;
pub mod real;
mod shape;
pub mod tiny;
mod vocab;
mod write;

pub use shape::{LayerShape, ModelShape, MoeShape, PlannedTensor, Role};
