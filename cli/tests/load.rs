//! Open loops, sweeps and shards through the real binary, with the native engine and, where there is one, the real
//! llama.cpp server.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests, which clippy does not take for tests"
)]

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use bench_core::jsonl::read_rows;
use bench_core::record::{Phase, RequestRecord};
use bench_core::report::Report;
use common::{bench, text};

const OPEN: [&str; 6] =
    ["--set", "run.load=constant", "--set", "run.rate=40", "--set", "run.warmup_requests=0"];

fn succeed(command: &mut Command) -> String {
    let output = command.output().expect("bench runs");
    let (err, out) = text(&output);
    assert_eq!(output.status.code(), Some(0), "stderr: {err}\nstdout: {out}");
    err
}

fn report(dir: &Path) -> Report {
    serde_json::from_slice(&std::fs::read(dir.join("report/report.json")).unwrap()).unwrap()
}

fn measured(dir: &Path) -> Vec<RequestRecord> {
    let rows = read_rows(&dir.join("rows.jsonl")).unwrap().rows;
    rows.into_iter().filter(|row| row.phase == Phase::Measured).collect()
}

/// Names below a key of report.json that docs/metrics.md does not have.
fn undescribed(dir: &Path, keys: &[&str]) -> BTreeSet<String> {
    fn names(value: &serde_json::Value, found: &mut BTreeSet<String>) {
        if let Some(map) = value.as_object() {
            for (name, value) in map {
                found.insert(name.clone());
                names(value, found);
            }
        }
        value.as_array().into_iter().flatten().for_each(|value| names(value, found));
    }
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.join("report/report.json")).unwrap()).unwrap();
    let value = keys.iter().fold(&json, |value, key| match key.parse::<usize>() {
        Ok(index) => &value[index],
        Err(_) => &value[*key],
    });
    assert!(!value.is_null(), "{keys:?}");
    let mut found = BTreeSet::new();
    names(value, &mut found);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let document = std::fs::read_to_string(path).unwrap();
    found.into_iter().filter(|name| !document.contains(&format!("`{name}`"))).collect()
}

#[test]
fn an_open_loop_tells_what_was_offered_and_how_late_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = bench(dir.path());
    command.args(["run", "smoke", "--stack", "native", "--out", "run", "--set", "run.requests=6"]).args(OPEN);
    succeed(&mut command);
    let root = dir.path().join("run");
    let rows = measured(&root);
    assert_eq!(rows.len(), 2 * 2 * 6, "two arms, two blocks");
    for row in &rows {
        let arrival = row.arrival.expect("a time of its own");
        assert_eq!(arrival.intended_ns, u64::from(arrival.slot) * 25_000_000);
        assert!(arrival.sent_ns >= Some(arrival.intended_ns), "never early");
    }
    let report = report(&root);
    for arm in &report.arms {
        let load = arm.load.as_ref().unwrap();
        assert!((load.offered_per_s.unwrap() - 40.0).abs() < 1e-9, "{load:?}");
        // By hand, from the rows.
        let of_arm = || rows.iter().filter(|row| row.arm == arm.label);
        let late = of_arm().map(|row| row.arrival.unwrap().late_ns().unwrap()).max().unwrap();
        assert!((load.lateness_ms.unwrap().max - late as f64 / 1e6).abs() < 1e-9);
        let ttft =
            of_arm().map(|row| row.timing.first_token_ns.unwrap() + row.arrival.unwrap().late_ns().unwrap());
        let longest = ttft.max().unwrap() as f64 / 1e6;
        assert!((load.ttft_from_intended_ms.unwrap().max - longest).abs() < 1e-9);
    }
    // Prompts came round three times in a pass: the slot keeps pairs apart.
    assert_eq!(report.comparisons[0].pairs, 12);
    assert_eq!(report.comparisons[0].same_output, Some(true));
    let markdown = std::fs::read_to_string(root.join("report/report.md")).unwrap();
    assert!(markdown.contains("| `native/none` | constant | 40.00 |"), "{markdown}");
    assert_eq!(undescribed(&root, &["arms", "0", "load"]), BTreeSet::new());
}

