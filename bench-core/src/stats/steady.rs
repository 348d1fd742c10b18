//! Whether an arm's speed is steady: three t tests with one stated rate of false alarms.
//!
//! Prompts differ in speed by more than any drift, and keep their order in every block, so each prompt is compared with
//! itself in other blocks only. What follows from that: a trend that every block repeats is part of the prompts' own
//! speeds and cannot be seen. What is seen is a trend over blocks, a first block unlike the others, and a trend within
//! the first block, which is how a cold start looks.
//!
//! Noise is taken to be normal on the log scale, a part of it common to a block. The block is then the unit of the first
//! two tests, and within a block its common part is a constant that no slope sees.

use super::distribution::student_quantile_within;

/// What the tests say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Steadiness {
    /// Blocks, and prompts in each.
    pub blocks: usize,
    /// Prompts that were measured in every block.
    pub prompts: usize,
    /// Change of speed over all blocks, by a straight line: 0.02 is 2 % faster at the end.
    pub over_blocks: Finding,
    /// Speed of the first block against the mean of the others.
    pub first_block: Finding,
    /// Change of speed from the first to the last request of the first block.
    pub within_first_block: Finding,
}

/// One test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finding {
    /// Estimated change, relative; `None` where too few values were there to test.
    pub change: Option<f64>,
    /// Whether it is beyond what noise gives.
    pub fires: bool,
}

/// Fewer values have no degrees of freedom worth a test.
const FEWEST: usize = 4;

/// Tests log speeds, a row for each block in time order and in it a value for each prompt in the order asked; all rows
/// are equally long. With `false_alarm` the probability that any of the three fires on an arm without trend. `None` with
/// fewer than 4 blocks or without prompts.
#[must_use]
pub fn steadiness(log_speed: &[Vec<f64>], false_alarm: f64) -> Option<Steadiness> {
    let blocks = log_speed.len();
    let prompts = log_speed.first()?.len();
    if blocks < FEWEST || prompts == 0 || log_speed.iter().any(|row| row.len() != prompts) {
        return None;
    }
    // Bonferroni: three tests share the rate.
    let each = false_alarm / 3.0;
    let means: Vec<f64> = log_speed.iter().map(|row| mean(row)).collect();
    let others: Vec<f64> = (0..prompts)
        .map(|prompt| mean(&log_speed[1..].iter().map(|row| row[prompt]).collect::<Vec<_>>()))
        .collect();
    let first: Vec<f64> = log_speed[0].iter().zip(&others).map(|(value, others)| value - others).collect();
    Some(Steadiness {
        blocks,
        prompts,
        over_blocks: slope(&means, each),
        first_block: first_apart(&means, each),
        within_first_block: slope(&first, each),
    })
}

impl Steadiness {
    /// Findings that fire and change the speed by `least` or more, in words; empty if the arm is steady.
    #[must_use]
    pub fn unsteady(&self, least: f64) -> Vec<String> {
        let named = [
            (self.over_blocks, "over the blocks", "speed changes by"),
            (self.first_block, "against the others", "the first block differs by"),
            (self.within_first_block, "within the first block", "speed changes by"),
        ];
        let word = |(finding, place, what): (Finding, &str, &str)| {
            let change = finding.change.filter(|change| finding.fires && change.abs() >= least)?;
            Some(format!("{what} {:+.1} % {place}", change * 100.0))
        };
        named.into_iter().filter_map(word).collect()
    }
}

/// Least squares over 0, 1, 2, ...; the change is that of the line from its first to its last point.
fn slope(values: &[f64], false_alarm: f64) -> Finding {
    let n = values.len();
    let Some(freedom) = freedom(n) else { return Finding { change: None, fires: false } };
    let middle = (n as f64 - 1.0) / 2.0;
    let average = mean(values);
    let at = |index: usize| index as f64 - middle;
    let spread: f64 = (0..n).map(|index| at(index).powi(2)).sum();
    let slope =
        values.iter().enumerate().map(|(index, value)| at(index) * (value - average)).sum::<f64>() / spread;
    let squares: f64 =
        values.iter().enumerate().map(|(index, value)| (value - average - slope * at(index)).powi(2)).sum();
    let error = (squares / f64::from(freedom) / spread).sqrt();
    let limit = student_quantile_within(1.0 - false_alarm, freedom);
    Finding { change: Some((slope * (n as f64 - 1.0)).exp_m1()), fires: slope.abs() > limit * error }
}

