//! A report with everything in it: a fast arm, one that failed, one without counts by position, a skipped stack.

use std::num::NonZeroU32;

use bench_core::environment::{EnvironmentHead, GpuHost, GpuSpan, Span};
use bench_core::latency::{LatencyPercentiles, RequestTimeline, TimelineChunk};
use bench_core::preset::{AcceptanceRule, DraftHead, SpecDecode, StackKind};
use bench_core::report::{
    ArmReport, BlockEnvironment, CategoryReport, Comparison, Estimate, FailureSummary, Gaps, PositionReport,
    REPORT_SCHEMA, Report, RunEnvironment, Verdict,
};
use bench_core::sweep::{Sweep, SweepPoint};
use bench_core::testing::host;
use bench_core::truth::{RuleId, TruthCheck, TruthVerdict, over_arms};

fn estimate(point: f64) -> Estimate {
    Estimate { point, low: Some(point * 0.97), high: Some(point * 1.04) }
}

fn arm(stack: StackKind, variant: &str, draft_max: u32, tokens_per_s: f64) -> ArmReport {
    let speculation = NonZeroU32::new(draft_max).map_or(SpecDecode::None, |draft_max| SpecDecode::Mtp {
        draft_max,
        acceptance: AcceptanceRule::SampleAndCompare,
        draft_head: DraftHead::Auto,
    });
    let counted = (draft_max > 0).then_some(());
    ArmReport {
        stack,
        preset: "gemma-4-e2b".to_owned(),
        label: format!("{stack}/{variant}"),
        speculation,
        n_requests: 60,
        failures: 0,
        failure_kinds: Vec::new(),
        valid: true,
        invalid_reasons: Vec::new(),
        skipped: None,
        tokens_per_s: Some(estimate(tokens_per_s)),
        e2e_tokens_per_s: Some(estimate(tokens_per_s * 0.8)),
        served_tokens_per_s: Some(estimate(tokens_per_s * 0.78)),
        ttft_ms: Some(estimate(182.0)),
        tpot_ms: Some(estimate(1000.0 / tokens_per_s)),
        inter_chunk: Some(Gaps { count: 7680, mean_ms: 31.4, p50_ms: 30.25, p99_ms: 110.5, max_ms: 140.0 }),
        inter_token: None,
        thinking: None,
        output_tokens: Some(7680),
        prompt_tokens: Some(2400),
        drafted: counted.map(|()| 9000),
        accepted: counted.map(|()| 5580),
        verify_steps: counted.map(|()| 3000),
        acceptance_rate: counted.map(|()| estimate(0.62)),
        acceptance_length: counted.map(|()| estimate(2.86)),
        accepted_per_position: counted.map(|()| (0..draft_max).map(|i| 2500 >> i).collect()),
        drafted_per_position: counted.map(|()| (0..draft_max).map(|i| 3000 - 400 * u64::from(i)).collect()),
        accepted_histogram: None,
        categories: categories(draft_max, tokens_per_s),
        effective: vec![
            ("build".to_owned(), "b7421 (0f3c9ab)".to_owned()),
            (
                "recipe".to_owned(),
                "llama-server --model /models/gemma.gguf --cache-type-k q8_0 --port 18080".to_owned(),
            ),
        ],
        truth: vec![
            check(RuleId::CacheEmpty, TruthVerdict::Held, "0 cached tokens in each of 60 requests"),
            check(RuleId::EnvironmentQuiet, TruthVerdict::Broken, "others used 9.0 % of the CPUs & more"),
            check(RuleId::GpuUndisturbed, TruthVerdict::Unknown, "NVML is absent"),
        ],
        environment: Some(span()),
        joules_per_token: Some(0.2187),
        explanation: None,
        load: None,
        latency: Some(latency(tokens_per_s)),
        timeline: Some(timeline(draft_max)),
        kv_quality: None,
    }
}

/// Most gaps as long as the speed says, the last ones ten times as long.
fn latency(tokens_per_s: f64) -> LatencyPercentiles {
    let curve = |ms: f64| {
        Some((0..=100).map(|p| if p < 98 { ms + 0.01 * f64::from(p) } else { ms * 10.0 }).collect())
    };
    let token = 1000.0 / tokens_per_s;
    LatencyPercentiles {
        ttft: curve(180.0),
        between_chunks: curve(token * 2.0),
        between_tokens: curve(token),
    }
}

/// Twenty rounds of 50 ms after 180 ms.
fn timeline(draft_max: u32) -> RequestTimeline {
    let chunk = |nth: u32| TimelineChunk {
        at_ms: 180.0 + 50.0 * f64::from(nth),
        tokens: Some(1 + nth % (draft_max + 1)),
    };
    RequestTimeline { prompt_id: "code-1".to_owned(), block: 0, chunks: (0..20).map(chunk).collect() }
}

