//! Attention of a few query rows over one layer's cache: softmax(q k) v with scale 1, in f32.
//!
//! Work is shared by (KV head, tile of queries), so the heads that share a KV head and the rows of a verify step read
//! the cache once. A turbo cache is read as the GPU reads it: the queries are rotated, a few cells at a time unpacked, and
//! the blended values rotated back. Invariant: keys are visited in ascending order of position for every query, so a query's bits do
//! not depend on its tile.

#![expect(unsafe_code, reason = "threads write disjoint heads of one output")]

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::{Element, Isa, Pool, Q8Buffer};
use crate::kv_cache::turbo::{GROUP, TurboType, rotate, rotate_back};
use crate::kv_cache::{CellFormat, LayerCache};

/// Queries that go over the keys together; more would push scores out of the cache for nothing.
const TILE: usize = 16;

/// Cells of a turbo cache that are unpacked together.
const UNPACKED_CELLS: usize = 16;

/// Query rows and what each may see.
#[derive(Debug, Clone, Copy)]
pub struct Queries<'a> {
    /// `[rows][heads * head_dim]`, normed and rotated.
    pub values: &'a [f32],
    /// Query heads; a multiple of the cache's KV heads.
    pub heads: usize,
    /// Positions that each row sees, never empty.
    pub visible: &'a [Range<usize>],
    /// The rows as nodes of a tree: of its newest cells a row sees its ancestors' alone.
    pub tree: Option<TreeCells<'a>>,
}

/// Which of the newest cells each row sees; `attention::TreeMask` has the formula.
#[derive(Debug, Clone, Copy)]
pub struct TreeCells<'a> {
    /// The cell of the tree's row 0, by its number since the first token; what lies before is the past.
    pub first: usize,
    /// A row's seen cells from `first` on as bits, its own among them, one entry for each of `visible`. Those ranges
    /// begin in the past or at `first` and end behind the row's own cell.
    pub seen: &'a [u32],
}

/// Room for one worker's tile each; made once, for the longest context.
#[derive(Debug)]
pub struct AttentionScratch {
    workers: Vec<Mutex<TileScratch>>,
}

#[derive(Debug)]
struct TileScratch {
    queries: Vec<f32>,
    scores: Vec<f32>,
    blended: Vec<f32>,
    quantized: Q8Buffer,
    /// `[UNPACKED_CELLS][head_dim]` as little-endian f32, which the kernels read.
    unpacked: Vec<u8>,
}

impl AttentionScratch {
    /// Bytes of room for these sizes.
    #[must_use]
    pub const fn bytes(threads: usize, context_tokens: usize, head_dim: usize) -> usize {
        threads
            .saturating_mul(TILE)
            .saturating_mul(context_tokens.saturating_add(5 * head_dim))
            .saturating_mul(4)
    }

    /// Room for `threads` workers, `context_tokens` positions and heads of up to `head_dim`.
    #[must_use]
    pub fn new(threads: usize, context_tokens: usize, head_dim: usize) -> Self {
        let worker = || TileScratch {
            queries: vec![0.0; TILE * head_dim],
            scores: vec![0.0; TILE * context_tokens],
            blended: vec![0.0; TILE * head_dim],
            quantized: Q8Buffer::with_capacity(TILE * head_dim),
            unpacked: vec![0; UNPACKED_CELLS * head_dim * 4],
        };
        Self { workers: (0..threads).map(|_| Mutex::new(worker())).collect() }
    }
}

/// The output, written by head.
#[derive(Clone, Copy)]
struct HeadOut(*mut f32);

// SAFETY: every (row, head) is written by exactly one tile and read only after the pool has finished.
unsafe impl Sync for HeadOut {}

