//! The native stack on real files: what it says of itself.

#![expect(clippy::unwrap_used, reason = "a test's set-up")]

use std::num::NonZeroU32;

use bench_adapters::{ConnectRequest, ModelPaths, connect};
use bench_core::preset::{AcceptanceRule, Device, DraftHead, KvType, Route, ServingParams, SpecDecode};
use bench_core::stack::{DRAFT_HEAD_DETAIL, StackInfo};
use bench_engine::synth::tiny::{TinyPair, write_tiny_pair};

async fn describe(models: &ModelPaths, spec: &SpecDecode) -> StackInfo {
    let n = |value| NonZeroU32::new(value).unwrap();
    let serving = ServingParams {
        context_tokens: n(256),
        kv_type: KvType::F16,
        threads: n(1),
        route: Route::Completion,
        device: Device::Auto,
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
