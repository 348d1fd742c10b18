//! Every reason for which measurements are not compared: two runs, or two arms, that differ in that one thing and nothing
//! else are treated as the table says, and for that reason alone. The table's document is written here too.

#![expect(clippy::unwrap_used, reason = "functions of tests, which clippy does not take for tests")]

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use bench_core::jsonl::RowSink;
use bench_core::preset::{
    AcceptanceRule, DraftHead, Preset, SpecDecode, SpecVariant, StackChoice, StackKind,
};
use bench_core::record::{ArmManifest, ArmStatus, RequestRecord, RunEnd, RunManifest};
use bench_core::report::{Report, Verdict};
use bench_core::run_dir::{RunDir, prompt_sha256};
use bench_core::stack::{Readback, SpecCounts, SpecSource, StackInfo};
use bench_core::testing::{manifest, preset, record, stack_info};
use bench_core::truth::RuleId;
use bench_results::{
    Loaded, REASONS, Reason, ResultsError, Treatment, aggregate, compare_runs, incomparable_document, load,
};

const BLOCKS: u32 = 6;

#[derive(Clone)]
struct Run {
    manifest: RunManifest,
    rows: Vec<RequestRecord>,
    gpu: &'static str,
}

/// Plain decoding and the assistant on two stacks that say all of themselves, and what they say is the same.
fn run(id: &str) -> Run {
    let mut manifest = manifest(experiment());
    manifest.run_id = id.to_owned();
    manifest.host.cpu = Some("Test CPU".to_owned());
    manifest.assistant_sha256 = Some("4".repeat(64));
    let stacks = [StackKind::Native, StackKind::LlamaServer];
    let arms = stacks.iter().flat_map(|stack| manifest.preset.variants.iter().map(move |v| arm(*stack, v)));
    manifest.arms = arms.collect();
    let mut rows = Vec::new();
    for arm in &manifest.arms {
        for block in 0..BLOCKS {
            for prompt in &manifest.preset.workload.prompts {
                let mut row = record(&arm.label, block, rows.len() as u64);
                row.run_id = id.to_owned();
                row.prompt_id.clone_from(&prompt.id);
                row.prompt_sha256 = prompt_sha256(prompt);
                row.request_sha256 = Some("5".repeat(64));
                row.spec = arm.spec.draft_max().map(|_| drafts());
                rows.push(row);
            }
        }
    }
    manifest.end = Some(RunEnd { unix_ms: 1, interrupted: false, rows: rows.len() as u64 });
    Run { manifest, rows, gpu: "NVIDIA H200" }
}

fn experiment() -> Preset {
    let mut preset = preset();
    let mtp = SpecDecode::Mtp {
        draft_max: NonZeroU32::MIN,
        acceptance: AcceptanceRule::SampleAndCompare,
        draft_head: DraftHead::Auto,
    };
    preset.variants.push(SpecVariant::new("mtp", mtp));
    preset.stacks.push(StackChoice { kind: StackKind::LlamaServer, required: true, command: Vec::new() });
    preset.workload.max_tokens = NonZeroU32::new(4).unwrap();
    preset.run.blocks = NonZeroU32::new(BLOCKS).unwrap();
    preset
}

fn arm(stack: StackKind, variant: &SpecVariant) -> ArmManifest {
    ArmManifest {
        label: format!("{stack}/{}", variant.label),
        stack,
        variant: variant.label.clone(),
        spec: variant.spec.clone(),
        status: ArmStatus::Ready,
        info: Some(StackInfo {
            kind: stack,
            build: Some("1".to_owned()),
            kv_type: Some("f16".to_owned()),
            device: Some("cpu".to_owned()),
            target_sha256: Some("1".repeat(64)),
            ..stack_info()
        }),
        config_sha256: None,
        kv_quality: None,
        concurrency: None,
    }
}

fn drafts() -> SpecCounts {
    SpecCounts {
        drafted: 4,
        accepted: 2,
        verify_steps: Some(2),
        accepted_per_position: None,
        drafted_per_position: None,
        accepted_histogram: None,
        source: SpecSource::Engine,
    }
}

