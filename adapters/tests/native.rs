//! The native stack on real files: what it says of itself.

#![expect(clippy::unwrap_used, reason = "a test's set-up")]

use std::num::NonZeroU32;

use bench_adapters::{ConnectRequest, ModelPaths, connect};
use bench_core::preset::{AcceptanceRule, Device, DraftHead, KvType, Route, ServingParams, SpecDecode};
use bench_core::record::RequestRecord;
use bench_core::runner::{self, RunPlan, RunnableArm};
use bench_core::stack::{DRAFT_HEAD_DETAIL, Exchange, GenerateRequest, Prompt, StackInfo, StreamEvent};
use bench_core::testing::generate_request;
use bench_engine::synth::tiny::{TinyPair, write_tiny_pair};
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

async fn describe(models: &ModelPaths, spec: &SpecDecode) -> StackInfo {
    let n = |value| NonZeroU32::new(value).unwrap();
    let serving = ServingParams {
        context_tokens: n(256),
        kv_type: KvType::F16.into(),
        threads: n(1),
        route: Route::Completion,
        device: Device::Auto,
        ple_table: bench_core::preset::PleTable::Auto,
        slots: NonZeroU32::MIN,
    };
    let log_dir = models.target.parent().unwrap();
    let request = ConnectRequest::native(models, spec, &serving, log_dir);
    let stack = connect(&request).await.unwrap();
    let info = stack.describe().await.unwrap();
    stack.shutdown().await.unwrap();
    info
}

#[tokio::test]
async fn the_draft_head_in_force_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let files =
        write_tiny_pair(dir.path(), &TinyPair { centroids: Some(64), ..TinyPair::default() }).unwrap();
    let models = ModelPaths { target: files.target, assistant: Some(files.assistant) };
    for (draft_head, told) in [(DraftHead::Auto, "centroid 32 of 64"), (DraftHead::Dense, "dense")] {
        let spec = SpecDecode::Mtp {
            draft_max: NonZeroU32::MIN,
            acceptance: AcceptanceRule::SampleAndCompare,
            draft_head,
        };
        assert_eq!(describe(&models, &spec).await.details[DRAFT_HEAD_DETAIL], told);
    }
    let plain = describe(&models, &SpecDecode::None).await;
    assert!(!plain.details.contains_key(DRAFT_HEAD_DETAIL), "{plain:?}");
}

/// A conversation of the runner is the same as its messages sent in one request, and is the same with drafts.
#[tokio::test]
async fn a_greedy_conversation_is_its_messages_in_one_request() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../presets/models/nano");
    let models = ModelPaths {
        target: folder.join("nano-target-q8_0.gguf"),
        assistant: Some(folder.join("nano-assistant-q8_0.gguf")),
    };
    let mtp = SpecDecode::Mtp {
        draft_max: NonZeroU32::new(3).unwrap(),
        acceptance: AcceptanceRule::SampleAndCompare,
        draft_head: DraftHead::Auto,
    };
    let mut preset = bench_core::testing::preset();
    preset.serving.route = Route::Chat;
    preset.serving.threads = NonZeroU32::MIN;
    preset.serving.context_tokens = NonZeroU32::new(512).unwrap();
    preset.workload.max_tokens = NonZeroU32::new(12).unwrap();
    preset.workload.prompts.truncate(1);
    preset.workload.prompts[0].later_turns = vec!["And why?".to_owned()];
    preset.run.request_timeout_ms = 120_000;
    let log_dir = tempfile::tempdir().unwrap();
    let mut talks = Vec::new();
    for spec in [SpecDecode::None, mtp] {
        let request = ConnectRequest::native(&models, &spec, &preset.serving, log_dir.path());
        let stack = connect(&request).await.unwrap();
        let arm = RunnableArm { label: "native/x".to_owned(), stack: stack.clone(), concurrency: None };
        let plan =
            RunPlan { run_id: "run", preset: &preset, first_request_index: 0, shard: None, start_at: None };
        let mut rows: Vec<RequestRecord> = Vec::new();
        runner::run(plan, &[arm], &mut rows, &mut (), &CancellationToken::new()).await.unwrap();
        assert_eq!(rows.len(), 2, "{rows:?}");
        assert!(rows.iter().all(|row| row.outcome.is_completed()), "{rows:?}");
        let said =
            Exchange { user: preset.workload.prompts[0].text.clone(), assistant: rows[0].text.clone() };
        let messages = Prompt::Chat { system: None, history: vec![said], user: "And why?".to_owned() };
        let once = GenerateRequest { prompt: messages, max_tokens: 12, ..generate_request("") };
        let events: Vec<_> = stack.generate(once).await.unwrap().map(Result::unwrap).collect().await;
        let ids: Vec<u32> = events
            .iter()
            .filter_map(|event| match event {
                StreamEvent::Tokens { token_ids, .. } => token_ids.clone(),
                StreamEvent::Opened { .. } | StreamEvent::Finished { .. } => None,
            })
            .flatten()
            .collect();
        assert_eq!(rows[1].token_ids, Some(ids));
        assert!(rows[1].usage.prompt_tokens > rows[0].usage.prompt_tokens, "{rows:?}");
        assert_eq!(rows[1].usage.cached_tokens, Some(0));
        talks.push(rows.into_iter().map(|row| (row.prompt_sha256, row.token_ids)).collect::<Vec<_>>());
        stack.shutdown().await.unwrap();
    }
    assert_eq!(talks[0], talks[1], "drafts change neither answers nor, so, histories");
}
