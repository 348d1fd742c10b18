//! The ratio of two runs that were not interleaved: prompts are paired, blocks are not.
//!
//! Each run has its own blocks; a block's value is the mean of its prompts' logs, over prompts that both runs have. The
//! blocks of the two runs are two independent groups: Welch's t (1947) with Satterthwaite's degrees of freedom makes
//! the interval, rounded down to whole degrees, and the rank-sum test stands beside it. What changed between the runs
//! (heat, a neighbour, another driver) is in the ratio, and no formula can take it out.

use std::collections::{BTreeMap, BTreeSet};

use super::bootstrap::MIN_BLOCKS;
use super::distribution::{student_quantile_within, student_within};
use super::paired::{deviation, mean};
use super::wilcoxon::{RankTest, rank_sum};
use crate::report::Estimate;

/// The log of one request's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogValue {
    /// The block of its run.
    pub block: u32,
    /// Index of the prompt, the same in both runs.
    pub prompt: u32,
    /// ln(value).
    pub log: f64,
}

impl LogValue {
    /// Of a measured value; `None` unless it is above 0 and finite.
    #[must_use]
    pub fn new(block: u32, prompt: u32, value: f64) -> Option<Self> {
        (value > 0.0 && value.is_finite()).then(|| Self { block, prompt, log: value.ln() })
    }
}

/// Two runs in numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UnpairedRatio {
    /// Candidate / baseline. Without ends if one of the runs has fewer than [`MIN_BLOCKS`] blocks.
    pub ratio: Estimate,
    /// Welch's test, two-sided; `None` with fewer than two blocks a run.
    pub p_value: Option<f64>,
    /// The rank-sum test of the blocks.
    pub ranks: Option<RankTest>,
    /// Blocks of the baseline and of the candidate.
    pub blocks: [usize; 2],
    /// Prompts that both runs have.
    pub prompts: usize,
}

/// Estimates the ratio with an interval of this confidence; `None` without a prompt that both runs have, or for a
/// confidence that is not inside 0 to 1.
#[must_use]
pub fn unpaired_log_ratio(
    baseline: &[LogValue],
    candidate: &[LogValue],
    confidence: f64,
) -> Option<UnpairedRatio> {
    if !(confidence > 0.0 && confidence < 1.0) {
        return None;
    }
    let prompts = |values: &[LogValue]| values.iter().map(|value| value.prompt).collect::<BTreeSet<_>>();
    let common = &prompts(baseline) & &prompts(candidate);
    let (a, b) = (block_means(baseline, &common), block_means(candidate, &common));
    let point = mean(&b)? - mean(&a)?;
    let welch = Welch::new(&a, &b);
    let enough = a.len().min(b.len()) >= MIN_BLOCKS;
    let half = welch.as_ref().filter(|_| enough).map(|welch| welch.half_width(confidence));
    Some(UnpairedRatio {
        ratio: Estimate {
            point: point.exp(),
            low: half.map(|half| (point - half).exp()),
            high: half.map(|half| (point + half).exp()),
        },
        p_value: welch.map(|welch| welch.p_value(point)),
        ranks: rank_sum(&a, &b),
        blocks: [a.len(), b.len()],
        prompts: common.len(),
    })
}

/// One value a block: its prompts above their own means, plus the mean of those means, as for pairs.
fn block_means(values: &[LogValue], common: &BTreeSet<u32>) -> Vec<f64> {
    let kept: Vec<_> = values.iter().filter(|value| common.contains(&value.prompt)).collect();
    let by_prompt = group_means(kept.iter().map(|value| (value.prompt, value.log)));
    let center = by_prompt.values().sum::<f64>() / by_prompt.len() as f64;
    let above = group_means(kept.iter().map(|value| (value.block, value.log - by_prompt[&value.prompt])));
    above.into_values().map(|above| center + above).collect()
}

