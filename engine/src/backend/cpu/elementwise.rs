//! Row-wise arithmetic that is not worth sharing between threads.

/// `x / sqrt(mean(x^2) + eps)` for rows of `weight.len()`, times `weight`, into `out`.
///
/// The weight is used as it is: Gemma 4 files store no `w - 1`.
///
/// # Panics
/// When `out` is not as long as `x`.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "row shape");
    for (x, out) in x.chunks_exact(weight.len()).zip(out.chunks_exact_mut(weight.len())) {
        let scale = inverse_rms(x, eps);
        for ((out, x), w) in out.iter_mut().zip(x).zip(weight) {
            *out = x * scale * w;
        }
    }
}

/// [`rms_norm`] in place.
pub fn rms_norm_in_place(x: &mut [f32], weight: &[f32], eps: f32) {
    for x in x.chunks_exact_mut(weight.len()) {
        let scale = inverse_rms(x, eps);
        for (x, w) in x.iter_mut().zip(weight) {
            *x = *x * scale * w;
        }
    }
}

/// [`rms_norm_in_place`] without a weight, for rows of `width`.
pub fn rms_norm_unweighted(x: &mut [f32], width: usize, eps: f32) {
    for x in x.chunks_exact_mut(width) {
        let scale = inverse_rms(x, eps);
        x.iter_mut().for_each(|x| *x *= scale);
    }
}

/// `h += x / sqrt(mean(x^2) + eps) * weight`: a block's output joins the residual stream.
pub fn add_rms_norm(h: &mut [f32], x: &[f32], weight: &[f32], eps: f32) {
    for (h, x) in h.chunks_exact_mut(weight.len()).zip(x.chunks_exact(weight.len())) {
        let scale = inverse_rms(x, eps);
        for ((h, x), w) in h.iter_mut().zip(x).zip(weight) {
            *h += x * scale * w;
        }
    }
}

/// `a *= b`.
pub fn multiply(a: &mut [f32], b: &[f32]) {
    for (a, b) in a.iter_mut().zip(b) {
        *a *= b;
    }
}

fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    let mut acc = [0.0_f32; 16];
    let chunks = x.chunks_exact(16);
    let tail: f32 = chunks.remainder().iter().map(|v| v * v).sum();
    for chunk in chunks {
        for (acc, v) in acc.iter_mut().zip(chunk) {
            *acc += v * v;
        }
    }
    let sum = acc.iter().sum::<f32>() + tail;
    1.0 / (sum / x.len() as f32 + eps).sqrt()
}
