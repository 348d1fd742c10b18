//! Each truth rule held by a clean run, broken by one planted fault, and unknown where its evidence is taken away.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::Path;

use bench_core::client::{ClientPass, ClientRecord, Lateness};
use bench_core::environment::{
    CpuTimes, EnvironmentHead, EnvironmentLine, EnvironmentSample, GpuHost, GpuSample, Moment, Pressure,
};
use bench_core::jsonl::RowSink;
use bench_core::preset::{
    AcceptanceRule, Device, DraftHead, SpecDecode, SpecVariant, StackKind, SyntheticRates,
};
use bench_core::record::{ArmManifest, ArmStatus, Outcome, Phase, RequestRecord, RunManifest, Turn};
use bench_core::report::{ArmReport, Report, Verdict};
use bench_core::run_dir::{RunDir, prompt_sha256, turn_sha256};
use bench_core::stack::{FinishReason, Readback, SpecCounts, SpecSource};
use bench_core::stats::Metric;
use bench_core::synthetic::{REFUSAL, SyntheticPrompts};
use bench_core::testing::{environment_sample, manifest, preset, record, stack_info};
use bench_core::truth::{RULES, RuleId, TruthCheck, TruthVerdict};
use bench_results::{aggregate, load, write_files};

const BLOCKS: u32 = 6;
const BASE: &str = "llama-server/none";
const MTP: &str = "llama-server/mtp-2";
/// Start of the first request; a request every 100 ms.
const START_MS: u64 = 1_800_000_010_000;

/// A run as it is on disk.
struct Run {
    manifest: RunManifest,
    rows: Vec<RequestRecord>,
    environment: Option<Vec<EnvironmentLine>>,
}

/// Two arms of an attached server elsewhere, everything told and nothing wrong; on a GPU.
fn clean() -> Run {
    let mut preset = preset();
    let draft_max = NonZeroU32::new(2).unwrap();
    let acceptance = AcceptanceRule::SampleAndCompare;
    let mtp = SpecDecode::Mtp { draft_max, acceptance, draft_head: DraftHead::Auto };
    preset.variants = vec![SpecVariant::new("none", SpecDecode::None), SpecVariant::new("mtp-2", mtp)];
    preset.stacks[0].kind = StackKind::LlamaServer;
    preset.serving.device = Device::Gpu;
    preset.workload.max_tokens = NonZeroU32::new(4).unwrap();
    preset.run.blocks = NonZeroU32::new(BLOCKS).unwrap();
    let mut manifest = manifest(preset);
    manifest.arms = manifest.preset.variants.iter().map(|variant| arm(variant, &manifest)).collect();
    manifest.client = Some(on_time(&manifest));
    let rows = rows(&manifest);
    Run { manifest, rows, environment: Some(environment()) }
}

/// A pass of each arm whose client was 0.1 ms late.
fn on_time(run: &RunManifest) -> ClientRecord {
    let late = Lateness { rings: 10, p50_ns: 100_000, p99_ns: 100_000, max_ns: 100_000 };
    let pass = |arm: &ArmManifest| ClientPass {
        arm: arm.label.clone(),
        block: 0,
        wall_ns: 190_000_000,
        cpu_ns: Some(1_000_000),
        late,
    };
    ClientRecord { passes: run.arms.iter().map(pass).collect(), reader_threads: 1, peak_memory_bytes: None }
}

fn arm(variant: &SpecVariant, run: &RunManifest) -> ArmManifest {
    let mut info = stack_info();
    info.kind = StackKind::LlamaServer;
    info.recipe = "http://10.0.0.7:8080".to_owned();
    info.speculation = Some(variant.spec.method().to_owned());
    info.kv_type = Some("f16".to_owned());
    info.context_tokens = Some(4096);
    info.device = Some("CUDA0".to_owned());
    info.draft_max = variant.spec.draft_max().map(NonZeroU32::get);
    info.target_sha256.clone_from(&run.target_sha256);
    ArmManifest {
        label: format!("llama-server/{}", variant.label),
        stack: StackKind::LlamaServer,
        variant: variant.label.clone(),
        spec: variant.spec.clone(),
        status: ArmStatus::Ready,
        info: Some(info),
        config_sha256: None,
        kv_quality: None,
        concurrency: None,
    }
}

