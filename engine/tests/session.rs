//! The engine's face on a tiny pair: what it refuses, what it says of itself, and that requests do not touch each other.

#![expect(clippy::unwrap_used, reason = "a test's set-up")]

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::Path;

use bench_engine::kv_cache::KvType;
use bench_engine::model::DraftHead;
use bench_engine::spec::accept::AcceptanceRule;
use bench_engine::spec::generation::{Finish, GenerateParams, GenerateSummary};
use bench_engine::spec::sampler::SamplingParams;
use bench_engine::synth::tiny::{TinyPair, TinyPairFiles, planted_rule, write_tiny_pair};
use bench_engine::{DeviceChoice, Engine, EngineConfig, EngineError, Speculation};

fn size(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

fn tiny() -> TinyPair {
    TinyPair {
        vocab: 400,
        hidden: 64,
        head_dim_swa: 32,
        head_dim_full: 64,
        ffn: 64,
        assistant_hidden: 32,
        assistant_ffn: 64,
        ..TinyPair::default()
    }
}

fn mtp(acceptance: AcceptanceRule) -> Speculation {
    Speculation::Mtp { draft_max: size(3), acceptance, draft_head: DraftHead::Auto }
}

fn config(files: &TinyPairFiles, speculation: Speculation) -> EngineConfig {
    EngineConfig {
        target: files.target.clone(),
        assistant: Some(files.assistant.clone()),
        context_tokens: 128,
        kv_type: KvType::F16.into(),
        threads: size(1),
        device: DeviceChoice::Cpu,
        ple_table: bench_engine::model::PleTable::Auto,
        speculation,
    }
}

fn params(temperature: f32) -> GenerateParams {
    let sampling = SamplingParams { temperature, seed: 3, ..SamplingParams::greedy() };
    GenerateParams { max_tokens: 40, ignore_eos: false, sampling }
}

fn run(engine: &mut Engine, prompt: &[u32], params: &GenerateParams) -> (Vec<u32>, GenerateSummary) {
    let mut output = Vec::new();
    let summary = engine
        .generate(prompt, params, &mut |event| {
            output.extend_from_slice(event.tokens);
            ControlFlow::Continue(())
        })
        .unwrap();
    (output, summary)
}

#[test]
fn every_way_of_speculating_gives_the_planted_walk_and_says_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let files = write_tiny_pair(dir.path(), &tiny()).unwrap();
    let rule = planted_rule(&tiny()).unwrap();
    let start = rule.successor.iter().flatten().copied().next().unwrap();
    let walk = rule.walk(start, 40);
    let ngram = Speculation::Ngram { draft_max: size(4), ngram_min: size(1), ngram_max: size(3) };
    for speculation in [Speculation::None, mtp(AcceptanceRule::Rejection), ngram] {
        let mut engine = Engine::load(&config(&files, speculation.clone())).unwrap();
        let (output, summary) = run(&mut engine, &[2, start], &params(0.0));
        assert_eq!(output, walk, "{speculation}");
        assert_eq!((summary.prompt_tokens, summary.finish), (2, Finish::Length));
        assert_eq!(summary.totals.drafted > 0, matches!(speculation, Speculation::Mtp { .. }));
        let info = engine.describe();
        assert_eq!((info.architecture.as_str(), info.layers, info.threads), ("gemma4", 6, 1));
        assert_eq!(info.speculation, speculation.to_string());
        assert!(info.parameters > 100_000 && info.weight_bytes > info.parameters, "{info:?}");
        assert!(info.weight_types.starts_with("f16 x "), "{}", info.weight_types);
        assert!(info.step_bytes.is_some_and(|bytes| bytes > 0 && bytes < info.weight_bytes), "{info:?}");
        let has_assistant = info.assistant_weight_bytes.is_some();
        assert_eq!(has_assistant, matches!(speculation, Speculation::Mtp { .. }));
    }
}

/// Drafts of both heads are checked by the same target: one output, and each says what it is.
#[test]
fn the_draft_head_in_force_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let pair = TinyPair { centroids: Some(200), ..tiny() };
    let files = write_tiny_pair(&dir.path().join("centroids"), &pair).unwrap();
    let plain = write_tiny_pair(&dir.path().join("plain"), &tiny()).unwrap();
    let mut outputs = Vec::new();
    for (files, draft_head, told) in [
        (&files, DraftHead::Auto, "centroid 32 of 200"),
        (&files, DraftHead::Dense, "dense"),
        (&plain, DraftHead::Auto, "dense"),
        (&plain, DraftHead::Dense, "dense"),
    ] {
        let mtp =
            Speculation::Mtp { draft_max: size(3), acceptance: AcceptanceRule::SampleAndCompare, draft_head };
        let mut engine = Engine::load(&config(files, mtp)).unwrap();
        assert_eq!(engine.describe().draft_head.as_deref(), Some(told));
        let (output, summary) = run(&mut engine, &[2, 310], &params(0.0));
        assert!(summary.totals.accepted > 0, "{draft_head:?} {told}");
        outputs.push(output);
    }
    assert!(outputs.iter().all(|output| *output == outputs[0]), "{outputs:?}");
    let none = Engine::load(&config(&files, Speculation::None)).unwrap();
    assert_eq!(none.describe().draft_head, None);
}

/// A caller keeps the engine on a thread of its own.
#[test]
fn an_engine_can_move_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<Engine>();
}

#[test]
fn a_request_does_not_see_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let files = write_tiny_pair(dir.path(), &TinyPair { logit_scale: 0.2, ..tiny() }).unwrap();
    for acceptance in [AcceptanceRule::SampleAndCompare, AcceptanceRule::Rejection] {
        let mut engine = Engine::load(&config(&files, mtp(acceptance.clone()))).unwrap();
        let first = run(&mut engine, &[2, 310, 311], &params(1.0));
        run(&mut engine, &[2, 320, 333, 350], &params(0.5));
        let again = run(&mut engine, &[2, 310, 311], &params(1.0));
        assert_eq!((&first.0, &first.1.totals), (&again.0, &again.1.totals), "{acceptance:?}");
    }
}

#[test]
fn what_cannot_run_is_refused_with_a_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let files = write_tiny_pair(dir.path(), &tiny()).unwrap();
    let mtp = mtp(AcceptanceRule::SampleAndCompare);
    let refused = |config: &EngineConfig| Engine::load(config).unwrap_err();
    let error = refused(&EngineConfig { assistant: None, ..config(&files, mtp.clone()) });
    assert!(matches!(error, EngineError::MissingAssistant { .. }), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("assistant")));
    let error = refused(&EngineConfig { context_tokens: 3, ..config(&files, mtp.clone()) });
    assert_eq!(error.to_string(), "draft_max: got 3, expected less than the context of 3 tokens");
    let error =
        refused(&EngineConfig { target: Path::new("no-such.gguf").into(), ..config(&files, mtp.clone()) });
    assert!(error.to_string().contains("no-such.gguf"), "{error}");
    // The two files the wrong way round.
    let swapped = EngineConfig {
        target: files.assistant.clone(),
        assistant: Some(files.target.clone()),
        ..config(&files, mtp.clone())
    };
    assert!(refused(&swapped).to_string().contains("gemma4-assistant"), "{}", refused(&swapped));
    let bounds = Speculation::Ngram { draft_max: size(4), ngram_min: size(3), ngram_max: size(2) };
    assert!(refused(&config(&files, bounds)).to_string().starts_with("ngram_min"));
}
