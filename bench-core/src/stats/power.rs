//! What a number of blocks can find, told before they are measured.
//!
//! The formula of paired samples: an effect of e on the log scale is found with power 1 - beta where
//! sqrt(n) e / s reaches t(1 - alpha / 2) + t(1 - beta), both of n - 1 degrees, s being the scatter of the blocks' log
//! ratios in an A/A run. Simulated, it is right within two points from 5 blocks on (`docs/statistics.md`).

use super::bootstrap::MIN_BLOCKS;
use super::distribution::student_quantile_within;

/// Blocks beyond which no number is told: nobody would wait for them.
const MOST_BLOCKS: u32 = 10_000;

/// What is asked of a test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Power {
    /// Two-sided chance of a false alarm, inside 0 to 1.
    pub alpha: f64,
    /// Chance to find the effect, inside 0 to 1.
    pub power: f64,
}

impl Default for Power {
    /// 5 % and 80 %.
    fn default() -> Self {
        Self { alpha: 0.05, power: 0.8 }
    }
}

impl Power {
    /// Blocks to find a ratio of 1 + `effect` where blocks' log ratios scatter by `block_sd`; at least [`MIN_BLOCKS`].
    /// `None` if more than 10 000 would be needed, and for an effect that is not above 0.
    #[must_use]
    pub fn needed_blocks(&self, block_sd: f64, effect: f64) -> Option<u32> {
        let fewest = u32::try_from(MIN_BLOCKS).ok()?;
        if !(effect > 0.0 && effect.is_finite() && block_sd >= 0.0) {
            return None;
        }
        let finds = |blocks| self.reach(block_sd, blocks) <= effect.ln_1p();
        if finds(fewest) {
            return Some(fewest);
        }
        // More blocks reach lower: bisection keeps `few` below what is needed and `enough` at or above it.
        let (mut few, mut enough) = (fewest, MOST_BLOCKS);
        while finds(enough) && enough - few > 1 {
            let middle = u32::midpoint(few, enough);
            if finds(middle) { enough = middle } else { few = middle }
        }
        finds(enough).then_some(enough)
    }

    /// The smallest effect (0.03 is 3 %) that `blocks` blocks find with this power; `None` with fewer than
    /// [`MIN_BLOCKS`].
    #[must_use]
    pub fn detectable(&self, block_sd: f64, blocks: u32) -> Option<f64> {
        (blocks as usize >= MIN_BLOCKS && block_sd >= 0.0).then(|| self.reach(block_sd, blocks).exp_m1())
    }

    /// The log ratio found with this power.
    fn reach(&self, block_sd: f64, blocks: u32) -> f64 {
        let freedom = blocks - 1;
        let level = student_quantile_within(1.0 - self.alpha, freedom);
        let found = student_quantile_within(2.0 * self.power - 1.0, freedom);
        (level + found) * block_sd / f64::from(blocks).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_textbook_has_it() {
        // Paired t test, scatter 5 %, effect 5 % (log 0.04879), alpha 0.05, power 0.8: 11 by this formula, by G*Power
        // (effect size 0.976) 11.
        assert_eq!(Power::default().needed_blocks(0.05, 0.05), Some(11));
        // An effect far above the scatter needs no more than an interval needs.
        assert_eq!(Power::default().needed_blocks(0.001, 0.05), Some(5));
        assert_eq!(Power::default().needed_blocks(0.5, 0.001), None);
        assert_eq!(Power::default().needed_blocks(0.05, 0.0), None);
    }

    #[test]
    fn what_is_needed_is_what_is_found() {
        let power = Power::default();
        for sd in [0.01, 0.03, 0.1] {
            let blocks = power.needed_blocks(sd, 0.04).unwrap();
            assert!(power.detectable(sd, blocks).unwrap() <= 0.04);
            if blocks > 5 {
                assert!(power.detectable(sd, blocks - 1).unwrap() > 0.04);
            }
        }
        assert_eq!(power.detectable(0.01, 4), None);
    }
}
