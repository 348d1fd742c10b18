//! Row kernels for x86-64 with AVX2, FMA and F16C.
//!
//! Nothing here is called unless [`super::Isa::detect`] has seen all three features.
//! Invariant: what is computed for one weight row and one activation row is one chain of eight-lane FMAs in the order
//! of the row, then one fixed reduction, then the tail. The tile (how many rows go together) never enters it, so a
//! decode step and a verify step give the same bits.

#![expect(unsafe_code, reason = "std::arch loads and stores")]
#![expect(
    clippy::needless_range_loop,
    reason = "loops over a tile's rows and columns index two arrays at once"
)]

use std::arch::x86_64::*;

use super::{F16, F32, Q8_0, Q8_BLOCK, Q8_BLOCK_BYTES, Q8Rows, f16_to_f32};

/// Reads 8 floats.
///
/// # Safety
/// `p` is valid for reads of 32 bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn load8_f32(p: *const f32) -> __m256 {
    // SAFETY: the caller's promise.
    unsafe { _mm256_loadu_ps(p) }
}

/// Reads 8 weights from the start of a run of unquantised elements, widened exactly to f32.
///
/// # Safety
/// `p` is valid for reads of 8 elements of `KIND`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn load8<const KIND: u8>(p: *const u8) -> __m256 {
    match KIND {
        // SAFETY: 8 f32 elements are 32 bytes, the caller's promise.
        F32 => unsafe { load8_f32(p.cast()) },
        F16 => {
            // SAFETY: 8 f16 elements are 16 bytes, the caller's promise.
            _mm256_cvtph_ps(unsafe { _mm_loadu_si128(p.cast()) })
        }
        _ => {
            // SAFETY: 8 bf16 elements are 16 bytes, the caller's promise.
            let halves = _mm256_cvtepu16_epi32(unsafe { _mm_loadu_si128(p.cast()) });
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(halves))
        }
    }
}

/// One weight, widened exactly to f32.
///
/// # Safety
/// `p` is valid for reads of one element of `KIND`.
#[inline]
unsafe fn load1<const KIND: u8>(p: *const u8) -> f32 {
    match KIND {
        // SAFETY: one element of 4 bytes, the caller's promise.
        F32 => f32::from_le_bytes(unsafe { p.cast::<[u8; 4]>().read() }),
        // SAFETY: one element of 2 bytes, the caller's promise.
        F16 => f16_to_f32(u16::from_le_bytes(unsafe { p.cast::<[u8; 2]>().read() })),
        _ => {
            // SAFETY: one element of 2 bytes, the caller's promise.
            let bits = u16::from_le_bytes(unsafe { p.cast::<[u8; 2]>().read() });
            f32::from_bits(u32::from(bits) << 16)
        }
    }
}

/// Bytes of one element.
pub(super) const fn element_bytes(kind: u8) -> usize {
    if kind == F32 { 4 } else { 2 }
}

/// Sum of 8 lanes, always in the same order.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn reduce(v: __m256) -> f32 {
    let quad = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
    let pair = _mm_add_ps(quad, _mm_movehl_ps(quad, quad));
    _mm_cvtss_f32(_mm_add_ss(pair, _mm_shuffle_ps::<1>(pair, pair)))
}

/// `out[r][c] = <weight row r, x row c>` for a tile of R weight rows and M activation rows.
///
/// # Safety
/// `w` is valid for R rows of `k` elements of `KIND`, `x` for M rows of `k` floats.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile<const KIND: u8, const R: usize, const M: usize>(
    w: *const u8,
    x: *const f32,
    k: usize,
) -> [[f32; M]; R] {
    let size = element_bytes(KIND);
    let mut acc = [[_mm256_setzero_ps(); M]; R];
    let body = k - k % 8;
    let mut i = 0;
    while i < body {
        let mut weights = [_mm256_setzero_ps(); R];
        for (r, weight) in weights.iter_mut().enumerate() {
            // SAFETY: row r < R, elements i..i + 8 <= k.
            *weight = unsafe { load8::<KIND>(w.wrapping_add((r * k + i) * size)) };
        }
        for c in 0..M {
            // SAFETY: row c < M, elements i..i + 8 <= k.
            let activation = unsafe { load8_f32(x.wrapping_add(c * k + i)) };
            for r in 0..R {
                acc[r][c] = _mm256_fmadd_ps(weights[r], activation, acc[r][c]);
            }
        }
        i += 8;
    }
    let mut out = [[0.0; M]; R];
    for r in 0..R {
        for c in 0..M {
            let mut sum = reduce(acc[r][c]);
            for j in body..k {
                // SAFETY: row r < R, element j < k.
                let weight = unsafe { load1::<KIND>(w.wrapping_add((r * k + j) * size)) };
                // SAFETY: row c < M, element j < k.
                let activation = unsafe { x.wrapping_add(c * k + j).read() };
                sum = weight.mul_add(activation, sum);
            }
            out[r][c] = sum;
        }
    }
    out
}

