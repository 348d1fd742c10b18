//! Planted times of rounds come back as the costs they were made of.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroU32;
use std::path::Path;

use bench_core::bandwidth::{BandwidthReading, MemoryBandwidth};
use bench_core::explanation::{Explanation, ROUND_TIMES, Round, RoundTimes};
use bench_core::jsonl::RowSink;
use bench_core::preset::{AcceptanceRule, DraftHead, SpecDecode, SpecVariant};
use bench_core::record::{RequestRecord, RunEnd, RunManifest};
use bench_core::report::Report;
use bench_core::run_dir::{RunDir, prompt_sha256};
use bench_core::stack::STEP_BYTES_DETAIL;
use bench_core::testing::{manifest, preset, record};
use bench_results::{aggregate, load, write_files};

const PLAIN: &str = "native/none";
const MTP: &str = "native/mtp-2";

/// W 4 ms, C 0.5 ms, D 0.25 ms, 0.2 ms of sampling, 0.3 ms of host; in a cache of 64 tokens and more W is 5 ms.
fn round(drafted: u32, accepted: u32, cached: u64) -> Round {
    let [draft_ns, verify_ns] = [250_000, 500_000].map(|each| u64::from(drafted) * each);
    let verify_ns = verify_ns + if cached < 64 { 4_000_000 } else { 5_000_000 };
    let total_ns = draft_ns + verify_ns + 500_000;
    Round { drafted, accepted, draft_ns, verify_ns, sample_ns: 200_000, total_ns }
}

/// A request after a prompt of `cached` tokens, with these drafts and acceptances.
fn row(
    run: &RunManifest,
    arm: &str,
    (block, index): (u32, u64),
    cached: u32,
    rounds: &[(u32, u32)],
) -> RequestRecord {
    let mut row = record(arm, block, index);
    let prompt = &run.preset.workload.prompts[usize::from(cached >= 64)];
    row.prompt_id.clone_from(&prompt.id);
    row.prompt_sha256 = prompt_sha256(prompt);
    row.usage.prompt_tokens = Some(cached);
    let mut times = RoundTimes::default();
    times.extend(rounds.iter().map(|&(drafted, accepted)| round(drafted, accepted, cached.into())));
    row.stack_timings = Some(serde_json::json!({ ROUND_TIMES: times }));
    row
}

fn experiment(device: &str) -> (RunManifest, Vec<RequestRecord>) {
    let mut preset = preset();
    let mtp = SpecDecode::Mtp {
        draft_max: NonZeroU32::new(2).unwrap(),
        acceptance: AcceptanceRule::SampleAndCompare,
        draft_head: DraftHead::Auto,
    };
    preset.variants.push(SpecVariant::new("mtp-2", mtp.clone()));
    let mut run = manifest(preset);
    let mut second = run.arms[0].clone();
    (second.label, second.variant, second.spec) = (MTP.to_owned(), "mtp-2".to_owned(), mtp);
    run.arms.push(second);
    for arm in &mut run.arms {
        let info = arm.info.as_mut().unwrap();
        info.device = Some(device.to_owned());
        info.details.insert(STEP_BYTES_DETAIL.to_owned(), "20000000".to_owned());
    }
    let reading = BandwidthReading { buffer_bytes: 20_000_000, passes: 7, bytes_per_s: 1e10 };
    run.memory_bandwidth = Some(MemoryBandwidth::Probed { threads: 1, readings: vec![reading] });
    let rows = vec![
        row(&run, PLAIN, (0, 0), 10, &[(0, 0), (0, 0), (0, 0), (0, 0)]),
        row(&run, MTP, (0, 1), 10, &[(2, 1), (2, 2), (1, 0)]),
    ];
    (run, rows)
}

fn report(root: &Path, (mut run, rows): (RunManifest, Vec<RequestRecord>)) -> Report {
    run.end = Some(RunEnd { unix_ms: 1, interrupted: false, rows: rows.len() as u64 });
    let dir = RunDir::create(root).unwrap();
    dir.write_manifest(&run).unwrap();
    let mut writer = dir.row_writer().unwrap();
    rows.iter().for_each(|row| writer.append(row).unwrap());
    aggregate(&load(&[root.to_owned()]).unwrap()).unwrap()
}

fn explanation<'a>(report: &'a Report, label: &str) -> &'a Explanation {
    report.arms.iter().find(|arm| arm.label == label).unwrap().explanation.as_ref().unwrap()
}

#[track_caller]
fn near(got: f64, expected: f64) {
    assert!((got - expected).abs() < 1e-9, "got {got}, expected {expected}");
}

