//! Runs one generation: prefill, then rounds of propose, verify, accept, roll back, emit.
//!
//! A round with K drafts is one forward pass of the target over K + 1 rows: the last emitted token, which the cache
//! does not hold yet, and the drafts. K is at most `draft_max`, and at most one less than the tokens still wanted,
//! since a round emits accepted + 1 of them (llama.cpp drafts the same number). Without a proposer, and where it
//! proposes nothing, K is 0: plain decoding.
//!
//! Invariants: between rounds the cache holds every token but the last emitted one; nothing is drafted before a row is
//! cached; with greedy sampling the output does not depend on the proposer. Knows no tokenizer and no model. Counting is
//! defined in [`crate::spec::generation`].

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::accept::{self, AcceptanceRule, ExactRule, Verdict};
use super::generation::{Finish, GenerateParams, GenerateSummary, SpecTotals, StepEvent};
use super::proposer::{Draft, DraftRequest, Proposer};
use super::sampler::Sampler;
use super::target::{LogitRows, Target};
use crate::EngineError;

/// How tokens are drafted.
pub struct Drafting<'a, T: ?Sized> {
    /// The drafter.
    pub proposer: &'a mut dyn Proposer<T>,
    /// Most drafted tokens in a round.
    pub draft_max: usize,
    /// How sampled drafts are accepted.
    pub acceptance: AcceptanceRule,
}

impl<T: ?Sized> std::fmt::Debug for Drafting<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drafting")
            .field("proposer", &self.proposer.name())
            .field("draft_max", &self.draft_max)
            .field("acceptance", &self.acceptance)
            .finish()
    }
}

/// Runs generations on a target, with or without a proposer.
#[derive(Debug)]
pub struct Driver<'a, T: ?Sized> {
    /// The model whose output counts.
    pub target: &'a mut T,
    /// `None`: plain decoding.
    pub drafting: Option<Drafting<'a, T>>,
    /// End-of-generation tokens.
    pub eog: &'a [u32],
}

impl<T: Target + ?Sized> Driver<'_, T> {
    /// Generates after `prompt` from an empty cache. `on_step` gets every round's tokens and may end the generation.
    ///
    /// # Errors
    /// [`EngineError::InvalidArgument`] for an empty prompt or `max_tokens` of 0, [`EngineError::ContextFull`] where
    /// prompt and output cannot both be held, and what the target, the proposer and the sampler fail with.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        params: &GenerateParams,
        on_step: &mut dyn FnMut(&StepEvent<'_>) -> ControlFlow<()>,
    ) -> Result<GenerateSummary, EngineError> {
        self.check(prompt, params)?;
        let draft_max = self.drafting.as_ref().map_or(0, |s| s.draft_max);
        let mut run = Run {
            target: &mut *self.target,
            drafting: self.drafting.as_mut(),
            tokens: prompt.to_vec(),
            prompt_tokens: prompt.len(),
            params,
            eog: if params.ignore_eos { &[] } else { self.eog },
            sampler: Sampler::new(&params.sampling)?,
            probs: Vec::new(),
            draft: Draft::default(),
            hidden_row: 0,
            totals: SpecTotals::new(draft_max),
            top2_margins: Vec::new(),
            prefill: Duration::ZERO,
            spent: Spent::default(),
            on_step,
        };
        let finish = run.run()?;
        Ok(run.summary(finish))
    }

    /// Refuses what could not be finished, before anything is computed.
    fn check(&self, prompt: &[u32], params: &GenerateParams) -> Result<(), EngineError> {
        let at_least_one = |what, got: usize| match got {
            0 => Err(EngineError::InvalidArgument {
                what,
                got: "0".to_owned(),
                expected: "at least 1".to_owned(),
            }),
            _ => Ok(()),
        };
        at_least_one("prompt tokens", prompt.len())?;
        at_least_one("max_tokens", params.max_tokens)?;
        if let Some(drafting) = &self.drafting {
            at_least_one("draft_max", drafting.draft_max)?;
        }
        // The last token is emitted, never cached. Drafts need no room of their own: see `Run::draft_room`.
        let needed = prompt.len().saturating_add(params.max_tokens - 1);
        let capacity = self.target.capacity();
        if needed > capacity {
            return Err(EngineError::ContextFull { needed, capacity });
        }
        Ok(())
    }
}