/// The scale of a `Q8_0` block.
///
/// # Safety
/// `p` is valid for reads of 2 bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn block_scale(p: *const u8) -> f32 {
    // SAFETY: the caller's promise.
    let bits = u16::from_le_bytes(unsafe { p.cast::<[u8; 2]>().read() });
    _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits))))
}

/// As [`tile`], for `Q8_0` weights and activations: int8 products summed exactly within a block, scaled in f32.
///
/// # Safety
/// `w` is valid for R rows of `blocks` blocks, `qs` and `scales` for M rows of as many.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile_q8<const R: usize, const M: usize>(
    w: *const u8,
    qs: *const i8,
    scales: *const f32,
    blocks: usize,
) -> [[f32; M]; R] {
    let ones = _mm256_set1_epi16(1);
    let mut acc = [[_mm256_setzero_ps(); M]; R];
    for b in 0..blocks {
        for r in 0..R {
            let block = w.wrapping_add((r * blocks + b) * Q8_BLOCK_BYTES);
            // SAFETY: block b of row r.
            let scale = unsafe { block_scale(block) };
            // SAFETY: the 32 bytes after the scale belong to the same block.
            let weight = unsafe { _mm256_loadu_si256(block.wrapping_add(2).cast()) };
            let magnitude = _mm256_abs_epi8(weight);
            for c in 0..M {
                // SAFETY: block b of activation row c.
                let activation =
                    unsafe { _mm256_loadu_si256(qs.wrapping_add((c * blocks + b) * Q8_BLOCK).cast()) };
                // SAFETY: scale b of activation row c.
                let x_scale = unsafe { scales.wrapping_add(c * blocks + b).read() };
                let signed = _mm256_sign_epi8(activation, weight);
                // |w| <= 128 and |x| <= 127, so a pair sum is at most 32512 and i16 does not saturate.
                let sums = _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, signed), ones);
                let scale = _mm256_set1_ps(scale * x_scale);
                acc[r][c] = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(sums), acc[r][c]);
            }
        }
    }
    acc.map(|row| row.map(|sum| reduce(sum)))
}

/// Where a tile's results go: `out[c * stride + r]`, the weight row being the fast index.
#[inline]
unsafe fn store<const R: usize, const M: usize>(tile: [[f32; M]; R], out: *mut f32, stride: usize) {
    for (r, row) in tile.into_iter().enumerate() {
        for (c, value) in row.into_iter().enumerate() {
            // SAFETY: the caller promises M rows of `stride` floats with R writable ones at `out`.
            unsafe { out.wrapping_add(c * stride + r).write(value) };
        }
    }
}

/// `rows` weight rows times M activation rows, in tiles of R rows.
///
/// # Safety
/// As [`tile`] for `rows` rows; `out` is valid for writes of `rows` floats at `c * stride` for every `c < M`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn panel<const KIND: u8, const R: usize, const M: usize>(
    w: *const u8,
    rows: usize,
    x: *const f32,
    k: usize,
    out: *mut f32,
    stride: usize,
) {
    let row_bytes = k * element_bytes(KIND);
    let mut r = 0;
    while r + R <= rows {
        // SAFETY: rows r..r + R exist.
        let values = unsafe { tile::<KIND, R, M>(w.wrapping_add(r * row_bytes), x, k) };
        // SAFETY: and so do their outputs.
        unsafe { store(values, out.wrapping_add(r), stride) };
        r += R;
    }
    while r < rows {
        // SAFETY: row r exists.
        let values = unsafe { tile::<KIND, 1, M>(w.wrapping_add(r * row_bytes), x, k) };
        // SAFETY: and so does its output.
        unsafe { store(values, out.wrapping_add(r), stride) };
        r += 1;
    }
}

