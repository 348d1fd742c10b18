//! The real llama.cpp server dies, is started again, and is told to accept by coin flips. Needs `BENCH_LLAMA_SERVER`
//! (a program); otherwise the tests say that they are skipped.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "helpers of tests, which clippy does not take for tests"
)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use bench_adapters::llama_server::{LlamaLaunch, LlamaServer};
use bench_adapters::{ConnectRequest, ModelPaths, connect};
use bench_core::preset::{
    AcceptanceRule, Device, DraftHead, KvType, Route, ServingParams, SpecDecode, StackKind, SyntheticRates,
};
use bench_core::record::{Outcome, Phase, RequestRecord};
use bench_core::runner::{RunPlan, RunnableArm, run};
use bench_core::stack::{
    CounterReading, EventStream, FailureKind, GenerateRequest, Revival, SpecCounts, Stack, StackError,
    StackInfo, StreamEvent,
};
use bench_core::testing::{generate_request, preset};
use bench_engine::synth::tiny::{TinyPair, write_tiny_pair};
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use common::{n, program};

fn models(dir: &Path) -> ModelPaths {
    let files = write_tiny_pair(dir, &TinyPair::default()).unwrap();
    ModelPaths { target: files.target, assistant: Some(files.assistant) }
}

fn serving(route: Route) -> ServingParams {
    ServingParams {
        context_tokens: n(1024),
        kv_type: KvType::F16.into(),
        threads: n(1),
        route,
        device: Device::Auto,
        ple_table: bench_core::preset::PleTable::Auto,
        slots: std::num::NonZeroU32::MIN,
    }
}

fn mtp(acceptance: AcceptanceRule) -> SpecDecode {
    SpecDecode::Mtp { draft_max: n(3), acceptance, draft_head: DraftHead::Auto }
}

async fn launch(
    program: &Path,
    models: &ModelPaths,
    spec: &SpecDecode,
    dir: &Path,
    route: Route,
) -> LlamaServer {
    let launch = LlamaLaunch {
        kind: StackKind::LlamaServer,
        program: program.to_owned(),
        models,
        spec,
        serving: &serving(route),
        log: dir.join("server.log"),
    };
    LlamaServer::launch(&launch).await.unwrap()
}

/// Text and counts of one request.
async fn answer(stack: &dyn Stack, max_tokens: u32) -> (String, Option<SpecCounts>) {
    let request = GenerateRequest {
        max_tokens,
        timeout: std::time::Duration::from_secs(60),
        ..generate_request("Once upon a time")
    };
    let events: Vec<_> = stack.generate(request).await.unwrap().map(Result::unwrap).collect().await;
    let mut text = String::new();
    for event in &events {
        if let StreamEvent::Tokens { text: more, .. } = event {
            text.push_str(more);
        }
    }
    let Some(StreamEvent::Finished { spec, .. }) = events.last() else { panic!("{events:?}") };
    (text, spec.clone())
}

#[tokio::test]
async fn both_completion_routes_give_the_same_text_and_counts() {
    let Some(program) = program() else { return };
    let dir = tempfile::tempdir().unwrap();
    let models = models(dir.path());
    let mut answers = Vec::new();
    for route in [Route::Completion, Route::OpenAiCompletion] {
        let server = launch(&program, &models, &mtp(AcceptanceRule::default()), dir.path(), route).await;
        let info = server.describe().await.unwrap();
        // This build's log tells neither: what was asked must not pass for what is in force.
        assert_eq!((info.draft_max, info.kv_type), (None, None));
        assert!(
            info.recipe.contains("--spec-draft-n-max 3") && info.recipe.contains("-ctk f16"),
            "{}",
            info.recipe
        );
        answers.push(answer(&server, 60).await);
        let (text, _) = &answers[0];
        let again = server.count_tokens(text).await.unwrap().expect("it has a tokenizer");
        // Random text: what 60 tokens wrote may be read as others.
        assert!(again > 0, "{again} tokens");
        server.shutdown().await.unwrap();
    }
    let [native, openai] = &answers[..] else { panic!() };
    assert_eq!(native, openai);
}

/// The rates asked for come out, on the server and on our engine: within five standard deviations of a share.
#[tokio::test]
async fn synthetic_acceptance_has_the_rates_that_were_asked_for() {
    let Some(program) = program() else { return };
    let dir = tempfile::tempdir().unwrap();
    let models = models(dir.path());
    let asked = [0.8, 0.6, 0.4];
    let spec = mtp(AcceptanceRule::Synthetic(SyntheticRates::new(asked.to_vec()).unwrap()));
    let server = launch(&program, &models, &spec, dir.path(), Route::Completion).await;
    let (mut steps, mut accepted) = (0, 0);
    for _ in 0..4 {
        let (_, counts) = answer(&server, 700).await;
        let counts = counts.expect("it drafted");
        (steps, accepted) = (steps + counts.verify_steps.unwrap(), accepted + counts.accepted);
    }
    let by_position = server.counters().await.unwrap().spec.unwrap().accepted_per_position.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(by_position.iter().sum::<u64>(), accepted);
    check_rates("llama-server", &by_position, steps, asked);

    let serving = serving(Route::Completion);
    let arm = ConnectRequest::native(&models, &spec, &serving, dir.path());
    let native = connect(&arm).await.unwrap();
    let (_, counts) = answer(&*native, 900).await;
    let counts = counts.unwrap();
    check_rates("native", &counts.accepted_per_position.unwrap(), counts.verify_steps.unwrap(), asked);
    native.shutdown().await.unwrap();
}

