//! The bundled trained pair on the real llama.cpp server (named by `BENCH_LLAMA_SERVER`) and in our engine: the same
//! greedy tokens, and nearly the same acceptance. Prompts come from `presets/models/nano/training/make_goldens.py`.
//! Likewise a tiny mixture of experts with random weights.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "helpers of tests, which clippy does not take for tests"
)]

mod common;

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bench_adapters::ModelPaths;
use bench_adapters::llama_server::{LlamaLaunch, LlamaServer};
use bench_core::preset::{
    AcceptanceRule, Device, DraftHead, KvType, Route, ServingParams, SpecDecode, StackKind,
};
use bench_core::stack::{Stack, StreamEvent};
use bench_core::testing::generate_request;
use bench_core::thinking::SplitSource;
use bench_engine::gguf::GgmlType;
use bench_engine::session::{DeviceChoice, Engine, EngineConfig, Speculation};
use bench_engine::spec::generation::GenerateParams;
use bench_engine::spec::sampler::SamplingParams;
use bench_engine::synth::Experts;
use bench_engine::synth::tiny::{TinyPair, write_tiny_pair};
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};

use common::{n, program};

const TOKENS: usize = 64;
const DRAFT_MAX: u32 = 3;
/// llama.cpp multiplies the same quantised blocks in another order: where two tokens are this close in probability,
/// either may be chosen (natural logarithm).
const TIE: f64 = 0.15;

#[derive(Deserialize)]
struct Case {
    id: String,
    prompt: Vec<u32>,
}

fn cases() -> Vec<Case> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/nano-prompts.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn pair() -> ModelPaths {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../presets/models/nano");
    ModelPaths {
        target: folder.join("nano-target-q8_0.gguf"),
        assistant: Some(folder.join("nano-assistant-q8_0.gguf")),
    }
}

/// Accepted and drafted tokens.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    accepted: u64,
    drafted: u64,
}

impl Counts {
    fn rate(self) -> f64 {
        self.accepted as f64 / self.drafted as f64
    }
}

fn engine(models: &ModelPaths) -> Engine {
    Engine::load(&EngineConfig {
        target: models.target.clone(),
        assistant: models.assistant.clone(),
        kv_type: bench_engine::kv_cache::KvType::F16.into(),
        context_tokens: 1024,
        threads: NonZeroUsize::MIN,
        device: DeviceChoice::Cpu,
        ple_table: bench_engine::model::PleTable::Auto,
        // The dense head, as llama.cpp's.
        speculation: Speculation::Mtp {
            draft_max: NonZeroUsize::new(DRAFT_MAX as usize).unwrap(),
            acceptance: bench_engine::spec::accept::AcceptanceRule::SampleAndCompare,
            draft_head: bench_engine::model::DraftHead::Dense,
        },
    })
    .unwrap()
}

fn ours(engine: &mut Engine, prompt: &[u32], counts: &mut Counts) -> Vec<u32> {
    let sampling = SamplingParams { temperature: 0.0, top_k: None, top_p: None, min_p: None, seed: 1 };
    let params = GenerateParams { max_tokens: TOKENS, ignore_eos: false, sampling };
    let mut tokens = Vec::new();
    let summary = engine
        .generate(prompt, &params, &mut |step| {
            tokens.extend_from_slice(step.tokens);
            ControlFlow::Continue(())
        })
        .unwrap();
    counts.accepted += summary.totals.accepted;
    counts.drafted += summary.totals.drafted;
    tokens
}

async fn launch(program: &Path, models: &ModelPaths, dir: &Path, spec: &SpecDecode) -> LlamaServer {
    let serving = ServingParams {
        context_tokens: n(1024),
        kv_type: KvType::F16.into(),
        threads: n(1),
        route: Route::Completion,
        device: Device::Auto,
        ple_table: bench_core::preset::PleTable::Auto,
        slots: std::num::NonZeroU32::MIN,
    };
    let log = dir.join("server.log");
    let launch = LlamaLaunch {
        kind: StackKind::LlamaServer,
        program: program.to_owned(),
        models,
        spec,
        serving: &serving,
        log,
    };
    LlamaServer::launch(&launch).await.unwrap()
}

