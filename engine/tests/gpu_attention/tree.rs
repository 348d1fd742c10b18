//! Masks of draft trees: against the oracle, against causal runs of their paths, with NaN in siblings, under a graph.

use std::num::NonZeroU32;

use bench_engine::attention::{
    AttnShape, DeviceCaps, Instance, KvFormat, Mask, Path, TreeMask, plan, plan_among, plan_verify,
};
use bench_engine::backend::cuda::{Attention, AttentionBuffers, AttentionOutput, Device};
use bench_engine::kv_cache::turbo::TurboType;

use super::case::{self, Case, Inputs};
use super::gpu::device;
use super::{bound, quick};

const FORMATS: [KvFormat; 3] = [KvFormat::F16, KvFormat::Q8_0, KvFormat::Turbo(TurboType::Turbo3)];

/// Trees of 2 to 8 rows: siblings, two branches, a comb, two roots, a full binary one.
fn trees() -> Vec<TreeMask> {
    let parents: [&[Option<usize>]; 8] = [
        &[None, None],
        &[None, Some(0), Some(0)],
        &[None, Some(0), Some(1), Some(0)],
        &[None, Some(0), Some(1), Some(0), Some(3)],
        &[None, Some(0), Some(0), Some(1), None, Some(4)],
        &[None, Some(0), Some(0), Some(1), Some(1), Some(2), Some(2)],
        &[None, Some(0), Some(1), Some(2), Some(3), Some(0), Some(5), Some(6)],
        &[None, Some(0), Some(0), Some(2), Some(2), Some(4), Some(4), Some(6)],
    ];
    parents.iter().map(|parents| TreeMask::from_parents(parents).unwrap()).collect()
}

fn shape(head_dim: u32, ratio: u32, q_rows: u32, format: KvFormat, cells: u32) -> AttnShape {
    AttnShape {
        head_dim,
        heads: 2 * ratio,
        kv_heads: 2,
        q_rows,
        k: format,
        v: format,
        window: None,
        mask: Mask::Tree,
        cells,
    }
}

const fn window(positions: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(positions)
}

