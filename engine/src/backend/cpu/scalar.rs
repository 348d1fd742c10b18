//! The same kernels in plain Rust, for CPUs without AVX2.
//!
//! Written to be read: it is also what the vector kernels are tested against, within rounding.

#![expect(
    clippy::cast_possible_truncation,
    reason = "numeric kernel: conversions are part of the arithmetic"
)]

use half::f16;

use super::{GELU_CUBIC, Q8_BLOCK, Q8_BLOCK_BYTES, Q8Rows, SQRT_2_OVER_PI, element};

/// `<weight row r, x row c>` of unquantised weights.
pub(super) fn dot<const KIND: u8>(row: &[u8], x: &[f32]) -> f32 {
    x.iter().enumerate().map(|(i, x)| element::<KIND>(row, i) * x).sum()
}

/// `<weight row, activation row c>` of `Q8_0`.
pub(super) fn dot_q8(row: &[u8], x: Q8Rows<'_>, c: usize) -> f32 {
    let blocks = c * x.blocks..(c + 1) * x.blocks;
    let activations = x.qs[blocks.start * Q8_BLOCK..blocks.end * Q8_BLOCK].chunks_exact(Q8_BLOCK);
    let weights = row.chunks_exact(Q8_BLOCK_BYTES);
    let mut sum = 0.0;
    for ((block, qs), x_scale) in weights.zip(activations).zip(&x.scales[blocks]) {
        let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
        let products = block[2..].iter().zip(qs).map(|(w, x)| i32::from(*w as i8) * i32::from(*x));
        sum += scale * x_scale * products.sum::<i32>() as f32;
    }
    sum
}

/// See [`super::avx2::quantize_q8`].
pub(super) fn quantize_q8(x: &[f32], qs: &mut [i8], scales: &mut [f32]) {
    let blocks = x.chunks_exact(Q8_BLOCK).zip(qs.chunks_exact_mut(Q8_BLOCK)).zip(scales);
    for ((block, qs), scale) in blocks {
        let step = block.iter().fold(0.0_f32, |peak, v| peak.max(v.abs())) / 127.0;
        let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
        for (q, v) in qs.iter_mut().zip(block) {
            *q = (v * inverse).round_ties_even() as i8;
        }
        *scale = f16::from_f32(step).to_f32();
    }
}

/// `x = exp(x - shift)`.
pub(super) fn exp_shifted(x: &mut [f32], shift: f32) {
    x.iter_mut().for_each(|v| *v = (*v - shift).exp());
}

/// `x = cap * tanh(x / cap)`.
pub(super) fn softcap(x: &mut [f32], cap: f32) {
    x.iter_mut().for_each(|v| *v = cap * (*v / cap).tanh());
}

/// `x = gelu(x)`, the tanh form.
pub(super) fn gelu(x: &mut [f32]) {
    for v in x {
        let u = SQRT_2_OVER_PI * *v * (1.0 + GELU_CUBIC * *v * *v);
        *v /= 1.0 + (-2.0 * u).exp();
    }
}

/// Widens `out.len()` elements from the start of `w`.
pub(super) fn widen<const KIND: u8>(w: &[u8], out: &mut [f32]) {
    for (i, value) in out.iter_mut().enumerate() {
        *value = element::<KIND>(w, i);
    }
}

/// Rounds floats to f16, two bytes each, little endian.
pub(super) fn narrow_f16(x: &[f32], out: &mut [u8]) {
    for (value, out) in x.iter().zip(out.chunks_exact_mut(2)) {
        out.copy_from_slice(&f16::from_f32(*value).to_le_bytes());
    }
}

/// See [`super::avx2::blend`].
pub(super) fn blend<const KIND: u8>(
    v: &[u8],
    cells: usize,
    weights: &[f32],
    stride: usize,
    out: &mut [f32],
    dim: usize,
) {
    for (q, out) in out.chunks_exact_mut(dim).enumerate() {
        let weights = &weights[q * stride..q * stride + cells];
        for (row, weight) in v.chunks_exact(v.len() / cells).zip(weights) {
            for (i, value) in out.iter_mut().enumerate() {
                *value += weight * element::<KIND>(row, i);
            }
        }
    }
}
