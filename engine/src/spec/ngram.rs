//! Drafts without a model: prompt lookup. The longest n-gram at the end of the text that occurred before is continued
//! as it was continued then, its most recent occurrence first.
//!
//! The copy may run into the draft itself, as in LZ77: the text `a b a b` is continued `a b a b ...` up to the
//! wanted length, so that a loop is drafted in full and not only up to the end of the text.
//!
//! Index: a trie of all n-grams up to `ngram_max`, each node with the position its n-gram last ended at. A new token
//! extends the n-grams that ended one position earlier, so indexing costs `ngram_max` map operations a token and
//! nothing is ever scanned again. Nodes are keyed by (parent, token), not by a hash of the n-gram: no collisions.
//!
//! Knows nothing of the target. Invariant: between two resets the text only grows.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use super::proposer::{Draft, DraftRequest, Proposer};
use crate::EngineError;

/// The prompt lookup drafter.
#[derive(Debug)]
pub struct NgramProposer {
    ngram_min: usize,
    ngram_max: usize,
    /// Child of a node by token; node 0 is the root.
    children: HashMap<(u32, u32), u32>,
    /// Where the n-gram of a node ended last.
    last_end: Vec<usize>,
    /// Nodes of the n-grams (of length 1, 2, ...) that end at the last indexed token.
    suffixes: Vec<u32>,
    /// Where those n-grams had ended before, if ever.
    earlier_ends: Vec<Option<usize>>,
    /// Tokens indexed so far.
    indexed: usize,
}

impl NgramProposer {
    /// Looks up n-grams of `ngram_max` tokens first, then shorter ones down to `ngram_min`.
    ///
    /// # Errors
    /// [`EngineError::InvalidArgument`] if the bounds are the wrong way round.
    pub fn new(ngram_min: NonZeroUsize, ngram_max: NonZeroUsize) -> Result<Self, EngineError> {
        if ngram_min > ngram_max {
            return Err(EngineError::InvalidArgument {
                what: "ngram_min",
                got: ngram_min.to_string(),
                expected: format!("at most ngram_max = {ngram_max}"),
            });
        }
        Ok(Self {
            ngram_min: ngram_min.get(),
            ngram_max: ngram_max.get(),
            children: HashMap::new(),
            last_end: vec![0],
            suffixes: Vec::new(),
            earlier_ends: Vec::new(),
            indexed: 0,
        })
    }

    /// Forgets the text.
    pub fn clear(&mut self) {
        self.children.clear();
        self.last_end.truncate(1);
        self.suffixes.clear();
        self.earlier_ends.clear();
        self.indexed = 0;
    }

    /// Appends to `draft` the continuation of `text`, `max` tokens or none.
    fn continue_text(&mut self, text: &[u32], max: usize, draft: &mut Vec<u32>) {
        if text.len() < self.indexed {
            self.clear();
        }
        for (end, &token) in text.iter().enumerate().skip(self.indexed) {
            self.index(token, end);
        }
        let found = (self.ngram_min..=self.ngram_max)
            .rev()
            .find_map(|n| self.earlier_ends.get(n - 1).copied().flatten());
        let Some(end) = found else { return };
        for at in end + 1..end + 1 + max {
            let token = text.get(at).copied().unwrap_or_else(|| draft[at - text.len()]);
            draft.push(token);
        }
    }

    /// Enters every n-gram that ends with `token` at position `end`.
    fn index(&mut self, token: u32, end: usize) {
        let lengths = self.ngram_max.min(end + 1);
        self.earlier_ends.clear();
        let mut parent = 0;
        for n in 0..lengths {
            // The n-gram that ended one position earlier is this one's parent.
            let next_parent = self.suffixes.get(n).copied().unwrap_or(0);
            let fresh = node_id(self.last_end.len());
            let node = *self.children.entry((parent, token)).or_insert(fresh);
            if node == fresh {
                self.last_end.push(end);
                self.earlier_ends.push(None);
            } else {
                let last_end = &mut self.last_end[node as usize];
                self.earlier_ends.push(Some(std::mem::replace(last_end, end)));
            }
            match self.suffixes.get_mut(n) {
                Some(slot) => *slot = node,
                None => self.suffixes.push(node),
            }
            parent = next_parent;
        }
        self.indexed = end + 1;
    }
}

