//! The turbo KV formats: groups of 128 values, rotated, one scalar codebook, one norm.
//!
//! Follows `TurboQuant` (arXiv 2504.19874, the MSE variant) as the atomic fork of llama.cpp implements it: n = |x|,
//! u = x / n, y = s2 (H (s1 u)) / sqrt(128), nearest centroid, stored norm n / |centroids chosen|. What is decoded
//! stays rotated; a caller rotates the query instead, and the output back.
//! Blocks of `Turbo2`, `Turbo3` and `Turbo4Atomic` are the fork's, byte for byte. Its 4-bit codebook is mis-scaled
//! (relative error 0.0182 where 0.0092 is reached), so [`TurboType::Turbo4`] has the Lloyd-Max one and no unused
//! bytes. Does not know the order in which the GPU keeps codes (see `attention::layout`).

use half::f16;

/// Values that share a rotation and a norm.
pub const GROUP: usize = 128;

/// Negative signs of the rotation, bit i of the little-endian words for element i: before and after the butterflies.
const SIGNS: [[u32; 4]; 2] = [
    [0xe46a_0359, 0x42f8_5949, 0xa4c6_3bbb, 0x49f2_50a9],
    [0x16ac_ee90, 0x3f62_8fdc, 0xb7a5_357a, 0xbea5_6562],
];

const CENTROIDS_2: [f32; 4] = [-0.133_462, -0.039_994, 0.039_994, 0.133_462];
const THRESHOLDS_2: [f32; 3] = [-0.086_728, 0.0, 0.086_728];
const CENTROIDS_3: [f32; 8] =
    [-0.190_685, -0.117_832, -0.065_717, -0.021_460, 0.021_460, 0.065_717, 0.117_832, 0.190_685];
const THRESHOLDS_3: [f32; 7] = [-0.154_259, -0.091_775, -0.043_589, 0.0, 0.043_589, 0.091_775, 0.154_259];
/// The fork's, as its CPU code has the thresholds.
const CENTROIDS_4_ATOMIC: [f32; 16] = [
    -0.173_926, -0.117_195, -0.089_527, -0.068_756, -0.051_262, -0.035_597, -0.020_989, -0.006_938,
    0.006_938, 0.020_989, 0.035_597, 0.051_262, 0.068_756, 0.089_527, 0.117_195, 0.173_926,
];
const THRESHOLDS_4_ATOMIC: [f32; 15] = [
    -0.145_560, -0.103_361, -0.079_142, -0.060_009, -0.043_430, -0.028_293, -0.013_963, 0.0, 0.013_963,
    0.028_293, 0.043_430, 0.060_009, 0.079_142, 0.103_361, 0.145_560,
];
/// Lloyd-Max for N(0, 1/128): the levels for N(0, 1) are 0.128395, 0.388048, 0.656759, 0.942340, 1.256231, 1.618046,
/// 2.069017 and 2.732590; thresholds lie half-way.
const CENTROIDS_4: [f32; 16] = [
    -0.241_529, -0.182_877, -0.143_016, -0.111_036, -0.083_292, -0.058_050, -0.034_299, -0.011_349,
    0.011_349, 0.034_299, 0.058_050, 0.083_292, 0.111_036, 0.143_016, 0.182_877, 0.241_529,
];
const THRESHOLDS_4: [f32; 15] = [
    -0.212_203, -0.162_946, -0.127_026, -0.097_164, -0.070_671, -0.046_174, -0.022_824, 0.0, 0.022_824,
    0.046_174, 0.070_671, 0.097_164, 0.127_026, 0.162_946, 0.212_203,
];

/// Which codebook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TurboType {
    /// 4 levels; the fork's blocks of 34 bytes.
    Turbo2,
    /// 8 levels; the fork's blocks of 50 bytes.
    Turbo3,
    /// 16 Lloyd-Max levels; blocks of 66 bytes.
    Turbo4,
    /// 16 levels as the fork has them; its blocks of 68 bytes, 2 of them unused.
    Turbo4Atomic,
}

/// A group as codes (0 is the most negative level) and norm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Codes {
    /// Index of the level of every value.
    pub codes: [u8; GROUP],
    /// What levels are multiplied by.
    pub norm: f16,
}

impl TurboType {
    /// Every type.
    pub const ALL: [Self; 4] = [Self::Turbo2, Self::Turbo3, Self::Turbo4, Self::Turbo4Atomic];

    /// Bits of a code.
    #[must_use]
    pub const fn code_bits(self) -> usize {
        match self {
            Self::Turbo2 => 2,
            Self::Turbo3 => 3,
            Self::Turbo4 | Self::Turbo4Atomic => 4,
        }
    }

