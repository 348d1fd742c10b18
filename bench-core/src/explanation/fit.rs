//! `T(n) = W + n C` by ordinary least squares.
//!
//! Rounds are kept as count, mean and sum of squares for each n (Welford, Technometrics 4, 1962), which is all that the
//! line and its standard errors need, in one pass and without the cancellation of sums of squares. The standard errors
//! take rounds as independent; rounds of one request share a moment of the machine, so the errors are lower bounds.

use std::collections::BTreeMap;

use super::{VerifyFit, VerifyPoint};

/// Verify times, gathered by drafted tokens.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VerifySamples(BTreeMap<u32, Moments>);

/// Why no line is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoFit {
    /// A line needs two places.
    #[error("all rounds drafted alike ({lengths} distinct numbers of drafts; a line needs at least 2)")]
    TooFewLengths {
        /// Distinct n.
        lengths: usize,
    },
    /// A line through two rounds has no error.
    #[error("{rounds} rounds; a line with its errors needs at least 3")]
    TooFewRounds {
        /// Rounds.
        rounds: u64,
    },
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Moments {
    rounds: u64,
    mean_ms: f64,
    /// Sum of squared deviations from the mean.
    squares: f64,
}

impl VerifySamples {
    /// Adds a pass over `drafted` + 1 rows.
    pub fn add(&mut self, drafted: u32, verify_ns: u64) {
        let of_length = self.0.entry(drafted).or_default();
        of_length.rounds += 1;
        let value = verify_ns as f64 / 1e6;
        let before = value - of_length.mean_ms;
        of_length.mean_ms += before / of_length.rounds as f64;
        of_length.squares += before * (value - of_length.mean_ms);
    }

    /// The line.
    ///
    /// # Errors
    ///
    /// [`NoFit`] with fewer than 2 distinct n or fewer than 3 rounds.
    pub fn fit(&self) -> Result<VerifyFit, NoFit> {
        let rounds: u64 = self.0.values().map(|group| group.rounds).sum();
        if self.0.len() < 2 {
            return Err(NoFit::TooFewLengths { lengths: self.0.len() });
        }
        if rounds < 3 {
            return Err(NoFit::TooFewRounds { rounds });
        }
        let count = rounds as f64;
        let sum = |of: &dyn Fn(f64, &Moments) -> f64| {
            self.0.iter().map(|(&n, group)| group.rounds as f64 * of(f64::from(n), group)).sum::<f64>()
        };
        let (mean_n, mean_ms) = (sum(&|n, _| n) / count, sum(&|_, group| group.mean_ms) / count);
        let spread = sum(&|n, _| (n - mean_n).powi(2));
        let c_ms = sum(&|n, group| (n - mean_n) * (group.mean_ms - mean_ms)) / spread;
        let w_ms = mean_ms - c_ms * mean_n;
        let off_line = sum(&|n, group| (group.mean_ms - w_ms - n * c_ms).powi(2));
        let within: f64 = self.0.values().map(|group| group.squares).sum();
        let residual_sd_ms = ((off_line + within) / (count - 2.0)).sqrt();
        Ok(VerifyFit {
            w_ms,
            w_se_ms: residual_sd_ms * (1.0 / count + mean_n.powi(2) / spread).sqrt(),
            c_ms,
            c_se_ms: residual_sd_ms / spread.sqrt(),
            residual_sd_ms,
            rounds,
            points: self.0.iter().map(|(&drafted, group)| group.point(drafted)).collect(),
        })
    }
}

