//! Rows of the GPU's KV cache: one row a token and KV head, 16-byte units, the same layout for keys and values.
//!
//! `engine/kernels/attention_common.cuh` says the same in CUDA. 16-bit types lie as they are. `q8_0` has its codes
//! first and its scales behind them, so that codes can be fetched 16 bytes at a time. Turbo keeps the bits of 8
//! codes in the 8 nibbles of a word: masked, such a word is the selector by which a byte-permute instruction looks up
//! 4 levels at once. `Turbo4` stores sign and magnitude, because that instruction chooses among 8 entries.
//! This module encodes and decodes on the CPU, as the reference of the write kernel and for the oracle.

use half::{bf16, f16};

use crate::kv_cache::turbo::{self, Codes, GROUP, TurboType};

/// How keys or values lie in the GPU's cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KvFormat {
    /// 4 bytes a value, for comparisons: only the path that takes everything reads it.
    F32,
    /// 2 bytes a value.
    F16,
    /// 2 bytes a value.
    Bf16,
    /// 8-bit codes and an f16 scale per 32 of them; 1.06 bytes a value.
    Q8_0,
    /// A turbo codebook and an f16 norm per 128 values.
    Turbo(TurboType),
}

impl KvFormat {
    /// Every format.
    pub const ALL: [Self; 8] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q8_0,
        Self::Turbo(TurboType::Turbo2),
        Self::Turbo(TurboType::Turbo3),
        Self::Turbo(TurboType::Turbo4),
        Self::Turbo(TurboType::Turbo4Atomic),
    ];

    /// As in presets and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Turbo(TurboType::Turbo2) => "turbo2",
            Self::Turbo(TurboType::Turbo3) => "turbo3",
            Self::Turbo(TurboType::Turbo4) => "turbo4",
            Self::Turbo(TurboType::Turbo4Atomic) => "turbo4-atomic",
        }
    }

    /// The kernels' number of this format. The two 4-bit codebooks are one: tables are launch arguments.
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::F32 => 6,
            Self::F16 => 0,
            Self::Bf16 => 1,
            Self::Q8_0 => 2,
            Self::Turbo(TurboType::Turbo2) => 3,
            Self::Turbo(TurboType::Turbo3) => 4,
            Self::Turbo(TurboType::Turbo4 | TurboType::Turbo4Atomic) => 5,
        }
    }

    /// Whether rows are rotated.
    #[must_use]
    pub const fn is_turbo(self) -> bool {
        matches!(self, Self::Turbo(_))
    }

    /// Values of a row as stored: whole blocks or groups, padded with zeros.
    #[must_use]
    pub const fn padded(self, head_dim: usize) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => head_dim,
            Self::Q8_0 => head_dim.next_multiple_of(32),
            Self::Turbo(_) => head_dim.next_multiple_of(GROUP),
        }
    }

    /// Bytes before the scales or norms.
    const fn scale_offset(self, head_dim: usize) -> usize {
        let values = self.padded(head_dim);
        match self {
            Self::F32 => 4 * values,
            Self::F16 | Self::Bf16 => 2 * values,
            Self::Q8_0 => values,
            Self::Turbo(ty) => values * ty.code_bits() / 8,
        }
    }

    /// Bytes of a row; a multiple of 16 (`head_dim` being a multiple of 8).
    #[must_use]
    pub const fn row_bytes(self, head_dim: usize) -> usize {
        let scales = match self {
            Self::F32 | Self::F16 | Self::Bf16 => 0,
            Self::Q8_0 => self.padded(head_dim) / 32,
            Self::Turbo(_) => self.padded(head_dim) / GROUP,
        };
        (self.scale_offset(head_dim) + 2 * scales).next_multiple_of(16)
    }

    /// The f16 codebook by which kernels look up levels: low bytes of 8 entries, then their high bytes. `Turbo4` has
    /// its 8 magnitudes.
    #[must_use]
    pub fn table(self) -> [u32; 4] {
        let Self::Turbo(ty) = self else { return [0; 4] };
        let mut entries = [0_u16; 8];
        let levels = if ty.code_bits() == 4 { &ty.centroids()[8..] } else { ty.centroids() };
        for (entry, level) in entries.iter_mut().zip(levels) {
            *entry = f16::from_f32(*level).to_bits();
        }
        let plane = |byte: usize, first: usize| {
            u32::from_le_bytes(std::array::from_fn(|i| entries[first + i].to_le_bytes()[byte]))
        };
        [plane(0, 0), plane(0, 4), plane(1, 0), plane(1, 4)]
    }

    /// The row of `values` (one head of one token).
    #[must_use]
    pub fn encode(self, values: &[f32]) -> Vec<u8> {
        let dim = values.len();
        let mut row = vec![0; self.row_bytes(dim)];
        let mut padded = values.to_vec();
        padded.resize(self.padded(dim), 0.0);
        let scales = self.scale_offset(dim);
        match self {
            Self::F32 => {
                for (to, value) in row.as_chunks_mut::<4>().0.iter_mut().zip(&padded) {
                    *to = value.to_le_bytes();
                }
            }
            Self::F16 => put_all(&mut row, padded.iter().map(|x| f16::from_f32(*x).to_bits())),
            Self::Bf16 => put_all(&mut row, padded.iter().map(|x| bf16::from_f32(*x).to_bits())),
            Self::Q8_0 => {
                for (i, block) in padded.chunks_exact(32).enumerate() {
                    let (codes, scale) = quantize_q8_0(block);
                    row[32 * i..32 * (i + 1)].copy_from_slice(&codes);
                    row[scales + 2 * i..][..2].copy_from_slice(&scale.to_le_bytes());
                }
            }
            Self::Turbo(ty) => {
                for (i, group) in padded.as_chunks::<GROUP>().0.iter().enumerate() {
                    let codes = ty.quantize(group);
                    put_codes(ty, &codes, i, dim, &mut row);
                    row[scales + 2 * i..][..2].copy_from_slice(&codes.norm.to_le_bytes());
                }
            }
        }
        row
    }

    /// The `head_dim` values of a row, turbo rotated back.
    ///
    /// # Panics
    /// If `row` has not [`Self::row_bytes`].
    #[must_use]
    pub fn decode(self, row: &[u8], head_dim: usize) -> Vec<f32> {
        assert_eq!(row.len(), self.row_bytes(head_dim), "bytes of a row");
        let scales = self.scale_offset(head_dim);
        let bits = |at: usize| u16::from_le_bytes([row[at], row[at + 1]]);
        let mut values: Vec<f32> = match self {
            Self::F32 => row.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            Self::F16 => (0..head_dim).map(|d| f16::from_bits(bits(2 * d)).to_f32()).collect(),
            Self::Bf16 => (0..head_dim).map(|d| bf16::from_bits(bits(2 * d)).to_f32()).collect(),
            Self::Q8_0 => (0..head_dim)
                .map(|d| {
                    f16::from_bits(bits(scales + 2 * (d / 32))).to_f32() * f32::from(row[d].cast_signed())
                })
                .collect(),
            Self::Turbo(ty) => (0..self.padded(head_dim) / GROUP)
                .flat_map(|i| {
                    let norm = f16::from_bits(bits(scales + 2 * i));
                    let codes = std::array::from_fn(|e| code_of(ty, row, head_dim, GROUP * i + e));
                    let mut values = ty.dequantize(&Codes { codes, norm });
                    turbo::rotate_back(&mut values);
                    values
                })
                .collect(),
        };
        values.truncate(head_dim);
        values
    }
}

