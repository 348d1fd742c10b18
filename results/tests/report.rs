//! From a run on disk to its report: a generated run with planted speeds, a failed request and a skipped stack.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::float_cmp, reason = "equal to the last digit is what is promised")]

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use bench_core::jsonl::RowSink;
use bench_core::preset::{
    AcceptanceRule, DraftHead, Preset, PromptSpec, SpecDecode, SpecVariant, StackChoice, StackKind,
    SyntheticRates,
};
use bench_core::record::{ArmManifest, ArmStatus, Outcome, Phase, RequestRecord, RunEnd, RunManifest};
use bench_core::report::{ArmReport, Report, Verdict};
use bench_core::run_dir::{RunDir, prompt_sha256};
use bench_core::stack::{FailureKind, Readback, SpecCounts, SpecSource};
use bench_core::testing::{manifest, preset, record, stack_info};
use bench_results::{ResultsError, aggregate, load, report_json, write_files};

const BLOCKS: u32 = 6;

fn experiment() -> Preset {
    let mut preset = preset();
    let mtp = |draft_max| SpecDecode::Mtp {
        draft_max: NonZeroU32::new(draft_max).unwrap(),
        acceptance: AcceptanceRule::SampleAndCompare,
        draft_head: DraftHead::Auto,
    };
    preset.variants = vec![
        SpecVariant::new("none", SpecDecode::None),
        SpecVariant::new("mtp-2", mtp(2)),
        SpecVariant::new("mtp-4", mtp(4)),
    ];
    preset.stacks.push(StackChoice { kind: StackKind::LlamaServer, required: false, command: Vec::new() });
    let mut third = preset.workload.prompts[0].clone();
    third.id = "c".to_owned();
    third.text = "third".to_owned();
    preset.workload.prompts.push(third);
    preset.workload.max_tokens = NonZeroU32::new(4).unwrap();
    preset.run.blocks = NonZeroU32::new(BLOCKS).unwrap();
    preset
}

fn arms(preset: &Preset, second: &ArmStatus) -> Vec<ArmManifest> {
    let mut arms = Vec::new();
    for stack in &preset.stacks {
        for variant in &preset.variants {
            let status = if stack.kind == StackKind::Native { ArmStatus::Ready } else { second.clone() };
            arms.push(ArmManifest {
                label: format!("{}/{}", stack.kind, variant.label),
                stack: stack.kind,
                variant: variant.label.clone(),
                spec: variant.spec.clone(),
                info: (status == ArmStatus::Ready).then(stack_info),
                config_sha256: None,
                kv_quality: None,
                status,
                concurrency: None,
            });
        }
    }
    arms
}

fn rows(run: &RunManifest) -> Vec<RequestRecord> {
    let mut rows = Vec::new();
    let ready = run.arms.iter().filter(|arm| arm.status == ArmStatus::Ready);
    for (arm, nth) in ready.zip(0_u64..) {
        for block in 0..BLOCKS {
            for (prompt, slot) in run.preset.workload.prompts.iter().zip(0_u64..) {
                let mut row = record(&arm.label, block, rows.len() as u64);
                row.run_id.clone_from(&run.run_id);
                row.prompt_id.clone_from(&prompt.id);
                row.category.clone_from(&prompt.category);
                row.prompt_sha256 = prompt_sha256(prompt);
                // Arms 0, 1, 2: gaps of about 10, 7 and 4 ms.
                let gap = (10 - 3 * (nth % 3)) * 1_000_000 + u64::from(block) * 10_007 + slot * 1_003;
                for (chunk, index) in row.timing.chunks.iter_mut().zip(0..) {
                    chunk.at_ns = 250_000_000 + index * gap;
                }
                row.timing.last_token_ns = row.timing.chunks.last().map(|chunk| chunk.at_ns);
                row.spec = arm.spec.draft_max().map(|max| SpecCounts {
                    drafted: 2 * u64::from(max.get()),
                    accepted: 1 + slot,
                    verify_steps: Some(2),
                    // Sums to `accepted`, and never rises.
                    accepted_per_position: Some(vec![1 + slot / 2, slot.div_ceil(2)]),
                    drafted_per_position: Some(vec![2; usize::try_from(max.get()).unwrap()]),
                    accepted_histogram: None,
                    source: SpecSource::Engine,
                });
                rows.push(row);
            }
        }
    }
    rows
}

