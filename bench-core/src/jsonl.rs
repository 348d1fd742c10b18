//! `rows.jsonl`: one JSON line a request, in the file before the next request starts.
//!
//! A crash may cost the line being written and nothing else: each row is one `write_all` of the line and its
//! newline, unbuffered, so the reader finds whole lines and at most one torn tail. Not synced to the platter: that
//! guards against a power cut only, and would put disk latency between requests.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::record::{RECORD_SCHEMA, RequestRecord};

/// Takes rows as requests end.
pub trait RowSink: Send {
    /// Stores one row, or says why not; the run ends at the first error.
    fn append(&mut self, row: &RequestRecord) -> Result<(), RowError>;
}

/// Rows kept in memory, for tests.
impl RowSink for Vec<RequestRecord> {
    fn append(&mut self, row: &RequestRecord) -> Result<(), RowError> {
        self.push(row.clone());
        Ok(())
    }
}

/// Appends rows to a new file.
#[derive(Debug)]
pub struct RowWriter {
    path: PathBuf,
    file: File,
    /// Rows that are whole in the file.
    rows: u64,
    /// Length of the file up to the last whole row.
    whole_bytes: u64,
    line: Vec<u8>,
}

impl RowWriter {
    /// Creates `path`, which must not exist: rows of two runs never share a file.
    pub fn create(path: &Path) -> Result<Self, RowError> {
        let file = OpenOptions::new().append(true).create_new(true).open(path).map_err(|source| {
            if source.kind() == io::ErrorKind::AlreadyExists {
                RowError::Exists { path: path.to_owned() }
            } else {
                RowError::Create { path: path.to_owned(), source }
            }
        })?;
        Ok(Self::over(path.to_owned(), file))
    }

    /// Rows written so far.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    fn over(path: PathBuf, file: File) -> Self {
        Self { path, file, rows: 0, whole_bytes: 0, line: Vec::new() }
    }

    fn write_error(&self, source: io::Error) -> RowError {
        RowError::Write { path: self.path.clone(), rows_written: self.rows, source }
    }
}

impl RowSink for RowWriter {
    fn append(&mut self, row: &RequestRecord) -> Result<(), RowError> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, row).map_err(|error| self.write_error(error.into()))?;
        self.line.push(b'\n');
        if let Err(error) = self.file.write_all(&self.line) {
            // A full disk may have taken half a line: cut it off. Where even that fails the reader calls it torn,
            // and the first error is still the one to tell.
            drop(self.file.set_len(self.whole_bytes));
            return Err(self.write_error(error));
        }
        self.rows += 1;
        self.whole_bytes += self.line.len() as u64;
        Ok(())
    }
}

/// What a rows file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct RowsRead {
    /// All whole rows, in file order.
    pub rows: Vec<RequestRecord>,
    /// The last line, if a crash cut it short. Its request is lost and has to be said so.
    pub torn_tail: Option<String>,
}

/// Reads a rows file.
pub fn read_rows(path: &Path) -> Result<RowsRead, RowError> {
    let bytes = std::fs::read(path).map_err(|source| RowError::Read { path: path.to_owned(), source })?;
    parse_rows(&bytes).map_err(|source| RowError::Line { path: path.to_owned(), source })
}

/// Parses the bytes of a rows file.
pub fn parse_rows(bytes: &[u8]) -> Result<RowsRead, LineError> {
    let (whole, tail) = match bytes.iter().rposition(|&byte| byte == b'\n') {
        Some(newline) => (&bytes[..newline], &bytes[newline + 1..]),
        None => (&[][..], bytes),
    };
    let mut rows = parse_lines(whole, 1)?;
    let torn_tail = match parse_line(tail, 0) {
        _ if tail.is_empty() => None,
        // Only the newline was lost: a JSON object knows its own end.
        Ok(row) => {
            rows.push(row);
            None
        }
        Err(_) => Some(String::from_utf8_lossy(tail).into_owned()),
    };
    Ok(RowsRead { rows, torn_tail })
}

/// The rows of whole lines, of which the first has this number. Empty lines are none.
fn parse_lines(bytes: &[u8], first_line: u64) -> Result<Vec<RequestRecord>, LineError> {
    let lines = bytes.split(|&byte| byte == b'\n').zip(first_line..);
    let filled = lines.filter(|(line, _)| !line.trim_ascii().is_empty());
    filled.map(|(line, number)| parse_line(line, number)).collect()
}

/// The row of a line with this number.
pub(crate) fn parse_line(line: &[u8], number: u64) -> Result<RequestRecord, LineError> {
    let row: Result<RequestRecord, _> = serde_json::from_slice(line);
    match row {
        Ok(row) if row.schema == RECORD_SCHEMA => Ok(row),
        Ok(row) => Err(LineError::Schema { line: number, found: row.schema }),
        Err(source) => Err(schema_or_syntax(line, number, source)),
    }
}

