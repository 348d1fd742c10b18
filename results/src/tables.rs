//! An export as runs: `runs/NAME/manifest.json` beside the hive partitions `requests/` and `chunks/`.
//!
//! Read a few thousand requests at a time. What the tables have no column for is in the column `record`, a line of
//! `rows.jsonl` without its text and chunks, so that a report of tables is that of the lines they came from. Without
//! `chunks/` what is made of chunks is unknown.

use std::fs::File;
use std::path::{Path, PathBuf};

use bench_core::record::{Chunk, DecodeSpan, RequestRecord, RunManifest};
use polars::prelude::{DataFrame, SerReader};
use polars_io::parquet::read::ParquetReader;

use crate::error::ResultsError;

/// Requests that are read at once.
pub(crate) const GROUP: usize = 8192;

/// One run of an export.
#[derive(Debug, Clone)]
pub(crate) struct TableRun {
    root: PathBuf,
    name: String,
}

/// One request of a table.
#[derive(Debug)]
pub(crate) struct TableRow {
    /// Whole; without chunks where there is no table of them.
    pub(crate) record: RequestRecord,
    /// As the table has it.
    pub(crate) decode_span: Option<DecodeSpan>,
    /// Its number in `rows.jsonl`, from 0.
    pub(crate) position: u64,
    /// Its number in the file, from 0.
    pub(crate) row: usize,
}

/// What tells a run's files from others': its id, and the part of a sharded one.
pub(crate) fn run_name(run: &RunManifest) -> String {
    let id = file_name(&run.run_id);
    run.shard.map_or_else(|| id.clone(), |shard| format!("{id}.shard-{}-of-{}", shard.index, shard.of))
}

/// A text as a part of a file's name.
pub(crate) fn file_name(text: &str) -> String {
    text.replace(|letter: char| !(letter.is_ascii_alphanumeric() || "-_.".contains(letter)), "-")
}

/// The runs of an export, by name; `None` if the directory is none.
pub(crate) fn runs(root: &Path) -> Result<Option<Vec<TableRun>>, ResultsError> {
    if root.join("manifest.json").exists() || !root.join("requests").is_dir() {
        return Ok(None);
    }
    let folder = root.join("runs");
    if !folder.is_dir() {
        let what = "it has no `runs/`, and without manifests its tables are of nothing known".to_owned();
        return Err(ResultsError::Tables { path: root.to_owned(), what });
    }
    let runs = names_in(&folder)?.into_iter().map(|name| TableRun { root: root.to_owned(), name });
    Ok(Some(runs.collect()))
}

impl TableRun {
    /// The folder of a run in an export.
    pub(crate) fn folder(root: &Path, run: &RunManifest) -> PathBuf {
        root.join("runs").join(run_name(run))
    }

    /// Where its manifest and its readings are.
    pub(crate) fn own_folder(&self) -> PathBuf {
        self.root.join("runs").join(&self.name)
    }

    /// Its tables of requests, each with its table of chunks if there is one.
    pub(crate) fn tables(&self) -> Result<Vec<(PathBuf, Option<PathBuf>)>, ResultsError> {
        let mut folders = vec![PathBuf::new()];
        for key in ["run_date=", "stack=", "preset="] {
            let mut below = Vec::new();
            for folder in folders {
                let names = names_in(&self.root.join("requests").join(&folder))?;
                below.extend(
                    names.into_iter().filter(|name| name.starts_with(key)).map(|name| folder.join(name)),
                );
            }
            folders = below;
        }
        let files = folders.into_iter().map(|folder| folder.join(format!("{}.parquet", self.name)));
        let both =
            files.map(|file| (self.root.join("requests").join(&file), self.root.join("chunks").join(&file)));
        let found = both.filter(|(requests, _)| requests.exists());
        Ok(found.map(|(requests, chunks)| (requests, Some(chunks).filter(|path| path.exists()))).collect())
    }
}

fn names_in(folder: &Path) -> Result<Vec<String>, ResultsError> {
    let failed = |source| ResultsError::read(folder, source);
    let entries =
        std::fs::read_dir(folder).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let mut names: Vec<_> = entries.iter().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    Ok(names)
}

/// Hands over the requests of a table, in the order of its rows.
pub(crate) fn for_each_request(
    requests: &Path,
    chunks: Option<&Path>,
    mut each: impl FnMut(TableRow) -> Result<(), ResultsError>,
) -> Result<(), ResultsError> {
    let (mut start, mut chunks_before) = (0, 0);
    loop {
        let columns = ["row", "record", "text", "chunks", "decode_tokens", "decode_span_ns"];
        let table = read(requests, &columns, (start, GROUP))?;
        if table.height() == 0 {
            return Ok(());
        }
        let mut rows = table_rows(requests, &table, start)?;
        if let Some(path) = chunks {
            let counts = numbers(requests, &table, "chunks")?;
            chunks_before += add_chunks(path, &mut rows, &counts, chunks_before)?;
        }
        start += table.height();
        rows.into_iter().try_for_each(&mut each)?;
    }
}

