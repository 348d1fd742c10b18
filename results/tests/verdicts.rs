//! From rows to verdicts: several metrics, noise floors, looks, audits of outputs, and one run against another.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use bench_core::audit::DivergenceKind;
use bench_core::jsonl::RowSink;
use bench_core::load::Shard;
use bench_core::noise::{NoiseFloor, aa_preset};
use bench_core::preset::{
    AcceptanceRule, DraftHead, KvType, KvTypes, Preset, SpecDecode, SpecVariant, StackKind,
};
use bench_core::record::{ArmManifest, ArmStatus, RequestRecord, RunEnd, RunManifest};
use bench_core::report::{Comparison, Report, Verdict};
use bench_core::run_dir::{RunDir, prompt_sha256};
use bench_core::stack::{SpecCounts, SpecSource, StackInfo, TOP2_MARGINS};
use bench_core::stats::Metric;
use bench_core::testing::{manifest, preset, record, stack_info};
use bench_results::{Allowed, Loaded, ResultsError, aggregate, compare_runs, load, noise_floor};

const BLOCKS: u32 = 8;

/// Plain decoding and one way of speculating, two prompts, eight blocks.
fn experiment() -> Preset {
    let mut preset = preset();
    let mtp = SpecDecode::Mtp {
        draft_max: NonZeroU32::MIN,
        acceptance: AcceptanceRule::SampleAndCompare,
        draft_head: DraftHead::Auto,
    };
    preset.variants.push(SpecVariant::new("mtp", mtp));
    preset.workload.max_tokens = NonZeroU32::new(4).unwrap();
    preset.run.blocks = NonZeroU32::new(BLOCKS).unwrap();
    preset
}

/// "Up to" is a peak: of categories, and of single requests.
#[test]
fn the_best_category_and_request_stand_beside_the_mean() {
    let mut preset = experiment();
    preset.workload.prompts[1].category = "code".to_owned();
    let (manifest, mut rows) = run("a", preset, faster_by(300));
    for row in rows.iter_mut().filter(|row| row.prompt_id == "b") {
        row.category = "code".to_owned();
        // Code drafts better: half the time a token again, and in one block a quarter.
        if row.arm != "native/none" {
            let divisor = if row.block == 3 { 4 } else { 2 };
            let first = row.timing.chunks[0].at_ns;
            for chunk in &mut row.timing.chunks {
                chunk.at_ns = first + (chunk.at_ns - first) / divisor;
            }
            row.timing.last_token_ns = row.timing.chunks.last().map(|chunk| chunk.at_ns);
        }
    }
    let report = aggregate(&loaded(&(manifest, rows))).unwrap();
    let comparison = only(&report);
    let peak = comparison.peak.as_ref().unwrap();
    assert_eq!((peak.category.as_deref(), peak.prompt_id.as_str(), peak.block), (Some("code"), "b", 3));
    assert!((peak.request_ratio - 40.0 / 7.0).abs() < 0.05, "{peak:?}");
    let (code, mean) = (peak.category_ratio.unwrap().point, comparison.ratio.unwrap().point);
    assert!(code > 2.8 && mean > 1.9 && mean < code, "{code} {mean}");
}

/// A run whose arm `nth` needs `gap_us(nth, block)` microseconds a token; TTFT is 250 ms and a little more.
fn run(id: &str, preset: Preset, gap_us: impl Fn(usize, u32) -> u64) -> (RunManifest, Vec<RequestRecord>) {
    let mut run = manifest(preset);
    run.run_id = id.to_owned();
    run.host.cpu = Some("Test CPU".to_owned());
    run.arms = run.preset.variants.iter().map(|variant| arm(&variant.label, &variant.spec)).collect();
    let mut rows = Vec::new();
    for (nth, arm) in run.arms.iter().enumerate() {
        for block in 0..run.preset.run.blocks.get() {
            for prompt in &run.preset.workload.prompts {
                let mut row = record(&arm.label, block, rows.len() as u64);
                row.run_id = id.to_owned();
                row.prompt_id.clone_from(&prompt.id);
                row.prompt_sha256 = prompt_sha256(prompt);
                let first = 250_000_000 + u64::from(block) * 40_000;
                for (chunk, index) in row.timing.chunks.iter_mut().zip(0..) {
                    chunk.at_ns = first + index * gap_us(nth, block) * 1000;
                }
                row.timing.first_token_ns = row.timing.chunks.first().map(|chunk| chunk.at_ns);
                row.timing.last_token_ns = row.timing.chunks.last().map(|chunk| chunk.at_ns);
                row.spec = arm.spec.draft_max().map(|_| SpecCounts {
                    drafted: 4,
                    accepted: 2,
                    verify_steps: Some(2),
                    accepted_per_position: None,
                    drafted_per_position: None,
                    accepted_histogram: None,
                    source: SpecSource::Engine,
                });
                rows.push(row);
            }
        }
    }
    run.end = Some(RunEnd { unix_ms: 1, interrupted: false, rows: rows.len() as u64 });
    (run, rows)
}