fn rows(run: &RunManifest) -> Vec<RequestRecord> {
    let mut rows = Vec::new();
    let passes = std::iter::once((Phase::Warmup, 0)).chain((0..BLOCKS).map(|block| (Phase::Measured, block)));
    for (phase, block) in passes {
        for arm in &run.arms {
            for prompt in &run.preset.workload.prompts {
                let index = rows.len() as u64;
                let mut row = record(&arm.label, block, index);
                row.run_id.clone_from(&run.run_id);
                row.phase = phase;
                row.prompt_id.clone_from(&prompt.id);
                row.prompt_sha256 = prompt_sha256(prompt);
                row.request_sha256 = Some(format!("{block}/{}", prompt.id));
                row.sent_unix_ms = START_MS + index * 100;
                // Gaps of 10 ms, and noise of 0.1 % that has no trend.
                let noise = (index * 7919 + 13) % 11 * 1_000;
                for (chunk, nth) in row.timing.chunks.iter_mut().zip(0..) {
                    chunk.at_ns = 50_000_000 + nth * (10_000_000 + noise);
                }
                row.timing.last_token_ns = row.timing.chunks.last().map(|chunk| chunk.at_ns);
                row.timing.ended_ns = 90_000_000;
                row.usage.cached_tokens = Some(0);
                row.readback = Some(Readback {
                    model: Some("m.gguf".to_owned()),
                    fingerprint: Some("b1".to_owned()),
                    sampling_changed: Some(vec![]),
                });
                row.spec = arm.spec.draft_max().map(|_| SpecCounts {
                    drafted: 4,
                    accepted: 2,
                    verify_steps: Some(2),
                    accepted_per_position: Some(vec![1, 1]),
                    drafted_per_position: Some(vec![2, 2]),
                    accepted_histogram: None,
                    source: SpecSource::ResponseBody,
                });
                rows.push(row);
            }
        }
    }
    rows
}

/// Four CPUs, one busy with us; one GPU at 400 W.
fn environment() -> Vec<EnvironmentLine> {
    let head = EnvironmentHead {
        schema: 1,
        interval_ms: 1000,
        cpu_count: Some(4),
        gpu: GpuHost::Present { driver: Some("570".to_owned()), cuda: None, devices: vec![] },
    };
    let sample = |second: u64| {
        let moment = if second < 10 { Moment::Before } else { Moment::During };
        EnvironmentLine::Sample(Box::new(EnvironmentSample {
            cpu: Some(CpuTimes { busy_ms: second * 1000, idle_ms: second * 3000, steal_ms: 0 }),
            ours_cpu_ms: Some(second * 1000),
            pressure: Some(Pressure { memory_some_us: Some(0), ..Pressure::default() }),
            group_throttled_us: Some(0),
            gpus: Some(vec![GpuSample {
                energy_mj: Some(second * 400_000),
                throttle_reasons: Some(0),
                foreign_processes: Some(0),
                ..GpuSample::default()
            }]),
            ..environment_sample(START_MS - 10_000 + second * 1000, moment)
        }))
    };
    std::iter::once(EnvironmentLine::Head(head)).chain((0..=30).map(sample)).collect()
}

impl Run {
    fn report(&self) -> Report {
        let dir = tempfile::tempdir().unwrap();
        aggregate(&load(&[self.store(&dir.path().join("run"))]).unwrap()).unwrap()
    }