#[expect(clippy::cast_possible_truncation, reason = "at most ngram_max nodes a token, far below 2^32")]
fn node_id(nodes: usize) -> u32 {
    nodes as u32
}

impl<T: ?Sized> Proposer<T> for NgramProposer {
    fn name(&self) -> &'static str {
        "ngram"
    }

    fn reset(&mut self) {
        self.clear();
    }

    fn propose(
        &mut self,
        _: &mut T,
        request: DraftRequest<'_>,
        draft: &mut Draft,
    ) -> Result<(), EngineError> {
        draft.clear();
        self.continue_text(request.tokens, request.max, &mut draft.tokens);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proposer(min: usize, max: usize) -> NgramProposer {
        NgramProposer::new(NonZeroUsize::new(min).unwrap(), NonZeroUsize::new(max).unwrap()).unwrap()
    }

    fn propose(proposer: &mut NgramProposer, tokens: &[u32], max: usize) -> Vec<u32> {
        let mut draft = Draft { tokens: vec![99], probs: vec![vec![1.0]], held: false };
        let request = DraftRequest { tokens, hidden_row: 0, max, sampler: None };
        Proposer::<()>::propose(proposer, &mut (), request, &mut draft).unwrap();
        assert!(draft.probs.is_empty());
        draft.tokens
    }

    /// The definition, by scanning: quadratic and obvious.
    fn propose_by_scanning(text: &[u32], (min, max): (usize, usize), count: usize) -> Vec<u32> {
        for n in (min..=max.min(text.len())).rev() {
            let suffix = &text[text.len() - n..];
            if let Some(start) = (0..text.len() - n).rev().find(|&i| &text[i..i + n] == suffix) {
                let mut copied = text.to_vec();
                (0..count).for_each(|i| copied.push(copied[start + n + i]));
                return copied.split_off(text.len());
            }
        }
        Vec::new()
    }

    #[test]
    fn continues_the_most_recent_of_the_longest_matches() {
        let mut p = proposer(1, 3);
        // "1 2" occurred twice, the later time before 8; "7 1 2" is longer and was followed by 5.
        assert_eq!(propose(&mut p, &[7, 1, 2, 5, 6, 1, 2, 8, 7, 1, 2], 2), [5, 6]);
        p.clear();
        assert_eq!(propose(&mut p, &[1, 2, 5, 6, 1, 2, 8, 1, 2], 2), [8, 1]);
    }

    #[test]
    fn a_loop_is_drafted_in_full() {
        assert_eq!(propose(&mut proposer(2, 4), &[9, 1, 2, 1, 2], 6), [1, 2, 1, 2, 1, 2]);
    }

    #[test]
    fn without_a_match_there_is_no_draft() {
        assert_eq!(propose(&mut proposer(1, 3), &[1, 2, 3, 4], 5), Vec::<u32>::new());
        assert_eq!(propose(&mut proposer(2, 3), &[1, 2, 3, 1], 5), Vec::<u32>::new());
        assert_eq!(propose(&mut proposer(1, 1), &[], 5), Vec::<u32>::new());
    }

    #[test]
    fn bounds_the_wrong_way_round_are_refused() {
        let two = NonZeroUsize::new(2).unwrap();
        assert!(NgramProposer::new(two, NonZeroUsize::MIN).is_err());
    }

    proptest! {
        #[test]
        fn equals_a_naive_scan_however_the_text_grows(
            text in prop::collection::vec(0u32..4, 1..200),
            steps in prop::collection::vec(1usize..9, 1..60),
            min in 1usize..4,
            extra in 0usize..4,
            count in 1usize..9,
        ) {
            let bounds = (min, min + extra);
            let mut p = proposer(bounds.0, bounds.1);
            let mut len = 0;
            for step in steps {
                len = (len + step).min(text.len());
                prop_assert_eq!(
                    propose(&mut p, &text[..len], count),
                    propose_by_scanning(&text[..len], bounds, count)
                );
            }
        }
    }
}
