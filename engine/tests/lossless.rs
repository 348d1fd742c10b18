//! Greedy output with speculation is the output without, token for token, on real models: every layer, cache and
//! rollback of the engine takes part.

#![expect(clippy::unwrap_used, reason = "a test's set-up")]

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bench_engine::gguf::{GgmlType, Gguf};
use bench_engine::kv_cache::KvType;
use bench_engine::model::{Assistant, CpuTarget, DraftHead, DraftPosition, LoadOptions, MtpProposer};
use bench_engine::spec::accept::AcceptanceRule;
use bench_engine::spec::driver::{Drafting, Driver};
use bench_engine::spec::generation::{GenerateParams, SpecTotals};
use bench_engine::spec::ngram::NgramProposer;
use bench_engine::spec::sampler::SamplingParams;
use bench_engine::spec::{Proposer, Target};
use bench_engine::synth::tiny::{TinyPair, TinyPairFiles, planted_rule, write_tiny_pair};
use bench_engine::synth::{Experts, PlantedRule, Prediction};
use tempfile::TempDir;

const KV_TYPES: [KvType; 3] = [KvType::F32, KvType::F16, KvType::Q8_0];
const DRAFT_LENGTHS: std::ops::RangeInclusive<usize> = 1..=7;
const MAX_TOKENS: usize = 48;

/// A target with its assistant's file.
struct Pair {
    target: CpuTarget,
    assistant: Arc<Gguf>,
}

impl Pair {
    fn open(target: &Path, assistant: &Path, kv_type: KvType) -> Self {
        let options =
            LoadOptions { context_tokens: 160, kv_type: kv_type.into(), threads: 1, max_verify_rows: 8 };
        let target = CpuTarget::load(Arc::new(Gguf::open(target).unwrap()), &options).unwrap();
        Self { target, assistant: Arc::new(Gguf::open(assistant).unwrap()) }
    }

    fn mtp(&self) -> MtpProposer {
        MtpProposer::new(
            Assistant::load(&self.assistant, &self.target, DraftHead::Auto).unwrap(),
            DraftPosition::AtN,
        )
    }

    fn generate(
        &mut self,
        prompt: &[u32],
        proposer: Option<&mut dyn Proposer<CpuTarget>>,
        draft_max: usize,
    ) -> (Vec<u32>, SpecTotals) {
        let mut output = Vec::new();
        let acceptance = AcceptanceRule::SampleAndCompare;
        let drafting = proposer.map(|proposer| Drafting { proposer, draft_max, acceptance });
        let params =
            GenerateParams { max_tokens: MAX_TOKENS, ignore_eos: true, sampling: SamplingParams::greedy() };
        let summary = Driver { target: &mut self.target, drafting, eog: &[] }
            .generate(prompt, &params, &mut |event| {
                output.extend_from_slice(event.tokens);
                ControlFlow::Continue(())
            })
            .unwrap();
        (output, summary.totals)
    }

    /// Compares both proposers at every draft length with plain decoding; returns the plain output and how MTP and
    /// n-grams fared.
    fn check(&mut self, prompt: &[u32], name: &str) -> (Vec<u32>, [Tally; 2]) {
        let (plain, _) = self.generate(prompt, None, 0);
        assert_eq!(plain.len(), MAX_TOKENS);
        let mut mtp = self.mtp();
        let mut ngram = NgramProposer::new(NonZeroUsize::MIN, NonZeroUsize::new(3).unwrap()).unwrap();
        let proposers: [&mut dyn Proposer<CpuTarget>; 2] = [&mut mtp, &mut ngram];
        let tallies = proposers.map(|proposer| {
            let mut tally = Tally::default();
            for draft_max in DRAFT_LENGTHS {
                let by = proposer.name();
                let (output, totals) = self.generate(prompt, Some(&mut *proposer), draft_max);
                assert_eq!(output, plain, "{name}: {by} with up to {draft_max} drafts changed the output");
                tally.add(&totals);
            }
            tally
        });
        (plain, tallies)
    }
}

/// How much was accepted and rejected: a comparison in which one of them never happens proves nothing.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    accepted: u64,
    rejected: u64,
}

impl Tally {
    fn add(&mut self, totals: &SpecTotals) {
        self.accepted += totals.accepted;
        self.rejected += totals.drafted - totals.accepted;
    }

    fn join(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.rejected += other.rejected;
    }
}

