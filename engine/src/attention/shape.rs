//! What attention is asked for, and what a device offers. Both are plain data; a valid shape is made by `new`.

use std::num::NonZeroU32;

use super::{KvFormat, Mask, TREE_ROWS};

/// Greatest head dimension that any kernel handles.
const MAX_HEAD_DIM: u32 = 576;

/// One layer's attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttnShape {
    /// Elements of a head, keys and values alike.
    pub head_dim: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads; divides `heads`.
    pub kv_heads: u32,
    /// Query rows (tokens) of one call.
    pub q_rows: u32,
    /// How keys are stored.
    pub k: KvFormat,
    /// How values are stored.
    pub v: KvFormat,
    /// Positions a query sees, its own included; `None` for all.
    pub window: Option<NonZeroU32>,
    /// How query rows see each other.
    pub mask: Mask,
    /// Cells of the cache: the longest context, or the ring of a sliding layer.
    pub cells: u32,
}

/// A shape that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("attention shape: {what} is {got}, expected {expected}")]
pub struct ShapeError {
    what: &'static str,
    got: u32,
    expected: String,
}

impl AttnShape {
    /// Query heads that share a KV head.
    #[must_use]
    pub const fn gqa_ratio(&self) -> u32 {
        self.heads / self.kv_heads
    }

    /// Query columns that share a KV head: rows times ratio.
    #[must_use]
    pub const fn columns(&self) -> u32 {
        self.q_rows * self.gqa_ratio()
    }

    /// Most keys that the columns of one call see together.
    #[must_use]
    pub fn keys(&self) -> u32 {
        self.window.map_or(self.cells, |w| w.get().saturating_add(self.q_rows - 1).min(self.cells))
    }

    /// Checks what every kernel takes for granted.
    ///
    /// # Errors
    /// The first field that makes no sense.
    pub fn check(&self) -> Result<(), ShapeError> {
        let error = |what, got, expected: &str| Err(ShapeError { what, got, expected: expected.to_owned() });
        let most = 1 << 20;
        if self.head_dim == 0 || !self.head_dim.is_multiple_of(8) || self.head_dim > MAX_HEAD_DIM {
            return error("head_dim", self.head_dim, "a multiple of 8 up to 576");
        }
        for (what, got) in [("kv_heads", self.kv_heads), ("heads", self.heads), ("q_rows", self.q_rows)] {
            if got == 0 || got > most {
                return error(what, got, "1 to 1048576");
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return error("heads", self.heads, &format!("a multiple of the {} KV heads", self.kv_heads));
        }
        if self.kv_heads > 65_535 {
            return error("kv_heads", self.kv_heads, "at most 65535");
        }
        // Kernels divide columns by the ratio with a 32-bit reciprocal.
        if self.gqa_ratio() > 4096 {
            return error("heads", self.heads, "at most 4096 per KV head");
        }
        if u64::from(self.q_rows) * u64::from(self.gqa_ratio()) > u64::from(most) / 2 {
            return error("q_rows", self.q_rows, "at most 524288 columns (rows times heads per KV head)");
        }
        if self.mask == Mask::Tree && self.q_rows > TREE_ROWS {
            return error("q_rows", self.q_rows, "at most 32 with a tree mask");
        }
        if self.cells == 0 || self.cells > 1 << 30 {
            return error("cells", self.cells, "1 to 2^30");
        }
        Ok(())
    }
}

/// What a device offers, as far as the choice of a kernel depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceCaps {
    /// Compute capability times ten: 90 for 9.0.
    pub compute: u32,
    /// Multiprocessors.
    pub multiprocessors: u32,
    /// Most shared memory of a block, opt-in included, in bytes.
    pub shared_per_block: u32,
    /// Shared memory of a multiprocessor, in bytes.
    pub shared_per_multiprocessor: u32,
}

impl DeviceCaps {
    /// A typical device of a compute capability, for tests and for plans without a device.
    #[must_use]
    pub const fn typical(compute: u32) -> Self {
        let (shared_kib, multiprocessors) = match compute {
            ..80 => (64, 40),
            80 | 87 => (164, 108),
            90 | 100..120 => (228, 132),
            _ => (100, 84),
        };
        let block_kib = if compute < 80 { shared_kib } else { shared_kib - 1 };
        Self {
            compute,
            multiprocessors,
            shared_per_block: block_kib * 1024,
            shared_per_multiprocessor: shared_kib * 1024,
        }
    }
}
