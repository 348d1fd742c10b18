//! The cluster bootstrap: see the parent module for what is resampled and why.

use std::collections::BTreeMap;
use std::ops::Range;

use super::distribution::{normal_within, student_quantile_within};
use super::paired::deviation;
use super::percentile::percentile_in_place;
use crate::random::SplitMix64;
use crate::report::Estimate;

/// Fewest blocks an interval is made of.
///
/// Coverage is measured from here on (`docs/statistics.md`); four blocks resample too few different values.
pub const MIN_BLOCKS: usize = 5;

/// How to resample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BootstrapConfig {
    /// Resamples drawn.
    pub resamples: u32,
    /// Coverage of the interval, inside 0 to 1.
    pub confidence: f64,
    /// Equal seeds give equal intervals.
    pub seed: u64,
}

impl Default for BootstrapConfig {
    /// 10 000 resamples, 95 %.
    fn default() -> Self {
        Self { resamples: 10_000, confidence: 0.95, seed: 0x5eed }
    }
}

/// One request's part in a ratio of sums, such as tokens over seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// The block: the cluster.
    pub block: u32,
    /// Index of the prompt.
    pub prompt: u32,
    /// Summed above the line.
    pub numerator: f64,
    /// Summed below the line.
    pub denominator: f64,
}

/// One request's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clustered {
    /// The block: the cluster.
    pub block: u32,
    /// Index of the prompt.
    pub prompt: u32,
    /// The value.
    pub value: f64,
}

/// The same prompt in the same block on two arms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairSample {
    /// The block: the cluster.
    pub block: u32,
    /// Index of the prompt.
    pub prompt: u32,
    /// Baseline, above the line.
    pub a_num: f64,
    /// Baseline, below the line.
    pub a_den: f64,
    /// Candidate, above the line.
    pub b_num: f64,
    /// Candidate, below the line.
    pub b_den: f64,
}

/// Sum of numerators over sum of denominators.
///
/// `None` if the ratio is undefined: no samples, or a denominator sum that is not above 0. The interval is `None`
/// with fewer than [`MIN_BLOCKS`] blocks.
#[must_use]
pub fn estimate_ratio(samples: &[Sample], config: &BootstrapConfig) -> Option<Estimate> {
    // A block is drawn whole: its sums are all that a resample needs of it.
    let add = |sums: &mut Sample, sample: &Sample| {
        sums.numerator += sample.numerator;
        sums.denominator += sample.denominator;
    };
    let sums = Clusters::new(samples, |sample| (sample.block, sample.prompt)).sums(add);
    sums.estimate(config, Tails::NoNarrowerThanStudent, sum_ratio)
}

fn sum_ratio(drawn: Draw<'_, Sample>) -> Option<f64> {
    let (mut numerator, mut denominator) = (0.0, 0.0);
    drawn.for_each(|sample| {
        numerator += sample.numerator;
        denominator += sample.denominator;
    });
    ratio(numerator, denominator)
}

/// As [`estimate_ratio`], with prompts for clusters: all requests of a prompt are drawn together or not at all, so
/// that repeating a deterministic request does not narrow the interval. It is `None` with fewer than [`MIN_BLOCKS`]
/// prompts.
#[must_use]
pub fn estimate_ratio_over_prompts(samples: &[Sample], config: &BootstrapConfig) -> Option<Estimate> {
    let mut prompts: BTreeMap<u32, Sample> = BTreeMap::new();
    for sample in samples {
        let empty = Sample { block: sample.prompt, numerator: 0.0, denominator: 0.0, ..*sample };
        let sums = prompts.entry(sample.prompt).or_insert(empty);
        sums.numerator += sample.numerator;
        sums.denominator += sample.denominator;
    }
    let samples: Vec<_> = prompts.into_values().collect();
    // Shares end at 1, which Student's t does not know.
    Clusters::new(&samples, |sample| (sample.block, sample.prompt)).estimate(
        config,
        Tails::Percentile,
        sum_ratio,
    )
}

/// The median of all values. `None` and interval as in [`estimate_ratio`].
#[must_use]
pub fn estimate_median(values: &[Clustered], config: &BootstrapConfig) -> Option<Estimate> {
    if values.iter().any(|value| value.value.is_nan()) {
        return None;
    }
    let clusters = Clusters::new(values, |value| (value.block, value.prompt));
    let ranked = Ranked::new(&clusters);
    clusters.estimate(config, Tails::NoNarrowerThanStudent, |drawn| ranked.median(&drawn.times()))
}