fn check(rule: RuleId, verdict: TruthVerdict, evidence: &str) -> TruthCheck {
    TruthCheck { rule, verdict, evidence: evidence.to_owned() }
}

/// Others used 9 % of the CPUs; one GPU drew 412 W; pressure was not told.
fn span() -> Span {
    let gpu = GpuSpan { power_w: Some(412.0), temperature_max_c: Some(61), ..GpuSpan::default() };
    Span { seconds: 12.5, others_share: Some(0.09), gpus: vec![gpu], ..Span::default() }
}

/// Code is drafted better than prose; stories are too few for an interval.
fn categories(draft_max: u32, tokens_per_s: f64) -> Vec<CategoryReport> {
    let category = |name: &str, prompts: u64, share: f64| {
        let counted = (draft_max > 0).then_some(());
        let alone = |point| Estimate { point, low: None, high: None };
        let over_prompts = |point: f64| {
            if prompts < 5 {
                alone(point)
            } else {
                Estimate { low: Some(point * 0.86), high: Some((point * 1.12).min(1.0)), ..alone(point) }
            }
        };
        let position = |nth: u32| PositionReport {
            drafted: Some(1000 - 150 * u64::from(nth)),
            accepted: 800 - 150 * u64::from(nth),
            conditional: Some(over_prompts(share)),
            marginal: Some(over_prompts(share * 0.8_f64.powf(f64::from(nth)))),
        };
        CategoryReport {
            category: name.to_owned(),
            prompts,
            drafted: counted.map(|()| 3000),
            accepted: counted.map(|()| 1860),
            verify_steps: counted.map(|()| 1000),
            acceptance_rate: counted.map(|()| over_prompts(share)),
            acceptance_length: counted.map(|()| alone(1.0 + f64::from(draft_max) * share)),
            positions: counted.map(|()| (0..draft_max).map(position).collect()),
            tokens_per_s: Some(estimate(tokens_per_s)),
            prompt_tokens_range: None,
            ttft_ms: None,
            prompt_tokens_per_s: None,
            ratio: counted.map(|()| estimate(1.4)),
        }
    };
    // A better drafter for code; the more drafts, the smaller the share that is kept.
    let thinned = 1.0 - 0.06 * f64::from(draft_max);
    vec![
        category("code", 12, 0.82 * thinned),
        category("question and answer", 8, 0.61 * thinned),
        category("prose", 3, 0.44 * thinned),
    ]
}

fn versus(baseline: &str, candidate: &str, ratio: Option<f64>, verdict: Verdict) -> Comparison {
    Comparison {
        baseline: baseline.to_owned(),
        candidate: candidate.to_owned(),
        metric: "tokens_per_s".to_owned(),
        ratio: ratio.map(estimate),
        pairs: if ratio.is_some() { 60 } else { 0 },
        verdict,
        same_output: ratio.map(|_| true),
        why: None,
        other_prompts: None,
        ratio_of_sums: None,
        peak: None,
        test: None,
        other_metrics: Vec::new(),
        lossless: None,
    }
}

/// A sweep over concurrency whose ratio falls through 1 between 2 and 4; at 8 the arm failed.
fn swept(report: &mut Report) {
    let at = |variant: &str, x: u32, draft_max: u32, stream: f64, together: f64| {
        let mut arm = arm(StackKind::Vllm, &format!("{variant}@{x}"), draft_max, stream);
        arm.e2e_tokens_per_s = Some(estimate(stream));
        arm.served_tokens_per_s = Some(estimate(together));
        arm.effective.push(("slots".to_owned(), x.to_string()));
        arm
    };
    let mut points = Vec::new();
    for (x, plain, drafted) in [(1, 50.0, 90.0), (2, 45.0, 60.0), (4, 40.0, 30.0), (8, 30.0, 12.0)] {
        let streams = f64::from(x) * 0.9;
        let base = at("none", x, 0, plain, plain * streams);
        let mut candidate = at("mtp-3", x, 3, drafted, drafted * streams);
        candidate.valid = x < 8;
        if x == 8 {
            candidate.invalid_reasons = vec!["1 failure in 60 requests (1 x timed_out)".to_owned()];
        }
        let ratio = candidate.valid.then_some(drafted / plain);
        let verdict = match ratio {
            None => Verdict::NotComparable,
            Some(ratio) if ratio > 1.0 => Verdict::Faster,
            Some(_) => Verdict::Slower,
        };
        report.comparisons.push(versus(&base.label, &candidate.label, ratio, verdict));
        points.push(SweepPoint {
            x,
            label: candidate.label.clone(),
            ratio: ratio.map(estimate),
            tokens_per_s: candidate.tokens_per_s,
        });
        report.arms.extend([base, candidate]);
    }
    report.sweeps = vec![Sweep {
        over: "concurrency".to_owned(),
        stack: StackKind::Vllm,
        variant: "mtp-3".to_owned(),
        points,
        pays_up_to: Some(2),
        crossover: Some(Estimate { point: 2.83, low: Some(2.6), high: None }),
        best: Some(1),
        as_good: Vec::new(),
    }];
}

