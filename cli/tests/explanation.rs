//! A real run of the native engine, and every figure of its explanations made again from `rows.jsonl` and
//! `manifest.json`, by other code than the program's.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests, which clippy does not take for tests"
)]

mod common;

use std::path::Path;

use bench_core::bandwidth::MemoryBandwidth;
use bench_core::explanation::Explanation;
use bench_core::record::RunManifest;
use bench_core::report::{ArmReport, Report};
use common::{bench, text};
use serde_json::Value;

/// n, a, and milliseconds of draft, verify, sample and all of it.
type Round = [f64; 6];

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")
}

/// Measured rows of an arm, raw.
fn rows(dir: &Path, arm: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join("run/rows.jsonl")).expect("rows");
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    rows.filter(|row| row["arm"] == arm && row["phase"] == "measured").collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("an array").iter().map(|number| number.as_f64().expect("a number")).collect()
}

fn rounds(row: &Value) -> Vec<Round> {
    let times = &row["stack_timings"]["rounds"];
    let [n, a] = ["drafted", "accepted"].map(|name| numbers(&times[name]));
    let [draft, verify, sample, total] =
        ["draft_ns", "verify_ns", "sample_ns", "total_ns"].map(|name| numbers(&times[name]));
    (0..n.len())
        .map(|i| [n[i], a[i], draft[i] / 1e6, verify[i] / 1e6, sample[i] / 1e6, total[i] / 1e6])
        .collect()
}

fn mean(rounds: &[Round], of: impl Fn(&Round) -> f64) -> f64 {
    rounds.iter().map(of).sum::<f64>() / rounds.len() as f64
}

/// Intercept and slope by the normal equations.
fn line(rounds: &[Round]) -> (f64, f64) {
    let (n, t) = (mean(rounds, |r| r[0]), mean(rounds, |r| r[3]));
    let slope = (mean(rounds, |r| r[0] * r[3]) - n * t) / (mean(rounds, |r| r[0] * r[0]) - n * n);
    (t - slope * n, slope)
}

#[track_caller]
fn near(got: f64, expected: f64) {
    assert!((got - expected).abs() <= 1e-6 * expected.abs().max(1e-3), "got {got}, expected {expected}");
}

fn measure(dir: &Path) -> (Report, RunManifest) {
    let mut command = bench(dir);
    command.args(["run", "quickstart", "--stack", "native", "--out", "run"]);
    command.args(["--set", "run.blocks=2", "--set", "workload.max_tokens=24"]);
    // A round whose last draft ends the text emits no token of its own: without that, every round emits a + 1.
    command.args(["--set", "workload.ignore_eos=true"]);
    let output = command.output().expect("bench runs");
    assert_eq!(output.status.code(), Some(0), "{:?}", text(&output));
    let document = |name: &str| json(&dir.join("run").join(name));
    let report = serde_json::from_value(document("report/report.json")).expect("a report");
    (report, serde_json::from_value(document("manifest.json")).expect("a manifest"))
}

fn explanation(arm: &ArmReport) -> &Explanation {
    arm.explanation.as_ref().unwrap_or_else(|| panic!("{} is not explained", arm.label))
}

/// Every round is in the row, and together they are the time that throughput is made of.
fn rounds_are_the_decode_time(row: &Value) {
    let (times, timing) = (&row["stack_timings"], &row["timing"]);
    let sum = |name: &str| {
        times["rounds"][name].as_array().unwrap().iter().map(|ns| ns.as_u64().unwrap()).sum::<u64>()
    };
    let stamp = |name: &str| timing[name].as_u64().expect("a stamp");
    assert_eq!(sum("total_ns"), stamp("last_token_ns") - stamp("first_token_ns"));
    assert_eq!(sum("verify_ns"), times["verify_ns"].as_u64().unwrap());
    assert_eq!(sum("draft_ns"), times["draft_ns"].as_u64().unwrap());
    if let Some(spec) = row["spec"].as_object() {
        assert_eq!(sum("drafted"), spec["drafted"].as_u64().unwrap());
        assert_eq!(sum("accepted"), spec["accepted"].as_u64().unwrap());
        assert_eq!(rounds(row).len() as u64, spec["verify_steps"].as_u64().unwrap());
    }
}

