//! `bench compare`: two runs against each other.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anstyle::Style;
use bench_core::report::{ArmComparison, MetricComparison, RunComparison};
use bench_results::{Allowed, Loaded};

use crate::args::{AllowArg, CompareArgs};
use crate::failure::Failure;
use crate::runs::Runs;
use crate::table;

pub(crate) fn compare(args: &CompareArgs) -> Result<ExitCode, Failure> {
    let runs = Runs::bring(&[args.baseline.clone(), args.candidate.clone()])?;
    let (baseline, candidate) = (load(&runs.paths()[0])?, load(&runs.paths()[1])?);
    let arms = args.arms.iter().map(|arms| arm_pair(arms)).collect::<Result<Vec<_>, _>>()?;
    let allowed: Vec<_> = args.allow.iter().map(|&what| allowed(what)).collect();
    let comparison = bench_results::compare_runs((&baseline, &candidate), &arms, &allowed)?;
    let text = if args.json { bench_results::comparison_json(&comparison)? } else { text(&comparison) };
    // A closed pipe is no failure.
    drop(anstream::stdout().write_all(text.as_bytes()));
    Ok(ExitCode::SUCCESS)
}

fn load(run: &Path) -> Result<Loaded, Failure> {
    Ok(bench_results::load(&[run.to_owned()])?)
}

fn allowed(what: AllowArg) -> Allowed {
    match what {
        AllowArg::Machine => Allowed::Machine,
        AllowArg::Models => Allowed::Models,
        AllowArg::Serving => Allowed::Serving,
    }
}

/// `native/none=native/mtp-3`.
fn arm_pair(text: &str) -> Result<(String, String), Failure> {
    let parts = text.split_once('=').filter(|(a, b)| !a.is_empty() && !b.is_empty());
    parts.map(|(a, b)| (a.to_owned(), b.to_owned())).ok_or_else(|| {
        Failure::with_hint(
            format!("--arms `{text}`: expected two labels with `=` between"),
            "write `--arms native/none=native/mtp-3`: the arm of RUN_A, then the arm of RUN_B",
        )
    })
}

fn text(comparison: &RunComparison) -> String {
    let bold = Style::new().bold();
    let head = ["arm", "metric", "B / A", "verdict", "p (Holm)", "p (ranks)"];
    let mut rows = vec![head.map(|cell| format!("{bold}{cell}{bold:#}"))];
    for arms in &comparison.arms {
        rows.extend(arms.metrics.iter().enumerate().map(|(nth, metric)| row(arms, nth, metric)));
    }
    let mut lines = vec![
        String::new(),
        format!("A: {}, B: {}", comparison.baseline_run, comparison.candidate_run),
        format!(
            "Interval: {:.0} %, Welch's t over the blocks of each run. p: without a difference so much would be seen this \
             often; ranks: rank-sum test.",
            comparison.confidence * 100.0
        ),
    ];
    lines.extend(comparison.notes.iter().cloned());
    lines.extend(comparison.arms.iter().flat_map(remarks));
    table::columns(&rows) + &lines.join("\n") + "\n"
}

fn row(arms: &ArmComparison, nth: usize, metric: &MetricComparison) -> [String; 6] {
    let label = if arms.baseline == arms.candidate {
        arms.baseline.clone()
    } else {
        format!("{} -> {}", arms.baseline, arms.candidate)
    };
    let why = metric.why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    [
        if nth == 0 { label } else { String::new() },
        metric.metric.to_string(),
        metric.ratio.map_or_else(table::unknown, |ratio| table::interval(ratio, 3, "x")),
        table::verdict(metric.verdict) + &why,
        chance(metric.test.and_then(|test| test.p_holm)),
        chance(metric.test.and_then(|test| test.p_ranks)),
    ]
}

fn chance(p: Option<f64>) -> String {
    match p {
        None => table::unknown(),
        Some(p) if p < 0.001 => "< 0.001".to_owned(),
        Some(p) => format!("{p:.3}"),
    }
}

fn remarks(arms: &ArmComparison) -> Vec<String> {
    let mut lines: Vec<String> =
        arms.not_comparable.iter().map(|why| format!("{}: not comparable: {why}", arms.candidate)).collect();
    lines.extend(arms.lossless.as_ref().map(|audit| {
        format!(
            "{}: output identical in {} of {} prompts ({} near ties, {} defects, {} of unknown margin)",
            arms.candidate,
            audit.identical,
            audit.requests,
            audit.near_tie,
            audit.defect,
            audit.unknown_margin
        )
    }));
    if arms.metrics.iter().all(|metric| metric.test.is_none_or(|test| test.noise_floor.is_none())) {
        lines.push(format!(
            "{}: no noise floor is known; measure it with `bench run PRESET --aa` before the runs",
            arms.candidate
        ));
    }
    lines
}
