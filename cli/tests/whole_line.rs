//! The whole line through all seven crates: one command measures every arm and leaves rows and a report.

#![expect(clippy::expect_used, reason = "helpers of tests, which clippy does not take for tests")]

mod common;

use std::path::Path;
use std::process::Command;

use bench_core::jsonl::read_rows;
use bench_core::report::{ArmReport, Report};
use bench_core::stack::TOP2_MARGINS;
use common::{bench, text};

/// Runs a preset into `run` of a fresh directory, expects success, and reads the report back.
fn measured(dir: &Path, command: &mut Command) -> Report {
    let output = command.output().expect("bench runs");
    let (err, out) = text(&output);
    assert_eq!(output.status.code(), Some(0), "stderr: {err}\nstdout: {out}");
    for file in ["index.html", "report.md", "throughput.png", "acceptance.svg", "requests.parquet"] {
        let path = dir.join("run/report").join(file);
        assert!(std::fs::metadata(&path).is_ok_and(|data| data.len() > 500), "{}", path.display());
    }
    let json = std::fs::read(dir.join("run/report/report.json")).expect("a report");
    serde_json::from_slice(&json).expect("report.json is a Report")
}

fn arm<'a>(report: &'a Report, label: &str) -> &'a ArmReport {
    let found = report.arms.iter().find(|arm| arm.label == label);
    found.unwrap_or_else(|| panic!("no arm {label} among {:?}", report.arms))
}

#[test]
fn the_native_engine_is_measured_with_and_without_speculation() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = bench(dir.path());
    command.args(["run", "smoke", "--stack", "native", "--out", "run", "--set", "run.blocks=5"]);
    let report = measured(dir.path(), &mut command);
    let (plain, mtp) = (arm(&report, "native/none"), arm(&report, "native/mtp-3"));
    assert!(plain.valid && mtp.valid && plain.tokens_per_s.is_some_and(|rate| rate.low.is_some()));
    assert!(mtp.accepted > Some(0) && mtp.accepted < mtp.drafted, "{mtp:?}");
    let comparison = &report.comparisons[0];
    assert_eq!((comparison.pairs, comparison.same_output), (10, Some(true)));

    // The counts of the report are those of the rows.
    let rows = read_rows(&dir.path().join("run/rows.jsonl")).unwrap().rows;
    let measured =
        rows.iter().filter(|row| row.arm == mtp.label && row.phase == bench_core::record::Phase::Measured);
    let measured: Vec<_> = measured.collect();
    // Every greedy token has the distance of its two best logits, by which an audit tells ties from defects.
    for row in &measured {
        let margins = row.stack_timings.as_ref().unwrap()[TOP2_MARGINS].as_array().unwrap();
        assert_eq!(margins.len(), row.token_ids.as_ref().unwrap().len());
        assert!(margins.iter().all(|margin| margin.as_f64().unwrap() >= 0.0));
    }
    let audit = comparison.lossless.as_ref().unwrap();
    assert_eq!((audit.requests, audit.identical), (10, 10));
    let drafted: u64 = measured.iter().map(|row| row.spec.as_ref().unwrap().drafted).sum();
    assert_eq!(mtp.drafted, Some(drafted));
}

#[test]
fn the_same_preset_runs_on_a_real_llama_server_beside_it() {
    let Some(server) = std::env::var_os("BENCH_LLAMA_SERVER") else {
        assert!(std::env::var_os("BENCH_REQUIRE_LLAMA_SERVER").is_none(), "BENCH_LLAMA_SERVER is not set");
        eprintln!("SKIP: BENCH_LLAMA_SERVER is not set");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let mut command = bench(dir.path());
    command.args([
        "run",
        "synthetic",
        "--out",
        "run",
        "--set",
        "workload.max_tokens=60",
        "--set",
        "run.blocks=2",
    ]);
    command.env("BENCH_LLAMA_SERVER", server);
    let report = measured(dir.path(), &mut command);
    assert_eq!(report.arms.len(), 8);
    for variant in ["mtp-1", "mtp-3"] {
        let counts = ["native", "llama-server"].map(|stack| {
            let arm = arm(&report, &format!("{stack}/{variant}"));
            (arm.drafted, arm.accepted, arm.verify_steps, arm.accepted_per_position.clone())
        });
        assert!(counts[0].1 > Some(0));
        assert_eq!(counts[0], counts[1], "{variant}: greedy, ended by length: not one count may differ");
    }
    let across = report
        .comparisons
        .iter()
        .filter(|c| c.baseline.starts_with("native") && c.candidate.starts_with("llama"));
    assert_eq!(across.map(|c| c.same_output).collect::<Vec<_>>(), [Some(true); 4]);
}
