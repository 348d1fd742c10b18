//! Runs in the forms of other tools, read back by what reads them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::float_cmp, reason = "equal to the last digit is what is promised")]

use std::fs::File;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::Command;

use bench_core::acceptance::SpeculationProfile;
use bench_core::jsonl::RowSink;
use bench_core::preset::{AcceptanceRule, DraftHead, SpecDecode, SpecVariant};
use bench_core::record::{ArmManifest, ArmStatus, RunEnd};
use bench_core::report::Report;
use bench_core::run_dir::{RunDir, prompt_sha256};
use bench_core::stack::{SpecCounts, SpecSource};
use bench_core::testing::{manifest, preset, record};
use bench_results::{ExportFormat, Exported, Loaded, aggregate, export, load, parse_import};
use polars::prelude::{DataFrame, SerReader};
use polars_io::parquet::read::ParquetReader;

const BLOCKS: u32 = 6;

/// Two arms, two prompts, six blocks; the second arm drafts three tokens in each of its two steps a request.
fn run(root: &Path) -> PathBuf {
    let mut run = manifest(preset());
    run.started_unix_ms = 1_795_427_408_000;
    let mtp = SpecDecode::Mtp {
        draft_max: NonZeroU32::new(3).unwrap(),
        acceptance: AcceptanceRule::SampleAndCompare,
        draft_head: DraftHead::Auto,
    };
    run.preset.variants.push(SpecVariant::new("mtp-3", mtp.clone()));
    run.preset.workload.max_tokens = NonZeroU32::new(4).unwrap();
    run.preset.run.blocks = NonZeroU32::new(BLOCKS).unwrap();
    let plain = run.arms[0].clone();
    let arm = |variant: &str, spec, status| ArmManifest {
        label: format!("native/{variant}"),
        variant: variant.to_owned(),
        spec,
        status,
        ..plain.clone()
    };
    let gone = ArmStatus::Skipped { reason: "it is not here".to_owned() };
    run.arms = vec![
        arm("none", SpecDecode::None, ArmStatus::Ready),
        arm("mtp-3", mtp, ArmStatus::Ready),
        arm("mtp-9", SpecDecode::None, gone),
    ];
    run.end = Some(RunEnd { unix_ms: 1, interrupted: false, rows: 0 });
    let dir = RunDir::create(root).unwrap();
    dir.write_manifest(&run).unwrap();
    let mut writer = dir.row_writer().unwrap();
    for block in 0..BLOCKS {
        for (nth, arm) in run.arms[..2].iter().enumerate() {
            for prompt in &run.preset.workload.prompts {
                let mut row = record(&arm.label, block, writer.rows());
                row.prompt_id.clone_from(&prompt.id);
                row.prompt_sha256 = prompt_sha256(prompt);
                row.sent_unix_ms += writer.rows() * 1000;
                for (chunk, index) in row.timing.chunks.iter_mut().zip(0_u64..) {
                    chunk.at_ns += index * (1_000 * u64::from(block) + 3_000_000 * nth as u64);
                }
                row.timing.last_token_ns = row.timing.chunks.last().map(|chunk| chunk.at_ns);
                row.spec = (nth == 1).then(|| SpecCounts {
                    drafted: 6,
                    accepted: 3,
                    verify_steps: Some(2),
                    accepted_per_position: Some(vec![2, 1]),
                    drafted_per_position: Some(vec![2, 2, 2]),
                    accepted_histogram: Some(vec![0, 1, 1]),
                    source: SpecSource::Engine,
                });
                writer.append(&row).unwrap();
            }
        }
    }
    root.to_owned()
}

struct Case {
    dir: tempfile::TempDir,
    loaded: Loaded,
    report: Report,
}

