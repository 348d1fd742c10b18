//! Looking at a run before its end, and paying for it.
//!
//! Whoever looks four times and stops at the first "significant" fools himself more often than one time in twenty.
//! Pocock's bounds (1977, "Group sequential methods in the design and analysis of clinical trials") make every look
//! stricter by the same factor, so that all looks together keep the level; applied to Student's t at its nominal level,
//! since blocks are few (Jennison and Turnbull 2000, section 4.4). An interval at that level holds at whichever look
//! the run ends, so a run that stopped early and one that went on to its last block are read alike.
//!
//! The bounds of O'Brien and Fleming would cost less at the end, and ask t = 17 of a first look of five blocks: such a
//! run would never stop early, which is what looks are for.

use super::bootstrap::MIN_BLOCKS;
use super::paired::block_interval;

/// Most looks a run may have.
pub const MAX_LOOKS: u32 = 5;

/// Two-sided nominal levels of 1 to 5 equally spaced looks that keep 5 % together (Pocock 1977, table 1, from the
/// bounds 1.960, 2.178, 2.289, 2.361, 2.413).
const POCOCK: [f64; MAX_LOOKS as usize] = [0.05, 0.0294, 0.0221, 0.0182, 0.0158];

/// When a run of at most `blocks` blocks is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looks {
    blocks: u32,
    looks: u32,
}

impl Looks {
    /// `looks` looks, the last one after `blocks` blocks. More than [`MAX_LOOKS`] are taken for that many, and none for
    /// one.
    #[must_use]
    pub fn new(blocks: u32, looks: u32) -> Self {
        Self { blocks, looks: looks.clamp(1, MAX_LOOKS) }
    }

    /// Coverage of every interval, so that all looks together are wrong in 5 %: 0.95 for one look.
    #[must_use]
    pub fn confidence(self) -> f64 {
        1.0 - POCOCK[self.looks as usize - 1]
    }

    /// Whether to look now, with so many blocks done, while some are left. Looks that would fall on fewer blocks than an
    /// interval needs are not held; they are paid for all the same.
    #[must_use]
    pub fn is_due(self, done: u32) -> bool {
        let look_at = |look: u32| (u64::from(self.blocks) * u64::from(look)).div_ceil(u64::from(self.looks));
        done < self.blocks
            && done as usize >= MIN_BLOCKS
            && (1..self.looks).any(|look| look_at(look) == u64::from(done))
    }

    /// Whether these blocks' log ratios settle a comparison: the interval leaves 0 out, or lies within `margin` (0.01
    /// is 1 %) of it.
    #[must_use]
    pub fn settles(self, block_logs: &[f64], margin: f64) -> bool {
        block_interval(block_logs, self.confidence()).is_some_and(|(low, high)| {
            low > 0.0 || high < 0.0 || (low >= -margin.ln_1p() && high <= margin.ln_1p())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::distribution::normal_within;

    #[test]
    fn levels_are_those_of_the_printed_bounds() {
        for (level, bound) in POCOCK.into_iter().zip([1.960, 2.178, 2.289, 2.361, 2.413]) {
            assert!((1.0 - normal_within(bound) - level).abs() < 5e-5, "{bound}: {level}");
        }
    }

    #[test]
    fn looks_are_spaced_evenly_and_never_too_early() {
        let due = |blocks, looks| -> Vec<u32> {
            (0..=blocks).filter(|&done| Looks::new(blocks, looks).is_due(done)).collect()
        };
        assert_eq!(due(20, 4), [5, 10, 15]);
        assert_eq!(due(21, 2), [11]);
        assert_eq!(due(12, 4), [6, 9], "3 blocks have no interval");
        assert!(due(20, 1).is_empty() && due(20, 0).is_empty());
        assert_eq!(due(20, 99), [8, 12, 16]);
    }

    #[test]
    fn a_clear_difference_settles_and_so_does_clear_sameness() {
        let looks = Looks::new(20, 4);
        let around = |center: f64| [-0.002, 0.001, 0.0, 0.002, -0.001].map(|noise| center + noise);
        assert!(looks.settles(&around(0.05), 0.01) && looks.settles(&around(-0.05), 0.01));
        assert!(looks.settles(&around(0.0), 0.01));
        assert!(!looks.settles(&around(0.0), 0.001));
        assert!(!looks.settles(&[0.1], 0.01) && !looks.settles(&[], 0.01));
    }
}