async fn theirs(server: &LlamaServer, prompt: &[u32], tokens: usize) -> Value {
    let body = json!({
        "prompt": prompt, "n_predict": tokens, "temperature": 0.0, "cache_prompt": false,
        "return_tokens": true, "n_probs": 2,
    });
    let url = format!("{}/completion", server.base_url());
    let response = reqwest::Client::new().post(url).json(&body).send().await.unwrap();
    response.json().await.unwrap()
}

/// Natural logarithm of how much likelier the server holds its token than its second choice; `None` where it ended
/// instead, since it tells nothing of an end token.
fn margin(answer: &Value, place: usize) -> Option<f64> {
    let top = answer["completion_probabilities"].get(place)?.get("top_logprobs")?;
    Some(top[0]["logprob"].as_f64()? - top[1]["logprob"].as_f64()?)
}

/// A token that the server chose otherwise: whose, where, and its margin.
type Difference = (String, usize, Option<f64>);

/// Compares our greedy tokens after each prompt with the server's. After a difference the server goes on from our text,
/// so that one flipped token counts as one.
async fn compare(server: &LlamaServer, engine: &mut Engine, cases: Vec<Case>) -> (usize, Vec<Difference>) {
    let (mut compared, mut differences) = (0, Vec::new());
    for case in cases {
        let expected = ours(engine, &case.prompt, &mut Counts::default());
        let mut at = 0;
        while at < expected.len() {
            let prefix = [&case.prompt[..], &expected[..at]].concat();
            let answer = theirs(server, &prefix, expected.len() - at).await;
            let tokens: Vec<u32> = serde_json::from_value(answer["tokens"].clone()).unwrap();
            let same = tokens.iter().zip(&expected[at..]).take_while(|(a, b)| a == b).count();
            at += same;
            // The server does not list the end token that both stopped at.
            if at == expected.len() || same == tokens.len() && expected.len() - at == 1 {
                break;
            }
            differences.push((case.id.clone(), at, margin(&answer, same)));
            at += 1;
        }
        compared += expected.len();
    }
    println!("{compared} greedy tokens, {} differ: {differences:?}", differences.len());
    (compared, differences)
}

fn are_ties(differences: &[Difference], tie: f64) -> bool {
    differences.iter().all(|(.., margin)| margin.is_none_or(|margin| margin < tie))
}

#[tokio::test]
async fn the_server_chooses_our_tokens() {
    let Some(program) = program() else { return };
    let dir = tempfile::tempdir().unwrap();
    let server = launch(&program, &pair(), dir.path(), &SpecDecode::None).await;
    let (compared, differences) = compare(&server, &mut engine(&pair()), cases()).await;
    server.shutdown().await.unwrap();
    assert!(differences.len() * 1000 <= compared * 15, "{differences:?}");
    assert!(are_ties(&differences, TIE), "{differences:?}");
}

/// So much noise that context and experts decide some tokens: an engine that asks one expert fewer a row is told apart.
#[tokio::test]
async fn the_server_chooses_our_tokens_of_a_mixture_of_experts() {
    let Some(program) = program() else { return };
    let write = |dir: &Path, used| {
        let pair = TinyPair {
            weights: GgmlType::F32,
            shared_kv: 0,
            ple: 0,
            k_eq_v: true,
            experts: Some(Experts { count: 8, used, ffn: 96 }),
            noise: 0.8,
            ..TinyPair::default()
        };
        let files = write_tiny_pair(dir, &pair).unwrap();
        ModelPaths { target: files.target, assistant: Some(files.assistant) }
    };
    let prompt = |i: u32| (0..24).map(|j| 500 + (j * j * 131 + i * 397 + j * 29) % 1500).collect();
    let prompts = || (0..8).map(|i| Case { id: format!("prompt {i}"), prompt: prompt(i) }).collect();
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [models, fewer] = [(0, 2), (1, 1)].map(|(dir, used): (usize, usize)| write(dirs[dir].path(), used));
    let server = launch(&program, &models, dirs[0].path(), &SpecDecode::None).await;
    let (compared, differences) = compare(&server, &mut engine(&models), prompts()).await;
    let (_, of_fewer) = compare(&server, &mut engine(&fewer), prompts()).await;
    server.shutdown().await.unwrap();
    assert!(differences.len() * 1000 <= compared * 15, "{differences:?}");
    assert!(are_ties(&differences, TIE), "{differences:?}");
    assert!(of_fewer.len() >= 10 && !are_ties(&of_fewer, TIE), "experts hardly matter: {of_fewer:?}");
}

