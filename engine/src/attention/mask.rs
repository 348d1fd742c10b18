//! Which keys a query row sees: all before it, or those of its own path through a tree of drafts.
//!
//! The rows of one call are always the newest cells: row i has cell `first_pos + i`, whatever it sees. Under
//! [`Mask::Causal`] a cell's number is its position. In a tree it is not: siblings stand at the *same* position in
//! different cells, so each row carries its depth:
//!
//! ```text
//! position of row i          P(i) = first_pos + depth(i)         (what RoPE turns by, and windows count by)
//! position of a cell c       c where c < first_pos, else P(c - first_pos)
//! row i sees cell c < first_pos        if c > P(i) - window
//! row i sees cell first_pos + j        if bit j of ancestors(i) and P(j) > P(i) - window
//! ```
//!
//! Along any one path positions rise by 1, so a row sees just what it would see alone after its ancestors: `window`
//! positions, its own included. Counted by cells, a row behind its siblings would see fewer.
//!
//! A tree is data, [`TreeMask::state`], which kernels read on the device: a captured graph serves every tree. Invariant:
//! parents come before their children, so a row sees no cell behind its own and its depth is at most its number.

use std::num::NonZeroU32;

/// Most rows of a tree: their bits are one word.
pub const TREE_ROWS: u32 = 32;

/// How the rows of one call see each other; the past is seen by all of them, as far as the window reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mask {
    /// Every row sees the rows before it.
    #[default]
    Causal,
    /// Every row sees its ancestors, as a [`TreeMask`] tells when a step is made.
    Tree,
}

impl Mask {
    /// The option with which a kernel for this mask is compiled.
    #[must_use]
    pub const fn define(self) -> Option<&'static str> {
        match self {
            Self::Causal => None,
            Self::Tree => Some("-DTREE=1"),
        }
    }
}

/// One row of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeRow {
    /// Edges from its root; its position is the first row's plus this.
    pub depth: u32,
    /// Bit j: row j is an ancestor or the row itself.
    pub ancestors: u32,
}

/// The rows of one call as nodes of a tree, or of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeMask {
    rows: Vec<TreeRow>,
}

/// Rows that are no tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// None, or more than bits in a word.
    #[error("a tree of {got} rows, expected 1 to {TREE_ROWS}")]
    Rows {
        /// How many.
        got: usize,
    },
    /// A parent that does not come before its child.
    #[error(
        "row {row} of a tree has row {parent} as its parent, expected one before it; order rows by depth"
    )]
    Parent {
        /// The child.
        row: usize,
        /// Its parent.
        parent: usize,
    },
}

impl TreeMask {
    /// The tree in which row i is a child of `parents[i]`, or a root.
    ///
    /// # Errors
    /// No row or more than [`TREE_ROWS`], or a parent that does not come before its child.
    pub fn from_parents(parents: &[Option<usize>]) -> Result<Self, TreeError> {
        if parents.is_empty() || parents.len() > TREE_ROWS as usize {
            return Err(TreeError::Rows { got: parents.len() });
        }
        let mut rows: Vec<TreeRow> = Vec::with_capacity(parents.len());
        for (row, parent) in parents.iter().enumerate() {
            let own = 1 << row;
            rows.push(match *parent {
                None => TreeRow { depth: 0, ancestors: own },
                Some(parent) => {
                    let above = rows.get(parent).ok_or(TreeError::Parent { row, parent })?;
                    TreeRow { depth: above.depth + 1, ancestors: above.ancestors | own }
                }
            });
        }
        Ok(Self { rows })
    }

    /// One branch: what [`Mask::Causal`] says, as a tree.
    ///
    /// # Errors
    /// No row or more than [`TREE_ROWS`].
    pub fn chain(rows: usize) -> Result<Self, TreeError> {
        let parents: Vec<Option<usize>> = (0..rows).map(|row| row.checked_sub(1)).collect();
        Self::from_parents(&parents)
    }

    /// The rows, parents before children.
    #[must_use]
    pub fn rows(&self) -> &[TreeRow] {
        &self.rows
    }

    /// Rows from a root down to `row`, itself included: the tokens that it follows.
    ///
    /// # Panics
    /// Without such a row.
    #[must_use]
    pub fn path(&self, row: usize) -> Vec<usize> {
        let ancestors = self.rows[row].ancestors;
        (0..=row).filter(|j| ancestors >> j & 1 == 1).collect()
    }