/// Candidate's ratio of sums over the baseline's, both drawn with the same clusters, and the number of pairs.
/// `None` and interval as in [`estimate_ratio`].
#[must_use]
pub fn paired_ratio(pairs: &[PairSample], config: &BootstrapConfig) -> Option<(Estimate, u64)> {
    let add = |sums: &mut PairSample, pair: &PairSample| {
        sums.a_num += pair.a_num;
        sums.a_den += pair.a_den;
        sums.b_num += pair.b_num;
        sums.b_den += pair.b_den;
    };
    let clusters = Clusters::new(pairs, |pair| (pair.block, pair.prompt)).sums(add);
    let estimate = clusters.estimate(config, Tails::NoNarrowerThanStudent, |drawn| {
        let mut sums = [0.0; 4];
        drawn.for_each(|pair| {
            for (sum, part) in sums.iter_mut().zip([pair.a_num, pair.a_den, pair.b_num, pair.b_den]) {
                *sum += part;
            }
        });
        let [a_num, a_den, b_num, b_den] = sums;
        ratio(ratio(b_num, b_den)?, ratio(a_num, a_den)?)
    })?;
    Some((estimate, pairs.len() as u64))
}

fn ratio(numerator: f64, denominator: f64) -> Option<f64> {
    (denominator > 0.0).then(|| numerator / denominator).filter(|ratio| ratio.is_finite())
}

/// Observations in block order.
struct Clusters<T> {
    items: Vec<T>,
    blocks: Vec<Range<usize>>,
}

impl<T: Copy> Clusters<T> {
    /// Groups by block. Sorted by (block, prompt), so that the order of the input does not matter.
    fn new(items: &[T], key: impl Fn(&T) -> (u32, u32)) -> Self {
        let mut items = items.to_vec();
        items.sort_by_key(&key);
        let mut blocks: Vec<Range<usize>> = Vec::new();
        for (index, item) in items.iter().enumerate() {
            match blocks.last_mut() {
                Some(range) if key(&items[range.start]).0 == key(item).0 => range.end = index + 1,
                Some(_) | None => blocks.push(index..index + 1),
            }
        }
        Self { items, blocks }
    }

    /// One observation a block: what `add` makes of all of them. Sums of whole numbers are the same in any order.
    fn sums(self, add: impl Fn(&mut T, &T)) -> Self {
        let sum = |block: &Range<usize>| {
            let (first, others) = self.items[block.clone()].split_first()?;
            let mut sums = *first;
            others.iter().for_each(|item| add(&mut sums, item));
            Some(sums)
        };
        let items: Vec<T> = self.blocks.iter().filter_map(sum).collect();
        let blocks = (0..items.len()).map(|nth| nth..nth + 1).collect();
        Self { items, blocks }
    }

