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

    /// Whether rows are stored rotated.
    #[must_use]
    pub const fn is_rotated(self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Turbo(_) => true,
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
    /// Of keys and of values.
    formats: [CellFormat; 2],
    cells: usize,
    k: Vec<u8>,
    v: Vec<u8>,
}

impl LayerCache {
    pub(super) fn new(shape: KvShape, formats: [CellFormat; 2], cells: usize) -> Result<Self, EngineError> {
        let rows = cells.saturating_mul(shape.kv_heads);
        let zeros = |format: CellFormat| {
            let bytes = rows.saturating_mul(format.row_bytes(shape.head_dim));
            let mut cells = Vec::new();
            cells.try_reserve_exact(bytes).map_err(|source| EngineError::OutOfMemory {
                what: "the KV cache of a layer",
                bytes,
                source,
            })?;
            cells.resize(bytes, 0);
            Ok::<_, EngineError>(cells)
        };
        let [k, v] = formats;
        Ok(Self { shape, formats, cells, k: zeros(k)?, v: zeros(v)? })
    }

    /// Heads and their size.
    #[must_use]
    pub const fn shape(&self) -> KvShape {
        self.shape
    }

    /// How rows of keys and of values are stored.
    #[must_use]
    pub const fn formats(&self) -> [CellFormat; 2] {
        self.formats
    }

    /// Stores the rows of `k` and `v`, each `[m][kv_heads * head_dim]`, at positions `first..first + m`.
    pub fn write(&mut self, isa: Isa, first: usize, k: &[f32], v: &[f32]) {
        let KvShape { kv_heads, head_dim, .. } = self.shape;
        let [k_format, v_format] = self.formats;
        let width = kv_heads * head_dim;
        for (i, (k, v)) in k.chunks_exact(width).zip(v.chunks_exact(width)).enumerate() {
            let cell = (first + i) % self.cells;
            for head in 0..kv_heads {
                let row = head * self.cells + cell;
                let values = head * head_dim..(head + 1) * head_dim;
                let bytes = |format: CellFormat| {
                    let row_bytes = format.row_bytes(head_dim);
                    row * row_bytes..(row + 1) * row_bytes
                };
                k_format.store(isa, &k[values.clone()], &mut self.k[bytes(k_format)]);
                v_format.store(isa, &v[values], &mut self.v[bytes(v_format)]);
            }
        }
    }

    /// Copies what was written as position `from` to position `to`.
    pub fn copy(&mut self, from: usize, to: usize) {
        let KvShape { kv_heads, head_dim, .. } = self.shape;
        for (format, cells) in self.formats.into_iter().zip([&mut self.k, &mut self.v]) {
            let row_bytes = format.row_bytes(head_dim);
            for head in 0..kv_heads {
                let at = |position: usize| (head * self.cells + position % self.cells) * row_bytes;
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
        let first = head * self.cells + cell;
        let bytes = |format: CellFormat| {
            let row_bytes = format.row_bytes(self.shape.head_dim);
            first * row_bytes..(first + count) * row_bytes
        };
        let [k, v] = self.formats;
        (&self.k[bytes(k)], &self.v[bytes(v)])
    }
}
