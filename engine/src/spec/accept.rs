//! Accepts or rejects drafted tokens. Pure: no model, no cache, no clock (see [`crate::spec::driver`]).
//!
//! Three rules that are exact, all for K drafts and the K + 1 rows of logits the target computed over them (row 0 follows the last
//! emitted token, row i follows draft i - 1):
//!
//! * [`greedy`]: accept while a draft is the row's argmax;
//! * [`sample_and_compare`]: draw a token from each row, accept while it equals the draft (llama.cpp's rule). A draft
//!   d stands with probability p(d). Draws one number for each emitted token, so that with a seed the output equals
//!   that of plain decoding token for token;
//! * [`rejection`]: rejection sampling, Leviathan et al. 2023, algorithm 1. A draft d stands with probability
//!   min(1, p(d) / q(d)); the most any exact rule can accept. A deterministic drafter is the point mass q(d) = 1.
//!
//! And one that is not, for measuring: [`synthetic`] flips coins instead of comparing, so that speed can be had at a
//! chosen acceptance with any weights.
//!
//! Invariants: accepted <= drafted; accepted + 1 tokens come out (`drafts[..accepted]`, then `next`, which is the
//! correction or, where all drafts stand, the bonus token); the output is distributed exactly as the target alone,
//! unless acceptance is synthetic.

use super::mass::mass;
use super::proposer::Draft;
use super::sampler::Sampler;
use super::target::Target;
use crate::EngineError;

/// How drafts are accepted when tokens are sampled; greedy requests compare argmax whatever this says.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum AcceptanceRule {
    /// [`sample_and_compare`]; drafts are greedy.
    #[default]
    SampleAndCompare,
    /// [`rejection`]; drafts are sampled from the drafter's own distribution where it has one.
    Rejection,
    /// [`synthetic`], greedy or not. `[i]`: probability that draft i stands, given that all before it do; positions
    /// beyond the list never stand.
    Synthetic(Vec<f64>),
}

/// An exact way to decide over drafts, by the rows of the target's last pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExactRule {
    /// [`greedy`].
    Greedy,
    /// [`sample_and_compare`].
    SampleAndCompare,
    /// [`rejection`].
    Rejection,
}

/// What became of one round's drafts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Leading drafts that stand.
    pub accepted: usize,
    /// The target's own token after them. It is not in the target's cache yet.
    pub next: u32,
}

/// Decides on the host, which needs whole rows of logits there unless the rule is greedy. `probs` is scratch.
///
/// # Errors
/// Those of the rule, and of bringing the rows.
pub fn on_host<T: Target + ?Sized>(
    target: &mut T,
    draft: &Draft,
    rule: ExactRule,
    sampler: &mut Sampler,
    probs: &mut Vec<f32>,
) -> Result<Verdict, EngineError> {
    match rule {
        ExactRule::Greedy => greedy(&draft.tokens, |row| target.argmax(row)),
        ExactRule::SampleAndCompare => {
            target.fetch_logits()?;
            sample_and_compare(&draft.tokens, |row| target.logits(row), sampler, probs)
        }
        ExactRule::Rejection => {
            target.fetch_logits()?;
            rejection(draft, |row| target.logits(row), sampler, probs)
        }
    }
}

/// Accepts while a draft is the argmax of its row.
///
/// # Errors
/// Those of `argmax`.
pub fn greedy(
    drafts: &[u32],
    argmax: impl FnMut(usize) -> Result<u32, EngineError>,
) -> Result<Verdict, EngineError> {
    first_difference(drafts, argmax)
}

/// Accepts while a draft is what the target draws from its row. `probs` is scratch.
///
/// # Errors
/// [`EngineError::BadLogit`].
pub fn sample_and_compare<'l>(
    drafts: &[u32],
    row: impl Fn(usize) -> &'l [f32],
    sampler: &mut Sampler,
    probs: &mut Vec<f32>,
) -> Result<Verdict, EngineError> {
    first_difference(drafts, |i| {
        sampler.distribution(row(i), probs)?;
        sampler.draw(probs)
    })
}

