//! `bench publish`: a static site of many runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bench_core::report::Report;
use bench_core::run_dir::RunDir;
use bench_plots::SiteRun;

use crate::args::PublishArgs;
use crate::commands::report::{say_where, write_report};
use crate::failure::Failure;
use crate::runs::Runs;

const PUBLISHED: &str = "results/published";

pub(crate) fn publish(args: &PublishArgs) -> Result<ExitCode, Failure> {
    let runs = if args.runs.is_empty() { published(Path::new(PUBLISHED))? } else { args.runs.clone() };
    let mut names = BTreeSet::new();
    let mut reports: Vec<(String, Report)> = Vec::new();
    let runs = Runs::bring(&runs)?;
    for run in runs.paths() {
        let name = site_name(run)?;
        if !names.insert(name.clone()) {
            return Err(Failure::with_hint(
                format!("two runs have the directory name `{name}`"),
                "rename one: the name is its address on the site",
            ));
        }
        let place = args.dir.join("runs").join(&name);
        copy_raw(run, &place)?;
        // Made again from the rows, so that all pages of a site are of one build.
        reports.push((name, write_report(std::slice::from_ref(run), &RunDir::existing(&place).report())?));
    }
    let site: Vec<_> = reports.iter().map(|(name, report)| SiteRun { name, report }).collect();
    bench_plots::write_index(&site, &args.dir)?;
    // GitHub Pages would leave out what its generator does not know.
    let marker = args.dir.join(".nojekyll");
    std::fs::write(&marker, "").map_err(|error| Failure::io("write", &marker, &error))?;
    say_where(&args.dir);
    Ok(ExitCode::SUCCESS)
}

/// The runs of the repository, by name; other directories there hold measurements of other kinds.
fn published(root: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(root).map_err(|error| Failure::io("read", root, &error))?;
    let mut runs = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| Failure::io("read", root, &error))?.path();
        if RunDir::existing(&path).manifest().exists() {
            runs.push(path);
        }
    }
    runs.sort();
    if runs.is_empty() {
        return Err(Failure::with_hint(
            format!("no run in `{}`", root.display()),
            "name run directories: `bench publish DIR RUN...`",
        ));
    }
    Ok(runs)
}

/// The last part of the path: letters, digits, `-`, `_` and `.`, since it becomes part of addresses.
fn site_name(run: &Path) -> Result<String, Failure> {
    let full = std::fs::canonicalize(run).map_err(|error| Failure::io("read", run, &error))?;
    let name = full.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || !name.chars().all(is_plain) {
        return Err(Failure::with_hint(
            format!("the directory name `{name}` cannot be an address"),
            "rename it to letters, digits, `-`, `_` and `.`",
        ));
    }
    Ok(name.to_owned())
}

/// Rows, manifest and, where there are any, the readings of the machine: what the page links to.
fn copy_raw(run: &Path, place: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(place).map_err(|error| Failure::io("create", place, &error))?;
    let same = |a: &Path, b: &Path| Some(std::fs::canonicalize(a).ok()? == std::fs::canonicalize(b).ok()?);
    // A file copied onto itself would be lost.
    if same(run, place) == Some(true) {
        return Err(Failure::with_hint(
            format!("the run `{}` is already part of this site", run.display()),
            "name the run's own directory, not its copy on the site",
        ));
    }
    let (from, to) = (RunDir::existing(run), RunDir::existing(place));
    let files =
        [(from.manifest(), to.manifest()), (from.rows(), to.rows()), (from.environment(), to.environment())];
    for (from, to) in files {
        if from.exists() {
            std::fs::copy(&from, &to).map_err(|error| Failure::io("copy", &from, &error))?;
        }
    }
    Ok(())
}
