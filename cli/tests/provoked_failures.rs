//! Failures on purpose, and the one clear message or row that each must give. Real binary, fresh directory.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not take for tests"
)]

mod common;
#[path = "common/server.rs"]
mod server;

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use bench_core::jsonl::read_rows;
use bench_core::record::{Outcome, Phase, RequestRecord};
use bench_core::stack::FailureKind;
use bench_engine::gguf::GgmlType;
use bench_engine::synth::tiny::{TinyPair, TinyPairFiles, write_tiny_pair};
use common::{bench, text};
use server::{Script, respond, scripted_server, stream_chunks};

/// Runs and expects exit code 1 with one error that holds all of `parts`, and no panic.
fn refuses(command: &mut Command, parts: &[&str]) -> String {
    let output = command.output().expect("bench runs");
    let (err, out) = text(&output);
    assert_eq!(output.status.code(), Some(1), "stderr: {err}\nstdout: {out}");
    for part in parts {
        assert!(err.contains(part), "`{part}` is missing in:\n{err}");
    }
    assert_eq!(err.matches("error: ").count(), 1, "one error, not several:\n{err}");
    assert!(!err.contains("panicked"), "{err}");
    err
}

/// Runs the smoke preset natively on these models and expects every arm to fail at set-up, as rows.
fn fails_at_setup(dir: &Path, target: &Path, assistant: &Path, parts: &[&str]) {
    let output = bench(dir)
        .args(["run", "smoke", "--stack", "native", "--out", "run"])
        .args(["--set", &format!("models.target=\"{}\"", target.display())])
        .args(["--set", &format!("models.assistant=\"{}\"", assistant.display())])
        .output()
        .expect("bench runs");
    let (err, _) = text(&output);
    assert_eq!(output.status.code(), Some(3), "{err}");
    let rows = rows(dir);
    let failed: Vec<_> = rows.iter().filter(|row| row.phase == Phase::Setup).collect();
    assert!(!failed.is_empty(), "a failed set-up is a row");
    let details: String = failed.iter().map(|row| failure(row).1 + "\n").collect();
    for part in parts {
        assert!(details.contains(part), "`{part}` is missing in:\n{details}");
    }
}

fn rows(dir: &Path) -> Vec<RequestRecord> {
    read_rows(&dir.join("run/rows.jsonl")).expect("rows are readable").rows
}

fn failure(row: &RequestRecord) -> (FailureKind, String) {
    match &row.outcome {
        Outcome::Failed { kind, detail, .. } => (*kind, detail.clone()),
        Outcome::Completed { .. } | Outcome::TimedOut { .. } | Outcome::Cancelled => {
            panic!("{} is no failure: {:?}", row.arm, row.outcome)
        }
    }
}

/// Runs the smoke preset against a scripted server; exit code 3, every measured row failed with `kind`.
fn every_row_fails(script: Script, kind: FailureKind, parts: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let output = bench(dir.path())
        .args(["run", "smoke", "--stack", "llama-server", "--out", "run"])
        .env("BENCH_LLAMA_SERVER", scripted_server(script))
        .output()
        .expect("bench runs");
    let (err, out) = text(&output);
    assert_eq!(output.status.code(), Some(3), "stderr: {err}\nstdout: {out}");
    let measured: Vec<_> = rows(dir.path()).into_iter().filter(|row| row.phase == Phase::Measured).collect();
    assert!(!measured.is_empty());
    for row in &measured {
        let (found, detail) = failure(row);
        assert_eq!(found, kind, "{detail}");
        for part in parts {
            assert!(detail.contains(part), "`{part}` is missing in: {detail}");
        }
    }
    assert!(dir.path().join("run/report/index.html").is_file(), "a failed run has a report too");
}

fn tiny(dir: &Path) -> TinyPairFiles {
    write_tiny_pair(dir, &TinyPair { weights: GgmlType::F16, ..TinyPair::default() }).expect("synthesised")
}

/// A copy of `file` in which the first occurrence of `from` is replaced by the equally long `to`.
fn patched(file: &Path, from: &str, to: &str) -> std::path::PathBuf {
    assert_eq!(from.len(), to.len());
    let mut bytes = std::fs::read(file).unwrap();
    let mut hits = 0;
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(from.len()).position(|w| w == from.as_bytes()) {
        bytes[at + found..at + found + from.len()].copy_from_slice(to.as_bytes());
        at += found + from.len();
        hits += 1;
    }
    assert!(hits > 0, "`{from}` is not in {}", file.display());
    let copy = file.with_extension("patched.gguf");
    std::fs::write(&copy, bytes).unwrap();
    copy
}

