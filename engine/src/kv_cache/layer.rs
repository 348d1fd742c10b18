//! Keys and values of one layer, `[kv_head][cell][head_dim]`, so that a head's cells are one contiguous matrix.

use std::ops::Range;

use super::KvShape;
use crate::EngineError;
use crate::backend::cpu::{Element, Isa};

/// One layer's cells.
#[derive(Debug)]
pub struct LayerCache {
    shape: KvShape,
    element: Element,
    cells: usize,
    k: Vec<u8>,
    v: Vec<u8>,
}

impl LayerCache {
    pub(super) fn new(shape: KvShape, element: Element, cells: usize) -> Result<Self, EngineError> {
        let bytes = cells.saturating_mul(shape.kv_heads).saturating_mul(element.row_bytes(shape.head_dim));
        let zeros = || {
            let mut cells = Vec::new();
            cells.try_reserve_exact(bytes).map_err(|source| EngineError::OutOfMemory {
                what: "the KV cache of a layer",
                bytes,
                source,
            })?;
            cells.resize(bytes, 0);
            Ok::<_, EngineError>(cells)
        };
        Ok(Self { shape, element, cells, k: zeros()?, v: zeros()? })
    }

    /// Heads and their size.
    #[must_use]
    pub const fn shape(&self) -> KvShape {
        self.shape
    }

    /// How rows are stored.
    #[must_use]
    pub const fn element(&self) -> Element {
        self.element
    }

    /// Stores the rows of `k` and `v`, each `[m][kv_heads * head_dim]`, at positions `first..first + m`.
    pub fn write(&mut self, isa: Isa, first: usize, k: &[f32], v: &[f32]) {
        let KvShape { kv_heads, head_dim, .. } = self.shape;
        let row_bytes = self.element.row_bytes(head_dim);
        let width = kv_heads * head_dim;
        for (i, (k, v)) in k.chunks_exact(width).zip(v.chunks_exact(width)).enumerate() {
            let cell = (first + i) % self.cells;
            for head in 0..kv_heads {
                let start = (head * self.cells + cell) * row_bytes;
                let values = head * head_dim..(head + 1) * head_dim;
                isa.narrow(self.element, &k[values.clone()], &mut self.k[start..start + row_bytes]);
                isa.narrow(self.element, &v[values], &mut self.v[start..start + row_bytes]);
            }
        }
    }

    /// Keys and values of one head at `positions`, as at most two runs of cells in ascending order of position.
    #[must_use]
    pub fn runs(&self, head: usize, positions: Range<usize>) -> [(&[u8], &[u8]); 2] {
        let (start, count) = (positions.start % self.cells, positions.len());
        let first = count.min(self.cells - start);
        [self.run(head, start, first), self.run(head, 0, count - first)]
    }

    fn run(&self, head: usize, cell: usize, count: usize) -> (&[u8], &[u8]) {
        let row_bytes = self.element.row_bytes(self.shape.head_dim);
        let start = (head * self.cells + cell) * row_bytes;
        let bytes = start..start + count * row_bytes;
        (&self.k[bytes.clone()], &self.v[bytes])
    }
}
