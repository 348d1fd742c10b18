//! Intervals of proportions whose trials are independent.

use super::distribution::normal_quantile_within;
use crate::report::Estimate;

/// The Wilson score interval (1927) of a proportion: right in small samples and at 0 and 1, where the textbook
/// interval is not.
///
/// For failure rates and false-alarm rates, whose trials are independent. Accepted drafts are not independent
/// (they cluster by text): estimate acceptance with [`super::estimate_ratio`].
///
/// `None` without trials, with more successes than trials, or for a confidence that is not inside 0 to 1.
#[must_use]
pub fn wilson(successes: u64, trials: u64, confidence: f64) -> Option<Estimate> {
    if trials == 0 || successes > trials || !(confidence > 0.0 && confidence < 1.0) {
        return None;
    }
    let (n, point) = (trials as f64, successes as f64 / trials as f64);
    let z = normal_quantile_within(confidence);
    let scale = 1.0 / (1.0 + z * z / n);
    let center = scale * (point + z * z / (2.0 * n));
    let half = scale * z * (point * (1.0 - point) / n + z * z / (4.0 * n * n)).sqrt();
    // Exact at both ends by algebra; rounding must not push the interval off the point.
    let low = (center - half).clamp(0.0, point);
    let high = (center + half).clamp(point, 1.0);
    Some(Estimate { point, low: Some(low), high: Some(high) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn as_published() {
        // Newcombe 1998, table I: 81/263, 15/148, 0/20, 1/29.
        for (successes, trials, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let got = wilson(successes, trials, 0.95).unwrap();
            assert!((got.low.unwrap() - low).abs() < 6e-5, "{successes}/{trials}: {got:?}");
            assert!((got.high.unwrap() - high).abs() < 6e-5, "{successes}/{trials}: {got:?}");
        }
    }

    #[test]
    fn nonsense_has_no_interval() {
        assert_eq!(wilson(0, 0, 0.95), None);
        assert_eq!(wilson(2, 1, 0.95), None);
        assert_eq!(wilson(1, 2, 1.0), None);
        assert_eq!(wilson(1, 2, f64::NAN), None);
    }

    proptest! {
        #[test]
        fn the_ends_solve_the_score_equation(successes in 0_u64..2000, others in 1_u64..2000) {
            let trials = successes + others;
            let got = wilson(successes, trials, 0.95).unwrap();
            let z = normal_quantile_within(0.95);
            for end in [got.low.unwrap(), got.high.unwrap()] {
                let distance = (end - got.point).abs();
                let expected = z * (end * (1.0 - end) / trials as f64).sqrt();
                prop_assert!((distance - expected).abs() < 1e-6, "{got:?}");
            }
        }
    }
}