impl Case {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let loaded = load(&[run(&dir.path().join("run"))]).unwrap();
        let report = aggregate(&loaded).unwrap();
        Self { dir, loaded, report }
    }

    fn export(&self, format: ExportFormat) -> Exported {
        export(&self.loaded, &self.report, format, &self.dir.path().join("out")).unwrap()
    }

    fn only(&self, format: ExportFormat) -> String {
        let exported = self.export(format);
        let [file] = &exported.files[..] else { panic!("{exported:?}") };
        std::fs::read_to_string(file).unwrap()
    }
}

fn parquet(path: &Path) -> DataFrame {
    ParquetReader::new(File::open(path).unwrap()).finish().unwrap()
}

fn sum(table: &DataFrame, column: &str) -> u64 {
    table.column(column).unwrap().u64().unwrap().iter().flatten().sum()
}

#[test]
fn parquet_holds_every_request_and_every_chunk() {
    let case = Case::new();
    let exported = case.export(ExportFormat::Parquet);
    let out = case.dir.path().join("out");
    let partition = "run_date=2026-11-23/stack=native/preset=test/run.parquet";
    let paths = ["requests", "chunks"].map(|table| out.join(table).join(partition));
    let written = [&[out.join("runs/run/manifest.json")], &paths[..]].concat();
    assert_eq!((exported.files, exported.left_out), (written, Vec::new()));
    let [requests, chunks] = paths.map(|path| parquet(&path));
    assert_eq!((requests.height(), chunks.height()), (24, 96));
    assert_eq!((sum(&requests, "accepted_at_1"), sum(&requests, "accepted_at_2")), (24, 12));
    // Counted up to the second position: at the third it is 0, and unknown where nothing is counted.
    assert_eq!((sum(&requests, "accepted_at_3"), sum(&requests, "drafted_at_3")), (0, 24));
    assert_eq!(requests.column("accepted_at_1").unwrap().null_count(), 12);
    assert_eq!(sum(&requests, "chunks"), 96);
    assert_eq!(
        chunks.column("gap_ns").unwrap().null_count(),
        24,
        "the first chunk of each request has no gap"
    );
    let span = sum(&requests, "decode_span_ns");
    assert_eq!(sum(&chunks, "gap_ns"), span, "all gaps are all decode time");
}

#[test]
fn vllm_s_json_is_read_back_by_our_own_importer() {
    let case = Case::new();
    let exported = case.export(ExportFormat::VllmJson);
    assert_eq!(exported.left_out, ["native/mtp-9: it is not here"]);
    let names: Vec<_> =
        exported.files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["vllm-native-none.json", "vllm-native-mtp-3.json"]);
    for (file, arm) in exported.files.iter().zip(&case.report.arms) {
        let again = parse_import(&std::fs::read(file).unwrap(), ("ours", "abc"), None).unwrap();
        let read = &again.arms[0];
        assert_eq!((read.n_requests, read.failures), (arm.n_requests, 0));
        assert_eq!((read.output_tokens, read.prompt_tokens), (arm.output_tokens, arm.prompt_tokens));
        assert_eq!(read.ttft_ms.unwrap().point, arm.ttft_ms.unwrap().point);
        assert!((read.tokens_per_s.unwrap().point / arm.tokens_per_s.unwrap().point - 1.0).abs() < 1e-12);
        assert_eq!((read.drafted, read.accepted), (arm.drafted, arm.accepted));
        assert_eq!(read.accepted_per_position, arm.accepted_per_position);
        assert_eq!(read.inter_chunk.unwrap().count, arm.inter_chunk.unwrap().count);
    }
}

