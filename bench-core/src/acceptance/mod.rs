//! One record of acceptance over all stacks: what its counts imply, and the formats others keep the same in.
//!
//! Everything here is derived from the counts of [`SpecCounts`]; what is unknown stays unknown. Two conventions of a
//! rate by position exist and are both given, by name: *marginal* (of all rounds that drafted, how many accepted this
//! far) and *conditional* (of the rounds that had everything before accepted, how many accepted this too). Acceptance
//! lengths include the target's own token unless a name says otherwise.

mod profile;
mod vllm;

pub use self::profile::{PROFILE_SCHEMA, ProfileError, SpeculationProfile};
pub use self::vllm::{VllmSpecDecoding, VllmSpecError};

use crate::stack::SpecCounts;

impl SpecCounts {
    /// Rounds that drafted at least one token; `None` where neither positions nor a histogram tell.
    #[must_use]
    pub fn rounds_with_draft(&self) -> Option<u64> {
        let by_position = self.drafted_per_position.as_ref().and_then(|drafted| drafted.first().copied());
        by_position.or_else(|| self.accepted_histogram.as_deref().map(sum))
    }

    /// Accepted drafts by position, from the counts themselves or from the histogram, which implies them.
    #[must_use]
    pub fn accepted_by_position(&self) -> Option<Vec<u64>> {
        self.accepted_per_position
            .clone()
            .or_else(|| self.accepted_histogram.as_deref().map(positions_of_histogram))
    }

    /// Of the rounds that drafted, the share in which the drafts up to this position were all accepted.
    #[must_use]
    pub fn marginal_rates(&self) -> Option<Vec<f64>> {
        let rounds = self.rounds_with_draft().filter(|&rounds| rounds > 0)?;
        Some(self.accepted_by_position()?.iter().map(|&accepted| accepted as f64 / rounds as f64).collect())
    }

    /// Of the rounds in which everything before this position was accepted, the share in which it was accepted, too.
    /// Where the drafts by position are known, rounds that drafted less far do not count against a position. `None` at
    /// a position that no round reached.
    #[must_use]
    pub fn conditional_rates(&self) -> Option<Vec<Option<f64>>> {
        let accepted = self.accepted_by_position()?;
        let reached: Vec<u64> = match &self.drafted_per_position {
            Some(drafted) => drafted.clone(),
            None => std::iter::once(self.rounds_with_draft()?).chain(accepted.iter().copied()).collect(),
        };
        let rate =
            |(&accepted, reached): (&u64, u64)| (reached > 0).then(|| accepted as f64 / reached as f64);
        Some(accepted.iter().zip(reached).map(rate).collect())
    }

    /// What the counts contradict each other in; empty for counts that fit.
    #[must_use]
    pub fn contradictions(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut check = |holds: bool, words: String| {
            if !holds {
                found.push(words);
            }
        };
        let Self { drafted, accepted, .. } = *self;
        check(accepted <= drafted, format!("{accepted} accepted of {drafted} drafted"));
        if let Some(positions) = &self.accepted_per_position {
            let sum = sum(positions);
            check(sum == accepted, format!("positions accept {sum} in all, the total says {accepted}"));
            check(
                positions.is_sorted_by(|a, b| a >= b),
                "a later position accepts more than an earlier".to_owned(),
            );
        }
        if let Some(positions) = &self.drafted_per_position {
            let sum = sum(positions);
            check(sum == drafted, format!("positions draft {sum} in all, the total says {drafted}"));
        }
        if let Some(histogram) = &self.accepted_histogram {
            let weighted: Vec<_> = (0..)
                .zip(histogram)
                .map(|(length, rounds): (u64, _)| length.saturating_mul(*rounds))
                .collect();
            let sum = sum(&weighted);
            check(sum == accepted, format!("the histogram holds {sum} accepted, the total says {accepted}"));
        }
        if let (Some(steps), Some(rounds)) = (self.verify_steps, self.rounds_with_draft()) {
            check(rounds <= steps, format!("{rounds} rounds drafted in {steps} verify steps"));
        }
        found
    }
}