fn group_means(values: impl Iterator<Item = (u32, f64)>) -> BTreeMap<u32, f64> {
    let mut sums: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
    for (group, value) in values {
        let sum = sums.entry(group).or_default();
        *sum = (sum.0 + value, sum.1 + 1.0);
    }
    sums.into_iter().map(|(group, (sum, count))| (group, sum / count)).collect()
}

/// Standard error of a difference of means, and its degrees of freedom.
struct Welch {
    error: f64,
    freedom: u32,
}

impl Welch {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "degrees of freedom lie between 1 and the number of blocks"
    )]
    fn new(a: &[f64], b: &[f64]) -> Option<Self> {
        let part = |values: &[f64]| Some(deviation(values)?.powi(2) / values.len() as f64);
        let (of_a, of_b) = (part(a)?, part(b)?);
        let (free_a, free_b) = ((a.len() - 1) as f64, (b.len() - 1) as f64);
        let sum = of_a + of_b;
        let freedom = sum.powi(2) / (of_a.powi(2) / free_a + of_b.powi(2) / free_b);
        // No scatter at all has no degrees either; any number does, since the error is 0.
        let freedom = if freedom.is_finite() { freedom.max(1.0) } else { 1.0 };
        Some(Self { error: sum.sqrt(), freedom: freedom as u32 })
    }

    fn half_width(&self, confidence: f64) -> f64 {
        student_quantile_within(confidence, self.freedom) * self.error
    }

    fn p_value(&self, difference: f64) -> f64 {
        if self.error <= 0.0 {
            return if difference.abs() > 0.0 { 0.0 } else { 1.0 };
        }
        1.0 - student_within(difference.abs() / self.error, self.freedom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(blocks: &[f64], prompts: u32) -> Vec<LogValue> {
        let cells = (0..).zip(blocks).flat_map(|(block, log)| (0..prompts).map(move |p| (block, p, log)));
        cells.map(|(block, prompt, log)| LogValue { block, prompt, log: log + f64::from(prompt) }).collect()
    }

    #[test]
    fn as_r_has_it() {
        // By hand: variances 0.5 and 0.25, error 0.3873, 7.2 degrees (7 here), t = 3.873.
        let a = [1.0, 2.0, 3.0, 2.0, 2.0];
        let b = [3.0, 4.0, 3.0, 3.5, 4.0];
        let got = unpaired_log_ratio(&run(&a, 3), &run(&b, 3), 0.95).unwrap();
        assert!((got.ratio.point.ln() - 1.5).abs() < 1e-12);
        let error = ((0.5 + 0.25) / 5.0_f64).sqrt();
        let half = 2.364_62 * error;
        assert!((got.ratio.high.unwrap().ln() - 1.5 - half).abs() < 1e-4, "{got:?}");
        assert_eq!((got.blocks, got.prompts), ([5, 5], 3));
        assert!(got.p_value.unwrap() < 0.01 && got.ranks.unwrap().p_value < 0.05);
    }

    #[test]
    fn only_prompts_of_both_runs_count() {
        let mut a = run(&[0.0, 0.1, 0.0, 0.1, 0.0], 2);
        a.push(LogValue { block: 0, prompt: 7, log: 100.0 });
        let got = unpaired_log_ratio(&a, &run(&[0.0, 0.1, 0.0, 0.1, 0.0], 3), 0.95).unwrap();
        assert!((got.ratio.point - 1.0).abs() < 1e-12 && got.prompts == 2, "{got:?}");
        assert_eq!(unpaired_log_ratio(&[], &a, 0.95), None);
    }

    #[test]
    fn few_blocks_have_a_point_and_no_interval() {
        let got = unpaired_log_ratio(&run(&[0.0, 0.1, 0.2, 0.1], 2), &run(&[0.5; 9], 2), 0.95).unwrap();
        assert_eq!((got.ratio.low, got.ratio.high), (None, None));
        assert_eq!(LogValue::new(0, 0, 0.0), None);
    }
}