/// As [`panel`], for `Q8_0`.
///
/// # Safety
/// As [`tile_q8`] for `rows` rows; `out` as in [`panel`].
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn panel_q8<const R: usize, const M: usize>(
    w: *const u8,
    rows: usize,
    x: Q8Rows<'_>,
    first_row: usize,
    out: *mut f32,
    stride: usize,
) {
    let blocks = x.blocks;
    let row_bytes = blocks * Q8_BLOCK_BYTES;
    let qs = x.qs.as_ptr().wrapping_add(first_row * blocks * Q8_BLOCK);
    let scales = x.scales.as_ptr().wrapping_add(first_row * blocks);
    let mut r = 0;
    while r + R <= rows {
        // SAFETY: rows r..r + R exist.
        let values = unsafe { tile_q8::<R, M>(w.wrapping_add(r * row_bytes), qs, scales, blocks) };
        // SAFETY: and so do their outputs.
        unsafe { store(values, out.wrapping_add(r), stride) };
        r += R;
    }
    while r < rows {
        // SAFETY: row r exists.
        let values = unsafe { tile_q8::<1, M>(w.wrapping_add(r * row_bytes), qs, scales, blocks) };
        // SAFETY: and so does its output.
        unsafe { store(values, out.wrapping_add(r), stride) };
        r += 1;
    }
}

/// Unquantised weights: `out[c * stride + r] = <w row r, x row c>`.
///
/// Tile heights keep 8 accumulators in flight (two FMAs a cycle, four cycles each) within 16 registers.
///
/// # Safety
/// The CPU has AVX2, FMA and F16C. `w` holds `rows` rows of `k` elements of `KIND`, `x` holds `m` rows of `k` floats,
/// `out` is valid for writes of `rows` floats at `c * stride` for every `c < m`, by this call alone.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn matmul<const KIND: u8>(
    w: &[u8],
    rows: usize,
    x: &[f32],
    m: usize,
    out: *mut f32,
    stride: usize,
) {
    let k = x.len() / m;
    debug_assert_eq!(w.len(), rows * k * element_bytes(KIND), "weight rows are complete");
    let w = w.as_ptr();
    let mut c = 0;
    while c < m {
        let x = x.as_ptr().wrapping_add(c * k);
        let out = out.wrapping_add(c * stride);
        match m - c {
            // SAFETY: columns c..c + M <= m, the caller's promise for all of them.
            1 => unsafe { panel::<KIND, 8, 1>(w, rows, x, k, out, stride) },
            // SAFETY: as above.
            2 => unsafe { panel::<KIND, 4, 2>(w, rows, x, k, out, stride) },
            // SAFETY: as above.
            3 => unsafe { panel::<KIND, 2, 3>(w, rows, x, k, out, stride) },
            // SAFETY: as above.
            _ => unsafe { panel::<KIND, 2, 4>(w, rows, x, k, out, stride) },
        }
        c += (m - c).min(4);
    }
}

/// `Q8_0` weights and activations; otherwise as [`matmul`].
///
/// # Safety
/// As [`matmul`], with `w` of `rows` rows of `x.blocks` blocks.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn matmul_q8(w: &[u8], rows: usize, x: Q8Rows<'_>, m: usize, out: *mut f32, stride: usize) {
    debug_assert_eq!(w.len(), rows * x.blocks * Q8_BLOCK_BYTES, "weight rows are complete");
    let w = w.as_ptr();
    let mut c = 0;
    while c < m {
        let out = out.wrapping_add(c * stride);
        match m - c {
            // SAFETY: columns c..c + M <= m, the caller's promise for all of them.
            1 => unsafe { panel_q8::<4, 1>(w, rows, x, c, out, stride) },
            // SAFETY: as above.
            2 => unsafe { panel_q8::<2, 2>(w, rows, x, c, out, stride) },
            // SAFETY: as above.
            3 => unsafe { panel_q8::<2, 3>(w, rows, x, c, out, stride) },
            // SAFETY: as above.
            _ => unsafe { panel_q8::<2, 4>(w, rows, x, c, out, stride) },
        }
        c += (m - c).min(4);
    }
}

