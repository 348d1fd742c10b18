//! `environment.jsonl`: a line a reading, beside `rows.jsonl`.
//!
//! It is evidence beside the rows: where it is missing or damaged the rows are whole, and what it would have shown is
//! unknown. So a line that cannot be read is counted and left out, and nothing fails.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use super::{ENVIRONMENT_SCHEMA, EnvironmentHead, EnvironmentLine, EnvironmentSample};

/// Appends lines, each in one write.
#[derive(Debug)]
pub(super) struct LineWriter(File);

impl LineWriter {
    /// Creates the file, which must not exist.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        OpenOptions::new().append(true).create_new(true).open(path).map(Self)
    }

    pub(super) fn write(&mut self, line: &EnvironmentLine) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.0.write_all(&text)
    }
}

/// What a file of readings holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EnvironmentRead {
    /// What does not change; `None` if its line is missing.
    pub head: Option<EnvironmentHead>,
    /// All readings, in the order of their time.
    pub samples: Vec<EnvironmentSample>,
    /// Lines that could not be read, a torn last one included.
    pub unreadable: u64,
}

/// Reads a file of readings.
///
/// # Errors
///
/// Where the file cannot be read; `NotFound` for runs from before it was written.
pub fn read_environment(path: &Path) -> io::Result<EnvironmentRead> {
    std::fs::read(path).map(|bytes| parse_environment(&bytes))
}

/// Parses the bytes of `environment.jsonl`.
#[must_use]
pub fn parse_environment(bytes: &[u8]) -> EnvironmentRead {
    let mut read = EnvironmentRead::default();
    for line in bytes.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
        match serde_json::from_slice(line) {
            Ok(EnvironmentLine::Head(head)) if head.schema == ENVIRONMENT_SCHEMA => read.head = Some(head),
            Ok(EnvironmentLine::Sample(sample)) => read.samples.push(*sample),
            Ok(EnvironmentLine::Head(_)) | Err(_) => read.unreadable += 1,
        }
    }
    // A clock that was set back would make spans of negative length.
    read.samples.sort_by_key(|sample| sample.at_unix_ms);
    read
}

#[cfg(test)]
mod tests {
    use super::super::{GpuHost, Moment};
    use super::*;

    #[test]
    fn what_was_written_is_read_and_damage_costs_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("environment.jsonl");
        let head = EnvironmentHead {
            schema: ENVIRONMENT_SCHEMA,
            interval_ms: 1000,
            cpu_count: Some(2),
            gpu: GpuHost::Absent { reason: "no library".to_owned() },
        };
        let sample = |at_unix_ms| EnvironmentSample {
            at_unix_ms,
            ..super::super::proc::Reader::new().read(Moment::During).0
        };
        let mut writer = LineWriter::create(&path).unwrap();
        for at in [5, 3] {
            writer.write(&EnvironmentLine::Sample(Box::new(sample(at)))).unwrap();
        }
        writer.write(&EnvironmentLine::Head(head.clone())).unwrap();
        assert!(LineWriter::create(&path).is_err(), "two runs never share a file");

        let mut bytes = std::fs::read(&path).unwrap();
        assert!(bytes.len() < 3 * 1024, "a reading is small: {} bytes", bytes.len());
        bytes.extend_from_slice(b"nonsense\n{\"line\":\"sample\",\"at_un");
        let read = parse_environment(&bytes);
        assert_eq!((read.head, read.unreadable), (Some(head), 2));
        assert_eq!(read.samples.iter().map(|sample| sample.at_unix_ms).collect::<Vec<_>>(), [3, 5]);
        assert_eq!(read_environment(&dir.path().join("no")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
