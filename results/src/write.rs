//! The files of a report: `report.json`, `report.md`, `requests.parquet`.

use std::path::Path;

use bench_core::gate::GateReport;
use bench_core::report::{Report, RunComparison};

use crate::error::ResultsError;
use crate::export::write_requests;
use crate::load::Loaded;
use crate::markdown::markdown;

/// The report as indented JSON, with a newline at its end.
pub fn report_json(report: &Report) -> Result<String, ResultsError> {
    Ok(serde_json::to_string_pretty(report)? + "\n")
}

/// The comparison of two runs, likewise.
pub fn comparison_json(comparison: &RunComparison) -> Result<String, ResultsError> {
    Ok(serde_json::to_string_pretty(comparison)? + "\n")
}

/// A gate's answer, likewise.
pub fn gate_json(report: &GateReport) -> Result<String, ResultsError> {
    Ok(serde_json::to_string_pretty(report)? + "\n")
}

/// Writes `report.json`, `report.md` and `requests.parquet` into `out`, which is made if it is missing.
pub fn write_files(loaded: &Loaded, report: &Report, out: &Path) -> Result<(), ResultsError> {
    write_report_files(report, out)?;
    let rows: Vec<_> = loaded.rows.iter().collect();
    write_requests(loaded, &out.join("requests.parquet"), &rows)
}

/// Writes `report.json` and `report.md` into `out`: all there is of an import, which has no requests.
pub fn write_report_files(report: &Report, out: &Path) -> Result<(), ResultsError> {
    std::fs::create_dir_all(out).map_err(|source| ResultsError::write(out.to_owned(), source))?;
    write(out, "report.json", &report_json(report)?)?;
    let text = markdown(report).map_err(|error| ResultsError::Table(error.to_string()))?;
    write(out, "report.md", &text)
}

fn write(out: &Path, name: &str, text: &str) -> Result<(), ResultsError> {
    let path = out.join(name);
    std::fs::write(&path, text).map_err(|source| ResultsError::write(path, source))
}
