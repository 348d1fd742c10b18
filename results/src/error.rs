//! What can go wrong between a run directory and a report.

use std::io;
use std::path::PathBuf;

use bench_core::jsonl::RowError;
use bench_core::run_dir::RunDirError;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// No run was given.
    #[error("no run to report")]
    NoRuns,
    /// The manifest of a run.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// The rows of a run.
    #[error(transparent)]
    Rows(#[from] RowError),
    /// Two runs are not of one experiment.
    #[error("`{first}` and `{second}` cannot be merged: their {what}", first = first.display(), second = second.display())]
    Unlike {
        /// The first run.
        first: PathBuf,
        /// The run that does not fit.
        second: PathBuf,
        /// What differs, and how.
        what: String,
    },
    /// Two runs that may not be compared.
    #[error("these runs cannot be compared: {}", reasons.join("; "))]
    Incomparable {
        /// Everything that stands in the way.
        reasons: Vec<String>,
    },
    /// A row names an arm or a run that its manifest does not have.
    #[error("`{root}`: row {request_index} belongs to {what}, which the manifest does not have", root = root.display())]
    Stray {
        /// The run directory.
        root: PathBuf,
        /// The row's number.
        request_index: u64,
        /// The arm, run or prompt it names.
        what: String,
    },
    /// A table operation.
    #[error("cannot aggregate: {0}")]
    Table(String),
    /// JSON.
    #[error("cannot write the report as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A file of the report.
    #[error("cannot write `{path}`: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

impl ResultsError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoRuns => Some("name at least one run directory".to_owned()),
            Self::RunDir(error) => error.hint(),
            Self::Rows(error) => error.hint(),
            Self::Unlike { .. } => Some(
                "only repetitions of one preset on one machine are one sample; report each run alone"
                    .to_owned(),
            ),
            Self::Incomparable { .. } => Some(
                "two runs answer a question only if they differ in nothing but what is asked about"
                    .to_owned(),
            ),
            Self::Stray { .. } => {
                Some("do `manifest.json` and `rows.jsonl` come from the same run?".to_owned())
            }
            Self::Write { .. } => Some("is the directory writable, and the disk not full?".to_owned()),
            Self::Table(_) | Self::Json(_) => None,
        }
    }

    pub(crate) fn write(path: PathBuf, source: io::Error) -> Self {
        Self::Write { path, source }
    }
}

impl From<polars::error::PolarsError> for ResultsError {
    /// As words: no polars type leaves this crate.
    fn from(error: polars::error::PolarsError) -> Self {
        Self::Table(error.to_string())
    }
}
