//! Parquet in hive partitions, `run_date=2026-11-23/stack=native/preset=quickstart/RUN_ID.parquet`: one tree of requests,
//! one of chunks. Written a few thousand requests at a time, so that a long run is never in memory twice. Beside them
//! `runs/RUN_ID/` with what belongs to no request, so that [`crate::tables`] can read all of it back.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use bench_core::clock::utc_date;
use bench_core::record::RunManifest;
use bench_core::run_dir::RunDir;
use polars::prelude::{DataFrame, IntoColumn, NamedFrom, Series};
use polars_io::parquet::write::ParquetWriter;

use super::{Exported, chunk_table};
use crate::answer::{Answers, Whole, of_all};
use crate::error::ResultsError;
use crate::frame::{draft_positions, requests};
use crate::load::Loaded;
use crate::row::Row;
use crate::tables::{GROUP, TableRun, file_name, run_name};

pub(super) fn export(loaded: &Loaded, out: &Path) -> Result<Exported, ResultsError> {
    let mut files = Vec::new();
    for (run, index) in loaded.manifests.iter().zip(0..) {
        files.extend(write_run(loaded, run, index, out)?);
        let mut stacks: Vec<_> = run.arms.iter().map(|arm| arm.stack).collect();
        stacks.sort_unstable();
        stacks.dedup();
        for stack in stacks {
            let is_of = |row: &&Row| row.run == index && row.arm.split('/').next() == Some(stack.as_str());
            let rows: Vec<_> = loaded.rows.iter().filter(is_of).collect();
            if rows.is_empty() {
                continue;
            }
            let path = |table: &str| partition(&out.join(table), run, stack.as_str());
            let (of_requests, of_chunks) = (path("requests"), path("chunks"));
            write_whole(loaded, &of_requests, &rows)?;
            chunk_table::write(&of_chunks, &rows)?;
            files.extend([of_requests, of_chunks]);
        }
    }
    Ok(Exported { files, left_out: Vec::new() })
}

/// The manifest, and the readings of the machine if there are any.
fn write_run(
    loaded: &Loaded,
    run: &RunManifest,
    index: u32,
    out: &Path,
) -> Result<Vec<PathBuf>, ResultsError> {
    let folder = TableRun::folder(out, run);
    std::fs::create_dir_all(&folder).map_err(|source| ResultsError::write(folder.clone(), source))?;
    let dir = RunDir::existing(&folder);
    dir.write_manifest(run)?;
    let mut files = vec![dir.manifest()];
    let readings = loaded.readings.get(index as usize);
    match readings.map(|from| std::fs::copy(from, dir.environment())) {
        Some(Ok(_)) => files.push(dir.environment()),
        Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
            return Err(ResultsError::write(dir.environment(), error));
        }
        Some(Err(_)) | None => {}
    }
    Ok(files)
}

fn partition(table: &Path, run: &RunManifest, stack: &str) -> PathBuf {
    table
        .join(format!("run_date={}", utc_date(run.started_unix_ms)))
        .join(format!("stack={stack}"))
        .join(format!("preset={}", file_name(&run.preset.name)))
        .join(format!("{}.parquet", run_name(run)))
}

/// The table of requests in one file.
pub(crate) fn write_requests(loaded: &Loaded, path: &Path, rows: &[&Row]) -> Result<(), ResultsError> {
    let positions = draft_positions(rows);
    write_groups(path, rows, |rows| {
        let answers = of_all(&loaded.files, rows, Answers::of)?;
        let texts: Vec<_> = answers.iter().map(|answer| answer.text.as_str()).collect();
        requests(rows, &texts, positions)
    })
}

/// The same with what else a row holds, but for its chunks.
fn write_whole(loaded: &Loaded, path: &Path, rows: &[&Row]) -> Result<(), ResultsError> {
    let positions = draft_positions(rows);
    write_groups(path, rows, |rows| {
        let whole: Vec<Whole> = of_all(&loaded.files, rows, Answers::whole)?;
        let texts: Vec<_> = whole.iter().map(|whole| whole.text.as_str()).collect();
        let numbers: Vec<u64> = rows.iter().map(|row| row.position).collect();
        let records: Vec<_> = whole.iter().map(|whole| whole.record.as_str()).collect();
        let mut table = requests(rows, &texts, positions)?;
        table.with_column(Series::new("row".into(), numbers).into_column())?;
        table.with_column(Series::new("record".into(), records).into_column())?;
        Ok(table)
    })
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
