//! Rank tests: no normal noise assumed, and no single block can decide alone.
//!
//! Both are exact given the ranks that were seen, ties included: the distribution is counted by Streitberg and
//! Röhmel's shift algorithm (1986) over doubled mid-ranks, which are whole numbers. From [`EXACT_BELOW`] values on a
//! normal approximation with the tied variance and a continuity correction takes over.

use super::distribution::normal_within;

/// From so many values on the normal approximation is used. It is off by less than 0.002 there, and counting is not
/// free.
pub const EXACT_BELOW: usize = 60;

/// What a rank test says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankTest {
    /// Two-sided: how often chance alone gives ranks at least so uneven.
    pub p_value: f64,
    /// Smallest p-value that these numbers of values could have given: where it is above the level asked for, the test
    /// could not have said anything.
    pub smallest_p: f64,
}

/// Wilcoxon's signed-rank test (1945) of values that scatter around 0 if nothing is different: log ratios, one a
/// block.
///
/// Ties share the mean of their ranks. Zeros are ranked with the others and then left out (Pratt 1959), so that a
/// block without a difference counts against a difference.
///
/// `None` without a value that is not 0, and if a value is not a finite number.
#[must_use]
pub fn signed_rank(values: &[f64]) -> Option<RankTest> {
    let sizes: Vec<f64> = values.iter().map(|value| value.abs()).collect();
    let ranked: Vec<(u32, f64)> = doubled_ranks(&sizes)?.into_iter().zip(values.iter().copied()).collect();
    let kept: Vec<_> = ranked.into_iter().filter(|&(_, value)| value.abs() > 0.0).collect();
    if kept.is_empty() {
        return None;
    }
    let ranks: Vec<u32> = kept.iter().map(|&(rank, _)| rank).collect();
    let positive: u32 = kept.iter().filter(|&&(_, value)| value > 0.0).map(|&(rank, _)| rank).sum();
    if values.len() >= EXACT_BELOW {
        let total: f64 = ranks.iter().map(|&rank| f64::from(rank)).sum();
        let variance = ranks.iter().map(|&rank| f64::from(rank).powi(2)).sum::<f64>() / 4.0;
        return Some(RankTest { p_value: by_normal(positive, total / 2.0, variance), smallest_p: 0.0 });
    }
    let counts = subset_sums(&ranks);
    Some(RankTest { p_value: two_sided(&counts, positive), smallest_p: two_sided(&counts, 0) })
}

/// The Wilcoxon rank-sum test (Mann and Whitney 1947) of two independent groups, ties by mid-ranks.
///
/// `None` if a group is empty or a value is not a finite number.
#[must_use]
pub fn rank_sum(a: &[f64], b: &[f64]) -> Option<RankTest> {
    if a.is_empty() || b.is_empty() {
        return None;
    }
    let ranks = doubled_ranks(&[a, b].concat())?;
    let of_a: u32 = ranks[..a.len()].iter().sum();
    if ranks.len() >= EXACT_BELOW {
        let (n, m) = (a.len() as f64, b.len() as f64);
        let mean = ranks.iter().map(|&rank| f64::from(rank)).sum::<f64>() / (n + m);
        let spread = ranks.iter().map(|&rank| (f64::from(rank) - mean).powi(2)).sum::<f64>();
        let variance = n * m / ((n + m) * (n + m - 1.0)) * spread;
        return Some(RankTest { p_value: by_normal(of_a, n * mean, variance), smallest_p: 0.0 });
    }
    let counts = choice_sums(&ranks, a.len());
    let lowest = counts.iter().position(|&count| count > 0.0).and_then(|sum| u32::try_from(sum).ok());
    Some(RankTest { p_value: two_sided(&counts, of_a), smallest_p: two_sided(&counts, lowest.unwrap_or(0)) })
}

/// Twice the mid-rank of every value, counted from 1; `None` if one is not finite.
fn doubled_ranks(values: &[f64]) -> Option<Vec<u32>> {
    if values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let count = |is: &dyn Fn(&f64) -> bool| values.iter().filter(|value| is(value)).count();
    let rank = |value: &f64| {
        let (below, equal) = (count(&|other| other < value), count(&|other| other.total_cmp(value).is_eq()));
        u32::try_from(2 * below + equal + 1).ok()
    };
    values.iter().map(rank).collect()
}

/// How many of all choices of signs give each sum of the ranks with a plus.
fn subset_sums(ranks: &[u32]) -> Vec<f64> {
    let mut counts = vec![1.0];
    for &rank in ranks {
        let shift = rank as usize;
        counts.resize(counts.len() + shift, 0.0);
        for sum in (shift..counts.len()).rev() {
            counts[sum] += counts[sum - shift];
        }
    }
    counts
}

/// How many of all choices of `size` ranks give each sum.
fn choice_sums(ranks: &[u32], size: usize) -> Vec<f64> {
    let total: usize = ranks.iter().map(|&rank| rank as usize).sum();
    let mut counts = vec![vec![0.0; total + 1]; size + 1];
    counts[0][0] = 1.0;
    for &rank in ranks {
        let shift = rank as usize;
        for chosen in (1..=size).rev() {
            let (fewer, these) = counts.split_at_mut(chosen);
            for sum in shift..=total {
                these[0][sum] += fewer[chosen - 1][sum - shift];
            }
        }
    }
    counts.swap_remove(size)
}

/// Twice the smaller tail at `sum`, at most 1.
fn two_sided(counts: &[f64], sum: u32) -> f64 {
    let all: f64 = counts.iter().sum();
    let at = sum as usize;
    let below: f64 = counts.iter().take(at + 1).sum();
    let above: f64 = counts.iter().skip(at).sum();
    (2.0 * below.min(above) / all).min(1.0)
}

