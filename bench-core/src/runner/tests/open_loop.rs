//! The open loop on a paused clock: intended times, sending times and lateness are exact.

use super::*;
use crate::load::{Arrivals, Load, OpenLoad};

fn open(rate: f64, requests: u32, max_in_flight: Option<u32>) -> Preset {
    let mut preset = preset();
    preset.run.load = Load::Open(OpenLoad {
        arrivals: Arrivals::Constant { rate },
        requests: NonZeroU32::new(requests).unwrap(),
        max_in_flight: max_in_flight.and_then(NonZeroU32::new),
    });
    preset
}

/// `(intended, sent)` in milliseconds, by slot.
fn times(rows: &[RequestRecord]) -> Vec<(u64, u64)> {
    let mut arrivals: Vec<_> = rows.iter().map(|row| row.arrival.unwrap()).collect();
    arrivals.sort_unstable_by_key(|arrival| arrival.slot);
    let ms = |ns: u64| ns / 1_000_000;
    arrivals.iter().map(|arrival| (ms(arrival.intended_ns), ms(arrival.sent_ns.unwrap()))).collect()
}

#[tokio::test(start_paused = true)]
async fn requests_go_out_when_they_are_due_whatever_is_in_flight() {
    let preset = open(100.0, 5, None);
    let stack = scripted(vec![Script::steady(100, 10, 2)]);
    let ran = run_preset(&preset, &[arm("a", &stack)], &CancellationToken::new()).await;
    assert_eq!(times(&ran.rows), [(0, 0), (10, 10), (20, 20), (30, 30), (40, 40)]);
    assert_eq!(stack.peak_in_flight(), 5);
    assert!(ran.rows.iter().all(|row| row.timing.first_token_ns == Some(100_000_000)));
    assert_eq!(ran.summary, RunSummary { rows: 5, failures: 0, interrupted: false });
    // Prompts go around; a request's place tells them apart.
    let prompts: Vec<_> = ran.rows.iter().map(|row| row.prompt_id.as_str()).collect();
    assert_eq!(prompts, ["a", "b", "a", "b", "a"]);
    let places: std::collections::BTreeSet<_> = ran.rows.iter().map(RequestRecord::place).collect();
    assert_eq!(places.len(), 5);
    let seeds: std::collections::BTreeSet<_> = ran.rows.iter().map(|row| &row.request_sha256).collect();
    assert_eq!(seeds.len(), 5, "each request has a seed of its own");
}

#[tokio::test(start_paused = true)]
async fn what_a_limit_holds_back_is_late_and_not_lost() {
    let preset = open(100.0, 5, Some(2));
    let stack = scripted(vec![Script::steady(40, 10, 2)]);
    let ran = run_preset(&preset, &[arm("a", &stack)], &CancellationToken::new()).await;
    // Two at a time, 50 ms each: the third was due after 20 ms and goes out when the first has ended.
    assert_eq!(times(&ran.rows), [(0, 0), (10, 10), (20, 50), (30, 60), (40, 100)]);
    assert_eq!(stack.peak_in_flight(), 2);
    let late: Vec<_> =
        ran.rows.iter().map(|row| row.arrival.unwrap().late_ns().unwrap() / 1_000_000).collect();
    assert_eq!(late.iter().sum::<u64>(), 30 + 30 + 60);
}

#[tokio::test(start_paused = true)]
async fn every_arm_of_a_block_meets_the_same_arrivals() {
    let mut preset = open(50.0, 20, None);
    preset.run.blocks = NonZeroU32::new(2).unwrap();
    let Load::Open(load) = &mut preset.run.load else { unreachable!("it was made open") };
    load.arrivals = Arrivals::Poisson { rate: 50.0 };
    let stacks = [scripted(vec![Script::steady(5, 1, 2)]), scripted(vec![Script::steady(50, 1, 2)])];
    let arms = [arm("a", &stacks[0]), arm("b", &stacks[1])];
    let ran = run_preset(&preset, &arms, &CancellationToken::new()).await;
    let of = |arm: &str, block: u32| {
        let rows: Vec<_> =
            ran.rows.iter().filter(|row| row.arm == arm && row.block == block).cloned().collect();
        times(&rows).into_iter().map(|(intended, _)| intended).collect::<Vec<_>>()
    };
    assert_eq!(of("a", 0), of("b", 0));
    assert_eq!(of("a", 1), of("b", 1));
    assert_ne!(of("a", 0), of("a", 1));
    // The clock of tokio goes in milliseconds: a request may go out up to one late, never early.
    assert!(ran.rows.iter().all(|row| row.arrival.unwrap().late_ns().unwrap() <= 1_000_000));
}

