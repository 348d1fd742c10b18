//! What can go wrong while drawing.

use std::io;
use std::path::{Path, PathBuf};

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// A chart could not be drawn: a fault of ours.
    #[error("cannot draw: {0}")]
    Draw(String),
    /// A file could not be written.
    #[error("cannot write `{path}`: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

impl PlotError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Draw(_) => Some("the numbers are in `report.json` and `report.md` all the same".to_owned()),
            Self::Write { .. } => Some("is the directory writable, and the disk not full?".to_owned()),
        }
    }

    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write { path: path.to_owned(), source }
    }
}
