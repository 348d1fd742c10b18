//! Blocks of 4-, 5- and 6-bit weights to floats, as ggml defines them.
//!
//! The engine reads these and never writes them. Values are computed in f32 as ggml does: scale times code, minus or
//! plus a minimum.

use half::f16;

use crate::gguf::GgmlType;

/// Types whose blocks this module reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blocks {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q4K,
    Q5K,
    Q6K,
}

impl Blocks {
    pub(super) fn of(ty: GgmlType) -> Option<Self> {
        let known = [
            (GgmlType::Q4_0, Self::Q4_0),
            (GgmlType::Q4_1, Self::Q4_1),
            (GgmlType::Q5_0, Self::Q5_0),
            (GgmlType::Q5_1, Self::Q5_1),
            (GgmlType::Q4K, Self::Q4K),
            (GgmlType::Q5K, Self::Q5K),
            (GgmlType::Q6K, Self::Q6K),
        ];
        known.into_iter().find(|(known, _)| *known == ty).map(|(_, blocks)| blocks)
    }

    /// Floats of whole blocks, `bytes` and `out` being of one length in blocks.
    pub(super) fn dequantize(self, ty: GgmlType, bytes: &[u8], out: &mut [f32]) {
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let (block_bytes, block_len) = (size(ty.block_bytes()), size(ty.block_len()));
        for (block, values) in bytes.chunks_exact(block_bytes).zip(out.chunks_exact_mut(block_len)) {
            match self {
                Self::Q4_0 => thirty_two(&block[2..], None, values, |q| half(block, 0) * (q - 8.0)),
                Self::Q4_1 => {
                    thirty_two(&block[4..], None, values, |q| half(block, 0) * q + half(block, 2));
                }
                Self::Q5_0 => {
                    thirty_two(&block[6..], Some(&block[2..6]), values, |q| half(block, 0) * (q - 16.0));
                }
                Self::Q5_1 => {
                    let fifth = Some(&block[4..8]);
                    thirty_two(&block[8..], fifth, values, |q| half(block, 0) * q + half(block, 2));
                }
                Self::Q4K => with_minima(block, &block[16..], None, values),
                Self::Q5K => with_minima(block, &block[48..], Some(&block[16..48]), values),
                Self::Q6K => six_bits(block, values),
            }
        }
    }
}

/// The f16 at a byte.
fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// 32 values: low nibbles of 16 bytes, then their high nibbles; a fifth bit each in `fifth`, if there is one.
fn thirty_two(nibbles: &[u8], fifth: Option<&[u8]>, values: &mut [f32], value: impl Fn(f32) -> f32) {
    for (i, out) in values.iter_mut().enumerate() {
        let code = nibbles[i % 16] >> (4 * (i / 16)) & 15;
        let top = fifth.map_or(0, |bits| bits[i / 8] >> (i % 8) & 1);
        *out = value(f32::from(code | top << 4));
    }
}

/// 256 values with 6-bit scales and minima of 32 each; fifth bits, if any, are bit `i / 32` of byte `i % 32`.
fn with_minima(block: &[u8], nibbles: &[u8], fifth: Option<&[u8]>, values: &mut [f32]) {
    let (d, dmin) = (half(block, 0), half(block, 2));
    for (sub, part) in values.chunks_exact_mut(32).enumerate() {
        let (scale, minimum) = scale_and_minimum(&block[4..16], sub);
        let (scale, minimum) = (d * f32::from(scale), dmin * f32::from(minimum));
        for (i, out) in part.iter_mut().enumerate() {
            let code = nibbles[sub / 2 * 32 + i] >> (4 * (sub % 2)) & 15;
            let top = fifth.map_or(0, |bits| bits[i] >> sub & 1);
            *out = scale * f32::from(code | top << 4) - minimum;
        }
    }
}

