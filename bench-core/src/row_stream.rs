//! Reads `rows.jsonl` of any length: a few megabytes at a time, each parsed on its own thread, handed on in file order.
//!
//! What [`crate::jsonl::parse_rows`] finds in the same bytes is what comes out here, row by row, number by number; only
//! the whole file is never in memory. Does not judge rows.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::thread;

use crate::jsonl::{LineError, RowError, RowsRead, parse_line, parse_rows};
use crate::record::RequestRecord;

/// Bytes that one thread parses at a time: long beside a line, short beside memory.
const BATCH_BYTES: usize = 4 << 20;

/// More threads gain little: what they make is handed on by one.
const MOST_THREADS: usize = 4;

/// Where the line of a row is in its file: what is too much to keep of every row can be read again from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowPlace {
    /// Bytes before it.
    pub offset: u64,
    /// Its length in bytes, without the newline.
    pub bytes: u64,
}

/// Makes something of every whole row of a file, on the thread that parsed it, hands that to `each` in file order, and
/// returns the torn last line, if a crash left one.
///
/// # Errors
///
/// A file that cannot be read, a line that is not a row, and the first error of `each`.
pub fn for_each_row<T: Send, E: From<RowError>>(
    path: &Path,
    make: impl Fn(RequestRecord, RowPlace) -> T + Sync,
    mut each: impl FnMut(T) -> Result<(), E>,
) -> Result<Option<String>, E> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    let read = |source| RowError::Read { path: path.to_owned(), source };
    let line = |source| RowError::Line { path: path.to_owned(), source };
    let mut batches = Batches::new(File::open(path).map_err(read)?, BATCH_BYTES);
    loop {
        let mut round = Vec::new();
        while round.len() < threads
            && let Some(batch) = batches.next().map_err(read)?
        {
            round.push(batch);
        }
        if round.is_empty() {
            break;
        }
        for made in parse(round, &make) {
            made.map_err(line)?.into_iter().try_for_each(&mut each)?;
        }
    }
    let place = RowPlace { offset: batches.next_offset, bytes: batches.rest.len() as u64 };
    let RowsRead { rows, torn_tail } = parse_rows(&batches.rest).map_err(line)?;
    rows.into_iter().try_for_each(|row| each(make(row, place)))?;
    Ok(torn_tail)
}

