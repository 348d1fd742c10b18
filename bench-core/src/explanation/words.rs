//! An explanation as one sentence, the same on every form of the report.

use super::{Explanation, RoundParts, Speedup, VerifyFit};

impl Explanation {
    /// What the numbers say, without the arm's name and without a full stop.
    #[must_use]
    pub fn sentence(&self) -> String {
        match (&self.fit, &self.speedup) {
            (Some(fit), Some(speedup)) => format!("{}; {}", self.costs(fit), self.prediction(speedup)),
            (None, _) | (_, None) => self.parts(),
        }
    }

    fn parts(&self) -> String {
        let RoundParts { draft, verify, total, .. } = self.round_ms;
        let share = |part: f64| if total > 0.0 { part / total * 100.0 } else { 0.0 };
        let drafting = if self.drafted_per_round > 0.0 {
            format!(" and {:.0} % drafting", share(draft))
        } else {
            String::new()
        };
        let ceiling = self.ceiling.map_or_else(String::new, |ceiling| {
            let percent = ceiling.share * 100.0;
            format!("; its target passes run at {percent:.0} % of what reading the weights alone would allow")
        });
        format!(
            "a round takes {total:.3} ms, {:.0} % of it the target's pass{drafting}{ceiling}",
            share(verify)
        )
    }

    fn costs(&self, fit: &VerifyFit) -> String {
        let drafting = self.draft_ms_per_token.map_or_else(
            || "nothing was drafted".to_owned(),
            |each| format!("drafting takes {each:.3} ms a token"),
        );
        format!("a pass over n drafts takes {:.3} + n x {:.3} ms, {drafting}", fit.w_ms, fit.c_ms)
    }

    fn prediction(&self, speedup: &Speedup) -> String {
        let Self { accepted_per_round: accepted, drafted_per_round: drafted, .. } = self;
        let measured = speedup.measured.map_or_else(
            || "the measured one is not comparable".to_owned(),
            |ratio| format!("{ratio:.3} was measured"),
        );
        let even = speedup.break_even_accepted;
        let pays = if even > *drafted {
            format!("by these costs it cannot pay: that takes {even:.2} accepted drafts a round")
        } else {
            format!("it pays above {even:.2}")
        };
        format!(
            "with {accepted:.2} of {drafted:.2} drafts accepted a round this predicts {:.3} times the speed of {}, and \
             {measured}; {pays}",
            speedup.predicted, speedup.baseline
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explanation::Ceiling;

    fn explanation() -> Explanation {
        let fit = VerifyFit {
            w_ms: 4.0,
            w_se_ms: 0.1,
            c_ms: 0.5,
            c_se_ms: 0.1,
            residual_sd_ms: 0.2,
            rounds: 90,
            points: Vec::new(),
        };
        Explanation {
            rounds: 40,
            drafted_per_round: 3.0,
            accepted_per_round: 1.5,
            round_ms: RoundParts { draft: 1.5, verify: 5.5, sample: 0.25, host: 0.25, total: 7.5 },
            draft_ms_per_token: Some(0.5),
            fit: Some(fit),
            no_fit: None,
            by_kv_depth: Vec::new(),
            speedup: Some(Speedup {
                baseline: "native/none".to_owned(),
                predicted: 1.5,
                measured: Some(1.45),
                break_even_accepted: 0.667,
            }),
            ceiling: None,
        }
    }

    #[test]
    fn a_speedup_is_explained_by_its_costs() {
        let expected = "a pass over n drafts takes 4.000 + n x 0.500 ms, drafting takes 0.500 ms a token; with 1.50 of \
                        3.00 drafts accepted a round this predicts 1.500 times the speed of native/none, and 1.450 was \
                        measured; it pays above 0.67";
        assert_eq!(explanation().sentence(), expected);
    }

    #[test]
    fn what_cannot_pay_is_said_to() {
        let mut hopeless = explanation();
        hopeless.speedup =
            hopeless.speedup.map(|speedup| Speedup { break_even_accepted: 3.4, measured: None, ..speedup });
        let words = hopeless.sentence();
        assert!(
            words.ends_with(
                "not comparable; by these costs it cannot pay: that takes 3.40 accepted drafts a round"
            ),
            "{words}"
        );
    }

    #[test]
    fn a_baseline_tells_its_parts_and_its_ceiling() {
        let mut plain = explanation();
        (plain.speedup, plain.drafted_per_round) = (None, 0.0);
        plain.ceiling =
            Some(Ceiling { step_bytes: 1, bandwidth_bytes_per_s: 1.0, floor_ms: 1.0, share: 0.414 });
        let expected = "a round takes 7.500 ms, 73 % of it the target's pass; its target passes run at 41 % of what \
                        reading the weights alone would allow";
        assert_eq!(plain.sentence(), expected);
    }
}
