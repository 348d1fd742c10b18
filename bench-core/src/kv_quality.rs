//! What the KV type of an arm costs in quality: its next-token distributions against those with an f16 cache, and what is
//! accepted of its drafts with either.
//!
//! A speed with a lossy cache says half of what a reader needs. The other half is measured after the requests, never while
//! a clock of a row runs, on some of the preset's prompts ([`KvSample`]), and is kept in the manifest beside its arm. Holds
//! plain figures and their definitions; does not know how they are measured (the engine does), and judges nothing.
//! Invariant: what was not measured is a reason in words, never a 0.

use serde::{Deserialize, Serialize};

use crate::preset::Preset;
use crate::stack::Prompt;
use crate::stats::percentile;

/// [`crate::preset::RunParams::kv_quality_tokens`] where a preset does not say.
pub const DEFAULT_KV_QUALITY_TOKENS: u32 = 256;

/// An answer is not cut shorter than this for the sake of more prompts: errors of a cache add up along a text.
const SHORTEST_ANSWER: u32 = 32;

/// Why an HTTP server's cache has no figures.
pub const NO_LOGITS: &str = "the server gives no logits of another KV type";

/// What became of the measurement for an arm with a lossy cache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum KvQualityOutcome {
    /// It was made.
    Measured(KvQuality),
    /// It was not.
    NotMeasured {
        /// Why.
        reason: String,
    },
}

/// A KV type against the reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KvQuality {
    /// The KV type.
    pub kv_type: String,
    /// What it is compared with.
    pub reference: String,
    /// How far the distributions are apart.
    pub divergence: KvDivergence,
    /// What was accepted with either; `None` for plain decoding, and where acceptance is drawn by lot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acceptance: Option<KvAcceptance>,
}

/// One position, p of the reference against q of the KV type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PositionDivergence {
    /// KL(p || q), nats.
    pub kl_nats: f64,
    /// Whether the most likely tokens are one.
    pub same_top1: bool,
    /// -ln p of the token that stands there.
    pub reference_nll_nats: f64,
    /// -ln q of the same token.
    pub nll_nats: f64,
}

/// Next-token distributions over the reference's own greedy answers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct KvDivergence {
    /// Positions compared.
    pub positions: u64,
    /// Mean KL(p || q), p of the reference, nats.
    pub kl_mean_nats: f64,
    /// 99 of 100 positions are no further apart, nats.
    pub kl_p99_nats: f64,
    /// Positions at which the most likely tokens are one.
    pub same_top1: u64,
    /// Mean -ln q of the answers' tokens, nats.
    pub nll_nats: f64,
    /// Mean -ln p of the same, nats.
    pub reference_nll_nats: f64,
}

impl KvDivergence {
    /// Sums up; `None` without a position, and where a figure is not a number.
    #[must_use]
    pub fn of(positions: &[PositionDivergence]) -> Option<Self> {
        let kl: Vec<_> = positions.iter().map(|at| at.kl_nats).collect();
        let mean = |of: fn(&PositionDivergence) -> f64| {
            let mean = positions.iter().map(of).sum::<f64>() / positions.len() as f64;
            mean.is_finite().then_some(mean)
        };
        Some(Self {
            kl_p99_nats: percentile(&kl, 0.99)?,
            kl_mean_nats: mean(|at| at.kl_nats)?,
            positions: positions.len() as u64,
            same_top1: positions.iter().filter(|at| at.same_top1).count() as u64,
            nll_nats: mean(|at| at.nll_nats)?,
            reference_nll_nats: mean(|at| at.reference_nll_nats)?,
        })
    }

    /// Share of positions with the same most likely token.
    #[must_use]
    pub fn top1_agreement(&self) -> Option<f64> {
        (self.positions > 0).then(|| self.same_top1 as f64 / self.positions as f64)
    }

    /// By how many nats a token the answers' tokens are less likely; the perplexity is e to this times the reference's.
    #[must_use]
    pub fn nll_difference_nats(&self) -> f64 {
        self.nll_nats - self.reference_nll_nats
    }
}

/// What is accepted of greedy drafts along the same answers with either cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvAcceptance {
    /// With the KV type.
    pub with: DraftCounts,
    /// With the reference.
    pub reference: DraftCounts,
}

/// Counts of speculation. Ratios are derived, never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DraftCounts {
    /// Tokens proposed.
    pub drafted: u64,
    /// Tokens kept.
    pub accepted: u64,
    /// Target passes after prefill.
    pub verify_steps: u64,
}

impl DraftCounts {
    /// Mean tokens a verify step emits, bonus token included; `None` without one.
    #[must_use]
    pub fn acceptance_length(&self) -> Option<f64> {
        (self.verify_steps > 0).then(|| 1.0 + self.accepted as f64 / self.verify_steps as f64)
    }
}

impl std::fmt::Display for KvQuality {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let KvDivergence { positions, kl_mean_nats, .. } = self.divergence;
        write!(f, "{}: KL {} nats ({positions} positions)", self.kv_type, nats(kl_mean_nats))?;
        if let Some(share) = self.divergence.top1_agreement() {
            write!(f, ", top-1 agreement {:.1} %", share * 100.0)?;
        }
        let lengths = self
            .acceptance
            .and_then(|both| Some((both.with.acceptance_length()?, both.reference.acceptance_length()?)));
        match lengths {
            None => Ok(()),
            Some((with, reference)) => {
                write!(f, ", acceptance length {with:.2} against {reference:.2} at {}", self.reference)
            }
        }
    }
}

/// Four digits behind the point, or as many as a small figure needs to show two.
#[must_use]
pub fn nats(value: f64) -> String {
    if value.abs() >= 1e-3 || value.abs() <= 0.0 { format!("{value:.4}") } else { format!("{value:.1e}") }
}

