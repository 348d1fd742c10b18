//! The runner against scripted stacks on a paused clock: every time is exact.

use std::num::NonZeroU32;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::jsonl::RowError;
use crate::record::Outcome;
use crate::stack::{
    CounterReading, Death, FailureKind, FinishReason, Revival, SpecCounts, SpecSource, StackError, Usage,
};
use crate::testing::{Script, ScriptedStack, Step, preset};

mod conversation;
mod open_loop;
mod timed;

struct Ran {
    rows: Vec<RequestRecord>,
    summary: RunSummary,
}

fn arm(label: &str, stack: &Arc<ScriptedStack>) -> RunnableArm {
    RunnableArm { label: label.to_owned(), stack: stack.clone(), concurrency: None }
}

fn scripted(scripts: Vec<Script>) -> Arc<ScriptedStack> {
    Arc::new(ScriptedStack::new(scripts))
}

async fn run_preset(preset: &Preset, arms: &[RunnableArm], cancel: &CancellationToken) -> Ran {
    let mut rows = Vec::new();
    let plan = RunPlan { run_id: "run", preset, first_request_index: 0, shard: None, start_at: None };
    let summary = run(plan, arms, &mut rows, &mut (), cancel).await.unwrap();
    Ran { rows, summary }
}

async fn run_one(script: Script) -> RequestRecord {
    let mut preset = preset();
    preset.workload.prompts.truncate(1);
    let stack = scripted(vec![script]);
    let mut ran = run_preset(&preset, &[arm("a", &stack)], &CancellationToken::new()).await;
    assert_eq!(stack.in_flight(), 0, "a stream outlived its request");
    assert_eq!(ran.rows.len(), 1);
    ran.rows.remove(0)
}

fn counts(drafted: u64, accepted: u64, positions: Option<Vec<u64>>, source: SpecSource) -> SpecCounts {
    SpecCounts {
        drafted,
        accepted,
        verify_steps: None,
        accepted_per_position: positions,
        drafted_per_position: None,
        accepted_histogram: None,
        source,
    }
}

fn death() -> Death {
    Death {
        program: "p".to_owned(),
        status: "signal 6".to_owned(),
        abort_site: Some("fattn.cu:109".to_owned()),
        log_tail: vec!["oom".to_owned()],
    }
}

#[tokio::test(start_paused = true)]
async fn times_are_exact() {
    let row = run_one(
        Script::new()
            .wait_ms(7)
            .step(Step::Opened)
            .wait_ms(243)
            .tokens(&[1])
            .wait_ms(40)
            .tokens(&[2, 3])
            .wait_ms(5)
            .finish(3),
    )
    .await;
    assert_eq!(row.outcome, Outcome::Completed { reason: FinishReason::Length });
    assert_eq!(row.timing.opened_ns, Some(7_000_000));
    assert_eq!(row.timing.first_token_ns, Some(250_000_000));
    assert_eq!(row.timing.last_token_ns, Some(290_000_000));
    assert_eq!(row.timing.ended_ns, 295_000_000);
    let span = row.decode_span().unwrap();
    assert_eq!((span.tokens, span.span_ns), (2, 40_000_000));
}

#[tokio::test(start_paused = true)]
async fn faults_are_rows_with_kind_message_and_what_came_before() {
    let row = run_one(Script::refuse(StackError::Status {
        address: "http://x".to_owned(),
        status: 503,
        message: "loading".to_owned(),
    }))
    .await;
    assert!(
        matches!(&row.outcome, Outcome::Failed { kind: FailureKind::HttpStatus, detail, hint: None, death: None }
        if detail == "http://x answered 503: loading"),
        "{:?}",
        row.outcome
    );

    let row = run_one(Script::new().tokens(&[1]).wait_ms(3)).await;
    assert!(matches!(&row.outcome, Outcome::Failed { kind: FailureKind::Aborted, .. }), "{:?}", row.outcome);
    assert_eq!((row.output.tokens, row.timing.ended_ns), (Some(1), 3_000_000));

    let broken = StackError::Exited(Box::new(death()));
    let row = run_one(Script::new().tokens(&[1]).tokens(&[2]).step(Step::Fail(broken))).await;
    assert!(
        matches!(&row.outcome, Outcome::Failed { kind: FailureKind::Exited, hint: Some(hint), .. }
        if hint.contains("oom")),
        "{:?}",
        row.outcome
    );
    assert_eq!(row.token_ids, Some(vec![1, 2]));
}