/// Rejection sampling of drafts from their own distribution `draft.probs` (a point mass where it has none). `probs`
/// is scratch.
///
/// # Errors
/// [`EngineError::BadLogit`]; [`EngineError::InvalidArgument`] where a draft's distribution is not over the target's
/// vocabulary, does not contain the draft, or is held by a device ([`Draft::held`]).
pub fn rejection<'l>(
    draft: &Draft,
    row: impl Fn(usize) -> &'l [f32],
    sampler: &mut Sampler,
    probs: &mut Vec<f32>,
) -> Result<Verdict, EngineError> {
    if draft.held {
        return Err(held_elsewhere("not on the host"));
    }
    for (i, &token) in draft.tokens.iter().enumerate() {
        sampler.distribution(row(i), probs)?;
        let q = draft.probs.get(i).map(Vec::as_slice).filter(|q| !q.is_empty());
        let p_draft = probs.get(token as usize).copied().ok_or_else(|| unknown_draft(token, probs.len()))?;
        let q_draft = q.map_or(Ok(1.0), |q| draft_probability(q, token, probs.len()))?;
        // u < p / q without the division, which would round.
        if sampler.uniform() * f64::from(q_draft) < f64::from(p_draft) {
            continue;
        }
        match q {
            Some(q) => subtract(probs, q),
            None => probs[token as usize] = 0.0,
        }
        return Ok(Verdict { accepted: i, next: sampler.draw(probs)? });
    }
    let accepted = draft.tokens.len();
    sampler.distribution(row(accepted), probs)?;
    Ok(Verdict { accepted, next: sampler.draw(probs)? })
}

/// Accepts by coin flips. What comes after the accepted drafts is the target's own choice by their last row (`choose`),
/// so that the work is that of any round; the text is not the target's, except where nothing is accepted.
///
/// # Errors
/// Those of `choose`.
pub fn synthetic(
    drafts: &[u32],
    rates: &[f64],
    sampler: &mut Sampler,
    choose: impl FnOnce(usize, &mut Sampler) -> Result<u32, EngineError>,
) -> Result<Verdict, EngineError> {
    let accepted = rates.iter().take(drafts.len()).take_while(|&&rate| sampler.uniform() < rate).count();
    Ok(Verdict { accepted, next: choose(accepted, sampler)? })
}

/// Lets the target choose row after row until it disagrees with the drafts or they are used up.
fn first_difference(
    drafts: &[u32],
    mut choose: impl FnMut(usize) -> Result<u32, EngineError>,
) -> Result<Verdict, EngineError> {
    let mut accepted = 0;
    loop {
        let next = choose(accepted)?;
        if drafts.get(accepted) != Some(&next) {
            return Ok(Verdict { accepted, next });
        }
        accepted += 1;
    }
}

/// p becomes max(p - q, 0), not normalised. Where p and q differ by rounding alone nothing that can be drawn would be
/// left, and p, which then is the residual's limit, stays.
fn subtract(p: &mut [f32], q: &[f32]) {
    if p.iter().zip(q).any(|(p, q)| p > q && mass(p - q) > 0) {
        for (p, q) in p.iter_mut().zip(q) {
            *p = (*p - q).max(0.0);
        }
    }
}

/// q(token), which must be possible: a token that q cannot have produced voids the guarantee.
///
/// # Errors
/// [`EngineError::InvalidArgument`] where it is not, or q is not over the target's vocabulary.
pub(crate) fn draft_probability(q: &[f32], token: u32, vocab_size: usize) -> Result<f32, EngineError> {
    if q.len() != vocab_size {
        return Err(EngineError::InvalidArgument {
            what: "distribution of a draft",
            got: format!("{} tokens", q.len()),
            expected: format!("the target's vocabulary of {vocab_size}"),
        });
    }
    match q.get(token as usize) {
        Some(&p) if p > 0.0 => Ok(p),
        Some(_) | None => Err(EngineError::InvalidArgument {
            what: "probability of a draft under its own distribution",
            got: format!("0 for token {token}"),
            expected: "above 0".to_owned(),
        }),
    }
}

/// Drafts whose distributions are not where the rule looks for them; a point mass in their place would void the guarantee.
pub(crate) fn held_elsewhere(got: &str) -> EngineError {
    EngineError::InvalidArgument {
        what: "distributions of drafts that the target is to hold",
        got: got.to_owned(),
        expected: "drafts to be decided by the target that they were drawn for, right after they were"
            .to_owned(),
    }
}

fn unknown_draft(id: u32, vocab_size: usize) -> EngineError {
    EngineError::UnknownToken { id, vocab_size }
}

#[cfg(test)]
#[path = "accept_tests.rs"]
mod tests;
