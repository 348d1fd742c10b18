//! Against a real llama-server, named by `BENCH_LLAMA_SERVER` (see `.ci/llama-server`); skipped, and saying so, where
//! there is none, unless `BENCH_REQUIRE_LLAMA_SERVER=1` makes that a failure. Models are tiny synthetic pairs.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests, which clippy does not take for tests"
)]

mod common;

use std::path::Path;
use std::time::Duration;

use bench_adapters::llama_server::{LlamaLaunch, LlamaServer};
use bench_adapters::{ConnectRequest, ModelPaths, connect};
use bench_core::preset::{
    AcceptanceRule, Device, DraftHead, KvType, KvTypes, Route, SamplingParams, ServingParams, SpecDecode,
    StackKind,
};
use bench_core::stack::{
    DRAFT_HEAD_DETAIL, Exchange, GenerateRequest, Prompt, SpecCounts, Stack, StackError, StreamEvent,
};
use bench_engine::gguf::{GgmlType, Gguf};
use bench_engine::synth::tiny::{TinyPair, planted_rule, write_tiny_pair};
use bench_engine::tokenizer::Tokenizer;
use futures_util::StreamExt;

use common::{n, program};

const TOKENS: u32 = 200;

fn models(dir: &Path) -> ModelPaths {
    models_of(dir, &TinyPair { cycle: Some(40), ..TinyPair::default() })
}

fn models_of(dir: &Path, pair: &TinyPair) -> ModelPaths {
    let files = write_tiny_pair(dir, pair).unwrap();
    ModelPaths { target: files.target, assistant: Some(files.assistant) }
}

fn serving(kv_type: impl Into<KvTypes>) -> ServingParams {
    ServingParams {
        context_tokens: n(1024),
        kv_type: kv_type.into(),
        threads: n(1),
        route: Route::Completion,
        device: Device::Auto,
        ple_table: bench_core::preset::PleTable::Auto,
        slots: std::num::NonZeroU32::MIN,
    }
}

fn mtp() -> SpecDecode {
    SpecDecode::Mtp {
        draft_max: n(3),
        acceptance: AcceptanceRule::SampleAndCompare,
        draft_head: DraftHead::Auto,
    }
}

fn request(max_tokens: u32) -> GenerateRequest {
    GenerateRequest {
        prompt: Prompt::Text("Once upon a time".to_owned()),
        max_tokens,
        ignore_eos: true,
        sampling: SamplingParams { temperature: 0.0, top_k: None, top_p: None, min_p: None, seed: 1 },
        timeout: Duration::from_secs(60),
    }
}

async fn launch(program: &Path, models: &ModelPaths, spec: &SpecDecode, dir: &Path) -> LlamaServer {
    launch_with(program, models, spec, dir, &serving(KvType::F16)).await
}

async fn launch_with(
    program: &Path,
    models: &ModelPaths,
    spec: &SpecDecode,
    dir: &Path,
    serving: &ServingParams,
) -> LlamaServer {
    let log = dir.join("server.log");
    let launch =
        LlamaLaunch { kind: StackKind::LlamaServer, program: program.to_owned(), models, spec, serving, log };
    LlamaServer::launch(&launch).await.unwrap()
}

/// Ids, and speculation as the response tells it.
async fn generate(stack: &dyn Stack) -> (Vec<u32>, Option<SpecCounts>) {
    let events: Vec<_> = stack.generate(request(TOKENS)).await.unwrap().map(Result::unwrap).collect().await;
    let mut ids = Vec::new();
    for event in &events {
        if let StreamEvent::Tokens { count, token_ids: Some(new), .. } = event {
            assert_eq!(count.map(|count| count as usize), Some(new.len()));
            ids.extend_from_slice(new);
        }
    }
    let Some(StreamEvent::Finished { usage, spec, .. }) = events.last() else { panic!("{events:?}") };
    assert_eq!((ids.len(), usage.output_tokens), (TOKENS as usize, Some(TOKENS)));
    (ids, spec.clone())
}

