//! Pairs of models on both backends, and generations on either.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bench_engine::EngineError;
use bench_engine::attention::KvFormat;
use bench_engine::backend::cuda::Device;
use bench_engine::gguf::{GgmlType, Gguf, GgufWriter};
use bench_engine::kv_cache::KvType;
use bench_engine::model::{
    CpuTarget, CudaAssistant, CudaLoadOptions, CudaMtpProposer, CudaTarget, DraftHead, LoadOptions, PleTable,
};
use bench_engine::quant::dequantize_row;
use bench_engine::spec::accept::AcceptanceRule;
use bench_engine::spec::driver::{Drafting, Driver};
use bench_engine::spec::generation::{GenerateParams, SpecTotals};
use bench_engine::spec::sampler::SamplingParams;
use bench_engine::spec::{Proposer, Target};
use bench_engine::synth::tiny::{TinyPair, write_tiny_pair};
use serde::Deserialize;

/// Tokens that every target here has room for, unless the model was trained for fewer.
const CONTEXT: usize = 1024;

/// A target's and an assistant's file, and the device they go to.
pub(crate) struct Pair {
    pub(crate) name: String,
    pub(crate) device: Arc<Device>,
    target: Arc<Gguf>,
    assistant: Arc<Gguf>,
    /// Kept while the files are mapped.
    _dir: Option<tempfile::TempDir>,
}

/// A case of `goldens/make_goldens.py`.
#[derive(Deserialize)]
pub(crate) struct Golden {
    pub(crate) prompt: Vec<u32>,
    vocab: usize,
    #[serde(skip)]
    logits: Vec<f32>,
}

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn open(path: &Path) -> Arc<Gguf> {
    Arc::new(Gguf::open(path).unwrap())
}

impl Golden {
    pub(crate) fn open(name: &str) -> Self {
        let json = std::fs::read(folder("tests/goldens").join(format!("{name}.json"))).unwrap();
        let mut golden: Self = serde_json::from_slice(&json).unwrap();
        let bytes = std::fs::read(folder("tests/goldens").join(format!("{name}-logits.f32"))).unwrap();
        golden.logits = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        golden
    }

    /// The reference's logits of a position.
    pub(crate) fn logits(&self, place: usize) -> &[f32] {
        &self.logits[place * self.vocab..(place + 1) * self.vocab]
    }
}

impl Pair {
    /// The bundled trained pair.
    pub(crate) fn nano(device: Device) -> Self {
        Self::nano_on(Arc::new(device))
    }

    pub(crate) fn nano_on(device: Arc<Device>) -> Self {
        let file = |part: &str| folder("../presets/models/nano").join(format!("nano-{part}-q8_0.gguf"));
        Self {
            name: "nano".to_owned(),
            device,
            target: open(&file("target")),
            assistant: open(&file("assistant")),
            _dir: None,
        }
    }

    pub(crate) fn golden(device: Arc<Device>, name: &str) -> Self {
        let file = |part: &str| folder("tests/goldens").join(format!("{name}-{part}.gguf"));
        let (target, assistant) = (open(&file("target")), open(&file("assistant")));
        Self { name: name.to_owned(), device, target, assistant, _dir: None }
    }

