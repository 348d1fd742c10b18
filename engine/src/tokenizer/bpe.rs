//! Merges pairs of symbols by rank, lowest first, leftmost of equals: O(n log n) with a queue, since a run may be a
//! whole line or a whole text.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::EngineError;
use crate::gguf::GgufError;

/// Ranks of pairs.
#[derive(Debug)]
pub(super) struct Merges {
    /// Rank by left and right symbol.
    ranks: HashMap<String, HashMap<String, usize>>,
}

/// A piece of the text and its neighbours.
struct Symbol {
    start: usize,
    end: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

/// A pair that could be merged: rank first, then place, so that the queue gives the right one.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    rank: usize,
    left: usize,
    right: usize,
    /// Length of the pair when it was queued: a later merge makes it stale.
    len: usize,
}

impl Merges {
    /// Lines of `left right`, split at the first space after the first character.
    pub(super) fn new(lines: &[String]) -> Result<Self, EngineError> {
        let mut ranks: HashMap<String, HashMap<String, usize>> = HashMap::new();
        for (rank, line) in lines.iter().enumerate() {
            let first = line.chars().next().map_or(0, char::len_utf8);
            let Some((left, right)) =
                line[first..].find(' ').map(|at| (&line[..first + at], &line[first + at + 1..]))
            else {
                return Err(GgufError::WrongValue {
                    key: "tokenizer.ggml.merges".to_owned(),
                    got: format!("`{line}` at index {rank}"),
                    expected: "two symbols with a space between".to_owned(),
                }
                .into());
            };
            ranks.entry(left.to_owned()).or_default().entry(right.to_owned()).or_insert(rank);
        }
        Ok(Self { ranks })
    }

    fn rank(&self, left: &str, right: &str) -> Option<usize> {
        self.ranks.get(left)?.get(right).copied()
    }

    /// Calls `emit` with the symbols that `text` ends up as.
    pub(super) fn encode(&self, text: &str, mut emit: impl FnMut(&str)) {
        let mut symbols: Vec<Symbol> = text
            .char_indices()
            .enumerate()
            .map(|(i, (start, c))| Symbol {
                start,
                end: start + c.len_utf8(),
                previous: i.checked_sub(1),
                next: Some(i + 1),
            })
            .collect();
        let Some(last) = symbols.last_mut() else { return };
        last.next = None;
        let mut queue = BinaryHeap::new();
        for left in 0..symbols.len() - 1 {
            queue.extend(self.candidate(text, &symbols, left).map(Reverse));
        }
        while let Some(Reverse(pair)) = queue.pop() {
            let (left, right) = (&symbols[pair.left], &symbols[pair.right]);
            let is_stale = left.next != Some(pair.right) || right.end - left.start != pair.len;
            if is_stale {
                continue;
            }
            let (end, next) = (right.end, right.next);
            let previous = left.previous;
            symbols[pair.left].end = end;
            symbols[pair.left].next = next;
            // A swallowed symbol is empty and has no neighbour, so nothing queued for it can still hold.
            symbols[pair.right].start = end;
            symbols[pair.right].next = None;
            if let Some(next) = next {
                symbols[next].previous = Some(pair.left);
            }
            let touched = previous.into_iter().chain([pair.left]);
            queue.extend(touched.filter_map(|left| self.candidate(text, &symbols, left)).map(Reverse));
        }
        let mut at = Some(0);
        while let Some(i) = at {
            emit(&text[symbols[i].start..symbols[i].end]);
            at = symbols[i].next;
        }
    }

    /// The pair that begins at `left`, if it can be merged.
    fn candidate(&self, text: &str, symbols: &[Symbol], left: usize) -> Option<Candidate> {
        let a = &symbols[left];
        let right = a.next?;
        let b = &symbols[right];
        let rank = self.rank(&text[a.start..a.end], &text[b.start..b.end])?;
        Some(Candidate { rank, left, right, len: b.end - a.start })
    }
}
