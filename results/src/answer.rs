//! What requests were answered: ids, text, and the stack's own timings. Most of a row, and asked of few.
//!
//! The file of rows is where answers are kept: they are read again from their line. Files do not change while a report is
//! made of them, and one that does is named.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::thread;

use bench_core::audit::{Audited, Output, compare};
use bench_core::record::RequestRecord;
use bench_core::row_stream::RowPlace;
use bench_core::stack::TOP2_MARGINS;
use serde::Deserialize;

use crate::error::ResultsError;
use crate::row::Row;
use crate::tables::{self, GROUP, texts};

/// An answer in full, as its row tells it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(crate) struct Answer {
    request_index: u64,
    token_ids: Option<Vec<u32>>,
    #[serde(default)]
    pub(crate) text: String,
    pub(crate) stack_timings: Option<serde_json::Value>,
}

/// Where an answer is: in which of the files of rows.
#[derive(Debug, Clone, Copy)]
pub(crate) enum AnswerPlace {
    /// A line of `rows.jsonl`.
    Line {
        /// Which file.
        file: u32,
        /// Its line.
        place: RowPlace,
    },
    /// A row of a table of requests.
    TableRow {
        /// Which file.
        file: u32,
        /// From 0.
        row: usize,
    },
}

/// A row in full but for its chunks: its line without text and chunks, and the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Whole {
    pub(crate) record: String,
    pub(crate) text: String,
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
    /// By file: the number of the first row that was read last, and what was read.
    groups: BTreeMap<u32, (usize, Vec<Whole>)>,
}

impl<'a> Answers<'a> {
    /// Of rows from these files.
    pub(crate) fn new(files: &'a [PathBuf]) -> Self {
        Self { files, open: None, line: Vec::new(), groups: BTreeMap::new() }
    }

    /// The answer in a row.
    pub(crate) fn of(&mut self, row: &Row) -> Result<Answer, ResultsError> {
        let answer: Option<Answer> = match row.answer {
            AnswerPlace::Line { file, place } => {
                self.read_line(file, place)?;
                serde_json::from_slice(&self.line).ok()
            }
            AnswerPlace::TableRow { file, row } => {
                let whole = self.table_row(file, row)?;
                let answer: Option<Answer> = serde_json::from_str(&whole.record).ok();
                answer.map(|answer| Answer { text: whole.text.clone(), ..answer })
            }
        };
        // Another line at this place is no row, or another one.
        answer
            .filter(|answer| answer.request_index == row.request_index)
            .ok_or_else(|| self.changed(row.answer.file()))
    }

    /// A row in full but for its chunks.
    pub(crate) fn whole(&mut self, row: &Row) -> Result<Whole, ResultsError> {
        match row.answer {
            AnswerPlace::Line { file, place } => {
                self.read_line(file, place)?;
                let record: Option<RequestRecord> = serde_json::from_slice(&self.line).ok();
                let record = record.filter(|record| record.request_index == row.request_index);
                let mut record = record.ok_or_else(|| self.changed(file))?;
                record.timing.chunks.clear();
                let text = std::mem::take(&mut record.text);
                Ok(Whole { record: serde_json::to_string(&record)?, text })
            }
            AnswerPlace::TableRow { file, row } => self.table_row(file, row).cloned(),
        }
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

    fn path(&self, file: u32) -> &'a Path {
        self.files.get(file as usize).map_or(Path::new(""), PathBuf::as_path)
    }

    fn changed(&self, file: u32) -> ResultsError {
        ResultsError::ChangedRows { path: self.path(file).to_owned() }
    }

    /// Into `self.line`.
    fn read_line(&mut self, file: u32, place: RowPlace) -> Result<(), ResultsError> {
        let path = self.path(file);
        let failed = |source| ResultsError::read(path, source);
        let mut open = match self.open.take().filter(|(known, _)| *known == file) {
            Some((_, open)) => open,
            None => File::open(path).map_err(failed)?,
        };
        self.line.clear();
        open.seek(SeekFrom::Start(place.offset)).map_err(failed)?;
        let read = (&mut open).take(place.bytes).read_to_end(&mut self.line).map_err(failed)?;
        self.open = Some((file, open));
        if (read as u64) < place.bytes { Err(self.changed(file)) } else { Ok(()) }
    }

    /// A group of rows is read at once, and kept until another one is asked for.
    fn table_row(&mut self, file: u32, row: usize) -> Result<&Whole, ResultsError> {
        let start = row - row % GROUP;
        if self.groups.get(&file).is_none_or(|(known, _)| *known != start) {
            let path = self.path(file);
            let table = tables::read(path, &["record", "text"], (start, GROUP))?;
            let (records, texts) = (texts(path, &table, "record")?, texts(path, &table, "text")?);
            let whole = |(record, text): (Option<String>, Option<String>)| Whole {
                record: record.unwrap_or_default(),
                text: text.unwrap_or_default(),
            };
            self.groups.insert(file, (start, records.into_iter().zip(texts).map(whole).collect()));
        }
        let changed = self.changed(file);
        self.groups.get(&file).and_then(|(_, group)| group.get(row - start)).ok_or(changed)
    }
}

impl AnswerPlace {
    fn file(self) -> u32 {
        match self {
            Self::Line { file, .. } | Self::TableRow { file, .. } => file,
        }
    }
}

/// What `read` finds of each of these rows, on all CPUs, in their order.
pub(crate) fn of_all<'a, T: Send>(
    files: &'a [PathBuf],
    rows: &[&Row],
    read: impl Fn(&mut Answers<'a>, &Row) -> Result<T, ResultsError> + Sync,
) -> Result<Vec<T>, ResultsError> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let share = rows.len().div_ceil(threads).max(1);
    let read_share = |rows: &[&Row]| {
        let mut answers = Answers::new(files);
        rows.iter().map(|row| read(&mut answers, row)).collect::<Result<Vec<T>, _>>()
    };
    let shares: Vec<_> = thread::scope(|scope| {
        let read_share = &read_share;
        let workers: Vec<_> = rows.chunks(share).map(|rows| scope.spawn(move || read_share(rows))).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| match worker.join() {
            Ok(answers) => answers,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        workers.into_iter().map(join).collect()
    });
    Ok(shares.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}