#[tokio::test(start_paused = true)]
async fn a_hang_times_out_at_the_deadline_exactly() {
    let row = run_one(Script::new().wait_ms(100).tokens(&[1]).step(Step::Hang)).await;
    assert_eq!(row.outcome, Outcome::TimedOut { limit_ms: 1000 });
    assert_eq!(row.timing.ended_ns, 1_000_000_000);
    assert_eq!(row.timing.first_token_ns, Some(100_000_000));
}

#[tokio::test(start_paused = true)]
async fn a_stamp_that_lies_is_a_failure_and_never_a_negative_time() {
    let early = std::time::Duration::from_millis(500);
    let row =
        run_one(Script::new().wait_ms(100).step(Step::StampTooEarly(early)).tokens(&[1]).finish(1)).await;
    assert!(matches!(row.outcome, Outcome::Failed { kind: FailureKind::Protocol, .. }), "{:?}", row.outcome);
}

#[tokio::test(start_paused = true)]
async fn unknown_counts_stay_unknown() {
    let usage = Usage::default();
    let finish = Step::Finish { reason: FinishReason::Stop, usage, spec: None };
    let row = run_one(Script::new().text("abc").step(finish)).await;
    assert_eq!(row.output.tokens, None);
    assert_eq!((row.text.as_str(), row.token_ids, row.spec), ("abc", None, None));
}

