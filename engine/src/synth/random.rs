//! The random numbers of synthetic weights.

/// `SplitMix64` (Steele, Lea and Flood 2014): 64 bits of state, any seed is good, streams of different seeds are
/// independent enough for weights.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    /// The stream of a seed and a place in the model.
    pub(super) fn new(seed: u64, place: u64) -> Self {
        let mut mixed = Self(seed ^ place.wrapping_mul(0xD134_2543_DE82_EF95));
        Self(mixed.next_u64())
    }

    pub(super) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `bound`, which is at least 1. The bias of 2^-32 and less does not matter to weights.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let wide = u128::from(self.next_u64()) * bound as u128;
        #[expect(clippy::cast_possible_truncation, reason = "below `bound`")]
        let index = (wide >> 64) as usize;
        index
    }

    /// Uniform with mean 0 and standard deviation 1, that is between -sqrt(3) and sqrt(3).
    pub(super) fn unit(&mut self) -> f32 {
        const SQRT_3: f32 = 1.732_050_8;
        #[expect(clippy::cast_precision_loss, reason = "24 bits fit an f32")]
        let in_one = (self.next_u64() >> 40) as f32 / 16_777_216.0;
        (2.0 * in_one - 1.0) * SQRT_3
    }

    /// A permutation of `items` (Fisher and Yates).
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_distribution() {
        let mut random = Random::new(1, 2);
        let draws: Vec<f64> = (0..100_000).map(|_| f64::from(random.unit())).collect();
        let mean = draws.iter().sum::<f64>() / 1e5;
        let variance = draws.iter().map(|x| x * x).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }

    #[test]
    fn a_shuffle_is_a_permutation() {
        let mut items: Vec<usize> = (0..100).collect();
        Random::new(3, 4).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