/// Time of the parts of a round, or of all rounds.
#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    draft: Duration,
    verify: Duration,
    sample: Duration,
}

/// One generation under way.
struct Run<'r, 'd, T: ?Sized> {
    target: &'r mut T,
    drafting: Option<&'r mut Drafting<'d, T>>,
    /// Prompt and output; the last token is not in the target's cache.
    tokens: Vec<u32>,
    prompt_tokens: usize,
    params: &'r GenerateParams,
    eog: &'r [u32],
    sampler: Sampler,
    /// Scratch of the sampler `[vocab]`.
    probs: Vec<f32>,
    draft: Draft,
    /// Row of the target's last pass that chose the last token.
    hidden_row: usize,
    totals: SpecTotals,
    /// Greedy only: see [`GenerateSummary::top2_margins`].
    top2_margins: Vec<f32>,
    prefill: Duration,
    spent: Spent,
    on_step: &'r mut dyn FnMut(&StepEvent<'_>) -> ControlFlow<()>,
}

impl<T: Target + ?Sized> Run<'_, '_, T> {
    fn run(&mut self) -> Result<Finish, EngineError> {
        let mut finish = self.first_token()?;
        loop {
            match finish {
                ControlFlow::Break(finish) => return Ok(finish),
                ControlFlow::Continue(()) => finish = self.round()?,
            }
        }
    }

    /// Prefill and the token it gives.
    fn first_token(&mut self) -> Result<ControlFlow<Finish>, EngineError> {
        self.target.truncate(0);
        if let Some(drafting) = &mut self.drafting {
            drafting.proposer.reset();
        }
        let start = Instant::now();
        self.target.forward(&self.tokens, LogitRows::Last)?;
        self.prefill = start.elapsed();
        let mut spent = Spent::default();
        let verdict = timed(&mut spent.sample, || self.decide())?;
        Ok(self.emit(verdict, spent))
    }

    /// Propose, verify, accept, roll back, emit.
    fn round(&mut self) -> Result<ControlFlow<Finish>, EngineError> {
        let mut spent = Spent::default();
        timed(&mut spent.draft, || self.propose())?;
        timed(&mut spent.verify, || self.verify())?;
        let verdict = timed(&mut spent.sample, || self.decide())?;
        // The cache keeps the token the round began with and the accepted drafts.
        self.target.truncate(self.tokens.len() + verdict.accepted);
        self.hidden_row = verdict.accepted;
        Ok(self.emit(verdict, spent))
    }

    /// Most tokens a round may draft. It emits at most one more than it drafts, so drafts within the wanted output
    /// also are within the context, which was checked to hold all of it.
    fn draft_room(&self) -> usize {
        let remaining = self.params.max_tokens - self.output_tokens();
        self.drafting.as_ref().map_or(0, |s| s.draft_max.min(remaining - 1))
    }

    fn propose(&mut self) -> Result<(), EngineError> {
        self.draft.clear();
        let max = self.draft_room();
        let Some(drafting) = self.drafting.as_mut().filter(|_| max > 0) else { return Ok(()) };
        let samples_drafts =
            drafting.acceptance == AcceptanceRule::Rejection && !self.params.sampling.is_greedy();
        let request = DraftRequest {
            tokens: &self.tokens,
            hidden_row: self.hidden_row,
            max,
            sampler: samples_drafts.then_some(&mut self.sampler),
        };
        drafting.proposer.propose(self.target, request, &mut self.draft)?;
        if self.draft.tokens.len() > max {
            return Err(EngineError::InvalidArgument {
                what: "tokens drafted",
                got: self.draft.tokens.len().to_string(),
                expected: format!("at most {max}"),
            });
        }
        Ok(())
    }

    /// One pass over the last emitted token and the drafts.
    fn verify(&mut self) -> Result<(), EngineError> {
        let last = self.tokens.len() - 1;
        if self.draft.tokens.is_empty() {
            return self.target.forward(&self.tokens[last..], LogitRows::Last);
        }
        self.tokens.extend_from_slice(&self.draft.tokens);
        let result = self.target.forward(&self.tokens[last..], LogitRows::All);
        self.tokens.truncate(last + 1);
        result
    }