fn run(second: &ArmStatus) -> (RunManifest, Vec<RequestRecord>) {
    let mut run = manifest(experiment());
    run.arms = arms(&run.preset, second);
    run.host.cpu = Some("Test CPU".to_owned());
    let rows = rows(&run);
    run.end = Some(RunEnd { unix_ms: 1, interrupted: false, rows: rows.len() as u64 });
    (run, rows)
}

fn skipped() -> ArmStatus {
    ArmStatus::Skipped { reason: "llama-server is not installed".to_owned() }
}

fn store(root: &Path, run: &RunManifest, rows: &[RequestRecord]) -> PathBuf {
    let dir = RunDir::create(root).unwrap();
    dir.write_manifest(run).unwrap();
    let mut writer = dir.row_writer().unwrap();
    rows.iter().for_each(|row| writer.append(row).unwrap());
    root.to_owned()
}

fn report(run: &RunManifest, rows: &[RequestRecord]) -> Report {
    let dir = tempfile::tempdir().unwrap();
    aggregate(&load(&[store(&dir.path().join("run"), run, rows)]).unwrap()).unwrap()
}

fn arm<'a>(report: &'a Report, label: &str) -> &'a ArmReport {
    report.arms.iter().find(|arm| arm.label == label).unwrap()
}

/// The formulas of docs/metrics.md, word by word.
#[test]
fn plain_sums_give_the_same_last_digit() {
    let (run, rows) = run(&ArmStatus::Ready);
    let report = report(&run, &rows);
    assert_eq!((report.arms.len(), report.blocks), (6, BLOCKS));
    for arm in &report.arms {
        let mine: Vec<_> = rows.iter().filter(|row| row.arm == arm.label).collect();
        let (mut tokens, mut span_ns, mut drafted, mut accepted, mut steps) = (0, 0, 0, 0, 0);
        for row in &mine {
            tokens += row.output.tokens.unwrap() - row.timing.chunks[0].tokens.unwrap();
            span_ns += row.timing.last_token_ns.unwrap() - row.timing.chunks[0].at_ns;
            if let Some(spec) = &row.spec {
                drafted += spec.drafted;
                accepted += spec.accepted;
                steps += spec.verify_steps.unwrap();
            }
        }
        let rate = arm.tokens_per_s.unwrap();
        assert_eq!(rate.point, f64::from(tokens) * 1e9 / span_ns as f64);
        assert!(rate.low.unwrap() <= rate.point && rate.point <= rate.high.unwrap());
        assert_eq!(arm.output_tokens, Some(4 * mine.len() as u64));
        assert!(arm.valid, "{:?}", arm.invalid_reasons);
        if drafted > 0 {
            assert_eq!(
                (arm.drafted, arm.accepted, arm.verify_steps),
                (Some(drafted), Some(accepted), Some(steps))
            );
            assert_eq!(arm.acceptance_rate.unwrap().point, accepted as f64 / drafted as f64);
            assert_eq!(arm.acceptance_length.unwrap().point, 1.0 + accepted as f64 / steps as f64);
            assert_eq!(arm.accepted_per_position, Some(vec![24, 12]));
        } else {
            assert_eq!((arm.drafted, arm.acceptance_rate), (None, None));
        }
    }
}

