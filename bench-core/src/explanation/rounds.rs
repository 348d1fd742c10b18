//! Times of rounds as a row carries them: one array a quantity, so that a request of hundreds of rounds stays one short
//! line. Checked when read, because rows are files.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::RoundParts;

/// Key among a request's `stack_timings`.
pub const ROUND_TIMES: &str = "rounds";

/// The rounds of one request, in order; the prefill and the token it gives are no round. All arrays are as long as there
/// were rounds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundTimes {
    /// Tokens drafted.
    pub drafted: Vec<u32>,
    /// Drafts emitted.
    pub accepted: Vec<u32>,
    /// Time in the proposer, nanoseconds.
    pub draft_ns: Vec<u64>,
    /// Time of the target's pass, nanoseconds.
    pub verify_ns: Vec<u64>,
    /// Time of choosing tokens, nanoseconds.
    pub sample_ns: Vec<u64>,
    /// From the stamp of the tokens before to the stamp of this round's tokens, nanoseconds.
    pub total_ns: Vec<u64>,
}

/// One round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    /// Tokens drafted.
    pub drafted: u32,
    /// Drafts emitted, at most `drafted`.
    pub accepted: u32,
    /// Time in the proposer.
    pub draft_ns: u64,
    /// Time of the target's pass.
    pub verify_ns: u64,
    /// Time of choosing tokens.
    pub sample_ns: u64,
    /// All of it, host included.
    pub total_ns: u64,
}

/// Times of rounds that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRoundTimes {
    /// Not the arrays that were expected.
    #[error("times of rounds cannot be read: {0}")]
    Unreadable(String),
    /// Arrays of different lengths.
    #[error("times of rounds are of different lengths: {0:?}; expected one entry a round in each")]
    Uneven([usize; 6]),
    /// More accepted than drafted.
    #[error("round {round} accepted {accepted} of {drafted} drafts")]
    Accepted {
        /// From 0.
        round: usize,
        /// Drafts emitted.
        accepted: u32,
        /// Tokens drafted.
        drafted: u32,
    },
    /// Parts longer than the whole.
    #[error("the parts of round {round} take longer than the round's {total_ns} ns")]
    Parts {
        /// From 0.
        round: usize,
        /// The whole.
        total_ns: u64,
    },
}

impl RoundTimes {
    /// The rounds among a row's `stack_timings`; `None` where the stack does not tell.
    ///
    /// # Errors
    ///
    /// [`BadRoundTimes`] for what is there and cannot be.
    pub fn read(stack_timings: &Value) -> Result<Option<Self>, BadRoundTimes> {
        let Some(value) = stack_timings.get(ROUND_TIMES) else { return Ok(None) };
        let times = Self::deserialize(value).map_err(|error| BadRoundTimes::Unreadable(error.to_string()))?;
        let lengths = [
            times.drafted.len(),
            times.accepted.len(),
            times.draft_ns.len(),
            times.verify_ns.len(),
            times.sample_ns.len(),
            times.total_ns.len(),
        ];
        if lengths.iter().any(|&length| length != lengths[0]) {
            return Err(BadRoundTimes::Uneven(lengths));
        }
        times.iter().enumerate().try_for_each(|(index, round)| round.check(index))?;
        Ok(Some(times))
    }

    /// The rounds, in order.
    pub fn iter(&self) -> impl Iterator<Item = Round> {
        let counts = self.drafted.iter().zip(&self.accepted);
        let times = self.draft_ns.iter().zip(&self.verify_ns).zip(self.sample_ns.iter().zip(&self.total_ns));
        counts.zip(times).map(
            |((&drafted, &accepted), ((&draft_ns, &verify_ns), (&sample_ns, &total_ns)))| Round {
                drafted,
                accepted,
                draft_ns,
                verify_ns,
                sample_ns,
                total_ns,
            },
        )
    }
}

impl Extend<Round> for RoundTimes {
    fn extend<I: IntoIterator<Item = Round>>(&mut self, rounds: I) {
        for round in rounds {
            self.drafted.push(round.drafted);
            self.accepted.push(round.accepted);
            self.draft_ns.push(round.draft_ns);
            self.verify_ns.push(round.verify_ns);
            self.sample_ns.push(round.sample_ns);
            self.total_ns.push(round.total_ns);
        }
    }
}

impl Round {
    fn check(&self, round: usize) -> Result<(), BadRoundTimes> {
        let Self { drafted, accepted, total_ns, .. } = *self;
        if accepted > drafted {
            return Err(BadRoundTimes::Accepted { round, accepted, drafted });
        }
        let parts = self.draft_ns.checked_add(self.verify_ns).and_then(|sum| sum.checked_add(self.sample_ns));
        match parts {
            Some(parts) if parts <= total_ns => Ok(()),
            _ => Err(BadRoundTimes::Parts { round, total_ns }),
        }
    }
}

/// Sums over the rounds of an arm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoundSums {
    rounds: u64,
    drafted: u64,
    accepted: u64,
    /// 128 bits hold the nanoseconds of any number of rounds.
    draft_ns: u128,
    verify_ns: u128,
    sample_ns: u128,
    total_ns: u128,
}

impl RoundSums {
    /// Adds a round.
    pub fn add(&mut self, round: Round) {
        self.rounds += 1;
        self.drafted += u64::from(round.drafted);
        self.accepted += u64::from(round.accepted);
        self.draft_ns += u128::from(round.draft_ns);
        self.verify_ns += u128::from(round.verify_ns);
        self.sample_ns += u128::from(round.sample_ns);
        self.total_ns += u128::from(round.total_ns);
    }

