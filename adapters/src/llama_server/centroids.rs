//! An assistant as llama.cpp can load it: without a centroid head.
//!
//! llama.cpp means to tolerate the two tensors of a centroid head and to score the whole vocabulary, but declares them
//! without a shape, which its loader reads as "one element"; every file that has them is refused with
//! `vector::_M_range_check` (seen with build b11549). Its own converter leaves them out, and so do we, in a copy.

use std::path::{Path, PathBuf};

use bench_core::stack::StackError;
use bench_engine::EngineError;
use bench_engine::gguf::{Gguf, write_subset};

/// What the names of a centroid head's tensors begin with.
const CENTROIDS: &str = "masked_embd_";

/// The assistant itself, or a copy in `dir` if it has a centroid head. A file that cannot be read is left to the
/// server, which refuses it in its own words.
///
/// # Errors
///
/// [`StackError::Engine`] if the copy cannot be written.
pub fn without_centroids(assistant: &Path, dir: &Path) -> Result<PathBuf, StackError> {
    let Ok(gguf) = Gguf::open(assistant) else { return Ok(assistant.to_owned()) };
    if !gguf.tensors().any(|tensor| tensor.name.starts_with(CENTROIDS)) {
        return Ok(assistant.to_owned());
    }
    let stem = assistant.file_stem().unwrap_or(assistant.as_os_str());
    let mut name = stem.to_owned();
    name.push("-without-centroids.gguf");
    let copy = dir.join(name);
    let written = write_subset(&gguf, &copy, |tensor| !tensor.starts_with(CENTROIDS));
    written.map_err(|error| {
        let error = EngineError::from(error);
        StackError::Engine { hint: error.hint(), detail: error.to_string() }
    })?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use bench_engine::synth::tiny::{TinyPair, write_tiny_pair};

    use super::*;

    #[test]
    fn only_the_centroids_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let pair = TinyPair { centroids: Some(64), ..TinyPair::default() };
        let files = write_tiny_pair(&dir.path().join("models"), &pair).unwrap();
        let copy = without_centroids(&files.assistant, dir.path()).unwrap();
        assert_eq!(copy, dir.path().join("tiny-assistant-without-centroids.gguf"));
        let [whole, less] = [&files.assistant, &copy].map(|path| Gguf::open(path).unwrap());
        let gone: Vec<_> =
            whole.tensors().map(|t| t.name).filter(|name| less.tensor(name).is_none()).collect();
        assert_eq!(gone, ["masked_embd_centroids.weight", "masked_embd_ordering"]);
        for tensor in less.tensors() {
            let original = whole.tensor(tensor.name).unwrap();
            assert_eq!((tensor.dims, tensor.ty), (original.dims, original.ty), "{}", tensor.name);
            assert!(tensor.data == original.data, "{}", tensor.name);
        }
        assert!(whole.metadata().eq(less.metadata()));
    }

    #[test]
    fn what_has_none_is_used_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let files = write_tiny_pair(dir.path(), &TinyPair::default()).unwrap();
        assert_eq!(without_centroids(&files.assistant, dir.path()).unwrap(), files.assistant);
        let bad = dir.path().join("bad.gguf");
        std::fs::write(&bad, b"not a model").unwrap();
        assert_eq!(without_centroids(&bad, dir.path()).unwrap(), bad, "the server's own words are better");
    }

    #[test]
    fn a_place_that_cannot_be_written_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let pair = TinyPair { centroids: Some(64), ..TinyPair::default() };
        let files = write_tiny_pair(dir.path(), &pair).unwrap();
        let error = without_centroids(&files.assistant, &dir.path().join("no/such")).unwrap_err();
        assert!(error.to_string().contains("no/such"), "{error}");
    }
}