/// Quantises blocks of 32 floats: `d = max |x| / 127` rounded to f16, `q = round(x / d)`, as llama.cpp stores them.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn quantize_q8(x: &[f32], qs: &mut [i8], scales: &mut [f32]) {
    let sign = _mm256_set1_ps(-0.0);
    let blocks = x.chunks_exact(Q8_BLOCK).zip(qs.chunks_exact_mut(Q8_BLOCK)).zip(scales);
    for ((block, qs), scale) in blocks {
        let mut lanes = [_mm256_setzero_ps(); 4];
        let mut peak = _mm256_setzero_ps();
        for (lane, part) in lanes.iter_mut().zip(block.chunks_exact(8)) {
            // SAFETY: `part` is 8 floats.
            *lane = unsafe { load8_f32(part.as_ptr()) };
            peak = _mm256_max_ps(peak, _mm256_andnot_ps(sign, *lane));
        }
        let half = _mm_max_ps(_mm256_castps256_ps128(peak), _mm256_extractf128_ps::<1>(peak));
        let half = _mm_max_ps(half, _mm_movehl_ps(half, half));
        let peak = _mm_cvtss_f32(_mm_max_ss(half, _mm_shuffle_ps::<1>(half, half)));
        let step = peak / 127.0;
        let inverse = _mm256_set1_ps(if step > 0.0 { 1.0 / step } else { 0.0 });
        let rounded = lanes.map(|v| _mm256_cvtps_epi32(_mm256_round_ps::<0x08>(_mm256_mul_ps(v, inverse))));
        let low = _mm256_packs_epi32(rounded[0], rounded[1]);
        let high = _mm256_packs_epi32(rounded[2], rounded[3]);
        let packed = _mm256_packs_epi16(low, high);
        // The packs interleave 128-bit halves; this puts the 4-byte groups back in order.
        let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        let bytes = _mm256_permutevar8x32_epi32(packed, order);
        // SAFETY: `qs` is 32 bytes.
        unsafe { _mm256_storeu_si256(qs.as_mut_ptr().cast(), bytes) };
        let bits = _mm_cvtps_ph::<0>(_mm_set_ss(step));
        *scale = _mm_cvtss_f32(_mm_cvtph_ps(bits));
    }
}

/// `exp(x)` to about 2 ulp; 0 below -87.3, where the result would be subnormal.
///
/// Range reduction to `2^n * e^r` with `|r| <= ln 2 / 2` (Cody and Waite, two-part ln 2), then the Taylor polynomial
/// of degree 7, whose remainder there is below 1e-8.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn exp8(x: __m256) -> __m256 {
    let lowest = _mm256_set1_ps(-87.33);
    let underflow = _mm256_cmp_ps::<_CMP_LT_OQ>(x, lowest);
    // NaN must stay NaN: min and max return their second operand then.
    let x = _mm256_min_ps(_mm256_set1_ps(88.37), _mm256_max_ps(lowest, x));
    let n = _mm256_round_ps::<0x08>(_mm256_mul_ps(x, _mm256_set1_ps(std::f32::consts::LOG2_E)));
    let r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693_359_4), x);
    let r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.121_944_4e-4), r);
    let mut p = _mm256_set1_ps(1.0 / 5040.0);
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(coefficient));
    }
    let exponent = _mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)));
    _mm256_andnot_ps(underflow, _mm256_mul_ps(p, _mm256_castsi256_ps(exponent)))
}

/// Applies `f` to every element, eight at a time; the tail is padded, so an element's result does not depend on its
/// place.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn map8(values: &mut [f32], f: impl Fn(__m256) -> __m256) {
    let mut chunks = values.chunks_exact_mut(8);
    for chunk in &mut chunks {
        // SAFETY: `chunk` is 8 floats.
        let v = f(unsafe { load8_f32(chunk.as_ptr()) });
        // SAFETY: and writable.
        unsafe { _mm256_storeu_ps(chunk.as_mut_ptr(), v) };
    }
    let tail = chunks.into_remainder();
    let mut padded = [0.0; 8];
    padded[..tail.len()].copy_from_slice(tail);
    // SAFETY: `padded` is 8 floats.
    let v = f(unsafe { load8_f32(padded.as_ptr()) });
    // SAFETY: and writable.
    unsafe { _mm256_storeu_ps(padded.as_mut_ptr(), v) };
    tail.copy_from_slice(&padded[..tail.len()]);
}