fn arm(variant: &str, spec: &SpecDecode) -> ArmManifest {
    ArmManifest {
        label: format!("native/{variant}"),
        stack: StackKind::Native,
        variant: variant.to_owned(),
        spec: spec.clone(),
        status: ArmStatus::Ready,
        info: Some(stack_info()),
        config_sha256: None,
        kv_quality: None,
        concurrency: None,
    }
}

fn store(root: &Path, (run, rows): &(RunManifest, Vec<RequestRecord>)) -> PathBuf {
    let dir = RunDir::create(root).unwrap();
    dir.write_manifest(run).unwrap();
    let mut writer = dir.row_writer().unwrap();
    rows.iter().for_each(|row| writer.append(row).unwrap());
    root.to_owned()
}

/// A run and its directory, which answers are read from again.
struct Stored {
    loaded: Loaded,
    _dir: tempfile::TempDir,
}

impl std::ops::Deref for Stored {
    type Target = Loaded;

    fn deref(&self) -> &Loaded {
        &self.loaded
    }
}

fn loaded(run: &(RunManifest, Vec<RequestRecord>)) -> Stored {
    let dir = tempfile::tempdir().unwrap();
    Stored { loaded: load(&[store(&dir.path().join("run"), run)]).unwrap(), _dir: dir }
}

fn only(report: &Report) -> &Comparison {
    let [comparison] = &report.comparisons[..] else { panic!("{:?}", report.comparisons) };
    comparison
}

/// 10 ms a token for plain decoding; for the other arm by so many thousandths less, a little different by block.
fn faster_by(thousandths: u64) -> impl Fn(usize, u32) -> u64 {
    move |nth, block| {
        let own = if nth == 0 { 10_000 } else { 10_000 - 10 * thousandths };
        own + 3 * ((u64::from(block) * 7 + nth as u64 * 3) % 5)
    }
}

#[test]
fn every_metric_has_its_ratio_its_tests_and_its_word() {
    let run = run("a", experiment(), faster_by(300));
    let report = aggregate(&loaded(&run)).unwrap();
    let comparison = only(&report);
    assert_eq!((comparison.verdict, comparison.pairs), (Verdict::Faster, 16));
    let ratio = comparison.ratio.unwrap();
    assert!((ratio.point - 10.0 / 7.0).abs() < 0.01 && ratio.low.unwrap() > 1.4, "{ratio:?}");
    let sums = comparison.ratio_of_sums.unwrap();
    assert!((sums.point - ratio.point).abs() < 0.01, "{sums:?}");
    // Two prompts are too few to speak of others.
    assert_eq!(comparison.other_prompts.unwrap().low, None);
    let test = comparison.test.unwrap();
    assert_eq!((test.blocks, test.noise_floor), (8, None));
    // All eight blocks on one side: 2 of 256 choices of signs.
    assert!((test.p_ranks.unwrap() - 2.0 / 256.0).abs() < 1e-12);
    assert!(test.p_holm.unwrap() >= test.p_value.unwrap() && test.p_holm.unwrap() < 1e-6);
    assert!(test.detectable.unwrap() < 0.01);

    let of = |metric| comparison.other_metrics.iter().find(|other| other.metric == metric).unwrap();
    assert_eq!(of(Metric::E2eTokensPerS).verdict, Verdict::Faster);
    // The same first token in every block: not a difference anybody would act on.
    assert_eq!(of(Metric::TtftMs).verdict, Verdict::Equivalent);
    assert!(report.method_notes.iter().any(|note| note.contains("no noise floor is known")));
}