/// Six prompts of code that accept differently, one of prose; every block repeats the counts, as greedy decoding does.
fn two_categories() -> (RunManifest, Vec<RequestRecord>) {
    let mut planted = manifest(experiment());
    let first = planted.preset.workload.prompts[0].clone();
    planted.preset.workload.prompts = (0..7)
        .map(|nth| PromptSpec {
            id: format!("p{nth}"),
            category: if nth < 6 { "code" } else { "prose" }.to_owned(),
            text: format!("prompt {nth}"),
            ..first.clone()
        })
        .collect();
    planted.arms = arms(&planted.preset, &ArmStatus::Ready);
    let mut rows = rows(&planted);
    let number = |row: &RequestRecord| row.prompt_id[1..].parse::<u64>().unwrap();
    for row in rows.iter_mut() {
        let nth = number(row);
        let llama = row.arm.starts_with("llama-server");
        let Some(spec) = row.spec.as_mut() else { continue };
        // Ten steps, eight of which drafted; the second position saw as many drafts as the first was accepted.
        let (first, second) = (nth + 2, nth / 2);
        *spec = SpecCounts {
            drafted: 8 + first,
            accepted: first + second,
            verify_steps: Some(10),
            accepted_per_position: Some(vec![first, second]),
            drafted_per_position: (!llama).then(|| vec![8, first]),
            accepted_histogram: None,
            source: SpecSource::Engine,
        };
    }
    (planted, rows)
}

#[test]
fn acceptance_by_category_is_over_prompts() {
    let (run, rows) = two_categories();
    let report = report(&run, &rows);
    let mtp = arm(&report, "native/mtp-2");
    let [code, prose] = &mtp.categories[..] else { panic!("{:?}", mtp.categories) };
    assert_eq!((&*code.category, code.prompts, &*prose.category, prose.prompts), ("code", 6, "prose", 1));
    // First positions 2, 3, ... 7, second ones 0, 0, 1, 1, 2, 2, in each of six blocks.
    assert_eq!((code.drafted, code.accepted), (Some(6 * (48 + 27)), Some(6 * (27 + 6))));
    assert_eq!(code.verify_steps, Some(360));
    assert_eq!(code.acceptance_rate.unwrap().point, 33.0 / 75.0);
    assert_eq!(code.acceptance_length.unwrap().point, 1.0 + 33.0 / 60.0);
    let [first, second] = &code.positions.as_ref().unwrap()[..] else { panic!("{code:?}") };
    assert_eq!((first.drafted, first.accepted), (Some(288), 162));
    assert_eq!((second.drafted, second.accepted), (Some(162), 36));
    assert_eq!(first.conditional.unwrap().point, 27.0 / 48.0);
    assert_eq!(first.conditional, first.marginal);
    assert_eq!(second.conditional.unwrap().point, 6.0 / 27.0);
    // Of the steps that drafted, not of all ten.
    assert_eq!(second.marginal.unwrap().point, 6.0 / 48.0);
    let rate = code.acceptance_rate.unwrap();
    assert!(rate.low.unwrap() < rate.point - 0.05 && rate.high.unwrap() > rate.point + 0.05, "{rate:?}");
    // One prompt has no interval, however often it was asked; its speed does vary with the block.
    assert_eq!(prose.acceptance_rate.unwrap().low, None);
    assert!(prose.tokens_per_s.unwrap().low.is_some());

    // The counts of the categories are those of the arm.
    assert_eq!(mtp.drafted, Some(code.drafted.unwrap() + prose.drafted.unwrap()));
    assert_eq!(
        mtp.acceptance_rate.unwrap().point,
        mtp.accepted.unwrap() as f64 / mtp.drafted.unwrap() as f64
    );
}

