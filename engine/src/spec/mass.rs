//! The arithmetic of sampling, so defined that every machine gets the same bits: the CPU, and the GPU's kernels
//! (`kernels/sampling.cuh`), which sum in another order.
//!
//! [`weight`] is exp made of single IEEE operations, where `f32::exp` is whatever the platform's library makes of it.
//! [`mass`] makes a weight or probability a whole number of 2^-44, and whole numbers have one sum, however they are
//! added. What that costs: a token below 2^-45 of the most likely is never drawn, and the sum over 262144 tokens is off by
//! 7.5e-9 at most, an eighth of the rounding of an f32 probability.
//!
//! Invariants: `weight(0)` is 1; masses of up to 2^19 weights have a sum below 2^64.

/// The mass of 1.
pub const ONE: u64 = 1 << 44;

/// Adding it to a number below 2^51 in magnitude leaves the nearest whole number in the low bits.
const ROUNDER: f64 = 6_755_399_441_055_744.0;

/// exp(x) for x <= 0, within 0.51 units in the last place; what is below -150 counts as that, and gives 0.
#[must_use]
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "rounds to f32")]
#[expect(
    clippy::suboptimal_flops,
    reason = "a fused operation rounds differently, and not every CPU has one"
)]
pub fn weight(x: f32) -> f32 {
    let v = f64::from(x.max(-150.0));
    // v = k ln 2 + r, |r| <= ln 2 / 2.
    let shifted = v * std::f64::consts::LOG2_E + ROUNDER;
    let r = v - (shifted - ROUNDER) * std::f64::consts::LN_2;
    let mut p = 1.0 / 40_320.0;
    for coefficient in [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = p * r + coefficient;
    }
    // The low bits of `shifted` are k; as exponent they make 2^k.
    let power = f64::from_bits((shifted.to_bits() << 52).wrapping_add(1.0_f64.to_bits()));
    (p * power) as f32
}

/// A weight or probability, 0 to 1, as the nearest multiple of 1 / [`ONE`].
#[must_use]
#[inline]
pub fn mass(p: f32) -> u64 {
    // The unit in the last place of 256 is 2^-44 in an f64.
    (f64::from(p) + 256.0).to_bits().wrapping_sub(256.0_f64.to_bits())
}

/// A sum of masses as the sum of weights it stands for.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "to the nearest")]
pub fn sum_of_weights(masses: u64) -> f64 {
    masses as f64 / ONE as f64
}

/// Where the quantile `u`, 0 to 1 and a multiple of 2^-53, lies in `total`; below it.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "at most total")]
pub fn place(u: f64, total: u64) -> u64 {
    let at = u128::from(quantile_bits(u)) * u128::from(total);
    ((at >> 53) as u64).min(total.saturating_sub(1))
}

/// A uniform number times 2^53, as a whole number.
#[must_use]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 2^53")]
pub fn quantile_bits(u: f64) -> u64 {
    (u * 9_007_199_254_740_992.0) as u64
}

/// The mass at which a nucleus of `top_p` of `total` ends, at least 1.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "positive and below 2^64, as total is"
)]
pub fn nucleus(top_p: f32, total: u64) -> u64 {
    ((f64::from(top_p) * total as f64).ceil() as u64).clamp(1, total.max(1))
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "reference values")]
mod tests {
    use super::*;

    /// Every 1009th f32 of [-104, 0].
    fn sweep() -> impl Iterator<Item = f32> {
        (0x8000_0000..=(-104.0_f32).to_bits()).step_by(1009).map(f32::from_bits)
    }

    #[test]
    fn weights_are_exp() {
        let mut worst = 0.0_f64;
        for x in sweep() {
            let exact = f64::from(x).exp();
            let below = f64::from((exact as f32).next_down());
            let unit = f64::from((exact as f32).next_up()) - f64::from(exact as f32).max(below);
            worst = worst.max((f64::from(weight(x)) - exact).abs() / unit);
        }
        println!("largest error {worst:.4} units in the last place");
        assert!(worst < 0.51, "{worst}");
        assert_eq!(weight(0.0).to_bits(), 1.0_f32.to_bits());
        assert_eq!(weight(f32::NEG_INFINITY).to_bits(), 0);
    }

    #[test]
    fn weights_fall_with_the_logit() {
        assert!(sweep().map(weight).is_sorted_by(|a, b| a >= b));
    }

    #[test]
    fn masses_are_whole_multiples() {
        assert_eq!(mass(1.0), ONE);
        assert_eq!(mass(0.0), 0);
        assert_eq!(mass(0.25), ONE / 4);
        assert_eq!(mass(f32::from_bits(1)), 0);
        assert_eq!((mass(3.0 * 2.0_f32.powi(-44)), mass(2.0_f32.powi(-44) * 0.75)), (3, 1));
    }

    #[test]
    fn places_are_within_the_total() {
        assert_eq!(
            (place(0.0, 10), place(0.5, 10), place(1.0 - 2f64.powi(-53), 10), place(1.0, 10)),
            (0, 5, 9, 9)
        );
        assert_eq!((nucleus(0.0, 10), nucleus(0.5, 9), nucleus(1.0, 10)), (1, 5, 10));
    }
}