impl Moments {
    fn point(&self, drafted: u32) -> VerifyPoint {
        let sd = (self.rounds > 1).then(|| (self.squares / (self.rounds - 1) as f64).sqrt());
        VerifyPoint { drafted, rounds: self.rounds, mean_ms: self.mean_ms, sd_ms: sd }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn samples(passes: &[(u32, u64)]) -> VerifySamples {
        let mut samples = VerifySamples::default();
        passes.iter().for_each(|&(n, ns)| samples.add(n, ns));
        samples
    }

    fn near(got: f64, expected: f64) -> bool {
        (got - expected).abs() <= 1e-9 * expected.abs().max(1.0)
    }

    #[test]
    fn planted_times_are_found_again() {
        // 2 ms a pass, 0.5 ms a draft.
        let fit = samples(&[(0, 2_000_000), (3, 3_500_000), (1, 2_500_000), (3, 3_500_000)]).fit().unwrap();
        assert!(near(fit.w_ms, 2.0) && near(fit.c_ms, 0.5), "{fit:?}");
        assert!(fit.residual_sd_ms < 1e-9 && fit.w_se_ms < 1e-9 && fit.c_se_ms < 1e-9, "{fit:?}");
        assert_eq!(fit.rounds, 4);
        let points: Vec<_> = fit.points.iter().map(|point| (point.drafted, point.rounds)).collect();
        assert_eq!(points, [(0, 1), (1, 1), (3, 2)]);
        assert_eq!((fit.points[0].sd_ms, fit.points[2].sd_ms), (None, Some(0.0)));
    }

    #[test]
    fn errors_are_those_of_the_textbook() {
        // x = 0, 1, 2, 3 and y = 1, 3, 2, 4: slope 0.8, intercept 1.3, residual sum of squares 1.8, Sxx 5.
        let passes = [(0, 1_000_000), (1, 3_000_000), (2, 2_000_000), (3, 4_000_000)];
        let fit = samples(&passes).fit().unwrap();
        assert!(near(fit.c_ms, 0.8) && near(fit.w_ms, 1.3), "{fit:?}");
        assert!(near(fit.residual_sd_ms, 0.9_f64.sqrt()), "{fit:?}");
        assert!(near(fit.c_se_ms, (0.9_f64 / 5.0).sqrt()), "{fit:?}");
        assert!(near(fit.w_se_ms, (0.9_f64 * (0.25 + 2.25 / 5.0)).sqrt()), "{fit:?}");
    }

    #[test]
    fn too_little_is_refused() {
        assert_eq!(samples(&[]).fit(), Err(NoFit::TooFewLengths { lengths: 0 }));
        assert_eq!(samples(&[(2, 1), (2, 9), (2, 4)]).fit(), Err(NoFit::TooFewLengths { lengths: 1 }));
        assert_eq!(samples(&[(0, 1), (2, 9)]).fit(), Err(NoFit::TooFewRounds { rounds: 2 }));
    }

    proptest! {
        #[test]
        fn any_line_is_found_again(
            w in 1_000_u64..1 << 40,
            c in 0_u64..1 << 36,
            lengths in proptest::collection::vec(0_u32..16, 3..60),
        ) {
            let passes: Vec<_> = lengths.iter().map(|&n| (n, w + u64::from(n) * c)).collect();
            let distinct: std::collections::BTreeSet<_> = lengths.iter().collect();
            match samples(&passes).fit() {
                Ok(fit) => {
                    let scale = (w + 16 * c) as f64 / 1e6;
                    prop_assert!((fit.w_ms - w as f64 / 1e6).abs() < 1e-9 * scale);
                    prop_assert!((fit.c_ms - c as f64 / 1e6).abs() < 1e-9 * scale);
                    prop_assert!(fit.residual_sd_ms < 1e-6 * scale);
                }
                Err(refused) => prop_assert_eq!((refused, distinct.len()), (NoFit::TooFewLengths { lengths: 1 }, 1)),
            }
        }

        #[test]
        fn no_other_line_is_nearer(
            passes in proptest::collection::vec((0_u32..8, 0_u64..10_000_000), 3..40),
            off in (-1.0_f64..1.0, -1.0_f64..1.0),
        ) {
            let Ok(fit) = samples(&passes).fit() else { return Ok(()) };
            let miss = |w: f64, c: f64| -> f64 {
                passes.iter().map(|&(n, ns)| (ns as f64 / 1e6 - w - f64::from(n) * c).powi(2)).sum()
            };
            let best = miss(fit.w_ms, fit.c_ms);
            prop_assert!(best <= miss(fit.w_ms + off.0, fit.c_ms + off.1) + 1e-9);
            let residual = (best / (passes.len() - 2) as f64).sqrt();
            prop_assert!((fit.residual_sd_ms - residual).abs() < 1e-6);
        }

        #[test]
        fn the_order_of_rounds_does_not_matter(mut passes in proptest::collection::vec((0_u32..8, 0_u64..1 << 30), 3..40)) {
            let forward = samples(&passes).fit();
            passes.reverse();
            let backward = samples(&passes).fit();
            if let (Ok(one), Ok(other)) = (forward, backward) {
                prop_assert!((one.w_ms - other.w_ms).abs() < 1e-6 && (one.c_ms - other.c_ms).abs() < 1e-6);
            }
        }
    }
}
