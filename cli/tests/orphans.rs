//! A suite that is killed takes its server with it, and the next run ends what the server itself had started.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not take for tests")]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{bench, text};

/// How long something may take that takes milliseconds: a slow machine is no failure.
const LONG: Duration = Duration::from_secs(30);

/// Looks again and again until it is true.
fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < LONG, "{what}");
        std::thread::yield_now();
    }
}

fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

/// A "server" that never gets ready, and a child of it that leaves its group; both note their ids.
fn write_server(dir: &Path) -> std::path::PathBuf {
    let program = dir.join("llama-server");
    let script = format!(
        "#!/bin/sh\nsetsid sleep 600 &\necho $! > {0}/child\necho $$ > {0}/server\nexec sleep 600\n",
        dir.display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    program
}

#[test]
fn nothing_outlives_a_killed_suite_for_long() {
    let dir = tempfile::tempdir().unwrap();
    let program = write_server(dir.path());
    let mut suite = bench(dir.path())
        .args(["run", "smoke", "--stack", "llama-server", "--out", "killed"])
        .env("BENCH_LLAMA_SERVER", &program)
        .env("TMPDIR", dir.path())
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let id = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap_or_default();
    until("the server starts", || id("server").ends_with('\n') && id("child").ends_with('\n'));
    let (server, child) = (id("server"), id("child"));
    assert!(runs(&server) && runs(&child));

    suite.kill().unwrap();
    suite.wait().unwrap();
    until("the server dies with the suite", || !runs(&server));
    assert!(runs(&child), "it left the group, and no signal reaches it");

    let output = bench(dir.path())
        .args(["run", "smoke", "--stack", "native", "--out", "next"])
        .env("TMPDIR", dir.path())
        .output()
        .unwrap();
    let (err, _) = text(&output);
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(err.contains("left behind by a run that was killed"), "{err}");
    until("the next run ends it", || !runs(&child));
    let notes = std::fs::read_dir(dir.path()).unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    let notes = notes.filter(|path| path.display().to_string().contains("bench-servers-"));
    for dir in notes {
        assert_eq!(std::fs::read_dir(dir).unwrap().count(), 0, "no note is left");
    }
}