#[test]
fn a_category_shows_what_is_known_and_no_more() {
    let (run, mut rows) = two_categories();
    // One request of code that does not tell its counts.
    let silent = rows.iter_mut().find(|row| row.arm == "native/mtp-4" && row.category == "code").unwrap();
    silent.spec = None;
    let report = report(&run, &rows);
    let plain = &arm(&report, "native/none").categories;
    assert_eq!((plain.len(), plain[0].drafted, &plain[0].positions), (2, None, &None));
    assert!(plain[0].tokens_per_s.is_some() && plain[0].ratio.is_none(), "the baseline has no baseline");
    let mtp = &arm(&report, "native/mtp-2").categories;
    assert!(mtp.iter().all(|category| category.ratio.is_some_and(|ratio| ratio.low.unwrap() > 1.0)));

    // The server counts what was accepted at a position, and not what was drafted there.
    let server = &arm(&report, "llama-server/mtp-2").categories[0];
    let [first, _] = &server.positions.as_ref().unwrap()[..] else { panic!("{server:?}") };
    assert_eq!((first.accepted, first.drafted, first.conditional, first.marginal), (162, None, None, None));
    assert!(server.acceptance_rate.is_some());

    let [code, prose] = &arm(&report, "native/mtp-4").categories[..] else { panic!() };
    assert_eq!((code.drafted, code.acceptance_rate, code.acceptance_length), (None, None, None));
    assert_eq!((&code.positions, code.ratio), (&None, None), "the arm is invalid");
    assert!(prose.acceptance_rate.is_some() && prose.positions.is_some());
}

#[test]
fn reports_from_before_the_categories_are_read() {
    let published = Path::new(env!("CARGO_MANIFEST_DIR")).join("published");
    let runs = std::fs::read_dir(published).unwrap().map(|entry| entry.unwrap().path());
    let reports: Vec<Report> = runs
        // Kernel measurements are published beside runs and have no report.
        .filter(|folder| folder.join("report").exists())
        .map(|run| std::fs::read(run.join("report/report.json")).unwrap())
        .map(|json| serde_json::from_slice(&json).unwrap())
        .collect();
    assert!(reports.iter().any(|report| !report.arms.is_empty()));
}

#[test]
fn comparisons_are_within_a_stack_and_across_equal_variants() {
    let (run, rows) = run(&ArmStatus::Ready);
    let report = report(&run, &rows);
    let pairs: Vec<_> = report.comparisons.iter().map(|c| (&*c.baseline, &*c.candidate, c.verdict)).collect();
    assert_eq!(
        pairs,
        [
            ("native/none", "native/mtp-2", Verdict::Faster),
            ("native/none", "native/mtp-4", Verdict::Faster),
            ("llama-server/none", "llama-server/mtp-2", Verdict::Faster),
            ("llama-server/none", "llama-server/mtp-4", Verdict::Faster),
            ("native/none", "llama-server/none", Verdict::Equivalent),
            ("native/mtp-2", "llama-server/mtp-2", Verdict::Equivalent),
            ("native/mtp-4", "llama-server/mtp-4", Verdict::Equivalent),
        ]
    );
    assert!(report.comparisons.iter().all(|c| c.pairs == 18 && c.same_output == Some(true)));
    assert_eq!(report.comparisons[4].ratio.unwrap().point, 1.0);
}

#[test]
fn a_failure_invalidates_and_a_missing_stack_does_not() {
    let (run, mut rows) = run(&skipped());
    let failed = rows.iter_mut().find(|row| row.arm == "native/mtp-2").unwrap();
    failed.outcome =
        Outcome::Failed { kind: FailureKind::Aborted, detail: "cut off".to_owned(), hint: None, death: None };
    let mut warmup = rows[0].clone();
    warmup.phase = Phase::Warmup;
    warmup.outcome = Outcome::Cancelled;
    rows.push(warmup);
    let report = report(&run, &rows);

    let broken = arm(&report, "native/mtp-2");
    assert_eq!((broken.n_requests, broken.failures, broken.valid), (18, 1, false));
    assert_eq!(broken.invalid_reasons, ["1 failures in 18 requests (1 x aborted)"]);
    assert_eq!(broken.failure_kinds[0].first_message, "cut off");
    assert_eq!(arm(&report, "native/none").failures, 0, "warm-up was counted");
    let missing = arm(&report, "llama-server/mtp-4");
    assert_eq!(missing.skipped.as_deref(), Some("llama-server is not installed"));
    assert_eq!((missing.failures, missing.n_requests, missing.valid), (0, 0, false));
    assert!(missing.tokens_per_s.is_none() && missing.invalid_reasons.is_empty());
    let verdicts: Vec<_> = report.comparisons.iter().map(|c| c.verdict).collect();
    assert_eq!(verdicts[..2], [Verdict::NotComparable, Verdict::Faster]);
    assert!(verdicts[2..].iter().all(|verdict| *verdict == Verdict::NotComparable));
    assert_eq!(report.comparisons[0].ratio, None);
}

