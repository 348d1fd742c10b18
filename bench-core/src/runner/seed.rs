//! Seeds of sampled requests.

use crate::random::SplitMix64;

/// The sampler's seed of one request: a function of the preset's seed, the block and the prompt alone, so that all
/// arms draw with equal seeds and no two requests of one arm do. `block` is `None` in warm-up.
#[must_use]
pub fn request_seed(preset_seed: u64, block: Option<u32>, prompt_index: u32) -> u64 {
    // Warm-up takes the slot before block 0.
    let slot = block.map_or(0, |block| u64::from(block) + 1);
    let mut mixer = SplitMix64::new(preset_seed);
    let mut mixer = SplitMix64::new(mixer.next_u64() ^ slot);
    SplitMix64::new(mixer.next_u64() ^ u64::from(prompt_index)).next_u64()
}

/// The seed of a later turn, counted from 0, of the conversation whose first request has this one.
pub(super) fn turn_seed(first: u64, turn: u32) -> u64 {
    (0..turn).fold(first, |seed, _| SplitMix64::new(seed).next_u64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_requests_share_a_seed() {
        let mut seen = std::collections::HashSet::new();
        for preset_seed in [0, 1, u64::MAX] {
            for block in std::iter::once(None).chain((0..20).map(Some)) {
                for prompt in 0..20 {
                    assert!(seen.insert(request_seed(preset_seed, block, prompt)));
                }
            }
        }
    }
}