#[tokio::test]
async fn every_way_of_speculating_gives_the_engine_s_tokens_and_consistent_counts() {
    let Some(program) = program() else { return };
    let dir = tempfile::tempdir().unwrap();
    let models = models(dir.path());
    let ngram = SpecDecode::Ngram { draft_max: n(4), ngram_min: n(2), ngram_max: n(6) };
    for (spec, method) in [(SpecDecode::None, "none"), (mtp(), "draft-mtp"), (ngram, "ngram-simple")] {
        let server = launch(&program, &models, &spec, dir.path()).await;
        let info = server.describe().await.unwrap();
        assert_eq!(info.speculation.as_deref(), Some(method));
        assert_eq!(info.context_tokens, Some(1024));
        let (ids, counts) = generate(&server).await;
        assert_eq!(server.describe().await.unwrap().speculation.as_deref(), Some(method), "once used, too");

        let serving = serving(KvType::F16);
        let log_dir = dir.path();
        let arm = ConnectRequest::native(&models, &spec, &serving, log_dir);
        let native = connect(&arm).await.unwrap();
        let (native_ids, native_counts) = generate(&*native).await;
        assert_eq!(ids, native_ids, "{method}");
        native.shutdown().await.unwrap();

        if method == "draft-mtp" {
            let counts = counts.expect("the server drafted");
            assert_eq!(counts.verify_steps, Some(u64::from(TOKENS) - 1 - counts.accepted));
            let totals = server.counters().await.unwrap().spec.expect("a build with counters");
            assert_eq!((totals.drafted, totals.accepted), (counts.drafted, counts.accepted));
            let by_position = totals.accepted_per_position.unwrap();
            assert_eq!(by_position.iter().sum::<u64>(), counts.accepted);
            let native = native_counts.unwrap();
            println!("llama-server {counts:?} {by_position:?}\nnative {native:?}");
            // Greedy, the same drafts, ended by length: not one count may differ.
            assert_eq!((native.drafted, native.accepted), (counts.drafted, counts.accepted));
            assert_eq!(native.verify_steps, counts.verify_steps);
            assert_eq!(native.accepted_per_position, Some(by_position));
        } else if method == "none" {
            assert_eq!((counts, native_counts), (None, None));
        } else {
            let accepted = [&counts, &native_counts].map(|counts| counts.as_ref().map_or(0, |c| c.accepted));
            println!("ngram: llama-server {counts:?}, native {native_counts:?}");
            assert!(accepted.iter().all(|&n| n > 50), "the output repeats, so lookup finds it: {accepted:?}");
        }
        server.shutdown().await.unwrap();
        assert_eq!(server.pid(), None);
    }
}

/// Three weight types, each with a KV cache of its own kind: the server, the engine and the planted rule agree.
#[tokio::test]
async fn tokens_and_counts_are_the_planted_ones_for_every_type() {
    let Some(program) = program() else { return };
    let types = [(GgmlType::F32, KvType::F32), (GgmlType::F16, KvType::F16), (GgmlType::Q8_0, KvType::Q8_0)];
    for (weights, kv_type) in types {
        let dir = tempfile::tempdir().unwrap();
        let pair = TinyPair { weights, ..TinyPair::default() };
        let models = models_of(dir.path(), &pair);
        let rule = planted_rule(&pair).unwrap();
        let serving = serving(kv_type);
        let (spec, log_dir) = (mtp(), dir.path());
        let server = launch_with(&program, &models, &spec, log_dir, &serving).await;
        let (ids, counts) = generate(&server).await;
        server.shutdown().await.unwrap();

        let arm = ConnectRequest::native(&models, &spec, &serving, log_dir);
        let native = connect(&arm).await.unwrap();
        assert_eq!(generate(&*native).await.0, ids, "{weights} weights");
        native.shutdown().await.unwrap();

        let walk: Vec<u32> = std::iter::once(ids[0]).chain(rule.walk(ids[0], ids.len() - 1)).collect();
        assert_eq!(ids, walk, "{weights} weights");
        let predicted = rule.predict(ids[0], ids.len(), 3);
        let counts = counts.expect("the server drafted");
        println!("{weights} weights, {} KV: {counts:?}, predicted {predicted:?}", kv_type.as_str());
        assert_eq!(
            (counts.drafted, counts.accepted),
            (predicted.drafted, predicted.accepted),
            "{weights} weights"
        );
    }
}

