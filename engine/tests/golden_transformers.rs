//! Logits, hidden rows and chained drafts against transformers (`goldens/make_goldens.py` says how they were made).

#![expect(clippy::unwrap_used, reason = "a test's set-up")]

use std::path::PathBuf;
use std::sync::Arc;

use bench_engine::gguf::Gguf;
use bench_engine::kv_cache::KvType;
use bench_engine::model::{Assistant, CpuTarget, DraftHead, LoadOptions};
use bench_engine::spec::{LogitRows, Target};
use serde::Deserialize;

/// Largest difference of a logit with an f32 cache, at a logit scale of 27.
const MAX_LOGIT_DIFFERENCE: f32 = 0.0005;

/// Shared caches and per-layer embeddings; values that are keys; a mixture of experts.
const CASES: [&str; 3] = ["shared-kv", "k-eq-v", "experts"];

#[derive(Deserialize)]
struct Golden {
    prompt: Vec<u32>,
    next_token: u32,
    drafts: Vec<u32>,
    vocab: usize,
    hidden: usize,
    centroid_head: bool,
}

/// One case with its reference rows.
struct Case {
    golden: Golden,
    name: &'static str,
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name)
}

impl Case {
    fn open(name: &'static str) -> Self {
        let json = std::fs::read(file(&format!("{name}.json"))).unwrap();
        Self { golden: serde_json::from_slice(&json).unwrap(), name }
    }

    /// Little-endian floats of `CASE-WHAT.f32`.
    fn floats(&self, what: &str) -> Vec<f32> {
        let bytes = std::fs::read(file(&format!("{}-{what}.f32", self.name))).unwrap();
        bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    fn gguf(&self, part: &str) -> Arc<Gguf> {
        Arc::new(Gguf::open(&file(&format!("{}-{part}.gguf", self.name))).unwrap())
    }

    fn target(&self, kv_type: KvType, rows: usize) -> CpuTarget {
        let options =
            LoadOptions { context_tokens: 128, kv_type: kv_type.into(), threads: 1, max_verify_rows: rows };
        CpuTarget::load(self.gguf("target"), &options).unwrap()
    }

    /// Largest logit difference over all prompt rows, fed `chunk` rows at a time; checks argmax on every row.
    fn compare(&self, kv_type: KvType, chunk: usize) -> f32 {
        let expected = self.floats("logits");
        let hidden = self.floats("hidden");
        let mut target = self.target(kv_type, chunk);
        let hidden_bound = if kv_type == KvType::F32 { MAX_LOGIT_DIFFERENCE } else { 0.05 };
        let mut worst = 0.0_f32;
        for (start, tokens) in (0..).step_by(chunk).zip(self.golden.prompt.chunks(chunk)) {
            target.forward(tokens, LogitRows::All).unwrap();
            for row in 0..tokens.len() {
                let place = start + row;
                let reference = &expected[place * self.golden.vocab..][..self.golden.vocab];
                worst = worst.max(largest_difference(target.logits(row), reference));
                assert_eq!(argmax(target.logits(row)), argmax(reference), "{} row {place}", self.name);
                let reference = &hidden[place * self.golden.hidden..][..self.golden.hidden];
                assert!(
                    largest_difference(target.hidden(row), reference) < hidden_bound,
                    "{} hidden {place}",
                    self.name
                );
            }
        }
        worst
    }
}

fn argmax(row: &[f32]) -> usize {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap()
}

fn largest_difference(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len());
    got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn logits_equal_transformers_with_an_f32_cache() {
    for name in CASES {
        let case = Case::open(name);
        for chunk in [70, 7, 1] {
            let worst = case.compare(KvType::F32, chunk);
            println!("{name}, f32 KV, {chunk} rows a pass: largest logit difference {worst:.6}");
            assert!(worst <= MAX_LOGIT_DIFFERENCE, "{name}, {chunk} rows a pass: {worst}");
        }
    }
}

/// An f16 cache rounds keys and values; on these models that costs hundreds of times the f32 difference. Not with experts:
/// a router near a tie then chooses another one.
#[test]
fn an_f16_cache_stays_close() {
    for name in &CASES[..2] {
        let worst = Case::open(name).compare(KvType::F16, 70);
        println!("{name}, f16 KV: largest logit difference {worst:.6}");
        assert!(worst <= 0.05, "{name}: {worst}");
    }
}

#[test]
fn four_chained_drafts_equal_transformers() {
    for name in CASES {
        let case = Case::open(name);
        let golden = &case.golden;
        let expected = case.floats("draft-logits");
        let mut target = case.target(KvType::F32, 1);
        target.forward(&golden.prompt, LogitRows::Last).unwrap();
        assert_eq!(argmax(target.logits(0)), golden.next_token as usize);
        let mut assistant = Assistant::load(&case.gguf("assistant"), &target, DraftHead::Auto).unwrap();
        assert_eq!(assistant.has_centroids(), golden.centroid_head);

        let mut hidden = target.hidden(0).to_vec();
        let mut next_hidden = vec![0.0; hidden.len()];
        let mut logits = vec![0.0; golden.vocab];
        let mut token = golden.next_token;
        let mut drafts = Vec::new();
        let mut worst = 0.0_f32;
        for step in 0..golden.drafts.len() {
            let position = golden.prompt.len();
            assistant.step(&mut target, token, &hidden, position, &mut next_hidden, &mut logits).unwrap();
            let reference = &expected[step * golden.vocab..][..golden.vocab];
            // Outside the centroid head's candidates our logits are -inf; the reference rows are of the dense head.
            let candidates = logits.iter().zip(reference).filter(|(ours, _)| ours.is_finite());
            worst = candidates.map(|(a, b)| (a - b).abs()).fold(worst, f32::max);
            token = u32::try_from(argmax(&logits)).unwrap();
            drafts.push(token);
            std::mem::swap(&mut hidden, &mut next_hidden);
        }
        println!("{name}: drafts {drafts:?}, largest logit difference {worst:.6}");
        assert_eq!(drafts, golden.drafts, "{name}");
        assert!(worst <= MAX_LOGIT_DIFFERENCE, "{name}: {worst}");
    }
}

/// Added up from the file by name: every matrix, but for tables of which a step reads a row, keys and values of layers that
/// share those of others, and experts that a row does not ask.
#[test]
fn a_step_reads_the_matrices_it_multiplies_with() {
    for name in CASES {
        let case = Case::open(name);
        let (gguf, target) = (case.gguf("target"), case.target(KvType::F32, 1));
        let config = target.config();
        let is_table = |name: &str| {
            name == "per_layer_token_embd.weight"
                || (name == "token_embd.weight" && gguf.tensor("output.weight").is_some())
        };
        let is_shared = |name: &str| {
            let of_layer = |layer| {
                name.starts_with(&format!("blk.{layer}.attn_k."))
                    || name.starts_with(&format!("blk.{layer}.attn_v."))
            };
            (config.first_shared..config.decoder.layers.len()).any(of_layer)
        };
        let bytes = gguf.tensors().map(|tensor| match (tensor.dims.len(), config.decoder.experts) {
            _ if is_table(tensor.name) || is_shared(tensor.name) => 0,
            (2, _) => tensor.data.len(),
            (3, Some(experts)) => tensor.data.len() / experts.count * experts.used,
            _ => 0,
        });
        assert_eq!(target.step_bytes(), bytes.sum::<usize>(), "{name}");
    }
}
