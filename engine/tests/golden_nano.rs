//! The bundled trained pair against transformers (`presets/models/nano/training/make_goldens.py` made the reference).

#![expect(clippy::unwrap_used, reason = "a test's set-up")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bench_engine::chat::{ChatMessage, ChatTemplate};
use bench_engine::gguf::{GgmlType, Gguf, GgufWriter};
use bench_engine::kv_cache::KvType;
use bench_engine::model::{Assistant, CpuTarget, DraftHead, LoadOptions};
use bench_engine::quant::dequantize_row;
use bench_engine::spec::{LogitRows, Target};
use bench_engine::tokenizer::Tokenizer;
use serde::Deserialize;

/// Largest difference of a logit when both compute in f32 with the same, once quantised, weights.
const MAX_LOGIT_DIFFERENCE: f32 = 0.01;

#[derive(Deserialize)]
struct Goldens {
    cases: Vec<Golden>,
}

#[derive(Deserialize)]
struct Golden {
    id: String,
    system: Option<String>,
    user: String,
    prompt: Vec<u32>,
    continuation: Vec<u32>,
    top_ids: Vec<Vec<u32>>,
    top_logits: Vec<Vec<f32>>,
    drafts: Vec<u32>,
}

impl Golden {
    fn tokens(&self) -> Vec<u32> {
        [&self.prompt[..], &self.continuation].concat()
    }
}

fn goldens() -> Vec<Golden> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/nano.json");
    serde_json::from_slice::<Goldens>(&std::fs::read(path).unwrap()).unwrap().cases
}

fn shipped(part: &str) -> Arc<Gguf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../presets/models/nano");
    Arc::new(Gguf::open(&folder.join(format!("nano-{part}-q8_0.gguf"))).unwrap())
}

/// The same weights in f32, so that activations are not quantised either.
fn in_f32(part: &str, dir: &Path) -> Arc<Gguf> {
    let source = shipped(part);
    let mut writer = GgufWriter::new();
    for (key, value) in source.metadata() {
        writer.set(key, value.clone());
    }
    let kind = |ty: GgmlType| if ty == GgmlType::I32 { ty } else { GgmlType::F32 };
    for tensor in source.tensors() {
        writer.declare(tensor.name, tensor.dims, kind(tensor.ty)).unwrap();
    }
    let path = dir.join(part);
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
    Arc::new(Gguf::open(&path).unwrap())
}

fn load(gguf: Arc<Gguf>, kv_type: KvType) -> CpuTarget {
    let options =
        LoadOptions { context_tokens: 1024, kv_type: kv_type.into(), threads: 1, max_verify_rows: 16 };
    CpuTarget::load(gguf, &options).unwrap()
}

fn argmax(row: &[f32]) -> u32 {
    let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
    u32::try_from(best).unwrap()
}

/// Calls `check(place, our logits)` for every position of a case.
fn rows(target: &mut CpuTarget, golden: &Golden, mut check: impl FnMut(usize, &[f32])) {
    target.truncate(0);
    for (start, tokens) in (0..).step_by(16).zip(golden.tokens().chunks(16)) {
        target.forward(tokens, LogitRows::All).unwrap();
        for row in 0..tokens.len() {
            check(start + row, target.logits(row));
        }
    }
}

#[test]
fn chats_become_the_same_tokens() {
    let gguf = shipped("target");
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    let template = ChatTemplate::from_gguf(&gguf).unwrap().unwrap();
    for golden in goldens() {
        let system = golden.system.as_deref().map(|text| ChatMessage::new("system", text));
        let messages: Vec<_> = system.into_iter().chain([ChatMessage::new("user", &golden.user)]).collect();
        assert_eq!(template.encode(&tokenizer, &messages, false).unwrap(), golden.prompt, "{}", golden.id);
    }
}

#[test]
fn logits_equal_transformers_in_f32() {
    let dir = tempfile::tempdir().unwrap();
    let mut target = load(in_f32("target", dir.path()), KvType::F32);
    for golden in goldens() {
        let mut worst = 0.0_f32;
        rows(&mut target, &golden, |place, logits| {
            for (id, expected) in golden.top_ids[place].iter().zip(&golden.top_logits[place]) {
                worst = worst.max((logits[*id as usize] - expected).abs());
            }
        });
        println!("{}: {} positions, largest logit difference {worst:.6}", golden.id, golden.top_ids.len());
        assert!(worst <= MAX_LOGIT_DIFFERENCE, "{}: {worst}", golden.id);
    }
}

/// Eight-bit weights multiply quantised activations: logits move, choices hardly.
#[test]
fn the_quantised_pair_chooses_the_same_tokens() {
    let mut target = load(shipped("target"), KvType::F16);
    let (mut same, mut places) = (0, 0);
    for golden in goldens() {
        rows(&mut target, &golden, |place, logits| {
            // Before the answer the text is given: what the model would have said there matters to nobody.
            if place + 1 >= golden.prompt.len() {
                same += usize::from(argmax(logits) == golden.top_ids[place][0]);
                places += 1;
            }
        });
    }
    println!("{same} of {places} greedy choices are those of transformers in f32");
    assert!(same * 100 >= places * 97, "{same} of {places}");
}

#[test]
fn chained_drafts_equal_transformers() {
    let dir = tempfile::tempdir().unwrap();
    let mut target = load(in_f32("target", dir.path()), KvType::F32);
    let assistant_file = in_f32("assistant", dir.path());
    for golden in goldens() {
        target.truncate(0);
        for tokens in golden.prompt.chunks(16) {
            target.forward(tokens, LogitRows::Last).unwrap();
        }
        let mut assistant = Assistant::load(&assistant_file, &target, DraftHead::Dense).unwrap();
        let mut token = argmax(target.logits(0));
        assert_eq!(token, golden.continuation[0], "{}", golden.id);
        let mut hidden = target.hidden(0).to_vec();
        let (mut next, mut logits) = (vec![0.0; hidden.len()], vec![0.0; 8192]);
        let mut drafts = Vec::new();
        for _ in &golden.drafts {
            let position = golden.prompt.len();
            assistant.step(&mut target, token, &hidden, position, &mut next, &mut logits).unwrap();
            token = argmax(&logits);
            drafts.push(token);
            std::mem::swap(&mut hidden, &mut next);
        }
        assert_eq!(drafts, golden.drafts, "{}", golden.id);
    }
}