    fn store(&self, root: &Path) -> std::path::PathBuf {
        let dir = RunDir::create(root).unwrap();
        dir.write_manifest(&self.manifest).unwrap();
        let mut writer = dir.row_writer().unwrap();
        self.rows.iter().for_each(|row| writer.append(row).unwrap());
        if let Some(lines) = &self.environment {
            let lines: Vec<_> =
                lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
            std::fs::write(dir.environment(), lines.concat()).unwrap();
        }
        root.to_owned()
    }

    fn samples(&mut self, change: impl Fn(u64, &mut EnvironmentSample)) {
        for (line, index) in self.environment.iter_mut().flatten().zip(0..) {
            match line {
                // Line 0 is the head.
                EnvironmentLine::Sample(sample) => change(index - 1, sample),
                EnvironmentLine::Head(_) => {}
            }
        }
    }

    /// The arm's measured rows.
    fn measured(&mut self) -> impl Iterator<Item = &mut RequestRecord> {
        self.rows.iter_mut().filter(|row| row.arm == MTP && row.phase == Phase::Measured)
    }

    fn first(&mut self) -> &mut RequestRecord {
        self.measured().next().unwrap()
    }
}

fn arm_of<'a>(report: &'a Report, label: &str) -> &'a ArmReport {
    report.arms.iter().find(|arm| arm.label == label).unwrap()
}

fn check(checks: &[TruthCheck], rule: RuleId) -> &TruthCheck {
    checks.iter().find(|check| check.rule == rule).unwrap()
}

#[test]
fn a_clean_run_holds_every_rule() {
    let report = clean().report();
    for label in [BASE, MTP] {
        let arm = arm_of(&report, label);
        assert!(arm.valid, "{:?}", arm.invalid_reasons);
        assert_eq!(arm.truth.len(), RULES.len());
        for (check, rule) in arm.truth.iter().zip(RULES) {
            assert_eq!(check.rule, rule.id, "in the table's order");
            let expected = match (rule.id, label) {
                (RuleId::EqualWork, BASE) => TruthVerdict::DoesNotApply,
                _ => TruthVerdict::Held,
            };
            assert_eq!(check.verdict, expected, "{label}: {check:?}");
        }
        // 24 requests of 100 ms in all; an arm's passes are 190 ms long.
        let span = arm.environment.as_ref().unwrap();
        assert!((span.seconds - 6.0 * 0.19).abs() < 1e-9, "{span:?}");
        assert!((span.ours_share.unwrap() - 0.25).abs() < 1e-9 && span.others_share == Some(0.0), "{span:?}");
    }
    // The server is another machine: the GPU here is not the one that it runs on.
    assert_eq!(arm_of(&report, MTP).joules_per_token, None);
    let [run] = &report.environment[..] else { panic!("{:?}", report.environment) };
    assert_eq!((run.readings, run.blocks.len(), run.unreadable), (31, 6, 0));
    assert!((run.before.as_ref().unwrap().seconds - 10.0).abs() < 1e-9);
    assert_eq!(run.after, None, "no reading was taken after the run");

    // A driver that took two seconds to answer costs them, and not what is known of the GPU before the run.
    let mut late = clean();
    late.samples(|second, sample| sample.gpus = sample.gpus.take().filter(|_| second >= 2));
    let before = late.report().environment.remove(0).before.unwrap();
    assert!((before.seconds - 8.0).abs() < 1e-9 && (before.gpus[0].power_w.unwrap() - 400.0).abs() < 1e-9);
}

#[test]
fn energy_is_told_where_the_gpu_is_the_arms() {
    let mut run = clean();
    for arm in &mut run.manifest.arms {
        arm.info.as_mut().unwrap().recipe = "llama-server --port 1".to_owned();
    }
    // Six passes of 190 ms at 400 W, and 12 requests of 4 tokens.
    let expected = 6.0 * 0.19 * 400.0 / 48.0;
    let joules = arm_of(&run.report(), MTP).joules_per_token.unwrap();
    assert!((joules - expected).abs() < 1e-6, "{joules} {expected}");
    run.samples(|second, sample| {
        if second == 11 {
            sample.gpus = None;
        }
    });
    assert_eq!(arm_of(&run.report(), MTP).joules_per_token, None, "a missing reading is no 0");
}

