//! What a check is decided by, from log ratios of blocks and from counts of prompts.

use super::report::Subject;
use super::rules::GateMetric;
use crate::report::Estimate;
use crate::stats::{
    BootstrapConfig, LogValue, PairSample, PairedRatio, block_test, paired_ratio, unpaired_log_ratio,
};

/// A pair of arms before the verdict.
#[derive(Debug, Clone, PartialEq)]
pub struct ArmEvidence {
    /// Label of the arm below the line.
    pub baseline: String,
    /// Label of the arm that is judged.
    pub candidate: String,
    /// Why it may not be judged.
    pub problems: Vec<String>,
    /// What has to be said of it.
    pub warnings: Vec<String>,
    /// One entry a metric that applies.
    pub metrics: Vec<Evidence>,
}

/// One metric before the verdict.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// The metric.
    pub metric: GateMetric,
    /// What it tells of.
    pub subject: Subject,
    /// The loss that is acted on, as a share above 0.
    pub margin: f64,
    /// Values of baseline and candidate, in the metric's unit.
    pub values: [Option<f64>; 2],
    /// The ratio; `None` where it was not measured.
    pub found: Option<Found>,
    /// The larger noise floor of the two arms, as a share.
    pub noise_floor: Option<f64>,
    /// Why it is not judged whatever was found; `None` where it is.
    pub refused: Option<String>,
}

/// A ratio with its interval and the chance to see it without a regression.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// candidate / baseline.
    pub ratio: Estimate,
    /// Blocks (of two runs, those of the shorter one) or prompts.
    pub clusters: u64,
    /// One-sided: such values or worse ones, if the loss is just the margin. `None` with fewer than two clusters.
    pub p_regression: Option<f64>,
    /// Scatter of the clusters' log ratios; `None` where they are not paired.
    pub spread: Option<f64>,
}

impl Found {
    /// Of interleaved arms: blocks are pairs.
    #[must_use]
    pub fn paired(metric: GateMetric, margin: f64, paired: &PairedRatio) -> Self {
        Self {
            ratio: paired.ratio,
            clusters: paired.block_logs.len() as u64,
            p_regression: chance_within(metric, margin, &paired.block_logs),
            spread: paired.block_sd(),
        }
    }

    /// Of two runs: blocks are two groups. `None` without a prompt that both have.
    #[must_use]
    pub fn unpaired(
        (metric, margin): (GateMetric, f64),
        (baseline, candidate): (&[LogValue], &[LogValue]),
        confidence: f64,
    ) -> Option<Self> {
        let found = unpaired_log_ratio(baseline, candidate, confidence)?;
        // The same test with the margin given back to the candidate: does it still lose?
        let back = metric.sign() * margin.ln_1p();
        let shifted: Vec<_> =
            candidate.iter().map(|value| LogValue { log: value.log + back, ..*value }).collect();
        let at_margin = unpaired_log_ratio(baseline, &shifted, confidence)?;
        let gain = metric.sign() * at_margin.ratio.point.ln();
        Some(Self {
            ratio: found.ratio,
            clusters: found.blocks[0].min(found.blocks[1]) as u64,
            p_regression: at_margin.p_value.map(|p| one_sided(p, gain)),
            spread: None,
        })
    }

    /// Of a ratio of sums whose clusters are prompts, one sample a prompt with its index as `block`: counts of drafts, which
    /// blocks only repeat. `None` where a sum below a line is 0.
    #[must_use]
    pub fn of_prompts(
        metric: GateMetric,
        margin: f64,
        prompts: &[PairSample],
        config: &BootstrapConfig,
    ) -> Option<Self> {
        let (ratio, count) = paired_ratio(prompts, config)?;
        let logs = linearised(prompts, ratio.point);
        Some(Self {
            ratio,
            clusters: count,
            p_regression: logs.as_ref().and_then(|logs| chance_within(metric, margin, logs)),
            spread: None,
        })
    }
}

/// One log ratio a prompt, whose mean is that of the sums and whose scatter is that of the mean (the delta method: a
/// prompt counts by its share of the sums). `None` where a sum is 0.
fn linearised(prompts: &[PairSample], ratio: f64) -> Option<Vec<f64>> {
    let sum = |of: fn(&PairSample) -> f64| prompts.iter().map(of).sum::<f64>();
    let sums = [sum(|p| p.a_num), sum(|p| p.a_den), sum(|p| p.b_num), sum(|p| p.b_den)];
    if sums.iter().any(|&sum| sum <= 0.0) {
        return None;
    }
    let count = prompts.len() as f64;
    let pull = |p: &PairSample| {
        let share = |part: f64, nth: usize| count * part / sums[nth];
        (share(p.b_num, 2) - share(p.b_den, 3)) - (share(p.a_num, 0) - share(p.a_den, 1))
    };
    Some(prompts.iter().map(|p| ratio.ln() + pull(p)).collect())
}