#[tokio::test(start_paused = true)]
async fn arms_alternate_abba_after_the_warm_up_and_never_overlap() {
    let mut preset = preset();
    preset.run.blocks = NonZeroU32::new(3).unwrap();
    preset.run.warmup_requests = 3;
    let (a, b) = (scripted(vec![Script::steady(10, 1, 4)]), scripted(vec![Script::steady(20, 2, 4)]));
    let ran = run_preset(&preset, &[arm("a", &a), arm("b", &b)], &CancellationToken::new()).await;
    let order: Vec<_> =
        ran.rows.iter().map(|row| format!("{}{}{}", row.arm, row.prompt_id, row.block)).collect();
    let warmup = ["aa0", "ab0", "aa0", "ba0", "bb0", "ba0"];
    let blocks = ["aa0", "ab0", "ba0", "bb0", "ba1", "bb1", "aa1", "ab1", "aa2", "ab2", "ba2", "bb2"];
    assert_eq!(order, [&warmup[..], &blocks[..]].concat());
    assert!(ran.rows[..6].iter().all(|row| row.phase == Phase::Warmup));
    assert!(ran.rows[6..].iter().all(|row| row.phase == Phase::Measured));
    assert!(ran.rows.iter().enumerate().all(|(index, row)| row.request_index == index as u64));
    assert_eq!(ran.summary, RunSummary { rows: 18, failures: 0, interrupted: false });
    assert_eq!((a.peak_in_flight(), b.peak_in_flight()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn concurrency_is_reached_and_not_passed() {
    let mut preset = preset();
    preset.workload.prompts = (0..7)
        .map(|index| crate::preset::PromptSpec {
            id: format!("p{index}"),
            ..preset.workload.prompts[0].clone()
        })
        .collect();
    preset.run.concurrency = NonZeroU32::new(3).unwrap();
    let stack = scripted(vec![Script::steady(10, 10, 2), Script::steady(30, 10, 2)]);
    let ran = run_preset(&preset, &[arm("a", &stack)], &CancellationToken::new()).await;
    assert_eq!((ran.rows.len(), stack.peak_in_flight()), (7, 3));
    let mut indices: Vec<_> = ran.rows.iter().map(|row| row.request_index).collect();
    indices.sort_unstable();
    assert_eq!(indices, [0, 1, 2, 3, 4, 5, 6]);
}

#[tokio::test(start_paused = true)]
async fn cancelling_keeps_what_was_in_flight_and_sends_no_more() {
    let mut preset = preset();
    preset.run.blocks = NonZeroU32::new(5).unwrap();
    let stack = scripted(vec![Script::steady(100, 10, 2)]);
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(325)).await;
        stop.cancel();
    });
    let ran = run_preset(&preset, &[arm("a", &stack)], &cancel).await;
    assert_eq!(ran.rows.len(), 3, "two of 110 ms, one cancelled at 105 ms");
    assert_eq!(ran.rows[2].outcome, Outcome::Cancelled);
    assert_eq!((ran.rows[2].timing.ended_ns, ran.rows[2].output.tokens), (105_000_000, Some(1)));
    assert_eq!(ran.summary, RunSummary { rows: 3, failures: 0, interrupted: true });
    assert_eq!(stack.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failure_does_not_end_the_run() {
    let refused = StackError::Unreachable { address: "x".to_owned(), detail: "refused".to_owned() };
    let stack = scripted(vec![Script::refuse(refused), Script::steady(1, 1, 2)]);
    let ran = run_preset(&preset(), &[arm("a", &stack)], &CancellationToken::new()).await;
    assert_eq!(ran.summary, RunSummary { rows: 2, failures: 1, interrupted: false });
    assert!(!ran.rows[0].outcome.is_completed() && ran.rows[1].outcome.is_completed());
}

#[tokio::test(start_paused = true)]
async fn arms_draw_with_equal_seeds_and_requests_with_different_ones() {
    let mut preset = preset();
    preset.run.blocks = NonZeroU32::new(2).unwrap();
    let (a, b) = (scripted(vec![Script::steady(1, 1, 2)]), scripted(vec![Script::steady(1, 1, 2)]));
    run_preset(&preset, &[arm("a", &a), arm("b", &b)], &CancellationToken::new()).await;
    let seeds = |stack: &ScriptedStack| -> Vec<_> {
        stack.requests().iter().map(|(_, request)| request.sampling.seed).collect()
    };
    assert_eq!(seeds(&a), seeds(&b));
    assert_eq!(std::collections::HashSet::<u64>::from_iter(seeds(&a)).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn counters_fill_in_what_the_response_leaves_out() {
    let mut preset = preset();
    preset.run.blocks = NonZeroU32::new(2).unwrap();
    let metrics = |drafted, accepted, positions: &[u64]| {
        let spec = counts(drafted, accepted, Some(positions.to_vec()), SpecSource::MetricsDelta);
        Ok(CounterReading { spec: Some(spec), ..CounterReading::default() })
    };
    let told = Script::new()
        .tokens(&[1])
        .wait_ms(1)
        .finish_with(1, Some(counts(3, 2, None, SpecSource::ResponseBody)));
    let silent = Script::new().tokens(&[1]).wait_ms(1).finish(1);
    let unreadable = StackError::Protocol { what: "no metrics".to_owned(), excerpt: String::new() };
    let stack =
        Arc::new(ScriptedStack::new(vec![told.clone(), silent, told.clone(), told]).with_counters(vec![
            metrics(10, 5, &[4, 1]),
            metrics(13, 7, &[5, 2]),
            metrics(13, 7, &[5, 2]),
            metrics(17, 8, &[6, 2]),
            metrics(20, 9, &[0, 0]),
            metrics(40, 20, &[9, 9]),
            Err(unreadable),
        ]));
    let ran = run_preset(&preset, &[arm("a", &stack)], &CancellationToken::new()).await;
    let specs: Vec<_> = ran.rows.iter().map(|row| row.spec.clone().unwrap()).collect();
    assert_eq!(specs[0], counts(3, 2, Some(vec![1, 1]), SpecSource::ResponseBody));
    assert_eq!(specs[1], counts(4, 1, Some(vec![1, 0]), SpecSource::MetricsDelta));
    assert_eq!(specs[2], counts(3, 2, None, SpecSource::ResponseBody), "disagreeing delta is not merged");
    let disputed: Vec<_> =
        ran.rows.iter().map(|row| row.spec_disputed.as_ref().map(|spec| spec.drafted)).collect();
    assert_eq!(disputed, [None, None, Some(20), None], "but it is kept");
    assert_eq!(
        specs[3],
        counts(3, 2, None, SpecSource::ResponseBody),
        "unreadable counters cost nothing else"
    );
}

#[tokio::test(start_paused = true)]
async fn the_observer_sees_progress_in_order() {
    #[derive(Default)]
    struct Log(Vec<String>);
    impl Observer for Log {
        fn on_event(&mut self, event: &RunEvent<'_>) {
            self.0.push(match event {
                RunEvent::PassStarted { arm, phase, block } => format!("{arm} {phase:?} {block}"),
                RunEvent::RequestFinished { done, total, tokens_per_s, .. } => {
                    format!("{done}/{total} {tokens_per_s:?}")
                }
                RunEvent::CountersUnreadable { message, .. } => message.clone(),
                RunEvent::Restarted { arm, restarts, limit } => format!("{arm} restarted {restarts}/{limit}"),
                RunEvent::ArmGivenUp { arm, why } => format!("{arm} given up: {why}"),
                RunEvent::BlockFinished { block, blocks } => format!("block {block} of {blocks}"),
                RunEvent::Settled { blocks } => format!("settled after {blocks}"),
            });
        }
    }
    let stack = scripted(vec![Script::steady(100, 10, 3)]);
    let (preset, mut rows, mut log) = (preset(), Vec::new(), Log::default());
    let plan =
        RunPlan { run_id: "run", preset: &preset, first_request_index: 0, shard: None, start_at: None };
    run(plan, &[arm("a", &stack)], &mut rows, &mut log, &CancellationToken::new()).await.unwrap();
    assert_eq!(log.0, ["a Measured 0", "1/2 Some(100.0)", "2/2 Some(100.0)", "block 0 of 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_cannot_be_stored_ends_the_run() {
    struct Full;
    impl RowSink for Full {
        fn append(&mut self, _row: &RequestRecord) -> Result<(), RowError> {
            Err(RowError::Write {
                path: "rows.jsonl".into(),
                rows_written: 0,
                source: std::io::ErrorKind::StorageFull.into(),
            })
        }
    }
    let stack = scripted(vec![Script::steady(1, 1, 2)]);
    let preset = preset();
    let plan =
        RunPlan { run_id: "run", preset: &preset, first_request_index: 0, shard: None, start_at: None };
    let error =
        run(plan, &[arm("a", &stack)], &mut Full, &mut (), &CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, RowError::Write { .. }));
    assert_eq!(stack.requests().len(), 1);
}

#[test]
fn a_setup_row_says_what_failed() {
    let error = StackError::Unreachable { address: "x".to_owned(), detail: "refused".to_owned() };
    let row = setup_row("run", "a", 3, &error);
    assert_eq!((row.phase, row.request_index, row.prompt_id.as_str()), (Phase::Setup, 3, ""));
    assert!(matches!(row.outcome, Outcome::Failed { kind: FailureKind::Unreachable, .. }));
}

#[tokio::test]
async fn a_run_can_be_a_task_of_its_own() {
    let task = tokio::spawn(async {
        let stack = scripted(vec![Script::new().tokens(&[1]).finish(1)]);
        run_preset(&preset(), &[arm("a", &stack)], &CancellationToken::new()).await.summary.rows
    });
    assert_eq!(task.await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn counters_are_not_read_after_a_request_that_may_still_run() {
    let metrics = |drafted| {
        let spec = counts(drafted, 0, None, SpecSource::MetricsDelta);
        Ok(CounterReading { spec: Some(spec), ..CounterReading::default() })
    };
    let (hang, fine) = (Script::new().step(Step::Hang), Script::new().tokens(&[1]).wait_ms(1).finish(1));
    let stack =
        Arc::new(ScriptedStack::new(vec![hang, fine.clone(), fine.clone(), fine]).with_counters(vec![
            metrics(1),
            metrics(2),
            metrics(5),
        ]));
    let mut preset = preset();
    preset.run.blocks = NonZeroU32::new(2).unwrap();
    let ran = run_preset(&preset, &[arm("a", &stack)], &CancellationToken::new()).await;
    let drafted: Vec<_> = ran.rows.iter().map(|row| row.spec.as_ref().map(|spec| spec.drafted)).collect();
    // The first hangs after one reading; the second is not measured; the third has the other two readings.
    assert_eq!(drafted, [None, None, Some(3), None]);
}

#[tokio::test(start_paused = true)]
async fn a_run_on_disk_reads_back_whole() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = crate::run_dir::RunDir::create(temporary.path()).unwrap();
    let stack = scripted(vec![Script::steady(5, 1, 3), Script::new().text("a")]);
    let preset = preset();
    let plan =
        RunPlan { run_id: "run", preset: &preset, first_request_index: 7, shard: None, start_at: None };
    let mut writer = dir.row_writer().unwrap();
    let summary =
        run(plan, &[arm("a", &stack)], &mut writer, &mut (), &CancellationToken::new()).await.unwrap();
    let read = dir.read_rows().unwrap();
    assert_eq!((read.rows.len() as u64, writer.rows(), read.torn_tail), (summary.rows, 2, None));
    assert_eq!(read.rows.iter().map(|row| row.request_index).collect::<Vec<_>>(), [7, 8]);
    assert!(read.rows[0].outcome.is_completed() && !read.rows[1].outcome.is_completed());
}

#[tokio::test(start_paused = true)]
async fn hanging_counters_hang_neither_the_run_nor_its_end() {
    let start = tokio::time::Instant::now();
    let stack = Arc::new(ScriptedStack::new(vec![Script::steady(5, 1, 3)]).with_hanging_counters());
    let ran = run_preset(&preset(), &[arm("a", &stack)], &CancellationToken::new()).await;
    assert!(ran.rows.iter().all(|row| row.outcome.is_completed() && row.timing.ended_ns == 7_000_000));
    assert_eq!(start.elapsed().as_millis(), 2 * (1000 + 7), "each request waits its limit for the counters");

    let (start, cancel) = (tokio::time::Instant::now(), CancellationToken::new());
    let stop = cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        stop.cancel();
    });
    let ran = run_preset(&preset(), &[arm("a", &stack)], &cancel).await;
    assert!(ran.summary.interrupted);
    assert_eq!(start.elapsed().as_millis(), 300);
}

/// One arm, `blocks` blocks over two prompts, at most `max_restarts` restarts.
fn restartable(blocks: u32, warmup_requests: u32, max_restarts: u32) -> Preset {
    let mut preset = preset();
    preset.run.blocks = NonZeroU32::new(blocks).unwrap();
    (preset.run.warmup_requests, preset.run.max_restarts) = (warmup_requests, max_restarts);
    preset
}

fn in_short(rows: &[RequestRecord]) -> Vec<(Phase, u64, &'static str)> {
    let word = |outcome: &Outcome| match outcome {
        Outcome::Completed { .. } => "completed",
        Outcome::Failed { kind: FailureKind::Aborted, .. } => "aborted",
        Outcome::Failed { kind: FailureKind::GivenUp, .. } => "given up",
        Outcome::Failed { .. } => "failed",
        Outcome::TimedOut { .. } => "timed out",
        Outcome::Cancelled => "cancelled",
    };
    rows.iter().map(|row| (row.phase, row.request_index, word(&row.outcome))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_dead_server_is_restarted_warmed_up_and_the_run_goes_on() {
    let (fine, dies) = (Script::steady(1, 1, 2), Script::new().tokens(&[1]));
    let stack = ScriptedStack::new(vec![fine.clone(), dies, fine.clone(), fine.clone()])
        .with_revivals(vec![Ok(Revival::Restarted)]);
    let stack = Arc::new(stack);
    let ran = run_preset(&restartable(1, 1, 3), &[arm("a", &stack)], &CancellationToken::new()).await;
    use Phase::{Measured, Warmup};
    assert_eq!(
        in_short(&ran.rows),
        [
            (Warmup, 0, "completed"),
            (Measured, 1, "aborted"),
            (Warmup, 2, "completed"),
            (Measured, 3, "completed")
        ]
    );
    assert_eq!((ran.summary.failures, ran.summary.interrupted), (1, false));
}

#[tokio::test(start_paused = true)]
async fn beyond_its_restarts_an_arm_is_given_up_and_the_others_go_on() {
    let dies = ScriptedStack::new(vec![Script::new().tokens(&[1])])
        .with_revivals((0..9).map(|_| Ok(Revival::Restarted)).collect());
    let (dies, fine) = (Arc::new(dies), scripted(vec![Script::steady(1, 1, 2)]));
    let arms = [arm("dies", &dies), arm("fine", &fine)];
    let ran = run_preset(&restartable(3, 0, 2), &arms, &CancellationToken::new()).await;
    let of = |label: &str| ran.rows.iter().filter(|row| row.arm == label).cloned().collect::<Vec<_>>();
    let words: Vec<_> = in_short(&of("dies")).into_iter().map(|(.., word)| word).collect();
    assert_eq!(words, ["aborted", "aborted", "aborted", "given up", "given up", "given up"]);
    assert_eq!(dies.requests().len(), 3, "what is given up is not sent");
    assert!(of("fine").iter().all(|row| row.outcome.is_completed()));
    let last = of("dies").pop().unwrap();
    let Outcome::Failed { detail, .. } = last.outcome else { panic!("{:?}", last.outcome) };
    assert_eq!(detail, "not sent: its server was started again 2 times, and died again");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_by_a_living_server_gives_up_nothing() {
    let refused =
        Script::refuse(StackError::Status { address: "x".to_owned(), status: 400, message: "n".to_owned() });
    let stack = scripted(vec![refused]);
    let ran = run_preset(&restartable(2, 0, 0), &[arm("a", &stack)], &CancellationToken::new()).await;
    assert_eq!(stack.requests().len(), 4);
    assert!(in_short(&ran.rows).iter().all(|row| row.2 == "failed"));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_be_started_again_ends_its_arm() {
    let gone = StackError::Exited(Box::new(death()));
    let stack =
        ScriptedStack::new(vec![Script::new().step(Step::Fail(gone.clone()))]).with_revivals(vec![Err(gone)]);
    let stack = Arc::new(stack);
    let ran = run_preset(&restartable(1, 0, 3), &[arm("a", &stack)], &CancellationToken::new()).await;
    let Outcome::Failed { death: Some(evidence), .. } = &ran.rows[0].outcome else { panic!() };
    assert_eq!(evidence.abort_site.as_deref(), Some("fattn.cu:109"));
    let Outcome::Failed { kind: FailureKind::GivenUp, detail, .. } = &ran.rows[1].outcome else { panic!() };
    assert!(
        detail.contains("could not be started again: p ended by itself (signal 6) at fattn.cu:109"),
        "{detail}"
    );
}

#[tokio::test(start_paused = true)]
async fn counters_tell_of_caches_where_answers_do_not() {
    let silent = |cached_tokens| {
        let usage = Usage { prompt_tokens: Some(9), cached_tokens, output_tokens: Some(1) };
        Script::new().tokens(&[1]).step(Step::Finish { reason: FinishReason::Length, usage, spec: None })
    };
    let reading = |cached_tokens| Ok(CounterReading { cached_tokens, ..CounterReading::default() });
    let readings = [Some(8), Some(8), Some(8), Some(24), Some(24), Some(40), None, Some(40)];
    let stack = ScriptedStack::new(vec![silent(None), silent(None), silent(Some(5)), silent(None)])
        .with_counters(readings.map(reading).to_vec());
    let ran =
        run_preset(&restartable(2, 0, 3), &[arm("a", &Arc::new(stack))], &CancellationToken::new()).await;
    let cached: Vec<_> = ran.rows.iter().map(|row| row.usage.cached_tokens).collect();
    assert_eq!(cached, [Some(0), Some(16), Some(5), None], "the answer's own count goes before");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_changes_behind_our_back_is_noticed() {
    let reading = |started: &str| {
        Ok(CounterReading { process_started: Some(started.to_owned()), ..CounterReading::default() })
    };
    let stack = ScriptedStack::new(vec![Script::steady(1, 1, 2)])
        .with_counters(["1", "1", "2", "2", "2", "3", "3", "3"].map(reading).to_vec());
    let stack = Arc::new(stack);
    let ran = run_preset(&restartable(2, 0, 3), &[arm("a", &stack)], &CancellationToken::new()).await;
    let silent: Vec<_> = ran.rows.iter().map(|row| row.restarted_in_silence).collect();
    assert_eq!(silent, [false, true, true, false], "between two requests, and within one");
}

#[tokio::test(start_paused = true)]
async fn the_text_is_counted_again_and_the_request_is_hashed() {
    let ran = run_preset(
        &restartable(2, 0, 3),
        &[arm("a", &scripted(vec![Script::steady(1, 1, 2)]))],
        &CancellationToken::new(),
    )
    .await;
    assert!(ran.rows.iter().all(|row| row.output.retokenised == Some(2)), "a token a character");
    let hashes: std::collections::HashSet<_> =
        ran.rows.iter().map(|row| row.request_sha256.clone()).collect();
    assert_eq!(hashes.len(), 4, "prompt and seed are in it");
    assert!(hashes.iter().all(Option::is_some));
}

/// Blocks that were measured of 12, at most, of two arms of one stack whose requests take these times a token.
async fn blocks_until_settled(max_looks: u32, millis: impl Fn(u32) -> [u64; 2]) -> (u32, RunSummary) {
    let mut preset = preset();
    preset.run.blocks = NonZeroU32::new(12).unwrap();
    preset.run.max_looks = max_looks;
    preset.workload.prompts.truncate(1);
    let of_arm =
        |arm: usize| scripted((0..12).map(|block| Script::steady(1, millis(block)[arm], 2)).collect());
    let (a, b) = (of_arm(0), of_arm(1));
    let arms = [arm("native/a", &a), arm("native/b", &b)];
    let ran = run_preset(&preset, &arms, &CancellationToken::new()).await;
    assert_eq!(ran.rows.len() as u64, ran.summary.rows);
    (u32::try_from(ran.rows.len()).unwrap() / 2, ran.summary)
}

#[tokio::test(start_paused = true)]
async fn a_run_ends_at_the_first_look_that_settles_all() {
    // Twice as fast, block by block a little different.
    let clear = |block: u32| [100 + u64::from(block % 3), 50 + u64::from(block % 2)];
    let (blocks, summary) = blocks_until_settled(2, clear).await;
    assert_eq!((blocks, summary.interrupted), (6, false), "looks after 6 and 12 blocks");
    assert_eq!(blocks_until_settled(1, clear).await.0, 12, "no look was allowed");
    // Faster and slower in turn: never settled.
    let open = |block: u32| if block.is_multiple_of(2) { [100, 50] } else { [50, 100] };
    assert_eq!(blocks_until_settled(3, open).await.0, 12);
    // The same all the time: settled as equivalent.
    assert_eq!(blocks_until_settled(2, |_| [100, 100]).await.0, 6);
}