#[test]
fn costs_come_back_as_planted() {
    let dir = tempfile::tempdir().unwrap();
    let report = report(&dir.path().join("run"), experiment("cpu"));
    let (plain, mtp) = (explanation(&report, PLAIN), explanation(&report, MTP));
    assert_eq!((plain.rounds, mtp.rounds), (4, 3));
    let fit = mtp.fit.as_ref().unwrap();
    near(fit.w_ms, 4.0);
    near(fit.c_ms, 0.5);
    assert_eq!(fit, plain.fit.as_ref().unwrap(), "one target, one law");
    assert_eq!(
        fit.points.iter().map(|point| (point.drafted, point.rounds)).collect::<Vec<_>>(),
        [(0, 4), (1, 1), (2, 2)]
    );
    near(mtp.draft_ms_per_token.unwrap(), 0.25);
    near(mtp.drafted_per_round, 5.0 / 3.0);
    near(mtp.accepted_per_round, 1.0);
    near(mtp.round_ms.host, 0.3);
    // A round of 4 + 5/3 x 0.75 + 0.5 ms gives 2 tokens; a plain token takes 4.5 ms.
    let speedup = mtp.speedup.as_ref().unwrap();
    near(speedup.predicted, 9.0 / 5.75);
    near(speedup.break_even_accepted, 5.75 / 4.5 - 1.0);
    assert_eq!((speedup.baseline.as_str(), plain.speedup.as_ref()), (PLAIN, None));
    // 20 MB at 10 GB/s take 2 ms of the plain pass's 4.
    let ceiling = plain.ceiling.unwrap();
    near(ceiling.floor_ms, 2.0);
    near(ceiling.share, 0.5);
}

#[test]
fn the_law_moves_with_the_tokens_in_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let (run, mut rows) = experiment("cpu");
    rows.push(row(&run, PLAIN, (0, 2), 64, &[(0, 0), (0, 0)]));
    rows.push(row(&run, MTP, (0, 3), 64, &[(2, 0), (2, 1)]));
    let root = dir.path().join("run");
    let report = report(&root, (run, rows));
    let depths = &explanation(&report, MTP).by_kv_depth;
    assert_eq!(depths.iter().map(|depth| (depth.from, depth.to)).collect::<Vec<_>>(), [(8, 16), (64, 128)]);
    for (depth, w_ms) in depths.iter().zip([4.0, 5.0]) {
        near(depth.fit.w_ms, w_ms);
        near(depth.fit.c_ms, 0.5);
    }
    let out = dir.path().join("report");
    write_files(&load(&[root]).unwrap(), &report, &out).unwrap();
    let text = std::fs::read_to_string(out.join("report.md")).unwrap();
    let line = "| native | 64 to 127 | 4 | 5.000 ± 0.000 | 0.500 ± 0.000 |";
    assert_eq!(text.matches(line).count(), 1, "{text}");
}

#[test]
fn a_probe_of_the_cpu_is_no_ceiling_of_a_gpu() {
    let dir = tempfile::tempdir().unwrap();
    let report = report(&dir.path().join("run"), experiment("NVIDIA H200"));
    assert_eq!(explanation(&report, PLAIN).ceiling, None);
}

#[test]
fn one_number_of_drafts_has_no_law_and_no_prediction() {
    let dir = tempfile::tempdir().unwrap();
    let (run, mut rows) = experiment("cpu");
    rows.truncate(1);
    let report = report(&dir.path().join("run"), (run, rows));
    let plain = explanation(&report, PLAIN);
    assert_eq!((plain.fit.as_ref(), plain.speedup.as_ref()), (None, None));
    assert!(plain.no_fit.as_ref().unwrap().contains("1 distinct numbers of drafts"), "{:?}", plain.no_fit);
    let silent = report.arms.iter().find(|arm| arm.label == MTP).unwrap();
    assert_eq!(silent.explanation, None);
}

#[test]
fn damaged_times_are_left_out_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let (run, mut rows) = experiment("cpu");
    rows[1].stack_timings.as_mut().unwrap()[ROUND_TIMES]["accepted"] = serde_json::json!([9, 0, 0]);
    let report = report(&dir.path().join("run"), (run, rows));
    let expected = "request 1 of native/mtp-2 is left out of the explanation: round 0 accepted 9 of 2 drafts";
    assert!(report.notes.iter().any(|note| note == expected), "{:?}", report.notes);
    assert!(report.arms.iter().find(|arm| arm.label == MTP).unwrap().explanation.is_none());
}

#[test]
fn every_name_is_in_the_document_and_every_number_in_the_markdown() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    let (run, mut rows) = experiment("cpu");
    rows.push(row(&run, PLAIN, (0, 2), 20, &[(0, 0)]));
    let report = report(&root, (run, rows));
    let document =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md")).unwrap();
    let value = serde_json::to_value(explanation(&report, MTP)).unwrap();
    let mut missing = Vec::new();
    undescribed(&value, &document, &mut missing);
    assert!(missing.is_empty(), "docs/metrics.md does not describe {missing:?}");
    let out = dir.path().join("report");
    write_files(&load(&[root]).unwrap(), &report, &out).unwrap();
    let text = std::fs::read_to_string(out.join("report.md")).unwrap();
    for part in [
        "| `native/mtp-2` | 3 | 0.417 | 4.833 | 0.200 | 0.300 | 5.750 |",
        "| `native/mtp-2` | 4.000 ± 0.000 | 0.500 ± 0.000 | 0.250 | 1.667 | 1.000 | 0.278 | 1.565 |",
        "* `native/none`: a round takes 4.500 ms, 89 % of it the target's pass; its target passes run at 50 % of",
    ] {
        assert!(text.contains(part), "`{part}` is missing in:\n{text}");
    }
}

fn undescribed(value: &serde_json::Value, document: &str, missing: &mut Vec<String>) {
    if let Some(map) = value.as_object() {
        missing.extend(map.keys().filter(|name| !document.contains(&format!("`{name}`"))).cloned());
        map.values().for_each(|value| undescribed(value, document, missing));
    }
    value.as_array().into_iter().flatten().for_each(|value| undescribed(value, document, missing));
}