#[test]
fn every_doubt_is_a_reason() {
    type Spoil = fn(&mut RequestRecord);
    let doubts: [(Spoil, &str); 6] = [
        (|row| row.output.disputed = true, "disputed by two sources in 1 of 18"),
        (|row| row.output.tokens = None, "output count unknown in 1 of 18"),
        (|row| row.output.tokens = Some(3), "1 of 18 requests emitted other than 4 tokens"),
        (|row| row.spec = None, "drafts unknown in 1 of 18"),
        (|row| row.prompt_sha256 = "0".repeat(64), "prompt text differs"),
        (|row| row.timing.chunks.truncate(1), "no decode time"),
    ];
    for (spoil, reason) in doubts {
        let (run, mut rows) = run(&skipped());
        let row = rows.iter_mut().find(|row| row.arm == "native/mtp-4").unwrap();
        spoil(row);
        row.timing.last_token_ns = row.timing.chunks.last().map(|chunk| chunk.at_ns);
        let report = report(&run, &rows);
        let reasons = arm(&report, "native/mtp-4").invalid_reasons.join("; ");
        assert!(reasons.contains(reason), "{reason}: {reasons}");
        assert!(arm(&report, "native/none").valid);
    }
}

#[test]
fn what_the_stack_says_of_itself_counts() {
    let (mut run, mut rows) = run(&skipped());
    for arm in &mut run.arms[..3] {
        let info = arm.info.as_mut().unwrap();
        info.kv_type = Some("q8_0".to_owned());
        info.speculation = Some("mtp".to_owned());
    }
    rows.iter_mut().filter_map(|row| row.spec.as_mut()).for_each(|spec| {
        (spec.drafted, spec.accepted) = (0, 0);
        (spec.accepted_per_position, spec.drafted_per_position) = (None, None);
    });
    let report = report(&run, &rows);
    let kv = "KV cache in force is q8_0, the preset asks for f16".to_owned();
    let none = "speculation in force is mtp, the preset asks for none".to_owned();
    assert_eq!(arm(&report, "native/none").invalid_reasons, [kv.clone(), none]);
    let nothing = "speculation asked (mtp), nothing drafted".to_owned();
    assert_eq!(arm(&report, "native/mtp-2").invalid_reasons, [nothing, kv]);
}

#[test]
fn runs_merge_only_if_they_are_repetitions() {
    let dir = tempfile::tempdir().unwrap();
    let (first, rows) = run(&skipped());
    let a = store(&dir.path().join("a"), &first, &rows);
    let again = |name: &str, change: &dyn Fn(&mut RunManifest)| {
        let (mut run, mut rows) = run(&skipped());
        run.run_id = name.to_owned();
        rows.iter_mut().for_each(|row| row.run_id = name.to_owned());
        change(&mut run);
        store(&dir.path().join(name), &run, &rows)
    };
    let b = again("b", &|run| run.host.load_before = Some(3.0));
    let merged = aggregate(&load(&[a.clone(), b]).unwrap()).unwrap();
    assert_eq!((merged.blocks, merged.arms.len(), merged.run_ids.len()), (2 * BLOCKS, 6, 2));
    assert_eq!(merged.comparisons[0].pairs, 36);

    let other_preset = again("c", &|run| run.preset_sha256 = "1".repeat(64));
    let other_weights = again("w", &|run| run.target_sha256 = Some("2".repeat(64)));
    let other_host = again("d", &|run| run.host.cpu = Some("Other".to_owned()));
    for (other, word) in [
        (other_preset, "presets"),
        (other_weights, "model files"),
        (other_host, "machines"),
        (a.clone(), "both are the run"),
    ] {
        let error = load(&[a.clone(), other]).unwrap_err();
        assert!(matches!(error, ResultsError::Unlike { .. }) && error.to_string().contains(word), "{error}");
        assert!(error.hint().unwrap().contains("report each run alone"));
    }
    assert!(load(&[]).unwrap_err().hint().is_some());
}