/// With few centroids the right token can drown in the sum of its neighbours. The server reads none (it is given a copy
/// without them): whatever head was asked for, its counts are those of our dense one, and it says so.
#[tokio::test]
async fn the_draft_head_of_the_server_is_dense() {
    let Some(program) = program() else { return };
    let dir = tempfile::tempdir().unwrap();
    let models = models_of(dir.path(), &TinyPair { centroids: Some(64), ..TinyPair::default() });
    let serving = serving(KvType::F16);
    let spec = |draft_head| SpecDecode::Mtp {
        draft_max: n(3),
        acceptance: AcceptanceRule::SampleAndCompare,
        draft_head,
    };
    let mut native = Vec::new();
    for (head, told) in [(DraftHead::Auto, "centroid 32 of 64"), (DraftHead::Dense, "dense")] {
        let log_dir = dir.path();
        let spec = spec(head);
        let arm = ConnectRequest::native(&models, &spec, &serving, log_dir);
        let engine = connect(&arm).await.unwrap();
        assert_eq!(engine.describe().await.unwrap().details[DRAFT_HEAD_DETAIL], told);
        let (ids, counts) = generate(&*engine).await;
        native.push((ids, counts.unwrap().accepted));
        engine.shutdown().await.unwrap();
    }
    assert!(native[0].1 < native[1].1, "the two heads cannot be told apart: {native:?}");
    for head in [DraftHead::Auto, DraftHead::Dense] {
        let server = launch(&program, &models, &spec(head), dir.path()).await;
        assert_eq!(server.describe().await.unwrap().details[DRAFT_HEAD_DETAIL], "dense");
        let (ids, counts) = generate(&server).await;
        assert_eq!((ids, counts.unwrap().accepted), native[1], "{head:?}");
        server.shutdown().await.unwrap();
    }
}

/// The chat route: the model's template, rendered by the server and by us, leads to the same text and counts.
#[tokio::test]
async fn the_chat_route_gives_the_engine_s_text_and_counts() {
    let Some(program) = program() else { return };
    let dir = tempfile::tempdir().unwrap();
    let models = models(dir.path());
    let serving = ServingParams { route: Route::Chat, ..serving(KvType::F16) };
    let (spec, log_dir) = (mtp(), dir.path());
    let server = launch_with(&program, &models, &spec, log_dir, &serving).await;
    let arm = ConnectRequest::native(&models, &spec, &serving, log_dir);
    let native = connect(&arm).await.unwrap();
    let prompt = |history| Prompt::Chat {
        system: Some("Be brief.".to_owned()),
        history,
        user: " What is a tide? ".to_owned(),
    };
    let said = Exchange { user: "Hello.".to_owned(), assistant: "Hello, what is it?".to_owned() };
    for history in [Vec::new(), vec![said]] {
        equal_answers([&server, &*native], &GenerateRequest { prompt: prompt(history), ..request(60) }).await;
    }
    server.shutdown().await.unwrap();
    native.shutdown().await.unwrap();
}