fn check_rates(stack: &str, by_position: &[u64], steps: u64, asked: [f64; 3]) {
    for (position, (&accepted, rate)) in by_position.iter().zip(asked).enumerate() {
        let share = accepted as f64 / steps as f64;
        // The last round of a request drafts less than three: a few of hundreds.
        let tolerance = 5.0 * (rate * (1.0 - rate) / steps as f64).sqrt() + 0.01;
        println!("{stack}: position {position} accepts {share:.3} of {steps} steps, asked {rate}");
        assert!((share - rate).abs() < tolerance, "{stack}: {share} at {position}, {rate} asked");
    }
}

/// Aborts the server, as `GGML_ABORT` does, in the middle of the n-th request.
struct AbortsIn {
    server: Arc<LlamaServer>,
    nth: u32,
    requests: AtomicU32,
}

#[async_trait]
impl Stack for AbortsIn {
    async fn describe(&self) -> Result<StackInfo, StackError> {
        self.server.describe().await
    }

    async fn generate(&self, request: GenerateRequest) -> Result<EventStream, StackError> {
        let events = self.server.generate(request).await?;
        if self.requests.fetch_add(1, Ordering::SeqCst) + 1 != self.nth {
            return Ok(events);
        }
        let pid = self.server.pid().and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?));
        let mut seen = 0;
        Ok(Box::pin(events.inspect(move |_| {
            seen += 1;
            if seen == 4 {
                rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::ABORT).unwrap();
            }
        })))
    }

    async fn counters(&self) -> Result<CounterReading, StackError> {
        self.server.counters().await
    }

    async fn count_tokens(&self, text: &str) -> Result<Option<u32>, StackError> {
        self.server.count_tokens(text).await
    }

    async fn revive(&self, may_start: bool) -> Result<Revival, StackError> {
        self.server.revive(may_start).await
    }

    async fn shutdown(&self) -> Result<(), StackError> {
        self.server.shutdown().await
    }
}

fn in_short(row: &RequestRecord) -> (Phase, &'static str) {
    let word = match &row.outcome {
        Outcome::Completed { .. } => "completed",
        Outcome::Failed { kind: FailureKind::Aborted, .. } => "aborted",
        Outcome::Failed { .. } => "failed",
        Outcome::TimedOut { .. } => "timed out",
        Outcome::Cancelled => "cancelled",
    };
    (row.phase, word)
}

#[tokio::test]
async fn an_abort_in_mid_stream_is_a_row_with_its_evidence_and_the_run_goes_on() {
    let Some(program) = program() else { return };
    let dir = tempfile::tempdir().unwrap();
    let models = models(dir.path());
    let spec = mtp(AcceptanceRule::default());
    let server = Arc::new(launch(&program, &models, &spec, dir.path(), Route::Completion).await);
    let first_pid = server.pid().unwrap();

    let mut preset = preset();
    preset.workload.max_tokens = n(900);
    (preset.run.blocks, preset.run.warmup_requests, preset.run.request_timeout_ms) = (n(2), 1, 60_000);
    let stack = Arc::new(AbortsIn { server: Arc::clone(&server), nth: 3, requests: AtomicU32::new(0) });
    let arms = [RunnableArm { label: "a".to_owned(), stack, concurrency: None }];
    let plan =
        RunPlan { run_id: "run", preset: &preset, first_request_index: 0, shard: None, start_at: None };
    let mut rows = Vec::new();
    let summary = run(plan, &arms, &mut rows, &mut (), &CancellationToken::new()).await.unwrap();

    let told: Vec<_> = rows.iter().map(in_short).collect();
    assert_eq!(
        told,
        [
            (Phase::Warmup, "completed"),
            (Phase::Measured, "completed"),
            (Phase::Measured, "aborted"),
            (Phase::Warmup, "completed"),
            (Phase::Measured, "completed"),
            (Phase::Measured, "completed"),
        ]
    );
    assert_eq!((summary.failures, summary.interrupted), (1, false));
    let Outcome::Failed { death: Some(death), .. } = &rows[2].outcome else {
        panic!("{:?}", rows[2].outcome)
    };
    assert_eq!(death.status, "signal 6");
    assert!(rows[2].output.tokens.is_some_and(|tokens| tokens > 0), "what came before is kept");
    assert!(rows.iter().all(|row| !row.restarted_in_silence), "we started it again ourselves");
    assert!(server.pid().is_some_and(|pid| pid != first_pid));
    assert!(dir.path().join("server-restart-1.log").is_file(), "the first log is kept");
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn twenty_starts_and_stops_leave_no_process() {
    let Some(program) = program() else { return };
    let dir = tempfile::tempdir().unwrap();
    let models = models(dir.path());
    for cycle in 0..20 {
        let server =
            launch(&program, &models, &mtp(AcceptanceRule::default()), dir.path(), Route::Completion).await;
        let process = PathBuf::from(format!("/proc/{}", server.pid().unwrap()));
        assert!(process.exists());
        // Stopped, or only dropped.
        if cycle % 2 == 0 {
            server.shutdown().await.unwrap();
        }
        drop(server);
        let gone = async {
            while process.exists() {
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(std::time::Duration::from_secs(10), gone).await;
        assert!(in_time.is_ok(), "cycle {cycle}");
    }
}
