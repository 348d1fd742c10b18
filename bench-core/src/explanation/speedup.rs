//! From costs to what they predict. The formulas are in the module above.

use super::{Ceiling, RoundSums, Speedup, VerifyFit};

/// What a mean round of an arm drafts, gains and costs besides the verify pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ArmCosts {
    /// n: tokens drafted.
    pub drafted: f64,
    /// a: drafts accepted.
    pub accepted: f64,
    /// n D: drafting, milliseconds.
    pub draft_ms: f64,
    /// o: sampling and host, milliseconds.
    pub other_ms: f64,
}

impl ArmCosts {
    /// Of an arm's rounds; `None` if there are none.
    #[must_use]
    pub fn of(sums: &RoundSums) -> Option<Self> {
        let parts = sums.parts()?;
        Some(Self {
            drafted: sums.drafted_per_round()?,
            accepted: sums.accepted_per_round()?,
            draft_ms: parts.draft,
            other_ms: parts.sample + parts.host,
        })
    }

    /// R: a mean round, milliseconds.
    #[must_use]
    pub fn round_ms(&self, fit: &VerifyFit) -> f64 {
        fit.w_ms + self.drafted * fit.c_ms + self.draft_ms + self.other_ms
    }

    /// R / (1 + a): a token, milliseconds.
    #[must_use]
    pub fn token_ms(&self, fit: &VerifyFit) -> f64 {
        self.round_ms(fit) / (1.0 + self.accepted)
    }
}

/// What the law of the verify pass predicts for an arm over its baseline, whose label is `baseline.0`.
#[must_use]
pub fn speedup(
    fit: &VerifyFit,
    baseline: (&str, &ArmCosts),
    candidate: &ArmCosts,
    measured: Option<f64>,
) -> Speedup {
    let (label, baseline) = baseline;
    let token_ms = baseline.token_ms(fit);
    Speedup {
        baseline: label.to_owned(),
        predicted: token_ms / candidate.token_ms(fit),
        measured,
        break_even_accepted: candidate.round_ms(fit) / token_ms - 1.0,
    }
}

/// How near a pass of `verify_ms` that reads `step_bytes` is to doing nothing else; `None` unless all are above 0.
#[must_use]
pub fn ceiling(step_bytes: u64, bandwidth_bytes_per_s: f64, verify_ms: f64) -> Option<Ceiling> {
    let known = step_bytes > 0 && bandwidth_bytes_per_s > 0.0 && verify_ms > 0.0;
    let floor_ms = step_bytes as f64 / bandwidth_bytes_per_s * 1e3;
    known.then(|| Ceiling { step_bytes, bandwidth_bytes_per_s, floor_ms, share: floor_ms / verify_ms })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::explanation::{Round, VerifySamples};

    const PLAIN: ArmCosts = ArmCosts { drafted: 0.0, accepted: 0.0, draft_ms: 0.0, other_ms: 0.5 };

    fn line(w_ms: f64, c_ms: f64) -> VerifyFit {
        VerifyFit {
            w_ms,
            w_se_ms: 0.0,
            c_ms,
            c_se_ms: 0.0,
            residual_sd_ms: 0.0,
            rounds: 9,
            points: Vec::new(),
        }
    }

    #[test]
    fn a_round_worked_by_hand() {
        // Verify 4 + 3 x 0.5, drafting 3 x 0.5, the rest 0.5: 7.5 ms for 2.5 tokens, where a plain token takes 4.5 ms.
        let candidate = ArmCosts { drafted: 3.0, accepted: 1.5, draft_ms: 1.5, other_ms: 0.5 };
        let found = speedup(&line(4.0, 0.5), ("plain", &PLAIN), &candidate, Some(1.4));
        assert!((found.predicted - 1.5).abs() < 1e-12, "{found:?}");
        assert!((found.break_even_accepted - 2.0 / 3.0).abs() < 1e-12, "{found:?}");
        assert_eq!((found.baseline.as_str(), found.measured), ("plain", Some(1.4)));
    }

    #[test]
    fn a_pass_at_its_ceiling_takes_as_long_as_its_bytes() {
        let half = ceiling(5_000_000, 1e10, 1.0).unwrap();
        assert!((half.floor_ms - 0.5).abs() < 1e-12 && (half.share - 0.5).abs() < 1e-12, "{half:?}");
        assert_eq!((ceiling(0, 1e10, 1.0), ceiling(1, 0.0, 1.0), ceiling(1, 1e10, 0.0)), (None, None, None));
    }

    fn costs() -> impl Strategy<Value = ArmCosts> {
        (0.0_f64..8.0, 0.0_f64..1.0, 0.0_f64..5.0, 0.0_f64..2.0).prop_map(
            |(drafted, share, draft_ms, other_ms)| ArmCosts {
                drafted,
                accepted: drafted * share,
                draft_ms,
                other_ms,
            },
        )
    }

    proptest! {
        #[test]
        fn at_break_even_the_speedup_is_one(w in 0.1_f64..20.0, c in 0.0_f64..2.0, arm in costs()) {
            let fit = line(w, c);
            let even = speedup(&fit, ("plain", &PLAIN), &arm, None).break_even_accepted;
            let there = speedup(&fit, ("plain", &PLAIN), &ArmCosts { accepted: even, ..arm }, None);
            prop_assert!((there.predicted - 1.0).abs() < 1e-9);
            let above = speedup(&fit, ("plain", &PLAIN), &ArmCosts { accepted: even + 0.1, ..arm }, None);
            prop_assert!(above.predicted > 1.0);
        }

        #[test]
        fn an_arm_is_as_fast_as_itself(w in 0.1_f64..20.0, c in 0.0_f64..2.0, arm in costs()) {
            prop_assert!((speedup(&line(w, c), ("itself", &arm), &arm, None).predicted - 1.0).abs() < 1e-12);
        }

        /// Rounds whose times obey the law are predicted exactly, whatever they drafted and accepted.
        #[test]
        fn lawful_rounds_are_predicted_to_the_nanosecond(
            (w, c, d) in (1_000_u64..9_000_000, 0_u64..900_000, 0_u64..900_000),
            rounds in proptest::collection::vec((1_u32..6, 0_u32..6), 1..50),
        ) {
            let (mut samples, mut plain, mut arm) = <(VerifySamples, RoundSums, RoundSums)>::default();
            let mut play = |sums: &mut RoundSums, drafted: u32, accepted: u32| {
                let [draft_ns, verify_ns] = [d, c].map(|each| u64::from(drafted) * each);
                let verify_ns = verify_ns + w;
                let total_ns = draft_ns + verify_ns + 7_000;
                sums.add(Round { drafted, accepted, draft_ns, verify_ns, sample_ns: 2_000, total_ns });
                samples.add(drafted, verify_ns);
                total_ns
            };
            let plain_ns = play(&mut plain, 0, 0) + play(&mut plain, 0, 0);
            let (mut ns, mut tokens) = (0, 0);
            for (drafted, accepted) in rounds {
                ns += play(&mut arm, drafted, accepted.min(drafted));
                tokens += u64::from(accepted.min(drafted)) + 1;
            }
            let measured = (plain_ns as f64 / 2.0) / (ns as f64 / tokens as f64);
            let (plain, arm) = (ArmCosts::of(&plain).unwrap(), ArmCosts::of(&arm).unwrap());
            let found = speedup(&samples.fit().unwrap(), ("plain", &plain), &arm, Some(measured));
            prop_assert!((found.predicted / measured - 1.0).abs() < 1e-9, "{} {measured}", found.predicted);
        }
    }
}