/// Variants that differ in their KV types are compared in speed, by name, and no output is held against another's.
#[test]
fn kv_types_of_one_run_are_compared_and_named() {
    let mut preset = experiment();
    preset.variants = ["f16", "turbo3", "f16-mtp", "turbo3-mtp"]
        .map(|label| {
            let spec = preset.variants[usize::from(label.ends_with("-mtp"))].spec.clone();
            let kv_type = label.starts_with("turbo3").then(|| KvTypes::same(KvType::Turbo3));
            SpecVariant { label: label.to_owned(), spec, kv_type }
        })
        .to_vec();
    let (mut manifest, rows) = run("a", preset, |nth, block| faster_by(100 * nth as u64)(nth, block));
    for arm in &mut manifest.arms {
        let types = manifest.preset.kv_types_of(&arm.variant).to_string();
        arm.info.as_mut().unwrap().kv_type = Some(types);
    }
    let report = aggregate(&loaded(&(manifest.clone(), rows.clone()))).unwrap();
    let pairs: Vec<_> = report.comparisons.iter().map(|c| (&*c.baseline, &*c.candidate)).collect();
    assert_eq!(
        pairs,
        [
            ("native/f16", "native/turbo3"),
            ("native/f16", "native/f16-mtp"),
            ("native/f16", "native/turbo3-mtp"),
            ("native/turbo3", "native/turbo3-mtp"),
            ("native/f16-mtp", "native/turbo3-mtp"),
        ]
    );
    assert!(report.comparisons.iter().all(|c| c.verdict == Verdict::Faster), "{:?}", report.comparisons);
    let audited: Vec<_> = report.comparisons.iter().map(|c| c.lossless.is_some()).collect();
    assert_eq!(audited, [false, true, false, true, false], "outputs of one type only");
    let note = report.method_notes.iter().find(|note| note.contains("KV caches of different types"));
    let named = "(f16 f16, turbo3 turbo3, f16-mtp f16, turbo3-mtp turbo3)";
    assert!(note.is_some_and(|note| note.contains(named)), "{:?}", report.method_notes);

    // A type that is in force and was not asked for is no comparison of types.
    manifest.arms[1].info.as_mut().unwrap().kv_type = Some("q8_0".to_owned());
    let report = aggregate(&loaded(&(manifest, rows))).unwrap();
    assert!(!report.arms[1].valid && report.arms[1].invalid_reasons[0].contains("q8_0"));
    assert_eq!(report.comparisons[0].verdict, Verdict::NotComparable);
}

#[test]
fn claims_below_the_noise_floor_are_refused_and_those_above_are_not() {
    // An A/A run whose arms differ by up to 4 % from block to block.
    let noisy =
        run("aa", aa_preset(experiment()), |nth, block| 10_000 + 400 * ((u64::from(block) + nth as u64) % 2));
    let noisy = loaded(&noisy);
    let floor = noise_floor(&noisy, &aggregate(&noisy).unwrap()).unwrap().unwrap();
    assert_eq!((floor.run_id.as_str(), floor.entries.len()), ("aa", 3));
    let known = floor.of(StackKind::Native, Metric::TokensPerS).unwrap();
    assert!((0.01..0.08).contains(&known), "{floor:?}");

    let verdict = |thousandths, floor: Option<NoiseFloor>| {
        let mut planted = run("a", experiment(), faster_by(thousandths));
        planted.0.noise_floor = floor;
        let comparison = only(&aggregate(&loaded(&planted)).unwrap()).clone();
        (comparison.verdict, comparison.why)
    };
    assert_eq!(verdict(20, None), (Verdict::Faster, None));
    let (word, why) = verdict(20, Some(floor.clone()));
    assert_eq!(word, Verdict::NotResolved);
    assert!(why.unwrap().starts_with("under the noise floor"));
    assert_eq!(verdict(200, Some(floor.clone())), (Verdict::Faster, None));

    // A run that is no A/A run tells nothing of the machine.
    let other = loaded(&run("a", experiment(), faster_by(20)));
    assert_eq!(noise_floor(&other, &aggregate(&other).unwrap()).unwrap(), None);
    // A floor that became known later counts, too.
    let later = aggregate(&other.clone().or_noise_floor(Some(floor))).unwrap();
    assert_eq!(only(&later).verdict, Verdict::NotResolved);
}

#[test]
fn allowed_looks_widen_every_interval() {
    let of = |max_looks| {
        let mut planted = run("a", experiment(), faster_by(100));
        planted.0.preset.run.max_looks = max_looks;
        aggregate(&loaded(&planted)).unwrap()
    };
    let (one, four) = (of(1), of(4));
    assert!((one.confidence - 0.95).abs() < 1e-12 && (four.confidence - 0.9818).abs() < 1e-12);
    let width = |report: &Report| {
        let ratio = only(report).ratio.unwrap();
        ratio.high.unwrap() - ratio.low.unwrap()
    };
    assert!(width(&four) > 1.2 * width(&one));
    assert!(four.method_notes[0].contains("up to 4 looks"), "{:?}", four.method_notes);
    assert!(one.method_notes.iter().all(|note| !note.contains("looks")));
}

