//! vLLM's `metrics.speculative_decoding` of a response (vLLM 0.32, `--per-request-spec-decode-metrics`).
//!
//! It counts rounds that drafted; steps without a draft are in no field. `detailed` adds what each round drafted and
//! accepted, which gives the drafts by position.

use serde::{Deserialize, Serialize};

use super::{MOST_DRAFTS, MOST_ROUNDS};
use crate::stack::{SpecCounts, SpecSource};

/// The object as vLLM writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VllmSpecDecoding {
    /// 1 + accepted / rounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_acceptance_length: Option<f64>,
    /// Accepted / drafted, a fraction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft_acceptance_rate: Option<f64>,
    /// `[j]`: rounds that accepted exactly j.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acceptance_histogram: Option<Vec<u64>>,
    /// Rounds that drafted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_spec_steps: Option<u64>,
    /// Accepted drafts.
    pub num_accepted_draft_tokens: u64,
    /// Drafted tokens.
    pub num_draft_tokens: u64,
    /// Most drafts of a round, as configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_spec_tokens: Option<u64>,
    /// Accepted drafts of each round (`detailed`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_step_accepted: Option<Vec<u64>>,
    /// Drafts of each round (`detailed`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_step_drafted: Option<Vec<u64>>,
}

/// Fields that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("speculative_decoding contradicts itself: {0}")]
pub struct VllmSpecError(String);

impl VllmSpecDecoding {
    /// The counts of a request.
    ///
    /// # Errors
    ///
    /// Where fields contradict each other, and for counts that no request has.
    pub fn to_counts(&self) -> Result<SpecCounts, VllmSpecError> {
        let histogram = self.acceptance_histogram.as_deref().unwrap_or_default();
        if histogram.len() as u64 > u64::from(MOST_DRAFTS)
            || histogram.iter().any(|&rounds| rounds > MOST_ROUNDS)
        {
            return Err(VllmSpecError(format!(
                "a histogram of {} lengths with up to {} rounds",
                histogram.len(),
                histogram.iter().max().unwrap_or(&0)
            )));
        }
        let drafted_per_position = self.per_step_drafted.as_deref().map(reached).transpose()?;
        let accepted_per_position = match (&self.acceptance_histogram, &self.per_step_accepted) {
            (Some(histogram), _) => Some(super::positions_of_histogram(histogram)),
            (None, Some(accepted)) => Some(reached(accepted)?),
            (None, None) => None,
        };
        let counts = SpecCounts {
            drafted: self.num_draft_tokens,
            accepted: self.num_accepted_draft_tokens,
            verify_steps: None,
            accepted_per_position,
            drafted_per_position,
            accepted_histogram: self.acceptance_histogram.clone(),
            source: SpecSource::ResponseBody,
        };
        match (counts.contradictions().into_iter().next(), self.num_spec_steps, counts.rounds_with_draft()) {
            (Some(words), ..) => Err(VllmSpecError(words)),
            (None, Some(told), Some(counted)) if told != counted => {
                Err(VllmSpecError(format!("{told} rounds told, {counted} counted")))
            }
            (None, ..) => Ok(counts),
        }
    }

    /// The object of a request's counts; what the counts do not tell is left out.
    #[must_use]
    pub fn of_counts(counts: &SpecCounts, draft_max: Option<u32>) -> Self {
        let rounds = counts.rounds_with_draft();
        let length = |rounds: u64| 1.0 + counts.accepted as f64 / rounds as f64;
        Self {
            mean_acceptance_length: rounds.filter(|&rounds| rounds > 0).map(length),
            draft_acceptance_rate: counts.acceptance_rate(),
            acceptance_histogram: counts.accepted_histogram.clone(),
            num_spec_steps: rounds,
            num_accepted_draft_tokens: counts.accepted,
            num_draft_tokens: counts.drafted,
            num_spec_tokens: draft_max.map(u64::from),
            per_step_accepted: None,
            per_step_drafted: None,
        }
    }
}

/// `[i]`: rounds with more than i.
fn reached(rounds: &[u64]) -> Result<Vec<u64>, VllmSpecError> {
    let longest = rounds.iter().copied().max().unwrap_or(0);
    if longest > u64::from(MOST_DRAFTS) {
        return Err(VllmSpecError(format!("a round of {longest} drafts")));
    }
    Ok((0..longest).map(|position| rounds.iter().filter(|&&count| count > position).count() as u64).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As vLLM 0.32.0 sent it.
    const SUMMARY: &str = r#"{"mean_acceptance_length":4.363636363636363,"draft_acceptance_rate":1.0,
        "acceptance_histogram":[0,2,0,1,8],"num_spec_steps":11,"num_accepted_draft_tokens":37,"num_draft_tokens":37,
        "num_spec_tokens":4}"#;

    #[test]
    fn a_real_answer_becomes_counts_and_comes_back() {
        let told: VllmSpecDecoding = serde_json::from_str(SUMMARY).unwrap();
        let counts = told.to_counts().unwrap();
        assert_eq!(
            counts,
            SpecCounts { accepted_per_position: Some(vec![11, 9, 9, 8]), ..super::super::tests::counts() }
        );
        let back = VllmSpecDecoding::of_counts(&counts, Some(4));
        assert_eq!(back, told);
    }

    #[test]
    fn counts_that_no_request_has_are_refused() {
        let told = |accepted: u64, histogram: Vec<u64>| VllmSpecDecoding {
            num_accepted_draft_tokens: accepted,
            num_draft_tokens: accepted,
            acceptance_histogram: Some(histogram),
            ..serde_json::from_str(r#"{"num_accepted_draft_tokens":0,"num_draft_tokens":0}"#).unwrap()
        };
        assert!(told(1, vec![0, 1]).to_counts().is_ok());
        let overflowing = told(u64::MAX, vec![u64::MAX, u64::MAX]).to_counts().unwrap_err();
        assert!(overflowing.to_string().contains("2 lengths with up to 18446744073709551615 rounds"));
        assert!(told(0, vec![0; 1 << 20]).to_counts().is_err(), "would take a square of that many steps");
    }

    #[test]
    fn details_give_drafts_by_position() {
        let told = r#"{"num_accepted_draft_tokens":3,"num_draft_tokens":6,"per_step_accepted":[2,0,1],
            "per_step_drafted":[3,1,2]}"#;
        let counts = serde_json::from_str::<VllmSpecDecoding>(told).unwrap().to_counts().unwrap();
        assert_eq!(counts.accepted_per_position, Some(vec![2, 1]));
        assert_eq!(counts.drafted_per_position, Some(vec![3, 2, 1]));
        assert_eq!(counts.rounds_with_draft(), Some(3));
    }

    #[test]
    fn contradictions_are_refused() {
        for told in [
            r#"{"num_accepted_draft_tokens":4,"num_draft_tokens":3}"#,
            r#"{"num_accepted_draft_tokens":1,"num_draft_tokens":3,"acceptance_histogram":[1,2]}"#,
            r#"{"num_accepted_draft_tokens":1,"num_draft_tokens":3,"acceptance_histogram":[1,1],"num_spec_steps":3}"#,
            r#"{"num_accepted_draft_tokens":1,"num_draft_tokens":9999999999,"per_step_drafted":[9999999999]}"#,
        ] {
            let read: VllmSpecDecoding = serde_json::from_str(told).unwrap();
            assert!(read.to_counts().is_err(), "{told}");
        }
    }
}