/// A file of another version is called that, and not a missing field.
fn schema_or_syntax(line: &[u8], number: u64, source: serde_json::Error) -> LineError {
    #[derive(Deserialize)]
    struct Head {
        schema: u32,
    }
    match serde_json::from_slice(line) {
        Ok(Head { schema }) if schema != RECORD_SCHEMA => LineError::Schema { line: number, found: schema },
        Ok(Head { .. }) | Err(_) => LineError::Syntax { line: number, source },
    }
}

/// A line that is not a row of ours.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Not JSON, or not the fields of a row.
    #[error("line {line} is not a row: {source}")]
    Syntax {
        /// From 1.
        line: u64,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// Written by another version of the suite.
    #[error("line {line} has schema {found}, this version reads {RECORD_SCHEMA}")]
    Schema {
        /// From 1.
        line: u64,
        /// The version found.
        found: u32,
    },
}

/// Why rows could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// The file is there already.
    #[error("`{path}` holds rows of another run", path = path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be made.
    #[error("cannot create `{path}`: {source}", path = path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// A row cannot be written; those before it are whole.
    #[error("cannot write to `{path}` after {rows_written} rows: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Whole rows in it.
        rows_written: u64,
        /// The system's words.
        source: io::Error,
    },
    /// The file cannot be read.
    #[error("cannot read `{path}`: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// A line in it is broken.
    #[error("`{path}`: {source}", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line, and why.
        source: LineError,
    },
}

impl RowError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Exists { .. } => Some("choose another directory with `--out`".to_owned()),
            Self::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space; the rows before this one are whole and can be reported".to_owned())
            }
            Self::Line { source: LineError::Schema { .. }, .. } => {
                Some("read it with the version of the suite that is named in its manifest.json".to_owned())
            }
            Self::Line { source: LineError::Syntax { .. }, .. } => {
                Some("a crash tears only the last line; this file was edited or damaged".to_owned())
            }
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("is this a run directory, as `bench run` writes it?".to_owned())
            }
            Self::Create { .. } | Self::Write { .. } | Self::Read { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::record;

    fn lines(count: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for index in 0..count {
            let mut row = record("native/none", 0, index);
            row.text = "héllo \n \"q\"".to_owned();
            serde_json::to_writer(&mut bytes, &row).unwrap();
            bytes.push(b'\n');
        }
        bytes
    }

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.jsonl");
        let mut writer = RowWriter::create(&path).unwrap();
        let rows: Vec<_> = (0..3).map(|index| record("native/none", 1, index)).collect();
        for (written, row) in rows.iter().enumerate() {
            writer.append(row).unwrap();
            assert_eq!(writer.rows(), written as u64 + 1);
            assert_eq!(read_rows(&path).unwrap().rows.len(), written + 1, "not in the file at once");
        }
        assert_eq!(read_rows(&path).unwrap(), RowsRead { rows, torn_tail: None });
    }

    #[test]
    fn a_second_run_does_not_get_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.jsonl");
        drop(RowWriter::create(&path).unwrap());
        let error = RowWriter::create(&path).unwrap_err();
        assert!(matches!(error, RowError::Exists { .. }), "{error}");
        assert!(error.hint().unwrap().contains("--out"));
    }

    #[test]
    fn every_cut_loses_at_most_the_last_row() {
        let bytes = lines(2);
        let first = bytes.iter().position(|&byte| byte == b'\n').unwrap();
        for cut in 0..=bytes.len() {
            let read = parse_rows(&bytes[..cut]).unwrap();
            let whole = usize::from(cut >= first) + usize::from(cut + 1 >= bytes.len());
            assert_eq!(read.rows.len(), whole, "cut at {cut}");
            let at_border = cut == 0 || cut == first || cut == first + 1 || cut + 1 >= bytes.len();
            assert_eq!(read.torn_tail.is_none(), at_border, "cut at {cut}");
        }
    }

    #[test]
    fn a_broken_line_in_the_middle_names_its_number() {
        let mut bytes = lines(1);
        bytes.extend_from_slice(b"{\"schema\":1,\"run\n");
        bytes.extend_from_slice(&lines(1));
        let error = parse_rows(&bytes).unwrap_err();
        assert!(matches!(error, LineError::Syntax { line: 2, .. }), "{error}");
    }

    #[test]
    fn another_schema_is_called_that() {
        let error = parse_rows(b"{\"schema\":7,\"shape\":\"unknown\"}\n").unwrap_err();
        assert_eq!(error.to_string(), "line 1 has schema 7, this version reads 1");
        let error = RowError::Line { path: "rows.jsonl".into(), source: error };
        assert!(error.hint().unwrap().contains("manifest.json"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_a_typed_error() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut writer = RowWriter::over("rows.jsonl".into(), full);
        let error = writer.append(&record("native/none", 0, 0)).unwrap_err();
        assert!(
            matches!(&error, RowError::Write { rows_written: 0, source, .. }
            if source.kind() == io::ErrorKind::StorageFull),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("free some space"));
    }
}
