//! The choice of attention kernels over the whole grid of shapes and devices, without a GPU.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not take for tests")]

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use bench_engine::attention::{
    AttnPlan, AttnShape, DeviceCaps, INSTANCES, KvFormat, Mask, Path, Unsupported, plan, plan_verify,
};
use bench_engine::kv_cache::turbo::TurboType;

const COMPUTE: [u32; 6] = [75, 80, 86, 89, 90, 120];

fn shape(head_dim: u32, ratio: u32, q_rows: u32, k: KvFormat, v: KvFormat) -> AttnShape {
    AttnShape {
        head_dim,
        heads: 2 * ratio,
        kv_heads: 2,
        q_rows,
        k,
        v,
        window: None,
        mask: Mask::Causal,
        cells: 32_768,
    }
}

/// The plan of a shape, with all that a launch relies on checked.
fn checked(shape: &AttnShape, caps: &DeviceCaps) -> AttnPlan {
    let plan = plan(shape, caps).unwrap();
    let row = plan.instance();
    let (dynamic, fixed) = row.shared_bytes(shape.k, shape.v);
    assert!(dynamic + fixed <= caps.shared_per_block, "{shape:?} {caps:?} {}", plan.route());
    assert!(fixed <= 48 * 1024 && row.min_compute <= caps.compute);
    assert!(row.serves(shape.head_dim) && row.formats.contains(&(shape.k, shape.v)));
    let [splits, tiles, kv_heads] = plan.grid(plan.shape().q_rows);
    assert!(tiles * row.columns >= shape.columns() && (tiles - 1) * row.columns < shape.columns());
    assert!((1..=1024).contains(&splits) && kv_heads == shape.kv_heads && tiles <= 65_535 * 2);
    plan
}

#[test]
fn every_shape_has_a_kernel_that_admits_it_and_every_row_is_reached() {
    let mut reached = BTreeSet::new();
    for compute in COMPUTE {
        let caps = DeviceCaps::typical(compute);
        for head_dim in (8..=576).step_by(8) {
            for k in KvFormat::ALL {
                for v in KvFormat::ALL {
                    // Every ratio at head dimensions that have rows of their own, some elsewhere.
                    let own = [64, 80, 96, 112, 128, 192, 256, 512].contains(&head_dim);
                    for ratio in (1..=64).filter(|r| own || [1, 2, 3, 7, 16, 64].contains(r)) {
                        for q_rows in [1, 2, 3, 8, 64, 4096] {
                            let plan = checked(&shape(head_dim, ratio, q_rows, k, v), &caps);
                            reached.insert(plan.instance().name() + k.name() + v.name());
                        }
                    }
                }
            }
        }
    }
    let all = INSTANCES.iter().filter(|row| row.path != Path::Tile).flat_map(|row| {
        row.formats.iter().map(|(k, v)| row.name() + k.name() + v.name()).collect::<Vec<_>>()
    });
    let missed: Vec<String> = all.filter(|name| !reached.contains(name)).collect();
    assert!(missed.is_empty(), "no shape leads to {missed:?}");
    assert!(reached.iter().any(|name| name.starts_with("tile")));
}

/// The report that began the project: a dispatcher that aborted on head dimension 512 with two query heads a KV head.
#[test]
fn issue_dkq512_ratio2_has_a_kernel() {
    let turbo3 = KvFormat::Turbo(TurboType::Turbo3);
    for compute in COMPUTE {
        let caps = DeviceCaps::typical(compute);
        for q_rows in 1..=6 {
            for ratio in [2, 3, 5, 7, 9] {
                let plan = checked(&shape(512, ratio, q_rows, turbo3, turbo3), &caps);
                let expected = if compute < 80 { Path::Tile } else { Path::MmaDecodeTurbo };
                assert_eq!(plan.instance().path, expected, "ratio {ratio}, {q_rows} rows, sm_{compute}");
            }
        }
    }
}

#[test]
fn consumer_cards_get_tensor_cores_within_99_kb() {
    for compute in [86, 89, 120] {
        let caps = DeviceCaps::typical(compute);
        assert_eq!(caps.shared_per_block, 99 * 1024);
        // An f32 cache is for comparisons, and has no tensor cores anywhere.
        for format in KvFormat::ALL.into_iter().filter(|format| *format != KvFormat::F32) {
            for (head_dim, ratio, q_rows) in
                [(512, 2, 1), (512, 8, 8), (256, 4, 1), (256, 2, 8), (512, 16, 4)]
            {
                let plan = checked(&shape(head_dim, ratio, q_rows, format, format), &caps);
                assert_ne!(plan.instance().path, Path::Tile, "{}", plan.route());
            }
        }
    }
}