    /// Rows that `row` sees, as bits: its ancestors and itself, as far as the window reaches.
    ///
    /// # Panics
    /// Without such a row.
    #[must_use]
    pub fn seen_rows(&self, row: usize, window: Option<NonZeroU32>) -> u32 {
        let TreeRow { depth, ancestors } = self.rows[row];
        let near = |j: &usize| window.is_none_or(|window| self.rows[*j].depth + window.get() > depth);
        (0..=row).filter(near).fold(0, |bits, j| bits | 1 << j) & ancestors
    }

    /// Whether `row` sees `cell`, the first row being at `first_pos`: the formula of this module.
    ///
    /// # Panics
    /// Without such a row.
    #[must_use]
    pub fn sees(&self, row: usize, cell: usize, first_pos: usize, window: Option<NonZeroU32>) -> bool {
        let position = first_pos + self.rows[row].depth as usize;
        match cell.checked_sub(first_pos) {
            None => window.is_none_or(|window| cell + window.get() as usize > position),
            Some(j) => j <= row && self.seen_rows(row, window) >> j & 1 == 1,
        }
    }

    /// What kernels read: `[kv_len, first_pos]`, then `[depth, ancestors]` of each row.
    #[must_use]
    pub fn state(&self, kv_len: i32, first_pos: i32) -> Vec<i32> {
        let rows = self.rows.iter().flat_map(|row| [row.depth.cast_signed(), row.ancestors.cast_signed()]);
        [kv_len, first_pos].into_iter().chain(rows).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_the_bits_of_its_row() {
        // 0 - 1 - 2
        //  \- 3 - 4
        let tree = TreeMask::from_parents(&[None, Some(0), Some(1), Some(0), Some(3)]).unwrap();
        let depths: Vec<u32> = tree.rows().iter().map(|row| row.depth).collect();
        assert_eq!(depths, [0, 1, 2, 1, 2]);
        assert_eq!((tree.path(2), tree.path(4)), (vec![0, 1, 2], vec![0, 3, 4]));
        assert_eq!(tree.state(15, 10), [15, 10, 0, 1, 1, 3, 2, 7, 1, 9, 2, 25]);
    }

    /// Along its path a row sees the positions it would see alone, whatever cells its siblings take.
    #[test]
    fn windows_count_positions_and_not_cells() {
        let tree = TreeMask::from_parents(&[None, Some(0), Some(1), Some(0), Some(3)]).unwrap();
        for window in (1..9).map(NonZeroU32::new) {
            for row in 0..5 {
                let path = tree.path(row);
                let seen = (0..15).filter(|cell| tree.sees(row, *cell, 10, window)).count();
                assert_eq!(seen, (10 + path.len()).min(window.unwrap().get() as usize), "{row} {window:?}");
            }
        }
        // A window of 2 at depth 2: the parent and itself.
        let two = NonZeroU32::new(2);
        assert_eq!((0..15).filter(|cell| tree.sees(4, *cell, 10, two)).collect::<Vec<_>>(), [13, 14]);
    }

    #[test]
    fn a_chain_is_causal() {
        let chain = TreeMask::chain(8).unwrap();
        for (row, cell) in (0..8).flat_map(|row| (0..20).map(move |cell| (row, cell))) {
            assert_eq!(chain.sees(row, cell, 7, None), cell <= 7 + row);
            let window = NonZeroU32::new(4);
            assert_eq!(chain.sees(row, cell, 7, window), cell <= 7 + row && cell + 4 > 7 + row);
        }
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        let error = |parents: &[Option<usize>]| TreeMask::from_parents(parents).unwrap_err().to_string();
        assert_eq!(error(&[]), "a tree of 0 rows, expected 1 to 32");
        assert_eq!(error(&[None; 33]), "a tree of 33 rows, expected 1 to 32");
        assert_eq!(
            error(&[None, Some(1)]),
            "row 1 of a tree has row 1 as its parent, expected one before it; order rows by depth"
        );
        let all = TreeMask::chain(32).unwrap();
        assert_eq!(all.rows()[31], TreeRow { depth: 31, ancestors: u32::MAX });
    }
}
