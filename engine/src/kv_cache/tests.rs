//! Rings against a cache that never forgets.

use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::backend::cpu::{AttentionScratch, Isa, Pool, Queries, attend};

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
    let queries = Queries { values: &values, heads: HEADS, visible: &[visible] };
    let mut out = vec![0.0; values.len()];
    attend(Isa::detect(), &mut pool, cache, queries, &scratch, &mut out);
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// After any appends and rollbacks within one forward pass, attention over the ring equals attention over a
    /// cache that holds only the surviving rows, bit for bit, and the ring never refuses such a rollback.
    #[test]
    fn a_ring_equals_the_whole_history(steps in steps(), kind in prop_oneof![Just(KvType::F32), Just(KvType::F16), Just(KvType::Q8_0), Just(KvType::Turbo(TurboType::Turbo3))]) {
        let shape = |kind| Some(KvShape { kind, kv_heads: KV_HEADS, head_dim: HEAD_DIM });
        let shapes = [shape(AttentionKind::Sliding), None, shape(AttentionKind::Full)];
        let mut cache = KvCache::new(&shapes, kind, LIMITS).expect("small");
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
            let mut naive = LayerCache::new(shapes[2].expect("full"), kind.cells().expect("the CPU's"), 60).expect("small");
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
        let new = |format| LayerCache::new(shape, format, 60).expect("small");
        let (mut packed, mut plain) = (new(CellFormat::Turbo(ty)), new(CellFormat::Plain(Element::F32)));
        for position in 0..41 {
            let (k, v) = (row(position, 0, 1), row(position, 0, 2));
            packed.write(Isa::detect(), position, &k, &v);
            plain.write(Isa::detect(), position, &decoded(ty, &k), &decoded(ty, &v));
        }
        for visible in [0..41, 3..20, 40..41] {
            let (got, expected) = (attention(&packed, visible.clone()), attention(&plain, visible));
            for (a, b) in got.iter().zip(&expected) {
                assert!((a - b).abs() < 1e-4, "{ty:?}: {a} instead of {b}");
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
