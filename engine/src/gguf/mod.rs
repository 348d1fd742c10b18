//! GGUF version 3: a checked reader over a memory map, and a streaming writer.
//!
//! Nothing here computes. Invariant: after [`Gguf::open`] or [`Gguf::parse`] succeeded, every tensor's bytes lie
//! inside the file, have exactly the size its shape and type ask for, and overlap no other tensor; a hostile file
//! gives a [`GgufError`], never a panic, and never an allocation larger than the file itself warrants.
//!
//! Follows the specification in ggml's `docs/gguf.md`.

mod cursor;
mod error;
mod reader;
mod subset;
mod types;
mod value;
mod writer;

pub use error::GgufError;
pub use reader::{Gguf, TensorView};
pub use subset::write_subset;
pub use types::GgmlType;
pub use value::{Array, Value, Width};
pub use writer::{GgufWriter, TensorSink};

/// The first four bytes of a file.
pub(crate) const MAGIC: &[u8; 4] = b"GGUF";
/// The version read and written.
pub(crate) const VERSION: u32 = 3;
/// Alignment of tensor data where the file names none.
pub(crate) const DEFAULT_ALIGNMENT: u64 = 32;
/// Key that names another alignment.
pub(crate) const ALIGNMENT_KEY: &str = "general.alignment";
/// Most dimensions of a tensor (ggml's `GGML_MAX_DIMS`).
pub(crate) const MAX_DIMS: usize = 4;

#[cfg(test)]
mod tests;
