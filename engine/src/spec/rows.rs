//! A step's rows side by side, as a device draws from them: what each row is given before any row's outcome is known.
//!
//! The rules of [`super::accept`] go from row to row and take uniform numbers as they go. Which number a row would get, if
//! it is reached, is known beforehand, so all rows can be drawn at once and those behind the first rejected draft dropped.
//! Invariant: verdict and numbers taken are the host's. Knows no device.

use super::proposer::Draft;
use super::sampler::Sampler;

/// One row of a step.
#[derive(Debug, Clone, Copy)]
pub struct DrawnRow<'a> {
    /// Uniform number of the draft's test; without meaning where drafts are compared with what is drawn.
    pub test: f64,
    /// Uniform number of the draw.
    pub draw: f64,
    /// The token that stands or falls by this row; none for the last row.
    pub draft: Option<u32>,
    /// What the draft was drawn from.
    pub q: Origin<'a>,
}

/// What a draft was drawn from.
#[derive(Debug, Clone, Copy)]
pub enum Origin<'a> {
    /// A point mass, or nothing that the rule asks for.
    Point,
    /// A distribution `[vocab]` on the host.
    Told(&'a [f32]),
    /// A distribution that has stayed on the device.
    Held,
}

/// A step's rows: one a draft, and one more. With `rejection` a draft's test takes a number and, where it fails, the draw
/// the next one; otherwise each draw takes one. Nothing is taken from `sampler` yet.
#[must_use]
pub fn side_by_side<'d>(draft: &'d Draft, rejection: bool, sampler: &Sampler) -> Vec<DrawnRow<'d>> {
    let drafted = draft.tokens.len();
    let numbers = sampler.upcoming(drafted + 1);
    let origin = |i: usize| match draft.probs.get(i) {
        _ if !rejection => Origin::Point,
        Some(q) if !q.is_empty() => Origin::Told(q),
        Some(_) | None if draft.held && i < drafted => Origin::Held,
        Some(_) | None => Origin::Point,
    };
    let row = |i: usize| DrawnRow {
        test: numbers[i],
        draw: numbers[if rejection { (i + 1).min(drafted) } else { i }],
        draft: draft.tokens.get(i).copied(),
        q: origin(i),
    };
    (0..=drafted).map(row).collect()
}

/// Uniform numbers that a step has taken.
#[must_use]
pub fn numbers_taken(draft: &Draft, rejection: bool, accepted: usize) -> usize {
    accepted + 1 + usize::from(rejection && accepted < draft.tokens.len())
}
