//! Percentiles, by one named definition.

/// The `p`-quantile, `p` from 0 to 1, by linear interpolation between order statistics: Hyndman and Fan (1996) type
/// 7, the default of R, `numpy` and Julia. With n sorted values, position (n - 1) p counted from 0 is looked up.
///
/// `None` for no values, for a value that is not a number, and for a `p` outside 0 to 1.
#[must_use]
pub fn percentile(values: &[f64], p: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    percentile_in_place(&mut sorted, p)
}

/// The middle value, or the mean of the two middle ones: [`percentile`] at one half.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    percentile(values, 0.5)
}

/// As [`percentile`], reordering the values instead of copying them.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "position lies in 0 ..= len - 1")]
pub(super) fn percentile_in_place(values: &mut [f64], p: f64) -> Option<f64> {
    if values.is_empty() || !(0.0..=1.0).contains(&p) || values.iter().any(|value| value.is_nan()) {
        return None;
    }
    let position = (values.len() - 1) as f64 * p;
    let (_, &mut low, above) = values.select_nth_unstable_by(position as usize, f64::total_cmp);
    let fraction = position.fract();
    let high = if fraction > 0.0 { above.iter().copied().min_by(f64::total_cmp)? } else { low };
    Some(low + (high - low) * fraction)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, word by word.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "h lies in 0 ..= len - 1")]
    fn naive(values: &[f64], p: f64) -> f64 {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let h = (sorted.len() as f64 - 1.0) * p;
        let (low, high) = (sorted[h.floor() as usize], sorted[h.ceil() as usize]);
        low + (h - h.floor()) * (high - low)
    }

    #[test]
    fn as_numpy_has_it() {
        // numpy.percentile([15, 20, 35, 40, 50], [5, 30, 40, 50, 95, 100])
        let values = [50.0, 15.0, 40.0, 20.0, 35.0];
        for (p, expected) in [(0.05, 16.0), (0.3, 23.0), (0.4, 29.0), (0.5, 35.0), (0.95, 48.0), (1.0, 50.0)]
        {
            let got = percentile(&values, p).unwrap();
            assert!((got - expected).abs() < 1e-12, "p {p}: {got}");
        }
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), Some(3.0));
    }

    #[test]
    fn nonsense_has_no_percentile() {
        assert_eq!(percentile(&[], 0.5), None);
        assert_eq!(percentile(&[1.0], 1.01), None);
        assert_eq!(percentile(&[1.0], f64::NAN), None);
        assert_eq!(percentile(&[1.0, f64::NAN], 0.5), None);
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(values in prop::collection::vec(-1e6_f64..1e6, 1..60), p in 0.0_f64..=1.0) {
            let got = percentile(&values, p).unwrap();
            prop_assert!((got - naive(&values, p)).abs() <= 1e-6, "{got}");
        }
    }
}