/// On what of a preset the measurement is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvSample {
    /// Prompts, evenly from the preset's list.
    pub prompts: Vec<Prompt>,
    /// Tokens of an answer at most.
    pub answer_tokens: u32,
    /// Positions in all at most.
    pub positions: u32,
    /// Go on past end-of-generation tokens.
    pub ignore_eos: bool,
}

impl KvSample {
    /// The preset's; `None` where it asks for no positions. Answers are as long as the positions allow if every prompt is
    /// asked, or 32 tokens of fewer prompts, and never longer than a request's.
    #[must_use]
    pub fn of(preset: &Preset) -> Option<Self> {
        let positions = preset.run.kv_quality_tokens;
        let workload = &preset.workload;
        let count = u32::try_from(workload.prompts.len()).unwrap_or(u32::MAX).max(1);
        let answer_tokens = positions.div_ceil(count).max(SHORTEST_ANSWER).min(workload.max_tokens.get());
        let asked = positions.div_ceil(answer_tokens).min(count);
        let nth = |i: u32| u64::from(i) * u64::from(count) / u64::from(asked.max(1));
        let prompts = (0..asked)
            .filter_map(|i| workload.prompts.get(usize::try_from(nth(i)).ok()?))
            .map(|prompt| Prompt::of(prompt, preset.serving.route))
            .collect();
        let ignore_eos = workload.ignore_eos;
        (positions > 0).then_some(Self { prompts, answer_tokens, positions, ignore_eos })
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::preset::PromptSpec;
    use crate::testing::preset;

    fn at(kl_nats: f64, same_top1: bool) -> PositionDivergence {
        PositionDivergence { kl_nats, same_top1, reference_nll_nats: 1.0, nll_nats: 1.0 + kl_nats }
    }

    #[test]
    fn figures_are_means_a_percentile_and_counts() {
        let positions: Vec<_> = (0..=100).map(|i| at(f64::from(i) / 100.0, i % 4 != 0)).collect();
        let found = KvDivergence::of(&positions).unwrap();
        assert_eq!((found.positions, found.same_top1), (101, 75));
        assert!((found.kl_mean_nats - 0.5).abs() < 1e-12 && (found.kl_p99_nats - 0.99).abs() < 1e-12);
        assert!((found.nll_difference_nats() - 0.5).abs() < 1e-12);
        assert!((found.top1_agreement().unwrap() - 75.0 / 101.0).abs() < 1e-12);
    }

    #[test]
    fn nothing_and_no_number_have_no_figures() {
        assert_eq!(KvDivergence::of(&[]), None);
        assert_eq!(KvDivergence::of(&[at(f64::NAN, true)]), None);
        assert_eq!(KvDivergence::of(&[at(f64::INFINITY, true)]), None);
    }

    #[test]
    fn one_line_says_what_a_reader_needs() {
        let counts = |accepted| DraftCounts { drafted: 300, accepted, verify_steps: 100 };
        let divergence = KvDivergence::of(&[at(0.01, true), at(0.02, false)]).unwrap();
        let mut quality = KvQuality {
            kv_type: "turbo3".to_owned(),
            reference: "f16".to_owned(),
            divergence,
            acceptance: Some(KvAcceptance { with: counts(180), reference: counts(190) }),
        };
        assert_eq!(
            quality.to_string(),
            "turbo3: KL 0.0150 nats (2 positions), top-1 agreement 50.0 %, acceptance length 2.80 against 2.90 at f16"
        );
        quality.acceptance = None;
        quality.divergence.kl_mean_nats = 0.000_012;
        assert_eq!(quality.to_string(), "turbo3: KL 1.2e-5 nats (2 positions), top-1 agreement 50.0 %");
    }

    #[test]
    fn a_reason_is_kept_as_words() {
        let outcome = KvQualityOutcome::NotMeasured { reason: NO_LOGITS.to_owned() };
        let json = serde_json::to_value(&outcome).unwrap();
        assert_eq!(json, serde_json::json!({ "state": "not_measured", "reason": NO_LOGITS }));
        assert_eq!(serde_json::from_value::<KvQualityOutcome>(json).unwrap(), outcome);
    }

    #[test]
    fn the_sample_is_bounded_and_spread_over_the_prompts() {
        let mut preset = preset();
        let like = preset.workload.prompts[0].clone();
        preset.workload.prompts =
            (0..100).map(|i| PromptSpec { text: i.to_string(), ..like.clone() }).collect();
        let mut sample = |tokens: u32, max_tokens: u32| {
            preset.run.kv_quality_tokens = tokens;
            preset.workload.max_tokens = NonZeroU32::new(max_tokens).unwrap();
            KvSample::of(&preset)
        };
        assert_eq!(sample(0, 96), None);
        for (tokens, max_tokens, answer, asked) in
            [(256, 96, 32, 8), (256, 20, 20, 13), (6400, 96, 64, 100), (50_000, 96, 96, 100), (5, 96, 32, 1)]
        {
            let found = sample(tokens, max_tokens).unwrap();
            assert_eq!(
                (found.answer_tokens, found.prompts.len()),
                (answer, asked),
                "{tokens} of {max_tokens}"
            );
        }
        let texts: Vec<_> = sample(128, 96).unwrap().prompts;
        let of = |prompt: &Prompt| match prompt {
            Prompt::Text(text) | Prompt::Chat { user: text, .. } => text.clone(),
        };
        assert_eq!(texts.iter().map(of).collect::<Vec<_>>(), ["0", "25", "50", "75"]);
    }
}