/// Text and counts of a request are the same on both.
async fn equal_answers(stacks: [&dyn Stack; 2], request: &GenerateRequest) {
    let mut answers = Vec::new();
    for stack in stacks {
        let events: Vec<_> =
            stack.generate(request.clone()).await.unwrap().map(Result::unwrap).collect().await;
        let text: String = events
            .iter()
            .filter_map(
                |event| if let StreamEvent::Tokens { text, .. } = event { Some(text.as_str()) } else { None },
            )
            .collect();
        let Some(StreamEvent::Finished { usage, spec, .. }) = events.last() else { panic!("{events:?}") };
        let spec = spec.as_ref().unwrap();
        answers.push((text, usage.prompt_tokens, usage.output_tokens, spec.drafted, spec.accepted));
    }
    assert_eq!(answers[0], answers[1], "text, prompt tokens, output tokens, drafted, accepted");
}

#[tokio::test]
async fn a_server_killed_in_mid_stream_aborts_the_request_and_is_then_known_to_be_gone() {
    let Some(program) = program() else { return };
    let dir = tempfile::tempdir().unwrap();
    let models = models(dir.path());
    let server = launch(&program, &models, &SpecDecode::None, dir.path()).await;
    let mut events = server.generate(request(900)).await.unwrap();
    let mut seen = 0;
    let error = loop {
        match events.next().await.expect("an error ends the stream") {
            Ok(StreamEvent::Finished { .. }) => panic!("it was killed"),
            Ok(_) => seen += 1,
            Err(error) => break error,
        }
        if seen == 3 {
            let pid = rustix::process::Pid::from_raw(server.pid().unwrap().try_into().unwrap()).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
    };
    assert!(matches!(error, StackError::Aborted { .. }), "{error:?}");
    let error = server.generate(request(1)).await.err().unwrap();
    assert!(matches!(&error, StackError::Exited(death) if death.status == "signal 9"), "{error:?}");
}

#[tokio::test]
async fn a_bad_model_file_is_told_with_the_server_s_last_lines() {
    let Some(program) = program() else { return };
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("bad.gguf");
    std::fs::write(&target, b"not a model").unwrap();
    let models = ModelPaths { target, assistant: None };
    let serving = serving(KvType::F16);
    let log = dir.path().join("server.log");
    let launch = LlamaLaunch {
        kind: StackKind::LlamaServer,
        program,
        models: &models,
        spec: &SpecDecode::None,
        serving: &serving,
        log,
    };
    let error = LlamaServer::launch(&launch).await.unwrap_err();
    assert!(matches!(&error, StackError::Exited(death) if !death.log_tail.is_empty()), "{error:?}");
}

/// Texts of ASCII, spaces, accents, other scripts and emoji, from a fixed generator.
fn texts() -> Vec<String> {
    let alphabet: Vec<char> = "abc xyz  AZ09.,!?\n\t<>|é ß漢字ж😀▁".chars().collect();
    let mut state = 1_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    (0..200).map(|_| (0..=next(40)).map(|_| alphabet[next(alphabet.len())]).collect()).collect()
}

#[tokio::test]
async fn the_engine_s_tokenizer_agrees_with_the_server_s() {
    let Some(program) = program() else { return };
    let dir = tempfile::tempdir().unwrap();
    let models = models(dir.path());
    let tokenizer = Tokenizer::from_gguf(&Gguf::open(&models.target).unwrap()).unwrap();
    let server = launch(&program, &models, &SpecDecode::None, dir.path()).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/tokenize", server.base_url());
    let mut differing = Vec::new();
    for text in texts() {
        let body = serde_json::json!({ "content": text, "add_special": true, "parse_special": true });
        let answer: serde_json::Value =
            client.post(&url).json(&body).send().await.unwrap().json().await.unwrap();
        let theirs: Vec<u32> = serde_json::from_value(answer["tokens"].clone()).unwrap();
        let ours = tokenizer.encode(&text, true, true);
        if ours != theirs {
            differing.push((text, ours, theirs));
        }
    }
    assert!(differing.is_empty(), "{} of 200 differ: {:?}", differing.len(), differing.first());
    server.shutdown().await.unwrap();
}