#[test]
fn trees_agree_with_the_oracle() {
    let Some(device) = device() else { return };
    let dims: &[u32] = if quick() { &[64, 512] } else { &[64, 128, 256, 512] };
    let ratios: &[u32] = if quick() { &[3] } else { &[1, 2, 3, 8] };
    // Lengths, windows and splits take turns, with no common period: every tree meets many of them.
    let lengths = [8, 31, 32, 33, 255, 256, 257, 700, 65, 16, 9];
    let windows = [None, window(64), window(3), None, window(1)];
    let splits = [1, 3, 2, 7, 16, 100, 40];
    let (mut worst, mut cases, mut turn, mut failures) = (0.0_f64, 0, 0, Vec::new());
    for &head_dim in dims {
        for &ratio in ratios {
            for format in FORMATS {
                for tree in trees() {
                    for path in [None, Some(Path::Tile)] {
                        turn += 1;
                        let (kv_len, window) = (lengths[turn % 11], windows[turn % 5]);
                        let rows = u32::try_from(tree.rows().len()).unwrap();
                        // A sliding layer's ring wraps, on the path that takes everything within a tile.
                        let spare = if path.is_some() { 8 } else { 70 };
                        let cells = window.map_or(kv_len + 5, |window| window.get() + spare);
                        let shape = AttnShape { window, ..shape(head_dim, ratio, rows, format, cells) };
                        let allowed = |row: &Instance| path.is_none_or(|path| row.path == path);
                        let plan = plan_among(&shape, device.caps(), allowed).unwrap();
                        let draft = turn % 3 == 0;
                        let case = Case {
                            draft,
                            ..Case::of_tree(plan.with_splits(splits[turn % 7]), kv_len, &tree)
                        };
                        let (got, expected) = case::output(&device, &case);
                        // A draft's own window of 1 is empty: zeros, and no size to compare with.
                        let error = match case::nmse(&got, &expected) {
                            _ if expected.iter().all(|x| *x == 0.0) => {
                                f64::from(got.iter().any(|x| *x != 0.0))
                            }
                            error => error,
                        };
                        (worst, cases) = (worst.max(error), cases + 1);
                        if error.is_nan() || error > bound(format, format, plan.instance().path) {
                            failures.push(format!("{} {shape:?} kv {kv_len}: {error:e}", plan.route()));
                        }
                    }
                }
            }
        }
    }
    println!("{cases} trees, worst relative squared error {worst:.2e}");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// Kernels of a shape, each causal and as a tree, with equal grids.
fn pair(shape: &AttnShape, caps: &DeviceCaps, path: Option<Path>) -> [bench_engine::attention::AttnPlan; 2] {
    let allowed = |row: &Instance| path.is_none_or(|path| row.path == path);
    [Mask::Causal, Mask::Tree].map(|mask| plan_verify(&AttnShape { mask, ..*shape }, caps, allowed).unwrap())
}

#[test]
fn a_chain_has_the_bits_of_causal() {
    let Some(device) = device() else { return };
    let chain = TreeMask::chain(8).unwrap();
    for format in FORMATS {
        for (head_dim, ratio) in [(64, 3), (128, 2), (256, 4), (512, 1), (512, 8)] {
            for (kv_len, window) in
                [(8, None), (261, None), (1500, None), (700, window(512)), (100, window(5))]
            {
                for path in [None, Some(Path::Tile)] {
                    let shape = AttnShape { window, ..shape(head_dim, ratio, 8, format, kv_len + 3) };
                    let [causal, tree] = pair(&shape, device.caps(), path);
                    let inputs = case::inputs(&Case::new(causal, kv_len));
                    let causal = case::launch(&device, &Case::new(causal, kv_len), &inputs);
                    let tree = case::launch(&device, &Case::of_tree(tree, kv_len, &chain), &inputs);
                    assert!(causal == tree, "{shape:?} {path:?} kv {kv_len}");
                }
            }
        }
    }
}

/// The inputs of a causal run over the past and the rows of `path`, whose plan has as many rows as the tree: the rows
/// behind the path repeat its last one and are not looked at.
fn along(inputs: &Inputs, shape: &AttnShape, first_pos: usize, path: &[usize]) -> Inputs {
    let (dim, rows) = (shape.head_dim as usize, shape.q_rows as usize);
    let row_of = |i: usize| path[i.min(path.len() - 1)];
    let mut along = inputs.clone();
    let q_row = shape.heads as usize * dim;
    for i in 0..rows {
        let from = row_of(i) * q_row;
        along.q[i * q_row..(i + 1) * q_row].copy_from_slice(&inputs.q[from..from + q_row]);
        for head in 0..shape.kv_heads as usize {
            let cell = |i: usize| head * shape.cells as usize + (first_pos + i) % shape.cells as usize;
            for (to, from, format) in [
                (&mut along.k_cache, &inputs.k_cache, shape.k),
                (&mut along.v_cache, &inputs.v_cache, shape.v),
            ] {
                let bytes = format.row_bytes(dim);
                let source = cell(row_of(i)) * bytes;
                to[cell(i) * bytes..][..bytes].copy_from_slice(&from[source..source + bytes]);
            }
        }
    }
    along
}

/// Two branches of one root, at lengths where the newest cells lie in one tile and where a tile ends among them.
#[test]
fn each_leaf_is_as_its_path_alone() {
    let Some(device) = device() else { return };
    // 0 - 1 - 2 - 3, 0 - 4 - 5 - 6 - 7
    let parents = [None, Some(0), Some(1), Some(2), Some(0), Some(4), Some(5), Some(6)];
    let tree = TreeMask::from_parents(&parents).unwrap();
    let (mut same, mut all, mut worst) = (0_usize, 0_usize, 0.0_f64);
    for format in FORMATS {
        for (head_dim, ratio, window) in
            [(128, 2, None), (256, 4, window(512)), (512, 4, None), (512, 1, None)]
        {
            for kv_len in [40, 261, 700, 1500] {
                for path in [None, Some(Path::Tile)] {
                    let shape = AttnShape { window, ..shape(head_dim, ratio, 8, format, kv_len + 3) };
                    let [causal, of_tree] = pair(&shape, device.caps(), path);
                    let inputs = case::inputs(&Case::new(causal, kv_len));
                    let got = case::launch(&device, &Case::of_tree(of_tree, kv_len, &tree), &inputs);
                    for leaf in [3, 7] {
                        let rows = tree.path(leaf);
                        let alone = along(&inputs, causal.shape(), kv_len as usize - 8, &rows);
                        let expected = case::launch(&device, &Case::new(causal, kv_len), &alone);
                        let q_row = (shape.heads * shape.head_dim) as usize;
                        let (a, b) =
                            (&got[leaf * q_row..][..q_row], &expected[(rows.len() - 1) * q_row..][..q_row]);
                        if leaf == 3 {
                            assert!(a == b, "the first branch of {shape:?} {path:?} kv {kv_len}");
                        } else {
                            same += a.iter().zip(b).filter(|(a, b)| a.to_bits() == b.to_bits()).count();
                            all += q_row;
                            let b: Vec<f64> = b.iter().copied().map(f64::from).collect();
                            worst = worst.max(case::nmse(a, &b));
                        }
                    }
                }
            }
        }
    }
    println!(
        "second branch: {same} of {all} values have equal bits, worst relative squared error {worst:.2e}"
    );
    assert!(worst <= 1e-6, "{worst:e}");
}

#[test]
fn a_siblings_nan_stays_its_own() {
    let Some(device) = device() else { return };
    // 0 - 1 - 3, 0 - 2 - 4: rows 2 and 4 see the bad row, the others do not.
    let tree = TreeMask::from_parents(&[None, Some(0), Some(0), Some(1), Some(2)]).unwrap();
    let formats = [FORMATS[0], FORMATS[1], FORMATS[2], KvFormat::Bf16];
    for (format, head_dim) in
        formats.into_iter().flat_map(|format| [(format, 128), (format, 256), (format, 512)])
    {
        for path in [None, Some(Path::Tile)] {
            for (keys, values) in [(true, false), (false, true), (true, true)] {
                let kv_len = 261;
                let shape = shape(head_dim, 2, 5, format, kv_len + 3);
                let allowed = |row: &Instance| path.is_none_or(|path| row.path == path);
                let plan = plan_among(&shape, device.caps(), allowed).unwrap();
                let case = Case::of_tree(plan, kv_len, &tree);
                let clean = case::inputs(&case);
                let mut bad = clean.clone();
                let bytes = format.row_bytes(head_dim as usize);
                for head in 0..2 {
                    let at = (head * shape.cells as usize + kv_len as usize - 5 + 2) * bytes;
                    if keys {
                        bad.k_cache[at..at + bytes].fill(0xff);
                    }
                    if values {
                        bad.v_cache[at..at + bytes].fill(0xff);
                    }
                }
                let (clean, bad) = (case::launch(&device, &case, &clean), case::launch(&device, &case, &bad));
                let q_row = (shape.heads * head_dim) as usize;
                for row in [0, 1, 3] {
                    let row = row * q_row..(row + 1) * q_row;
                    assert!(clean[row.clone()] == bad[row], "{} {shape:?}", plan.route());
                }
                // A key that is NaN makes the sum of weights NaN, and combine leaves out such a split.
                for row in [2, 4].into_iter().filter(|_| !keys) {
                    let row = &bad[row * q_row..(row + 1) * q_row];
                    assert!(row.iter().all(|x| x.is_nan()), "{} hides a NaN", plan.route());
                }
            }
        }
    }
}

/// One captured graph, another tree and another length written between its replays.
#[test]
fn a_captured_graph_serves_every_tree() {
    let Some(device) = device() else { return };
    let trees = [TreeMask::chain(5).unwrap(), trees().swap_remove(3)];
    let shape = shape(256, 4, 5, KvFormat::F16, 400);
    let plan = plan(&shape, device.caps()).unwrap();
    let cases: Vec<Case<'_>> = trees.iter().map(|tree| Case::of_tree(plan, 300, tree)).collect();
    let inputs = case::inputs(&cases[0]);
    let q = device.upload("queries", &inputs.q).unwrap();
    let k = device.upload("keys", &inputs.k_cache).unwrap();
    let v = device.upload("values", &inputs.v_cache).unwrap();
    let mut state = device.upload("state", &cases[0].state()).unwrap();
    let mut out = device.upload("output", &inputs.q).unwrap();
    let attention = Attention::new(&device, plan, 1.0).unwrap();
    let graph = device
        .capture(|| {
            let out = AttentionOutput::Values(&mut out);
            attention.launch(&device, 5, AttentionBuffers { q: &q, k: &k, v: &v, state: &state, out })
        })
        .unwrap();
    for case in &cases {
        device.write(&mut state, &case.state()).unwrap();
        graph.launch().unwrap();
        let error = case::nmse(&device.download(&out).unwrap(), &case::oracle(case, &inputs));
        assert!(error <= 1e-6, "{error:e}");
    }
}

/// Microseconds of 8 rows, causal and as a tree, on E4B's layers; printed, not judged.
#[test]
fn what_a_tree_costs() {
    let Some(device) = device() else { return };
    if quick() {
        println!("SKIP: a quick sweep");
        return;
    }
    let tree = TreeMask::from_parents(&[None, Some(0), Some(0), Some(1), Some(1), Some(2), Some(2), Some(3)])
        .unwrap();
    for format in [KvFormat::Bf16, FORMATS[1], FORMATS[2]] {
        for (head_dim, kv_len, window) in [(512, 1000, None), (512, 32_768, None), (256, 8192, window(512))] {
            let shape = AttnShape { heads: 8, window, ..shape(head_dim, 4, 8, format, kv_len) };
            let [causal, of_tree] = pair(&shape, device.caps(), None);
            let (a, b) = (Case::new(causal, kv_len), Case::of_tree(of_tree, kv_len, &tree));
            let inputs = case::inputs(&a);
            let times = microseconds(&device, [a, b], &inputs);
            println!("{} kv {kv_len}: causal {:.2} us, tree {:.2} us", causal.route(), times[0], times[1]);
        }
    }
}

/// Median microseconds of each case, by replays in turns of graphs of 20 launches; a cache that fits stays in L2.
fn microseconds(device: &Device, cases: [Case<'_>; 2], inputs: &Inputs) -> [f64; 2] {
    let q = device.upload("queries", &inputs.q).unwrap();
    let k = device.upload("keys", &inputs.k_cache).unwrap();
    let v = device.upload("values", &inputs.v_cache).unwrap();
    let mut out = device.upload("output", &inputs.q).unwrap();
    let states = cases.map(|case| device.upload("state", &case.state()).unwrap());
    let kernels = cases.map(|case| Attention::new(device, case.plan, 1.0).unwrap());
    let graphs = [0, 1].map(|i| {
        let mut launch = || {
            let (state, out) = (&states[i], AttentionOutput::Values(&mut out));
            kernels[i].launch(device, 8, AttentionBuffers { q: &q, k: &k, v: &v, state, out })
        };
        device.capture(|| (0..20).try_for_each(|_| launch())).unwrap()
    });
    let mut times = [Vec::new(), Vec::new()];
    for turn in 0..60 {
        for (graph, times) in graphs.iter().zip(&mut times) {
            let start = device.record().unwrap();
            graph.launch().unwrap();
            let time = f64::from(start.elapsed_ms(&device.record().unwrap()).unwrap()) * 1e3 / 20.0;
            if turn >= 20 {
                times.push(time);
            }
        }
    }
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    })
}