/// The raw route tells ids, and the server's tokenizer the markers': thinking is told at the token.
#[tokio::test]
async fn thinking_is_told_by_the_ids_of_the_server_s_own_markers() {
    let Some(program) = program() else { return };
    let dir = tempfile::tempdir().unwrap();
    let server = launch(&program, &pair(), dir.path(), &SpecDecode::None).await;
    assert_eq!(server.describe().await.unwrap().details["thought markers"], "13 .. 14");
    let opened = "<|turn>user\nWhy?<turn|>\n<|turn>model\n<|channel>thought\n";
    for (prompt, is_inside) in [("Once upon a time", false), (opened, true)] {
        let events = server.generate(generate_request(prompt)).await.unwrap();
        let events: Vec<_> = events.map(Result::unwrap).collect().await;
        let ids = events.iter().filter_map(|event| match event {
            StreamEvent::Tokens { token_ids, .. } => token_ids.clone(),
            StreamEvent::Opened { .. } | StreamEvent::Finished { .. } => None,
        });
        let ids: Vec<u32> = ids.flatten().collect();
        assert!(!ids.is_empty() && !ids.contains(&13), "{ids:?}");
        let closed = ids.iter().position(|id| *id == 14).map_or(ids.len(), |place| place + 1);
        let thinking = if is_inside { closed } else { 0 };
        let Some(StreamEvent::Finished { split, .. }) = events.last() else { panic!("{events:?}") };
        assert_eq!(split.source, Some(SplitSource::TokenIds), "{prompt}");
        let expected = (u32::try_from(thinking).ok(), u32::try_from(ids.len() - thinking).ok());
        assert_eq!((split.thinking_tokens, split.answer_tokens), expected, "{prompt}");
    }
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_server_accepts_as_many_drafts() {
    let Some(program) = program() else { return };
    let dir = tempfile::tempdir().unwrap();
    let spec = SpecDecode::Mtp {
        draft_max: n(DRAFT_MAX),
        acceptance: AcceptanceRule::SampleAndCompare,
        draft_head: DraftHead::Auto,
    };
    let server = launch(&program, &pair(), dir.path(), &spec).await;
    let mut engine = engine(&pair());
    let (mut our_counts, mut their_counts) = (Counts::default(), Counts::default());
    let mut same_text = 0;
    for case in cases() {
        let mut counts = Counts::default();
        let expected = ours(&mut engine, &case.prompt, &mut counts);
        let answer = theirs(&server, &case.prompt, TOKENS).await;
        let tokens: Vec<u32> = serde_json::from_value(answer["tokens"].clone()).unwrap();
        // After a near tie the two write different texts, which say nothing about drafting.
        if tokens.len() + 1 < expected.len() || tokens.iter().zip(&expected).any(|(a, b)| a != b) {
            continue;
        }
        same_text += 1;
        our_counts.accepted += counts.accepted;
        our_counts.drafted += counts.drafted;
        their_counts.accepted += answer["timings"]["draft_n_accepted"].as_u64().unwrap_or(0);
        their_counts.drafted += answer["timings"]["draft_n"].as_u64().unwrap_or(0);
    }
    server.shutdown().await.unwrap();
    println!("{same_text} equal texts; accepted: ours {our_counts:?}, llama.cpp's {their_counts:?}");
    assert!(same_text >= 18, "{same_text}");
    assert!((our_counts.rate() - their_counts.rate()).abs() <= 0.02);
}
