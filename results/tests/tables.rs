//! Runs that went out as tables and come back: the same report, to the last digit.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use bench_core::jsonl::RowSink;
use bench_core::load::Shard;
use bench_core::preset::StackKind;
use bench_core::record::{ArmManifest, Arrival, Chunk, Outcome, RequestRecord, RunEnd, RunManifest};
use bench_core::report::Report;
use bench_core::run_dir::{RunDir, prompt_sha256};
use bench_core::stack::{Death, FailureKind, Readback, SpecCounts, SpecSource};
use bench_core::testing::{manifest, preset, record};
use bench_results::{ExportFormat, ResultsError, aggregate, export, load, report_json};

const BLOCKS: u32 = 5;

/// Two arms that take turns, so that no stack's rows are together; greedy, with all that a row may hold.
fn run() -> (RunManifest, Vec<RequestRecord>) {
    let mut run = manifest(preset());
    run.preset.run.blocks = NonZeroU32::new(BLOCKS).unwrap();
    run.end = Some(RunEnd { unix_ms: 1, interrupted: false, rows: 0 });
    let other = ArmManifest {
        label: "llama-server/none".to_owned(),
        stack: StackKind::LlamaServer,
        ..run.arms[0].clone()
    };
    run.arms.push(other);
    let mut rows = Vec::new();
    for block in 0..BLOCKS {
        for prompt in &run.preset.workload.prompts {
            for (nth, arm) in run.arms.iter().enumerate() {
                let mut row = record(&arm.label, block, rows.len() as u64);
                row.prompt_id.clone_from(&prompt.id);
                row.prompt_sha256 = prompt_sha256(prompt);
                row.sent_unix_ms += rows.len() as u64 * 977;
                odd(&mut row, nth, block);
                rows.push(row);
            }
        }
    }
    // Ended before one that was sent earlier.
    rows.swap(3, 4);
    (run, rows)
}

fn odd(row: &mut RequestRecord, arm: usize, block: u32) {
    row.timing.chunks[2].at_ns += 1_000_003 * u64::from(block) + 7 * arm as u64;
    row.arrival = Some(Arrival { slot: 0, intended_ns: 5, sent_ns: (block != 1).then_some(9) });
    row.output.retokenised = Some(3);
    row.readback = Some(Readback {
        model: Some(format!("model-{arm}")),
        fingerprint: None,
        sampling_changed: (block > 0).then(Vec::new),
    });
    if arm == 1 {
        row.token_ids = (block < 3).then(|| vec![1, 2, 3, 5]);
        row.text = "abce\n\"".to_owned();
        row.stack_timings = Some(serde_json::json!({ "top2_margins": [9.0, 9.0, 9.0, 0.125], "x": 0.1 }));
        row.timing.chunks[3].tokens = None;
        let spec = SpecCounts {
            drafted: 6,
            accepted: 3,
            verify_steps: Some(2),
            accepted_per_position: Some(vec![2, 1]),
            drafted_per_position: None,
            accepted_histogram: Some(vec![0, 1, 1]),
            source: SpecSource::ResponseBody,
        };
        row.spec_disputed = (block == 2).then(|| SpecCounts { drafted: 7, ..spec.clone() });
        row.spec = Some(spec);
    }
    if block == 4 {
        row.restarted_in_silence = true;
        row.outcome = Outcome::Failed {
            kind: FailureKind::Aborted,
            detail: "gone".to_owned(),
            hint: Some("look".to_owned()),
            death: Some(Death {
                program: "server".to_owned(),
                status: "signal 9".to_owned(),
                abort_site: None,
                log_tail: vec!["last words".to_owned()],
            }),
        };
    }
}

fn store(root: PathBuf, (run, rows): &(RunManifest, Vec<RequestRecord>)) -> PathBuf {
    let dir = RunDir::create(&root).unwrap();
    dir.write_manifest(run).unwrap();
    let mut writer = dir.row_writer().unwrap();
    rows.iter().for_each(|row| writer.append(row).unwrap());
    root
}

fn report(runs: &[PathBuf]) -> Report {
    aggregate(&load(runs).unwrap()).unwrap()
}

fn as_tables(runs: &[PathBuf], out: &Path) -> PathBuf {
    let loaded = load(runs).unwrap();
    export(&loaded, &aggregate(&loaded).unwrap(), ExportFormat::Parquet, out).unwrap();
    out.to_owned()
}

#[test]
fn tables_give_the_report_of_the_lines_they_came_from() {
    let dir = tempfile::tempdir().unwrap();
    let lines = store(dir.path().join("run"), &run());
    let tables = as_tables(std::slice::from_ref(&lines), &dir.path().join("tables"));
    let expected = report_json(&report(&[lines])).unwrap();
    assert!(expected.contains("\"near_tie\": 6") && expected.contains("\"defect\": 0"), "{expected}");
    assert_eq!(report_json(&report(std::slice::from_ref(&tables))).unwrap(), expected);
    // And once more from there.
    let again = as_tables(&[tables], &dir.path().join("again"));
    assert_eq!(report_json(&report(&[again])).unwrap(), expected);
}

