//! Every off-by-one between the stacks' words for "how many tokens are drafted" and "how many were accepted".
//!
//! Here and nowhere else. Our own words are `draft_max` n, the most drafted tokens of a round, and the acceptance
//! length, the mean tokens of a verify step with the bonus token. Elsewhere:
//!
//! | stack | word | is | source |
//! |---|---|---|---|
//! | llama.cpp since b10018 | `--spec-draft-n-max` | n | common/arg.cpp |
//! | its fork before b10018 | `--draft-block-size` B | n + 1, "drafts B-1 tokens per round" | its common/arg.cpp, MTP.md |
//! | vLLM | `num_speculative_tokens` | n | config/speculative.py |
//! | SGLang | `--speculative-num-steps` | n | its server arguments |
//! | SGLang | `--speculative-num-draft-tokens` | n + 1: the verified rows, the last token included | the same |
//! | mlx-vlm | `--draft-block-size` | n + 1 | mlx-vlm#1112 |
//! | mistral.rs | `--mtp-n-predict` | n | mistral.rs#2159 |
//! | vLLM, SGLang | `synthetic_acceptance_length`, `SGLANG_SIMULATE_ACC_LEN` | acceptance length, bonus included | vllm#40662 |
//! | TensorRT-LLM | `TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS` | acceptance length - 1 | its speculative decoding docs |
//! | vLLM, NVIDIA's profile | acceptance by position | marginal: all positions up to this one | vllm#41035 |
//!
//! It converts numbers; flags are the business of whoever writes command lines.

use std::num::NonZeroU32;

/// The block size B of a draft length: the drafts and the token they follow.
#[must_use]
pub fn block_size(draft_max: NonZeroU32) -> NonZeroU32 {
    draft_max.saturating_add(1)
}

/// The draft length of a block size; `None` below 2, as a block of one drafts nothing.
#[must_use]
pub fn from_block_size(block_size: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(block_size.checked_sub(1)?)
}

/// SGLang's two words for a chain of drafts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SglangDrafts {
    /// `--speculative-num-steps`.
    pub num_steps: NonZeroU32,
    /// `--speculative-num-draft-tokens`.
    pub num_draft_tokens: NonZeroU32,
}

/// A draft length as SGLang words it.
#[must_use]
pub fn sglang(draft_max: NonZeroU32) -> SglangDrafts {
    SglangDrafts { num_steps: draft_max, num_draft_tokens: block_size(draft_max) }
}

/// Mean accepted drafts of a verify step, of an acceptance length that counts the bonus token (TensorRT-LLM's forced
/// number).
#[must_use]
pub fn accepted_without_bonus(acceptance_length: f64) -> f64 {
    acceptance_length - 1.0
}

/// Acceptance length of the mean accepted drafts of a verify step.
#[must_use]
pub fn acceptance_length(mean_accepted: f64) -> f64 {
    mean_accepted + 1.0
}

/// From marginal rates (position i and all before it accepted) to conditional ones (position i accepted, given those
/// before it). `None` where the positions before are never accepted: there is nothing to divide by.
#[must_use]
pub fn conditional_rates(marginal: &[f64]) -> Vec<Option<f64>> {
    let before = std::iter::once(1.0).chain(marginal.iter().copied());
    marginal.iter().zip(before).map(|(rate, before)| (before > 0.0).then(|| rate / before)).collect()
}

/// From conditional rates to marginal ones.
#[must_use]
pub fn marginal_rates(conditional: &[f64]) -> Vec<f64> {
    let running = |all_before: &mut f64, rate: &f64| {
        *all_before *= rate;
        Some(*all_before)
    };
    conditional.iter().scan(1.0, running).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::preset::SyntheticRates;

    fn n(value: u32) -> NonZeroU32 {
        NonZeroU32::new(value).unwrap()
    }

    #[test]
    fn the_first_users_block_of_two_drafts_one_token() {
        assert_eq!(from_block_size(2), Some(n(1)));
        assert_eq!(block_size(n(1)), n(2));
        // The presets of the fork: throughput, lift and balanced, quality.
        assert_eq!([2, 3, 4].map(|b| from_block_size(b).unwrap().get()), [1, 2, 3]);
    }

    #[test]
    fn a_block_without_a_draft_is_none() {
        assert_eq!(from_block_size(0), None);
        assert_eq!(from_block_size(1), None);
        assert_eq!(from_block_size(u32::MAX), Some(n(u32::MAX - 1)));
    }

    #[test]
    fn sglang_verifies_one_row_more_than_it_drafts() {
        assert_eq!(sglang(n(3)), SglangDrafts { num_steps: n(3), num_draft_tokens: n(4) });
    }

    #[test]
    fn the_bonus_token_is_one() {
        assert!((accepted_without_bonus(1.8) - 0.8).abs() < 1e-12);
        assert!((acceptance_length(accepted_without_bonus(2.8)) - 2.8).abs() < 1e-12);
        let rates = SyntheticRates::from_length(2.8, n(3)).unwrap();
        assert!((acceptance_length(rates.marginal().iter().sum()) - 2.8).abs() < 1e-12);
    }

    #[test]
    fn marginal_rates_fall_where_conditional_ones_need_not() {
        // 0.92, 0.79, 0.68, 0.59: club-3090#68, vLLM, four drafts.
        let conditional = conditional_rates(&[0.92, 0.79, 0.68, 0.59]);
        let rounded: Vec<_> = conditional.iter().map(|rate| (rate.unwrap() * 1000.0).round()).collect();
        assert_eq!(rounded, [920.0, 859.0, 861.0, 868.0]);
        assert_eq!(conditional_rates(&[0.5, 0.0, 0.0]), [Some(0.5), Some(0.0), None]);
        assert!(conditional_rates(&[]).is_empty() && marginal_rates(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn block_sizes_and_draft_lengths_are_inverse(drafts in 1_u32..u32::MAX) {
            prop_assert_eq!(from_block_size(block_size(n(drafts)).get()), Some(n(drafts)));
        }

        #[test]
        fn rates_survive_the_way_there_and_back(conditional in proptest::collection::vec(0.01_f64..=1.0, 0..8)) {
            let back = conditional_rates(&marginal_rates(&conditional));
            for (before, after) in conditional.iter().zip(back) {
                prop_assert!((before - after.unwrap()).abs() < 1e-9);
            }
        }
    }
}