/// `out[row][head] = softmax(q . k) v` over the visible positions; `out` is `[rows][heads * head_dim]`.
///
/// # Panics
/// When shapes do not fit together or a row sees nothing.
pub fn attend(
    isa: Isa,
    pool: &mut Pool,
    cache: &LayerCache,
    queries: Queries<'_>,
    scratch: &AttentionScratch,
    out: &mut [f32],
) {
    let (kv_heads, dim) = (cache.shape().kv_heads, cache.shape().head_dim);
    let (rows, group) = (queries.visible.len(), queries.heads / kv_heads);
    assert!(
        queries.heads == group * kv_heads && queries.values.len() == rows * queries.heads * dim,
        "query shape"
    );
    assert_eq!(out.len(), queries.values.len(), "output shape");
    assert!(queries.visible.iter().all(|v| !v.is_empty()), "a query that sees nothing has no softmax");
    let per_head = rows * group;
    let tile = (per_head * kv_heads).div_ceil(pool.threads()).clamp(1, TILE.min(per_head));
    let tiles = per_head.div_ceil(tile);
    let out = HeadOut(out.as_mut_ptr());
    pool.run(kv_heads * tiles, &|worker, chunk| {
        let out = &out;
        let (kv_head, first) = (chunk / tiles, chunk % tiles * tile);
        let members = first..(first + tile).min(per_head);
        let mut scratch = scratch.workers[worker].lock().unwrap_or_else(PoisonError::into_inner);
        // Query i of a KV head is head `i % group` of its group in row `i / group`.
        let place = |i: usize| (i / group * queries.heads + kv_head * group + i % group) * dim;
        scratch.tile(isa, cache, kv_head, queries, members.clone(), group, place);
        for (i, values) in members.zip(scratch.blended.chunks_exact(dim)) {
            // SAFETY: `place(i)` is a head of the output, which only this tile writes.
            unsafe { out.0.wrapping_add(place(i)).copy_from_nonoverlapping(values.as_ptr(), dim) };
        }
    });
}

impl TileScratch {
    /// Attention of the queries `members` of one KV head, into `self.blended` as `[members][head_dim]`.
    #[expect(clippy::too_many_arguments, reason = "one tile's place in the work, used once")]
    fn tile(
        &mut self,
        isa: Isa,
        cache: &LayerCache,
        kv_head: usize,
        queries: Queries<'_>,
        members: Range<usize>,
        group: usize,
        place: impl Fn(usize) -> usize,
    ) {
        let (dim, m) = (cache.shape().head_dim, members.len());
        for (i, q) in members.clone().zip(self.queries.chunks_exact_mut(dim)) {
            q.copy_from_slice(&queries.values[place(i)..place(i) + dim]);
        }
        // Keys are rotated as queries are; what is blended of rotated values is rotated back.
        let [k_format, v_format] = cache.formats();
        if k_format.is_rotated() {
            self.queries[..m * dim].as_chunks_mut::<GROUP>().0.iter_mut().for_each(rotate);
        }
        // Ranges end further on from row to row; in a tree they begin anywhere.
        let visible = &queries.visible[members.start / group..=(members.end - 1) / group];
        let start = visible.iter().map(|range| range.start).min().unwrap_or(0);
        let end = visible.last().map_or(0, |range| range.end);
        let span = end - start;
        let past = queries.tree.map_or(end, |tree| tree.first) - start;
        self.score(isa, cache.runs(kv_head, start..end), k_format, m, dim, span);
        self.blended[..m * dim].fill(0.0);
        let mut sums = [0.0; TILE];
        for ((i, scores), sum) in members.zip(self.scores.chunks_exact_mut(span)).zip(&mut sums) {
            let visible = &queries.visible[i / group];
            let visible = visible.start - start..visible.end - start;
            *sum = match queries.tree {
                None => softmax_weights(isa, scores, visible),
                Some(tree) => tree_weights(isa, scores, visible.start..past, tree.seen[i / group]),
            };
        }
        let row_bytes = v_format.row_bytes(dim);
        let mut offset = 0;
        for (_, values) in cache.runs(kv_head, start..start + past) {
            self.blend(isa, v_format, values, (offset, span), 0..m, dim);
            offset += values.len() / row_bytes;
        }
        // Cells of a tree go to the queries that see them alone: 0 times what is no number would be none.
        for cell in past..span {
            let [(_, values), _] = cache.runs(kv_head, start + cell..start + cell + 1);
            for q in 0..m {
                if self.scores[q * span + cell] != 0.0 {
                    self.blend(isa, v_format, values, (cell, span), q..q + 1, dim);
                }
            }
        }
        if v_format.is_rotated() {
            self.blended[..m * dim].as_chunks_mut::<GROUP>().0.iter_mut().for_each(rotate_back);
        }
        for (values, sum) in self.blended.chunks_exact_mut(dim).zip(&sums[..m]) {
            values.iter_mut().for_each(|v| *v /= sum);
        }
    }