/// Every key of a file that `vllm bench serve` wrote with the same kind of value, but what only its client knows.
#[test]
fn every_key_of_a_real_file_is_in_ours() {
    let case = Case::new();
    let files = case.export(ExportFormat::VllmJson).files;
    let ours: serde_json::Value = serde_json::from_slice(&std::fs::read(&files[1]).unwrap()).unwrap();
    for name in ["vllm-detailed.json", "vllm-summary.json"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/imports").join(name);
        let theirs: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        for (key, value) in theirs.as_object().unwrap() {
            if ["queue_times", "errors", "rtfx"].contains(&key.as_str()) {
                continue;
            }
            let Some(mine) = ours.get(key) else { panic!("`{key}` of {name} is missing") };
            let comparable = !mine.is_null() && !value.is_null();
            assert!(
                !comparable || std::mem::discriminant(mine) == std::mem::discriminant(value),
                "{key}: {mine}"
            );
        }
    }
}

#[test]
fn the_block_and_the_tables_say_what_the_report_says() {
    let case = Case::new();
    let block = case.only(ExportFormat::Block);
    assert_eq!(block.matches("============ Serving Benchmark Result ============\n").count(), 3);
    assert!(block.contains("Successful requests:                     12\n"), "{block}");
    assert!(block.contains("Mean TTFT (ms):                          250.00\n"), "{block}");
    assert!(block.contains("Acceptance rate (%):                     50.00\n"), "{block}");
    assert!(block.contains("Skipped:         it is not here\n"), "{block}");

    let csv = case.only(ExportFormat::Csv);
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines.len(), 4);
    let column = |name: &str| lines[0].iter().position(|head| *head == name).unwrap();
    let rate: f64 = lines[2][column("tokens_per_s")].parse().unwrap();
    assert_eq!(rate, case.report.arms[1].tokens_per_s.unwrap().point);
    assert_eq!(lines[3][column("tokens_per_s")], "", "unknown is empty, not 0");
    assert!(case.only(ExportFormat::Markdown).starts_with("# test\n"));
}

#[test]
fn the_profile_gives_back_the_counts() {
    let case = Case::new();
    let text = case.only(ExportFormat::SpeculationProfile);
    let profile: SpeculationProfile = serde_json::from_str(&text).unwrap();
    assert_eq!((profile.schema_version.as_str(), profile.num_speculative_tokens), ("1.0", 3));
    let counts = profile.to_counts().unwrap();
    assert_eq!((counts.accepted, counts.verify_steps), (36, Some(24)));
    assert_eq!(profile.measurement_conditions["arm"], "native/mtp-3");
}

/// The queries of docs/results.md, word by word, over an export. Needs Python with `duckdb`, which `.ci/run` installs and
/// names in `BENCH_DUCKDB_PYTHON`.
#[test]
fn the_documented_queries_agree_with_the_report() {
    let Ok(python) = std::env::var("BENCH_DUCKDB_PYTHON") else {
        assert!(
            std::env::var("BENCH_REQUIRE_DUCKDB").is_err(),
            "BENCH_DUCKDB_PYTHON has to name a Python with duckdb"
        );
        eprintln!("skipped: BENCH_DUCKDB_PYTHON is not set");
        return;
    };
    let case = Case::new();
    case.export(ExportFormat::Parquet);
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(python)
        .arg(here.join("check/queries.py"))
        .arg(here.join("../docs/results.md"))
        .current_dir(case.dir.path().join("out"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answers: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(answers.as_array().unwrap().len() >= 4, "{answers}");
    let arm = &case.report.arms[1];
    let row = |query: usize, label: &str| {
        let rows = answers[query].as_array().unwrap();
        rows.iter().find(|row| row["arm"] == label).unwrap().clone()
    };
    let value = |query, column: &str| row(query, &arm.label)[column].as_f64().unwrap();
    assert_eq!(value(0, "tokens_per_s"), arm.tokens_per_s.unwrap().point);
    assert_eq!(value(0, "acceptance_rate"), arm.acceptance_rate.unwrap().point);
    assert_eq!(value(1, "p99_ms"), arm.inter_chunk.unwrap().p99_ms);
    assert_eq!(value(1, "mean_ms"), arm.inter_chunk.unwrap().mean_ms);
    assert_eq!(value(2, "accepted_1"), 1.0);
}