/// The first value against the mean of the others, by what a new value of theirs would scatter.
fn first_apart(values: &[f64], false_alarm: f64) -> Finding {
    let Some(freedom) = freedom(values.len()) else { return Finding { change: None, fires: false } };
    let others = &values[1..];
    let (n, average) = (others.len() as f64, mean(others));
    let variance = others.iter().map(|value| (value - average).powi(2)).sum::<f64>() / f64::from(freedom);
    let error = (variance * (1.0 + 1.0 / n)).sqrt();
    let apart = values[0] - average;
    let limit = student_quantile_within(1.0 - false_alarm, freedom);
    Finding { change: Some(apart.exp_m1()), fires: apart.abs() > limit * error }
}

/// Two parameters are estimated in either test.
fn freedom(values: usize) -> Option<u32> {
    if values < FEWEST { None } else { u32::try_from(values - 2).ok() }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix64;

    /// A standard normal by the sum of twelve uniforms would have short tails; this is Box and Muller's.
    fn normal(random: &mut SplitMix64) -> f64 {
        let uniform = |random: &mut SplitMix64| (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        let (a, b) = (1.0 - uniform(random), uniform(random));
        (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }

    /// Prompts of very different speed, noise of blocks and of requests, and an effect planted by block and position.
    fn experiment(
        random: &mut SplitMix64,
        (blocks, prompts): (usize, usize),
        effect: impl Fn(usize, usize) -> f64,
    ) -> Vec<Vec<f64>> {
        (0..blocks)
            .map(|block| {
                let of_block = 0.01 * normal(random);
                let value =
                    |prompt| 4.0 + prompt as f64 + of_block + 0.02 * normal(random) + effect(block, prompt);
                (0..prompts).map(value).collect()
            })
            .collect()
    }

    fn alarms(times: u32, shape: (usize, usize), effect: impl Fn(usize, usize) -> f64 + Copy) -> f64 {
        let mut random = SplitMix64::new(7);
        let fired = |random: &mut SplitMix64| {
            let speeds = experiment(random, shape, effect);
            !steadiness(&speeds, 0.01).unwrap().unsteady(0.0).is_empty()
        };
        (0..times).filter(|_| fired(&mut random)).count() as f64 / f64::from(times)
    }

    #[test]
    fn the_rate_of_false_alarms_is_the_stated_one() {
        for shape in [(4, 2), (5, 10), (10, 10), (20, 4)] {
            let rate = alarms(20_000, shape, |_, _| 0.0);
            // Bonferroni may fall short of its rate and never beyond it; three standard errors are 0.002.
            assert!((0.004..=0.0125).contains(&rate), "{shape:?}: {rate}");
        }
    }

    #[test]
    fn planted_trends_are_found() {
        // 10 blocks of 10 prompts; block means have a standard error of about 1.2 %.
        let drift = alarms(500, (10, 10), |block, _| 0.01 * block as f64);
        let cold_block = alarms(500, (10, 10), |block, _| if block == 0 { -0.1 } else { 0.0 });
        let warming =
            alarms(
                500,
                (10, 10),
                |block, prompt| {
                    if block == 0 { -0.2 * (-(prompt as f64) / 3.0).exp() } else { 0.0 }
                },
            );
        assert!(drift > 0.9 && cold_block > 0.9 && warming > 0.9, "{drift} {cold_block} {warming}");
    }

    #[test]
    fn words_say_what_changed_and_by_how_much() {
        let mut speeds = vec![vec![2.0_f64.ln(), 8.0_f64.ln()]; 6];
        for (block, row) in speeds.iter_mut().enumerate() {
            row[0] += if block == 0 { -0.3 } else { 0.0001 * (block % 2) as f64 };
            row[1] += if block == 0 { -0.3 } else { 0.0001 * (block % 2) as f64 };
        }
        let found = steadiness(&speeds, 0.01).unwrap();
        assert!(found.first_block.fires && found.within_first_block.change.is_none());
        assert_eq!(found.unsteady(0.02), ["the first block differs by -25.9 % against the others"]);
        assert_eq!(found.unsteady(0.5), Vec::<String>::new(), "a small change is no finding");
        assert_eq!(steadiness(&speeds[..3], 0.01), None);
        assert_eq!(steadiness(&[vec![1.0], vec![], vec![], vec![]], 0.01), None);
    }
}