fn table_rows(path: &Path, table: &DataFrame, start: usize) -> Result<Vec<TableRow>, ResultsError> {
    let [positions, tokens, spans] =
        ["row", "decode_tokens", "decode_span_ns"].map(|column| numbers(path, table, column));
    let (positions, tokens, spans) = (positions?, tokens?, spans?);
    let [records, texts] = ["record", "text"].map(|column| texts(path, table, column));
    let (records, texts) = (records?, texts?);
    let row = |nth: usize| {
        let bad = |what: String| ResultsError::Tables { path: path.to_owned(), what };
        let record =
            records[nth].as_deref().ok_or_else(|| bad(format!("row {} has no `record`", start + nth)))?;
        let mut record: RequestRecord =
            serde_json::from_str(record).map_err(|error| bad(format!("row {}: {error}", start + nth)))?;
        record.text = texts[nth].clone().unwrap_or_default();
        let tokens = tokens[nth].and_then(|tokens| u32::try_from(tokens).ok());
        Ok(TableRow {
            record,
            decode_span: tokens.zip(spans[nth]).map(|(tokens, span_ns)| DecodeSpan { tokens, span_ns }),
            position: positions[nth].unwrap_or_default(),
            row: start + nth,
        })
    };
    (0..table.height()).map(row).collect()
}

/// Puts the chunks of these requests where they belong, and tells how many there were.
fn add_chunks(
    path: &Path,
    rows: &mut [TableRow],
    counts: &[Option<u64>],
    before: usize,
) -> Result<usize, ResultsError> {
    let counts: Vec<_> = counts.iter().map(|count| usize::try_from(count.unwrap_or_default())).collect();
    let bad = |what: &str| ResultsError::Tables { path: path.to_owned(), what: what.to_owned() };
    let counts =
        counts.into_iter().collect::<Result<Vec<_>, _>>().map_err(|error| bad(&error.to_string()))?;
    let count: usize = counts.iter().sum();
    if count == 0 {
        return Ok(0);
    }
    let table = read(path, &["request_index", "at_ns", "tokens"], (before, count))?;
    let [requests, stamps, tokens] =
        ["request_index", "at_ns", "tokens"].map(|column| numbers(path, &table, column));
    let (requests, stamps, tokens) = (requests?, stamps?, tokens?);
    let mut at = 0;
    for (row, count) in rows.iter_mut().zip(counts) {
        let range = at..at + count;
        at += count;
        let (Some(requests), Some(stamps)) = (requests.get(range.clone()), stamps.get(range.clone())) else {
            return Err(bad("it has fewer chunks than the table of requests tells"));
        };
        if requests.iter().any(|index| *index != Some(row.record.request_index)) {
            return Err(bad("its chunks are not in the order of the table of requests"));
        }
        let chunk = |(at_ns, tokens): (&Option<u64>, &Option<u64>)| {
            let tokens = tokens.map(u32::try_from).transpose().ok()?;
            Some(Chunk { at_ns: (*at_ns)?, tokens })
        };
        let chunks: Option<Vec<_>> = stamps.iter().zip(&tokens[range]).map(chunk).collect();
        row.record.timing.chunks = chunks.ok_or_else(|| bad("a chunk without a stamp"))?;
    }
    Ok(count)
}

/// So many rows of a file from a row on.
pub(crate) fn read(path: &Path, columns: &[&str], slice: (usize, usize)) -> Result<DataFrame, ResultsError> {
    let file = File::open(path).map_err(|source| ResultsError::read(path, source))?;
    let columns = columns.iter().map(|&name| name.to_owned()).collect();
    let reader = ParquetReader::new(file).with_columns(Some(columns)).with_slice(Some(slice));
    reader.finish().map_err(|error| ResultsError::Tables { path: path.to_owned(), what: error.to_string() })
}

fn numbers(path: &Path, table: &DataFrame, column: &str) -> Result<Vec<Option<u64>>, ResultsError> {
    let found = table.column(column).and_then(|column| Ok(column.u64()?.iter().collect()));
    found.map_err(|error| ResultsError::Tables { path: path.to_owned(), what: error.to_string() })
}

/// The texts of a column.
pub(crate) fn texts(
    path: &Path,
    table: &DataFrame,
    column: &str,
) -> Result<Vec<Option<String>>, ResultsError> {
    let found = table
        .column(column)
        .and_then(|column| Ok(column.str()?.iter().map(|text| text.map(str::to_owned)).collect()));
    found.map_err(|error| ResultsError::Tables { path: path.to_owned(), what: error.to_string() })
}