    /// The statistic of all observations, and its interval over resamples.
    fn estimate(
        &self,
        config: &BootstrapConfig,
        tails: Tails,
        mut statistic: impl FnMut(Draw<'_, T>) -> Option<f64>,
    ) -> Option<Estimate> {
        let point = statistic(Draw::All(self))?;
        let bounds = self.bounds(config, (point, tails), statistic);
        Some(Estimate { point, low: bounds.map(|(low, _)| low), high: bounds.map(|(_, high)| high) })
    }

    fn bounds(
        &self,
        config: &BootstrapConfig,
        (point, tails): (f64, Tails),
        mut statistic: impl FnMut(Draw<'_, T>) -> Option<f64>,
    ) -> Option<(f64, f64)> {
        if self.blocks.len() < MIN_BLOCKS {
            return None;
        }
        let mut random = SplitMix64::new(config.seed);
        // A resample whose statistic is undefined (nothing drafted in any drawn block) has nothing to say.
        let replicates =
            (0..config.resamples).filter_map(|_| statistic(Draw::Resample(self, &mut random))).collect();
        interval(point, replicates, (self.blocks.len(), config.confidence), tails)
    }
}

/// Values in order, each with its block: the median of any resample without sorting again.
struct Ranked {
    /// (value, block).
    values: Vec<(f64, usize)>,
    /// For every [`STRIDE`]-th place of `values`: how many of each block lie before it.
    before: Vec<Vec<usize>>,
    sizes: Vec<usize>,
}

/// Places between two counts: what is searched one by one.
const STRIDE: usize = 64;

impl Ranked {
    fn new(clusters: &Clusters<Clustered>) -> Self {
        let of_block = |(block, range): (usize, &Range<usize>)| {
            clusters.items[range.clone()].iter().map(move |item| (item.value, block)).collect::<Vec<_>>()
        };
        let mut values: Vec<_> = clusters.blocks.iter().enumerate().flat_map(of_block).collect();
        values.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let mut counts = vec![0; clusters.blocks.len()];
        let mut before = Vec::new();
        for stride in values.chunks(STRIDE) {
            before.push(counts.clone());
            stride.iter().for_each(|(_, block)| counts[*block] += 1);
        }
        Self { values, before, sizes: counts }
    }

    /// The median of all values, each block's counted so many times: [`percentile_in_place`] of the list that this
    /// stands for.
    fn median(&self, times: &[usize]) -> Option<f64> {
        let count = weighed(&self.sizes, times);
        let middle = count.checked_sub(1)? / 2;
        let low = self.at(middle, times)?;
        let high = if count.is_multiple_of(2) { self.at(middle + 1, times)? } else { low };
        Some(low + (high - low) * 0.5)
    }

    /// The value at this place of the list, from 0.
    fn at(&self, place: usize, times: &[usize]) -> Option<f64> {
        let stride = self.before.partition_point(|counts| weighed(counts, times) <= place).checked_sub(1)?;
        let mut passed = weighed(&self.before[stride], times);
        let mut following = self.values[stride * STRIDE..].iter();
        let found = following.find(|(_, block)| {
            passed += times[*block];
            passed > place
        })?;
        Some(found.0)
    }
}

fn weighed(counts: &[usize], times: &[usize]) -> usize {
    counts.iter().zip(times).map(|(count, times)| count * times).sum()
}

/// How the ends of an interval are read off resamples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tails {
    /// Expanded percentiles.
    Percentile,
    /// Expanded percentiles, or Student's interval by the resamples' scatter on the log scale, whichever is wider at each end.
    /// Percentiles of five or six blocks alone cover 91.6 and 92.8 % instead of 95 (simulated): so few blocks have too
    /// few different means for a tail. Only for what is above 0.
    NoNarrowerThanStudent,
}

/// The interval of `point` by its resamples over `clusters` clusters. It always holds the point: with skewed data both
/// percentiles can fall on one side of it, which would only confuse. `None` with fewer than [`MIN_BLOCKS`] clusters,
/// without resamples, and for a confidence that is not inside 0 to 1.
pub(super) fn interval(
    point: f64,
    mut replicates: Vec<f64>,
    (clusters, confidence): (usize, f64),
    tails: Tails,
) -> Option<(f64, f64)> {
    let tail = tail_level(clusters, confidence)?;
    let low = percentile_in_place(&mut replicates, tail)?.min(point);
    let high = percentile_in_place(&mut replicates, 1.0 - tail)?.max(point);
    let reach = match tails {
        Tails::Percentile => None,
        Tails::NoNarrowerThanStudent => student_reach(point, &replicates, (clusters, confidence)),
    };
    let reach = reach.unwrap_or(1.0);
    Some((low.min(point / reach), high.max(point * reach)))
}

/// The factor by which Student's interval reaches above and below the point; `None` where a logarithm is not defined.
fn student_reach(point: f64, replicates: &[f64], (clusters, confidence): (usize, f64)) -> Option<f64> {
    if point <= 0.0 || replicates.iter().any(|&replicate| replicate <= 0.0) {
        return None;
    }
    let freedom = u32::try_from(clusters - 1).ok()?;
    let logs: Vec<f64> = replicates.iter().map(|replicate| replicate.ln()).collect();
    // The scatter of resampled means is that of means with n for n - 1.
    let error = deviation(&logs)? * (clusters as f64 / f64::from(freedom)).sqrt();
    Some((student_quantile_within(confidence, freedom) * error).exp())
}

/// Observations that a statistic is computed of.
enum Draw<'a, T> {
    All(&'a Clusters<T>),
    Resample(&'a Clusters<T>, &'a mut SplitMix64),
}

impl<T: Copy> Draw<'_, T> {
    /// How often each block is drawn.
    fn times(self) -> Vec<usize> {
        match self {
            Self::All(clusters) => vec![1; clusters.blocks.len()],
            Self::Resample(clusters, random) => {
                let mut times = vec![0; clusters.blocks.len()];
                for _ in 0..clusters.blocks.len() {
                    times[random.index(clusters.blocks.len())] += 1;
                }
                times
            }
        }
    }

    fn for_each(self, mut visit: impl FnMut(T)) {
        match self {
            Self::All(clusters) => clusters.items.iter().copied().for_each(visit),
            Self::Resample(clusters, random) => {
                for _ in 0..clusters.blocks.len() {
                    let block = clusters.blocks[random.index(clusters.blocks.len())].clone();
                    clusters.items[block].iter().copied().for_each(&mut visit);
                }
            }
        }
    }
}

/// Share of resamples to cut off at each end: Phi(-sqrt(n / (n - 1)) t), with Student's t of n - 1 degrees.
/// `None` with too few blocks, or for a confidence that is not inside 0 to 1.
fn tail_level(blocks: usize, confidence: f64) -> Option<f64> {
    if blocks < MIN_BLOCKS || !(confidence > 0.0 && confidence < 1.0) {
        return None;
    }
    let freedom = u32::try_from(blocks - 1).ok()?;
    let widening = (blocks as f64 / f64::from(freedom)).sqrt();
    let within = normal_within(widening * student_quantile_within(confidence, freedom));
    Some((1.0 - within) / 2.0)
}

#[cfg(test)]
#[path = "bootstrap_tests.rs"]
mod tests;
