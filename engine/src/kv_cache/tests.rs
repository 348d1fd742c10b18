//! Rings against a cache that never forgets.

use std::num::NonZeroU32;
use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::attention::{OracleInput, TreeMask, attention_f64};
use crate::backend::cpu::{AttentionScratch, Isa, Pool, Queries, TreeCells, attend};

const HEAD_DIM: usize = 128;
const KV_HEADS: usize = 2;
const HEADS: usize = 4;
const LIMITS: KvLimits = KvLimits { context_tokens: 60, window: 7, max_rows: 5 };

#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    /// Rolls back this many tokens.
    Rollback(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![(1_usize..=5).prop_map(Step::Append), (0_usize..=5).prop_map(Step::Rollback)];
    prop::collection::vec(step, 1..40)
}

/// Values of a position that differ every time it is written.
fn row(position: usize, version: usize, salt: usize) -> Vec<f32> {
    let value = |i: usize| ((position * 31 + version * 17 + salt * 7 + i) as f32 * 0.611).sin();
    (0..KV_HEADS * HEAD_DIM).map(value).collect()
}

fn attention(cache: &LayerCache, visible: Range<usize>) -> Vec<f32> {
    let values: Vec<f32> = (0..HEADS * HEAD_DIM).map(|i| (i as f32 * 0.173).cos()).collect();
    let mut pool = Pool::new(1).expect("one thread");
    let scratch = AttentionScratch::new(1, LIMITS.context_tokens, HEAD_DIM);
    let queries = Queries { values: &values, heads: HEADS, visible: &[visible], tree: None };
    let mut out = vec![0.0; values.len()];
    attend(Isa::detect(), &mut pool, cache, queries, &scratch, &mut out);
    out
}

