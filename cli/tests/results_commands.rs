//! `bench export` over a published run, `bench import` of files that real tools wrote.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Output;

use common::{bench, text};

fn results(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../results").join(path)
}

fn run(dir: &Path, args: &[&str]) -> Output {
    bench(dir).args(args).output().unwrap()
}

#[test]
fn a_published_run_is_exported_in_every_form() {
    let dir = tempfile::tempdir().unwrap();
    let published = results("published/2026-11-23-epyc-2cpu-quickstart");
    let published = published.to_str().unwrap();
    for format in ["parquet", "vllm", "csv", "markdown", "block"] {
        let output = run(dir.path(), &["export", published, "--format", format, "--out", format]);
        let (stderr, files) = text(&output);
        assert!(output.status.success(), "{format}: {stderr}");
        assert!(files.lines().count() > 0, "{format}");
        for file in files.lines() {
            assert!(dir.path().join(file).metadata().unwrap().len() > 100, "{file}");
        }
    }
    // llama.cpp does not tell how many rounds drafted at a position.
    let profiles =
        run(dir.path(), &["export", published, "--format", "speculation-profile", "--out", "profile"]);
    let (stderr, files) = text(&profiles);
    assert!(profiles.status.success(), "{stderr}");
    assert!(stderr.contains("left out: llama-server/mtp-3: request 0 of 50 has no histogram"), "{stderr}");
    assert!(files.contains("speculation_profile-native-mtp-3.json"), "{files}");
    let partitions = dir.path().join("parquet/requests/run_date=2026-11-23/stack=native/preset=quickstart");
    assert_eq!(partitions.read_dir().unwrap().count(), 1);
}

#[test]
fn an_import_is_drawn_again_and_never_compared() {
    let dir = tempfile::tempdir().unwrap();
    let file = results("tests/imports/vllm-detailed.json");
    let output = run(dir.path(), &["import", file.to_str().unwrap(), "--out", "old"]);
    let (stderr, stdout) = text(&output);
    assert!(output.status.success(), "{stderr}");
    assert!(stdout.contains("vllm-bench/mock-c2"), "{stdout}");
    let page = std::fs::read_to_string(dir.path().join("old/report/index.html")).unwrap();
    assert!(page.contains("Imported from vllm bench serve"));

    let again = run(dir.path(), &["report", "old", "--json"]);
    assert!(again.status.success(), "{}", text(&again).0);
    let report: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(report["imported"]["tool"], "vllm bench serve");
    assert_eq!(report["arms"][0]["valid"], false);

    let published = results("published/2026-11-23-epyc-2cpu-quickstart");
    let published = published.to_str().unwrap();
    for args in [
        &["compare", "old", published][..],
        &["report", published, "old"],
        &["export", "old", "--format", "csv"],
    ] {
        let refused = run(dir.path(), args);
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused).0.contains("`old` was imported from another tool"), "{}", text(&refused).0);
    }
    let twice = run(dir.path(), &["import", file.to_str().unwrap(), "--out", "old"]);
    assert!(text(&twice).0.contains("choose another directory"), "{}", text(&twice).0);
}