#[test]
fn so_do_those_of_published_runs() {
    let dir = tempfile::tempdir().unwrap();
    let published = Path::new(env!("CARGO_MANIFEST_DIR")).join("published");
    let runs = published.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let runs: Vec<_> = runs.filter(|path| path.join("rows.jsonl").exists()).collect();
    assert!(runs.len() >= 5, "{runs:?}");
    for (run, nth) in runs.iter().zip(0..) {
        let tables = as_tables(std::slice::from_ref(run), &dir.path().join(nth.to_string()));
        let expected = report_json(&report(std::slice::from_ref(run))).unwrap();
        assert_eq!(report_json(&report(&[tables])).unwrap(), expected, "{}", run.display());
    }
}

#[test]
fn several_runs_and_shards_of_one_stay_apart_in_one_tree() {
    let dir = tempfile::tempdir().unwrap();
    let whole = run();
    let mut second = whole.clone();
    second.0.run_id = "second".to_owned();
    second.1.iter_mut().for_each(|row| "second".clone_into(&mut row.run_id));
    let runs = [("a", &whole), ("b", &second)].map(|(name, run)| store(dir.path().join(name), run));
    let tables = as_tables(&runs, &dir.path().join("runs"));
    assert_eq!(report_json(&report(&[tables])).unwrap(), report_json(&report(&runs)).unwrap());

    let part = |index: u32| {
        let (mut manifest, mut rows) = whole.clone();
        manifest.shard = Some(Shard { index, of: NonZeroU32::new(2).unwrap() });
        let prompt = manifest.preset.workload.prompts[index as usize].id.clone();
        rows.retain(|row| row.prompt_id == prompt);
        store(dir.path().join(format!("shard-{index}")), &(manifest, rows))
    };
    let shards = [part(0), part(1)];
    let tables = as_tables(&shards, &dir.path().join("shards"));
    assert_eq!(report_json(&report(&[tables])).unwrap(), report_json(&report(&shards)).unwrap());
}

#[test]
fn what_tables_do_not_hold_is_unknown_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let lines = store(dir.path().join("run"), &run());
    let tables = as_tables(std::slice::from_ref(&lines), &dir.path().join("tables"));
    std::fs::remove_dir_all(tables.join("chunks")).unwrap();
    let (with, without) = (report(&[lines]), report(std::slice::from_ref(&tables)));
    let arm = &without.arms[0];
    assert!(arm.inter_chunk.is_none() && arm.inter_token.is_none(), "{arm:?}");
    assert!(arm.latency.as_ref().unwrap().between_chunks.is_none() && arm.timeline.is_none());
    assert_eq!((arm.tokens_per_s, arm.ttft_ms), (with.arms[0].tokens_per_s, with.arms[0].ttft_ms));
    assert!(arm.tokens_per_s.is_some());
    assert!(without.notes.iter().any(|note| note.contains("has no table of chunks")), "{:?}", without.notes);

    std::fs::remove_dir_all(tables.join("runs")).unwrap();
    let error = load(&[tables]).unwrap_err();
    assert!(matches!(error, ResultsError::Tables { .. }) && error.hint().is_some(), "{error}");
    assert!(error.to_string().contains("it has no `runs/`"), "{error}");
}

#[test]
fn any_stamps_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let (mut manifest, mut rows) = run();
    manifest.run_id = "run".to_owned();
    // Backwards, at the ends of what 64 bits hold, many, few and none.
    let odd = [u64::MAX, 0, 1, u64::MAX / 2, 5, 5, 1 << 40];
    let chunks = odd.iter().cycle().zip(0_u32..);
    for (row, count) in rows.iter_mut().zip([0, 1, 7, 129, 3000, 0, 64]) {
        let chunk = |(at_ns, nth): (&u64, u32)| Chunk {
            at_ns: *at_ns,
            tokens: (nth % 3 > 0).then_some(u32::MAX - nth),
        };
        row.timing.chunks = chunks.clone().take(count).map(chunk).collect();
    }
    let lines = store(dir.path().join("run"), &(manifest, rows));
    let tables = as_tables(std::slice::from_ref(&lines), &dir.path().join("tables"));
    assert_eq!(report_json(&report(&[tables])).unwrap(), report_json(&report(&[lines])).unwrap());
}

#[test]
fn rows_that_change_under_a_report_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let lines = store(dir.path().join("run"), &run());
    let loaded = load(std::slice::from_ref(&lines)).unwrap();
    let rows = lines.join("rows.jsonl");
    let text = std::fs::read_to_string(&rows).unwrap();
    let refused = |changed: &str| {
        std::fs::write(&rows, changed).unwrap();
        let error = aggregate(&loaded).unwrap_err();
        assert!(matches!(error, ResultsError::ChangedRows { .. }) && error.hint().is_some(), "{error}");
    };
    refused("");
    refused(&format!("{{}}{text}"));
    refused(&text.replace("\"request_index\":", "\"request_index\":9"));
    std::fs::write(&rows, &text).unwrap();
    assert!(aggregate(&loaded).is_ok());
}
