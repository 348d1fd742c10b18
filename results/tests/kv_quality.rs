//! What lossy KV caches cost, from manifests to reports: figures where they were measured, reasons and warnings elsewhere.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use bench_core::jsonl::RowSink;
use bench_core::kv_quality::{
    DraftCounts, KvAcceptance, KvDivergence, KvQuality, KvQualityOutcome, NO_LOGITS,
};
use bench_core::preset::{KvType, StackKind};
use bench_core::record::{ArmStatus, RunManifest};
use bench_core::report::Report;
use bench_core::run_dir::RunDir;
use bench_core::stack::FailureKind;
use bench_core::testing::{manifest, preset, record};
use bench_results::{aggregate, load, write_files};

const DRAFTING: &str = "native/mtp-3";
const SERVER: &str = "llama-server/none";
const FAILED: &str = "vllm/none";

fn quality(acceptance: bool) -> KvQualityOutcome {
    let counts = |accepted| DraftCounts { drafted: 300, accepted, verify_steps: 100 };
    KvQualityOutcome::Measured(KvQuality {
        kv_type: "turbo3".to_owned(),
        reference: "f16".to_owned(),
        divergence: KvDivergence {
            positions: 200,
            kl_mean_nats: 0.0283,
            kl_p99_nats: 0.4125,
            same_top1: 191,
            nll_nats: 0.75,
            reference_nll_nats: 0.625,
        },
        acceptance: acceptance.then(|| KvAcceptance { with: counts(180), reference: counts(190) }),
    })
}

/// Plain and drafting arms that were measured, a server that cannot be, and an arm that never ran.
fn experiment(kv_type: KvType) -> RunManifest {
    let mut preset = preset();
    preset.serving.kv_type = kv_type.into();
    let mut run = manifest(preset);
    let plain = run.arms[0].clone();
    let mut arm = |label: &str, stack, kv_quality, status| {
        let mut arm = plain.clone();
        (arm.label, arm.stack, arm.kv_quality, arm.status) = (label.to_owned(), stack, kv_quality, status);
        run.arms.push(arm);
    };
    arm(DRAFTING, StackKind::Native, Some(quality(true)), ArmStatus::Ready);
    let reason = NO_LOGITS.to_owned();
    arm(SERVER, StackKind::LlamaServer, Some(KvQualityOutcome::NotMeasured { reason }), ArmStatus::Ready);
    let failed = ArmStatus::Failed { kind: FailureKind::Exited, detail: "gone".to_owned() };
    arm(FAILED, StackKind::Vllm, None, failed);
    run.arms[0].kv_quality = Some(quality(false));
    run
}

fn store(root: &Path, run: &RunManifest) -> PathBuf {
    let dir = RunDir::create(root).unwrap();
    dir.write_manifest(run).unwrap();
    let mut rows = dir.row_writer().unwrap();
    for (index, arm) in (0..).zip(run.arms.iter().filter(|arm| arm.status == ArmStatus::Ready)) {
        let mut row = record(&arm.label, 0, index);
        row.run_id.clone_from(&run.run_id);
        rows.append(&row).unwrap();
    }
    root.to_owned()
}

fn report(runs: &[RunManifest]) -> (Report, String) {
    let dir = tempfile::tempdir().unwrap();
    let store = |(nth, run): (usize, &RunManifest)| store(&dir.path().join(nth.to_string()), run);
    let roots: Vec<_> = runs.iter().enumerate().map(store).collect();
    let loaded = load(&roots).unwrap();
    let report = aggregate(&loaded).unwrap();
    write_files(&loaded, &report, &dir.path().join("report")).unwrap();
    (report, std::fs::read_to_string(dir.path().join("report/report.md")).unwrap())
}

fn warnings(report: &Report) -> Vec<&String> {
    report.notes.iter().filter(|note| note.contains("loses precision")).collect()
}

#[test]
fn figures_and_reasons_stand_in_every_form() {
    let (report, markdown) = report(&[experiment(KvType::Turbo3)]);
    let of = |label: &str| &report.arms.iter().find(|arm| arm.label == label).unwrap().kv_quality;
    assert_eq!(*of(DRAFTING), Some(quality(true)));
    assert_eq!(*of(FAILED), None, "it never ran");
    for row in [
        "| `native/none` | turbo3 | 200 | 0.0283 | 0.4125 | 95.5 % | +0.1250 |  |  |",
        "| `native/mtp-3` | turbo3 | 200 | 0.0283 | 0.4125 | 95.5 % | +0.1250 | 2.80 | 2.90 |",
        "| `llama-server/none` | not measured: the server gives no logits of another KV type |",
    ] {
        assert!(markdown.contains(row), "`{row}` is missing in:\n{markdown}");
    }
    assert_eq!(
        warnings(&report),
        [
            "the KV cache of llama-server/none is turbo3, which loses precision, and its quality was not measured: the server gives no logits of another KV type"
        ]
    );
}

#[test]
fn older_runs_are_warned_of_and_exact_caches_need_no_word() {
    let mut older = experiment(KvType::Q8_0);
    older.arms.iter_mut().for_each(|arm| arm.kv_quality = None);
    let (told, _) = report(&[older]);
    assert_eq!(warnings(&told).len(), 1, "{:?}", told.notes);
    assert!(warnings(&told)[0].contains("native/none, native/mtp-3, llama-server/none is q8_0"));
    for exact in [KvType::F16, KvType::Bf16, KvType::F32] {
        let (told, markdown) = report(&[experiment(exact)]);
        assert!(warnings(&told).is_empty() && told.arms.iter().all(|arm| arm.kv_quality.is_none()));
        assert!(!markdown.contains("Quality of the KV cache"));
    }
}

#[test]
fn what_one_of_two_runs_measured_is_known() {
    let (mut stopped, whole) = (experiment(KvType::Turbo3), experiment(KvType::Turbo3));
    stopped.run_id = "stopped".to_owned();
    stopped.arms.iter_mut().for_each(|arm| arm.kv_quality = None);
    let (told, _) = report(&[stopped, whole]);
    assert_eq!(told.arms[1].kv_quality, Some(quality(true)));
}

#[test]
fn every_name_is_in_the_document() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let document = std::fs::read_to_string(path).unwrap();
    let (report, _) = report(&[experiment(KvType::Turbo3)]);
    let value = serde_json::to_value(&report).unwrap();
    let mut missing = Vec::new();
    for arm in value["arms"].as_array().unwrap() {
        undescribed(&arm["kv_quality"], &document, &mut missing);
    }
    assert!(missing.is_empty(), "docs/metrics.md does not describe {missing:?}");
    assert!(document.contains("`arms[].kv_quality`"));
}

fn undescribed(value: &serde_json::Value, document: &str, missing: &mut Vec<String>) {
    if let Some(map) = value.as_object() {
        missing.extend(map.keys().filter(|name| !document.contains(&format!("`{name}`"))).cloned());
        map.values().for_each(|value| undescribed(value, document, missing));
    }
}
