//! What can go wrong between a run directory and a report.

use std::io;
use std::path::{Path, PathBuf};

use bench_core::jsonl::RowError;
use bench_core::run_dir::RunDirError;

use crate::import::ImportError;
use crate::reasons::Refusal;

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
    #[error("`{first}` and `{second}` cannot be merged: {why}", first = first.display(), second = second.display())]
    Unlike {
        /// The first run.
        first: PathBuf,
        /// The run that does not fit.
        second: PathBuf,
        /// What differs, and how.
        why: Refusal,
    },
    /// Two runs that may not be compared.
    #[error("these runs cannot be compared: {}", listed(reasons))]
    Incomparable {
        /// Everything that stands in the way.
        reasons: Vec<Refusal>,
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
    /// A file of another tool.
    #[error("cannot import `{path}`: {source}", path = path.display())]
    Import {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<ImportError>,
    },
    /// The copy in an import's directory is not the file that was imported.
    #[error("`{path}` is not the file that was imported: its SHA-256 is another", path = path.display())]
    Changed {
        /// The copy.
        path: PathBuf,
    },
    /// The directory of an import is taken.
    #[error("`{path}` is there already", path = path.display())]
    Occupied {
        /// What is in the way.
        path: PathBuf,
    },
    /// An import where a measured run is needed.
    #[error("`{root}` was imported from another tool: it has no rows to merge, compare or export", root = root.display())]
    NotMeasured {
        /// Its directory.
        root: PathBuf,
    },
    /// A file of rows is not what it was when it was read first.
    #[error("`{path}` changed while the report was made", path = path.display())]
    ChangedRows {
        /// The file.
        path: PathBuf,
    },
    /// Tables that are not an export that can be read back.
    #[error("`{path}` cannot be read as an export: {what}", path = path.display())]
    Tables {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A directory that says it is a baseline, and is not what was put aside.
    #[error("`{path}`: {what}", path = path.display())]
    Baseline {
        /// What it says of itself.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Runs that are not all shards of one run.
    #[error("these runs are not one sharded run: {what}")]
    Shards {
        /// What is missing, twice there, or of another run.
        what: String,
    },
    /// A file that has to be read.
    #[error("cannot read `{path}`: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
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
            Self::Import { source, .. } => source.hint(),
            Self::Changed { .. } => Some("import the file again, into another directory".to_owned()),
            Self::Occupied { .. } => Some("choose another directory with `--out`".to_owned()),
            Self::NotMeasured { .. } => Some("`bench report` draws it alone".to_owned()),
            Self::Shards { .. } => {
                Some("name the directories of all shards of one run, each once".to_owned())
            }
            Self::ChangedRows { .. } => {
                Some("is the run still going on? report it when it has ended".to_owned())
            }
            Self::Tables { .. } => {
                Some("export the run again: `bench export RUN_DIR --format parquet`".to_owned())
            }
            Self::Baseline { .. } => {
                Some("put the run aside again with `bench gate save RUN --as DIR`".to_owned())
            }
            Self::Read { .. } => None,
            Self::Write { .. } => Some("is the directory writable, and the disk not full?".to_owned()),
            Self::Table(_) | Self::Json(_) => None,
        }
    }

    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    pub(crate) fn write(path: PathBuf, source: io::Error) -> Self {
        Self::Write { path, source }
    }
}

fn listed(reasons: &[Refusal]) -> String {
    reasons.iter().map(|reason| reason.words.as_str()).collect::<Vec<_>>().join("; ")
}

impl From<polars::error::PolarsError> for ResultsError {
    /// As words: no polars type leaves this crate.
    fn from(error: polars::error::PolarsError) -> Self {
        Self::Table(error.to_string())
    }
}