/// Makes another run of one. A reason that is not here does not compile.
fn other_run(reason: Reason) -> fn(&mut Run) {
    match reason {
        Reason::SameRun => |run| {
            run.manifest.run_id = "a".to_owned();
            run.rows.iter_mut().for_each(|row| row.run_id = "a".to_owned());
        },
        Reason::NoCommonArm => |run| {
            let renamed = |label: &str| format!("{label}-2");
            run.manifest
                .preset
                .variants
                .iter_mut()
                .for_each(|variant| variant.label = renamed(&variant.label));
            run.manifest.arms.iter_mut().for_each(|arm| arm.label = renamed(&arm.label));
            run.rows.iter_mut().for_each(|row| row.arm = renamed(&row.arm));
        },
        Reason::UnknownArm => |_| {},
        Reason::Preset => |run| run.manifest.preset.run.throughput_margin = 0.2,
        Reason::Prompts => |run| run.manifest.preset.workload.prompts[0].text.push('!'),
        Reason::Sampling => |run| run.manifest.preset.sampling.temperature = 0.5,
        Reason::OutputLength => |run| run.manifest.preset.workload.max_tokens = NonZeroU32::MIN,
        Reason::IgnoreEos => |run| run.manifest.preset.workload.ignore_eos = false,
        Reason::Sending => |run| run.manifest.preset.run.concurrency = NonZeroU32::new(4).unwrap(),
        Reason::SuiteVersion => |run| run.manifest.suite_version = "0.0.0".to_owned(),
        Reason::Machine => |run| run.manifest.host.cpu = Some("Another CPU".to_owned()),
        Reason::Gpu => |run| run.gpu = "NVIDIA L4",
        Reason::Models => |run| run.manifest.assistant_sha256 = Some("2".repeat(64)),
        Reason::Serving => |run| run.manifest.preset.serving.threads = NonZeroU32::new(7).unwrap(),
        Reason::StackBuild
        | Reason::Device
        | Reason::TargetFile
        | Reason::WeightFormat
        | Reason::KvType
        | Reason::DraftPosition => |_| {},
    }
}

/// Makes another arm of one; `None`: not a thing of an arm. Those of a run's rows are changed by [`other_rows`].
fn other_arm(reason: Reason) -> Option<fn(&mut ArmManifest)> {
    fn info(arm: &mut ArmManifest) -> &mut StackInfo {
        arm.info.as_mut().unwrap()
    }
    match reason {
        Reason::StackBuild => Some(|arm| info(arm).build = Some("2".to_owned())),
        Reason::Device => Some(|arm| info(arm).device = Some("CUDA0".to_owned())),
        Reason::TargetFile => Some(|arm| info(arm).target_sha256 = Some("3".repeat(64))),
        Reason::KvType => Some(|arm| info(arm).kv_type = Some("q8_0".to_owned())),
        Reason::WeightFormat => Some(|arm| {
            // vLLM's assistant drafts at another position too: of plain decoding only the format differs.
            if arm.spec == SpecDecode::None {
                arm.stack = StackKind::Vllm;
            }
        }),
        Reason::DraftPosition => Some(|arm| {
            if arm.spec != SpecDecode::None {
                info(arm).details.insert("draft_position".to_owned(), "rising".to_owned());
            }
        }),
        Reason::SameRun
        | Reason::NoCommonArm
        | Reason::UnknownArm
        | Reason::Preset
        | Reason::Prompts
        | Reason::Sampling
        | Reason::OutputLength
        | Reason::IgnoreEos
        | Reason::Sending
        | Reason::SuiteVersion
        | Reason::Machine
        | Reason::Gpu
        | Reason::Models
        | Reason::Serving => None,
    }
}

type RowChange = fn(&mut RequestRecord);

/// Makes an arm's row one of other work, where a truth rule has to see it.
fn other_rows(rule: RuleId) -> Option<RowChange> {
    let changes: [(RuleId, RowChange); 3] = [
        (RuleId::PromptsEqual, |row| row.prompt_sha256 = "6".repeat(64)),
        (RuleId::RequestsEqual, |row| row.request_sha256 = Some("7".repeat(64))),
        (RuleId::SamplingInForce, |row| {
            let changed = vec!["temperature: 0 was sent, 0.7 is in force".to_owned()];
            row.readback = Some(Readback { sampling_changed: Some(changed), ..Readback::default() });
        }),
    ];
    changes.into_iter().find(|(of, _)| *of == rule).map(|(_, change)| change)
}

