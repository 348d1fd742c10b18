//! The rule planted in a tiny pair, and what follows from it.
//!
//! The target walks cycles over the ordinary tokens, one long one if nothing else is asked for; the assistant knows the successor of a chosen share of
//! them. So greedy output and the exact counts of speculation are known before anything is run.

use serde::{Deserialize, Serialize};

/// Who follows whom, and whose successor the assistant knows. Indexed by token id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlantedRule {
    /// The target's next token; `None` off the cycle (control and byte tokens).
    pub successor: Vec<Option<u32>>,
    /// Whether the assistant predicts it.
    pub known: Vec<bool>,
}

/// Counts of a greedy generation with MTP drafts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Prediction {
    /// Tokens proposed.
    pub drafted: u64,
    /// Proposed tokens the target kept.
    pub accepted: u64,
    /// Target passes after prefill, those without a draft included.
    pub verify_steps: u64,
    /// Rounds whose draft at this position was accepted.
    pub accepted_per_position: Vec<u64>,
    /// Rounds that drafted at this position.
    pub drafted_per_position: Vec<u64>,
}

impl PlantedRule {
    /// The target's greedy output after `token`: `n` tokens, fewer if the walk leaves the cycle (it cannot, once on).
    #[must_use]
    pub fn walk(&self, token: u32, n: usize) -> Vec<u32> {
        std::iter::successors(self.next(token), |&token| self.next(token)).take(n).collect()
    }

    fn next(&self, token: u32) -> Option<u32> {
        *self.successor.get(token as usize)?
    }

    fn knows(&self, token: u32) -> bool {
        self.known.get(token as usize).copied().unwrap_or(false)
    }

    /// Counts of a greedy generation of `max_tokens` whose first token is `first`.
    ///
    /// A round that begins after token t drafts `min(draft_max, remaining - 1)` tokens, since it emits one more than
    /// are accepted; accepted are as many as the assistant knows in a row from t on.
    #[must_use]
    pub fn predict(&self, first: u32, max_tokens: usize, draft_max: usize) -> Prediction {
        let mut counts = Prediction {
            accepted_per_position: vec![0; draft_max],
            drafted_per_position: vec![0; draft_max],
            ..Prediction::default()
        };
        let output: Vec<u32> =
            std::iter::once(first).chain(self.walk(first, max_tokens.saturating_sub(1))).collect();
        let mut last = 0;
        while last + 1 < max_tokens {
            let drafted = draft_max.min(max_tokens - last - 2);
            let accepted =
                output[last..].iter().take(drafted).take_while(|&&token| self.knows(token)).count();
            counts.verify_steps += 1;
            counts.drafted += drafted as u64;
            counts.accepted += accepted as u64;
            counts.drafted_per_position[..drafted].iter_mut().for_each(|n| *n += 1);
            counts.accepted_per_position[..accepted].iter_mut().for_each(|n| *n += 1);
            last += accepted + 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 0 -> 1 -> 2 -> 3 -> 0, the assistant knows all but what follows 1; 4 is off the cycle.
    fn rule() -> PlantedRule {
        PlantedRule {
            successor: vec![Some(1), Some(2), Some(3), Some(0), None],
            known: vec![true, false, true, true, false],
        }
    }

    #[test]
    fn the_walk_follows_the_cycle() {
        assert_eq!(rule().walk(2, 5), [3, 0, 1, 2, 3]);
        assert!(rule().walk(4, 5).is_empty());
        assert!(rule().walk(99, 5).is_empty());
    }

    #[test]
    fn counts_by_hand() {
        // Output 0 1 2 3 0 1. After 0: drafts 3, knows 0 but not 1: accepts 1, emits 1 2. After 2: 3 remain, drafts 2,
        // knows 2 and 3: accepts 2, emits 3 0 1. Done.
        let expected = Prediction {
            drafted: 5,
            accepted: 3,
            verify_steps: 2,
            accepted_per_position: vec![2, 1, 0],
            drafted_per_position: vec![2, 2, 1],
        };
        assert_eq!(rule().predict(0, 6, 3), expected);
    }

    #[test]
    fn without_drafts_every_token_is_a_step() {
        let counts = rule().predict(0, 6, 0);
        assert_eq!((counts.drafted, counts.verify_steps), (0, 5));
        assert_eq!(rule().predict(0, 1, 3).verify_steps, 0);
    }
}