/// `x = exp(x - shift)`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn exp_shifted(x: &mut [f32], shift: f32) {
    map8(x, |v| exp8(_mm256_sub_ps(v, _mm256_set1_ps(shift))));
}

/// `x = cap * tanh(x / cap)`, with `tanh(y) = 1 - 2 / (exp(2 y) + 1)`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn softcap(x: &mut [f32], cap: f32) {
    let one = _mm256_set1_ps(1.0);
    let two = _mm256_set1_ps(2.0);
    map8(x, |v| {
        let e = exp8(_mm256_mul_ps(v, _mm256_set1_ps(2.0 / cap)));
        let tanh = _mm256_sub_ps(one, _mm256_div_ps(two, _mm256_add_ps(e, one)));
        _mm256_mul_ps(_mm256_set1_ps(cap), tanh)
    });
}

/// `x = gelu(x)`, the tanh form; `0.5 (1 + tanh u) = 1 / (1 + exp(-2 u))` loses nothing where tanh is near -1.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn gelu(x: &mut [f32]) {
    let one = _mm256_set1_ps(1.0);
    map8(x, |v| {
        let square = _mm256_mul_ps(v, v);
        let inner = _mm256_fmadd_ps(square, _mm256_set1_ps(super::GELU_CUBIC), one);
        let u = _mm256_mul_ps(_mm256_mul_ps(v, _mm256_set1_ps(-2.0 * super::SQRT_2_OVER_PI)), inner);
        _mm256_div_ps(v, _mm256_add_ps(one, exp8(u)))
    });
}

/// Widens `out.len()` elements of `KIND` from the start of `w`.
///
/// # Safety
/// The CPU has AVX2, FMA and F16C, and `w` holds `out.len()` elements.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn widen<const KIND: u8>(w: &[u8], out: &mut [f32]) {
    let size = element_bytes(KIND);
    let w = w.as_ptr();
    let body = out.len() - out.len() % 8;
    let (head, tail) = out.split_at_mut(body);
    for (i, chunk) in head.chunks_exact_mut(8).enumerate() {
        // SAFETY: elements 8 i..8 i + 8 exist.
        let v = unsafe { load8::<KIND>(w.wrapping_add(8 * i * size)) };
        // SAFETY: `chunk` is 8 floats.
        unsafe { _mm256_storeu_ps(chunk.as_mut_ptr(), v) };
    }
    for (i, value) in tail.iter_mut().enumerate() {
        // SAFETY: element body + i exists.
        *value = unsafe { load1::<KIND>(w.wrapping_add((body + i) * size)) };
    }
}

/// Rounds floats to f16 (nearest even), two bytes each, little endian.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn narrow_f16(x: &[f32], out: &mut [u8]) {
    let mut chunks = x.chunks_exact(8);
    let mut outs = out.chunks_exact_mut(16);
    for (chunk, out) in (&mut chunks).zip(&mut outs) {
        // SAFETY: `chunk` is 8 floats.
        let v = _mm256_cvtps_ph::<0>(unsafe { load8_f32(chunk.as_ptr()) });
        // SAFETY: `out` is 16 bytes.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), v) };
    }
    for (value, out) in chunks.remainder().iter().zip(outs.into_remainder().chunks_exact_mut(2)) {
        let bits = _mm_cvtsi128_si32(_mm_cvtps_ph::<0>(_mm_set_ss(*value))).to_le_bytes();
        out.copy_from_slice(&bits[..2]);
    }
}