/// Six bits each: of the first four sub-blocks in the low bits of bytes 0-3 and 4-7, of the others in the nibbles of
/// bytes 8-11 with their upper two bits on top of bytes 0-7.
fn scale_and_minimum(packed: &[u8], sub: usize) -> (u8, u8) {
    if sub < 4 {
        return (packed[sub] & 63, packed[sub + 4] & 63);
    }
    let both = packed[sub + 4];
    (both & 15 | packed[sub - 4] >> 6 << 4, both >> 4 | packed[sub] >> 6 << 4)
}

/// 256 values with 8-bit scales of 16 each: low four bits in bytes 0-127, high two in 128-191, scales in 192-207.
fn six_bits(block: &[u8], values: &mut [f32]) {
    let d = half(block, 208);
    for (i, out) in values.iter_mut().enumerate() {
        let (part, quarter, l) = (i / 128, i % 128 / 32, i % 32);
        let low = block[64 * part + quarter % 2 * 32 + l] >> (4 * (quarter / 2)) & 15;
        let high = block[128 + 32 * part + l] >> (2 * quarter) & 3;
        let scale = d * f32::from(block[192 + i / 16].cast_signed());
        *out = scale * (f32::from(low | high << 4) - 32.0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::quant::dequantize_row;

    /// Writes `code` of value `i` into a zeroed part of a block, from the table of layouts rather than from the reader.
    fn set(ty: GgmlType, block: &mut [u8], i: usize, code: u8) {
        let (low, high) = (code & 15, code >> 4);
        match Blocks::of(ty).unwrap() {
            Blocks::Q4_0 => block[2 + i % 16] |= if i < 16 { low } else { low << 4 },
            Blocks::Q4_1 => block[4 + i % 16] |= if i < 16 { low } else { low << 4 },
            Blocks::Q5_0 | Blocks::Q5_1 => {
                let at = if ty == GgmlType::Q5_0 { 2 } else { 4 };
                let bits = u32::from_le_bytes(block[at..at + 4].try_into().unwrap()) | u32::from(high) << i;
                block[at..at + 4].copy_from_slice(&bits.to_le_bytes());
                block[at + 4 + i % 16] |= if i < 16 { low } else { low << 4 };
            }
            Blocks::Q4K | Blocks::Q5K => {
                let chunk = i / 64;
                let nibbles = if ty == GgmlType::Q4K { 16 } else { 48 };
                block[nibbles + 32 * chunk + i % 32] |= if i % 64 < 32 { low } else { low << 4 };
                if ty == GgmlType::Q5K {
                    block[16 + i % 32] |= high << (2 * chunk + usize::from(i % 64 >= 32));
                }
            }
            Blocks::Q6K => {
                let (n, l) = (i / 128, i % 32);
                match i % 128 / 32 {
                    0 => block[64 * n + l] |= low,
                    1 => block[64 * n + 32 + l] |= low,
                    2 => block[64 * n + l] |= low << 4,
                    _ => block[64 * n + 32 + l] |= low << 4,
                }
                block[128 + 32 * n + l] |= high << (2 * (i % 128 / 32));
            }
        }
    }

    fn floats(ty: GgmlType, block: &[u8]) -> Vec<f32> {
        let mut out = vec![f32::NAN; usize::try_from(ty.block_len()).unwrap()];
        dequantize_row(ty, block, &mut out).unwrap();
        out
    }

    /// Type, bits of a code, what is taken from it, offset of the f16 scale.
    const TYPES: [(GgmlType, u8, f32, usize); 7] = [
        (GgmlType::Q4_0, 4, 8.0, 0),
        (GgmlType::Q4_1, 4, 0.0, 0),
        (GgmlType::Q5_0, 5, 16.0, 0),
        (GgmlType::Q5_1, 5, 0.0, 0),
        (GgmlType::Q4K, 4, 0.0, 0),
        (GgmlType::Q5K, 5, 0.0, 0),
        (GgmlType::Q6K, 6, 32.0, 208),
    ];

    proptest! {
        /// With scale 1 and minimum 0, every code comes back at its own place.
        #[test]
        fn codes_come_back(codes in proptest::collection::vec(0_u8..64, 256)) {
            for (ty, bits, zero, scale_at) in TYPES {
                let mut block = vec![0; usize::try_from(ty.block_bytes()).unwrap()];
                let len = usize::try_from(ty.block_len()).unwrap();
                let codes: Vec<u8> = codes[..len].iter().map(|code| code & ((1 << bits) - 1)).collect();
                for (i, code) in codes.iter().enumerate() {
                    set(ty, &mut block, i, *code);
                }
                block[scale_at..scale_at + 2].copy_from_slice(&f16::ONE.to_le_bytes());
                if ty == GgmlType::Q6K {
                    block[192..208].fill(1);
                } else if ty.block_len() == 256 {
                    block[4..8].fill(1); // scales of sub-blocks 0-3
                    block[12..16].fill(1); // of 4-7
                }
                let expected: Vec<f32> = codes.iter().map(|code| f32::from(*code) - zero).collect();
                prop_assert_eq!(floats(ty, &block), expected, "{}", ty);
            }
        }

        /// All codes 1: a value is scale - minimum of its own sub-block.
        #[test]
        fn six_bit_scales_come_back(scales in proptest::collection::vec(0_u8..64, 8), minima in proptest::collection::vec(0_u8..64, 8)) {
            let mut block = vec![0_u8; 144];
            block[..2].copy_from_slice(&f16::from_f32(0.5).to_le_bytes());
            block[2..4].copy_from_slice(&f16::from_f32(2.0).to_le_bytes());
            for j in 0..4 {
                block[4 + j] = scales[j] | scales[j + 4] >> 4 << 6;
                block[8 + j] = minima[j] | minima[j + 4] >> 4 << 6;
                block[12 + j] = scales[j + 4] & 15 | minima[j + 4] << 4;
            }
            block[16..].fill(0x11);
            let values = floats(GgmlType::Q4K, &block);
            for (i, value) in values.iter().enumerate() {
                let expected = 0.5 * f32::from(scales[i / 32]) - 2.0 * f32::from(minima[i / 32]);
                prop_assert!((value - expected).abs() < 1e-6, "{} {}", value, expected);
            }
        }

        /// Scales and minima enter linearly.
        #[test]
        fn scales_scale(scale in 0.01_f32..8.0, minimum in -4.0_f32..4.0, bytes in proptest::collection::vec(any::<u8>(), 16)) {
            for ty in [GgmlType::Q4_1, GgmlType::Q5_1] {
                let mut block = vec![0; usize::try_from(ty.block_bytes()).unwrap()];
                let codes_at = block.len() - 16;
                block[codes_at..].copy_from_slice(&bytes);
                let (d, m) = (f16::from_f32(scale), f16::from_f32(minimum));
                block[..2].copy_from_slice(&f16::ONE.to_le_bytes());
                let codes = floats(ty, &block);
                block[..2].copy_from_slice(&d.to_le_bytes());
                block[2..4].copy_from_slice(&m.to_le_bytes());
                for (value, code) in floats(ty, &block).iter().zip(codes) {
                    prop_assert!((value - (d.to_f32() * code + m.to_f32())).abs() < 1e-5);
                }
            }
        }
    }

    #[test]
    fn six_bit_weights_have_signed_scales_of_sixteen() {
        let mut block = vec![0_u8; 210];
        block[208..].copy_from_slice(&f16::ONE.to_le_bytes());
        for (i, scale) in block[192..208].iter_mut().enumerate() {
            *scale = (i8::try_from(i).unwrap() - 8).cast_unsigned();
        }
        for (i, value) in floats(GgmlType::Q6K, &block).iter().enumerate() {
            let expected = 32.0 * (8.0 - (i / 16) as f32);
            assert!((value - expected).abs() < 1e-6, "{i}: {value}");
        }
    }
}