    /// Rounds added.
    #[must_use]
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    /// n: mean tokens drafted in a round; `None` of no rounds, as all means here.
    #[must_use]
    pub fn drafted_per_round(&self) -> Option<f64> {
        self.mean(self.drafted as f64)
    }

    /// a: mean accepted drafts of a round.
    #[must_use]
    pub fn accepted_per_round(&self) -> Option<f64> {
        self.mean(self.accepted as f64)
    }

    /// Mean times.
    #[must_use]
    pub fn parts(&self) -> Option<RoundParts> {
        let part = |ns: u128| self.mean(ns as f64 / 1e6);
        let known = self.draft_ns + self.verify_ns + self.sample_ns;
        Some(RoundParts {
            draft: part(self.draft_ns)?,
            verify: part(self.verify_ns)?,
            sample: part(self.sample_ns)?,
            host: part(self.total_ns.saturating_sub(known))?,
            total: part(self.total_ns)?,
        })
    }

    /// D: milliseconds of drafting a drafted token; `None` if nothing was drafted.
    #[must_use]
    pub fn draft_ms_per_token(&self) -> Option<f64> {
        (self.drafted > 0).then(|| self.draft_ns as f64 / 1e6 / self.drafted as f64)
    }

    fn mean(&self, sum: f64) -> Option<f64> {
        (self.rounds > 0).then(|| sum / self.rounds as f64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn of(drafted: u32, accepted: u32, times: [u64; 4]) -> Round {
        let [draft_ns, verify_ns, sample_ns, total_ns] = times;
        Round { drafted, accepted, draft_ns, verify_ns, sample_ns, total_ns }
    }

    #[test]
    fn parts_add_up_to_the_round() {
        let mut sums = RoundSums::default();
        sums.add(of(2, 1, [2_000_000, 5_000_000, 1_000_000, 10_000_000]));
        sums.add(of(0, 0, [0, 3_000_000, 1_000_000, 4_000_000]));
        assert_eq!((sums.rounds(), sums.drafted_per_round()), (2, Some(1.0)));
        assert_eq!((sums.accepted_per_round(), sums.draft_ms_per_token()), (Some(0.5), Some(1.0)));
        let expected = RoundParts { draft: 1.0, verify: 4.0, sample: 1.0, host: 1.0, total: 7.0 };
        assert_eq!(sums.parts(), Some(expected));
    }

    #[test]
    fn no_rounds_have_no_means() {
        let none = RoundSums::default();
        assert_eq!((none.parts(), none.drafted_per_round(), none.draft_ms_per_token()), (None, None, None));
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_round() {
        let read = |value: Value| RoundTimes::read(&json!({ ROUND_TIMES: value })).unwrap_err().to_string();
        let whole = |drafted: Value, accepted: Value, total: Value| {
            json!({"drafted": drafted, "accepted": accepted, "draft_ns": [0, 1], "verify_ns": [2, 3],
                   "sample_ns": [0, 1], "total_ns": total})
        };
        assert!(read(json!({"drafted": [1]})).contains("accepted"));
        assert!(read(whole(json!([0]), json!([0, 0]), json!([9, 9]))).contains("[1, 2, 2, 2, 2, 2]"));
        assert!(read(whole(json!([0, -1]), json!([0, 0]), json!([9, 9]))).contains("-1"));
        let accepted = read(whole(json!([0, 1]), json!([0, 2]), json!([9, 9])));
        assert_eq!(accepted, "round 1 accepted 2 of 1 drafts");
        assert!(read(whole(json!([0, 1]), json!([0, 1]), json!([9, 4]))).contains("round 1 take longer"));
        let endless = json!({"drafted": [0], "accepted": [0], "draft_ns": [u64::MAX], "verify_ns": [u64::MAX],
                             "sample_ns": [0], "total_ns": [u64::MAX]});
        assert!(read(endless).contains("round 0 take longer"));
    }

    #[test]
    fn a_stack_that_does_not_tell_has_none() {
        assert_eq!(RoundTimes::read(&json!({"predicted_ms": 3.0})), Ok(None));
    }

    fn rounds() -> impl Strategy<Value = Vec<Round>> {
        let round = (0_u32..9, 0_u32..9, proptest::array::uniform4(0_u64..1 << 40));
        let round = round.prop_map(|(drafted, accepted, [draft, verify, sample, host])| {
            of(drafted, accepted.min(drafted), [draft, verify, sample, draft + verify + sample + host])
        });
        proptest::collection::vec(round, 0..40)
    }

    proptest! {
        #[test]
        fn rounds_survive_the_way_through_a_row(rounds in rounds()) {
            let mut times = RoundTimes::default();
            times.extend(rounds.iter().copied());
            let read = RoundTimes::read(&json!({ ROUND_TIMES: times })).unwrap().unwrap();
            prop_assert_eq!(read.iter().collect::<Vec<_>>(), rounds);
        }

        #[test]
        fn the_parts_of_any_rounds_add_up(rounds in rounds()) {
            let mut sums = RoundSums::default();
            rounds.iter().for_each(|&round| sums.add(round));
            if let Some(RoundParts { draft, verify, sample, host, total }) = sums.parts() {
                prop_assert!((draft + verify + sample + host - total).abs() <= 1e-9 * total);
            }
        }
    }
}
