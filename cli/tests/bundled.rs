//! The bundled pair: runs without set-up, survives a damaged cache and a run beside it, and can be copied out.

#![expect(clippy::expect_used, reason = "helpers of tests, which clippy does not take for tests")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bench_core::record::RunManifest;
use bench_core::run_dir::{RunDir, content_sha256};
use bench_engine::gguf::Gguf;
use bench_presets::{BundledPair, find_bundled};
use common::{bench, text};

fn nano() -> &'static BundledPair {
    find_bundled("nano").expect("bundled")
}

/// The smallest run of the pair.
fn run(dir: &Path, out: &str) -> Command {
    let mut command = bench(dir);
    command.args(["run", "smoke", "--stack", "native", "--out", out, "--set", "models.bundled=nano"]);
    command.args([
        "--set",
        "run.blocks=1",
        "--set",
        "workload.max_tokens=4",
        "--set",
        "workload.ignore_eos=true",
    ]);
    command
}

fn succeeds(command: &mut Command) -> String {
    let output = command.output().expect("bench runs");
    let (err, out) = text(&output);
    assert_eq!(output.status.code(), Some(0), "stderr: {err}\nstdout: {out}");
    out
}

fn refuses(command: &mut Command, parts: &[&str]) {
    let output = command.output().expect("bench runs");
    let (err, _) = text(&output);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert_eq!(err.matches("error: ").count(), 1, "{err}");
    for part in parts {
        assert!(err.contains(part), "`{part}` is missing in:\n{err}");
    }
}

/// Files in the cache, by name.
fn cache(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join("models")).expect("a cache");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    paths
}

/// The cache holds the pair, whole, and nothing else.
fn is_whole(dir: &Path) {
    let found = cache(dir);
    assert_eq!(found.len(), 2, "{found:?}");
    for (path, file) in found.iter().zip([nano().assistant, nano().target]) {
        assert!(std::fs::read(path).expect("readable") == file.bytes, "{} is damaged", path.display());
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        let hash = content_sha256(file.bytes).expect("hashed");
        assert_eq!(name, format!("{}-{}.gguf", file.name.trim_end_matches(".gguf"), &hash[..12]));
    }
}

fn manifest(dir: &Path, out: &str) -> RunManifest {
    RunDir::existing(&dir.join(out)).read_manifest().expect("a manifest")
}

#[test]
fn a_run_needs_no_set_up_and_its_manifest_names_the_weights() {
    let dir = tempfile::tempdir().unwrap();
    succeeds(&mut run(dir.path(), "run"));
    is_whole(dir.path());
    let manifest = manifest(dir.path(), "run");
    assert_eq!(manifest.target_sha256, Some(content_sha256(nano().target.bytes).unwrap()));
    assert_eq!(manifest.assistant_sha256, Some(content_sha256(nano().assistant.bytes).unwrap()));
}

#[test]
fn synthetic_prompts_are_about_as_long_as_asked_and_their_claims_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = bench(dir.path());
    command.args(["run", "nano-prefill", "--stack", "native", "--out", "run"]);
    for set in ["run.blocks=1", "workload.max_tokens=4", "workload.synthetic.input_tokens=[8, 64, 200]"] {
        command.args(["--set", set]);
    }
    let printed = succeeds(&mut command);
    let refusal = "prompts are synthetic tokens: acceptance says nothing about text";
    assert!(printed.contains(refusal) && printed.contains("refused"), "{printed}");
    let rows = std::fs::read_to_string(dir.path().join("run/rows.jsonl")).unwrap();
    let mut lengths = std::collections::BTreeMap::new();
    for line in rows.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let asked: u64 = row["category"].as_str().unwrap().trim_end_matches(" tokens").parse().unwrap();
        let read_back = row["usage"]["prompt_tokens"].as_u64().unwrap();
        // The token that begins every prompt, and a first word that has no space before it.
        assert!((asked..=asked + 3).contains(&read_back), "{asked} asked, {read_back} read back");
        assert_eq!(row["usage"]["cached_tokens"], 0);
        lengths
            .entry(asked)
            .or_insert_with(std::collections::BTreeSet::new)
            .insert(row["prompt_sha256"].to_string());
    }
    assert_eq!(lengths.values().map(std::collections::BTreeSet::len).collect::<Vec<_>>(), [4, 4, 4]);
}

