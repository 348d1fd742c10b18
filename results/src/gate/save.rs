//! Baselines: a run put aside, without its texts, with who did it and when; and whether it is still that run.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use bench_core::gate::{PROVENANCE_FILE, PROVENANCE_SCHEMA, Provenance};
use bench_core::jsonl::RowSink;
use bench_core::record::RequestRecord;
use bench_core::row_stream::for_each_row;
use bench_core::run_dir::{RunDir, content_sha256};

use crate::error::ResultsError;
use crate::import::IMPORTED_FILE;

/// Who puts a baseline aside, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    /// Milliseconds since 1970.
    pub unix_ms: u64,
    /// By whom.
    pub by: Option<String>,
    /// Commit of what was measured.
    pub commit: Option<String>,
    /// Name of the machine.
    pub host: Option<String>,
    /// Version of the suite.
    pub suite_version: String,
}

/// Puts a run aside as a baseline in `out`, which must not hold one: manifest, rows without texts, the readings of the
/// machine, and `baseline.json`. Token ids stay, so that outputs can still be compared.
///
/// # Errors
///
/// A run that cannot be read or was imported, a directory that holds a run, a disk that does not take it.
pub fn save_baseline(run: &Path, out: &Path, saved: &Saved) -> Result<Provenance, ResultsError> {
    if run.join(IMPORTED_FILE).exists() {
        return Err(ResultsError::NotMeasured { root: run.to_owned() });
    }
    let from = RunDir::existing(run);
    let manifest = from.read_manifest()?;
    let to = RunDir::create(out)?;
    to.write_manifest(&manifest)?;
    let mut rows = to.row_writer()?;
    let without_text = |row, _| RequestRecord { text: String::new(), ..row };
    for_each_row(&from.rows(), without_text, |row| rows.append(&row).map_err(ResultsError::from))?;
    match std::fs::copy(from.environment(), to.environment()) {
        Ok(_) => {}
        // Runs from before it was recorded have none.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(ResultsError::write(to.environment(), error)),
    }
    let provenance = Provenance {
        schema: PROVENANCE_SCHEMA,
        run_id: manifest.run_id,
        saved_unix_ms: saved.unix_ms,
        saved_by: saved.by.clone(),
        commit: saved.commit.clone(),
        host: saved.host.clone(),
        suite_version: saved.suite_version.clone(),
        without_text: true,
        manifest_sha256: sha256(&to.manifest())?,
        rows_sha256: sha256(&to.rows())?,
    };
    let path = out.join(PROVENANCE_FILE);
    let json = serde_json::to_string_pretty(&provenance)? + "\n";
    std::fs::write(&path, json).map_err(|source| ResultsError::write(path, source))?;
    Ok(provenance)
}

/// What a baseline says of itself; `None` of a run that was not put aside as one.
///
/// # Errors
///
/// A file that is no provenance, and a manifest or rows that are not those that were put aside.
pub fn provenance(root: &Path) -> Result<Option<Provenance>, ResultsError> {
    let path = root.join(PROVENANCE_FILE);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ResultsError::read(&path, error)),
    };
    let wrong = |what: String| ResultsError::Baseline { path: path.clone(), what };
    let found: Provenance = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    if found.schema != PROVENANCE_SCHEMA {
        return Err(wrong(format!("schema {}, this version reads {PROVENANCE_SCHEMA}", found.schema)));
    }
    let dir = RunDir::existing(root);
    for (file, hash) in [(dir.manifest(), &found.manifest_sha256), (dir.rows(), &found.rows_sha256)] {
        if sha256(&file)? != *hash {
            return Err(wrong(format!("{} was changed after it was put aside", file_name(&file))));
        }
    }
    Ok(Some(found))
}

fn sha256(path: &PathBuf) -> Result<String, ResultsError> {
    File::open(path).and_then(content_sha256).map_err(|source| ResultsError::read(path, source))
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
