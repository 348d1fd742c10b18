//! `bench export`: runs in the forms of other tools.

use std::io::Write;
use std::process::ExitCode;

use bench_results::{ExportFormat, Exported};

use crate::args::{ExportArgs, ExportFormatArg};
use crate::failure::Failure;
use crate::runs::{Runs, home};

pub(crate) fn export(args: &ExportArgs) -> Result<ExitCode, Failure> {
    let out = args.out.clone().unwrap_or_else(|| home(&args.runs).root().join("export"));
    let runs = Runs::bring(&args.runs)?;
    let loaded = bench_results::load(runs.paths())?;
    let format = format(args.format);
    // A long run's tables need not wait for its intervals.
    let Exported { files, left_out } = if format == ExportFormat::Parquet {
        bench_results::export_tables(&loaded, &out)?
    } else {
        bench_results::export(&loaded, &bench_results::aggregate(&loaded)?, format, &out)?
    };
    for why in &left_out {
        // A closed pipe is no failure.
        drop(writeln!(std::io::stderr(), "left out: {why}"));
    }
    for file in &files {
        drop(writeln!(std::io::stdout(), "{}", file.display()));
    }
    if files.is_empty() {
        return Err(Failure::with_hint(
            "nothing could be exported in this form",
            "other forms ask for less: `--format parquet` takes every run",
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn format(format: ExportFormatArg) -> ExportFormat {
    match format {
        ExportFormatArg::Parquet => ExportFormat::Parquet,
        ExportFormatArg::Vllm => ExportFormat::VllmJson,
        ExportFormatArg::Csv => ExportFormat::Csv,
        ExportFormatArg::Markdown => ExportFormat::Markdown,
        ExportFormatArg::Block => ExportFormat::Block,
        ExportFormatArg::SpeculationProfile => ExportFormat::SpeculationProfile,
    }
}
