//! Statistics of repeated measurements of one kernel.

use serde::Serialize;

/// What repeats of one launch took, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Times {
    /// Half of the repeats were no slower.
    pub us_median: f64,
    /// 95 of 100 repeats were no slower (nearest rank).
    pub us_p95: f64,
    /// Repeats.
    pub repeats: usize,
}

impl Times {
    /// Of samples in any order; `None` without any.
    #[must_use]
    pub fn of(mut samples: Vec<f64>) -> Option<Self> {
        samples.sort_by(f64::total_cmp);
        let repeats = samples.len();
        let rank = |percent: usize| samples.get((repeats * percent).div_ceil(100).saturating_sub(1)).copied();
        let (low, high) = (samples.get(repeats.saturating_sub(1) / 2)?, samples.get(repeats / 2)?);
        Some(Self { us_median: f64::midpoint(*low, *high), us_p95: rank(95)?, repeats })
    }

    /// Bytes a second, if the median repeat read `bytes`, in GB/s (10^9 bytes).
    #[must_use]
    pub fn gb_per_s(&self, bytes: u64) -> f64 {
        // Bytes a microsecond are MB/s.
        bytes as f64 / self.us_median / 1e3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_p95_do_not_depend_on_order() {
        let times = Times::of((1..=20).rev().map(f64::from).collect()).unwrap();
        assert_eq!(times, Times { us_median: 10.5, us_p95: 19.0, repeats: 20 });
        let times = Times::of(vec![3.0, 9.0, 1.0]).unwrap();
        assert_eq!(times, Times { us_median: 3.0, us_p95: 9.0, repeats: 3 });
    }

    #[test]
    fn one_sample_is_its_own_median_and_none_has_none() {
        assert_eq!(Times::of(vec![2.5]), Some(Times { us_median: 2.5, us_p95: 2.5, repeats: 1 }));
        assert_eq!(Times::of(Vec::new()), None);
    }

    #[test]
    fn a_thousand_bytes_in_a_microsecond_are_a_gigabyte_a_second() {
        let times = Times { us_median: 2.0, us_p95: 2.0, repeats: 1 };
        assert!((times.gb_per_s(2000) - 1.0).abs() < 1e-12);
    }
}