#[test]
fn a_missing_model_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let target = ["--set", "models.target=\"no/such.gguf\""];
    let run = ["run", "smoke", "--stack", "native"];
    refuses(
        bench(dir.path()).args(run).args(target).args(["--set", "models.assistant=\"none.gguf\""]),
        &["no/such.gguf", "does not exist", "hint: "],
    );
    refuses(bench(dir.path()).args(run).args(target), &["models.assistant", "mtp-3", "hint: "]);
}

#[test]
fn a_truncated_gguf_is_a_failed_setup_with_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let files = tiny(dir.path());
    let bytes = std::fs::read(&files.target).unwrap();
    let cut = dir.path().join("cut.gguf");
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    fails_at_setup(dir.path(), &cut, &files.assistant, &["cut.gguf"]);
}

#[test]
fn another_architecture_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let files = tiny(dir.path());
    let other = patched(&files.target, "gemma4", "llamas");
    fails_at_setup(
        dir.path(),
        &other,
        &files.assistant,
        &["general.architecture", "llamas", "gemma4", "patched.gguf"],
    );
}

#[test]
fn the_old_assistant_layout_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let files = tiny(dir.path());
    let old = patched(&files.assistant, "gemma4-assistant", "gemma4_assistant");
    fails_at_setup(dir.path(), &files.target, &old, &["gemma4_assistant", "patched.gguf"]);
}

#[test]
fn an_assistant_of_another_width_is_refused_with_both_widths() {
    let dir = tempfile::tempdir().unwrap();
    let files = tiny(&dir.path().join("a"));
    let wide = TinyPair { hidden: 2 * TinyPair::default().hidden, ..TinyPair::default() };
    let other = write_tiny_pair(&dir.path().join("b"), &wide).expect("synthesised");
    let width = TinyPair::default().hidden;
    fails_at_setup(
        dir.path(),
        &files.target,
        &other.assistant,
        &[&width.to_string(), &(2 * width).to_string()],
    );
}

#[test]
fn an_unknown_preset_key_names_the_nearest() {
    let dir = tempfile::tempdir().unwrap();
    refuses(
        bench(dir.path()).args(["run", "smoke", "--set", "workload.max_token=5"]),
        &["max_token", "max_tokens"],
    );
}

#[test]
fn an_unknown_preset_lists_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    refuses(bench(dir.path()).args(["run", "quickstrat"]), &["quickstrat", "quickstart"]);
}

#[test]
fn a_closed_port_is_a_row() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dir = tempfile::tempdir().unwrap();
    let output = bench(dir.path())
        .args(["run", "smoke", "--stack", "llama-server", "--out", "run"])
        .env("BENCH_LLAMA_SERVER", format!("http://127.0.0.1:{port}"))
        .output()
        .expect("bench runs");
    assert_eq!(output.status.code(), Some(3), "{:?}", text(&output));
    let rows = rows(dir.path());
    assert!(!rows.is_empty() && rows.iter().all(|row| row.phase == Phase::Setup));
    let (kind, detail) = failure(&rows[0]);
    assert_eq!(kind, FailureKind::Unreachable);
    assert!(detail.contains(&port.to_string()), "{detail}");
}

#[test]
fn a_500_is_a_row_with_the_servers_words() {
    let body = r#"{"error":{"code":500,"message":"the GPU fell off the bus","type":"server_error"}}"#;
    every_row_fails(
        Arc::new(move |stream, _| respond(stream, "500 Internal Server Error", "application/json", body)),
        FailureKind::HttpStatus,
        &["500", "the GPU fell off the bus"],
    );
}

#[test]
fn half_an_sse_line_is_an_aborted_row() {
    every_row_fails(
        Arc::new(|stream, _| {
            stream_chunks(
                stream,
                &[
                    "data: {\"content\":\"a\",\"tokens\":[5],\"stop\":false}\n\n",
                    "data: {\"content\":\"b\",\"to",
                ],
            );
            // The terminating chunk: HTTP is complete, the event is not.
            drop(stream.write_all(b"0\r\n\r\n"));
        }),
        FailureKind::Aborted,
        &[],
    );
}

#[test]
fn a_server_that_dies_in_mid_stream_is_an_aborted_row() {
    every_row_fails(
        Arc::new(|stream, _| {
            stream_chunks(stream, &["data: {\"content\":\"a\",\"tokens\":[5],\"stop\":false}\n\n"]);
            drop(stream.shutdown(std::net::Shutdown::Both));
        }),
        FailureKind::Aborted,
        &[],
    );
}

