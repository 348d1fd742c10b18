//! Why a file of another tool is no report: what, where, and what was expected.

use super::ImportFormat;

/// Why there is no import.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// Neither JSON nor lines of it nor llama-bench's SQL.
    #[error("{place} is not JSON: {what}")]
    Syntax {
        /// `the file`, or a line.
        place: String,
        /// What the parser says.
        what: String,
    },
    /// llama-bench's SQL, broken.
    #[error("statement {statement}: {what}")]
    Sql {
        /// From 1.
        statement: usize,
        /// What was found, and what was expected.
        what: String,
    },
    /// Keys of no tool that is known here.
    #[error("no tool that is known here writes these keys: {}", if keys.is_empty() { "none".to_owned() } else { keys.join(", ") })]
    Unknown {
        /// The first keys.
        keys: Vec<String>,
    },
    /// A value of another kind than asked for, or none where there has to be one.
    #[error("`{place}` is {found}, expected {expected}")]
    Field {
        /// The path of keys to it.
        place: String,
        /// What is there.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A file without a result.
    #[error("no result of {tool} in the file")]
    Empty {
        /// The tool.
        tool: &'static str,
    },
}

impl ImportError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Syntax { .. } | Self::Sql { .. } => {
                Some("is the file whole, and what the tool saved (not what it printed)?".to_owned())
            }
            Self::Unknown { .. } => {
                let tools: Vec<_> = ImportFormat::ALL.into_iter().map(ImportFormat::tool).collect();
                Some(format!("files are read of: {}", tools.join(", ")))
            }
            Self::Field { .. } => {
                Some("does `--format` name the tool that wrote it, and is its version one that docs/results.md lists?".to_owned())
            }
            Self::Empty { .. } => None,
        }
    }
}
