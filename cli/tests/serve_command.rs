//! `bench serve` as a user has it: the real binary serves, the real binary measures it as a llama-server, and both
//! ways to the same engine must come to the same counts.

#![expect(clippy::expect_used, reason = "helpers of tests, which clippy does not take for tests")]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bench_core::jsonl::read_rows;
use bench_core::record::{Outcome, Phase};
use bench_engine::synth::tiny::{TinyPair, write_tiny_pair};
use common::{bench, text};

const PRESET: &str = r#"
name = "both-ways"
description = "One engine, in process and over HTTP."
inherits = "smoke"

[models]
target = "pair/target.gguf"
assistant = "pair/assistant.gguf"

[[stacks]]
kind = "native"

[[stacks]]
kind = "llama-server"

[[variants]]
label = "mtp-3"
method = "mtp"
draft_max = 3
"#;

/// A running `bench serve`, killed when dropped.
struct Serving(Child);

impl Serving {
    /// Starts it and waits until it says where it listens.
    fn start(dir: &Path, args: &[&str]) -> (Self, String) {
        let mut command = bench(dir);
        command.arg("serve").args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut serving = Self(command.spawn().expect("bench starts"));
        let stderr = BufReader::new(serving.0.stderr.take().expect("it is piped"));
        let address =
            stderr.lines().find_map(|line| Some(line.ok()?.strip_prefix("listening on ")?.to_owned()));
        (serving, address.expect("it says where it listens"))
    }

    /// Sends a signal; the exit code and what was on stdout.
    fn end(mut self, signal: &str) -> (Option<i32>, String) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("kill runs").success());
        let mut out = String::new();
        self.0.stdout.take().expect("it is piped").read_to_string(&mut out).expect("it is text");
        (self.0.wait().expect("it ends").code(), out)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_preset_finds_the_same_counts_in_process_and_over_http() {
    let dir = tempfile::tempdir().unwrap();
    let files = write_tiny_pair(&dir.path().join("pair"), &TinyPair::default()).unwrap();
    let (target, assistant) = (files.target.to_str().unwrap(), files.assistant.to_str().unwrap());
    std::fs::write(
        dir.path().join("both.toml"),
        PRESET.replace("pair/target.gguf", target).replace("pair/assistant.gguf", assistant),
    )
    .unwrap();
    let pair = ["--model", target, "--assistant", assistant, "--spec", "mtp", "--draft-max", "3"];
    let (serving, address) =
        Serving::start(dir.path(), &[&pair[..], &["--threads", "1", "--port", "0"]].concat());
    let output = bench(dir.path())
        .args(["run", "both.toml", "--out", "run"])
        .env("BENCH_LLAMA_SERVER", &address)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output).0);
    // What Ctrl-C does, and that all talk went to stderr.
    assert_eq!(serving.end("-INT"), (Some(130), String::new()));

    let rows = read_rows(&dir.path().join("run/rows.jsonl")).unwrap().rows;
    let mut counts: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for row in rows.into_iter().filter(|row| row.phase == Phase::Measured) {
        assert!(matches!(row.outcome, Outcome::Completed { .. }), "{:?}", row.outcome);
        let spec = row.spec.expect("it drafts");
        assert!(spec.drafted > 0);
        let stack = row.arm.split('/').next().unwrap().to_owned();
        counts.entry(stack).or_default().push((row.prompt_id, row.block, spec.drafted, spec.accepted));
    }
    counts.values_mut().for_each(|counts| counts.sort());
    assert_eq!(counts["native"].len(), 4);
    assert_eq!(counts["native"], counts["llama-server"]);
}

#[test]
fn what_cannot_be_served_is_one_error() {
    let dir = tempfile::tempdir().unwrap();
    let files = write_tiny_pair(dir.path(), &TinyPair::default()).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let target = files.target.to_str().unwrap();
    for (args, part) in [
        (&["--model", target, "--port", &port][..], "cannot listen on 127.0.0.1:"),
        (&["--model", target, "--port", "0", "--spec", "mtp"], "needs an assistant"),
        (&["--model", "nowhere.gguf", "--port", "0"], "nowhere.gguf"),
    ] {
        let output = bench(dir.path()).arg("serve").args(args).output().unwrap();
        let (err, _) = text(&output);
        assert_eq!((output.status.code(), err.matches("error: ").count()), (Some(1), 1), "{err}");
        assert!(err.contains(part), "{err}");
    }
}

#[test]
fn an_open_host_without_a_key_is_warned_about_and_sigterm_is_a_clean_end() {
    let dir = tempfile::tempdir().unwrap();
    let files = write_tiny_pair(dir.path(), &TinyPair::default()).unwrap();
    let args = ["--model", files.target.to_str().unwrap(), "--host", "0.0.0.0", "--port", "0"];
    let mut command = bench(dir.path());
    command.arg("serve").args(args).env("BENCH_SERVE_API_KEY", "").stderr(Stdio::piped());
    let mut serving = Serving(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(serving.0.stderr.take().unwrap()).lines();
    let warning = lines.next().unwrap().unwrap();
    assert!(warning.contains("no authentication") && warning.contains("BENCH_SERVE_API_KEY"), "{warning}");
    assert!(lines.next().unwrap().unwrap().starts_with("listening on http://0.0.0.0:"));
    assert_eq!(serving.end("-TERM").0, Some(0));
}