fn put_all(row: &mut [u8], values: impl Iterator<Item = u16>) {
    for (to, value) in row.as_chunks_mut::<2>().0.iter_mut().zip(values) {
        *to = value.to_le_bytes();
    }
}

/// ggml's `quantize_row_q8_0_ref`: codes and scale of 32 values.
fn quantize_q8_0(block: &[f32]) -> ([u8; 32], f16) {
    let scale = block.iter().fold(0.0_f32, |max, x| max.max(x.abs())) / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let mut codes = [0; 32];
    for (code, x) in codes.iter_mut().zip(block) {
        #[expect(clippy::cast_possible_truncation, reason = "|x / scale| is at most 127")]
        let rounded = (x * inverse).round() as i8;
        *code = rounded.cast_unsigned();
    }
    (codes, f16::from_f32(scale))
}

/// Byte and bit of code `d` in the plane that has `width` bits of each of 8 / `width` rounds of 8 codes in a word.
const fn place(d: usize, width: usize) -> (usize, usize) {
    // Code 8k + n of a block of 32 has its bits at nibble n, bit `width * k` of the block's words taken as one.
    let (block, k, n) = (d / 32, d % 32 / 8, d % 8);
    let rounds = 4 / width;
    let bit = 4 * n + width * (k % rounds);
    ((block * width + k / rounds) * 4 + bit / 8, bit % 8)
}