#[test]
fn a_sweep_has_an_arm_for_each_concurrency_compared_at_equal_ones() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = bench(dir.path());
    command.args([
        "run",
        "smoke",
        "--stack",
        "native",
        "--out",
        "run",
        "--set",
        "run.sweep_concurrency=[1,2]",
    ]);
    let real = std::env::var_os("BENCH_LLAMA_SERVER");
    assert!(
        real.is_some() || std::env::var_os("BENCH_REQUIRE_LLAMA_SERVER").is_none(),
        "BENCH_LLAMA_SERVER is not set"
    );
    if let Some(server) = &real {
        command.args(["--stack", "llama-server"]).env("BENCH_LLAMA_SERVER", server);
    }
    succeed(&mut command);
    let root = dir.path().join("run");
    let report = report(&root);
    let labels: Vec<_> = report.arms.iter().take(4).map(|arm| arm.label.as_str()).collect();
    assert_eq!(
        labels,
        ["native/none@1", "native/mtp-3@1", "native/none@2", "native/mtp-3@2"][..].to_vec().as_slice()
    );
    for comparison in &report.comparisons {
        let at = |label: &str| label.rsplit_once('@').map(|(_, n)| n.to_owned());
        assert_eq!(at(&comparison.baseline), at(&comparison.candidate), "{comparison:?}");
    }
    let sweep = report.sweeps.iter().find(|sweep| sweep.over == "concurrency").expect("a sweep");
    assert_eq!(sweep.points.iter().map(|point| point.x).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(undescribed(&root, &["sweeps"]), BTreeSet::new());
    if real.is_some() {
        // Two slots answer at once: requests of the second arm overlap.
        let spans: Vec<_> = measured(&root)
            .iter()
            .filter(|row| row.arm == "llama-server/none@2")
            .map(|row| (row.block, row.sent_unix_ms, row.sent_unix_ms + row.timing.ended_ns / 1_000_000))
            .collect();
        let overlap = spans
            .iter()
            .enumerate()
            .any(|(i, a)| spans[i + 1..].iter().any(|b| a.0 == b.0 && a.1 < b.2 && b.1 < a.2));
        assert!(overlap, "{spans:?}");
    }
}

#[test]
fn shards_are_one_run_and_need_a_load_that_can_be_shared() {
    let dir = tempfile::tempdir().unwrap();
    let preset = "inherits = \"smoke\"\nname = \"parts\"\nstacks = [{ kind = \"native\" }]\n\
                  variants = [{ label = \"none\", method = \"none\" }]\n\
                  run = { load = \"poisson\", rate = 50.0, requests = 5, blocks = 1 }\n";
    std::fs::write(dir.path().join("parts.toml"), preset).unwrap();
    for part in ["0", "1"] {
        let mut command = bench(dir.path());
        let shard = format!("{part}/2");
        command.args([
            "run",
            "parts.toml",
            "--shard",
            &shard,
            "--start-at",
            "1",
            "--no-report",
            "--out",
            part,
        ]);
        succeed(&mut command);
    }
    let slots = |part: &str| -> Vec<u32> {
        measured(&dir.path().join(part)).iter().map(|row| row.arrival.unwrap().slot).collect()
    };
    assert_eq!((slots("0"), slots("1")), (vec![0, 2, 4], vec![1, 3]));
    succeed(bench(dir.path()).args(["report", "0", "1", "--out", "both/report"]));
    let both = report(&dir.path().join("both"));
    assert_eq!(both.arms[0].n_requests, 5);

    let alone = bench(dir.path()).args(["report", "0", "--out", "alone"]).output().unwrap();
    assert_eq!(alone.status.code(), Some(1));
    assert!(text(&alone).0.contains("1 of 2 shards are missing"), "{}", text(&alone).0);
    let closed = bench(dir.path()).args(["run", "smoke", "--shard", "0/2"]).output().unwrap();
    assert_eq!(closed.status.code(), Some(1));
    assert!(text(&closed).0.contains("hint: set `run.load`"), "{}", text(&closed).0);
    let wrong = bench(dir.path()).args(["run", "smoke", "--shard", "2/2"]).output().unwrap();
    assert!(text(&wrong).0.contains("expected I/N"), "{}", text(&wrong).0);
}

#[test]
fn time_ends_a_pass_and_arms_pair_what_both_were_asked() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = bench(dir.path());
    command.args(["run", "smoke", "--stack", "native", "--out", "run"]);
    for set in ["run.duration_s=1", "run.blocks=2", "workload.max_tokens=4"] {
        command.args(["--set", set]);
    }
    succeed(&mut command);
    let root = dir.path().join("run");
    let rows = measured(&root);
    let places = |label: &str| -> BTreeSet<(u32, u32)> {
        let of_arm = rows.iter().filter(|row| row.arm == label);
        of_arm.map(|row| (row.block, row.arrival.expect("a number").slot)).collect()
    };
    let report = report(&root);
    assert_eq!(report.blocks, 2, "blocks in which every arm was asked something");
    let comparison = &report.comparisons[0];
    let (baseline, candidate) = (places(&comparison.baseline), places(&comparison.candidate));
    assert_eq!(baseline.len() + candidate.len(), rows.len(), "every request has a place of its own");
    let both = baseline.intersection(&candidate).count();
    assert_eq!(comparison.pairs, both as u64);
    assert!(both > 2 * 2, "two prompts came round again in a second: {both}");
    assert!(rows.iter().all(|row| row.outcome.is_completed()));
    assert!(
        rows.iter().all(|row| row.arrival.unwrap().sent_ns.unwrap() < 1_100_000_000),
        "nothing after the end"
    );
    assert!(report.arms.iter().all(|arm| arm.load.is_none()), "nobody meant another time");
}