/// Most drafts of a round that are believed of foreign counts: more would be a huge allocation for a wrong number.
const MOST_DRAFTS: u32 = 4096;
/// Most rounds with one number of accepted drafts that are believed: products and sums of as many fit.
const MOST_ROUNDS: u64 = 1 << 32;

/// The sum, or the largest number where it would be more: it then contradicts every total.
fn sum(counts: impl AsRef<[u64]>) -> u64 {
    counts.as_ref().iter().fold(0, |sum: u64, count| sum.saturating_add(*count))
}

/// `[i]`: rounds that accepted more than i drafts.
fn positions_of_histogram(histogram: &[u64]) -> Vec<u64> {
    let mut positions: Vec<u64> = Vec::with_capacity(histogram.len());
    for rounds in histogram.iter().skip(1).rev() {
        positions.push(positions.last().copied().unwrap_or(0).saturating_add(*rounds));
    }
    positions.reverse();
    positions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::SpecSource;

    /// vLLM's example of a request with 4 drafts a round: 11 rounds, 37 drafted, 37 accepted.
    pub(super) fn counts() -> SpecCounts {
        SpecCounts {
            drafted: 37,
            accepted: 37,
            verify_steps: None,
            accepted_per_position: None,
            drafted_per_position: None,
            accepted_histogram: Some(vec![0, 2, 0, 1, 8]),
            source: SpecSource::ResponseBody,
        }
    }

    #[test]
    fn a_histogram_implies_positions_and_rates() {
        let counts = counts();
        assert_eq!(counts.rounds_with_draft(), Some(11));
        assert_eq!(counts.accepted_by_position(), Some(vec![11, 9, 9, 8]));
        let marginal = counts.marginal_rates().unwrap();
        assert_eq!(marginal, [1.0, 9.0 / 11.0, 9.0 / 11.0, 8.0 / 11.0]);
        // The identity of a chain: mean length = 1 + the sum of marginal rates.
        assert!((1.0 + marginal.iter().sum::<f64>() - (1.0 + 37.0 / 11.0)).abs() < 1e-12);
        assert_eq!(
            counts.conditional_rates().unwrap(),
            [Some(1.0), Some(9.0 / 11.0), Some(1.0), Some(8.0 / 9.0)]
        );
        assert_eq!(counts.contradictions(), Vec::<String>::new());
    }

    #[test]
    fn rounds_that_drafted_less_do_not_count_against_a_position() {
        let counts = SpecCounts {
            drafted: 6,
            accepted: 4,
            accepted_per_position: Some(vec![3, 1, 0]),
            drafted_per_position: Some(vec![4, 2, 0]),
            accepted_histogram: None,
            ..counts()
        };
        assert_eq!(counts.conditional_rates().unwrap(), [Some(0.75), Some(0.5), None]);
        assert_eq!(counts.marginal_rates().unwrap(), [0.75, 0.25, 0.0]);
    }

    #[test]
    fn unknown_stays_unknown() {
        let counts = SpecCounts { accepted_histogram: None, ..counts() };
        assert_eq!((counts.rounds_with_draft(), counts.marginal_rates()), (None, None));
        assert_eq!((counts.conditional_rates(), counts.accepted_by_position()), (None, None));
        assert_eq!(counts.contradictions(), Vec::<String>::new());
    }

    #[test]
    fn counts_that_do_not_fit_are_told() {
        let wrong = SpecCounts {
            drafted: 5,
            accepted: 6,
            verify_steps: Some(1),
            accepted_per_position: Some(vec![1, 2]),
            drafted_per_position: Some(vec![2, 2]),
            accepted_histogram: Some(vec![0, 1]),
            ..counts()
        };
        assert_eq!(wrong.contradictions().len(), 6, "{:?}", wrong.contradictions());
    }
}
