//! `bench import`: the figures of another tool, drawn by ours.

use std::path::PathBuf;
use std::process::ExitCode;

use bench_core::run_dir::RunDir;
use bench_results::ImportFormat;

use super::report::{print, say_where};
use crate::args::{ImportArgs, ImportFormatArg};
use crate::failure::Failure;

pub(crate) fn import(args: &ImportArgs) -> Result<ExitCode, Failure> {
    let out = args.out.clone().unwrap_or_else(|| {
        let stem = args.file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        PathBuf::from("bench-runs").join(format!("imported-{stem}"))
    });
    let report = bench_results::import(&args.file, args.format.map(format), &out)?;
    let folder = RunDir::existing(&out).report();
    bench_results::write_report_files(&report, &folder)?;
    bench_plots::write_report(&report, &folder)?;
    print(&report, args.json)?;
    say_where(&folder);
    Ok(ExitCode::SUCCESS)
}

fn format(format: ImportFormatArg) -> ImportFormat {
    match format {
        ImportFormatArg::Vllm => ImportFormat::VllmBench,
        ImportFormatArg::Sglang => ImportFormat::Sglang,
        ImportFormatArg::LlamaBench => ImportFormat::LlamaBench,
        ImportFormatArg::Aiperf => ImportFormat::AiPerf,
        ImportFormatArg::Guidellm => ImportFormat::GuideLlm,
        ImportFormatArg::SpeedBench => ImportFormat::SpeedBench,
    }
}
