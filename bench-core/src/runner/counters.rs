//! A request's speculation out of counters that only grow.
//!
//! Some stacks tell drafted and accepted with each response, and counts by position only as totals since start. The
//! difference of two readings around a request is that request's, provided nothing else ran between: so readings are
//! taken at concurrency 1 only, outside the timed part, and not after a request that may still be running.

use crate::stack::{SpecCounts, SpecSource};

/// What was counted between two readings. `None` if a counter went back (the stack was restarted).
#[must_use]
pub fn subtract_counts(before: &SpecCounts, after: &SpecCounts) -> Option<SpecCounts> {
    Some(SpecCounts {
        drafted: after.drafted.checked_sub(before.drafted)?,
        accepted: after.accepted.checked_sub(before.accepted)?,
        verify_steps: match (before.verify_steps, after.verify_steps) {
            (Some(before), Some(after)) => Some(after.checked_sub(before)?),
            (_, None) | (None, _) => None,
        },
        accepted_per_position: subtract_positions(
            before.accepted_per_position.as_deref(),
            after.accepted_per_position.as_deref(),
        )?,
        drafted_per_position: subtract_positions(
            before.drafted_per_position.as_deref(),
            after.drafted_per_position.as_deref(),
        )?,
        accepted_histogram: None,
        source: SpecSource::MetricsDelta,
    })
}

/// Position by position; a position that appears first in `after` began at 0. The outer `None` says that a counter
/// went back, the inner one that nobody counts.
#[expect(clippy::option_option, reason = "two different absences, told apart above")]
fn subtract_positions(before: Option<&[u64]>, after: Option<&[u64]>) -> Option<Option<Vec<u64>>> {
    let Some(after) = after else { return Some(None) };
    let before = before.unwrap_or_default();
    if before.len() > after.len() {
        return None;
    }
    let started = before.iter().copied().chain(std::iter::repeat(0));
    after
        .iter()
        .zip(started)
        .map(|(after, before)| after.checked_sub(before))
        .collect::<Option<_>>()
        .map(Some)
}

/// One request's counts from two sources that were checked against each other.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MergedCounts {
    /// What is believed.
    pub counts: Option<SpecCounts>,
    /// The other source, if it tells another number of drafted or accepted tokens.
    pub disputed: Option<SpecCounts>,
}

/// One request's counts from its response and from the difference of two readings.
///
/// The response wins. What it leaves out (verify steps, counts by position) is taken from the difference, but only if
/// both agree on drafted and accepted: otherwise the difference is of something else, and is handed back as a dispute.
#[must_use]
pub fn merge_counts(response: Option<SpecCounts>, delta: Option<SpecCounts>) -> MergedCounts {
    let (mut response, delta) = match (response, delta) {
        (Some(response), Some(delta)) => (response, delta),
        (response, delta) => return MergedCounts { counts: response.or(delta), disputed: None },
    };
    if (response.drafted, response.accepted) != (delta.drafted, delta.accepted) {
        return MergedCounts { counts: Some(response), disputed: Some(delta) };
    }
    response.verify_steps = response.verify_steps.or(delta.verify_steps);
    response.accepted_per_position = response.accepted_per_position.or(delta.accepted_per_position);
    response.drafted_per_position = response.drafted_per_position.or(delta.drafted_per_position);
    MergedCounts { counts: Some(response), disputed: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(drafted: u64, accepted: u64, per_position: Option<&[u64]>) -> SpecCounts {
        SpecCounts {
            drafted,
            accepted,
            verify_steps: None,
            accepted_per_position: per_position.map(<[u64]>::to_vec),
            drafted_per_position: None,
            accepted_histogram: None,
            source: SpecSource::ResponseBody,
        }
    }

    #[test]
    fn a_difference_is_taken_field_by_field() {
        let mut before = counts(10, 6, Some(&[4, 2]));
        let mut after = counts(16, 9, Some(&[6, 3, 0]));
        let delta = subtract_counts(&before, &after).unwrap();
        assert_eq!((delta.drafted, delta.accepted, delta.verify_steps), (6, 3, None));
        assert_eq!(delta.accepted_per_position, Some(vec![2, 1, 0]));
        assert_eq!(delta.source, SpecSource::MetricsDelta);
        (before.verify_steps, after.verify_steps) = (Some(5), Some(8));
        assert_eq!(subtract_counts(&before, &after).unwrap().verify_steps, Some(3));
    }

    #[test]
    fn counters_of_a_restarted_stack_are_not_used() {
        assert_eq!(subtract_counts(&counts(10, 6, None), &counts(3, 1, None)), None);
        assert_eq!(subtract_counts(&counts(1, 1, Some(&[3])), &counts(2, 2, Some(&[2]))), None);
        assert_eq!(subtract_counts(&counts(1, 1, Some(&[1, 0])), &counts(2, 2, Some(&[2]))), None);
    }

    #[test]
    fn positions_are_merged_only_where_both_agree() {
        let delta = || Some(counts(6, 3, Some(&[2, 1])));
        let merged = merge_counts(Some(counts(6, 3, None)), delta());
        assert_eq!(merged.counts.unwrap().accepted_per_position, Some(vec![2, 1]));
        assert_eq!(merged.disputed, None);
        let disagreeing = Some(counts(6, 4, None));
        let merged = merge_counts(disagreeing.clone(), delta());
        assert_eq!((merged.counts, merged.disputed), (disagreeing, delta()));
        assert_eq!(merge_counts(None, delta()).counts, delta());
        assert_eq!(merge_counts(None, None), MergedCounts::default());
    }
}
