//! NVIDIA Model-Optimizer's `speculation_profile.json`, schema 1.0 (Model-Optimizer pull request 2247): how good a
//! drafter is, independent of speed.
//!
//! Its model: every step has an acceptance length from 1 (nothing accepted) to K + 1, bonus token included; marginal
//! rate i is P(length >= i + 2), conditional rate i is P(length >= i + 2) / P(length >= i + 1). Steps that drafted
//! nothing are steps of length 1.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::stack::{SpecCounts, SpecSource};

/// The version that is written.
pub const PROFILE_SCHEMA: &str = "1.0";

/// The document, as far as a measurement fills it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpeculationProfile {
    /// [`PROFILE_SCHEMA`].
    pub schema_version: String,
    /// How drafts are made.
    pub method: Option<String>,
    /// Most drafts of a step, K.
    pub num_speculative_tokens: u32,
    /// P(draft i accepted, given that all before it are).
    pub conditional_accept_rates: Vec<f64>,
    /// P(drafts 0 to i all accepted).
    pub marginal_accept_rates: Vec<f64>,
    /// Mean length over steps.
    pub mean_accept_length: f64,
    /// Mean over requests of each request's mean length.
    pub mean_accept_length_per_request: Option<f64>,
    /// Steps by length, bonus token included: `{"1": 7, "4": 93}`.
    pub acceptance_length_histogram: BTreeMap<u32, u64>,
    /// What was measured on, in any words.
    #[serde(default)]
    pub measurement_conditions: BTreeMap<String, serde_json::Value>,
}

/// Why counts make no profile, or a profile no counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// A request does not tell how many steps accepted how much.
    #[error("request {index} of {requests} has no histogram of accepted drafts or no number of verify steps")]
    Unknown {
        /// From 0.
        index: usize,
        /// All.
        requests: usize,
    },
    /// No step was made.
    #[error("no verify step was counted")]
    Empty,
    /// The document contradicts itself.
    #[error("the profile contradicts itself: {0}")]
    Contradiction(String),
}

impl SpeculationProfile {
    /// The profile of requests that were made with up to `draft_max` drafts a step.
    ///
    /// # Errors
    ///
    /// Where a request's counts do not tell enough, and for no steps at all.
    pub fn of_requests(method: &str, draft_max: u32, requests: &[&SpecCounts]) -> Result<Self, ProfileError> {
        let mut histogram: BTreeMap<u32, u64> = BTreeMap::new();
        let mut lengths = Vec::new();
        for (index, counts) in requests.iter().enumerate() {
            let unknown = ProfileError::Unknown { index, requests: requests.len() };
            let (Some(accepted), Some(steps)) = (&counts.accepted_histogram, counts.verify_steps) else {
                return Err(unknown);
            };
            let drafting: u64 = accepted.iter().sum();
            let plain = steps.checked_sub(drafting).ok_or(unknown)?;
            *histogram.entry(1).or_default() += plain;
            for (length, &count) in (1..).zip(accepted).filter(|(_, count)| **count > 0) {
                *histogram.entry(length).or_default() += count;
            }
            lengths.extend(counts.acceptance_length());
        }
        histogram.retain(|_, steps| *steps > 0);
        let steps: u64 = histogram.values().sum();
        if steps == 0 {
            return Err(ProfileError::Empty);
        }
        let at_least = |length: u32| histogram.range(length..).map(|(_, steps)| steps).sum::<u64>() as f64;
        let positions = 0..draft_max;
        let rate = |of: f64, all: f64| if all > 0.0 { of / all } else { 0.0 };
        let emitted: u64 = histogram.iter().map(|(&length, &steps)| u64::from(length) * steps).sum();
        Ok(Self {
            schema_version: PROFILE_SCHEMA.to_owned(),
            method: Some(method.to_owned()),
            num_speculative_tokens: draft_max,
            conditional_accept_rates: positions
                .clone()
                .map(|i| rate(at_least(i + 2), at_least(i + 1)))
                .collect(),
            marginal_accept_rates: positions.map(|i| at_least(i + 2) / steps as f64).collect(),
            mean_accept_length: emitted as f64 / steps as f64,
            mean_accept_length_per_request: (!lengths.is_empty())
                .then(|| lengths.iter().sum::<f64>() / lengths.len() as f64),
            acceptance_length_histogram: histogram,
            measurement_conditions: BTreeMap::new(),
        })
    }

