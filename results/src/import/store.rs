//! The directory of an import: a copy of the file, and `imported.json`, which says what it is. Its report is made from the
//! copy, as a run's is from its rows.

use std::path::Path;

use bench_core::report::Report;
use bench_core::run_dir::content_sha256;
use serde::{Deserialize, Serialize};

use super::{ImportFormat, parse_import};
use crate::error::ResultsError;

/// What marks a directory as an import.
pub const IMPORTED_FILE: &str = "imported.json";

/// Version of `imported.json`.
const IMPORT_SCHEMA: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    schema: u32,
    /// [`ImportFormat::tool`].
    tool: String,
    /// Name of the copy in the directory.
    source: String,
    /// SHA-256 of the file as it was imported, hex.
    source_sha256: String,
}

/// Imports a file into `out`, which may not hold a run or another import, and returns its report.
///
/// # Errors
///
/// A file that cannot be read or is not understood; a directory that is taken or cannot be written.
pub fn import(file: &Path, format: Option<ImportFormat>, out: &Path) -> Result<Report, ResultsError> {
    let bytes = std::fs::read(file).map_err(|source| ResultsError::read(file, source))?;
    let name =
        file.file_name().map_or_else(|| "source".to_owned(), |name| name.to_string_lossy().into_owned());
    let sha256 = content_sha256(&bytes[..]).map_err(|source| ResultsError::read(file, source))?;
    let report = parse(&bytes, file, (&name, &sha256), format)?;
    for taken in [IMPORTED_FILE, "manifest.json", name.as_str()] {
        if out.join(taken).exists() {
            return Err(ResultsError::Occupied { path: out.join(taken) });
        }
    }
    let tool = report.imported.as_ref().map(|imported| imported.tool.clone()).unwrap_or_default();
    let mark = Mark { schema: IMPORT_SCHEMA, tool, source: name.clone(), source_sha256: sha256 };
    std::fs::create_dir_all(out).map_err(|source| ResultsError::write(out.to_owned(), source))?;
    let write = |name: &str, bytes: &[u8]| {
        let path = out.join(name);
        std::fs::write(&path, bytes).map_err(|source| ResultsError::write(path, source))
    };
    write(&name, &bytes)?;
    write(IMPORTED_FILE, (serde_json::to_string_pretty(&mark)? + "\n").as_bytes())?;
    Ok(report)
}

/// The report of an import's directory; `None` if it is none.
///
/// # Errors
///
/// A copy that is gone, changed, or not understood.
pub fn imported_report(root: &Path) -> Result<Option<Report>, ResultsError> {
    let path = root.join(IMPORTED_FILE);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = std::fs::read(&path).map_err(|source| ResultsError::read(&path, source))?;
    let mark: Mark = serde_json::from_slice(&bytes)?;
    // The name of a file in this directory, and nothing that leads out of it.
    let file = root.join(Path::new(&mark.source).file_name().unwrap_or_default());
    let bytes = std::fs::read(&file).map_err(|source| ResultsError::read(&file, source))?;
    let sha256 = content_sha256(&bytes[..]).map_err(|source| ResultsError::read(&file, source))?;
    if sha256 != mark.source_sha256 {
        return Err(ResultsError::Changed { path: file });
    }
    let format = ImportFormat::ALL.into_iter().find(|format| format.tool() == mark.tool);
    parse(&bytes, &file, (&mark.source, &sha256), format).map(Some)
}

fn parse(
    bytes: &[u8],
    file: &Path,
    source: (&str, &str),
    format: Option<ImportFormat>,
) -> Result<Report, ResultsError> {
    parse_import(bytes, source, format)
        .map_err(|source| ResultsError::Import { path: file.to_owned(), source: Box::new(source) })
}