/// Reads 8 values of a cache row at element `i` (a multiple of 8).
///
/// # Safety
/// `row` is valid for a row of `KIND` that has elements `i..i + 8`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn load8_at<const KIND: u8>(row: *const u8, i: usize) -> __m256 {
    if KIND != Q8_0 {
        // SAFETY: the caller's promise.
        return unsafe { load8::<KIND>(row.wrapping_add(i * element_bytes(KIND))) };
    }
    let block = row.wrapping_add(i / Q8_BLOCK * Q8_BLOCK_BYTES);
    // SAFETY: the block that holds element i.
    let scale = unsafe { block_scale(block) };
    // SAFETY: i is a multiple of 8, so its 8 bytes lie within the block.
    let bytes = unsafe { _mm_loadl_epi64(block.wrapping_add(2 + i % Q8_BLOCK).cast()) };
    _mm256_mul_ps(_mm256_set1_ps(scale), _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)))
}

/// `out[q][i..i + 8] += sum over cells of weights[q][cell] * v[cell][i..i + 8]` for M queries.
///
/// # Safety
/// `v` is valid for `cells` rows of `row_bytes`, `weights` for `cells` floats at `q * weight_stride`, `out` for
/// reads and writes of 8 floats at `q * dim + i`, for every q < M.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
#[expect(
    clippy::too_many_arguments,
    reason = "the innermost loop of attention: plain numbers, no struct to unpack"
)]
unsafe fn blend_tile<const KIND: u8, const M: usize>(
    v: *const u8,
    row_bytes: usize,
    cells: usize,
    weights: *const f32,
    weight_stride: usize,
    out: *mut f32,
    dim: usize,
    i: usize,
) {
    let mut acc = [_mm256_setzero_ps(); M];
    for (q, acc) in acc.iter_mut().enumerate() {
        // SAFETY: query q, elements i..i + 8.
        *acc = unsafe { load8_f32(out.wrapping_add(q * dim + i)) };
    }
    for cell in 0..cells {
        // SAFETY: cell < cells.
        let value = unsafe { load8_at::<KIND>(v.wrapping_add(cell * row_bytes), i) };
        for (q, acc) in acc.iter_mut().enumerate() {
            // SAFETY: query q, cell < cells.
            let weight = unsafe { weights.wrapping_add(q * weight_stride + cell).read() };
            *acc = _mm256_fmadd_ps(_mm256_set1_ps(weight), value, *acc);
        }
    }
    for (q, acc) in acc.into_iter().enumerate() {
        // SAFETY: query q, elements i..i + 8.
        unsafe { _mm256_storeu_ps(out.wrapping_add(q * dim + i), acc) };
    }
}

/// `out[q] += sum over cells of weights[q * stride + cell] * v[cell]`, cells in ascending order for every element.
///
/// # Safety
/// The CPU has AVX2, FMA and F16C. `v` holds `cells` rows of `dim` elements of `KIND` (`dim` a multiple of 8),
/// `weights` holds `cells` floats at `q * stride` for every q, and `out` is a whole number of rows of `dim`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn blend<const KIND: u8>(
    v: &[u8],
    cells: usize,
    weights: &[f32],
    stride: usize,
    out: &mut [f32],
    dim: usize,
) {
    /// Cells whose values stay in the first-level cache while every query and element passes over them.
    const CELL_BLOCK: usize = 32;
    let queries = out.len() / dim;
    let row_bytes = v.len() / cells;
    for first in (0..cells).step_by(CELL_BLOCK) {
        let block = CELL_BLOCK.min(cells - first);
        let v = v.as_ptr().wrapping_add(first * row_bytes);
        for i in (0..dim).step_by(8) {
            let mut q = 0;
            while q < queries {
                let weights = weights.as_ptr().wrapping_add(q * stride + first);
                let out = out.as_mut_ptr().wrapping_add(q * dim);
                match queries - q {
                    // SAFETY: queries q..q + M, cells first..first + block, elements i..i + 8 all exist.
                    1 => unsafe { blend_tile::<KIND, 1>(v, row_bytes, block, weights, stride, out, dim, i) },
                    // SAFETY: as above.
                    2 => unsafe { blend_tile::<KIND, 2>(v, row_bytes, block, weights, stride, out, dim, i) },
                    // SAFETY: as above.
                    3 => unsafe { blend_tile::<KIND, 3>(v, row_bytes, block, weights, stride, out, dim, i) },
                    // SAFETY: as above.
                    _ => unsafe { blend_tile::<KIND, 4>(v, row_bytes, block, weights, stride, out, dim, i) },
                }
                q += (queries - q).min(4);
            }
        }
    }
}