/// A tree of drafts gets the kernel and the grid of the causal step of as many rows, on every device; the route tells it. More
/// rows than a step has may be prefill's where they are causal, and never where they are a tree.
#[test]
fn every_tree_has_the_plan_of_its_causal_shape() {
    for caps in COMPUTE.map(DeviceCaps::typical) {
        for head_dim in (8..=576).step_by(8) {
            for format in KvFormat::ALL {
                for (ratio, window) in
                    [(1, None), (2, NonZeroU32::new(512)), (3, None), (8, NonZeroU32::new(3))]
                {
                    let causal = AttnShape { window, ..shape(head_dim, ratio, 1, format, format) };
                    for q_rows in [1, 2, 5, 8, 32] {
                        let causal = AttnShape { q_rows, ..causal };
                        let tree = AttnShape { mask: Mask::Tree, ..causal };
                        let (causal, tree) = (checked(&causal, &caps), checked(&tree, &caps));
                        assert_ne!(tree.instance().path, Path::MmaPrefill);
                        if causal.instance().path == Path::MmaPrefill {
                            assert!(q_rows > 8 && tree.route().ends_with(" tree"), "{}", tree.route());
                            continue;
                        }
                        assert_eq!((causal.instance(), causal.splits()), (tree.instance(), tree.splits()));
                        assert_eq!(tree.route(), causal.route() + " tree");
                    }
                    let verify = |mask| plan_verify(&AttnShape { mask, ..causal }, &caps, |_| true).unwrap();
                    let (causal, tree) = (verify(Mask::Causal), verify(Mask::Tree));
                    assert_eq!((causal.instance(), causal.splits()), (tree.instance(), tree.splits()));
                    assert!((0..5000).step_by(97).all(|first| causal.chunk(first) == tree.chunk(first)));
                }
            }
        }
    }
}

#[test]
fn passes_of_many_rows_have_their_path_and_steps_never_take_it() {
    for compute in [80, 86, 89, 90, 120] {
        let caps = DeviceCaps::typical(compute);
        for (head_dim, format) in [
            (64, KvFormat::F16),
            (128, KvFormat::Bf16),
            (256, KvFormat::F16),
            (512, KvFormat::Bf16),
            (256, KvFormat::Q8_0),
            (256, KvFormat::Turbo(TurboType::Turbo3)),
        ] {
            // What has to be decoded pays where there are tiles for half of the multiprocessors.
            let decoded = ![KvFormat::F16, KvFormat::Bf16].contains(&format);
            let rows: &[u32] = if decoded { &[5000, 16_384] } else { &[64, 65, 200, 512, 1000, 16_384] };
            for ratio in 1..=9 {
                let path =
                    |q_rows| checked(&shape(head_dim, ratio, q_rows, format, format), &caps).instance().path;
                for q_rows in 1..=8 {
                    assert_ne!(path(q_rows), Path::MmaPrefill, "{head_dim} x {ratio}, {q_rows} rows");
                }
                for &q_rows in rows {
                    assert_eq!(path(q_rows), Path::MmaPrefill, "{head_dim} x {ratio}, {q_rows} rows");
                }
            }
        }
    }
}

#[test]
fn shapes_that_make_no_sense_are_refused_by_name() {
    let caps = DeviceCaps::typical(90);
    let good = shape(256, 4, 1, KvFormat::F16, KvFormat::F16);
    let cases = [
        (AttnShape { head_dim: 584, ..good }, "head_dim is 584, expected a multiple of 8 up to 576"),
        (AttnShape { head_dim: 100, ..good }, "head_dim is 100, expected a multiple of 8 up to 576"),
        (AttnShape { heads: 7, ..good }, "heads is 7, expected a multiple of the 2 KV heads"),
        (AttnShape { kv_heads: 0, ..good }, "kv_heads is 0, expected 1 to 1048576"),
        (AttnShape { q_rows: 0, ..good }, "q_rows is 0, expected 1 to 1048576"),
        (
            AttnShape { q_rows: 33, mask: Mask::Tree, ..good },
            "q_rows is 33, expected at most 32 with a tree mask",
        ),
        (AttnShape { cells: 0, ..good }, "cells is 0, expected 1 to 2^30"),
    ];
    for (shape, message) in cases {
        let error = plan(&shape, &caps).unwrap_err();
        assert!(matches!(error, Unsupported::Shape(_)));
        assert_eq!(error.to_string(), format!("attention shape: {message}"));
    }
}

#[test]
fn the_document_is_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/attention-instances.md");
    let expected = bench_engine::attention::markdown();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == expected, "docs/attention-instances.md is stale; BLESS=1 rewrites it");
}
