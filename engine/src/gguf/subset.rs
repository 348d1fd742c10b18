//! A copy of a file without some of its tensors.

use std::path::Path;

use super::{ALIGNMENT_KEY, Gguf, GgufError, GgufWriter};

/// Writes a copy of `gguf` with all metadata and those tensors whose names `keep` wants, byte for byte. The file
/// appears under its name only when it is complete.
///
/// # Errors
/// What the system refuses, with the path.
pub fn write_subset(gguf: &Gguf, path: &Path, keep: impl Fn(&str) -> bool) -> Result<(), GgufError> {
    let mut writer = GgufWriter::new();
    // The writer aligns as files do that name no alignment.
    for (key, value) in gguf.metadata().filter(|(key, _)| *key != ALIGNMENT_KEY) {
        writer.set(key, value.clone());
    }
    for tensor in gguf.tensors().filter(|tensor| keep(tensor.name)) {
        writer.declare(tensor.name, tensor.dims, tensor.ty)?;
    }
    let mut sink = writer.begin(path)?;
    for tensor in gguf.tensors().filter(|tensor| keep(tensor.name)) {
        sink.write(tensor.name, tensor.data)?;
    }
    sink.finish()
}