/// The chance of such log ratios or worse ones if the loss is just the margin.
fn chance_within(metric: GateMetric, margin: f64, logs: &[f64]) -> Option<f64> {
    let above: Vec<f64> = logs.iter().map(|log| metric.sign() * log + margin.ln_1p()).collect();
    let mean = above.iter().sum::<f64>() / above.len() as f64;
    Some(one_sided(block_test(&above)?, mean))
}

/// A two-sided chance as that of a loss at least as great.
fn one_sided(two_sided: f64, gain: f64) -> f64 {
    if gain < 0.0 { two_sided / 2.0 } else { 1.0 - two_sided / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{LogPair, paired_log_ratio};

    fn config() -> BootstrapConfig {
        BootstrapConfig { resamples: 2000, ..BootstrapConfig::default() }
    }

    #[test]
    fn the_chance_is_one_half_just_at_the_margin_whatever_is_better() {
        for (metric, log) in
            [(GateMetric::TokensPerS, -0.03_f64.ln_1p()), (GateMetric::TtftMs, 0.03_f64.ln_1p())]
        {
            let noise = [-0.01, 0.01, -0.02, 0.02, 0.0, 0.0];
            let pair = |(block, noise)| LogPair { block, prompt: 0, log_ratio: log + noise };
            let paired =
                paired_log_ratio(&(0..).zip(noise).map(pair).collect::<Vec<_>>(), &config()).unwrap();
            let at = Found::paired(metric, 0.03, &paired).p_regression.unwrap();
            assert!((at - 0.5).abs() < 1e-9, "{metric}: {at}");
            let allowed = Found::paired(metric, 0.1, &paired).p_regression.unwrap();
            let asked = Found::paired(metric, 0.001, &paired).p_regression.unwrap();
            assert!(asked < 0.01 && allowed > 0.99, "{metric}: {asked} {allowed}");
        }
    }

    #[test]
    fn two_runs_are_held_to_the_same_margin() {
        let run = |log: f64| -> Vec<LogValue> {
            let blocks = (0..).zip([-0.01, 0.01, -0.02, 0.02, 0.0, 0.0]);
            blocks.map(|(block, noise)| LogValue { block, prompt: 0, log: log + noise }).collect()
        };
        for (metric, log) in
            [(GateMetric::TokensPerS, -0.05_f64.ln_1p()), (GateMetric::TpotMs, 0.05_f64.ln_1p())]
        {
            let at = |margin| {
                let (a, b) = (run(0.0), run(log));
                Found::unpaired((metric, margin), (&a, &b), 0.95).unwrap().p_regression.unwrap()
            };
            assert!((at(0.05) - 0.5).abs() < 1e-9 && at(0.01) < 0.01 && at(0.2) > 0.99, "{metric}");
        }
        assert_eq!(Found::unpaired((GateMetric::TpotMs, 0.1), (&[], &run(0.0)), 0.95), None);
    }

    #[test]
    fn prompts_weigh_by_their_steps_and_equal_counts_have_no_scatter() {
        let prompt = |block, steps: f64, of_a: f64, of_b: f64| PairSample {
            block,
            prompt: 0,
            a_num: of_a * steps,
            a_den: steps,
            b_num: of_b * steps,
            b_den: steps,
        };
        let same: Vec<_> = (0..6).map(|n| prompt(n, 10.0 + f64::from(n), 2.5, 2.5)).collect();
        let found = Found::of_prompts(GateMetric::AcceptanceLength, 0.02, &same, &config()).unwrap();
        assert_eq!((found.ratio.low, found.ratio.high, found.clusters), (Some(1.0), Some(1.0), 6));
        assert!(found.p_regression.unwrap() > 0.99, "{found:?}");

        // One long prompt loses a fifth: of the sums that is nearly all, of six prompts it is one.
        let mut long = same.clone();
        long[0] = prompt(0, 1000.0, 2.5, 2.0);
        let found = Found::of_prompts(GateMetric::AcceptanceLength, 0.02, &long, &config()).unwrap();
        assert!((0.80..0.82).contains(&found.ratio.point), "{found:?}");

        let lost: Vec<_> = (0..8).map(|n| prompt(n, 10.0, 2.5, 2.2 + 0.01 * f64::from(n % 2))).collect();
        let found = Found::of_prompts(GateMetric::AcceptanceLength, 0.02, &lost, &config()).unwrap();
        assert!(found.p_regression.unwrap() < 1e-4 && found.ratio.high.unwrap() < 0.9, "{found:?}");
    }
}