#[test]
fn a_near_tie_and_a_defect_are_told_apart_in_every_form_of_the_report() {
    let mut planted = run("a", experiment(), faster_by(300));
    for (row, ids) in planted.1.iter_mut().zip(0_u32..) {
        let prompt = u32::from(row.prompt_id == "b");
        row.token_ids = Some(vec![1, 2, 3, 4]);
        row.text = "one two | three".to_owned();
        let is_first_block = row.block == 0;
        if row.arm == "native/none" {
            // Prompt a has a near tie at its third token, prompt b has none.
            let third = if prompt == 0 { 0.1 } else { 4.0 };
            row.stack_timings = Some(serde_json::json!({ TOP2_MARGINS: [9.0, 9.0, third, 9.0] }));
        } else if is_first_block {
            row.token_ids = Some(vec![1, 2, 90 + ids, 4]);
            row.text = "one two `four`".to_owned();
        }
    }
    let loaded = loaded(&planted);
    let report = aggregate(&loaded).unwrap();
    let comparison = only(&report);
    assert_eq!(comparison.same_output, Some(false));
    let audit = comparison.lossless.as_ref().unwrap();
    assert_eq!((audit.requests, audit.identical, audit.near_tie, audit.defect), (16, 14, 1, 1));
    let first = audit.first.as_ref().unwrap();
    assert_eq!((first.prompt_id.as_str(), first.divergence.kind), ("b", DivergenceKind::Defect));
    assert_eq!((first.divergence.token, first.divergence.margin), (Some(2), Some(4.0)));

    let out = tempfile::tempdir().unwrap();
    bench_results::write_files(&loaded, &report, out.path()).unwrap();
    let markdown = std::fs::read_to_string(out.path().join("report.md")).unwrap();
    assert!(
        markdown.contains(
            "| 16 | 14 | 1 | 1 | 0 | `b`, token 2, logits 4.000 apart: `one two` then `¦ three` or `'four'` |"
        ),
        "{markdown}"
    );
    let json: Report =
        serde_json::from_slice(&std::fs::read(out.path().join("report.json")).unwrap()).unwrap();
    assert_eq!(json.comparisons, report.comparisons);
}

#[test]
fn two_runs_are_compared_arm_by_arm_on_their_own_blocks() {
    let a = loaded(&run("a", experiment(), faster_by(0)));
    let b = loaded(&run("b", experiment(), faster_by(100)));
    let comparison = compare_runs((&a, &b), &[], &[]).unwrap();
    assert!(comparison.notes[0].contains("not interleaved"));
    let [plain, mtp] = &comparison.arms[..] else { panic!("{comparison:?}") };
    assert_eq!(plain.metrics[0].verdict, Verdict::Equivalent);
    assert_eq!((mtp.metrics[0].metric, mtp.metrics[0].verdict), (Metric::TokensPerS, Verdict::Faster));
    let ratio = mtp.metrics[0].ratio.unwrap();
    assert!((ratio.point - 10.0 / 9.0).abs() < 0.005, "{ratio:?}");
    assert_eq!((mtp.metrics[0].pairs, mtp.metrics[0].test.unwrap().blocks), (2, 8));
    assert_eq!(mtp.lossless.as_ref().map(|audit| (audit.requests, audit.identical)), Some((2, 2)));

    let arms = [("native/none".to_owned(), "native/mtp".to_owned())];
    let crossed = compare_runs((&a, &b), &arms, &[]).unwrap();
    assert_eq!(crossed.arms[0].metrics[0].verdict, Verdict::Faster);
}