    /// Decides over the drafts, and notes how clearly greedy tokens were chosen where that costs next to nothing.
    fn decide(&mut self) -> Result<Verdict, EngineError> {
        let verdict = self.judge()?;
        let rule = self.drafting.as_ref().map(|s| &s.acceptance);
        if self.params.sampling.is_greedy() && !matches!(rule, Some(AcceptanceRule::Synthetic(_))) {
            let emitted = self.draft.tokens[..verdict.accepted].iter().chain([&verdict.next]);
            for (row, &token) in emitted.enumerate() {
                self.top2_margins.extend(self.target.margin(row, token));
            }
        }
        Ok(verdict)
    }

    /// Decides over the drafts by the rows of the target's last pass.
    fn judge(&mut self) -> Result<Verdict, EngineError> {
        let Self { target, draft, sampler, probs, .. } = self;
        let rule = self.drafting.as_ref().map_or(&AcceptanceRule::SampleAndCompare, |s| &s.acceptance);
        let greedy = self.params.sampling.is_greedy();
        let exact = match rule {
            AcceptanceRule::Synthetic(rates) => {
                return accept::synthetic(&draft.tokens, rates, sampler, |row, sampler| {
                    if greedy { target.argmax(row) } else { target.draw(row, sampler, probs) }
                });
            }
            AcceptanceRule::SampleAndCompare | AcceptanceRule::Rejection if greedy => ExactRule::Greedy,
            AcceptanceRule::SampleAndCompare => ExactRule::SampleAndCompare,
            AcceptanceRule::Rejection => ExactRule::Rejection,
        };
        target.accept(draft, exact, sampler, probs)
    }

    /// Books a verdict, hands its tokens out and says whether that was all.
    fn emit(&mut self, verdict: Verdict, spent: Spent) -> ControlFlow<Finish> {
        let at = Instant::now();
        let is_prefill = self.output_tokens() == 0;
        let drafted = self.draft.tokens.len();
        let from = self.tokens.len();
        self.tokens.extend_from_slice(&self.draft.tokens[..verdict.accepted]);
        self.tokens.push(verdict.next);
        let stop = self.tokens[from..].iter().position(|token| self.eog.contains(token));
        if let Some(stop) = stop {
            self.tokens.truncate(from + stop + 1);
        }
        let accepted = verdict.accepted.min(self.tokens.len() - from);
        if !is_prefill {
            self.totals.add(drafted, accepted);
        }
        self.spent.add(spent);
        let event = StepEvent {
            tokens: &self.tokens[from..],
            drafted: count(drafted),
            accepted: count(accepted),
            draft_ns: nanos(spent.draft),
            verify_ns: nanos(spent.verify),
            sample_ns: nanos(spent.sample),
            at,
        };
        let wants_more = (self.on_step)(&event);
        if stop.is_some() {
            ControlFlow::Break(Finish::Stop)
        } else if self.output_tokens() >= self.params.max_tokens {
            ControlFlow::Break(Finish::Length)
        } else if wants_more.is_break() {
            ControlFlow::Break(Finish::Cancelled)
        } else {
            ControlFlow::Continue(())
        }
    }

    fn output_tokens(&self) -> usize {
        self.tokens.len() - self.prompt_tokens
    }

    fn summary(mut self, finish: Finish) -> GenerateSummary {
        // What stood behind an end-of-generation token was not emitted.
        self.top2_margins.truncate(self.output_tokens());
        GenerateSummary {
            prompt_tokens: self.prompt_tokens,
            output_tokens: self.output_tokens(),
            finish,
            totals: self.totals,
            top2_margins: self.top2_margins,
            prefill_ns: nanos(self.prefill),
            draft_ns: nanos(self.spent.draft),
            verify_ns: nanos(self.spent.verify),
            sample_ns: nanos(self.spent.sample),
        }
    }
}

impl Spent {
    fn add(&mut self, other: Self) {
        self.draft += other.draft;
        self.verify += other.verify;
        self.sample += other.sample;
    }
}

fn timed<R>(spent: &mut Duration, work: impl FnOnce() -> R) -> R {
    let start = Instant::now();
    let result = work();
    *spent = start.elapsed();
    result
}

/// 584 years fit.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Tokens of one round.
fn count(tokens: usize) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}
