//! The synthetic pair, real layer shapes and all: the forward pass must bring out the rule that was planted in it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use bench_engine::gguf::{GgmlType, Gguf};
use bench_engine::kv_cache::KvType;
use bench_engine::model::{Assistant, CpuTarget, DraftHead, DraftPosition, LoadOptions, MtpProposer};
use bench_engine::spec::sampler::argmax;
use bench_engine::spec::{Draft, DraftRequest, LogitRows, Proposer, Target};
use bench_engine::synth::tiny::{TinyPair, write_tiny_pair};
use bench_engine::synth::{Experts, PlantedRule};

/// Every token follows the rule; a draft is right exactly where the assistant knows it.
fn follows_its_rule(pair: &TinyPair, kv_type: KvType) {
    let dir = tempfile::tempdir().unwrap();
    let files = write_tiny_pair(dir.path(), pair).unwrap();
    let rule: PlantedRule = serde_json::from_slice(&std::fs::read(&files.rule).unwrap()).unwrap();
    let open = |path| Arc::new(Gguf::open(path).unwrap());
    let options =
        LoadOptions { context_tokens: 512, kv_type: kv_type.into(), threads: 1, max_verify_rows: 4 };
    let mut target = CpuTarget::load(open(&files.target), &options).unwrap();
    let assistant = Assistant::load(&open(&files.assistant), &target, DraftHead::Auto).unwrap();
    assert_eq!(assistant.has_centroids(), pair.centroids.is_some());
    let mut proposer = MtpProposer::new(assistant, DraftPosition::AtN);
    // BOS is off the cycle; the walk begins at the first token on it.
    let on_cycle = rule.successor.iter().position(Option::is_some).unwrap();
    let (mut tokens, mut draft) = (vec![2, u32::try_from(on_cycle).unwrap()], Draft::default());
    target.forward(&[2], LogitRows::Last).unwrap();
    for _ in 0..200 {
        let last = tokens[tokens.len() - 1];
        target.forward(&[last], LogitRows::Last).unwrap();
        let next = argmax(target.logits(0)).unwrap();
        assert_eq!(
            Some(next),
            rule.successor[last as usize],
            "{:?} after {} tokens",
            pair.weights,
            tokens.len()
        );
        tokens.push(next);
        let request = DraftRequest { tokens: &tokens, hidden_row: 0, max: 1, sampler: None };
        proposer.propose(&mut target, request, &mut draft).unwrap();
        let right = draft.tokens.first().copied() == rule.successor[next as usize];
        assert_eq!(
            right,
            rule.known[next as usize],
            "{:?} draft after {} tokens",
            pair.weights,
            tokens.len()
        );
    }
}

#[test]
fn every_weight_and_cache_type_follows_the_rule() {
    for weights in [GgmlType::F32, GgmlType::F16, GgmlType::Q8_0] {
        for kv_type in [KvType::F16, KvType::Q8_0] {
            follows_its_rule(&TinyPair { weights, ..TinyPair::default() }, kv_type);
        }
    }
}

#[test]
fn without_per_layer_embeddings_and_with_values_from_keys() {
    follows_its_rule(&TinyPair { ple: 0, k_eq_v: true, ..TinyPair::default() }, KvType::F32);
}

#[test]
fn with_a_mixture_of_experts() {
    let experts = Some(Experts { count: 8, used: 2, ffn: 64 });
    for weights in [GgmlType::F32, GgmlType::Bf16, GgmlType::Q8_0] {
        follows_its_rule(&TinyPair { weights, experts, ..TinyPair::default() }, KvType::F16);
    }
}

/// Two tokens a centroid: a centroid is the sum of its tokens' rows, and in a sum of many the right one can drown.
#[test]
fn with_a_centroid_head() {
    follows_its_rule(&TinyPair { centroids: Some(1024), ..TinyPair::default() }, KvType::F16);
}