#[test]
fn what_differs_besides_the_question_is_refused_by_name() {
    let mut first = run("a", experiment(), faster_by(0));
    for info in first.0.arms.iter_mut().filter_map(|arm| arm.info.as_mut()) {
        info.kv_type = Some("f16".to_owned());
        info.target_sha256 = Some("1".repeat(64));
        info.details.insert("draft_position".to_owned(), "n".to_owned());
    }
    let a = loaded(&first);
    let against = |change: &dyn Fn(&mut RunManifest), allowed: &[Allowed]| {
        let mut other = run("b", experiment(), faster_by(0));
        change(&mut other.0);
        // Rows of prompts that the manifest no longer has would be strays.
        let manifest = other.0.clone();
        other
            .1
            .retain(|row| manifest.preset.workload.prompts.iter().any(|prompt| prompt.id == row.prompt_id));
        other.1.iter_mut().for_each(|row| row.run_id.clone_from(&manifest.run_id));
        compare_runs((&a, &loaded(&other)), &[], allowed)
    };
    let refused = |change: &dyn Fn(&mut RunManifest), what: &str| {
        let error = against(change, &[]).unwrap_err();
        assert!(matches!(error, ResultsError::Incomparable { .. }), "{error}");
        assert!(error.to_string().contains(what) && error.hint().is_some(), "{error}");
    };
    refused(&|run| run.run_id = "a".to_owned(), "both are the run a");
    refused(&|run| run.preset.sampling.temperature = 0.5, "sampling differ");
    refused(&|run| run.preset.workload.max_tokens = NonZeroU32::MIN, "max_tokens differ");
    refused(&|run| run.preset.run.concurrency = NonZeroU32::new(4).unwrap(), "requests are sent differ");
    refused(&|run| run.preset.workload.prompts[0].text.push('!'), "1 of 2 prompts have the same id");
    refused(&|run| run.host.cpu = None, "machines differ");
    refused(&|run| run.target_sha256 = Some("2".repeat(64)), "model files differ (target: ");
    refused(&|run| run.preset.serving.threads = NonZeroU32::new(7).unwrap(), "`--allow serving`");
    let info = |run: &mut RunManifest, change: fn(&mut StackInfo)| {
        run.arms.iter_mut().filter_map(|arm| arm.info.as_mut()).for_each(change);
    };
    refused(&|run| info(run, |info| info.kv_type = Some("q8_0".to_owned())), "KV types of native/none");
    refused(
        &|run| info(run, |info| info.target_sha256 = Some("3".repeat(64))),
        "target files of native/none",
    );
    let rising = |info: &mut StackInfo| {
        info.details.insert("draft_position".to_owned(), "rising".to_owned());
    };
    refused(&|run| info(run, rising), "draft positions of native/none");
    refused(
        &|run| run.arms.iter_mut().for_each(|arm| arm.stack = StackKind::Vllm),
        "\"GGUF\" and \"safetensors\"",
    );
    // What one of them does not know contradicts nothing.
    against(&|run| info(run, |info| info.kv_type = None), &[]).unwrap();
    let allowed = against(&|run| run.host.cpu = None, &[Allowed::Machine]).unwrap();
    assert!(allowed.notes.iter().any(|note| note.starts_with("allowed: machines differ")), "{allowed:?}");
    // How often, and how the result is judged, is no difference.
    against(&|run| run.preset.run.throughput_margin = 0.2, &[]).unwrap();

    let named = [("native/none".to_owned(), "native/other".to_owned())];
    let b = loaded(&run("b", experiment(), faster_by(0)));
    let error = compare_runs((&a, &b), &named, &[]).unwrap_err().to_string();
    assert!(error.contains("no arm `native/other`; it has native/none, native/mtp"), "{error}");
}

#[test]
fn another_gpu_is_another_machine() {
    let dir = tempfile::tempdir().unwrap();
    let on = |id: &str, gpu: Option<&str>| {
        let path = store(&dir.path().join(id), &run(id, experiment(), faster_by(0)));
        let device = |name: &str| serde_json::json!({"name": name, "uuid": null, "memory_bytes": null, "sm_clock_max_mhz": null});
        let host = gpu.map_or_else(
            || serde_json::json!({"nvml": "absent", "reason": "no driver"}),
            |name| serde_json::json!({"nvml": "present", "driver": null, "cuda": null, "devices": [device(name)]}),
        );
        let head = serde_json::json!({"line": "head", "schema": 1, "interval_ms": 1000, "cpu_count": 2, "gpu": host});
        std::fs::write(RunDir::existing(&path).environment(), format!("{head}\n")).unwrap();
        load(&[path]).unwrap()
    };
    let (h200, l4, none) = (on("a", Some("NVIDIA H200")), on("b", Some("NVIDIA L4")), on("c", None));
    let error = compare_runs((&h200, &l4), &[], &[]).unwrap_err().to_string();
    assert!(error.contains("GPUs differ: [\"NVIDIA H200\"] and [\"NVIDIA L4\"]"), "{error}");
    assert!(compare_runs((&h200, &l4), &[], &[Allowed::Machine]).is_ok());
    assert!(compare_runs((&h200, &none), &[], &[]).is_ok(), "unknown is no other");
}