/// A tiny pair, another shape for each index: weights, shared KV, K as V, per-layer embeddings, experts, heads, windows that
/// the sequence outgrows. More noise lets the context decide more tokens, so that target and rule part ways.
fn shape(index: usize) -> TinyPair {
    let pick = |step: usize, of: &[usize]| of[index / step % of.len()];
    TinyPair {
        seed: index as u64,
        acceptance: 0.6,
        weights: [GgmlType::F32, GgmlType::F16, GgmlType::Q8_0][index % 3],
        vocab: 400,
        hidden: 64,
        layers: pick(2, &[3, 6]),
        shared_kv: if pick(2, &[3, 6]) == 6 { pick(4, &[0, 3]) } else { 0 },
        heads: 4,
        kv_heads: pick(1, &[1, 2]),
        head_dim_swa: 32,
        head_dim_full: 64,
        ffn: 64,
        ple: pick(3, &[0, 32]),
        experts: (index % 4 == 3).then_some(Experts { count: 8, used: 1 + index % 3, ffn: 32 }),
        window: pick(1, &[16, 24, 40, 64]),
        context: 160,
        k_eq_v: index.is_multiple_of(5),
        assistant_hidden: 32,
        assistant_ffn: 64,
        noise: [0.05, 0.2, 0.4, 0.8][index % 4],
        ..TinyPair::default()
    }
}

fn write(pair: &TinyPair) -> (TempDir, TinyPairFiles) {
    let dir = tempfile::tempdir().unwrap();
    let files = write_tiny_pair(dir.path(), pair).unwrap();
    (dir, files)
}

/// Pieces of the walk, so that lookup finds something to continue, each from a different place and the last one again.
fn prompt_of(rule: &PlantedRule, index: usize) -> Vec<u32> {
    let words: Vec<u32> = rule.successor.iter().flatten().copied().collect();
    let piece = |i: usize, len: usize| rule.walk(words[(index * 13 + i * 29) % words.len()], len);
    let mut prompt = vec![2];
    (0..4).for_each(|i| prompt.extend(piece(i, 4 + 3 * i)));
    prompt.extend(piece(0, 2));
    prompt
}

#[test]
fn fifty_tiny_pairs() {
    let mut tally = [Tally::default(); 2];
    let mut off_the_walk = 0;
    for index in 0..50 {
        let config = shape(index);
        let (_dir, files) = write(&config);
        let mut pair = Pair::open(&files.target, &files.assistant, KV_TYPES[index / 3 % 3]);
        let rule = planted_rule(&config).unwrap();
        let prompt = prompt_of(&rule, index);
        let (output, sums) = pair.check(&prompt, &format!("{config:?}"));
        off_the_walk += usize::from(output != rule.walk(prompt[prompt.len() - 1], MAX_TOKENS));
        tally.iter_mut().zip(sums).for_each(|(all, sum)| all.join(sum));
    }
    let [mtp, ngram] = tally;
    println!("{mtp:?} {ngram:?}, {off_the_walk} off the walk");
    assert!([mtp, ngram].iter().all(|t| t.accepted > 1000 && t.rejected > 1000), "{mtp:?} {ngram:?}");
    assert!((10..45).contains(&off_the_walk), "{off_the_walk} of 50 outputs left the planted walk");
}

#[test]
fn planted_counts_are_met_exactly() {
    for index in 0..12 {
        let config = TinyPair { noise: 0.05, ..shape(index) };
        let (_dir, files) = write(&config);
        let rule = planted_rule(&config).unwrap();
        let mut pair = Pair::open(&files.target, &files.assistant, KV_TYPES[index % 3]);
        let prompt = prompt_of(&rule, index);
        let walk = rule.walk(prompt[prompt.len() - 1], MAX_TOKENS);
        for draft_max in DRAFT_LENGTHS {
            let mut mtp = pair.mtp();
            let (output, totals) = pair.generate(&prompt, Some(&mut mtp), draft_max);
            assert_eq!(output, walk, "{config:?}");
            let predicted = rule.predict(output[0], MAX_TOKENS, draft_max);
            let counts = Prediction {
                drafted: totals.drafted,
                accepted: totals.accepted,
                verify_steps: totals.verify_steps,
                accepted_per_position: totals.accepted_per_position,
                drafted_per_position: totals.drafted_per_position,
            };
            assert_eq!(counts, predicted, "up to {draft_max} drafts, {config:?}");
        }
    }
}

#[test]
fn random_weights() {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    let mut tally = [Tally::default(); 2];
    for name in ["k-eq-v", "shared-kv", "experts"] {
        for kv_type in KV_TYPES {
            let file = |part: &str| goldens.join(format!("{name}-{part}.gguf"));
            let mut pair = Pair::open(&file("target"), &file("assistant"), kv_type);
            let vocab = u32::try_from(pair.target.vocab_size()).unwrap();
            let prompt: Vec<u32> = (0..60).map(|i: u32| (7 + i * i * 31 + i % 5) % vocab).collect();
            let (_, sums) = pair.check(&prompt, &format!("{name}, {kv_type:?}"));
            tally.iter_mut().zip(sums).for_each(|(all, sum)| all.join(sum));
        }
    }
    // An assistant of random weights is always wrong; random targets loop, which lookup drafts well.
    let [mtp, ngram] = tally;
    assert!(mtp.rejected > 1000 && ngram.accepted > 500 && ngram.rejected > 20, "{mtp:?} {ngram:?}");
}