fn put_codes(ty: TurboType, group: &Codes, index: usize, dim: usize, row: &mut [u8]) {
    let third_plane = KvFormat::Turbo(ty).padded(dim) / 4;
    for (e, &code) in group.codes.iter().enumerate() {
        let d = GROUP * index + e;
        if ty.code_bits() == 4 {
            let (byte, bit) = place(d, 4);
            row[byte] |= (if code >= 8 { code - 8 } else { 15 - code }) << bit;
        } else {
            let (byte, bit) = place(d, 2);
            row[byte] |= (code & 3) << bit;
        }
        if ty.code_bits() == 3 {
            let (byte, bit) = place(d, 1);
            row[third_plane + byte] |= (code >> 2) << bit;
        }
    }
}

fn code_of(ty: TurboType, row: &[u8], dim: usize, d: usize) -> u8 {
    let bits = |plane: usize, width: usize| {
        let (byte, bit) = place(d, width);
        row[plane + byte] >> bit & ((1 << width) - 1)
    };
    match ty {
        TurboType::Turbo2 => bits(0, 2),
        TurboType::Turbo3 => bits(0, 2) | bits(KvFormat::Turbo(ty).padded(dim) / 4, 1) << 2,
        TurboType::Turbo4 | TurboType::Turbo4Atomic => {
            let code = bits(0, 4);
            if code >= 8 { 15 - code } else { code + 8 }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(dim: usize) -> Vec<f32> {
        (0..dim).map(|i| ((i * 37 + 11) as f32 * 0.731).sin() * 3.0).collect()
    }

    #[test]
    fn a_row_holds_what_its_codec_keeps() {
        for dim in [8, 64, 80, 128, 192, 256, 512, 576] {
            for format in KvFormat::ALL {
                let x = values(dim);
                let row = format.encode(&x);
                assert_eq!(row.len() % 16, 0);
                let y = format.decode(&row, dim);
                let squares = |v: &mut dyn Iterator<Item = f32>| v.map(|x| f64::from(x).powi(2)).sum::<f64>();
                let error =
                    squares(&mut x.iter().zip(&y).map(|(a, b)| a - b)) / squares(&mut x.iter().copied());
                let bound = match format {
                    KvFormat::F32 => 1e-30,
                    KvFormat::F16 => 1e-6,
                    KvFormat::Bf16 => 1e-5,
                    KvFormat::Q8_0 => 1e-4,
                    KvFormat::Turbo(TurboType::Turbo2) => 0.25,
                    KvFormat::Turbo(TurboType::Turbo3) => 0.08,
                    KvFormat::Turbo(TurboType::Turbo4) => 0.02,
                    KvFormat::Turbo(TurboType::Turbo4Atomic) => 0.04,
                };
                assert!(error < bound, "{} at {dim}: {error}", format.name());
            }
        }
    }

    #[test]
    fn codes_survive_their_order() {
        for ty in TurboType::ALL {
            let format = KvFormat::Turbo(ty);
            let x: [f32; GROUP] = values(GROUP).try_into().unwrap();
            let row = format.encode(&x);
            let group = ty.quantize(&x);
            assert_eq!(std::array::from_fn(|d| code_of(ty, &row, GROUP, d)), group.codes, "{ty:?}");
        }
    }

    #[test]
    fn bytes_of_rows_at_gemmas_head_dims() {
        let bytes = |dim| KvFormat::ALL.map(|f| f.row_bytes(dim));
        assert_eq!(bytes(512), [2048, 1024, 1024, 544, 144, 208, 272, 272]);
        assert_eq!(bytes(256), [1024, 512, 512, 272, 80, 112, 144, 144]);
    }
}