fn kv_type() -> impl Strategy<Value = KvType> {
    prop_oneof![
        Just(KvType::F32),
        Just(KvType::F16),
        Just(KvType::Q8_0),
        Just(KvType::Turbo(TurboType::Turbo3)),
        Just(KvType::Turbo(TurboType::Turbo4Atomic)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// After any appends and rollbacks within one forward pass, attention over the ring equals attention over a
    /// cache that holds only the surviving rows, bit for bit, and the ring never refuses such a rollback.
    #[test]
    fn a_ring_equals_the_whole_history(steps in steps(), (k, v) in (kv_type(), kv_type())) {
        let shape = |kind| Some(KvShape { kind, kv_heads: KV_HEADS, head_dim: HEAD_DIM });
        let shapes = [shape(AttentionKind::Sliding), None, shape(AttentionKind::Full)];
        let types = KvTypes { k, v };
        let mut cache = KvCache::new(&shapes, types, LIMITS).expect("small");
        let mut history: Vec<(Vec<f32>, Vec<f32>)> = Vec::new();
        let mut last_append = 0;
        for (version, step) in steps.into_iter().enumerate() {
            match step {
                Step::Append(rows) if cache.len() + rows <= LIMITS.context_tokens => {
                    let first = cache.len();
                    for i in 0..rows {
                        history.push((row(first + i, version, 1), row(first + i, version, 2)));
                    }
                    let (k, v): (Vec<_>, Vec<_>) = history[first..].iter().cloned().unzip();
                    for layer in [0, 2] {
                        cache.layer_mut(layer).expect("own").write(Isa::detect(), first, &k.concat(), &v.concat());
                    }
                    cache.advance(rows);
                    last_append = rows;
                }
                Step::Append(_) => continue,
                Step::Rollback(rows) => {
                    let len = cache.len() - rows.min(last_append);
                    prop_assert!(cache.can_truncate(len));
                    cache.truncate(len);
                    history.truncate(len);
                    last_append -= rows.min(last_append);
                }
            }
            prop_assert_eq!(cache.len(), history.len());
            if history.is_empty() {
                continue;
            }
            let (k, v): (Vec<_>, Vec<_>) = history.iter().cloned().unzip();
            let mut naive = LayerCache::new(shapes[2].expect("full"), types.cells().expect("the CPU's"), 60).expect("small");
            naive.write(Isa::detect(), 0, &k.concat(), &v.concat());
            let len = history.len();
            let window = len.saturating_sub(LIMITS.window)..len;
            prop_assert_eq!(attention(cache.layer(0).expect("own"), window.clone()), attention(&naive, window));
            prop_assert_eq!(attention(cache.layer(2).expect("own"), 0..len), attention(&naive, 0..len));
        }
    }
}

/// A turbo cache, read rotated, against an f32 cache of what the codec gives back.
#[test]
fn turbo_attention_is_attention_over_what_the_codec_keeps() {
    let shape = KvShape { kind: AttentionKind::Full, kv_heads: KV_HEADS, head_dim: HEAD_DIM };
    let decoded = |ty: TurboType, row: &[f32]| -> Vec<f32> {
        let group = |values: &[f32; turbo::GROUP]| {
            let mut kept = ty.dequantize(&ty.quantize(values));
            turbo::rotate_back(&mut kept);
            kept
        };
        row.as_chunks().0.iter().flat_map(group).collect()
    };
    for ty in TurboType::ALL {
        let (turbo, f32) = (CellFormat::Turbo(ty), CellFormat::Plain(Element::F32));
        // Either side alone, too: what is rotated there has to be rotated back there.
        for formats in [[turbo, turbo], [turbo, f32], [f32, turbo]] {
            let new = |formats| LayerCache::new(shape, formats, 60).expect("small");
            let (mut packed, mut plain) = (new(formats), new([f32; 2]));
            let kept = |format, row: Vec<f32>| if format == turbo { decoded(ty, &row) } else { row };
            for position in 0..41 {
                let (k, v) = (row(position, 0, 1), row(position, 0, 2));
                packed.write(Isa::detect(), position, &k, &v);
                plain.write(Isa::detect(), position, &kept(formats[0], k), &kept(formats[1], v));
            }
            for visible in [0..41, 3..20, 40..41] {
                let (got, expected) = (attention(&packed, visible.clone()), attention(&plain, visible));
                for (a, b) in got.iter().zip(&expected) {
                    assert!((a - b).abs() < 1e-4, "{ty:?}: {a} instead of {b}");
                }
            }
        }
    }
}

#[test]
fn a_rollback_beyond_the_ring_is_refused() {
    let shapes = [Some(KvShape { kind: AttentionKind::Sliding, kv_heads: 1, head_dim: 32 })];
    let mut cache = KvCache::new(&shapes, KvType::F16, LIMITS).expect("small");
    for _ in 0..10 {
        cache.advance(5);
    }
    // 13 cells hold positions 37..50; a query at 43 sees 37..=43, one at 42 would need 36.
    assert!(cache.can_truncate(43) && !cache.can_truncate(42) && cache.can_truncate(0));
}

#[test]
fn bytes_counts_what_is_allocated() {
    let shape = |kind, head_dim| Some(KvShape { kind, kv_heads: 2, head_dim });
    let shapes = [shape(AttentionKind::Sliding, 32), shape(AttentionKind::Full, 64), None];
    let bytes = KvCache::bytes(&shapes, KvType::F16, &LIMITS).expect("small");
    assert_eq!(bytes, 2 * 2 * (13 * 32 + 60 * 64) * 2);
    let huge = KvLimits { context_tokens: usize::MAX / 4, ..LIMITS };
    assert_eq!(KvCache::bytes(&shapes, KvType::F32, &huge), None);
    assert!(matches!(KvCache::new(&shapes, KvType::F32, huge), Err(EngineError::OutOfMemory { .. })));
}

/// Queries of a tree in one layer: each has the bits of its path alone and is near the oracle, whatever a sibling holds.
#[test]
fn a_tree_reads_its_paths_alone_and_no_siblings_nan() {
    const FIRST: usize = 20;
    let tree = TreeMask::from_parents(&[None, Some(0), Some(0), Some(1), Some(2), Some(4)]).expect("a tree");
    let rows = tree.rows().len();
    let shape = KvShape { kind: AttentionKind::Full, kv_heads: KV_HEADS, head_dim: HEAD_DIM };
    let values: Vec<f32> = (0..rows * HEADS * HEAD_DIM).map(|i| (i as f32 * 0.173).cos() * 0.3).collect();
    for format in [KvType::F32, KvType::F16, KvType::Q8_0, KvType::Turbo(TurboType::Turbo3)] {
        for window in [None, NonZeroU32::new(9), NonZeroU32::new(2)] {
            for threads in [1, 3] {
                let scratch = AttentionScratch::new(threads, LIMITS.context_tokens, HEAD_DIM);
                let mut pool = Pool::new(threads).expect("threads");
                let filled = |cells: &[usize], sibling: Option<usize>| {
                    let cells_of = format.cells().expect("of the host");
                    let mut cache = LayerCache::new(shape, [cells_of; 2], 40).expect("small");
                    for (at, cell) in cells.iter().enumerate() {
                        let bad = sibling.is_some_and(|row| *cell == FIRST + row);
                        let row = |salt| {
                            if bad { vec![f32::NAN; KV_HEADS * HEAD_DIM] } else { row(*cell, 0, salt) }
                        };
                        cache.write(Isa::detect(), at, &row(1), &row(2));
                    }
                    cache
                };
                let all: Vec<usize> = (0..FIRST + rows).collect();
                let run =
                    |pool: &mut Pool, cache: &LayerCache, values: &[f32], visible: &[Range<usize>], tree| {
                        let mut out = vec![0.0; values.len()];
                        let queries = Queries { values, heads: HEADS, visible, tree };
                        attend(Isa::detect(), pool, cache, queries, &scratch, &mut out);
                        out
                    };
                let start =
                    |position: usize| window.map_or(0, |w| (position + 1).saturating_sub(w.get() as usize));
                let position = |row: usize| FIRST + tree.rows()[row].depth as usize;
                let visible: Vec<Range<usize>> =
                    (0..rows).map(|row| start(position(row)).min(FIRST)..FIRST + row + 1).collect();
                let seen: Vec<u32> = (0..rows).map(|row| tree.seen_rows(row, window)).collect();
                let cells = TreeCells { first: FIRST, seen: &seen };
                // Row 2 is bad: rows 0, 1 and 3 are of other branches.
                for sibling in [None, Some(2)] {
                    let got = run(&mut pool, &filled(&all, sibling), &values, &visible, Some(cells));
                    for row in (0..rows).filter(|row| sibling.is_none() || [0, 1, 3].contains(row)) {
                        let path: Vec<usize> =
                            (0..FIRST).chain(tree.path(row).into_iter().map(|node| FIRST + node)).collect();
                        let of_row = row * HEADS * HEAD_DIM..(row + 1) * HEADS * HEAD_DIM;
                        let alone = start(position(row))..position(row) + 1;
                        let expected =
                            run(&mut pool, &filled(&path, None), &values[of_row.clone()], &[alone], None);
                        assert!(got[of_row] == expected, "{format:?} {window:?} row {row}, bad {sibling:?}");
                    }
                }
                if format == KvType::F32 {
                    let by_head = |salt| -> Vec<f32> {
                        let of_head = |head: usize| {
                            let cell =
                                move |cell: usize| row(cell, 0, salt)[head * HEAD_DIM..][..HEAD_DIM].to_vec();
                            (0..FIRST + rows).flat_map(cell)
                        };
                        (0..KV_HEADS).flat_map(of_head).collect()
                    };
                    let expected = attention_f64(&OracleInput {
                        q: &values,
                        k: &by_head(1),
                        v: &by_head(2),
                        heads: HEADS,
                        kv_heads: KV_HEADS,
                        head_dim: HEAD_DIM,
                        kv_len: FIRST + rows,
                        first_pos: FIRST,
                        window,
                        tree: Some(&tree),
                        scale: 1.0,
                    });
                    let got = run(&mut pool, &filled(&all, None), &values, &visible, Some(cells));
                    let far =
                        got.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
                    assert!(far < 1e-5, "{window:?}: {far:e}");
                }
            }
        }
    }
}