fn store(root: &Path, Run { manifest, rows, gpu }: &Run) -> PathBuf {
    let dir = RunDir::create(root).unwrap();
    dir.write_manifest(manifest).unwrap();
    let mut writer = dir.row_writer().unwrap();
    rows.iter().for_each(|row| writer.append(row).unwrap());
    let device =
        serde_json::json!({"name": gpu, "uuid": null, "memory_bytes": null, "sm_clock_max_mhz": null});
    let gpu = serde_json::json!({"nvml": "present", "driver": null, "cuda": null, "devices": [device]});
    let head =
        serde_json::json!({"line": "head", "schema": 1, "interval_ms": 1000, "cpu_count": 2, "gpu": gpu});
    std::fs::write(dir.environment(), format!("{head}\n")).unwrap();
    root.to_owned()
}

/// The run `a`, and `b` that differs from it in this.
fn two_runs(dir: &Path, reason: Option<Reason>) -> [PathBuf; 2] {
    let (a, mut b) = (run("a"), run("b"));
    if let Some(reason) = reason {
        other_run(reason)(&mut b);
        if let Some(change) = other_arm(reason) {
            b.manifest.arms.iter_mut().for_each(change);
        }
    }
    if b.manifest.preset != a.manifest.preset {
        b.manifest.preset_sha256 = "f".repeat(64);
    }
    [store(&dir.join("a"), &a), store(&dir.join("b"), &b)]
}

fn one(root: &PathBuf) -> Loaded {
    load(std::slice::from_ref(root)).unwrap()
}

#[test]
fn runs_that_differ_in_nothing_are_compared_and_merged() {
    let dir = tempfile::tempdir().unwrap();
    let runs = two_runs(dir.path(), None);
    let compared = compare_runs((&one(&runs[0]), &one(&runs[1])), &[], &[]).unwrap();
    assert_eq!(compared.arms.len(), 4);
    assert!(compared.arms.iter().all(|arm| arm.not_comparable.is_empty()), "{compared:?}");
    let report = aggregate(&load(&runs).unwrap()).unwrap();
    assert_eq!((report.run_ids.len(), report.blocks), (2, 2 * BLOCKS));
    assert!(report.comparisons.iter().all(|found| found.verdict != Verdict::NotComparable), "{report:?}");
}

#[test]
fn every_reason_is_given_alone_when_two_runs_are_compared() {
    for row in REASONS {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = two_runs(dir.path(), Some(row.reason)).map(|root| one(&root));
        let unknown = ("native/none".to_owned(), "native/other".to_owned());
        let asked = if row.reason == Reason::UnknownArm { vec![unknown] } else { Vec::new() };
        let compared = |allowed: &[_]| compare_runs((&a, &b), &asked, allowed);
        let refused = || match compared(&[]) {
            Err(ResultsError::Incomparable { reasons }) => reasons,
            other => panic!("{row:?}: {other:?}"),
        };
        match row.compared {
            Treatment::Refused => {}
            Treatment::Unless(allowed) => {
                let notes = compared(&[allowed]).unwrap().notes;
                let is_said = |note: &String| note.starts_with(&format!("allowed: {}", row.says));
                assert!(notes.iter().any(is_said), "{row:?}: {notes:?}");
            }
            Treatment::Open(_) => {
                compared(&[]).unwrap();
                continue;
            }
            Treatment::Through(_) | Treatment::Rule(_) => panic!("{row:?}: runs are looked at key by key"),
        }
        let reasons = refused();
        // One of each arm that it is a thing of.
        assert!(!reasons.is_empty() && reasons.iter().all(|found| found.reason == row.reason), "{reasons:?}");
        assert!(reasons.iter().all(|found| found.words.starts_with(row.says)), "{reasons:?}");
    }
}

#[test]
fn every_reason_is_given_when_runs_are_merged() {
    for row in REASONS {
        let dir = tempfile::tempdir().unwrap();
        let merged = load(&two_runs(dir.path(), Some(row.reason)));
        let expected = match row.merged {
            Treatment::Refused => row.reason,
            Treatment::Through(reason) => reason,
            Treatment::Open(_) => {
                merged.unwrap();
                continue;
            }
            Treatment::Unless(_) | Treatment::Rule(_) => panic!("{row:?}: one sample is of one experiment"),
        };
        match merged {
            Err(error @ ResultsError::Unlike { .. }) => {
                assert!(error.hint().unwrap().contains("report each run alone"));
                let ResultsError::Unlike { why, .. } = error else { continue };
                assert_eq!(why.reason, expected, "{why}");
                assert!(why.words.starts_with(expected.row().says), "{why}");
            }
            other => panic!("{row:?}: {:?}", other.map(|loaded| loaded.manifest().run_id.clone())),
        }
    }
}

