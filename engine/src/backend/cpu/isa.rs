//! Which kernels this CPU runs, chosen once, and the safe face of them.

#![cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "calls of #[target_feature] functions"))]

#[cfg(target_arch = "x86_64")]
use super::avx2;
use super::{BF16, Element, F16, F32, Q8_0, Q8_BLOCK, Q8_BLOCK_BYTES, Q8Rows, scalar};

/// The instruction set in use. Only [`Isa::detect`] and [`Isa::scalar`] make one, so holding it proves the CPU has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isa(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Scalar,
}

/// Calls the vector or the plain version of a kernel.
macro_rules! dispatch {
    ($isa:expr, $name:ident $(::<$kind:ident>)? ($($arg:expr),*)) => {
        match $isa.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Kind::Avx2` exists only where the CPU has AVX2, FMA and F16C; lengths were checked by the caller.
            Kind::Avx2 => unsafe { avx2::$name $(::<$kind>)? ($($arg),*) },
            Kind::Scalar => scalar::$name $(::<$kind>)? ($($arg),*),
        }
    };
}

impl Isa {
    /// The best this CPU has.
    #[must_use]
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
        {
            return Self(Kind::Avx2);
        }
        Self::scalar()
    }

    /// Plain Rust, on any CPU.
    #[must_use]
    pub const fn scalar() -> Self {
        Self(Kind::Scalar)
    }

    /// A name for reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2+fma+f16c",
            Kind::Scalar => "scalar",
        }
    }

    /// Unquantised weights `[rows][k]` times `x` `[m][k]`: `out[c * stride + r]`.
    ///
    /// # Safety
    /// `w` holds `rows` rows of `x.len() / m` elements. For every `c < m`, `rows` floats at `out + c * stride` are
    /// valid for writes and nobody else touches them during the call.
    #[expect(clippy::too_many_arguments, reason = "plain numbers of the innermost product")]
    pub(super) unsafe fn matmul(
        self,
        kind: Element,
        w: &[u8],
        rows: usize,
        x: &[f32],
        m: usize,
        out: *mut f32,
        stride: usize,
    ) {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => match kind {
                // SAFETY: the CPU has the features, the rest is the caller's promise.
                Element::F32 => unsafe { avx2::matmul::<F32>(w, rows, x, m, out, stride) },
                // SAFETY: as above.
                Element::F16 => unsafe { avx2::matmul::<F16>(w, rows, x, m, out, stride) },
                // SAFETY: as above.
                Element::Bf16 => unsafe { avx2::matmul::<BF16>(w, rows, x, m, out, stride) },
                Element::Q8_0 => unreachable!("Q8_0 weights go through matmul_q8"),
            },
            Kind::Scalar => {
                let k = x.len() / m;
                let dot = match kind {
                    Element::F32 => scalar::dot::<F32>,
                    Element::F16 => scalar::dot::<F16>,
                    Element::Bf16 => scalar::dot::<BF16>,
                    Element::Q8_0 => scalar::dot::<Q8_0>,
                };
                for (r, row) in w.chunks_exact(kind.row_bytes(k)).enumerate() {
                    for (c, x) in x.chunks_exact(k).enumerate() {
                        // SAFETY: the caller's promise.
                        unsafe { out.wrapping_add(c * stride + r).write(dot(row, x)) };
                    }
                }
            }
        }
    }

    /// `Q8_0` weights times quantised activations, otherwise as [`Self::matmul`].
    ///
    /// # Safety
    /// As [`Self::matmul`].
    pub(super) unsafe fn matmul_q8(
        self,
        w: &[u8],
        rows: usize,
        x: Q8Rows<'_>,
        m: usize,
        out: *mut f32,
        stride: usize,
    ) {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has the features, the rest is the caller's promise.
            Kind::Avx2 => unsafe { avx2::matmul_q8(w, rows, x, m, out, stride) },
            Kind::Scalar => {
                for (r, row) in w.chunks_exact(x.blocks * Q8_BLOCK_BYTES).enumerate() {
                    for c in 0..m {
                        // SAFETY: the caller's promise.
                        unsafe { out.wrapping_add(c * stride + r).write(scalar::dot_q8(row, x, c)) };
                    }
                }
            }
        }
    }

    /// Quantises blocks of 32 as `Q8_0`: `d = max |x| / 127` rounded to f16, `q = round(x / d)`.
    pub(super) fn quantize_q8(self, x: &[f32], qs: &mut [i8], scales: &mut [f32]) {
        assert!(x.len() == qs.len() && x.len() == scales.len() * Q8_BLOCK, "whole blocks");
        dispatch!(self, quantize_q8(x, qs, scales));
    }

    /// `x = gelu(x)`, the tanh form, in f32.
    pub fn gelu(self, x: &mut [f32]) {
        dispatch!(self, gelu(x));
    }

    /// `x = cap * tanh(x / cap)`.
    pub fn softcap(self, x: &mut [f32], cap: f32) {
        dispatch!(self, softcap(x, cap));
    }

    /// `x = exp(x - shift)`.
    pub fn exp_shifted(self, x: &mut [f32], shift: f32) {
        dispatch!(self, exp_shifted(x, shift));
    }

    /// Widens the row of `out.len()` elements at the start of `row` to f32.
    ///
    /// # Panics
    /// When `row` is shorter.
    pub fn widen(self, kind: Element, row: &[u8], out: &mut [f32]) {
        assert!(row.len() >= kind.row_bytes(out.len()), "a whole row");
        match kind {
            Element::F32 => dispatch!(self, widen::<F32>(row, out)),
            Element::F16 => dispatch!(self, widen::<F16>(row, out)),
            Element::Bf16 => dispatch!(self, widen::<BF16>(row, out)),
            Element::Q8_0 => scalar::widen::<Q8_0>(row, out),
        }
    }

    /// Stores a row of floats as `kind` (a cache type: F32, F16 or `Q8_0`).
    ///
    /// # Panics
    /// When `out` is not exactly the row, or `kind` is [`Element::Bf16`].
    pub fn narrow(self, kind: Element, x: &[f32], out: &mut [u8]) {
        assert_eq!(out.len(), kind.row_bytes(x.len()), "a whole row");
        match kind {
            Element::F32 => {
                for (value, out) in x.iter().zip(out.chunks_exact_mut(4)) {
                    out.copy_from_slice(&value.to_le_bytes());
                }
            }
            Element::F16 => dispatch!(self, narrow_f16(x, out)),
            Element::Bf16 => unreachable!("no cache is bf16"),
            Element::Q8_0 => self.narrow_q8(x, out),
        }
    }

    fn narrow_q8(self, x: &[f32], out: &mut [u8]) {
        for (x, block) in x.chunks_exact(Q8_BLOCK).zip(out.chunks_exact_mut(Q8_BLOCK_BYTES)) {
            let (mut qs, mut scale) = ([0; Q8_BLOCK], [0.0]);
            self.quantize_q8(x, &mut qs, &mut scale);
            // The scale is an f16 value already, so narrowing it is exact.
            self.narrow(Element::F16, &scale, &mut block[..2]);
            for (byte, q) in block[2..].iter_mut().zip(qs) {
                *byte = q.to_le_bytes()[0];
            }
        }
    }

    /// `out[q] += sum over cells of weights[q * stride + cell] * v[cell]` for `out` of `[queries][dim]`, the cells in
    /// ascending order whatever the number of queries.
    pub(super) fn blend(
        self,
        kind: Element,
        v: &[u8],
        weights: &[f32],
        stride: usize,
        out: &mut [f32],
        dim: usize,
    ) {
        let cells = v.len() / kind.row_bytes(dim);
        if cells == 0 {
            return;
        }
        let queries = out.len() / dim;
        assert!(dim.is_multiple_of(8) && queries * dim == out.len(), "whole rows of eights");
        assert!(queries > 0 && weights.len() >= (queries - 1) * stride + cells, "a weight a cell");
        match kind {
            Element::F32 => dispatch!(self, blend::<F32>(v, cells, weights, stride, out, dim)),
            Element::F16 => dispatch!(self, blend::<F16>(v, cells, weights, stride, out, dim)),
            Element::Bf16 => dispatch!(self, blend::<BF16>(v, cells, weights, stride, out, dim)),
            Element::Q8_0 => dispatch!(self, blend::<Q8_0>(v, cells, weights, stride, out, dim)),
        }
    }
}
