//! The CPU backend: row kernels, a worker pool, attention over a cache.
//!
//! Everything is built on one product, weight rows times a few activation rows, because decoding is one pass over the
//! weights: floor = weight bytes / memory bandwidth, whatever the number of rows.
//! Invariant: the bits of an output depend on its weight row and its activation row alone, never on how many rows are
//! computed together or on how many threads share them. Greedy speculative decoding is lossless because of it.

mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
mod elementwise;
mod isa;
mod matmul;
mod pool;
mod scalar;
#[cfg(test)]
mod tests;

use half::f16;

pub use attention::{AttentionScratch, Queries, TreeCells, attend};
pub use elementwise::{add_rms_norm, multiply, rms_norm, rms_norm_in_place, rms_norm_unweighted};
pub use isa::Isa;
pub use matmul::{Input, Job, Q8Buffer, Weights, matmul, matmul_rows};
pub use pool::Pool;

/// Element layouts the kernels read, as const generic arguments.
const F32: u8 = 0;
const F16: u8 = 1;
const BF16: u8 = 2;
const Q8_0: u8 = 3;

/// Elements of a `Q8_0` block.
pub const Q8_BLOCK: usize = 32;
/// Bytes of a `Q8_0` block: an f16 scale and 32 signed bytes.
pub const Q8_BLOCK_BYTES: usize = 34;

const GELU_CUBIC: f32 = 0.044_715;
const SQRT_2_OVER_PI: f32 = 0.797_884_6;

/// How the elements of a weight or cache row are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// 4 bytes, IEEE single.
    F32,
    /// 2 bytes, IEEE half.
    F16,
    /// 2 bytes, the upper half of an IEEE single.
    Bf16,
    /// Blocks of 32: f16 scale, then 32 signed bytes.
    Q8_0,
}

impl Element {
    /// Bytes of a row of `k` elements; `k` is a multiple of [`Q8_BLOCK`] for [`Element::Q8_0`].
    #[must_use]
    pub const fn row_bytes(self, k: usize) -> usize {
        match self {
            Self::F32 => 4 * k,
            Self::F16 | Self::Bf16 => 2 * k,
            Self::Q8_0 => k / Q8_BLOCK * Q8_BLOCK_BYTES,
        }
    }
}

/// Activation rows quantised to `Q8_0`, scales apart from values.
#[derive(Debug, Clone, Copy)]
pub struct Q8Rows<'a> {
    /// `[m][blocks * 32]`
    qs: &'a [i8],
    /// `[m][blocks]`
    scales: &'a [f32],
    /// Blocks of a row.
    blocks: usize,
}

/// The exact value of an f16.
fn f16_to_f32(bits: u16) -> f32 {
    f16::from_bits(bits).to_f32()
}

/// Element `i` of a row.
fn element<const KIND: u8>(row: &[u8], i: usize) -> f32 {
    match KIND {
        F32 => f32::from_le_bytes([row[4 * i], row[4 * i + 1], row[4 * i + 2], row[4 * i + 3]]),
        F16 => f16_to_f32(u16::from_le_bytes([row[2 * i], row[2 * i + 1]])),
        BF16 => f32::from_bits(u32::from(u16::from_le_bytes([row[2 * i], row[2 * i + 1]])) << 16),
        _ => {
            let block = &row[i / Q8_BLOCK * Q8_BLOCK_BYTES..];
            f16_to_f32(u16::from_le_bytes([block[0], block[1]]))
                * f32::from(i8::from_le_bytes([block[2 + i % Q8_BLOCK]]))
        }
    }
}

/// The kernels and the threads of one engine.
#[derive(Debug)]
pub struct Cpu {
    /// Which kernels.
    pub isa: Isa,
    /// Which threads.
    pub pool: Pool,
}