    pub(crate) fn tiny(device: Arc<Device>, pair: &TinyPair) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = write_tiny_pair(dir.path(), pair).unwrap();
        let (target, assistant) = (open(&files.target), open(&files.assistant));
        Self { name: format!("tiny {}", pair.weights), device, target, assistant, _dir: Some(dir) }
    }

    /// Files of real shapes in a folder.
    pub(crate) fn files(device: Arc<Device>, name: &str, target: &Path, assistant: &Path) -> Self {
        Self { name: name.to_owned(), device, target: open(target), assistant: open(assistant), _dir: None }
    }

    /// The same weights in f32, so that no activation is quantised.
    pub(crate) fn in_f32(&self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let convert = |source: &Gguf, name: &str| {
            let mut writer = GgufWriter::new();
            for (key, value) in source.metadata() {
                writer.set(key, value.clone());
            }
            let kind = |ty: GgmlType| if ty == GgmlType::I32 { ty } else { GgmlType::F32 };
            for tensor in source.tensors() {
                writer.declare(tensor.name, tensor.dims, kind(tensor.ty)).unwrap();
            }
            let path = dir.path().join(name);
            let mut sink = writer.begin(&path).unwrap();
            for tensor in source.tensors() {
                if tensor.ty == GgmlType::I32 {
                    sink.write(tensor.name, tensor.data).unwrap();
                    continue;
                }
                let mut values = vec![0.0; usize::try_from(tensor.n_elements()).unwrap()];
                dequantize_row(tensor.ty, tensor.data, &mut values).unwrap();
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                sink.write(tensor.name, &bytes).unwrap();
            }
            sink.finish().unwrap();
            open(&path)
        };
        let (target, assistant) = (convert(&self.target, "target"), convert(&self.assistant, "assistant"));
        let name = format!("{} f32", self.name);
        Self { name, device: Arc::clone(&self.device), target, assistant, _dir: Some(dir) }
    }

    fn context(&self) -> usize {
        self.target.u32("gemma4.context_length").map_or(CONTEXT, |n| (n as usize).min(CONTEXT))
    }

    pub(crate) fn cpu(&self, rows: usize) -> CpuTarget {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let options = LoadOptions {
            context_tokens: self.context(),
            kv_type: KvType::F32.into(),
            threads,
            max_verify_rows: rows,
        };
        CpuTarget::load(Arc::clone(&self.target), &options).unwrap()
    }

    pub(crate) fn gpu(&self, kv: KvFormat, rows: usize) -> CudaTarget {
        self.try_gpu(kv, rows, self.context()).unwrap()
    }

    pub(crate) fn try_gpu(
        &self,
        kv: KvFormat,
        rows: usize,
        context_tokens: usize,
    ) -> Result<CudaTarget, EngineError> {
        let options = CudaLoadOptions {
            context_tokens,
            k: kv,
            v: kv,
            max_verify_rows: rows,
            ple_table: PleTable::Auto,
        };
        CudaTarget::load(Arc::clone(&self.device), &self.target, &options, &mut |_| ())
    }

    /// With the table of per-layer embeddings in a place of one's choice.
    pub(crate) fn gpu_with_table(
        &self,
        (kv, rows): (KvFormat, usize),
        context_tokens: usize,
        ple_table: PleTable,
    ) -> CudaTarget {
        let options = CudaLoadOptions { context_tokens, k: kv, v: kv, max_verify_rows: rows, ple_table };
        CudaTarget::load(Arc::clone(&self.device), &self.target, &options, &mut |_| ()).unwrap()
    }

    pub(crate) fn mtp(&self, target: &CudaTarget, draft_max: usize) -> CudaMtpProposer {
        self.mtp_with(DraftHead::Auto, target, draft_max)
    }

    pub(crate) fn mtp_with(&self, head: DraftHead, target: &CudaTarget, draft_max: usize) -> CudaMtpProposer {
        CudaMtpProposer::new(CudaAssistant::load(&self.assistant, target, head, draft_max).unwrap())
    }

    pub(crate) fn vocab_size(&self) -> usize {
        usize::try_from(self.target.tensor("token_embd.weight").unwrap().dims[1]).unwrap()
    }

    /// Tokens of some text that is no text.
    pub(crate) fn tokens(&self, count: usize) -> Vec<u32> {
        let vocab = self.vocab_size() as u64;
        (0..count as u64)
            .map(|i| u32::try_from((i * i * 7 + i * 31 + 2) % vocab.min(4096)).unwrap())
            .collect()
    }
}

/// Prompts and their continuations of the trained pair's goldens.
pub(crate) fn prompts() -> Vec<Vec<u32>> {
    #[derive(Deserialize)]
    struct Goldens {
        cases: Vec<Case>,
    }
    #[derive(Deserialize)]
    struct Case {
        prompt: Vec<u32>,
    }
    let json = std::fs::read(folder("tests/goldens/nano.json")).unwrap();
    serde_json::from_slice::<Goldens>(&json).unwrap().cases.into_iter().map(|case| case.prompt).collect()
}

/// Greedy tokens after a prompt.
pub(crate) fn generate<T: Target>(
    target: &mut T,
    proposer: Option<&mut dyn Proposer<T>>,
    prompt: &[u32],
    max_tokens: usize,
    draft_max: usize,
) -> (Vec<u32>, SpecTotals) {
    generate_by(target, proposer, prompt, max_tokens, (draft_max, AcceptanceRule::SampleAndCompare))
}

pub(crate) fn generate_by<T: Target>(
    target: &mut T,
    proposer: Option<&mut dyn Proposer<T>>,
    prompt: &[u32],
    max_tokens: usize,
    (draft_max, acceptance): (usize, AcceptanceRule),
) -> (Vec<u32>, SpecTotals) {
    let drafting = proposer.map(|proposer| Drafting { proposer, draft_max, acceptance });
    let params = GenerateParams { max_tokens, ignore_eos: true, sampling: SamplingParams::greedy() };
    let mut tokens = Vec::new();
    let summary = Driver { target, drafting, eog: &[] }
        .generate(prompt, &params, &mut |event| {
            tokens.extend_from_slice(event.tokens);
            ControlFlow::Continue(())
        })
        .unwrap();
    (tokens, summary.totals)
}

pub(crate) fn argmax(row: &[f32]) -> usize {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap()
}

pub(crate) fn largest_difference(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len());
    got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