    /// Bytes of a block of [`GROUP`] values.
    #[must_use]
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::Turbo2 => 34,
            Self::Turbo3 => 50,
            Self::Turbo4 => 66,
            Self::Turbo4Atomic => 68,
        }
    }

    /// Levels on the unit vector, ascending; symmetric about 0.
    #[must_use]
    pub const fn centroids(self) -> &'static [f32] {
        match self {
            Self::Turbo2 => &CENTROIDS_2,
            Self::Turbo3 => &CENTROIDS_3,
            Self::Turbo4 => &CENTROIDS_4,
            Self::Turbo4Atomic => &CENTROIDS_4_ATOMIC,
        }
    }

    /// Borders between levels; a value on a border takes the upper one.
    #[must_use]
    pub const fn thresholds(self) -> &'static [f32] {
        match self {
            Self::Turbo2 => &THRESHOLDS_2,
            Self::Turbo3 => &THRESHOLDS_3,
            Self::Turbo4 => &THRESHOLDS_4,
            Self::Turbo4Atomic => &THRESHOLDS_4_ATOMIC,
        }
    }

    /// Quantises a group of values (not yet rotated).
    #[must_use]
    pub fn quantize(self, values: &[f32; GROUP]) -> Codes {
        let norm = l2_norm(values);
        let inverse = if norm > 1e-10 { 1.0 / norm } else { 0.0 };
        let mut unit = values.map(|x| x * inverse);
        rotate(&mut unit);
        let codes = unit.map(|x| self.nearest(x));
        let chosen = codes.map(|c| self.centroids()[usize::from(c)]);
        let norm = if norm > 1e-10 { norm / l2_norm(&chosen) } else { 0.0 };
        Codes { codes, norm: f16::from_f32(norm) }
    }

    /// The values of a group, still rotated.
    #[must_use]
    pub fn dequantize(self, group: &Codes) -> [f32; GROUP] {
        let norm = group.norm.to_f32();
        group.codes.map(|c| norm * self.centroids()[usize::from(c)])
    }

    /// The bytes of a block: f16 norm, then codes from low bits to high (`Turbo3`: a plane of the low two bits, then
    /// one of the third).
    #[must_use]
    pub fn pack(self, group: &Codes) -> Vec<u8> {
        let mut block = vec![0; self.block_bytes()];
        block[..2].copy_from_slice(&group.norm.to_le_bytes());
        for (j, &code) in group.codes.iter().enumerate() {
            match self {
                Self::Turbo2 => block[2 + j / 4] |= code << (2 * (j % 4)),
                Self::Turbo3 => {
                    block[2 + j / 4] |= (code & 3) << (2 * (j % 4));
                    block[34 + j / 8] |= (code >> 2) << (j % 8);
                }
                Self::Turbo4 => block[2 + j / 2] |= code << (4 * (j % 2)),
                Self::Turbo4Atomic => block[4 + j / 2] |= code << (4 * (j % 2)),
            }
        }
        block
    }

    /// The group of a block; `None` if `block` has not [`Self::block_bytes`].
    #[must_use]
    pub fn unpack(self, block: &[u8]) -> Option<Codes> {
        if block.len() != self.block_bytes() {
            return None;
        }
        let code = |j: usize| match self {
            Self::Turbo2 => block[2 + j / 4] >> (2 * (j % 4)) & 3,
            Self::Turbo3 => (block[2 + j / 4] >> (2 * (j % 4)) & 3) | (block[34 + j / 8] >> (j % 8) & 1) << 2,
            Self::Turbo4 => block[2 + j / 2] >> (4 * (j % 2)) & 15,
            Self::Turbo4Atomic => block[4 + j / 2] >> (4 * (j % 2)) & 15,
        };
        let norm = f16::from_le_bytes([block[0], block[1]]);
        Some(Codes { codes: std::array::from_fn(code), norm })
    }

    /// Index of the level that stands for `x`.
    fn nearest(self, x: f32) -> u8 {
        self.thresholds().iter().map(|&t| u8::from(x >= t)).sum()
    }
}

/// Rotates a group: y = s2 (H (s1 x)) / sqrt(128).
pub fn rotate(group: &mut [f32; GROUP]) {
    rotate_with(group, &SIGNS[0], &SIGNS[1]);
}

/// Undoes [`rotate`].
pub fn rotate_back(group: &mut [f32; GROUP]) {
    rotate_with(group, &SIGNS[1], &SIGNS[0]);
}

