//! Counts what a target accepts of drafts along a text that is given: two caches, or two models, are then counted on the
//! same tokens, where free generation would soon have them write two texts.
//!
//! A round is one of [`super::driver`]: propose, verify in one pass, accept while a draft is the target's own greedy choice.
//! What differs is where it goes on: behind the drafts that are the text's, too, with the text's next token in place of
//! the target's. Invariant: along the target's own greedy answer the counts are those of the driver, to the last draft.

use super::accept;
use super::driver::Drafting;
use super::generation::SpecTotals;
use super::proposer::{Draft, DraftRequest};
use super::target::{LogitRows, Target};
use crate::EngineError;

/// Counts along `text`, of which `wanted` tokens were asked for at most: an answer that ended early was drafted beyond.
///
/// # Errors
/// What target and proposer fail with; [`EngineError::InvalidArgument`] for an empty text.
pub fn follow<T: Target + ?Sized>(
    target: &mut T,
    drafting: &mut Drafting<'_, T>,
    prompt: &[u32],
    (text, wanted): (&[u32], usize),
) -> Result<SpecTotals, EngineError> {
    let Some((&first, _)) = text.split_first() else {
        return Err(EngineError::InvalidArgument {
            what: "text to follow",
            got: "no token".to_owned(),
            expected: "at least 1".to_owned(),
        });
    };
    target.truncate(0);
    drafting.proposer.reset();
    target.forward(prompt, LogitRows::Last)?;
    let mut tokens = [prompt, &[first]].concat();
    let mut totals = SpecTotals::new(drafting.draft_max);
    let (mut done, mut hidden_row, mut draft) = (1, 0, Draft::default());
    while done < text.len() {
        let rest = &text[done..];
        let max = drafting.draft_max.min(wanted.saturating_sub(done + 1));
        draft.clear();
        if max > 0 {
            let request = DraftRequest { tokens: &tokens, hidden_row, max, sampler: None };
            drafting.proposer.propose(target, request, &mut draft)?;
        }
        let last = tokens.len() - 1;
        let rows = if draft.tokens.is_empty() { LogitRows::Last } else { LogitRows::All };
        target.forward(&[&tokens[last..], &draft.tokens].concat(), rows)?;
        let accepted = accept::greedy(&draft.tokens, |row| target.argmax(row))?.accepted.min(rest.len());
        totals.add(draft.tokens.len(), accepted);
        let kept =
            draft.tokens[..accepted].iter().zip(rest).take_while(|(draft, text)| draft == text).count();
        // The text's own next token follows, unless the drafts were all that was left of it.
        let emitted = (kept + 1).min(rest.len());
        target.truncate(tokens.len() + kept);
        tokens.extend_from_slice(&rest[..emitted]);
        (done, hidden_row) = (done + emitted, kept);
    }
    Ok(totals)
}
