//! `bench gate`: may this run replace that baseline?

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

use bench_core::gate::{ArmPair, GateReport, GateRules};
use bench_core::noise::is_aa;
use bench_results::{Loaded, Saved, gate_arms, gate_runs, provenance, save_baseline};

use crate::args::{GateArgs, GateCommand, JudgeArgs};
use crate::failure::Failure;
use crate::gate::{annotations, gate_table, junit, markdown};
use crate::noise;
use crate::runs::Runs;

/// What cannot be judged is never a pass, and never a regression either.
const COULD_NOT_JUDGE: u8 = 2;

pub(crate) fn gate(args: &GateArgs) -> Result<ExitCode, Failure> {
    match &args.command {
        Some(GateCommand::Rules) => {
            // A closed pipe is no failure.
            drop(anstream::stdout().write_all(bench_presets::DEFAULT_GATE_RULES.as_bytes()));
            Ok(ExitCode::SUCCESS)
        }
        Some(GateCommand::Save { run, out, commit }) => save(run, out, commit.clone()),
        None => judge(&args.judge).map_err(|failure| failure.with_code(COULD_NOT_JUDGE)),
    }
}

fn judge(args: &JudgeArgs) -> Result<ExitCode, Failure> {
    let Some(run) = &args.run else {
        return Err(Failure::with_hint("no run is named", "bench gate RUN --baseline RUN"));
    };
    let rules = rules(args)?;
    let places: Vec<_> = [Some(run), args.baseline.as_ref()].into_iter().flatten().cloned().collect();
    let runs = Runs::bring(&places)?;
    let candidate = load(&runs.paths()[0])?;
    let report = match runs.paths().get(1) {
        None => gate_arms(&candidate, &rules)?,
        Some(root) => {
            let provenance = provenance(root)?;
            gate_runs((&load(root)?, provenance.as_ref()), &candidate, &rules)?
        }
    };
    write_files(args, &report)?;
    let text = if args.json { bench_results::gate_json(&report)? } else { gate_table(&report) };
    // A closed pipe is no failure.
    drop(anstream::stdout().write_all(text.as_bytes()));
    Ok(ExitCode::from(report.verdict.exit_code()))
}

fn rules(args: &JudgeArgs) -> Result<GateRules, Failure> {
    let mut rules = match &args.rules {
        None => GateRules::default(),
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| Failure::io("read", path, &error))?;
            bench_presets::parse_gate_rules(&text, &path.display().to_string())?
        }
    };
    if let (Some(candidate), Some(baseline)) = (&args.candidate, &args.against) {
        rules.arms = vec![ArmPair { baseline: baseline.clone(), candidate: candidate.clone() }];
    }
    Ok(rules)
}

fn load(run: &Path) -> Result<Loaded, Failure> {
    let loaded = bench_results::load(&[run.to_owned()])?;
    let manifest = loaded.manifest();
    let floor = if is_aa(&manifest.preset) { None } else { noise::known(&manifest.host, &manifest.preset)? };
    Ok(loaded.or_noise_floor(floor))
}

/// What was asked for, and what GitHub shows of a job.
fn write_files(args: &JudgeArgs, report: &GateReport) -> Result<(), Failure> {
    let write = |path: &Path, text: String| {
        std::fs::write(path, text).map_err(|error| Failure::io("write", path, &error))
    };
    if let Some(path) = &args.junit {
        write(path, junit(report))?;
    }
    if let Some(path) = &args.summary {
        write(path, markdown(report))?;
    }
    if let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) {
        // Other commands of the step have theirs in it.
        let path = Path::new(&path);
        let file = OpenOptions::new().append(true).create(true).open(path);
        file.and_then(|mut file| file.write_all(markdown(report).as_bytes()))
            .map_err(|error| Failure::io("write", path, &error))?;
    }
    if std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true") {
        // The runner reads both streams; data stays alone on stdout.
        drop(std::io::stderr().write_all(annotations(report).as_bytes()));
    }
    Ok(())
}

fn save(run: &Path, out: &Path, commit: Option<String>) -> Result<ExitCode, Failure> {
    let of = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let saved = Saved {
        unix_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        by: of("GITHUB_ACTOR").or_else(|| of("USER")),
        commit: commit.or_else(|| of("GITHUB_SHA")).or_else(head),
        host: of("RUNNER_NAME").or_else(|| of("HOSTNAME")),
        suite_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let runs = Runs::bring(&[run.to_owned()])?;
    let provenance = save_baseline(&runs.paths()[0], out, &saved)?;
    drop(writeln!(std::io::stderr(), "baseline: {} (run {})", out.display(), provenance.run_id));
    Ok(ExitCode::SUCCESS)
}

/// The commit of the current directory; none outside of a repository, or without git.
fn head() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "HEAD"]).output().ok()?;
    let commit = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !commit.is_empty()).then_some(commit)
}
