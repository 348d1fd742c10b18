//! What requests were answered: ids, text, and the stack's own timings. Most of a row, and asked of few.
//!
//! The file of rows is where answers are kept: they are read again from their line. Files do not change while a report is
//! made of them, and one that does is named.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use bench_core::audit::{Audited, Output, compare};
use bench_core::row_stream::RowPlace;
use bench_core::stack::TOP2_MARGINS;
use serde::Deserialize;

use crate::error::ResultsError;
use crate::row::Row;

/// An answer in full, as its row tells it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(crate) struct Answer {
    request_index: u64,
    pub(crate) token_ids: Option<Vec<u32>>,
    pub(crate) text: String,
    pub(crate) stack_timings: Option<serde_json::Value>,
}

/// Where an answer is.
#[derive(Debug, Clone)]
pub(crate) enum AnswerPlace {
    /// In one of the files of rows.
    Line {
        /// Which.
        file: u32,
        /// Its line.
        place: RowPlace,
    },
    /// Here: it came from a table, which has no lines.
    Held(Arc<Answer>),
}

impl Answer {
    pub(crate) fn output(&self) -> Output<'_> {
        let margins = self.stack_timings.as_ref().and_then(|timings| timings.get(TOP2_MARGINS));
        Output { token_ids: self.token_ids.as_deref(), text: &self.text, margins }
    }
}

/// Reads answers.
#[derive(Debug)]
pub(crate) struct Answers<'a> {
    files: &'a [PathBuf],
    /// The one read last.
    open: Option<(u32, File)>,
    line: Vec<u8>,
}

impl<'a> Answers<'a> {
    /// Of rows from these files.
    pub(crate) fn new(files: &'a [PathBuf]) -> Self {
        Self { files, open: None, line: Vec::new() }
    }

    /// The answer in a row.
    pub(crate) fn of(&mut self, row: &Row) -> Result<Arc<Answer>, ResultsError> {
        let (file, place) = match &row.answer {
            AnswerPlace::Held(answer) => return Ok(Arc::clone(answer)),
            AnswerPlace::Line { file, place } => (*file, *place),
        };
        let path = self.files.get(file as usize).ok_or(ResultsError::NoRuns)?;
        let changed = || ResultsError::ChangedRows { path: path.clone() };
        self.read(file, path, place).map_err(|source| match source.kind() {
            std::io::ErrorKind::UnexpectedEof => changed(),
            _ => ResultsError::read(path, source),
        })?;
        // Another line at this place is no row, or another one.
        let answer: Option<Answer> = serde_json::from_slice(&self.line).ok();
        answer.filter(|answer| answer.request_index == row.request_index).map(Arc::new).ok_or_else(changed)
    }

    /// [`bench_core::audit::compare`] of two rows; what their digests settle is not read.
    pub(crate) fn compare(&mut self, baseline: &Row, candidate: &Row) -> Result<Audited, ResultsError> {
        let same = |a: Option<u128>, b: Option<u128>| Some(a? == b?);
        let (a, b) = (baseline.digest, candidate.digest);
        match same(a.ids, b.ids).or_else(|| same(a.text, b.text)) {
            None => Ok(Audited::Nothing),
            Some(true) => Ok(Audited::Identical),
            Some(false) => Ok(compare(&self.of(baseline)?.output(), &self.of(candidate)?.output())),
        }
    }

    fn read(&mut self, file: u32, path: &PathBuf, place: RowPlace) -> std::io::Result<()> {
        let open = match self.open.take().filter(|(known, _)| *known == file) {
            Some((_, open)) => open,
            None => File::open(path)?,
        };
        let (_, open) = self.open.insert((file, open));
        self.line.clear();
        open.seek(SeekFrom::Start(place.offset))?;
        let read = open.take(place.bytes).read_to_end(&mut self.line)?;
        if (read as u64) < place.bytes {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// The answers in rows, read on all CPUs.
    pub(crate) fn of_all(files: &'a [PathBuf], rows: &[&Row]) -> Result<Vec<Arc<Answer>>, ResultsError> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let share = rows.len().div_ceil(threads).max(1);
        let read = |rows: &[&Row]| {
            let mut answers = Self::new(files);
            rows.iter().map(|row| answers.of(row)).collect::<Result<Vec<_>, _>>()
        };
        let shares: Vec<_> = thread::scope(|scope| {
            let workers: Vec<_> = rows.chunks(share).map(|rows| scope.spawn(move || read(rows))).collect();
            let join = |worker: thread::ScopedJoinHandle<'_, _>| match worker.join() {
                Ok(answers) => answers,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            workers.into_iter().map(join).collect()
        });
        Ok(shares.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }
}
