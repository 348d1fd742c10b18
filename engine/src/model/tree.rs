//! Passes over trees of drafts on the CPU: many guesses at what follows, verified in one pass, one path of them kept.
//!
//! The tokens of a tree take the cells behind the sequence in their order, each with the position of its depth, and see
//! the sequence and their ancestors ([`TreeMask`]). Invariant: a row's logits have the bits that they would have if its
//! path alone had been forwarded, so greedy output through trees is the output without. What to draft and which path
//! stands is the caller's.

use super::target::{CpuTarget, Wanted};
use crate::EngineError;
use crate::attention::TreeMask;
use crate::spec::LogitRows;

/// A tree whose keys and values lie behind the sequence.
#[derive(Debug)]
pub(super) struct DraftTree {
    mask: TreeMask,
    tokens: Vec<u32>,
}

impl CpuTarget {
    /// One pass over `tokens` as the nodes of `tree`, all behind the sequence: logits and hidden of every row. The
    /// sequence stays as it is until [`Self::keep_path`]; another pass or a rollback forgets the tree.
    ///
    /// # Errors
    /// [`EngineError::InvalidArgument`] for no tokens, for more than `max_verify_rows`, or not as many as nodes;
    /// [`EngineError::UnknownToken`]; [`EngineError::ContextFull`]: every node takes a place until a path is kept.
    pub fn forward_tree(&mut self, tokens: &[u32], tree: &TreeMask) -> Result<(), EngineError> {
        self.check_tokens(tokens, LogitRows::All)?;
        if tokens.len() != tree.rows().len() {
            return Err(EngineError::InvalidArgument {
                what: "tokens",
                got: tokens.len().to_string(),
                expected: format!("one for each of the tree's {} nodes", tree.rows().len()),
            });
        }
        self.tree = None;
        self.restore_caches();
        let first = self.kv.len();
        self.pass(tokens, Wanted::EveryRow, Some(tree));
        self.kv.truncate(first);
        self.tree = Some(DraftTree { mask: tree.clone(), tokens: tokens.to_vec() });
        Ok(())
    }

    /// Appends the tokens from the root to node `row` of the last pass's tree to the sequence; their keys and values
    /// move together, and those of the other nodes are gone. Logits and hidden rows of the pass stay.
    ///
    /// # Errors
    /// [`EngineError::InvalidArgument`] without a tree, or a node that it has not.
    pub fn keep_path(&mut self, row: usize) -> Result<(), EngineError> {
        let nodes = self.tree.as_ref().map_or(0, |tree| tree.tokens.len());
        let Some(DraftTree { mask, tokens }) = self.tree.take_if(|_| row < nodes) else {
            let (got, expected) =
                (row.to_string(), format!("a node of the last pass's tree, which has {nodes}"));
            return Err(EngineError::InvalidArgument { what: "row", got, expected });
        };
        let (first, path) = (self.kv.len(), mask.path(row));
        for layer in 0..self.config().decoder.layers.len() {
            let Some(cache) = self.kv.layer_mut(layer) else { continue };
            for (i, node) in path.iter().enumerate().filter(|(i, node)| i != *node) {
                cache.copy(first + node, first + i);
            }
        }
        self.kv.advance(path.len());
        self.tokens.extend(path.iter().map(|node| tokens[*node]));
        Ok(())
    }
}