/// What is planted, the rule that has to fire on the speculating arm, a part of its evidence, whether it sets aside.
type Planted = (fn(&mut Run), RuleId, &'static str, bool);

const FAULTS: [Planted; 25] = [
    (
        |run| run.manifest.client.as_mut().unwrap().passes[1].late.p50_ns = 50_000_000,
        RuleId::ClientValid,
        "the client was late: 50.0 ms at the median",
        true,
    ),
    (|run| run.first().prompt_sha256 = "0".repeat(64), RuleId::PromptsEqual, "in 1 of 12 requests", true),
    (
        |run| run.first().request_sha256 = Some("other".to_owned()),
        RuleId::RequestsEqual,
        "another request than that of llama-server/none was sent in 1 of 12",
        true,
    ),
    (|run| run.first().usage.cached_tokens = Some(3), RuleId::CacheEmpty, "from a cache in 1 of 12", true),
    (|run| run.first().output.tokens = Some(3), RuleId::OutputLength, "other than 4 tokens", true),
    (
        |run| run.first().outcome = Outcome::Completed { reason: FinishReason::Stop },
        RuleId::OutputLength,
        "1 of 12 requests ended by stop",
        true,
    ),
    (
        |run| run.first().output.tokens = Some(3),
        RuleId::EqualWork,
        "another length than llama-server/none in 1",
        false,
    ),
    (
        |run| run.rows.retain(|row| row.arm != MTP || row.phase != Phase::Warmup),
        RuleId::WarmUp,
        "no warm-up request was completed",
        false,
    ),
    (
        |run| {
            for row in run.measured().filter(|row| row.block == 0) {
                slower(row, 3, 2);
            }
        },
        RuleId::SteadyState,
        "the first block differs by -33",
        false,
    ),
    (
        |run| {
            for row in run.measured() {
                let block = u64::from(row.block);
                slower(row, 100 + 2 * block, 100);
            }
        },
        RuleId::SteadyState,
        "over the blocks",
        false,
    ),
    (
        |run| {
            let changed = Some(vec!["temperature 0.7 instead of 0".to_owned()]);
            run.first().readback.as_mut().unwrap().sampling_changed = changed;
        },
        RuleId::SamplingInForce,
        "in 1 of 12 requests (temperature 0.7 instead of 0)",
        true,
    ),
    (
        |run| run.first().split.as_mut().unwrap().thinking_tokens = Some(1),
        RuleId::ThinkingApart,
        "thinking and answer tokens are not the output in 1 of 12 requests",
        false,
    ),
    (
        |run| run.first().split.as_mut().unwrap().server_thinking_tokens = Some(3),
        RuleId::ThinkingApart,
        "the server counts other thinking tokens than were split here in 1 of 12 requests",
        false,
    ),
    (
        |run| {
            let row = run.first();
            let split = row.split.as_mut().unwrap();
            split.server_thinking_tokens = row.output.tokens.map(|tokens| tokens + 1);
            (split.thinking_tokens, split.answer_tokens) = (None, None);
        },
        RuleId::ThinkingApart,
        "the server counts more thinking than output tokens in 1 of 12 requests",
        false,
    ),
    (
        |run| run.manifest.preset.workload.synthetic = Some(synthetic()),
        RuleId::AcceptanceOfText,
        "prompts are synthetic tokens: acceptance says nothing about text",
        false,
    ),
    (|run| info(run).kv_type = Some("q8_0".to_owned()), RuleId::ConfigurationInForce, "q8_0", true),
    (|run| info(run).device = Some("cpu".to_owned()), RuleId::ConfigurationInForce, "run on cpu", true),
    (
        |run| {
            for spec in run.measured().filter_map(|row| row.spec.as_mut()) {
                (spec.drafted, spec.accepted) = (0, 0);
                (spec.accepted_per_position, spec.drafted_per_position) = (None, None);
            }
        },
        RuleId::ConfigurationInForce,
        "nothing drafted",
        true,
    ),
    (
        |run| info(run).target_sha256 = Some("9".repeat(64)),
        RuleId::ModelFile,
        "another file (999999999999",
        true,
    ),
    (
        |run| run.first().readback.as_mut().unwrap().model = Some("other.gguf".to_owned()),
        RuleId::OneAnswerer,
        "2 models answered: m.gguf, other.gguf",
        true,
    ),
    (|run| run.first().restarted_in_silence = true, RuleId::OneAnswerer, "another process", true),
    (|run| run.first().output.disputed = true, RuleId::CountsUndisputed, "in 1 of 12 requests", true),
    (
        |run| run.samples(|second, sample| sample.ours_cpu_ms = Some(second * 700)),
        RuleId::EnvironmentQuiet,
        "others used 7.5 % of the CPUs, more than 5.0 %",
        false,
    ),
    (
        |run| run.samples(|second, sample| sample.group_throttled_us = Some(second * 30_000)),
        RuleId::EnvironmentQuiet,
        "throttled for 3.0 %",
        false,
    ),
    (
        |run| {
            run.samples(|_, sample| {
                let gpu = &mut sample.gpus.as_mut().unwrap()[0];
                (gpu.throttle_reasons, gpu.foreign_processes) = (Some(0x4), Some(2));
            });
        },
        RuleId::GpuUndisturbed,
        "held down by: power cap; 2 processes of others on GPU 0",
        false,
    ),
];

/// Stretches the decode time of a row by a ratio.
fn slower(row: &mut RequestRecord, times: u64, by: u64) {
    let first = row.timing.chunks[0].at_ns;
    for chunk in &mut row.timing.chunks {
        chunk.at_ns = first + (chunk.at_ns - first) * times / by;
    }
    row.timing.last_token_ns = row.timing.chunks.last().map(|chunk| chunk.at_ns);
}

fn info(run: &mut Run) -> &mut bench_core::stack::StackInfo {
    run.manifest.arms[1].info.as_mut().unwrap()
}

#[test]
fn every_planted_fault_fires_its_rule() {
    for (plant, rule, evidence, sets_aside) in FAULTS {
        let mut run = clean();
        plant(&mut run);
        let report = run.report();
        let arm = arm_of(&report, MTP);
        let found = check(&arm.truth, rule);
        assert_eq!(found.verdict, TruthVerdict::Broken, "{rule:?}: {found:?}");
        assert!(found.evidence.contains(evidence), "{evidence}: {found:?}");
        assert_eq!(found.sets_aside(), sets_aside, "{rule:?}");
        if sets_aside {
            assert!(
                arm.invalid_reasons.iter().any(|why| found.evidence.contains(why)),
                "{:?}",
                arm.invalid_reasons
            );
        }
        assert_eq!(
            check(&report.truth, rule).verdict,
            TruthVerdict::Broken,
            "the run has its worst arm's verdict"
        );
    }
    let fired: Vec<_> = FAULTS.iter().map(|fault| fault.1).collect();
    let silent: Vec<_> = RULES.iter().map(|rule| rule.id).filter(|rule| !fired.contains(rule)).collect();
    assert_eq!(silent, [], "rules that nothing here breaks");
}

/// Any: which prompts they made does not matter here.
fn synthetic() -> SyntheticPrompts {
    let one = NonZeroU32::MIN;
    SyntheticPrompts { input_tokens: vec![one], count: one, spread: 0.0, seed: 1 }
}

#[test]
fn claims_about_acceptance_on_synthetic_prompts_are_refused_and_time_to_first_token_is_not() {
    let mut run = clean();
    let of_text = run.report();
    run.manifest.preset.workload.synthetic = Some(synthetic());
    // A drafter that is hardly ever right on such prompts is no broken one.
    run.manifest.preset.run.min_acceptance = 0.9;
    let report = run.report();
    let arm = arm_of(&report, MTP);
    assert!(arm.valid, "{:?}", arm.invalid_reasons);
    assert_eq!(arm.acceptance_refused(), Some(REFUSAL));
    let claims = |arm: &ArmReport| {
        let json = serde_json::to_value(arm).unwrap();
        let of_arm = [
            "drafted",
            "accepted",
            "verify_steps",
            "acceptance_rate",
            "acceptance_length",
            "accepted_per_position",
            "drafted_per_position",
        ];
        let of_category = ["accepted", "acceptance_rate", "acceptance_length", "positions", "ratio"];
        let category = &json["categories"][0];
        let of_arm = of_arm.into_iter().filter(|key| !json[key].is_null());
        of_arm.chain(of_category.into_iter().filter(|key| !category[key].is_null())).count()
    };
    assert_eq!((claims(arm_of(&of_text, MTP)), claims(arm)), (12, 0));
    let ([told], [refused]) = (&of_text.comparisons[..], &report.comparisons[..]) else {
        panic!("{report:?}")
    };
    assert!(told.ratio.is_some() && told.lossless.is_some() && told.same_output.is_some(), "{told:?}");
    assert_eq!((refused.verdict, refused.ratio), (Verdict::NotComparable, None));
    assert_eq!(refused.why.as_deref(), Some(&*format!("refused: {REFUSAL}")));
    assert!(refused.lossless.is_none() && refused.same_output.is_none() && refused.peak.is_none());
    assert!(refused.ratio_of_sums.is_none() && refused.test.is_none());
    let of_metric = |metric| refused.other_metrics.iter().find(|other| other.metric == metric).unwrap();
    assert_eq!(of_metric(Metric::E2eTokensPerS).ratio, None);
    let ttft = of_metric(Metric::TtftMs);
    assert!(ttft.ratio.is_some() && ttft.why.as_deref() != refused.why.as_deref(), "{ttft:?}");
    assert!(report.prompt_set.as_ref().unwrap().to_string().contains("of synthetic tokens"));
    let dir = tempfile::tempdir().unwrap();
    let loaded = load(&[run.store(&dir.path().join("run"))]).unwrap();
    let out = dir.path().join("report");
    write_files(&loaded, &report, &out).unwrap();
    let markdown = std::fs::read_to_string(out.join("report.md")).unwrap();
    for part in [
        "refused: acceptance, speed that depends on it, equal outputs; prompts are",
        "| refused |",
        "| `llama-server/mtp-2` | `llama-server/none` | ttft_ms | 1.000",
    ] {
        assert!(markdown.contains(part), "{part}: {markdown}");
    }
}

#[test]
fn stated_acceptance_on_synthetic_prompts_is_what_they_are_for() {
    let mut run = clean();
    run.manifest.preset.workload.synthetic = Some(synthetic());
    let SpecDecode::Mtp { acceptance, .. } = &mut run.manifest.arms[1].spec else { panic!() };
    *acceptance = AcceptanceRule::Synthetic(SyntheticRates::new(vec![0.5, 0.25]).unwrap());
    let report = run.report();
    assert_eq!(
        check(&arm_of(&report, MTP).truth, RuleId::AcceptanceOfText).verdict,
        TruthVerdict::DoesNotApply
    );
    assert!(report.comparisons[0].ratio.is_some() && arm_of(&report, MTP).acceptance_length.is_some());
}

#[test]
fn what_is_not_told_is_unknown_and_not_held() {
    type Silence = (fn(&mut Run), RuleId, &'static str);
    let silences: [Silence; 12] = [
        (|run| run.first().request_sha256 = None, RuleId::RequestsEqual, "1 of 12 requests have no hash"),
        (|run| run.first().usage.cached_tokens = None, RuleId::CacheEmpty, "not told in 1 of 12"),
        (|run| run.first().output.tokens = None, RuleId::OutputLength, "not counted in 1 of 12"),
        (|run| run.rows.retain(|row| row.block < 3), RuleId::SteadyState, "3 blocks"),
        (
            |run| run.first().readback.as_mut().unwrap().sampling_changed = None,
            RuleId::SamplingInForce,
            "not told in 1 of 12",
        ),
        (
            |run| {
                info(run).speculation = None;
                run.measured().for_each(|row| row.spec = None);
            },
            RuleId::ConfigurationInForce,
            "nobody says whether it speculates",
        ),
        (|run| info(run).target_sha256 = None, RuleId::ModelFile, "names no file"),
        (|run| run.measured().for_each(|row| row.readback = None), RuleId::OneAnswerer, "no answer names"),
        (|run| run.environment = None, RuleId::EnvironmentQuiet, "did not record its environment"),
        (
            |run| run.samples(|_, sample| sample.ours_cpu_ms = None),
            RuleId::EnvironmentQuiet,
            "who used the CPUs was not told",
        ),
        (
            |run| {
                info(run).recipe = "http://127.0.0.1:8080/v1".to_owned();
                run.samples(|second, sample| sample.ours_cpu_ms = Some(second * 100));
            },
            RuleId::EnvironmentQuiet,
            "the server that was attached to is among them",
        ),
        (
            |run| {
                let reason = "no such library".to_owned();
                let head = run.environment.as_mut().unwrap().first_mut().unwrap();
                if let EnvironmentLine::Head(head) = head {
                    head.gpu = GpuHost::Absent { reason };
                }
            },
            RuleId::GpuUndisturbed,
            "NVML is absent: no such library",
        ),
    ];
    for (plant, rule, evidence) in silences {
        let mut run = clean();
        plant(&mut run);
        let report = run.report();
        let found = check(&arm_of(&report, MTP).truth, rule).clone();
        assert_eq!(found.verdict, TruthVerdict::Unknown, "{found:?}");
        assert!(found.evidence.contains(evidence), "{evidence}: {found:?}");
    }
}

/// All names of objects in a JSON value.
fn names(value: &serde_json::Value, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(map) => {
            for (name, value) in map {
                found.insert(name.clone());
                names(value, found);
            }
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| names(value, found)),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}

#[test]
fn every_name_of_the_report_is_in_the_document() {
    let mut run = clean();
    run.first().outcome = Outcome::TimedOut { limit_ms: 1 };
    let mut found = BTreeSet::new();
    names(&serde_json::to_value(run.report()).unwrap(), &mut found);
    assert!(found.len() > 100 && found.contains("throttled_by") && found.contains("first_message"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let document = std::fs::read_to_string(path).unwrap();
    let missing: Vec<_> = found.iter().filter(|name| !document.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/metrics.md does not describe {missing:?}");
}

#[test]
fn the_markdown_holds_rules_and_machine() {
    let mut run = clean();
    run.first().usage.cached_tokens = Some(3);
    let dir = tempfile::tempdir().unwrap();
    let loaded = load(&[run.store(&dir.path().join("run"))]).unwrap();
    let out = dir.path().join("report");
    write_files(&loaded, &aggregate(&loaded).unwrap(), &out).unwrap();
    let text = std::fs::read_to_string(out.join("report.md")).unwrap();
    for part in [
        "| `cache-empty` | BROKEN | held | BROKEN |",
        "* `cache-empty` BROKEN: llama-server/mtp-2: prompt tokens came from a cache in 1 of 12 requests",
        "| before | 10.0 | 25.0 % | 0.0 % | 0.0 % | ? | 0.0 % | ? | 400 | ? | nothing | |",
        "| after | ? | ? |",
        "| `llama-server/mtp-2` | 1.1 | 25.0 % |",
        "| arm | between chunks ms: p50 | p99 | max | between tokens ms: p50 | p99 | mean |",
    ] {
        assert!(text.contains(part), "`{part}` is missing in:\n{text}");
    }
}

/// A clean run whose prompts have two turns; in each block the speculating arm answers `apart` first turns differently.
fn talked(apart: usize) -> Run {
    let mut run = clean();
    for prompt in &mut run.manifest.preset.workload.prompts {
        prompt.later_turns = vec!["and then?".to_owned()];
    }
    let prompts = run.manifest.preset.workload.prompts.clone();
    let mut rows = Vec::new();
    for mut first in std::mem::take(&mut run.rows) {
        let nth = prompts.iter().position(|prompt| prompt.id == first.prompt_id).unwrap();
        let conversation = format!("{}/{}/{nth}", first.prompt_id, first.block);
        let turn =
            |turn| Some(Turn { conversation: conversation.clone(), turn, of: 2, since_answer_ns: None });
        first.turn = turn(1);
        if first.arm == MTP && nth < apart {
            first.text = "another answer".to_owned();
        }
        let mut second = first.clone();
        second.turn = turn(2);
        second.prompt_sha256 = turn_sha256(&prompts[nth], [first.text.as_str()]);
        second.request_sha256 = Some(format!("{}/{}", first.block, second.prompt_sha256));
        let is_measured = first.phase == Phase::Measured;
        rows.push(first);
        rows.extend(is_measured.then_some(second));
    }
    for (row, index) in rows.iter_mut().zip(0..) {
        row.request_index = index;
        row.sent_unix_ms = START_MS + index * 100;
    }
    run.rows = rows;
    run
}

#[test]
fn later_turns_are_held_against_the_arms_own_answers_and_pair_where_these_are_equal() {
    let report = talked(0).report();
    for (rule, evidence) in [
        (RuleId::PromptsEqual, "those of 12 later turns with the arm's own answers before them"),
        (RuleId::RequestsEqual, "24 requests are those of llama-server/none"),
        (RuleId::CacheEmpty, "in each of 24 requests, 12 of them later turns"),
    ] {
        let check = check(&arm_of(&report, MTP).truth, rule);
        assert_eq!(check.verdict, TruthVerdict::Held, "{check:?}");
        assert!(check.evidence.ends_with(evidence) || check.evidence.contains(evidence), "{check:?}");
    }
    assert_eq!(report.comparisons[0].pairs, 24);

    let report = talked(1).report();
    let arm = arm_of(&report, MTP);
    assert!(arm.valid, "{:?}", arm.invalid_reasons);
    assert_eq!(check(&arm.truth, RuleId::PromptsEqual).verdict, TruthVerdict::Held);
    let requests = check(&arm.truth, RuleId::RequestsEqual);
    assert_eq!(requests.verdict, TruthVerdict::Held, "{requests:?}");
    assert!(requests.evidence.contains("6 later turns followed other answers"), "{requests:?}");
    assert_eq!(report.comparisons[0].pairs, 18);

    // Thoughts are not carried: arms that thought differently and answered the same go on as one.
    let mut thought = talked(0);
    for row in thought.measured().filter(|row| row.arm == MTP && row.place().turn == 1) {
        let thinking = "<think>hm</think>\n";
        row.text.insert_str(0, thinking);
        row.split.as_mut().unwrap().thought_bytes = thinking.len();
    }
    let report = thought.report();
    let prompts = check(&arm_of(&report, MTP).truth, RuleId::PromptsEqual);
    assert_eq!(prompts.verdict, TruthVerdict::Held, "{prompts:?}");
    assert_eq!(report.comparisons[0].pairs, 24);

    // A history that is not what the arm answered is a fault.
    let mut forged = talked(0);
    let second = forged.measured().find(|row| row.place().turn == 2).unwrap();
    second.prompt_sha256 = "0".repeat(64);
    let report = forged.report();
    let prompts = check(&arm_of(&report, MTP).truth, RuleId::PromptsEqual);
    assert_eq!(prompts.verdict, TruthVerdict::Broken, "{prompts:?}");
}
