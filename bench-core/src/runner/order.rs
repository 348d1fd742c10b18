//! In which order a block goes through the arms. Pure and seeded.

use crate::preset::RunOrder;
use crate::random::SplitMix64;

/// The arms of a block, each once.
pub(super) fn arms_of_block(order: RunOrder, seed: u64, block: u32, arm_count: usize) -> Vec<usize> {
    let mut arms: Vec<usize> = (0..arm_count).collect();
    match order {
        RunOrder::Abba if block % 2 == 1 => arms.reverse(),
        RunOrder::Abba => {}
        RunOrder::Random => {
            // Another stream than that of the requests' seeds, which begin from the same number.
            let mut mixer = SplitMix64::new(!seed);
            let mut random = SplitMix64::new(mixer.next_u64() ^ u64::from(block));
            // Fisher and Yates.
            for last in (1..arm_count).rev() {
                arms.swap(last, random.index(last + 1));
            }
        }
    }
    arms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abba_goes_forward_and_backward() {
        let of = |block| arms_of_block(RunOrder::Abba, 7, block, 3);
        assert_eq!([of(0), of(1), of(2)], [[0, 1, 2], [2, 1, 0], [0, 1, 2]]);
    }

    #[test]
    fn random_blocks_are_seeded_and_every_order_comes_about_equally_often() {
        let of = |seed, block| arms_of_block(RunOrder::Random, seed, block, 3);
        let mut counts = std::collections::BTreeMap::new();
        for block in 0..6000 {
            assert_eq!(of(42, block), of(42, block));
            *counts.entry(of(42, block)).or_insert(0_u32) += 1;
        }
        assert!(counts.len() == 6 && counts.values().all(|count| (850..1150).contains(count)), "{counts:?}");
        assert!((0..20).any(|block| of(1, block) != of(2, block)));
        assert!(arms_of_block(RunOrder::Random, 1, 0, 0).is_empty());
    }
}