fn shard(index: u32, of: u32) -> Shard {
    Shard { index, of: NonZeroU32::new(of).unwrap() }
}

/// One run in two directories: each shard was asked one of the two prompts.
fn sharded(dir: &Path) -> Vec<(RunManifest, Vec<RequestRecord>, PathBuf)> {
    let whole = run("a", experiment(), faster_by(200));
    let part = |index: u32| {
        let (mut manifest, mut rows) = whole.clone();
        manifest.shard = Some(shard(index, 2));
        let prompt = &whole.0.preset.workload.prompts[index as usize].id;
        rows.retain(|row| row.prompt_id == *prompt);
        let path = dir.join(format!("shard-{index}"));
        (manifest, rows, path)
    };
    vec![part(0), part(1)]
}

#[test]
fn all_shards_are_one_run_and_less_or_more_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let stored = |nth: usize, at: &str, change: &dyn Fn(&mut RunManifest, &mut Vec<RequestRecord>)| {
        let (mut manifest, mut rows, _) = sharded(dir.path()).swap_remove(nth);
        change(&mut manifest, &mut rows);
        store(&dir.path().join(at), &(manifest, rows))
    };
    let as_is = |_: &mut RunManifest, _: &mut Vec<RequestRecord>| {};
    let (first, second) = (stored(0, "0", &as_is), stored(1, "1", &as_is));
    let merged = aggregate(&load(&[second.clone(), first.clone()]).unwrap()).unwrap();
    let whole = aggregate(&loaded(&run("a", experiment(), faster_by(200)))).unwrap();
    assert_eq!(merged.blocks, whole.blocks);
    assert_eq!(merged.comparisons, whole.comparisons);
    assert_eq!(merged.arms[1].tokens_per_s, whole.arms[1].tokens_per_s);
    let elsewhere = stored(1, "elsewhere", &|run, _| run.host.cpu = Some("Another CPU".to_owned()));
    let report = aggregate(&load(&[first.clone(), elsewhere]).unwrap()).unwrap();
    assert!(report.notes.iter().any(|note| note.contains("1 of 2 shards were sent from another machine")));

    let refused = |runs: &[PathBuf], what: &str| {
        let error = load(runs).unwrap_err();
        assert!(matches!(error, ResultsError::Shards { .. }) && error.hint().is_some(), "{error}");
        assert!(error.to_string().contains(what), "{error}");
    };
    refused(std::slice::from_ref(&first), "1 of 2 shards are missing, the first of them 1");
    refused(&[first.clone(), first.clone(), second.clone()], "shard 0 of 2 is there 2 times");
    let other = stored(1, "of-3", &|run, _| run.shard = Some(shard(1, 3)));
    refused(&[first.clone(), other], "one is a part of 2, another of 3");
    let counted = stored(1, "from-1", &|run, _| run.shard = Some(shard(2, 2)));
    refused(&[first.clone(), counted], "shards are counted from 0");
    let mixed = stored(1, "whole", &|run, rows| {
        (run.shard, run.run_id) = (None, "b".to_owned());
        rows.iter_mut().for_each(|row| row.run_id = "b".to_owned());
    });
    refused(&[first.clone(), mixed], "1 of 2 are shards");
    let twice = stored(1, "twice", &|_, rows| {
        let mut again = sharded(dir.path()).swap_remove(0).1;
        rows.append(&mut again);
    });
    refused(&[first, twice], "shards 0 and 1 overlap: both asked native/none prompt `a` (block 0, slot 0)");
}

#[test]
fn an_invalid_arm_has_no_ratio_and_says_why() {
    let a = loaded(&run("a", experiment(), faster_by(0)));
    let mut broken = run("b", experiment(), faster_by(100));
    broken
        .1
        .iter_mut()
        .filter(|row| row.arm == "native/mtp")
        .for_each(|row| row.usage.cached_tokens = Some(5));
    let comparison = compare_runs((&a, &loaded(&broken)), &[], &[]).unwrap();
    let mtp = &comparison.arms[1];
    assert_eq!((mtp.metrics[0].ratio, mtp.metrics[0].verdict), (None, Verdict::NotComparable));
    assert!(mtp.not_comparable[0].contains("run b: prompt tokens came from a cache"), "{mtp:?}");
}
