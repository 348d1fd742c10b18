//! What can be wrong with a preset: one error, one clear message, and a hint.

use std::fmt;
use std::path::PathBuf;

/// Line and column of a preset's text, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

impl Place {
    /// The place of a byte offset.
    pub(crate) fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Why there is no preset.
#[derive(Debug, thiserror::Error)]
pub enum PresetError {
    /// No preset of that name is shipped, and it is no path.
    #[error("no preset is called `{name}`")]
    UnknownPreset {
        /// As given.
        name: String,
        /// The shipped name that is most like it.
        nearest: Option<&'static str>,
    },
    /// The file cannot be read.
    #[error("cannot read the preset `{}`: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// Not TOML, or a value of the wrong type.
    #[error("{origin}{}: {message}", suffix(.place))]
    Document {
        /// Preset name or path.
        origin: String,
        /// Where.
        place: Option<Place>,
        /// What the TOML reader says.
        message: String,
    },
    /// A key that means nothing.
    #[error("{origin}{}: unknown key `{key}`", suffix(.place))]
    UnknownKey {
        /// Preset name or path, or the override.
        origin: String,
        /// Where.
        place: Option<Place>,
        /// The key with its path.
        key: String,
        /// The key that was probably meant.
        nearest: Option<String>,
    },
    /// An override that cannot be applied.
    #[error("cannot apply `--set {text}`: {detail}")]
    Override {
        /// The override.
        text: String,
        /// Why not.
        detail: String,
        /// What to write.
        hint: Option<String>,
    },
    /// A value that cannot be run.
    #[error("{origin}: {source}")]
    Invalid {
        /// Preset name or path.
        origin: String,
        /// Which value, and why.
        source: InvalidValue,
    },
    /// A preset that TOML cannot hold.
    #[error("cannot write the preset as TOML: {source}")]
    Write {
        /// What the TOML writer says.
        source: toml::ser::Error,
    },
}

impl PresetError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownPreset { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            Self::UnknownPreset { nearest: None, .. } => Some(
                "`bench presets list` shows those that there are; a file of your own is given by its path, such as \
                 `./mine.toml`"
                    .to_owned(),
            ),
            Self::UnknownKey { nearest, .. } => nearest.as_ref().map(|key| format!("did you mean `{key}`?")),
            Self::Override { hint, .. } => hint.clone(),
            Self::Invalid { source, .. } => source.hint.clone(),
            Self::Read { .. } | Self::Document { .. } | Self::Write { .. } => None,
        }
    }
}

/// A value that cannot be run: which, what it is, what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidValue {
    /// The key with its path.
    pub key: String,
    /// The value as written; `None` if it is missing.
    pub value: Option<String>,
    /// What was expected.
    pub expected: String,
    /// What to do.
    pub hint: Option<String>,
}

impl InvalidValue {
    pub(crate) fn at(self, origin: &str) -> PresetError {
        PresetError::Invalid { origin: origin.to_owned(), source: self }
    }
}

impl fmt::Display for InvalidValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "`{}` is `{value}`, expected {}", self.key, self.expected),
            None => write!(f, "`{}` is missing, expected {}", self.key, self.expected),
        }
    }
}

impl std::error::Error for InvalidValue {}

fn suffix(place: &Option<Place>) -> String {
    place.map_or_else(String::new, |place| format!(":{place}"))
}
