//! Reports in the forms that other tools read: Parquet, the JSON of `vllm bench serve`, CSV, Markdown and its block of
//! fixed width, NVIDIA's speculation profile.
//!
//! Nothing is measured or judged here, and nothing is left out in silence: what a form has no word for is named in
//! [`Exported::left_out`].

mod block;
mod chunk_table;
mod pages;
mod parquet;
mod profile;
mod table;
mod vllm;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::row::Row;
use bench_core::report::Report;

use crate::error::ResultsError;
use crate::load::Loaded;
use crate::markdown::markdown;
use crate::samples::completed_rows;

pub(crate) use self::parquet::write_requests;

/// A form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// `requests/` and `chunks/` in partitions `run_date=/stack=/preset=`.
    Parquet,
    /// One file an arm, with the names of `vllm bench serve --save-result --save-detailed`.
    VllmJson,
    /// One line an arm.
    Csv,
    /// The report as a document.
    Markdown,
    /// What `vllm bench serve` prints, an arm below another: the block that people paste into issues.
    Block,
    /// NVIDIA's `speculation_profile.json` 1.0, one file an arm that speculates.
    SpeculationProfile,
}

/// What became of an export.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exported {
    /// Files written.
    pub files: Vec<PathBuf>,
    /// What could not be, and why.
    pub left_out: Vec<String>,
}

/// Writes loaded runs as Parquet into `out`, as [`export`] does: these tables are of rows, and need no report.
///
/// # Errors
///
/// A file that cannot be written; a table operation.
pub fn export_tables(loaded: &Loaded, out: &Path) -> Result<Exported, ResultsError> {
    parquet::export(loaded, out)
}

/// Writes loaded runs, whose report this is, into `out`, which is made if it is missing.
///
/// # Errors
///
/// A file that cannot be written; a table operation.
pub fn export(
    loaded: &Loaded,
    report: &Report,
    format: ExportFormat,
    out: &Path,
) -> Result<Exported, ResultsError> {
    match format {
        ExportFormat::Parquet => export_tables(loaded, out),
        ExportFormat::VllmJson => vllm::export(loaded, out),
        ExportFormat::Csv => one(out, "arms.csv", &table::csv(report)),
        ExportFormat::Markdown => {
            let text = markdown(report).map_err(|error| ResultsError::Table(error.to_string()))?;
            one(out, "report.md", &text)
        }
        ExportFormat::Block => one(out, "report.txt", &block::blocks(loaded, report)),
        ExportFormat::SpeculationProfile => profile::export(loaded, report, out),
    }
}

fn one(out: &Path, name: &str, text: &str) -> Result<Exported, ResultsError> {
    Ok(Exported { files: vec![write(out, name, text)?], left_out: Vec::new() })
}

fn write(out: &Path, name: &str, text: &str) -> Result<PathBuf, ResultsError> {
    let path = out.join(name);
    std::fs::create_dir_all(out).map_err(|source| ResultsError::write(out.to_owned(), source))?;
    std::fs::write(&path, text).map_err(|source| ResultsError::write(path.clone(), source))?;
    Ok(path)
}

/// Nanoseconds in which an arm was at work: from the first request of each block that was sent to the last that ended.
/// Arms take turns, so the time from its first to its last request is that of others, too.
fn busy_ns(rows: &[&Row]) -> u64 {
    // No two runs share a block, and shards of one do.
    let mut spans: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for row in rows {
        let sent = row.sent_unix_ms.saturating_mul(1_000_000);
        let ended = sent.saturating_add(row.timing.ended_ns);
        let span = spans.entry(row.block).or_insert((sent, ended));
        *span = (span.0.min(sent), span.1.max(ended));
    }
    spans.values().map(|(first, last)| last - first).sum()
}

/// What both forms of `vllm bench serve` say of an arm, in its units: seconds, milliseconds, tokens.
struct Serving<'a> {
    rows: Vec<&'a Row>,
    failed: u64,
    duration_s: f64,
}

impl<'a> Serving<'a> {
    fn new(loaded: &'a Loaded, label: &str) -> Self {
        let of_arm = |row: &&Row| row.arm == label && row.phase == bench_core::record::Phase::Measured;
        let all: Vec<_> = loaded.rows.iter().filter(of_arm).collect();
        let rows = completed_rows(loaded, label);
        Self { failed: (all.len() - rows.len()) as u64, duration_s: busy_ns(&all) as f64 / 1e9, rows }
    }

    /// Over the arm's time; `None` without any.
    fn per_s(&self, count: f64) -> Option<f64> {
        (self.duration_s > 0.0).then(|| count / self.duration_s)
    }

    fn ttfts_ms(&self) -> Vec<f64> {
        self.rows.iter().filter_map(|row| row.timing.first_token_ns).map(ms).collect()
    }

    /// The time after the first chunk by the tokens after the first, as vLLM has it.
    fn tpots_ms(&self) -> Vec<f64> {
        let tpot = |row: &&Row| {
            let after = f64::from(row.output.tokens?.checked_sub(1).filter(|&tokens| tokens > 0)?);
            let first = row.timing.first_token_ns?;
            Some(ms(row.timing.last_token_ns?.saturating_sub(first)) / after)
        };
        self.rows.iter().filter_map(tpot).collect()
    }

    /// Gaps between chunks, request by request.
    fn itls_ms(&self) -> Vec<Vec<f64>> {
        let gaps = |row: &&Row| row.chunks.gaps().map(|(gap_ns, _)| ms(gap_ns)).collect();
        self.rows.iter().map(gaps).collect()
    }

    fn e2els_ms(&self) -> Vec<f64> {
        self.rows.iter().filter_map(|row| row.timing.last_token_ns).map(ms).collect()
    }

    /// `None` if some request does not tell.
    fn tokens(&self, of: fn(&Row) -> Option<u32>) -> Option<u64> {
        self.rows.iter().map(|row| of(row).map(u64::from)).sum()
    }
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}
