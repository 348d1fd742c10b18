//! Greedy output with speculation is the output without, token for token, on real models: every layer, cache and
//! rollback of the engine takes part.

#![expect(clippy::unwrap_used, reason = "a test's set-up")]

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bench_engine::gguf::Gguf;
use bench_engine::kv_cache::KvType;
use bench_engine::model::{Assistant, CpuTarget, DraftPosition, LoadOptions, MtpProposer};
use bench_engine::spec::accept::AcceptanceRule;
use bench_engine::spec::driver::{Drafting, Driver};
use bench_engine::spec::generation::{GenerateParams, SpecTotals};
use bench_engine::spec::ngram::NgramProposer;
use bench_engine::spec::sampler::SamplingParams;
use bench_engine::spec::{Proposer, Target};

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
        let options = LoadOptions { context_tokens: 160, kv_type, threads: 1, max_verify_rows: 8 };
        let target = CpuTarget::load(Arc::new(Gguf::open(target).unwrap()), &options).unwrap();
        Self { target, assistant: Arc::new(Gguf::open(assistant).unwrap()) }
    }

    fn mtp(&self) -> MtpProposer {
        MtpProposer::new(Assistant::load(&self.assistant, &self.target).unwrap(), DraftPosition::AtN)
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

    /// Compares both proposers at every draft length with plain decoding; returns the totals of MTP and of n-grams.
    fn check(&mut self, prompt: &[u32], name: &str) -> [Tally; 2] {
        let (plain, _) = self.generate(prompt, None, 0);
        assert_eq!(plain.len(), MAX_TOKENS);
        let mut mtp = self.mtp();
        let mut ngram = NgramProposer::new(NonZeroUsize::MIN, NonZeroUsize::new(3).unwrap()).unwrap();
        let proposers: [&mut dyn Proposer<CpuTarget>; 2] = [&mut mtp, &mut ngram];
        proposers.map(|proposer| {
            let mut tally = Tally::default();
            for draft_max in DRAFT_LENGTHS {
                let by = proposer.name();
                let (output, totals) = self.generate(prompt, Some(&mut *proposer), draft_max);
                assert_eq!(output, plain, "{name}: {by} with up to {draft_max} drafts changed the output");
                tally.add(&totals);
            }
            tally
        })
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

#[test]
fn random_weights() {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    let mut tally = [Tally::default(); 2];
    for name in ["k-eq-v", "shared-kv"] {
        for kv_type in KV_TYPES {
            let file = |part: &str| goldens.join(format!("{name}-{part}.gguf"));
            let mut pair = Pair::open(&file("target"), &file("assistant"), kv_type);
            let vocab = u32::try_from(pair.target.vocab_size()).unwrap();
            let prompt: Vec<u32> = (0..60).map(|i: u32| (7 + i * i * 31 + i % 5) % vocab).collect();
            let sums = pair.check(&prompt, &format!("{name}, {kv_type:?}"));
            tally.iter_mut().zip(sums).for_each(|(all, sum)| all.join(sum));
        }
    }
    // An assistant of random weights is always wrong; random targets loop, which lookup drafts well.
    let [mtp, ngram] = tally;
    assert!(mtp.rejected > 1000 && ngram.accepted > 500 && ngram.rejected > 20, "{mtp:?} {ngram:?}");
}