    /// The counts behind a profile. Drafted tokens are those of its model, K for every step; drafts by position are
    /// unknown.
    ///
    /// # Errors
    ///
    /// Where the histogram does not give the rates and the mean length that stand beside it (within 0.02, as its own
    /// consistency check has it), and for lengths outside 1 to K + 1.
    pub fn to_counts(&self) -> Result<SpecCounts, ProfileError> {
        let wrong = |words: String| Err(ProfileError::Contradiction(words));
        let longest = self.num_speculative_tokens.saturating_add(1);
        if let Some(length) =
            self.acceptance_length_histogram.keys().find(|&&length| length == 0 || length > longest)
        {
            return wrong(format!("a step of length {length} with {} drafts", self.num_speculative_tokens));
        }
        if longest > super::MOST_DRAFTS {
            return wrong(format!("{} drafts a step", self.num_speculative_tokens));
        }
        if let Some(rounds) =
            self.acceptance_length_histogram.values().find(|&&rounds| rounds > super::MOST_ROUNDS)
        {
            return wrong(format!("{rounds} steps of one length"));
        }
        let steps: u64 = self.acceptance_length_histogram.values().sum();
        if steps == 0 {
            return Err(ProfileError::Empty);
        }
        let rounds_of = |length: u32| self.acceptance_length_histogram.get(&length).copied().unwrap_or(0);
        let top = self.acceptance_length_histogram.keys().copied().max().unwrap_or(1);
        let histogram: Vec<u64> = (1..=top).map(rounds_of).collect();
        let accepted = (0..).zip(&histogram).map(|(accepted, rounds): (u64, _)| accepted * rounds).sum();
        let length = 1.0 + accepted as f64 / steps as f64;
        let by_rates = 1.0 + self.marginal_accept_rates.iter().sum::<f64>();
        for (what, told) in
            [("mean_accept_length", self.mean_accept_length), ("the sum of marginal rates", by_rates)]
        {
            if (told - length).abs() > 0.02 {
                return wrong(format!("{what} gives {told:.4}, the histogram {length:.4}"));
            }
        }
        Ok(SpecCounts {
            drafted: steps * u64::from(self.num_speculative_tokens),
            accepted,
            verify_steps: Some(steps),
            accepted_per_position: Some(super::positions_of_histogram(&histogram)),
            drafted_per_position: None,
            accepted_histogram: Some(histogram),
            source: SpecSource::ResponseBody,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(histogram: &[u64], verify_steps: Option<u64>) -> SpecCounts {
        let accepted = (0..).zip(histogram).map(|(accepted, rounds): (u64, _)| accepted * rounds).sum();
        SpecCounts {
            drafted: 3 * histogram.iter().sum::<u64>(),
            accepted,
            verify_steps,
            accepted_histogram: Some(histogram.to_vec()),
            ..super::super::tests::counts()
        }
    }

    #[test]
    fn steps_and_requests_have_means_of_their_own() {
        let (long, short) = (request(&[2, 2, 0, 4], Some(10)), request(&[2], Some(2)));
        let profile = SpeculationProfile::of_requests("mtp", 3, &[&long, &short]).unwrap();
        assert_eq!(profile.acceptance_length_histogram, BTreeMap::from([(1, 6), (2, 2), (4, 4)]));
        assert_eq!(profile.marginal_accept_rates, [6.0 / 12.0, 4.0 / 12.0, 4.0 / 12.0]);
        assert_eq!(profile.conditional_accept_rates, [6.0 / 12.0, 4.0 / 6.0, 1.0]);
        assert!((profile.mean_accept_length - 26.0 / 12.0).abs() < 1e-12);
        assert!(
            (profile.mean_accept_length_per_request.unwrap() - f64::midpoint(1.0 + 14.0 / 10.0, 1.0)).abs()
                < 1e-12
        );
        let identity = 1.0 + profile.marginal_accept_rates.iter().sum::<f64>();
        assert!((identity - profile.mean_accept_length).abs() < 1e-12);
    }

    #[test]
    fn a_profile_comes_back_as_counts() {
        let profile = SpeculationProfile::of_requests("mtp", 3, &[&request(&[2, 2, 0, 4], Some(8))]).unwrap();
        let json = serde_json::to_string(&profile).unwrap();
        let counts = serde_json::from_str::<SpeculationProfile>(&json).unwrap().to_counts().unwrap();
        assert_eq!(
            counts,
            SpecCounts { accepted_per_position: Some(vec![6, 4, 4]), ..request(&[2, 2, 0, 4], Some(8)) }
        );
    }

    #[test]
    fn what_is_not_known_makes_no_profile() {
        let unknown = request(&[1, 1], None);
        assert_eq!(
            SpeculationProfile::of_requests("mtp", 3, &[&unknown]),
            Err(ProfileError::Unknown { index: 0, requests: 1 })
        );
        assert_eq!(SpeculationProfile::of_requests("mtp", 3, &[]), Err(ProfileError::Empty));
    }

    #[test]
    fn a_profile_that_contradicts_itself_is_refused() {
        let fine = SpeculationProfile::of_requests("mtp", 3, &[&request(&[2, 2, 0, 4], Some(8))]).unwrap();
        let other_mean = SpeculationProfile { mean_accept_length: 3.0, ..fine.clone() };
        let too_long = SpeculationProfile { num_speculative_tokens: 2, ..fine.clone() };
        let conditional_as_marginal =
            SpeculationProfile { marginal_accept_rates: fine.conditional_accept_rates.clone(), ..fine };
        let huge = SpeculationProfile { num_speculative_tokens: u32::MAX, ..other_mean.clone() };
        let mut many = other_mean.clone();
        many.acceptance_length_histogram.insert(1, u64::MAX);
        for profile in [other_mean, too_long, conditional_as_marginal, huge, many] {
            assert!(matches!(profile.to_counts(), Err(ProfileError::Contradiction(_))), "{profile:?}");
        }
    }
}
