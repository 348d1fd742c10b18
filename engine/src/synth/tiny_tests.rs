use super::*;
use crate::gguf::Gguf;

fn small() -> TinyPair {
    TinyPair {
        vocab: 400,
        hidden: 64,
        head_dim_swa: 32,
        head_dim_full: 64,
        ffn: 64,
        ple: 32,
        assistant_hidden: 32,
        assistant_ffn: 64,
        ..TinyPair::default()
    }
}

#[test]
fn equal_parameters_give_equal_bytes_and_another_seed_others() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = |name: &str, pair: &TinyPair| {
        let files = write_tiny_pair(&dir.path().join(name), pair).unwrap();
        [files.target, files.assistant, files.rule].map(|file| std::fs::read(file).unwrap())
    };
    let first = bytes("a", &small());
    assert_eq!(first, bytes("b", &small()));
    let other = bytes("c", &TinyPair { seed: 2, ..small() });
    for (a, b) in first.iter().zip(&other) {
        assert_ne!(a, b);
    }
}

#[test]
fn every_variant_is_a_valid_file() {
    let variants = [
        small(),
        TinyPair { ple: 0, shared_kv: 0, k_eq_v: true, ..small() },
        TinyPair { kv_heads: 2, layers: 9, shared_kv: 6, ..small() },
        TinyPair { weights: GgmlType::Q8_0, ..small() },
        TinyPair { experts: Some(Experts { count: 4, used: 2, ffn: 32 }), ..small() },
        TinyPair { weights: GgmlType::Bf16, centroids: Some(40), ..small() },
    ];
    for pair in variants {
        let dir = tempfile::tempdir().unwrap();
        let files = write_tiny_pair(dir.path(), &pair).unwrap();
        let target = Gguf::open(&files.target).unwrap();
        let has_v =
            (0..pair.layers).filter(|l| target.tensor(&format!("blk.{l}.attn_v.weight")).is_some()).count();
        let owners = pair.layers - pair.shared_kv;
        assert_eq!(has_v, if pair.k_eq_v { owners - owners / 3 } else { owners });
        assert_eq!(target.tensor("token_embd.weight").unwrap().ty, pair.weights);
        let down = target.tensor("blk.0.ffn_down_exps.weight").map(|tensor| tensor.dims.to_vec());
        assert_eq!(down, pair.experts.map(|e| vec![e.ffn as u64, 64, e.count as u64]));
        let assistant = Gguf::open(&files.assistant).unwrap();
        assert_eq!(assistant.architecture().unwrap(), "gemma4-assistant");
        let extra = if pair.centroids.is_some() { 2 } else { 0 };
        assert_eq!(assistant.tensors().count(), 49 + extra);
    }
}

#[test]
fn the_rule_is_one_cycle_and_the_share_is_kept() {
    let pair = TinyPair { acceptance: 0.6, ..small() };
    let rule = planted_rule(&pair).unwrap();
    let start = rule.successor.iter().position(Option::is_some).unwrap();
    let on_cycle = rule.successor.iter().flatten().count();
    let walk = rule.walk(u32::try_from(start).unwrap(), on_cycle);
    let mut seen: Vec<u32> = walk.clone();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), on_cycle, "one cycle through all of them");
    assert_eq!(walk.last().map(|&t| t as usize), Some(start));
    let known = rule.known.iter().filter(|&&k| k).count();
    assert!((known as f64 / on_cycle as f64 - 0.6).abs() < 0.01, "{known} of {on_cycle}");
}

#[test]
fn short_cycles_come_back() {
    let rule = planted_rule(&TinyPair { cycle: Some(12), ..small() }).unwrap();
    let start = u32::try_from(rule.successor.iter().position(Option::is_some).unwrap()).unwrap();
    let walk = rule.walk(start, 24);
    assert_eq!(walk[..12], walk[12..]);
    assert_eq!(walk[11], start);
}

#[test]
fn impossible_shapes_are_refused_with_the_value() {
    let dir = tempfile::tempdir().unwrap();
    for (pair, message) in [
        (TinyPair { acceptance: 1.5, ..small() }, "acceptance: got 1.5, expected 0 to 1"),
        (TinyPair { layers: 4, ..small() }, "layers: got 4, expected a multiple of 3"),
        (TinyPair { assistant_hidden: 64, ..small() }, "assistant_hidden: got 64, expected another width"),
        (TinyPair { vocab: 100, ..small() }, "vocab: got 100, expected at least 359"),
        (
            TinyPair { experts: Some(Experts { count: 4, used: 5, ffn: 32 }), ..small() },
            "experts.used: got 5, expected 1 to 4 of 4 experts",
        ),
        (TinyPair { centroids: Some(7), ..small() }, "centroids: got 7, expected a divisor of vocab"),
    ] {
        let error = write_tiny_pair(dir.path(), &pair).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
}
