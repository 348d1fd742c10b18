//! The trained pairs inside the binary: small enough to ship, so that a run needs no download and no set-up.
//!
//! Names and bytes only; where the files are put on disk is the caller's business. How a pair was trained stands
//! beside its files in `models/`.

use std::fmt;

use crate::fields::nearest;

/// A target and its assistant that come with the suite.
#[derive(Debug)]
pub struct BundledPair {
    /// What `models.bundled` calls it.
    pub name: &'static str,
    /// The model whose output counts.
    pub target: BundledFile,
    /// The drafter.
    pub assistant: BundledFile,
}

/// A GGUF file inside the binary.
#[derive(Clone, Copy)]
pub struct BundledFile {
    /// The file's name, without a directory.
    pub name: &'static str,
    /// The whole file.
    pub bytes: &'static [u8],
}

impl fmt::Debug for BundledFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.name, self.bytes.len())
    }
}

static BUNDLED: [BundledPair; 1] = [BundledPair {
    name: "nano",
    target: BundledFile {
        name: "nano-target-q8_0.gguf",
        bytes: include_bytes!("../models/nano/nano-target-q8_0.gguf"),
    },
    assistant: BundledFile {
        name: "nano-assistant-q8_0.gguf",
        bytes: include_bytes!("../models/nano/nano-assistant-q8_0.gguf"),
    },
}];

/// All pairs, in the order they are listed in.
#[must_use]
pub fn bundled() -> &'static [BundledPair] {
    &BUNDLED
}

/// The pair of that name.
///
/// # Errors
///
/// [`UnknownPair`] names those that there are.
pub fn find_bundled(name: &str) -> Result<&'static BundledPair, UnknownPair> {
    let found = BUNDLED.iter().find(|pair| pair.name == name);
    found.ok_or_else(|| UnknownPair { name: name.to_owned() })
}

/// No pair of that name is bundled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no bundled pair is called `{name}`; there is {}", names())]
pub struct UnknownPair {
    name: String,
}

impl UnknownPair {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let near = nearest(&self.name, BUNDLED.iter().map(|pair| pair.name))?;
        Some(format!("did you mean `{near}`?"))
    }
}

/// All names, quoted.
pub(crate) fn names() -> String {
    BUNDLED.iter().map(|pair| format!("`{}`", pair.name)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_is_found_and_is_two_gguf_files() {
        for pair in bundled() {
            assert_eq!(find_bundled(pair.name).unwrap().name, pair.name);
            for file in [pair.target, pair.assistant] {
                assert!(file.bytes.starts_with(b"GGUF"), "{file:?}");
                assert!(file.name.starts_with(pair.name) && file.name.ends_with(".gguf"), "{file:?}");
            }
            assert_ne!(pair.target.name, pair.assistant.name);
        }
    }

    #[test]
    fn an_unknown_pair_is_told_with_those_there_are() {
        let error = find_bundled("nan").unwrap_err();
        assert_eq!(error.to_string(), "no bundled pair is called `nan`; there is `nano`");
        assert_eq!(error.hint().as_deref(), Some("did you mean `nano`?"));
        assert_eq!(find_bundled("gemma-4-31b").unwrap_err().hint(), None);
    }
}