#[tokio::test(start_paused = true)]
async fn shards_send_the_whole_between_them() {
    let preset = open(100.0, 7, None);
    let mut slots = Vec::new();
    for index in 0..3 {
        let stack = scripted(vec![Script::steady(5, 1, 2)]);
        let mut rows = Vec::new();
        let shard = Some(Shard { index, of: NonZeroU32::new(3).unwrap() });
        let plan = RunPlan { run_id: "run", preset: &preset, first_request_index: 0, shard, start_at: None };
        let arms = [arm("a", &stack)];
        let summary = run(plan, &arms, &mut rows, &mut (), &CancellationToken::new()).await.unwrap();
        assert_eq!(summary.rows, rows.len() as u64);
        assert!(!summary.interrupted);
        slots.extend(rows.iter().map(|row| (row.arrival.unwrap().slot, row.arrival.unwrap().intended_ns)));
    }
    slots.sort_unstable();
    let expected: Vec<_> = (0..7).map(|slot| (slot, u64::from(slot) * 10_000_000)).collect();
    assert_eq!(slots, expected);
}

/// A part whose machine warmed up beyond the agreed time must not move its share of the schedule.
#[tokio::test(start_paused = true)]
async fn intended_times_count_from_the_agreed_beginning() {
    let mut preset = open(100.0, 4, None);
    preset.run.warmup_requests = 1;
    // Warm-up is one request, 110 ms.
    for (ahead_ms, expected) in [
        (500, [(0, 0), (10, 10), (20, 20), (30, 30)]),
        (5_000, [(0, 0), (10, 10), (20, 20), (30, 30)]),
        (90, [(0, 20), (10, 20), (20, 20), (30, 30)]),
    ] {
        let stack = scripted(vec![Script::steady(100, 10, 2)]);
        let began = tokio::time::Instant::now();
        let start_at = Some(began + std::time::Duration::from_millis(ahead_ms));
        let plan = RunPlan { run_id: "run", preset: &preset, first_request_index: 0, shard: None, start_at };
        let mut rows: Vec<RequestRecord> = Vec::new();
        run(plan, &[arm("a", &stack)], &mut rows, &mut (), &CancellationToken::new()).await.unwrap();
        rows.retain(|row| row.phase == Phase::Measured);
        assert_eq!(times(&rows), expected, "{ahead_ms} ms ahead");
        let last_sent_ms = u128::from(ahead_ms) + 30;
        assert_eq!(began.elapsed().as_millis(), last_sent_ms + 110, "{ahead_ms} ms ahead");
    }
}

#[tokio::test(start_paused = true)]
async fn cancelling_wakes_a_loop_that_waits() {
    let preset = open(0.01, 3, None);
    let stack = scripted(vec![Script::steady(5, 1, 2)]);
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_secs(30)).await;
        stop.cancel();
    });
    let began = tokio::time::Instant::now();
    let ran = run_preset(&preset, &[arm("a", &stack)], &cancel).await;
    assert_eq!(ran.summary, RunSummary { rows: 1, failures: 0, interrupted: true });
    assert_eq!(began.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_given_up_leaves_rows_of_what_was_not_sent() {
    let mut preset = open(100.0, 3, None);
    preset.run.max_restarts = 0;
    let gone = Script::refuse(StackError::Exited(Box::new(death())));
    let stack = Arc::new(ScriptedStack::new(vec![gone]).with_revivals(vec![Ok(Revival::Dead)]));
    let ran = run_preset(&preset, &[arm("a", &stack)], &CancellationToken::new()).await;
    assert_eq!(ran.rows.len(), 3);
    let sent: Vec<_> = ran.rows.iter().map(|row| row.arrival.unwrap().sent_ns).collect();
    assert_eq!(sent, [Some(0), None, None]);
}

#[tokio::test(start_paused = true)]
async fn a_sweep_has_a_concurrency_for_each_arm() {
    let mut preset = preset();
    preset.workload.prompts = (0..8)
        .map(|i| crate::preset::PromptSpec { id: format!("p{i}"), ..preset.workload.prompts[0].clone() })
        .collect();
    let stacks = [1, 4].map(|_| scripted(vec![Script::steady(10, 10, 2)]));
    let arms = [(&stacks[0], 1), (&stacks[1], 4)]
        .map(|(stack, n)| RunnableArm { concurrency: NonZeroU32::new(n), ..arm(&format!("s/v@{n}"), stack) });
    run_preset(&preset, &arms, &CancellationToken::new()).await;
    assert_eq!(stacks.map(|stack| stack.peak_in_flight()), [1, 4]);
}