/// The continuity correction is half a step of a doubled rank sum: 1.
fn by_normal(sum: u32, mean: f64, variance: f64) -> f64 {
    let distance = ((f64::from(sum) - mean).abs() - 1.0).max(0.0);
    1.0 - normal_within(distance / variance.sqrt())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn p(values: &[f64]) -> f64 {
        signed_rank(values).unwrap().p_value
    }

    #[test]
    fn as_printed_in_tables() {
        // Critical values of Wilcoxon's T at two-sided 0.05: n 6: 0, n 8: 3, n 10: 8 (Siegel 1956, table G); the exact
        // tails behind them are 2/64, 10/256 and 50/1024.
        let with_minus = |n: u32, minus: &[u32]| -> Vec<f64> {
            (1..=n)
                .map(|rank| if minus.contains(&rank) { -f64::from(rank) } else { f64::from(rank) })
                .collect()
        };
        assert!((p(&with_minus(6, &[])) - 2.0 / 64.0).abs() < 1e-12);
        assert!((p(&with_minus(8, &[3])) - 10.0 / 256.0).abs() < 1e-12);
        assert!((p(&with_minus(10, &[8])) - 50.0 / 1024.0).abs() < 1e-12);
        // Mann-Whitney, 4 and 5 values, U 1: 2 * 2/126.
        let test = rank_sum(&[1.0, 2.0, 3.0, 5.0], &[4.0, 6.0, 7.0, 8.0, 9.0]).unwrap();
        assert!((test.p_value - 4.0 / 126.0).abs() < 1e-12, "{test:?}");
        assert!((test.smallest_p - 2.0 / 126.0).abs() < 1e-12, "{test:?}");
    }

    #[test]
    fn five_blocks_can_not_reach_five_percent() {
        let test = signed_rank(&[0.1, 0.2, 0.3, 0.4, 0.5]).unwrap();
        assert!((test.p_value - 0.0625).abs() < 1e-12 && (test.smallest_p - 0.0625).abs() < 1e-12);
    }

    #[test]
    fn a_block_without_a_difference_counts_against_one() {
        // Pratt: the zero takes the lowest rank away, so that the two minuses weigh 2 + 3 of 27. Of 64 choices of signs
        // 6 weigh no more: none, 2, 3, 4, 5 and 2 + 3.
        let with_zero = [0.0, -0.1, -0.2, 0.3, 0.4, 0.5, 0.6];
        assert!((p(&with_zero) - 12.0 / 64.0).abs() < 1e-12, "{}", p(&with_zero));
        assert_eq!(signed_rank(&[0.0, 0.0]), None);
        assert_eq!(signed_rank(&[]), None);
        assert_eq!(signed_rank(&[1.0, f64::NAN]), None);
        assert_eq!(rank_sum(&[], &[1.0]), None);
    }

    #[test]
    fn the_approximation_meets_the_count() {
        let values: Vec<f64> =
            (1..EXACT_BELOW).map(|rank| if rank % 3 == 0 { -(rank as f64) } else { rank as f64 }).collect();
        let exact = p(&values);
        let ranks = doubled_ranks(&values.iter().map(|value| value.abs()).collect::<Vec<_>>()).unwrap();
        let positive =
            ranks.iter().zip(&values).filter(|(_, value)| **value > 0.0).map(|(rank, _)| rank).sum();
        let total: f64 = ranks.iter().map(|&rank| f64::from(rank)).sum();
        let variance = ranks.iter().map(|&rank| f64::from(rank).powi(2)).sum::<f64>() / 4.0;
        assert!((by_normal(positive, total / 2.0, variance) - exact).abs() < 2e-3, "{exact}");
    }

    proptest! {
        /// All signs, listed.
        #[test]
        fn agrees_with_all_signs_listed(values in prop::collection::vec(-4_i32..=4, 1..9)) {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let Some(test) = signed_rank(&values) else { return Ok(()) };
            let sizes: Vec<f64> = values.iter().map(|value| value.abs()).collect();
            let all = doubled_ranks(&sizes).unwrap();
            let kept: Vec<(u32, f64)> =
                all.into_iter().zip(values.iter().copied()).filter(|(_, value)| *value != 0.0).collect();
            let sum = |bits: usize| -> u32 {
                kept.iter().enumerate().filter(|(nth, _)| bits >> nth & 1 == 1).map(|(_, (rank, _))| rank).sum()
            };
            let seen: u32 = kept.iter().filter(|(_, value)| *value > 0.0).map(|(rank, _)| rank).sum();
            let choices = 1_usize << kept.len();
            let below = (0..choices).filter(|&bits| sum(bits) <= seen).count();
            let above = (0..choices).filter(|&bits| sum(bits) >= seen).count();
            let expected = (2.0 * below.min(above) as f64 / choices as f64).min(1.0);
            prop_assert!((test.p_value - expected).abs() < 1e-12, "{test:?} {expected}");
        }

        #[test]
        fn changing_sides_changes_nothing(values in prop::collection::vec(-9.0_f64..9.0, 1..40)) {
            let turned: Vec<f64> = values.iter().map(|value| -value).collect();
            prop_assert!((p(&values) - p(&turned)).abs() < 1e-9);
            let (a, b) = values.split_at(values.len() / 2);
            if let (Some(one), Some(other)) = (rank_sum(a, b), rank_sum(b, a)) {
                prop_assert!((one.p_value - other.p_value).abs() < 1e-9);
            }
        }
    }
}