#[test]
fn a_crash_is_told_and_costs_one_row() {
    let dir = tempfile::tempdir().unwrap();
    let (mut crashed, rows) = run(&skipped());
    crashed.end = None;
    let root = store(&dir.path().join("run"), &crashed, &rows);
    let path = RunDir::existing(&root).rows();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 20]).unwrap();
    let report = aggregate(&load(&[root]).unwrap()).unwrap();
    assert!(report.interrupted);
    assert!(report.notes.iter().any(|note| note.contains("one request is lost")), "{:?}", report.notes);
    assert_eq!((arm(&report, "native/mtp-4").n_requests, report.blocks), (17, BLOCKS - 1));
}

#[test]
fn the_files_say_what_the_report_says() {
    let dir = tempfile::tempdir().unwrap();
    let (run, rows) = run(&skipped());
    let loaded = load(&[store(&dir.path().join("run"), &run, &rows)]).unwrap();
    let report = aggregate(&loaded).unwrap();
    let out = dir.path().join("run/report");
    write_files(&loaded, &report, &out).unwrap();
    let json = std::fs::read_to_string(out.join("report.json")).unwrap();
    assert_eq!(json, report_json(&report).unwrap());
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    let text = std::fs::read_to_string(out.join("report.md")).unwrap();
    assert!(text.contains("| `native/mtp-4` | 18 | "), "{text}");
    assert!(text.contains("* `llama-server/none`: skipped: llama-server is not installed"), "{text}");
    assert!(text.contains("| `native/mtp-4` | `native/none` | 2.4"), "{text}");
    let row = "| `native/mtp-4` | prose | 3 | 36 / 144 | 25.0 | 67, 33, 0, 0 | 2.00 | ";
    assert!(text.contains(row), "{text}");
    assert!(text.contains("| `native/none` | prose | 3 |  |  |  |  | 99.7 "), "{text}");
    assert_eq!(std::fs::read(out.join("requests.parquet")).unwrap()[..4], *b"PAR1");
}

#[test]
fn the_report_says_who_counted() {
    let (run, mut rows) = run(&skipped());
    for (row, again) in rows.iter_mut().filter(|row| row.arm == "native/mtp-2").zip(0..) {
        row.output.retokenised = Some(if again < 2 { 5 } else { 4 });
    }
    let report = report(&run, &rows);
    let effective = &arm(&report, "native/mtp-2").effective;
    let of = |name: &str| effective.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    assert_eq!(of("output tokens"), Some("the ids of all tokens came, and nothing contradicts them"));
    assert_eq!(of("text made tokens again"), Some("the same count in 16 of 18 requests"));
    assert_eq!(of("acceptance counted by"), Some("our engine"));
    let plain = &arm(&report, "native/none").effective;
    assert!(plain.iter().all(|(key, _)| key != "acceptance counted by" && key != "text made tokens again"));
}