/// Each batch on a thread, in their order.
fn parse<T: Send>(
    round: Vec<Batch>,
    make: &(impl Fn(RequestRecord, RowPlace) -> T + Sync),
) -> Vec<Result<Vec<T>, LineError>> {
    thread::scope(|scope| {
        let parse = |batch: Batch| scope.spawn(move || batch.parse(make));
        let workers: Vec<_> = round.into_iter().map(parse).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| match worker.join() {
            Ok(rows) => rows,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        workers.into_iter().map(join).collect()
    })
}

/// Whole lines.
struct Batch {
    /// From 1.
    first_line: u64,
    /// Of the first line.
    offset: u64,
    bytes: Vec<u8>,
}

impl Batch {
    /// As [`crate::jsonl::parse_rows`] does it: empty lines are none.
    fn parse<T>(&self, make: &impl Fn(RequestRecord, RowPlace) -> T) -> Result<Vec<T>, LineError> {
        let mut made = Vec::new();
        let mut offset = self.offset;
        for (line, number) in self.bytes.split(|&byte| byte == b'\n').zip(self.first_line..) {
            let place = RowPlace { offset, bytes: line.len() as u64 };
            offset += place.bytes + 1;
            if !line.trim_ascii().is_empty() {
                made.push(make(parse_line(line, number)?, place));
            }
        }
        Ok(made)
    }
}

/// Cuts a file at line ends.
struct Batches<R> {
    file: R,
    batch_bytes: usize,
    next_line: u64,
    /// Of what was not handed out yet.
    next_offset: u64,
    /// Read and not yet handed out; at the end the line without a newline.
    rest: Vec<u8>,
}

impl<R: Read> Batches<R> {
    fn new(file: R, batch_bytes: usize) -> Self {
        Self { file, batch_bytes, next_line: 1, next_offset: 0, rest: Vec::new() }
    }

    /// At least [`Self::batch_bytes`] of whole lines; less at the end, `None` after it.
    fn next(&mut self) -> io::Result<Option<Batch>> {
        let mut bytes = std::mem::take(&mut self.rest);
        loop {
            // A line may be longer than a batch: read on until one ends.
            let before = bytes.len();
            (&mut self.file).take(self.batch_bytes as u64).read_to_end(&mut bytes)?;
            let at_end = bytes.len() == before;
            match bytes[before..].iter().rposition(|&byte| byte == b'\n') {
                Some(newline) => {
                    self.rest = bytes.split_off(before + newline + 1);
                    let first_line = self.next_line;
                    self.next_line += bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
                    let offset = self.next_offset;
                    self.next_offset += bytes.len() as u64;
                    return Ok(Some(Batch { first_line, offset, bytes }));
                }
                None if at_end => {
                    self.rest = bytes;
                    return Ok(None);
                }
                None => {}
            }
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
            serde_json::to_writer(&mut bytes, &record("native/none", 0, index)).unwrap();
            bytes.extend_from_slice(if index % 3 == 0 { b"\n\n" } else { b"\n" });
        }
        bytes
    }

    #[test]
    fn batches_of_any_size_hold_the_lines_in_order() {
        let all = lines(5);
        for batch_bytes in [1, 7, 500, 1_000_000] {
            for cut in [0, 3, 900, all.len() - 1, all.len()] {
                let mut batches = Batches::new(&all[..cut], batch_bytes);
                let mut joined = Vec::new();
                while let Some(batch) = batches.next().unwrap() {
                    let before = joined.iter().filter(|&&byte| byte == b'\n').count() as u64;
                    assert_eq!((batch.first_line, batch.offset), (before + 1, joined.len() as u64));
                    joined.extend_from_slice(&batch.bytes);
                    assert_eq!(joined.last(), Some(&b'\n'));
                }
                joined.extend_from_slice(&batches.rest);
                assert_eq!(joined, &all[..cut], "batches of {batch_bytes}, cut at {cut}");
            }
        }
    }

    #[test]
    fn a_long_file_is_what_the_parser_makes_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.jsonl");
        let mut bytes = lines(12_000);
        assert!(bytes.len() > 2 * BATCH_BYTES, "{} bytes are one batch", bytes.len());
        bytes.extend_from_slice(b"{\"schema\":1,\"ru");
        std::fs::write(&path, &bytes).unwrap();
        let mut rows = Vec::new();
        let push = |(row, place): (RequestRecord, RowPlace)| {
            let at = usize::try_from(place.offset).unwrap();
            let line = &bytes[at..at + usize::try_from(place.bytes).unwrap()];
            assert_eq!(serde_json::from_slice::<RequestRecord>(line).unwrap(), row);
            rows.push(row);
            Ok::<(), RowError>(())
        };
        let torn_tail = for_each_row(&path, |row, place| (row, place), push).unwrap();
        assert_eq!(RowsRead { rows, torn_tail }, parse_rows(&bytes).unwrap());

        // The number of a broken line counts from the beginning of the file, whichever batch it is in.
        bytes.extend_from_slice(b"\n");
        std::fs::write(&path, &bytes).unwrap();
        let error = for_each_row(&path, |row, _| row, |_| Ok::<(), RowError>(())).unwrap_err();
        let expected = parse_rows(&bytes).unwrap_err();
        assert!(error.to_string().ends_with(&expected.to_string()), "{error} is not {expected}");
        assert!(expected.to_string().starts_with("line 16001 "), "{expected}");
    }

    #[test]
    fn an_error_of_the_receiver_ends_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.jsonl");
        std::fs::write(&path, lines(3)).unwrap();
        let mut seen = 0;
        let refuse = |_| {
            seen += 1;
            Err(RowError::Exists { path: path.clone() })
        };
        assert!(matches!(for_each_row(&path, |row, _| row, refuse).unwrap_err(), RowError::Exists { .. }));
        assert_eq!(seen, 1);
        let missing =
            for_each_row(&dir.path().join("none"), |row, _| row, |_| Ok::<(), RowError>(())).unwrap_err();
        assert!(matches!(missing, RowError::Read { .. }), "{missing}");
    }
}
