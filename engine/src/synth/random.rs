//! Random numbers that are the same on every machine: `SplitMix64` (Steele, Lea and Flood, OOPSLA 2014).
//!
//! Each tensor row has its own stream, so a row does not depend on what was written before it.

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    state: u64,
}

impl Stream {
    /// The stream of row `row` of what is called `name`.
    pub(super) fn new(seed: u64, name: &str, row: u64) -> Self {
        // FNV-1a of the name: any fixed hash does, it only keeps the streams apart.
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let start = mix(mix(seed ^ 0x9e37_79b9_7f4a_7c15).wrapping_add(hash));
        Self { state: mix(start ^ mix(row.wrapping_add(1))) }
    }

    /// 64 random bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// Fills `out` with values of mean 0 and standard deviation `std`, uniform over `std * [-sqrt 3, sqrt 3]`.
    pub(super) fn fill(&mut self, out: &mut [f32], std: f32) {
        let scale = std * 3.0_f32.sqrt() / 32768.0;
        for four in out.chunks_mut(4) {
            let bytes = self.bits().to_le_bytes();
            for (value, pair) in four.iter_mut().zip(bytes.chunks_exact(2)) {
                *value = (f32::from(i16::from_le_bytes([pair[0], pair[1]])) + 0.5) * scale;
            }
        }
    }

    /// A number below `end`; the bias of at most `end / 2^64` does not matter here.
    pub(super) fn below(&mut self, end: usize) -> usize {
        let wide = u128::from(self.bits()) * end as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }

    /// Fisher-Yates.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// The output function of `SplitMix64`.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_splitmix64() {
        // The first outputs for state 0, as published with the algorithm.
        let mut stream = Stream { state: 0 };
        let outputs = [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f];
        assert_eq!([stream.bits(), stream.bits(), stream.bits()], outputs);
    }

    #[test]
    fn values_have_the_spread_asked_for() {
        let mut values = vec![0.0; 1 << 16];
        Stream::new(1, "x", 0).fill(&mut values, 0.5);
        let mean: f32 = values.iter().sum::<f32>() / 65536.0;
        let variance: f32 = values.iter().map(|v| v * v).sum::<f32>() / 65536.0;
        assert!(mean.abs() < 0.01 && (variance.sqrt() - 0.5).abs() < 0.01, "{mean} {variance}");
    }

    #[test]
    fn names_and_rows_have_streams_of_their_own() {
        let first = |name, row| Stream::new(7, name, row).bits();
        assert_eq!(first("a", 0), first("a", 0));
        assert!(first("a", 0) != first("a", 1) && first("a", 0) != first("b", 0));
    }
}
