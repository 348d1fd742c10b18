//! A pass over a tree of drafts gives every node the bits of its path alone, and what is kept of it is a sequence.

use bench_engine::EngineError;
use bench_engine::attention::TreeMask;
use bench_engine::gguf::GgmlType;
use bench_engine::kv_cache::KvType;
use bench_engine::model::{CpuTarget, LoadOptions};
use bench_engine::spec::{LogitRows, Target};

use super::reference::pair::{EVERYTHING, Pair, VOCAB};
use super::{OPTIONS, PAIRS, bits, load, tokens};

/// Parents of 1 to 8 nodes, another tree every round: chains, siblings, several roots.
fn tree(round: usize) -> TreeMask {
    let mut state = round as u32 * 0x9e37_79b9 + 1;
    let mut next = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as usize % below
    };
    let nodes = 1 + next(8);
    let parents: Vec<Option<usize>> = (0..nodes).map(|node| next(node + 1).checked_sub(1)).collect();
    TreeMask::from_parents(&parents).unwrap()
}

/// Logits and hidden state of each node, its path forwarded alone behind the sequence of `target`.
fn alone(target: &mut CpuTarget, drafts: &[u32], tree: &TreeMask) -> Vec<(Vec<u32>, Vec<u32>)> {
    let len = target.len();
    let node = |node: usize| {
        let path: Vec<u32> = tree.path(node).into_iter().map(|node| drafts[node]).collect();
        target.forward(&path, LogitRows::All).unwrap();
        let row = path.len() - 1;
        let got = (bits(target.logits(row)), bits(target.hidden(row)));
        target.truncate(len);
        got
    };
    (0..drafts.len()).map(node).collect()
}

/// Round after round over rings that wrap: small windows, shared caches, experts, every type of cache.
#[test]
fn a_nodes_bits_are_those_of_its_path_alone() {
    for (pair, kv_type, threads) in [
        (EVERYTHING, KvType::F16, 1),
        (PAIRS[1], KvType::F32, 2),
        (PAIRS[2], KvType::Q8_0, 1),
        (Pair { ty: GgmlType::Q8_0, window: 3, ..PAIRS[2] }, KvType::F16, 2),
        (PAIRS[4], KvType::Q8_0, 1),
        (PAIRS[6], KvType::F32, 1),
    ] {
        let options = LoadOptions { kv_type: kv_type.into(), threads, max_verify_rows: 8, ..OPTIONS };
        let (mut target, mut plain) = (load(pair, options), load(pair, options));
        for target in [&mut target, &mut plain] {
            target.forward(&tokens(130), LogitRows::Last).unwrap();
        }
        for round in 0..60 {
            let tree = tree(round);
            let drafts: Vec<u32> =
                (0..tree.rows().len()).map(|node| ((node * 13 + round * 5 + 1) % VOCAB) as u32).collect();
            let expected = alone(&mut plain, &drafts, &tree);
            target.forward_tree(&drafts, &tree).unwrap();
            for (node, expected) in expected.iter().enumerate() {
                let got = (bits(target.logits(node)), bits(target.hidden(node)));
                assert!(got == *expected, "{pair:?} {kv_type:?} round {round}, node {node} of {tree:?}");
            }
            // Now and then nothing is kept.
            if round % 7 != 6 {
                let node = round * 3 % drafts.len();
                target.keep_path(node).unwrap();
                let path: Vec<u32> = tree.path(node).into_iter().map(|node| drafts[node]).collect();
                plain.forward(&path, LogitRows::Last).unwrap();
            }
            assert_eq!(target.tokens(), plain.tokens());
        }
        assert!(target.len() > 200, "rings of 137 cells wrap: {} tokens", target.len());
        // What was kept can be rolled back like any sequence.
        for target in [&mut target, &mut plain] {
            target.truncate(90);
            target.forward(&[1], LogitRows::All).unwrap();
        }
        assert!(target.logits(0) == plain.logits(0), "{pair:?} after a rollback");
    }
}

#[test]
fn what_is_no_tree_of_this_pass_is_refused() {
    let mut target = load(EVERYTHING, LoadOptions { max_verify_rows: 4, ..OPTIONS });
    let mut refused = |tokens: &[u32], nodes: usize| {
        target.forward_tree(tokens, &TreeMask::chain(nodes).unwrap()).unwrap_err().to_string()
    };
    let error = refused(&[1, 2], 3);
    assert!(error.contains("one for each of the tree's 3 nodes"), "{error}");
    let error = refused(&[1; 5], 5);
    assert!(error.contains("at most max_verify_rows = 4"), "{error}");
    // A node that is not there, then one after the tree was forgotten.
    target.forward_tree(&[1, 2], &TreeMask::chain(2).unwrap()).unwrap();
    assert!(matches!(target.keep_path(2), Err(EngineError::InvalidArgument { what: "row", .. })));
    target.forward(&[3], LogitRows::Last).unwrap();
    let error = target.keep_path(0).unwrap_err().to_string();
    assert!(error.contains("which has 0"), "{error}");
    assert_eq!(target.tokens(), [3]);
}
