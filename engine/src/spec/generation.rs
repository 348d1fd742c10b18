//! What goes into a generation and what comes out: parameters, events, counts, a summary. Plain data.
//!
//! Counting. `drafted` counts every proposed token, `accepted` every emitted draft, `verify_steps` every target pass
//! after the prefill, those without a draft included. Where no end-of-generation token ends the output,
//! `output_tokens = 1 + verify_steps + accepted`. A draft that ends the generation is counted and emitted, what the
//! verify step accepted behind it is neither (llama.cpp counts it as accepted; the numbers agree where generation
//! ends by length).

use std::time::Instant;

use super::sampler::SamplingParams;

/// What one generation is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateParams {
    /// Output tokens at most, at least 1.
    pub max_tokens: usize,
    /// Go on past end-of-generation tokens (they are emitted like others, not suppressed).
    pub ignore_eos: bool,
    /// How tokens are chosen.
    pub sampling: SamplingParams,
}

/// One round's output, as soon as it is known.
#[derive(Debug)]
pub struct StepEvent<'a> {
    /// At least one token; the end-of-generation token is among them.
    pub tokens: &'a [u32],
    /// Tokens proposed in this round; 0 in the first event, which is the prefill's token.
    pub drafted: u32,
    /// Drafts among `tokens`.
    pub accepted: u32,
    /// Time the proposer took.
    pub draft_ns: u64,
    /// Time the target's forward pass took; 0 in the first event (see [`GenerateSummary::prefill_ns`]).
    pub verify_ns: u64,
    /// Time choosing the tokens took.
    pub sample_ns: u64,
    /// When the tokens were known.
    pub at: Instant,
}

/// Counts of speculation, as the module's documentation defines them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecTotals {
    /// Tokens proposed.
    pub drafted: u64,
    /// Proposed tokens that were emitted.
    pub accepted: u64,
    /// Target passes after the prefill.
    pub verify_steps: u64,
    /// `[i]`: rounds whose draft at position i was emitted. As long as the most drafts a round may have.
    pub accepted_per_position: Vec<u64>,
    /// `[i]`: rounds that drafted at position i.
    pub drafted_per_position: Vec<u64>,
    /// `[j]`: rounds that drafted, and of whose drafts exactly j were emitted.
    pub accepted_histogram: Vec<u64>,
}

impl SpecTotals {
    pub(super) fn new(draft_max: usize) -> Self {
        let per_position = vec![0; draft_max];
        Self {
            accepted_per_position: per_position.clone(),
            drafted_per_position: per_position,
            accepted_histogram: vec![0; draft_max + 1],
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, drafted: usize, accepted: usize) {
        self.drafted += drafted as u64;
        self.accepted += accepted as u64;
        self.verify_steps += 1;
        self.drafted_per_position[..drafted].iter_mut().for_each(|n| *n += 1);
        self.accepted_per_position[..accepted].iter_mut().for_each(|n| *n += 1);
        if drafted > 0 {
            self.accepted_histogram[accepted] += 1;
        }
    }
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// `max_tokens` were emitted.
    Length,
    /// An end-of-generation token was emitted.
    Stop,
    /// The caller wanted no more.
    Cancelled,
}

/// What a generation came to.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateSummary {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens emitted, an end-of-generation token included.
    pub output_tokens: usize,
    /// Why it ended.
    pub finish: Finish,
    /// Counts of speculation.
    pub totals: SpecTotals,
    /// Greedy only, one an emitted token: how far its logit was above the runner-up's. Where two greedy outputs differ,
    /// it tells a near tie from a defect. Empty where tokens were sampled or accepted by coin flips, and where the target
    /// does not tell ([`super::target::Target::margin`]).
    pub top2_margins: Vec<f32>,
    /// Time of the target's forward pass over the prompt.
    pub prefill_ns: u64,
    /// Time in the proposer, all rounds.
    pub draft_ns: u64,
    /// Time in the target's forward passes after the prefill.
    pub verify_ns: u64,
    /// Time choosing tokens, the first one included.
    pub sample_ns: u64,
}