#[test]
fn every_figure_of_an_explanation_follows_from_the_rows() {
    let dir = tempfile::tempdir().unwrap();
    let (report, manifest) = measure(dir.path());
    let labels = ["native/none", "native/mtp-1", "native/mtp-3", "native/ngram"];
    assert_eq!(report.arms.iter().map(|arm| arm.label.as_str()).collect::<Vec<_>>(), labels);
    let by_arm: Vec<Vec<Round>> = labels
        .iter()
        .map(|label| {
            let rows = rows(dir.path(), label);
            assert_eq!(rows.len(), 20);
            rows.iter().for_each(rounds_are_the_decode_time);
            rows.iter().flat_map(rounds).collect()
        })
        .collect();
    let (w, c) = line(&by_arm.concat());
    assert!(w > 0.0, "{w} {c}");
    let cost = |rounds: &[Round]| {
        w + c * mean(rounds, |r| r[0]) + mean(rounds, |r| r[2]) + mean(rounds, |r| r[5] - r[2] - r[3])
    };
    let baseline_token = cost(&by_arm[0]);
    for (arm, rounds) in report.arms.iter().zip(&by_arm) {
        let found = explanation(arm);
        assert_eq!(found.rounds, rounds.len() as u64);
        near(found.drafted_per_round, mean(rounds, |r| r[0]));
        near(found.accepted_per_round, mean(rounds, |r| r[1]));
        near(found.round_ms.draft, mean(rounds, |r| r[2]));
        near(found.round_ms.verify, mean(rounds, |r| r[3]));
        near(found.round_ms.sample, mean(rounds, |r| r[4]));
        near(found.round_ms.host, mean(rounds, |r| r[5] - r[2] - r[3] - r[4]));
        near(found.round_ms.total, mean(rounds, |r| r[5]));
        let fit = found.fit.as_ref().expect("0, 1 and 3 drafts make a line");
        near(fit.w_ms, w);
        near(fit.c_ms, c);
        assert_eq!(fit.rounds, fit.points.iter().map(|point| point.rounds).sum::<u64>());
        let Some(speedup) = &found.speedup else {
            assert_eq!((arm.label.as_str(), found.draft_ms_per_token), ("native/none", None));
            continue;
        };
        near(speedup.break_even_accepted, cost(rounds) / baseline_token - 1.0);
        near(speedup.predicted, (1.0 + mean(rounds, |r| r[1])) * baseline_token / cost(rounds));
        let comparison = report.comparisons.iter().find(|c| c.candidate == arm.label).unwrap();
        assert_eq!(speedup.measured, comparison.ratio_of_sums.map(|ratio| ratio.point));
        // Decode throughput is tokens of rounds by time of rounds: what the model does not explain is the verify pass.
        let measured = speedup.measured.unwrap();
        let per_token = |rounds: &[Round]| mean(rounds, |r| r[5]) / (1.0 + mean(rounds, |r| r[1]));
        near(measured, per_token(&by_arm[0]) / per_token(rounds));
    }
    ceilings_follow_from_the_manifest(&report, &manifest);
    let markdown = std::fs::read_to_string(dir.path().join("run/report/report.md")).unwrap();
    let page = std::fs::read_to_string(dir.path().join("run/report/index.html")).unwrap();
    let sentence = explanation(&report.arms[2]).sentence();
    assert!(sentence.contains(" times the speed of native/none"), "{sentence}");
    assert!(markdown.contains(&sentence) && page.contains(&sentence), "{sentence}");
}

fn ceilings_follow_from_the_manifest(report: &Report, manifest: &RunManifest) {
    let Some(MemoryBandwidth::Probed { threads: 1, readings }) = &manifest.memory_bandwidth else {
        panic!("{:?}", manifest.memory_bandwidth)
    };
    for (arm, asked) in report.arms.iter().zip(&manifest.arms) {
        let bytes: f64 = asked.info.as_ref().unwrap().details["model.step_bytes"].parse().unwrap();
        // The file is no smaller than what a step reads of it.
        let whole: f64 = asked.info.as_ref().unwrap().details["model.weight_bytes"].parse().unwrap();
        assert!(bytes > 0.5 * whole && bytes <= whole, "{bytes} of {whole}");
        let [reading] = &readings[..] else { panic!("{readings:?}") };
        let explanation = explanation(arm);
        let ceiling = explanation.ceiling.expect("bytes and bandwidth are known");
        near(ceiling.floor_ms, bytes / reading.bytes_per_s * 1e3);
        near(ceiling.share, ceiling.floor_ms / explanation.round_ms.verify);
    }
}

#[test]
fn a_bandwidth_that_is_given_is_taken_and_a_bad_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = bench(dir.path());
    command.args([
        "run",
        "smoke",
        "--stack",
        "native",
        "--out",
        "run",
        "--memory-bandwidth",
        "100",
        "--no-report",
    ]);
    command.args(["--set", "run.blocks=1", "--set", "workload.max_tokens=4"]);
    assert_eq!(command.output().unwrap().status.code(), Some(0));
    let manifest = json(&dir.path().join("run/manifest.json"));
    assert_eq!(manifest["memory_bandwidth"], serde_json::json!({"source": "given", "bytes_per_s": 1e11}));
    for bad in ["0", "-3", "nan", "fast"] {
        let output =
            bench(dir.path()).args(["run", "smoke", &format!("--memory-bandwidth={bad}")]).output().unwrap();
        let (err, _) = text(&output);
        assert_eq!(output.status.code(), Some(1), "{err}");
        assert!(err.contains(&format!("`{bad}` is not a")), "{err}");
    }
}
