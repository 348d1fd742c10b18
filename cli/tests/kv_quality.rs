//! What a lossy KV cache costs, measured by a whole run of the real binary on the bundled pair.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;

use bench_core::kv_quality::KvQualityOutcome;
use bench_core::record::RunManifest;
use bench_core::report::Report;

use common::{bench, text};

fn run(dir: &Path, more: &[&str]) -> (Report, RunManifest, String) {
    let arguments = [
        "run",
        "quickstart",
        "--stack",
        "native",
        "--json",
        "--out",
        "out",
        "--set",
        "run.blocks=1",
        "--set",
        "workload.max_tokens=8",
    ];
    let output = bench(dir).args([&arguments, more].concat()).output().unwrap();
    let (stderr, stdout) = text(&output);
    assert!(output.status.success(), "{stderr}");
    let manifest = std::fs::read(dir.join("out/manifest.json")).unwrap();
    (serde_json::from_str(&stdout).unwrap(), serde_json::from_slice(&manifest).unwrap(), stderr)
}

#[test]
fn a_run_with_a_lossy_cache_says_what_it_costs() {
    let dir = tempfile::tempdir().unwrap();
    let (report, manifest, said) =
        run(dir.path(), &["--set", "serving.kv_type=turbo3", "--set", "run.kv_quality_tokens=24"]);
    let measured = |arm: &Option<KvQualityOutcome>| match arm {
        Some(KvQualityOutcome::Measured(quality)) => quality.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(report.arms.len(), 4);
    for (arm, kept) in report.arms.iter().zip(&manifest.arms) {
        let quality = measured(&arm.kv_quality);
        assert_eq!((&quality, &*quality.kv_type), (&measured(&kept.kv_quality), "turbo3"));
        assert!(quality.divergence.positions <= 24 && quality.divergence.kl_mean_nats > 0.0);
        assert_eq!(quality.acceptance.is_some(), arm.speculation.draft_max().is_some(), "{}", arm.label);
        assert!(said.contains(&format!("{}: {quality}", arm.label)), "{said}");
    }
    assert!(report.notes.is_empty(), "{:?}", report.notes);
    let page = std::fs::read_to_string(dir.path().join("out/report/index.html")).unwrap();
    assert!(page.contains("What the KV cache costs in quality"));
}

#[test]
fn what_was_switched_off_is_told_and_f16_needs_no_word() {
    let dir = tempfile::tempdir().unwrap();
    let (report, _, said) =
        run(dir.path(), &["--set", "serving.kv_type=q8_0", "--set", "run.kv_quality_tokens=0"]);
    let reason = "`run.kv_quality_tokens` is 0";
    let told = report
        .notes
        .iter()
        .any(|note| note.contains("q8_0, which loses precision") && note.ends_with(reason));
    assert!(told, "{:?}", report.notes);
    let not_measured = KvQualityOutcome::NotMeasured { reason: reason.to_owned() };
    assert!(report.arms.iter().all(|arm| arm.kv_quality.as_ref() == Some(&not_measured)));
    assert!(!said.contains("comparing its"), "{said}");

    let dir = tempfile::tempdir().unwrap();
    let (report, manifest, _) = run(dir.path(), &[]);
    assert!(report.arms.iter().all(|arm| arm.kv_quality.is_none()) && report.notes.is_empty());
    assert!(manifest.arms.iter().all(|arm| arm.kv_quality.is_none()));
}

/// One run, several caches: each arm in force with its own, each lossy one with its own figures.
#[test]
fn one_run_interleaves_kv_types() {
    let dir = tempfile::tempdir().unwrap();
    let set = ["run.blocks=1", "workload.max_tokens=8", "run.kv_quality_tokens=16"];
    let set: Vec<_> = set.iter().flat_map(|set| ["--set", set]).collect();
    let arguments = ["run", "nano-kv-types", "--json", "--out", "out"];
    let output = bench(dir.path())
        .args([&arguments[..], &set, &["--set", "variants.turbo3.kv_type=q8_0/turbo4-atomic"]].concat())
        .output()
        .unwrap();
    let (stderr, stdout) = text(&output);
    assert!(output.status.success(), "{stderr}");
    let report: Report = serde_json::from_str(&stdout).unwrap();
    let types = |arm: &bench_core::report::ArmReport| match &arm.kv_quality {
        None => "f16".to_owned(),
        Some(KvQualityOutcome::Measured(quality)) => quality.kv_type.clone(),
        Some(KvQualityOutcome::NotMeasured { reason }) => panic!("{}: {reason}", arm.label),
    };
    let found: Vec<_> = report.arms.iter().map(types).collect();
    let expected = ["f16", "q8_0", "turbo4", "q8_0/turbo4-atomic", "f16", "q8_0", "turbo4", "turbo3"];
    assert_eq!(found, expected);
    assert!(report.arms.iter().all(|arm| arm.valid), "{stderr}");
    assert!(report.method_notes.iter().any(|note| note.contains("turbo3 q8_0/turbo4-atomic")));
    let manifest: RunManifest =
        serde_json::from_slice(&std::fs::read(dir.path().join("out/manifest.json")).unwrap()).unwrap();
    let hashes: std::collections::BTreeSet<_> = manifest.arms.iter().map(|arm| &arm.config_sha256).collect();
    assert_eq!(hashes.len(), 8, "another cache is another configuration");
}