fn rotate_with(group: &mut [f32; GROUP], before: &[u32; 4], after: &[u32; 4]) {
    let negative = |signs: &[u32; 4], i: usize| signs[i / 32] >> (i % 32) & 1 == 1;
    for (i, x) in group.iter_mut().enumerate() {
        *x = if negative(before, i) { -*x } else { *x };
    }
    let mut stride = 1;
    while stride < GROUP {
        for pair in group.chunks_exact_mut(2 * stride) {
            let (low, high) = pair.split_at_mut(stride);
            for (a, b) in low.iter_mut().zip(high) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        stride *= 2;
    }
    let scale = 1.0 / 128.0_f32.sqrt();
    for (i, x) in group.iter_mut().enumerate() {
        *x *= if negative(after, i) { -scale } else { scale };
    }
}

fn l2_norm(values: &[f32; GROUP]) -> f32 {
    values.iter().map(|x| x * x).sum::<f32>().sqrt()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// The vector of the fork's golden blocks.
    fn golden_input() -> [f32; GROUP] {
        std::array::from_fn(|j| (((37 * j + 11) % 101) as f32 - 50.0) / 25.0)
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn blocks_are_the_forks_byte_for_byte() {
        let golden = [
            (
                TurboType::Turbo3,
                "9b4acfa98d0a67c8e6ce36bf61217487d80e8323ac4e318c7bd2e3ceb49a5a5a506c36e548d30bb6cb5586c4926513f19813",
            ),
            (TurboType::Turbo2, "304b6d5e66ad91645be79b55389a9ae16627699174a518c637695b4752ef85870a16"),
            (
                TurboType::Turbo4Atomic,
                "d94a0000f758eb335c3ae39816c44069be647df8cf857635911e8c93cad707d8497b6e09862907a3502e64baa20659d03f1f945c9f647f702a45deed34b14ec188215a14",
            ),
        ];
        for (ty, bytes) in golden {
            assert_eq!(hex(&ty.pack(&ty.quantize(&golden_input()))), bytes, "{ty:?}");
        }
    }

    /// Standard normal values (Box-Muller).
    fn gaussian(rng: &mut StdRng) -> [f32; GROUP] {
        std::array::from_fn(|_| {
            let (u, v): (f32, f32) = (1.0 - rng.random::<f32>(), rng.random());
            (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
        })
    }

    #[test]
    fn errors_on_gaussian_data_are_those_of_the_codebooks() {
        // Relative squared error and cosine over 2,000 vectors; the figures of 20,000 are in the comments.
        let expected = [
            (TurboType::Turbo2, 0.1190, 0.9405),
            (TurboType::Turbo3, 0.0338, 0.9831),
            (TurboType::Turbo4, 0.0092, 0.9954),
            (TurboType::Turbo4Atomic, 0.0182, 0.9909),
        ];
        for (ty, error, cosine) in expected {
            let mut rng = StdRng::seed_from_u64(7);
            let (mut squares, mut cosines) = (0.0, 0.0);
            for _ in 0..2000 {
                let x = gaussian(&mut rng);
                let mut y = ty.dequantize(&ty.quantize(&x));
                rotate_back(&mut y);
                let dot = |a: &[f32; GROUP], b: &[f32; GROUP]| {
                    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
                };
                let difference: [f32; GROUP] = std::array::from_fn(|i| x[i] - y[i]);
                squares += dot(&difference, &difference) / dot(&x, &x);
                cosines += dot(&x, &y) / (dot(&x, &x) * dot(&y, &y)).sqrt();
            }
            let (squares, cosines) = (squares / 2000.0, cosines / 2000.0);
            assert!((squares / error - 1.0).abs() < 0.03, "{ty:?}: error {squares}, expected {error}");
            assert!((cosines - cosine).abs() < 0.001, "{ty:?}: cosine {cosines}, expected {cosine}");
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        for ty in TurboType::ALL {
            let group = ty.quantize(&[0.0; GROUP]);
            assert_eq!(group.norm, f16::ZERO);
            assert!(ty.dequantize(&group).iter().all(|x| x.abs() == 0.0));
        }
    }

    #[test]
    fn codebooks_are_symmetric_and_ascending() {
        for ty in TurboType::ALL {
            for table in [ty.centroids(), ty.thresholds()] {
                assert!(table.is_sorted_by(|a, b| a < b), "{ty:?}");
                let mirrored: Vec<f32> = table.iter().rev().map(|x| -x).collect();
                assert_eq!(
                    table.iter().map(|x| x + 0.0).collect::<Vec<_>>(),
                    mirrored.iter().map(|x| x + 0.0).collect::<Vec<_>>()
                );
            }
            assert_eq!(ty.centroids().len(), 1 << ty.code_bits());
            assert_eq!(ty.thresholds().len() + 1, ty.centroids().len());
        }
    }

    #[test]
    fn a_block_of_another_size_is_refused() {
        for ty in TurboType::ALL {
            assert_eq!(ty.unpack(&vec![0; ty.block_bytes() - 1]), None);
        }
    }

    proptest! {
        #[test]
        fn packing_loses_nothing(values in proptest::collection::vec(-100.0_f32..100.0, GROUP)) {
            let values: [f32; GROUP] = values.try_into().expect("a group");
            for ty in TurboType::ALL {
                let group = ty.quantize(&values);
                prop_assert_eq!(ty.unpack(&ty.pack(&group)), Some(group));
            }
        }

        #[test]
        fn rotating_keeps_lengths_and_can_be_undone(values in proptest::collection::vec(-10.0_f32..10.0, GROUP)) {
            let values: [f32; GROUP] = values.try_into().expect("a group");
            let mut turned = values;
            rotate(&mut turned);
            prop_assert!((l2_norm(&turned) - l2_norm(&values)).abs() < 1e-3);
            rotate_back(&mut turned);
            for (a, b) in turned.iter().zip(&values) {
                prop_assert!((a - b).abs() < 1e-4);
            }
        }
    }
}
