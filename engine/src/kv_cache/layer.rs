//! Keys and values of one layer, `[kv_head][cell][head_dim]`, so that a head's cells are one contiguous matrix.

use std::ops::Range;

use super::KvShape;
use super::turbo::{GROUP, TurboType};
use crate::EngineError;
use crate::backend::cpu::{Element, Isa, Q8_BLOCK};

/// How a row of a cell is stored in memory of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellFormat {
    /// As the row kernels read it.
    Plain(Element),
    /// Blocks of [`GROUP`] rotated values, one behind the other; they are unpacked to be read.
    Turbo(TurboType),
}

impl CellFormat {
    /// Bytes of a row of `head_dim` elements, a multiple of [`Self::block`].
    #[must_use]
    pub const fn row_bytes(self, head_dim: usize) -> usize {
        match self {
            Self::Plain(element) => element.row_bytes(head_dim),
            Self::Turbo(ty) => head_dim / GROUP * ty.block_bytes(),
        }
    }

    /// Elements that are stored together: a head has a multiple of them.
    #[must_use]
    pub const fn block(self) -> usize {
        match self {
            Self::Plain(Element::Q8_0) => Q8_BLOCK,
            Self::Plain(Element::F32 | Element::F16 | Element::Bf16) => 1,
            Self::Turbo(_) => GROUP,
        }
    }

    fn store(self, isa: Isa, values: &[f32], out: &mut [u8]) {
        match self {
            Self::Plain(element) => isa.narrow(element, values, out),
            Self::Turbo(ty) => {
                let blocks = out.chunks_exact_mut(ty.block_bytes());
                for (group, block) in values.as_chunks::<GROUP>().0.iter().zip(blocks) {
                    block.copy_from_slice(&ty.pack(&ty.quantize(group)));
                }
            }
        }
    }
}

/// One layer's cells.
#[derive(Debug)]
pub struct LayerCache {
    shape: KvShape,
    format: CellFormat,
    cells: usize,
    k: Vec<u8>,
    v: Vec<u8>,
}

impl LayerCache {
    pub(super) fn new(shape: KvShape, format: CellFormat, cells: usize) -> Result<Self, EngineError> {
        let bytes = cells.saturating_mul(shape.kv_heads).saturating_mul(format.row_bytes(shape.head_dim));
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
        Ok(Self { shape, format, cells, k: zeros()?, v: zeros()? })
    }

    /// Heads and their size.
    #[must_use]
    pub const fn shape(&self) -> KvShape {
        self.shape
    }

    /// How rows are stored.
    #[must_use]
    pub const fn format(&self) -> CellFormat {
        self.format
    }

    /// Stores the rows of `k` and `v`, each `[m][kv_heads * head_dim]`, at positions `first..first + m`.
    pub fn write(&mut self, isa: Isa, first: usize, k: &[f32], v: &[f32]) {
        let KvShape { kv_heads, head_dim, .. } = self.shape;
        let row_bytes = self.format.row_bytes(head_dim);
        let width = kv_heads * head_dim;
        for (i, (k, v)) in k.chunks_exact(width).zip(v.chunks_exact(width)).enumerate() {
            let cell = (first + i) % self.cells;
            for head in 0..kv_heads {
                let start = (head * self.cells + cell) * row_bytes;
                let values = head * head_dim..(head + 1) * head_dim;
                self.format.store(isa, &k[values.clone()], &mut self.k[start..start + row_bytes]);
                self.format.store(isa, &v[values], &mut self.v[start..start + row_bytes]);
            }
        }
    }

    /// Copies what was written as position `from` to position `to`.
    pub fn copy(&mut self, from: usize, to: usize) {
        let row_bytes = self.format.row_bytes(self.shape.head_dim);
        for head in 0..self.shape.kv_heads {
            let at = |position: usize| (head * self.cells + position % self.cells) * row_bytes;
            for cells in [&mut self.k, &mut self.v] {
                cells.copy_within(at(from)..at(from) + row_bytes, at(to));
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
        let row_bytes = self.format.row_bytes(self.shape.head_dim);
        let start = (head * self.cells + cell) * row_bytes;
        let bytes = start..start + count * row_bytes;
        (&self.k[bytes.clone()], &self.v[bytes])
    }
}