#[test]
#[cfg(unix)]
fn a_full_disk_ends_the_run_and_keeps_whole_rows() {
    let dir = tempfile::tempdir().unwrap();
    let files = tiny(dir.path());
    // A file size limit with its signal ignored makes write() fail as a full disk does.
    let mut limited = Command::new("sh");
    limited
        .current_dir(dir.path())
        .env("BENCH_CACHE_DIR", dir.path().join("models"))
        .args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_bench")])
        .args(["run", "smoke", "--stack", "native", "--out", "run", "--set", "run.blocks=200"])
        .args(["--set", &format!("models.target=\"{}\"", files.target.display())])
        .args(["--set", &format!("models.assistant=\"{}\"", files.assistant.display())]);
    refuses(&mut limited, &["rows.jsonl", "too large"]);
    let read = read_rows(&dir.path().join("run/rows.jsonl")).expect("what was written is whole");
    assert!(!read.rows.is_empty() && read.torn_tail.is_none());
}

#[test]
#[cfg(unix)]
fn ctrl_c_keeps_what_was_measured() {
    let dir = tempfile::tempdir().unwrap();
    let child = bench(dir.path())
        .args(["run", "smoke", "--stack", "native", "--out", "run", "--set", "run.blocks=100000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("bench runs");
    // Wait for rows, not for time.
    let rows_file = dir.path().join("run/rows.jsonl");
    while std::fs::metadata(&rows_file).map_or(0, |m| m.len()) < 20_000 {
        std::thread::yield_now();
    }
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let output = child.wait_with_output().unwrap();
    let (err, _) = text(&output);
    assert_eq!(output.status.code(), Some(130), "{err}");
    assert!(err.contains("stopped by Ctrl-C") && err.contains("rows are kept"), "{err}");
    let manifest = std::fs::read_to_string(dir.path().join("run/manifest.json")).unwrap();
    assert!(manifest.contains("\"interrupted\": true"), "{manifest}");
    assert!(rows(dir.path()).len() > 3);
    assert!(dir.path().join("run/report/index.html").is_file());
}

/// A driver's library that is not of the kernel's version: every GPU arm is a row with its words, and nothing aborts.
#[cfg(target_os = "linux")]
#[test]
fn a_driver_of_another_version_is_a_failed_setup() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("driver.c");
    // CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, as after an update without a restart.
    std::fs::write(&source, "int cuInit(unsigned flags) { return 803; }\n").unwrap();
    let library = dir.path().join("libcuda.so.1");
    // The compiler that links this very test.
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    assert!(built.expect("cc runs").success());
    std::fs::copy(&library, dir.path().join("libcuda.so")).unwrap();
    let mut command = bench(dir.path());
    command.args(["run", "smoke", "--stack", "native", "--set", "serving.device=gpu", "--out", "run"]);
    let output = command.env("LD_LIBRARY_PATH", dir.path()).output().unwrap();
    let (err, out) = text(&output);
    assert_eq!(output.status.code(), Some(3), "stderr: {err}\nstdout: {out}");
    assert!(err.contains("CUDA_ERROR_SYSTEM_DRIVER_MISMATCH") && !err.contains("panicked"), "{err}");
    let rows = read_rows(&dir.path().join("run/rows.jsonl")).unwrap().rows;
    assert!(!rows.is_empty());
    for row in &rows {
        let Outcome::Failed { kind: FailureKind::Engine, hint: Some(hint), .. } = &row.outcome else {
            panic!("{:?}", row.outcome);
        };
        assert!(hint.contains("restart the machine"), "{hint}");
    }
    let doctor = bench(dir.path()).arg("doctor").env("LD_LIBRARY_PATH", dir.path()).output().unwrap();
    assert!(text(&doctor).1.contains("CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"), "{}", text(&doctor).1);
}

#[test]
fn a_run_that_lies_elsewhere_is_one_clear_error_wherever_runs_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    // Nobody listens there, and nothing else does: port 1 is no server's.
    let place = "http://127.0.0.1:1/runs/one?sig=planted-key";
    let parts: &[&str] = if cfg!(feature = "object-store") {
        &["cannot read `http://127.0.0.1:1/runs/one`: "]
    } else {
        &["`http://127.0.0.1:1/runs/one` is not on this machine", "--features object-store"]
    };
    let commands: [&[&str]; 5] = [
        &["report", place],
        &["compare", place, place],
        &["export", place, "--format", "csv"],
        &["publish", "site", place],
        &["gate", "save", place, "--as", "baseline"],
    ];
    for command in commands {
        let said = refuses(bench(dir.path()).args(command), parts);
        assert!(!said.contains("planted-key"), "{said}");
    }
    let output = bench(dir.path()).args(["gate", place]).output().expect("bench runs");
    assert_eq!(output.status.code(), Some(2), "what cannot be judged is neither pass nor regression");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was written");
}