#[test]
fn whatever_changes_in_silence_is_named() {
    let (run, rows) = run(&skipped());
    let spoiled = |spoil: &dyn Fn(&mut RequestRecord)| {
        let mut rows = rows.clone();
        rows.iter_mut().filter(|row| row.arm == "native/mtp-2").take(2).for_each(spoil);
        arm(&report(&run, &rows), "native/mtp-2").invalid_reasons.clone()
    };
    let spec = |spec: &mut SpecCounts, drafted| spec.drafted = drafted;
    type Spoil<'a> = &'a dyn Fn(&mut RequestRecord);
    let cases: [(Spoil<'_>, &str); 7] = [
        (&|row| row.usage.cached_tokens = Some(7), "prompt tokens came from a cache in 2 of 18 requests"),
        (
            &|row| row.spec_disputed.clone_from(&row.spec),
            "drafted and accepted tokens disputed by two sources in 2 of 18",
        ),
        (
            &|row| spec(row.spec.as_mut().unwrap(), 0),
            "counts of speculation contradict each other in 2 of 18",
        ),
        (
            &|row| row.spec.as_mut().unwrap().accepted_per_position = Some(vec![1, 1, 1]),
            "more drafts a round accepted than the preset allows in 2 of 18",
        ),
        (
            &|row| row.restarted_in_silence = true,
            "another process answered than before, without a word in 2 of 18",
        ),
        (
            &|row| {
                let changed = vec!["temperature 0.7 instead of 0".to_owned()];
                row.readback = Some(Readback { sampling_changed: Some(changed), ..Readback::default() });
            },
            "sampling was changed on the way in 2 of 18 requests (temperature 0.7 instead of 0)",
        ),
        (
            &|row| {
                let model = Some(row.prompt_id.clone());
                row.readback = Some(Readback { model, ..Readback::default() });
            },
            "2 models answered: a, b",
        ),
    ];
    for (spoil, reason) in cases {
        let reasons = spoiled(spoil);
        assert!(reasons.iter().any(|found| found.starts_with(reason)), "{reason}: {reasons:?}");
    }
    assert_eq!(spoiled(&|_| {}), Vec::<String>::new());
}

#[test]
fn a_plain_arm_that_drafts_is_no_baseline() {
    let (run, mut rows) = run(&skipped());
    let speculates = rows.iter().find_map(|row| row.spec.clone());
    for row in rows.iter_mut().filter(|row| row.arm == "native/none") {
        row.spec.clone_from(&speculates);
    }
    let report = report(&run, &rows);
    assert_eq!(
        arm(&report, "native/none").invalid_reasons,
        ["plain decoding asked, and 72 tokens were drafted"]
    );
    assert_eq!(report.comparisons[0].verdict, Verdict::NotComparable);
}

#[test]
fn acceptance_under_the_floor_is_a_fault_unless_it_was_asked_for() {
    let (mut run, mut rows) = run(&skipped());
    for row in rows.iter_mut().filter(|row| row.arm == "native/mtp-2") {
        let spec = row.spec.as_mut().unwrap();
        (spec.drafted, spec.accepted, spec.accepted_per_position, spec.drafted_per_position) =
            (4, 0, None, None);
    }
    let reasons = |run: &RunManifest| arm(&report(run, &rows), "native/mtp-2").invalid_reasons.clone();
    assert_eq!(reasons(&run), ["0 of 72 drafts accepted (0.0 %), less than `run.min_acceptance` (1.0 %)"]);
    let synthetic = AcceptanceRule::Synthetic(SyntheticRates::new(vec![0.0, 0.0]).unwrap());
    let asked = run.arms.iter_mut().find(|arm| arm.label == "native/mtp-2").unwrap();
    let SpecDecode::Mtp { acceptance, .. } = &mut asked.spec else { panic!() };
    *acceptance = synthetic;
    assert_eq!(reasons(&run), Vec::<String>::new());
}

#[test]
fn text_of_planted_acceptance_is_held_against_no_other() {
    let (mut run, rows) = run(&skipped());
    let audited = |run: &RunManifest| {
        let report = report(run, &rows);
        let of = report.comparisons.iter().find(|comparison| comparison.candidate == "native/mtp-2").unwrap();
        (of.lossless.is_some(), of.same_output)
    };
    assert_eq!(audited(&run), (true, Some(true)));
    let asked = run.arms.iter_mut().find(|arm| arm.label == "native/mtp-2").unwrap();
    let SpecDecode::Mtp { acceptance, .. } = &mut asked.spec else { panic!() };
    *acceptance = AcceptanceRule::Synthetic(SyntheticRates::new(vec![0.5, 0.25]).unwrap());
    assert_eq!(audited(&run), (false, None));
}
