//! The table of chunks as Parquet: one row a chunk with output, the stamps behind every latency.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use polars::prelude::{DataType, Schema};
use polars_io::parquet::write::{ParquetWriter, StatisticsOptions};
use polars_parquet::parquet::metadata::Descriptor;
use polars_parquet::parquet::page::CompressedPage;

use super::pages::{Runs, deltas, dictionary, levels};
use crate::error::ResultsError;
use crate::row::Row;

/// Chunks of one row group, or a few more: a request is in one.
const GROUP: usize = 1 << 20;

/// Writes the chunks of these rows, a group at a time.
pub(super) fn write(path: &Path, rows: &[&Row]) -> Result<(), ResultsError> {
    let failed = |source| ResultsError::write(path.to_owned(), source);
    path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(failed)?;
    let writer = ParquetWriter::new(File::create(path).map_err(failed)?);
    let mut writer = writer.with_statistics(StatisticsOptions::empty()).batched(&schema())?;
    let columns = writer.parquet_schema().columns();
    let columns: Vec<Descriptor> = columns.iter().map(|column| column.descriptor.clone()).collect();
    let mut rest = rows;
    while !rest.is_empty() {
        let (group, after) = rest.split_at(group_len(rest));
        rest = after;
        let count: usize = group.iter().map(|row| row.chunks.len()).sum();
        if count > 0 {
            writer.write_row_group(count as u64, &pages(&columns, group)?)?;
        }
    }
    writer.finish()?;
    Ok(())
}

fn schema() -> Schema {
    let columns = [
        ("run_id", DataType::String),
        ("arm", DataType::String),
        ("request_index", DataType::UInt64),
        ("chunk", DataType::UInt64),
        ("at_ns", DataType::UInt64),
        ("gap_ns", DataType::UInt64),
        ("tokens", DataType::UInt64),
    ];
    columns.into_iter().map(|(name, dtype)| (name.into(), dtype)).collect()
}

/// Requests until there are enough chunks; at least one.
fn group_len(rows: &[&Row]) -> usize {
    let mut count = 0;
    let is_full = |row: &&Row| {
        count += row.chunks.len();
        count >= GROUP
    };
    rows.iter().position(is_full).map_or(rows.len(), |last| last + 1)
}

/// One entry a column, in the order of [`schema`].
fn pages(columns: &[Descriptor], rows: &[&Row]) -> Result<Vec<Vec<CompressedPage>>, ResultsError> {
    let [run_id, arm, request_index, chunk, at_ns, gap_ns, tokens] = columns else {
        return Err(ResultsError::Table(format!("{} columns of chunks, expected 7", columns.len())));
    };
    let counts = || rows.iter().map(|row| row.chunks.len());
    let mut all = Runs::default();
    all.push(1, 1, counts().sum());
    let each = || rows.iter().flat_map(|row| row.chunks.iter());
    let numbers: Vec<_> = rows.iter().map(|row| row.request_index.to_le_bytes().to_vec()).collect();
    let after_first = || rows.iter().flat_map(|row| row.chunks.gaps());
    let is_after_first = || counts().flat_map(|count| (0..count).map(|nth| nth > 0));
    Ok(vec![
        names(run_id, rows, |row| &row.run_id)?,
        names(arm, rows, |row| &row.arm)?,
        dictionary(request_index, &numbers, counts().enumerate())?,
        deltas(chunk, &all, counts().flat_map(|count| 0..count as u64))?,
        deltas(at_ns, &all, each().map(|chunk| chunk.at_ns))?,
        deltas(gap_ns, &levels(is_after_first()), after_first().map(|(gap_ns, _)| gap_ns))?,
        deltas(
            tokens,
            &levels(each().map(|chunk| chunk.tokens.is_some())),
            each().filter_map(|chunk| chunk.tokens.map(u64::from)),
        )?,
    ])
}

/// A column of names, one a request.
fn names<'a>(
    of: &Descriptor,
    rows: &'a [&Row],
    name: impl Fn(&'a Row) -> &'a str,
) -> Result<Vec<CompressedPage>, ResultsError> {
    let mut values: Vec<Vec<u8>> = Vec::new();
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    let runs: Vec<_> = rows
        .iter()
        .map(|row| {
            let name = name(row);
            let index = *known.entry(name).or_insert_with(|| {
                let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
                values.push([&length.to_le_bytes(), name.as_bytes()].concat());
                values.len() - 1
            });
            (index, row.chunks.len())
        })
        .collect();
    dictionary(of, &values, runs.into_iter())
}