/// Across stacks; `changed` are the arms of the second one.
fn across(change: impl FnOnce(&mut Run)) -> Report {
    let dir = tempfile::tempdir().unwrap();
    let mut run = run("a");
    // Else the rule about files sees a changed hash first, and the arm is no valid one.
    run.manifest.target_sha256 = None;
    change(&mut run);
    aggregate(&one(&store(&dir.path().join("run"), &run))).unwrap()
}

fn is_second(label: &str) -> bool {
    label.starts_with("llama-server/")
}

/// Rules that set one of the second stack's arms aside.
fn set_aside(report: &Report) -> Vec<RuleId> {
    let second = report.arms.iter().filter(|arm| is_second(&arm.label));
    let broken = second.flat_map(|arm| arm.truth.iter().filter(|check| check.sets_aside()));
    let mut rules: Vec<_> = broken.map(|check| check.rule).collect();
    rules.dedup();
    rules
}

#[test]
fn every_reason_is_given_between_arms_of_one_run() {
    for row in REASONS {
        let of_arm = |run: &mut Run| {
            let second = run.manifest.arms.iter_mut().filter(|arm| is_second(&arm.label));
            if let Some(change) = other_arm(row.reason) {
                second.for_each(change);
            }
        };
        match row.arms {
            Treatment::Rule(rule) => {
                let report = across(|run| match other_rows(rule) {
                    Some(change) => run.rows.iter_mut().filter(|row| is_second(&row.arm)).for_each(change),
                    None => of_arm(run),
                });
                assert_eq!(set_aside(&report), [rule], "{row:?}");
            }
            Treatment::Refused => {
                let report = across(of_arm);
                let whys: Vec<_> = between_stacks(&report).filter_map(|found| found.why.as_deref()).collect();
                assert!(whys.iter().any(|why| why.starts_with(row.says)), "{row:?}: {whys:?}");
                assert!(whys.iter().all(|why| !why.contains(';')), "another reason too: {whys:?}");
                let refused = between_stacks(&report).filter(|found| found.why.is_some());
                for found in refused {
                    assert_eq!((found.ratio, found.verdict), (None, Verdict::NotComparable), "{row:?}");
                    assert_eq!((found.ratio_of_sums, &found.peak), (None, &None), "{row:?}");
                }
                assert_eq!(set_aside(&report), [], "both arms are valid, each for itself");
            }
            Treatment::Open(_) => {
                let report = across(of_arm);
                let compared = between_stacks(&report).all(|found| found.verdict != Verdict::NotComparable);
                assert!(compared, "{row:?}: {:?}", report.comparisons);
            }
            Treatment::Unless(_) | Treatment::Through(_) => panic!("{row:?}: there is nobody to allow it"),
        }
    }
}

fn between_stacks(report: &Report) -> impl Iterator<Item = &bench_core::report::Comparison> {
    report.comparisons.iter().filter(|found| !is_second(&found.baseline) && is_second(&found.candidate))
}

/// No stack says at which position it drafts; what their sources say stands in for it.
#[test]
fn drafts_of_vllm_are_made_at_another_position() {
    let report = across(|run| {
        run.manifest.arms.iter_mut().filter(|arm| is_second(&arm.label)).for_each(|arm| {
            arm.stack = StackKind::Vllm;
        });
    });
    let of = |variant: &str| {
        let found = between_stacks(&report).find(|found| found.candidate.ends_with(variant));
        found.and_then(|found| found.why.clone()).unwrap()
    };
    let format = |variant: &str| {
        format!(
            "formats of the weights of native/{variant} and llama-server/{variant} differ: \"GGUF\" and \"safetensors\""
        )
    };
    assert_eq!(of("none"), format("none"));
    let position = "; draft positions of native/mtp and llama-server/mtp differ: \"n\" and \"n - 1\"";
    assert_eq!(of("mtp"), format("mtp") + position);
}

#[test]
fn the_document_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/incomparable.md");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, incomparable_document()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == incomparable_document(),
        "docs/incomparable.md is not the table: run this with BLESS=1"
    );
}
