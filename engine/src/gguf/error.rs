//! Why a GGUF file cannot be read or written.

use std::io;
use std::path::PathBuf;

/// What is wrong with a GGUF file, and where.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The system refused.
    #[error("cannot {verb} `{path}`: {source}", path = path.display())]
    Io {
        /// `open`, `map`, `write`.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The file ends too early.
    #[error("{what} at byte {at} needs {needed} bytes, but the file ends after {left} more")]
    Truncated {
        /// What was being read.
        what: String,
        /// Byte offset.
        at: u64,
        /// Bytes it needs.
        needed: u64,
        /// Bytes there are.
        left: u64,
    },
    /// A value that cannot be right.
    #[error("{what} at byte {at} is {got}, expected {expected}")]
    Invalid {
        /// Which field.
        what: String,
        /// Byte offset.
        at: u64,
        /// Its value.
        got: String,
        /// What would do.
        expected: String,
    },
    /// Metadata that is not there.
    #[error("metadata key `{key}` is missing, expected {expected}")]
    MissingKey {
        /// The key.
        key: String,
        /// Its type.
        expected: &'static str,
    },
    /// Metadata of another type or length.
    #[error("metadata key `{key}` is {got}, expected {expected}")]
    WrongValue {
        /// The key.
        key: String,
        /// What it holds.
        got: String,
        /// What would do.
        expected: String,
    },
    /// The caller of the writer did not keep to what it declared.
    #[error("{what}: got {got}, expected {expected}")]
    Misuse {
        /// What was done.
        what: String,
        /// With which value.
        got: String,
        /// What was declared.
        expected: String,
    },
    /// Any of the above, in a named file.
    #[error("`{path}`: {source}", path = path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<Self>,
    },
}

impl GgufError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Truncated { .. } => {
                Some("the file is cut short: was the download or copy finished?".to_owned())
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("check the path; relative paths start at the current directory".to_owned())
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space, or choose another directory".to_owned())
            }
            Self::InFile { source, .. } => source.hint(),
            Self::Io { .. }
            | Self::Invalid { .. }
            | Self::MissingKey { .. }
            | Self::WrongValue { .. }
            | Self::Misuse { .. } => None,
        }
    }
}
