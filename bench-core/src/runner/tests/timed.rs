//! Passes that time ends, on a paused clock.

use std::time::Duration;

use super::*;
use crate::load::{Arrivals, Load, OpenLoad};
use crate::preset::RunParams;
use crate::testing::{Script, preset};

/// Two prompts; a pass goes on sending for two seconds.
fn timed() -> Preset {
    let mut preset = preset();
    preset.run.duration_s = NonZeroU32::new(2);
    preset.run.request_timeout_ms = 10_000;
    preset
}

/// Prompt, number, milliseconds from the beginning of the pass to the send.
fn sends(rows: &[RequestRecord]) -> Vec<(&str, u32, u64)> {
    rows.iter()
        .map(|row| {
            let arrival = row.arrival.unwrap();
            assert_eq!(arrival.late_ns(), Some(0), "{row:?}");
            (row.prompt_id.as_str(), arrival.slot, arrival.sent_ns.unwrap() / 1_000_000)
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_closed_loop_goes_around_until_the_time_is_over_and_waits_for_what_is_in_flight() {
    // 600 ms a request: sent at 0, 600, 1200 and 1800; the last one ends 400 ms after the time.
    let stack = scripted(vec![Script::steady(500, 100, 2)]);
    let began = tokio::time::Instant::now();
    let ran = run_preset(&timed(), &[arm("a", &stack)], &CancellationToken::new()).await;
    assert_eq!(sends(&ran.rows), [("a", 0, 0), ("b", 1, 600), ("a", 2, 1200), ("b", 3, 1800)]);
    assert!(ran.rows.iter().all(|row| row.outcome.is_completed()), "a slow one is not dropped");
    assert_eq!(began.elapsed(), Duration::from_millis(2400));
    assert_eq!(ran.summary, RunSummary { rows: 4, failures: 0, interrupted: false });
    // The same question again is another request: its place and its seed are its own.
    assert_ne!(ran.rows[0].place(), ran.rows[2].place());
    assert_ne!(ran.rows[0].request_sha256, ran.rows[2].request_sha256);
    assert_eq!(ran.rows[0].prompt_sha256, ran.rows[2].prompt_sha256);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_at_the_end_or_later_and_streams_share_the_prompts() {
    let mut preset = timed();
    preset.run.concurrency = NonZeroU32::new(3).unwrap();
    // More streams than prompts, 500 ms a request: three at 0, 500, 1000, 1500 and none at 2000.
    let stack = scripted(vec![Script::steady(400, 100, 2)]);
    let ran = run_preset(&preset, &[arm("a", &stack)], &CancellationToken::new()).await;
    let mut found = sends(&ran.rows);
    found.sort_unstable_by_key(|(_, slot, _)| *slot);
    let expected: Vec<_> =
        (0..12).map(|slot| (["a", "b"][slot as usize % 2], slot, u64::from(slot / 3) * 500)).collect();
    assert_eq!(found, expected);
}

#[tokio::test(start_paused = true)]
async fn arms_pair_what_both_were_asked() {
    let (slow, fast) =
        (scripted(vec![Script::steady(900, 100, 2)]), scripted(vec![Script::steady(400, 100, 2)]));
    let ran =
        run_preset(&timed(), &[arm("slow", &slow), arm("fast", &fast)], &CancellationToken::new()).await;
    let of = |label: &str| ran.rows.iter().filter(|row| row.arm == label).collect::<Vec<_>>();
    let (slow, fast) = (of("slow"), of("fast"));
    assert_eq!((slow.len(), fast.len()), (2, 4));
    for (a, b) in slow.iter().zip(&fast) {
        assert_eq!((a.place(), &a.request_sha256), (b.place(), &b.request_sha256));
    }
    assert_eq!(ran.summary, RunSummary { rows: 6, failures: 0, interrupted: false });
}

#[tokio::test(start_paused = true)]
async fn a_stack_that_refuses_is_asked_a_round_and_no_more() {
    let refused =
        StackError::Status { address: "http://x".to_owned(), status: 503, message: "no".to_owned() };
    let stack = scripted(vec![Script::refuse(refused)]);
    let ran = run_preset(&timed(), &[arm("a", &stack)], &CancellationToken::new()).await;
    assert_eq!(ran.summary, RunSummary { rows: 2, failures: 2, interrupted: false });
}

#[tokio::test(start_paused = true)]
async fn a_run_that_the_user_ends_says_so_however_much_it_sent() {
    let stack = scripted(vec![Script::steady(50, 50, 2)]);
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(1050)).await;
        stop.cancel();
    });
    let ran = run_preset(&timed(), &[arm("a", &stack)], &cancel).await;
    assert_eq!(ran.summary, RunSummary { rows: 11, failures: 0, interrupted: true });
}

#[tokio::test(start_paused = true)]
async fn warm_up_is_not_bound_by_time() {
    let mut preset = timed();
    preset.run.warmup_requests = 3;
    preset.run.blocks = NonZeroU32::new(2).unwrap();
    let stack = scripted(vec![Script::steady(900, 100, 2)]);
    let ran = run_preset(&preset, &[arm("a", &stack)], &CancellationToken::new()).await;
    let warm = ran.rows.iter().filter(|row| row.phase == Phase::Warmup).count();
    assert_eq!((warm, ran.rows.len()), (3, 7));
    assert_eq!(ran.summary, RunSummary { rows: 7, failures: 0, interrupted: false });
}

#[tokio::test(start_paused = true)]
async fn an_open_loop_sends_what_is_due_before_the_end() {
    let load = OpenLoad {
        arrivals: Arrivals::Constant { rate: 2.0 },
        requests: NonZeroU32::MAX,
        max_in_flight: None,
    };
    let preset = Preset { run: RunParams { load: Load::Open(load.clone()), ..timed().run }, ..timed() };
    let stack = scripted(vec![Script::steady(4_000, 100, 2)]);
    let ran = run_preset(&preset, &[arm("a", &stack)], &CancellationToken::new()).await;
    assert_eq!(sends(&ran.rows), [("a", 0, 0), ("b", 1, 500), ("a", 2, 1000), ("b", 3, 1500)]);
    assert!(ran.rows.iter().all(|row| row.outcome.is_completed()));
    assert_eq!(ran.summary, RunSummary { rows: 4, failures: 0, interrupted: false });
    // Random arrivals that fall into the time are those of a longer schedule.
    let random = OpenLoad { arrivals: Arrivals::Poisson { rate: 40.0 }, ..load };
    let cut = random.schedule_until(7, 1, Duration::from_secs(2));
    let longer = random.schedule_until(7, 1, Duration::from_secs(4));
    assert!(cut.len() > 40 && longer.len() > cut.len() && longer.starts_with(&cut), "{}", cut.len());
    assert!(longer[cut.len()].at_ns >= 2_000_000_000 && cut[cut.len() - 1].at_ns < 2_000_000_000);
    let blocks = Preset {
        run: RunParams { load: Load::Open(random), blocks: NonZeroU32::new(3).unwrap(), ..timed().run },
        ..timed()
    };
    let ran = run_preset(&blocks, &[arm("a", &stack)], &CancellationToken::new()).await;
    assert!(!ran.summary.interrupted, "{:?}", ran.summary);
    let of_block = |block| ran.rows.iter().filter(|row| row.block == block).count();
    assert_eq!(
        of_block(1),
        blocks.run.load.open().unwrap().schedule_until(42, 1, Duration::from_secs(2)).len()
    );
}
