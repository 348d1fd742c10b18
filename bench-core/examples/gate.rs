//! The gate held against itself: `docs/gate.md` has what it prints.
//!
//! Each gate judges two arms by decode throughput and time to first token, four checks in all, from simulated interleaved
//! blocks with a planted ratio. Scatter is that of two machines: a quiet one (blocks' log ratios scatter by 1.3 %) and a
//! shared one (4.4 %).

#![expect(clippy::print_stdout, reason = "an example prints")]

use bench_core::gate::{
    ArmEvidence, Evidence, Found, GateMetric, GateRules, GateVerdict, MetricRule, Subject, Terms, judge,
    overall,
};
use bench_core::stats::{BootstrapConfig, Power, paired_log_ratio, wilson};
use bench_core::testing::Experiment;

/// A machine and how many blocks are measured there.
struct Place {
    name: &'static str,
    /// Scatter of a block, each arm by itself.
    arm_noise: f64,
    blocks: u32,
}

const PLACES: [Place; 4] = [
    Place { name: "quiet (1.3 %)", arm_noise: 0.008, blocks: 6 },
    Place { name: "quiet (1.3 %)", arm_noise: 0.008, blocks: 10 },
    Place { name: "shared (4.4 %)", arm_noise: 0.031, blocks: 10 },
    Place { name: "shared (4.4 %)", arm_noise: 0.031, blocks: 40 },
];

const GATES: u64 = 200;

fn main() {
    let rules = GateRules::default();
    println!("| machine | blocks | planted | gates | regression | inconclusive | pass | stated |");
    println!("|---|--:|---|--:|--:|--:|--:|---|");
    for place in &PLACES {
        for (planted, ratio) in [
            ("nothing (A/A)", 1.0),
            ("3 %, the margin", 1.0 / 1.03),
            ("5 %", 1.0 / 1.05),
            ("8 %", 1.0 / 1.08),
        ] {
            let verdicts: Vec<_> = (0..GATES).map(|seed| gate(place, ratio, seed, &rules)).collect();
            let cell = |verdict| share(&verdicts, verdict);
            println!(
                "| {} | {} | {planted} | {GATES} | {} | {} | {} | {} |",
                place.name,
                place.blocks,
                cell(GateVerdict::Regression),
                cell(GateVerdict::Inconclusive),
                cell(GateVerdict::Pass),
                stated(place, ratio, &rules),
            );
        }
    }
}

fn experiment(place: &Place, ratio: f64) -> Experiment {
    Experiment {
        blocks: place.blocks,
        prompts: 5,
        ratio,
        block_noise: 0.05,
        arm_noise: place.arm_noise,
        request_noise: 0.01,
        prompt_spread: 0.05,
        prompts_are_drawn: false,
    }
}

/// Two arms; the planted ratio is that of the first one's throughput, all else is as it was.
fn gate(place: &Place, ratio: f64, seed: u64, rules: &GateRules) -> GateVerdict {
    let arms = (0..2).map(|arm| {
        let metric = |(nth, rule): (u64, &MetricRule)| {
            let planted = if (arm, nth) == (0, 0) { ratio } else { 1.0 };
            evidence(*rule, &experiment(place, planted), seed * 16 + arm * 4 + nth)
        };
        ArmEvidence {
            baseline: "a".to_owned(),
            candidate: "b".to_owned(),
            problems: Vec::new(),
            warnings: Vec::new(),
            metrics: (0..).zip(&rules.metrics).take(2).filter_map(metric).collect(),
        }
    });
    let terms = Terms { alpha: rules.alpha, floor_needed: false };
    overall(&[], &judge(arms.collect(), rules, &terms))
}

fn evidence(rule: MetricRule, experiment: &Experiment, seed: u64) -> Option<Evidence> {
    let config = BootstrapConfig { resamples: 2000, ..BootstrapConfig::default() };
    let paired = paired_log_ratio(&experiment.pairs(seed), &config)?;
    Some(Evidence {
        metric: rule.metric,
        subject: Subject::Engine,
        margin: rule.margin,
        values: [None; 2],
        found: Some(Found::paired(rule.metric, rule.margin, &paired)),
        noise_floor: None,
        refused: None,
    })
}

fn share(verdicts: &[GateVerdict], wanted: GateVerdict) -> String {
    let count = verdicts.iter().filter(|&&verdict| verdict == wanted).count() as u64;
    match wilson(count, verdicts.len() as u64, 0.95) {
        Some(rate) => {
            let per_cent = |share: Option<f64>| share.unwrap_or(f64::NAN) * 100.0;
            format!("{:.1} [{:.1}, {:.1}]", rate.point * 100.0, per_cent(rate.low), per_cent(rate.high))
        }
        None => "?".to_owned(),
    }
}

/// What holds by construction: the two errors, and the power to call a planted loss of one check in four.
fn stated(place: &Place, ratio: f64, rules: &GateRules) -> String {
    let margin = rules
        .metrics
        .iter()
        .find(|rule| rule.metric == GateMetric::TokensPerS)
        .map_or(0.0, |rule| rule.margin);
    let beyond = -ratio.ln() - margin.ln_1p();
    let error = rules.alpha / 2.0 * 100.0;
    if beyond < -1e-9 {
        return format!("regression at most {error:.1} %");
    }
    if beyond < 1e-9 {
        return format!("regression and pass at most {error:.1} % each");
    }
    // Holm asks a quarter of the level of the smallest of four p-values.
    let spread = (2.0_f64.mul_add(place.arm_noise.powi(2), 2.0 * 0.01_f64.powi(2) / 5.0)).sqrt();
    let found = (1..100_u32).rev().map(f64::from).find(|power| {
        let power = Power { alpha: rules.alpha / 4.0, power: power / 100.0 };
        power.power > 0.5
            && power.detectable(spread, place.blocks).is_some_and(|effect| effect.ln_1p() <= beyond)
    });
    found.map_or_else(
        || format!("pass at most {error:.1} %, regression in less than half by the formula"),
        |power| format!("regression in {power:.0} %"),
    )
}
