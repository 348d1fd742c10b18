//! The keys and values of one sequence: full layers hold the whole context, sliding layers a ring.
//!
//! A token at position p lies in cell `p mod cells` of every layer; each kind of layer keeps the absolute position of
//! every cell, so what was overwritten is known and a rollback is either exact or refused, never silently wrong.
//! Invariant: a ring has at least `window + most rows of one forward pass + 1` cells, so rows that are rolled back
//! (rejected drafts) never cost a cell that the window still needs.

mod layer;
#[cfg(test)]
mod tests;
pub mod turbo;

pub use layer::{CellFormat, LayerCache};

use self::turbo::TurboType;
use crate::EngineError;
use crate::attention::KvFormat;
use crate::backend::cpu::Element;

/// How keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvType {
    /// 4 bytes a value; for comparisons on a GPU, where it is slow.
    F32,
    /// 2 bytes a value.
    F16,
    /// 2 bytes a value; on a GPU only.
    Bf16,
    /// 34 bytes for 32 values.
    Q8_0,
    /// Rotated groups of 128 with a codebook; made for a GPU, on the CPU it is slow.
    Turbo(TurboType),
}

impl KvType {
    /// The layout of a cache row in memory of the host; `None` for what only a GPU has.
    #[must_use]
    pub const fn cells(self) -> Option<CellFormat> {
        match self {
            Self::F32 => Some(CellFormat::Plain(Element::F32)),
            Self::F16 => Some(CellFormat::Plain(Element::F16)),
            Self::Q8_0 => Some(CellFormat::Plain(Element::Q8_0)),
            Self::Turbo(ty) => Some(CellFormat::Turbo(ty)),
            Self::Bf16 => None,
        }
    }

    /// The layout of a cache row on a GPU.
    #[must_use]
    pub const fn format(self) -> KvFormat {
        match self {
            Self::F32 => KvFormat::F32,
            Self::F16 => KvFormat::F16,
            Self::Bf16 => KvFormat::Bf16,
            Self::Q8_0 => KvFormat::Q8_0,
            Self::Turbo(ty) => KvFormat::Turbo(ty),
        }
    }

    /// As in presets and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.format().name()
    }
}

/// How keys and how values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvTypes {
    /// Of keys.
    pub k: KvType,
    /// Of values.
    pub v: KvType,
}

impl KvTypes {
    /// The same type for both.
    #[must_use]
    pub const fn same(both: KvType) -> Self {
        Self { k: both, v: both }
    }

    /// As in presets and tables: one word, or `q8_0/turbo3`.
    #[must_use]
    pub fn name(self) -> String {
        if self.k == self.v {
            self.k.name().to_owned()
        } else {
            format!("{}/{}", self.k.name(), self.v.name())
        }
    }

    /// Layouts of keys and values in memory of the host; `None` where a GPU alone has one of them.
    #[must_use]
    pub fn cells(self) -> Option<[CellFormat; 2]> {
        Some([self.k.cells()?, self.v.cells()?])
    }
}

impl From<KvType> for KvTypes {
    fn from(both: KvType) -> Self {
        Self::same(both)
    }
}

/// Which positions a layer's queries see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionKind {
    /// The last `window` positions, the query's own included.
    Sliding,
    /// Every position up to the query's own.
    Full,
}

/// A layer that stores keys and values of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    /// Sliding or full.
    pub kind: AttentionKind,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
}

/// Sizes of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvLimits {
    /// Tokens a sequence may have.
    pub context_tokens: usize,
    /// Positions a sliding layer sees, the query's own included.
    pub window: usize,
    /// Most rows of one forward pass.
    pub max_rows: usize,
}

impl KvLimits {
    /// Cells of a layer of this kind.
    #[must_use]
    pub fn cells(&self, kind: AttentionKind) -> usize {
        match kind {
            AttentionKind::Full => self.context_tokens,
            AttentionKind::Sliding => {
                self.window.saturating_add(self.max_rows).saturating_add(1).min(self.context_tokens)
            }
        }
    }
}

/// The caches of all layers of one sequence.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<Option<LayerCache>>,
    limits: KvLimits,
    /// Absolute position in each ring cell; `usize::MAX` where nothing was written.
    ring: Vec<usize>,
    len: usize,
}

impl KvCache {
    /// Bytes that [`Self::new`] will allocate; `None` when that is beyond any address space, or the type is a GPU's.
    #[must_use]
    pub fn bytes(
        layers: &[Option<KvShape>],
        kv_type: impl Into<KvTypes>,
        limits: &KvLimits,
    ) -> Option<usize> {
        let [k, v] = kv_type.into().cells()?;
        layers.iter().flatten().try_fold(0_usize, |sum, shape| {
            let rows = limits.cells(shape.kind).checked_mul(shape.kv_heads)?;
            let row_bytes = k.row_bytes(shape.head_dim).checked_add(v.row_bytes(shape.head_dim))?;
            sum.checked_add(rows.checked_mul(row_bytes)?)
        })
    }

    /// Empty caches; `None` stands for a layer that reads another layer's.
    ///
    /// # Errors
    /// [`EngineError::OutOfMemory`]; [`EngineError::InvalidArgument`] for a type that only a GPU has.
    pub fn new(
        layers: &[Option<KvShape>],
        kv_type: impl Into<KvTypes>,
        limits: KvLimits,
    ) -> Result<Self, EngineError> {
        let kv_type = kv_type.into();
        let Some(formats) = kv_type.cells() else {
            return Err(EngineError::InvalidArgument {
                what: "kv_type",
                got: format!("{} on the CPU", kv_type.name()),
                expected: "f32, f16, q8_0, turbo2 to 4 or turbo4-atomic there".to_owned(),
            });
        };
        let build = |shape: &Option<KvShape>| {
            shape.map(|s| LayerCache::new(s, formats, limits.cells(s.kind))).transpose()
        };
        let layers = layers.iter().map(build).collect::<Result<_, _>>()?;
        let ring = vec![usize::MAX; limits.cells(AttentionKind::Sliding)];
        Ok(Self { layers, limits, ring, len: 0 })
    }

    /// Tokens cached.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is cached.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The cache of a layer that has its own.
    #[must_use]
    pub fn layer(&self, layer: usize) -> Option<&LayerCache> {
        self.layers.get(layer)?.as_ref()
    }

    /// The cache of a layer that has its own, to append to.
    pub fn layer_mut(&mut self, layer: usize) -> Option<&mut LayerCache> {
        self.layers.get_mut(layer)?.as_mut()
    }

    /// Counts `rows` more tokens as cached; every layer that has a cache has been given them.
    pub fn advance(&mut self, rows: usize) {
        let cells = self.ring.len();
        for position in self.len..self.len + rows {
            self.ring[position % cells] = position;
        }
        self.len += rows;
    }

    /// Whether the caches can go back to `len` tokens: all that a query at position `len` may see is still there.
    #[must_use]
    pub fn can_truncate(&self, len: usize) -> bool {
        // Cells are overwritten in the order of positions, so the oldest one needed tells for all.
        let oldest = (len + 1).saturating_sub(self.limits.window);
        len >= self.len || oldest >= len || self.ring[oldest % self.ring.len()] == oldest
    }

    /// Forgets positions `len` and later. Exact if [`Self::can_truncate`] says so.
    pub fn truncate(&mut self, len: usize) {
        debug_assert!(self.can_truncate(len), "cells that the window needs were overwritten");
        self.len = self.len.min(len);
    }
}