/// [`report`] with a third stack over concurrencies.
pub(crate) fn swept_report() -> Report {
    let mut report = report();
    swept(&mut report);
    report
}

/// Two stacks, seven arms, five comparisons.
pub(crate) fn report() -> Report {
    use StackKind::{LlamaServer, Native};
    let mut arms = vec![
        arm(Native, "none", 0, 41.7),
        arm(Native, "mtp-2", 2, 68.2),
        arm(Native, "mtp-4", 4, 79.9),
        arm(Native, "ngram", 3, 44.0),
        arm(LlamaServer, "none", 0, 48.3),
        arm(LlamaServer, "mtp-2", 2, 49.1),
        arm(LlamaServer, "mtp-4", 4, 60.0),
    ];
    arms[3].valid = false;
    arms[3].failures = 2;
    arms[3].invalid_reasons = vec!["2 failures in 60 requests (2 x aborted)".to_owned()];
    arms[3].failure_kinds = vec![FailureSummary {
        kind: "aborted".to_owned(),
        count: 2,
        first_message: "the stream ended without a finish after 31 events: the stream is over".to_owned(),
    }];
    for category in &mut arms[5].categories {
        category.positions = None;
    }
    arms[5].accepted_per_position = None;
    arms[5].drafted_per_position = None;
    let absent = &mut arms[6];
    (absent.tokens_per_s, absent.e2e_tokens_per_s, absent.ttft_ms, absent.tpot_ms) = (None, None, None, None);
    (absent.drafted, absent.accepted, absent.verify_steps, absent.output_tokens) = (None, None, None, None);
    (absent.acceptance_rate, absent.acceptance_length) = (None, None);
    (absent.accepted_per_position, absent.drafted_per_position) = (None, None);
    (absent.n_requests, absent.valid) = (0, false);
    absent.skipped =
        Some("llama-server b7421 cannot draft with an assistant of this architecture".to_owned());
    absent.effective.clear();
    absent.categories.clear();
    absent.truth.clear();
    absent.environment = None;
    absent.joules_per_token = None;
    (absent.latency, absent.timeline) = (None, None);
    let mut host = host();
    host.cpu = Some("AMD EPYC 7763 64-Core Processor".to_owned());
    host.cpu_count = Some(8);
    host.cpu_features = ["avx2", "fma", "f16c"].map(str::to_owned).to_vec();
    host.memory_bytes = Some(33_500_000_000);
    Report {
        imported: None,
        schema: REPORT_SCHEMA,
        preset: "gemma-4-e2b".to_owned(),
        preset_description:
            "Gemma 4 E2B with its assistant on <eight> threads, greedy, 128 tokens a request.".to_owned(),
        preset_sha256: "5e".repeat(32),
        prompt_set: None,
        target_sha256: Some("7a".repeat(32)),
        assistant_sha256: None,
        run_ids: vec!["20270115-081500-ab12".to_owned()],
        started_unix_ms: 1_800_000_000_000,
        interrupted: false,
        suite_version: "0.1.0".to_owned(),
        host,
        blocks: 6,
        confidence: 0.95,
        method_notes: Vec::new(),
        notes: Vec::new(),
        sweeps: Vec::new(),
        comparisons: vec![
            versus("native/none", "native/mtp-2", Some(1.635), Verdict::Faster),
            versus("native/none", "native/mtp-4", Some(1.916), Verdict::Faster),
            versus("native/none", "native/ngram", None, Verdict::NotComparable),
            versus("llama-server/none", "llama-server/mtp-2", Some(1.01), Verdict::NotResolved),
            versus("llama-server/none", "llama-server/mtp-4", None, Verdict::NotComparable),
            versus("native/none", "llama-server/none", Some(1.16), Verdict::Faster),
        ],
        truth: over_arms(&arms.iter().map(|arm| (arm.label.as_str(), &*arm.truth)).collect::<Vec<_>>()),
        environment: vec![RunEnvironment {
            run_id: "20270115-081500-ab12".to_owned(),
            head: Some(EnvironmentHead {
                schema: 1,
                interval_ms: 1000,
                cpu_count: Some(8),
                gpu: GpuHost::Absent { reason: "libnvidia-ml.so.1: no such <file>".to_owned() },
            }),
            readings: 80,
            unreadable: 0,
            before: None,
            during: Some(span()),
            after: None,
            blocks: vec![BlockEnvironment { block: 0, span: Some(span()) }],
        }],
        arms,
    }
}
