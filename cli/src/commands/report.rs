//! `bench report`, and the part of `bench run` that reports.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bench_core::noise::is_aa;
use bench_core::report::Report;

use crate::args::ReportArgs;
use crate::failure::Failure;
use crate::noise;
use crate::runs::{Runs, home};
use crate::table;

pub(crate) fn report(args: &ReportArgs) -> Result<ExitCode, Failure> {
    let out = args.out.clone().unwrap_or_else(|| home(&args.runs).report());
    let report = write_report(Runs::bring(&args.runs)?.paths(), &out)?;
    print(&report, args.json)?;
    say_where(&out);
    Ok(exit_code(&report))
}

/// Makes the report of these runs and writes every form of it into `out`.
pub(crate) fn write_report(runs: &[PathBuf], out: &Path) -> Result<Report, Failure> {
    if let [run] = runs
        && let Some(report) = bench_results::imported_report(run)?
    {
        bench_results::write_report_files(&report, out)?;
        bench_plots::write_report(&report, out)?;
        return Ok(report);
    }
    let loaded = bench_results::load(runs)?;
    let run = loaded.manifest();
    let floor = if is_aa(&run.preset) {
        None
    } else {
        // For a run that began before its machine's noise was measured.
        noise::known(&run.host, &run.preset)?
    };
    let loaded = loaded.or_noise_floor(floor);
    let report = bench_results::aggregate(&loaded)?;
    bench_results::write_files(&loaded, &report, out)?;
    bench_plots::write_report(&report, out)?;
    Ok(report)
}

/// Data on stdout: the table, or the JSON.
pub(crate) fn print(report: &Report, json: bool) -> Result<(), Failure> {
    let text = if json { bench_results::report_json(report)? } else { table::report_table(report) };
    // A closed pipe is no failure.
    drop(anstream::stdout().write_all(text.as_bytes()));
    Ok(())
}

/// Talk on stderr: where the report is.
pub(crate) fn say_where(out: &Path) {
    drop(writeln!(std::io::stderr(), "report: {}", out.join("index.html").display()));
}

/// 0 if every arm that had to be measured was, 3 otherwise.
pub(crate) fn exit_code(report: &Report) -> ExitCode {
    // What another tool measured is not ours to judge.
    let good = report.imported.is_some()
        || report.arms.iter().all(|arm| arm.skipped.is_some() || (arm.valid && arm.failures == 0));
    if good { ExitCode::SUCCESS } else { ExitCode::from(3) }
}
