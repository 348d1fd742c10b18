use super::*;
use crate::gate::{GateMetric, MetricRule};
use crate::report::Estimate;
use crate::stats::{BootstrapConfig, LogPair, paired_log_ratio, wilson};
use crate::testing::Experiment;

const TERMS: Terms = Terms { alpha: 0.05, floor_needed: false };

fn evidence(metric: GateMetric, low: f64, high: f64) -> Evidence {
    let point = (low * high).sqrt();
    Evidence {
        metric,
        subject: if metric.is_acceptance() { Subject::Drafter } else { Subject::EngineAndDrafter },
        margin: 0.03,
        values: [Some(1.0), Some(point)],
        found: Some(Found {
            ratio: Estimate { point, low: Some(low), high: Some(high) },
            clusters: 10,
            p_regression: Some(if (0.96..=1.04).contains(&point) { 0.5 } else { 1e-6 }),
            spread: Some(0.02),
        }),
        noise_floor: None,
        refused: None,
    }
}

fn arm(metrics: Vec<Evidence>) -> ArmEvidence {
    ArmEvidence {
        baseline: "native/none".to_owned(),
        candidate: "native/mtp-3".to_owned(),
        problems: Vec::new(),
        warnings: Vec::new(),
        metrics,
    }
}

fn one(evidence: Evidence) -> (GateVerdict, Option<String>) {
    let judged = judge(vec![arm(vec![evidence])], &GateRules::default(), &TERMS);
    (judged[0].checks[0].verdict, judged[0].checks[0].why.clone())
}

#[test]
fn three_verdicts_for_more_and_for_less_is_better() {
    use GateMetric::{TokensPerS, TtftMs};
    for (metric, low, high, expected) in [
        (TokensPerS, 0.98, 1.02, GateVerdict::Pass),
        (TokensPerS, 1.01, 1.05, GateVerdict::Pass),
        (TokensPerS, 0.96, 1.05, GateVerdict::Inconclusive),
        (TokensPerS, 0.90, 0.96, GateVerdict::Regression),
        (TtftMs, 0.90, 1.02, GateVerdict::Pass),
        (TtftMs, 0.98, 1.04, GateVerdict::Inconclusive),
        (TtftMs, 1.04, 1.20, GateVerdict::Regression),
    ] {
        assert_eq!(one(evidence(metric, low, high)).0, expected, "{metric} {low} {high}");
    }
    assert_eq!(one(evidence(TokensPerS, 1.01, 1.05)).1.as_deref(), Some("better"));
    // The margin is the same factor either way: 1 / 1.03 and 1.03.
    assert_eq!(one(evidence(TokensPerS, 0.970_9, 1.0)).0, GateVerdict::Pass);
    assert_eq!(one(evidence(TokensPerS, 0.970_8, 1.0)).0, GateVerdict::Inconclusive);
}

#[test]
fn silence_is_never_a_pass() {
    let good = evidence(GateMetric::TokensPerS, 0.99, 1.01);
    let found = good.found.unwrap();
    let with = |change: &dyn Fn(&mut Found)| {
        let mut found = found;
        change(&mut found);
        Evidence { found: Some(found), ..good.clone() }
    };
    for (evidence, why) in [
        (Evidence { found: None, ..good.clone() }, "not measured"),
        (Evidence { refused: Some("no text".to_owned()), ..good.clone() }, "refused: no text"),
        (with(&|found| found.clusters = 5), "5 blocks, at least 6 are needed"),
        (with(&|found| found.ratio.low = None), "no interval"),
        (with(&|found| found.ratio.low = Some(f64::NAN)), "straddles"),
        (with(&|found| (found.ratio.low, found.ratio.high) = (Some(0.0), Some(f64::INFINITY))), "straddles"),
    ] {
        let (verdict, said) = one(evidence);
        assert_eq!(verdict, GateVerdict::Inconclusive, "{why}");
        assert!(said.as_deref().unwrap().contains(why), "{said:?}");
    }
    assert_eq!(overall(&[], &[]), GateVerdict::Inconclusive);
    let nothing = judge(vec![arm(Vec::new())], &GateRules::default(), &TERMS);
    assert_eq!(overall(&[], &nothing), GateVerdict::Inconclusive);
    let passed = judge(vec![arm(vec![good])], &GateRules::default(), &TERMS);
    assert_eq!(overall(&[], &passed), GateVerdict::Pass);
    assert_eq!(overall(&["other machines".to_owned()], &passed), GateVerdict::Inconclusive);
}

#[test]
fn an_arm_with_a_problem_is_not_judged_however_clear_its_numbers_are() {
    let lost = evidence(GateMetric::TokensPerS, 0.5, 0.6);
    let failed =
        ArmEvidence { problems: vec!["3 failures in 20 requests".to_owned()], ..arm(vec![lost.clone()]) };
    let judged = judge(vec![failed.clone()], &GateRules::default(), &TERMS);
    assert_eq!(overall(&[], &judged), GateVerdict::Inconclusive);
    assert_eq!((judged[0].checks[0].ratio, judged[0].checks[0].p_holm), (None, None));
    // A regression that another arm shows is one.
    let judged = judge(vec![failed, arm(vec![lost])], &GateRules::default(), &TERMS);
    assert_eq!(overall(&[], &judged), GateVerdict::Regression);
}

