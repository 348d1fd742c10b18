//! A report with one of everything.

use bench_core::gate::{
    ArmGate, Check, GATE_SCHEMA, GateMetric, GateReport, GateRules, GateVerdict, PROVENANCE_SCHEMA,
    Provenance, Sitting, Subject,
};
use bench_core::report::Estimate;

pub(super) fn report() -> GateReport {
    let check = |metric, verdict, why: Option<&str>, (low, high): (f64, f64)| Check {
        metric,
        subject: if metric == GateMetric::AcceptanceLength {
            Subject::Drafter
        } else {
            Subject::EngineAndDrafter
        },
        verdict,
        why: why.map(str::to_owned),
        baseline: Some(812.3),
        candidate: Some(790.1),
        ratio: Some(Estimate { point: f64::midpoint(low, high), low: Some(low), high: Some(high) }),
        margin: 0.03,
        clusters: 10,
        p_regression: Some(0.2),
        p_holm: Some(0.4),
        noise_floor: Some(0.012),
        needed: (verdict == GateVerdict::Inconclusive).then_some(24),
    };
    let judged = ArmGate {
        baseline: "native/mtp-3".to_owned(),
        candidate: "native/mtp-3".to_owned(),
        verdict: GateVerdict::Regression,
        problems: Vec::new(),
        warnings: vec!["slower with acceptance held: the engine, not the drafter".to_owned()],
        checks: vec![
            check(GateMetric::TokensPerS, GateVerdict::Regression, None, (0.90, 0.94)),
            check(
                GateMetric::TtftMs,
                GateVerdict::Inconclusive,
                Some("the interval straddles the margin"),
                (0.97, 1.08),
            ),
            check(GateMetric::AcceptanceLength, GateVerdict::Pass, Some("better"), (1.001, 1.02)),
        ],
    };
    let failed = ArmGate {
        baseline: "vllm/none".to_owned(),
        candidate: "vllm/a<b".to_owned(),
        verdict: GateVerdict::Inconclusive,
        problems: vec!["3 failures in 20 requests (3 x http_status)\nsecond | line & \"more\"".to_owned()],
        warnings: Vec::new(),
        checks: vec![Check {
            ratio: None,
            ..check(
                GateMetric::TokensPerS,
                GateVerdict::Inconclusive,
                Some("not judged: the arm is not valid"),
                (1.0, 1.0),
            )
        }],
    };
    GateReport {
        schema: GATE_SCHEMA,
        verdict: GateVerdict::Regression,
        sitting: Sitting::TwoSittings,
        baseline_run: "20261101-main".to_owned(),
        candidate_run: "20261123-pr".to_owned(),
        provenance: Some(Provenance {
            schema: PROVENANCE_SCHEMA,
            run_id: "20261101-main".to_owned(),
            saved_unix_ms: 1_793_500_000_000,
            saved_by: Some("ci".to_owned()),
            commit: Some("0123abc".to_owned()),
            host: None,
            suite_version: "0.1.0".to_owned(),
            without_text: true,
            manifest_sha256: "0".repeat(64),
            rows_sha256: "1".repeat(64),
        }),
        confidence: 0.95,
        problems: Vec::new(),
        arms: vec![judged, failed],
        warnings: vec!["builds of native/mtp-3 differ: \"a\" and \"b\"".to_owned()],
        notes: vec!["two sittings, not interleaved".to_owned()],
        rules: GateRules::default(),
    }
}
