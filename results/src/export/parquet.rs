//! Parquet in hive partitions, `run_date=2026-11-23/stack=native/preset=quickstart/RUN_ID.parquet`: one tree of requests,
//! one of chunks. Written a few thousand requests at a time, so that a long run is never in memory twice.

use std::fs::File;
use std::path::{Path, PathBuf};

use bench_core::clock::utc_date;
use bench_core::record::RunManifest;
use polars::prelude::DataFrame;
use polars_io::parquet::write::ParquetWriter;

use super::Exported;
use crate::answer::Answers;
use crate::error::ResultsError;
use crate::frame::{chunks, draft_positions, requests};
use crate::load::Loaded;
use crate::row::Row;

/// Requests of one row group.
const GROUP: usize = 8192;

pub(super) fn export(loaded: &Loaded, out: &Path) -> Result<Exported, ResultsError> {
    let mut files = Vec::new();
    for run in &loaded.manifests {
        let mut stacks: Vec<_> = run.arms.iter().map(|arm| arm.stack).collect();
        stacks.sort_unstable();
        stacks.dedup();
        for stack in stacks {
            let is_of =
                |row: &&Row| row.run_id == run.run_id && row.arm.split('/').next() == Some(stack.as_str());
            let rows: Vec<_> = loaded.rows.iter().filter(is_of).collect();
            if rows.is_empty() {
                continue;
            }
            let path = |table: &str| partition(&out.join(table), run, stack.as_str());
            let (of_requests, of_chunks) = (path("requests"), path("chunks"));
            write_requests(loaded, &of_requests, &rows)?;
            write_groups(&of_chunks, &rows, chunks)?;
            files.extend([of_requests, of_chunks]);
        }
    }
    Ok(Exported { files, left_out: Vec::new() })
}

fn partition(table: &Path, run: &RunManifest, stack: &str) -> PathBuf {
    table
        .join(format!("run_date={}", utc_date(run.started_unix_ms)))
        .join(format!("stack={stack}"))
        .join(format!("preset={}", super::file_name(&run.preset.name)))
        .join(format!("{}.parquet", super::file_name(&run.run_id)))
}

/// The table of requests in one file.
pub(crate) fn write_requests(loaded: &Loaded, path: &Path, rows: &[&Row]) -> Result<(), ResultsError> {
    let positions = draft_positions(rows);
    write_groups(path, rows, |rows| requests(rows, &Answers::of_all(&loaded.files, rows)?, positions))
}

fn write_groups(
    path: &Path,
    rows: &[&Row],
    table: impl Fn(&[&Row]) -> Result<DataFrame, ResultsError>,
) -> Result<(), ResultsError> {
    let failed = |source| ResultsError::write(path.to_owned(), source);
    path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(failed)?;
    // Of no rows: its columns are the file's.
    let empty = table(&[])?;
    let mut writer = ParquetWriter::new(File::create(path).map_err(failed)?).batched(empty.schema())?;
    for group in rows.chunks(GROUP) {
        writer.write_batch(&table(group)?)?;
    }
    writer.finish()?;
    Ok(())
}