#[test]
fn a_regression_has_to_stand_among_all_checks_and_above_the_floor() {
    let weak = |p| {
        let mut lost = evidence(GateMetric::TokensPerS, 0.94, 0.968);
        lost.found = lost.found.map(|found| Found { p_regression: Some(p), ..found });
        lost
    };
    let others = || (0..4).map(|_| evidence(GateMetric::TtftMs, 0.99, 1.01));
    let among = |p| {
        let metrics: Vec<_> = [weak(p)].into_iter().chain(others()).collect();
        judge(vec![arm(metrics)], &GateRules::default(), &TERMS)[0].checks[0].clone()
    };
    assert_eq!(among(0.001).verdict, GateVerdict::Regression);
    assert!((among(0.001).p_holm.unwrap() - 0.005).abs() < 1e-12);
    assert_eq!(among(0.01).verdict, GateVerdict::Inconclusive, "0.05 of five checks");
    assert!(among(0.01).why.unwrap().contains("Holm"));

    let floor = Evidence { noise_floor: Some(0.06), ..weak(1e-6) };
    assert!(one(floor).1.unwrap().contains("under the noise floor (6.0 %)"));
}

#[test]
fn two_sittings_need_a_floor_for_speed_and_none_for_counts() {
    let terms = Terms { floor_needed: true, ..TERMS };
    let metrics = vec![
        evidence(GateMetric::TokensPerS, 0.99, 1.01),
        Evidence { noise_floor: Some(0.01), ..evidence(GateMetric::TtftMs, 0.99, 1.01) },
        evidence(GateMetric::AcceptanceLength, 0.99, 1.01),
    ];
    let judged = judge(vec![arm(metrics)], &GateRules::default(), &terms);
    let verdicts: Vec<_> = judged[0].checks.iter().map(|check| check.verdict).collect();
    assert_eq!(verdicts, [GateVerdict::Inconclusive, GateVerdict::Pass, GateVerdict::Pass]);
    assert!(judged[0].checks[0].why.as_deref().unwrap().contains("--aa"));
}

#[test]
fn speed_and_acceptance_together_tell_whose_fault_it_is() {
    let said = |low, high| {
        let metrics = vec![
            evidence(GateMetric::TokensPerS, 0.8, 0.9),
            evidence(GateMetric::AcceptanceLength, low, high),
        ];
        judge(vec![arm(metrics)], &GateRules::default(), &TERMS)[0].warnings.join("")
    };
    assert!(said(0.99, 1.01).contains("the engine"));
    assert!(said(0.8, 0.9).contains("synthetic acceptance"));
    assert!(said(0.9, 1.1).is_empty());
}

#[test]
fn looks_are_paid_for() {
    assert!((alpha_in_force(0.05, 0.95) - 0.05).abs() < 1e-12);
    assert!((alpha_in_force(0.1, 1.0 - 0.0294) - 0.0588).abs() < 1e-12);
}

/// Two arms, two metrics each, blocks that scatter by 2 %.
fn gate(ratio: f64, blocks: u32, seed: u64) -> GateVerdict {
    let experiment = Experiment {
        blocks,
        prompts: 4,
        ratio,
        block_noise: 0.05,
        arm_noise: 0.0139,
        request_noise: 0.01,
        prompt_spread: 0.05,
        prompts_are_drawn: false,
    };
    let rules = GateRules::default();
    let config = BootstrapConfig { resamples: 100, ..BootstrapConfig::default() };
    let metric = |nth: u64, metric: GateMetric, margin: f64| {
        let mut pairs: Vec<LogPair> = experiment.pairs(seed * 16 + nth);
        for pair in &mut pairs {
            pair.log_ratio *= metric.sign();
        }
        let paired = paired_log_ratio(&pairs, &config).unwrap();
        let found = Found::paired(metric, margin, &paired);
        let subject = Subject::Engine;
        Evidence {
            metric,
            subject,
            margin,
            values: [None; 2],
            found: Some(found),
            noise_floor: None,
            refused: None,
        }
    };
    let arms = (0..2)
        .map(|nth| {
            let of = |(index, rule): (u64, &MetricRule)| metric(nth * 4 + index, rule.metric, rule.margin);
            arm((0..).zip(&rules.metrics[..2]).map(of).collect())
        })
        .collect();
    overall(&[], &judge(arms, &rules, &TERMS))
}

#[test]
fn two_thousand_gates_of_an_arm_against_itself_raise_fewer_false_alarms_than_stated() {
    const GATES: u64 = 2000;
    let alarms = (0..GATES).filter(|&seed| gate(1.0, 10, seed) == GateVerdict::Regression).count() as u64;
    let rate = wilson(alarms, GATES, 0.95).unwrap();
    assert!(rate.high.unwrap() <= 0.025, "{alarms} alarms in {GATES}");
    // Just at the smaller margin, where both errors are likeliest.
    const AT_MARGIN: u64 = 1000;
    let at_margin: Vec<_> = (0..AT_MARGIN).map(|seed| gate(1.0 / 1.03, 10, seed)).collect();
    for wrong in [GateVerdict::Regression, GateVerdict::Pass] {
        let count = at_margin.iter().filter(|&&verdict| verdict == wrong).count() as u64;
        let rate = wilson(count, AT_MARGIN, 0.95).unwrap();
        assert!(rate.low.unwrap() <= 0.025, "{count} of {AT_MARGIN} at the margin: {wrong}");
    }
}

#[test]
fn a_planted_loss_is_found_and_a_sound_candidate_passes() {
    const GATES: u64 = 300;
    let share = |ratio, blocks, verdict| {
        let count = (0..GATES).filter(|&seed| gate(ratio, blocks, seed) == verdict).count();
        count as f64 / GATES as f64
    };
    let found = share(0.90, 10, GateVerdict::Regression);
    assert!(found > 0.95, "{found} of losses of 10 % found");
    assert!(share(1.05, 10, GateVerdict::Pass) > 0.95);
    assert!(share(0.90, 4, GateVerdict::Inconclusive) > 0.999, "4 blocks are not judged");
}
