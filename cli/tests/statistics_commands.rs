//! `bench run --aa`, what it leaves for the runs after it, and `bench compare`, by the real binary.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::process::Output;

use bench_core::noise::NoiseFloor;
use bench_core::report::{Report, RunComparison, Verdict};

use common::{bench, text};

fn ran(dir: &Path, arguments: &[&str]) -> Output {
    bench(dir).args(arguments).output().unwrap()
}

fn run(dir: &Path, out: &str, more: &[&str]) -> (Report, String) {
    let arguments = ["run", "smoke", "--stack", "native", "--json", "--set", "run.blocks=5", "--out", out];
    let output = ran(dir, &[&arguments, more].concat());
    let (stderr, stdout) = text(&output);
    assert!(output.status.success(), "{stderr}");
    (serde_json::from_str(&stdout).unwrap(), stderr)
}

#[test]
fn an_aa_run_leaves_a_noise_floor_that_later_runs_know() {
    let dir = tempfile::tempdir().unwrap();
    let (before, _) = run(dir.path(), "before", &[]);
    assert!(before.method_notes.iter().any(|note| note.contains("no noise floor is known")));

    let (aa, said) = run(dir.path(), "aa", &["--aa"]);
    let labels: Vec<_> = aa.arms.iter().map(|arm| arm.label.as_str()).collect();
    assert_eq!(labels, ["native/none/a", "native/none/b"]);
    assert!(said.contains("noise floor of native, tokens_per_s"), "{said}");
    let floor: NoiseFloor =
        serde_json::from_slice(&std::fs::read(dir.path().join("aa/noise.json")).unwrap()).unwrap();
    assert_eq!(floor.entries.len(), 3);

    let (after, _) = run(dir.path(), "after", &[]);
    let known = after.comparisons[0].test.unwrap().noise_floor.unwrap();
    assert!((known - floor.entries[0].floor).abs() < 1e-12);
    // The run before it learns of it when it is reported again.
    let (_, again) = text(&ran(dir.path(), &["report", "before", "--json"]));
    let again: Report = serde_json::from_str(&again).unwrap();
    assert!(again.comparisons[0].test.unwrap().noise_floor.is_some());

    // A floor that cannot be read is not taken for none.
    let noise = dir.path().join("models/noise");
    let file = std::fs::read_dir(noise).unwrap().next().unwrap().unwrap().path();
    std::fs::write(file, "{").unwrap();
    let broken = ran(dir.path(), &["run", "smoke", "--stack", "native", "--out", "broken"]);
    assert_eq!(broken.status.code(), Some(1));
    assert!(text(&broken).0.contains("is no noise floor"), "{}", text(&broken).0);
}

#[test]
fn two_runs_are_compared_and_what_is_not_comparable_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), "a", &[]);
    run(dir.path(), "b", &["--set", "run.order=random"]);
    run(dir.path(), "other", &["--set", "workload.max_tokens=3"]);

    let compared = ran(dir.path(), &["compare", "a", "b"]);
    let (stderr, stdout) = text(&compared);
    assert_eq!(compared.status.code(), Some(0), "{stderr}");
    assert!(stdout.contains("native/mtp-3") && stdout.contains("not interleaved"), "{stdout}");
    let (_, json) = text(&ran(dir.path(), &["compare", "a", "b", "--json"]));
    let comparison: RunComparison = serde_json::from_str(&json).unwrap();
    let audit = comparison.arms[0].lossless.as_ref().unwrap();
    assert_eq!((audit.requests, audit.identical), (2, 2), "greedy: the same text in both runs");
    assert!(comparison.arms.iter().all(|arm| arm.metrics[0].verdict != Verdict::NotComparable));

    let refused = ran(dir.path(), &["compare", "a", "other"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).0.contains("max_tokens differ"), "{}", text(&refused).0);
    let typo = ran(dir.path(), &["compare", "a", "b", "--arms", "native/none"]);
    assert!(typo.status.code() == Some(1) && text(&typo).0.contains("two labels"));
}