    /// `scores[q][cell] = q . k` for every cell of the runs.
    fn score(
        &mut self,
        isa: Isa,
        runs: [(&[u8], &[u8]); 2],
        format: CellFormat,
        m: usize,
        dim: usize,
        span: usize,
    ) {
        let Self { queries, scores, quantized, unpacked, .. } = self;
        let queries = &queries[..m * dim];
        let row_bytes = format.row_bytes(dim);
        let scores = &mut scores[..m * span];
        let quantized =
            (format == CellFormat::Plain(Element::Q8_0)).then(|| quantized.quantize(isa, queries, dim));
        let mut offset = 0;
        for (keys, _) in runs {
            let cells = keys.len() / row_bytes;
            let mut out = scores.as_mut_ptr().wrapping_add(offset);
            match (format, quantized) {
                // SAFETY: `scores` is `[m][span]` and this run's cells lie in columns offset..offset + cells <= span.
                (_, Some(x)) => unsafe { isa.matmul_q8(keys, cells, x, m, out, span) },
                // SAFETY: as above.
                (CellFormat::Plain(element), None) => unsafe {
                    isa.matmul(element, keys, cells, queries, m, out, span);
                },
                (CellFormat::Turbo(ty), None) => {
                    for keys in keys.chunks(UNPACKED_CELLS * row_bytes) {
                        let cells = keys.len() / row_bytes;
                        let keys = unpack(ty, keys, unpacked);
                        // SAFETY: as above, for the next columns of this run.
                        unsafe { isa.matmul(Element::F32, keys, cells, queries, m, out, span) };
                        out = out.wrapping_add(cells);
                    }
                }
            }
            offset += cells;
        }
        debug_assert_eq!(offset, span, "the runs cover the span");
    }

    /// Adds a run's values to the queries `of`, weighted by the scores from column `offset` of `span` on.
    fn blend(
        &mut self,
        isa: Isa,
        format: CellFormat,
        values: &[u8],
        (offset, span): (usize, usize),
        of: Range<usize>,
        dim: usize,
    ) {
        let Self { scores, blended, unpacked, .. } = self;
        let scores = &scores[of.start * span..];
        let blended = &mut blended[of.start * dim..of.end * dim];
        match format {
            CellFormat::Plain(element) => isa.blend(element, values, &scores[offset..], span, blended, dim),
            CellFormat::Turbo(ty) => {
                let row_bytes = format.row_bytes(dim);
                for (nth, values) in values.chunks(UNPACKED_CELLS * row_bytes).enumerate() {
                    let values = unpack(ty, values, unpacked);
                    let weights = &scores[offset + nth * UNPACKED_CELLS..];
                    isa.blend(Element::F32, values, weights, span, blended, dim);
                }
            }
        }
    }
}

/// Rows of turbo blocks as f32, still rotated.
#[expect(clippy::expect_used, reason = "chunks_exact gives whole blocks")]
fn unpack<'a>(ty: TurboType, blocks: &[u8], out: &'a mut [u8]) -> &'a [u8] {
    let groups = blocks.chunks_exact(ty.block_bytes());
    let bytes = groups.len() * GROUP * 4;
    let out = &mut out[..bytes];
    for (block, out) in groups.zip(out.chunks_exact_mut(GROUP * 4)) {
        let values = ty.dequantize(&ty.unpack(block).expect("a whole block"));
        for (value, out) in values.iter().zip(out.as_chunks_mut::<4>().0) {
            *out = value.to_le_bytes();
        }
    }
    out
}

/// Turns scores into `exp(score - max)` within `visible` and 0 outside; the sum of the weights.
fn softmax_weights(isa: Isa, scores: &mut [f32], visible: Range<usize>) -> f32 {
    scores[..visible.start].fill(0.0);
    scores[visible.end..].fill(0.0);
    let scores = &mut scores[visible];
    let max = lanes(scores, f32::NEG_INFINITY, f32::max);
    isa.exp_shifted(scores, max);
    lanes(scores, 0.0, |a, b| a + b)
}

/// [`softmax_weights`] of the `past` and those of the cells behind it whose bits are set in `seen`. They are moved
/// together for it, so that they are summed as they would be had the row's path been alone.
fn tree_weights(isa: Isa, scores: &mut [f32], past: Range<usize>, seen: u32) -> f32 {
    let first = past.end;
    let cells = || (0..u32::BITS as usize).filter(|j| seen >> j & 1 == 1);
    for (together, j) in cells().enumerate() {
        scores[first + together] = scores[first + j];
    }
    let sum = softmax_weights(isa, scores, past.start..first + cells().count());
    for (together, j) in cells().enumerate().collect::<Vec<_>>().into_iter().rev() {
        scores[first + j] = std::mem::take(&mut scores[first + together]);
    }
    sum
}

/// Folds with eight independent accumulators, which the compiler turns into vectors.
fn lanes(values: &[f32], start: f32, fold: impl Fn(f32, f32) -> f32) -> f32 {
    let mut acc = [start; 8];
    let chunks = values.chunks_exact(8);
    let tail = chunks.remainder();
    for chunk in chunks {
        for (acc, value) in acc.iter_mut().zip(chunk) {
            *acc = fold(*acc, *value);
        }
    }
    acc.iter().chain(tail).fold(start, |a, b| fold(a, *b))
}