#[test]
fn damaged_files_in_the_cache_are_written_anew_and_whole_ones_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    succeeds(&mut run(dir.path(), "first"));
    let files = cache(dir.path());
    // One flipped byte in the middle of one file, of equal length; the other cut short.
    let mut bytes = std::fs::read(&files[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&files[0], &bytes).unwrap();
    std::fs::write(&files[1], &nano().target.bytes[..1000]).unwrap();
    succeeds(&mut run(dir.path(), "second"));
    is_whole(dir.path());
    let written = |path: &PathBuf| std::fs::metadata(path).unwrap().modified().unwrap();
    let before: Vec<_> = files.iter().map(written).collect();
    succeeds(&mut run(dir.path(), "third"));
    assert_eq!(files.iter().map(written).collect::<Vec<_>>(), before, "whole files are left alone");
}

#[test]
fn runs_that_start_at_once_share_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let start = |nth: usize| {
        let mut command = run(dir.path(), &format!("run-{nth}"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("bench runs")
    };
    let children: Vec<_> = (0..4).map(start).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{:?}", text(&output));
    }
    is_whole(dir.path());
    let hashes: Vec<_> =
        (0..4).map(|nth| manifest(dir.path(), &format!("run-{nth}")).target_sha256).collect();
    assert!(hashes.iter().all(|hash| hash.is_some() && *hash == hashes[0]), "{hashes:?}");
}

#[test]
fn an_unknown_pair_is_one_error_with_those_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = bench(dir.path());
    command.args(["run", "smoke", "--set", "models.bundled=nanoo"]);
    refuses(&mut command, &["models.bundled", "nanoo", "`nano`", "hint: did you mean `nano`?"]);
    refuses(bench(dir.path()).args(["model", "export", "mini", "."]), &["`mini`", "there is `nano`"]);
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("models"), "a file where the directory should be").unwrap();
    let path = dir.path().join("models");
    refuses(&mut run(dir.path(), "run"), &[path.to_str().unwrap()]);
}

#[test]
fn the_pair_can_be_copied_out_and_looked_into() {
    let dir = tempfile::tempdir().unwrap();
    let export = || {
        let mut command = bench(dir.path());
        command.args(["model", "export", "nano", "out/deep"]);
        command
    };
    let written = succeeds(&mut export());
    let paths: Vec<_> = written.lines().map(|line| dir.path().join(line)).collect();
    for (path, file) in paths.iter().zip([nano().target, nano().assistant]) {
        assert!(path.ends_with(file.name) && std::fs::read(path).unwrap() == file.bytes);
    }
    // llama.cpp refuses a centroid head: then there is a copy without.
    let assistant = Gguf::parse(nano().assistant.bytes.to_vec()).unwrap();
    let centroids = assistant.tensors().any(|tensor| tensor.name.starts_with("masked_embd_"));
    assert_eq!(paths.len(), if centroids { 3 } else { 2 });
    if let Some(copy) = paths.get(2) {
        let copy = Gguf::open(copy).unwrap();
        assert!(copy.tensors().all(|tensor| !tensor.name.starts_with("masked_embd_")));
    }
    // A second time is no error, but a file of somebody else is not replaced.
    succeeds(&mut export());
    std::fs::write(&paths[1], "mine").unwrap();
    refuses(&mut export(), &[nano().assistant.name, "exists and is another file", "hint: "]);
    assert_eq!(std::fs::read(&paths[1]).unwrap(), b"mine");

    let info = succeeds(bench(dir.path()).args(["model", "info", "nano"]));
    let hash = content_sha256(nano().target.bytes).unwrap();
    for part in
        ["target: nano-target-q8_0.gguf", "assistant: nano-assistant-q8_0.gguf", &hash, "general.name"]
    {
        assert!(info.contains(part), "`{part}` is missing in:\n{info}");
    }
}
