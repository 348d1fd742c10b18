//! Conversations on a paused clock: think times, histories, hashes and rows are exact.

use proptest::prelude::*;

use super::*;
use crate::load::{Arrivals, Load, OpenLoad};
use crate::preset::Route;
use crate::run_dir::{prompt_sha256, turn_sha256};
use crate::stack::{Exchange, Prompt};

/// Two prompts: `a` has three user turns, `b` one.
fn chat(think_time_ms: u64) -> Preset {
    let mut preset = preset();
    preset.serving.route = Route::Chat;
    preset.run.think_time_ms = think_time_ms;
    preset.workload.prompts[0].later_turns = vec!["again".to_owned(), "and again".to_owned()];
    preset
}

fn answered(text: &str, ms: u64) -> Script {
    Script::new().wait_ms(ms).text(text).finish(1)
}

fn turns(rows: &[RequestRecord]) -> Vec<(&str, u32)> {
    rows.iter().map(|row| (row.prompt_id.as_str(), row.place().turn)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_turn_goes_out_when_the_answer_is_complete_and_thought_about_with_all_that_was_said() {
    let preset = chat(250);
    let stack = scripted(vec![answered("one", 30), answered("two", 40), answered("three", 5)]);
    let began = tokio::time::Instant::now();
    let ran = run_preset(&preset, &[arm("a", &stack)], &CancellationToken::new()).await;
    assert_eq!(turns(&ran.rows), [("a", 1), ("a", 2), ("a", 3), ("b", 1)]);
    assert_eq!(ran.summary, RunSummary { rows: 4, failures: 0, interrupted: false });
    let sent: Vec<_> = stack.requests().iter().map(|(at, _)| (*at - began).as_millis()).collect();
    assert_eq!(sent, [0, 30 + 250, 280 + 40 + 250, 570 + 5]);
    let since: Vec<_> =
        ran.rows.iter().map(|row| row.turn.as_ref().and_then(|turn| turn.since_answer_ns)).collect();
    assert_eq!(since, [None, Some(250_000_000), Some(250_000_000), None]);
    assert!(ran.rows.iter().enumerate().all(|(index, row)| row.request_index == index as u64));

    let said = |user: &str, assistant: &str| Exchange { user: user.into(), assistant: assistant.into() };
    let Prompt::Chat { history, user, .. } = &stack.requests()[2].1.prompt else { panic!("no chat") };
    assert_eq!(history[..], [said("text of a", "one"), said("again", "two")]);
    assert_eq!(user, "and again");

    let prompts = &preset.workload.prompts;
    assert_eq!(ran.rows[0].prompt_sha256, prompt_sha256(&prompts[0]));
    assert_eq!(ran.rows[1].prompt_sha256, turn_sha256(&prompts[0], ["one"]));
    assert_eq!(ran.rows[2].prompt_sha256, turn_sha256(&prompts[0], ["one", "two"]));
    assert_ne!(ran.rows[2].prompt_sha256, turn_sha256(&prompts[0], ["one", "twO"]));
    let seeds: std::collections::BTreeSet<_> =
        stack.requests().iter().map(|(_, request)| request.sampling.seed).collect();
    assert_eq!(seeds.len(), 4, "each turn has a seed of its own");
    let of_a: std::collections::BTreeSet<_> =
        ran.rows[..3].iter().map(|row| row.turn.as_ref().map(|turn| &turn.conversation)).collect();
    assert_eq!(of_a.len(), 1);
    assert_eq!(ran.rows[3].turn, None, "one turn is no conversation");
}

#[tokio::test(start_paused = true)]
async fn a_thought_is_in_the_row_and_not_in_what_later_turns_carry() {
    let preset = chat(0);
    let thinks = Script::new().text("<think>hm</think>\n\none").finish(1);
    let stack = scripted(vec![thinks, answered("two", 1), Script::new().text("<think>on and on").finish(1)]);
    let ran = run_preset(&preset, &[arm("a", &stack)], &CancellationToken::new()).await;
    assert_eq!(ran.rows[0].text, "<think>hm</think>\n\none");
    assert_eq!(ran.rows[0].answer(), "one");
    assert_eq!(ran.rows[2].answer(), "", "a thought that did not end");
    let Prompt::Chat { history, .. } = &stack.requests()[2].1.prompt else { panic!("no chat") };
    let answers: Vec<_> = history.iter().map(|exchange| exchange.assistant.as_str()).collect();
    assert_eq!(answers, ["one", "two"]);
    assert_eq!(ran.rows[2].prompt_sha256, turn_sha256(&preset.workload.prompts[0], answers));
}

#[tokio::test(start_paused = true)]
async fn a_conversation_holds_its_place_while_its_user_thinks() {
    let mut preset = chat(1_000);
    preset.workload.prompts[1].later_turns = vec!["again".to_owned()];
    let stack = scripted(vec![answered("x", 10)]);
    run_preset(&preset, &[arm("a", &stack)], &CancellationToken::new()).await;
    assert_eq!(stack.peak_in_flight(), 1);
    // Two at once: `b` begins beside `a`, and both think at the same time.
    preset.run.concurrency = NonZeroU32::new(2).unwrap();
    let stack = scripted(vec![answered("x", 10)]);
    let began = tokio::time::Instant::now();
    let ran = run_preset(&preset, &[arm("a", &stack)], &CancellationToken::new()).await;
    assert_eq!(turns(&ran.rows), [("a", 1), ("b", 1), ("a", 2), ("b", 2), ("a", 3)]);
    assert_eq!(began.elapsed().as_millis(), 3 * 10 + 2 * 1_000);
}

fn open(mut preset: Preset, arrivals: Arrivals, requests: u32, most: Option<u32>) -> Preset {
    preset.run.load = Load::Open(OpenLoad {
        arrivals,
        requests: NonZeroU32::new(requests).unwrap(),
        max_in_flight: most.and_then(NonZeroU32::new),
    });
    preset
}

#[tokio::test(start_paused = true)]
async fn in_an_open_loop_arrivals_begin_conversations_and_later_turns_are_due_after_their_answers() {
    let preset = open(chat(100), Arrivals::Constant { rate: 100.0 }, 3, None);
    let stack = scripted(vec![answered("x", 50)]);
    let ran = run_preset(&preset, &[arm("a", &stack)], &CancellationToken::new()).await;
    let mut times: Vec<_> = ran
        .rows
        .iter()
        .map(|row| {
            let arrival = row.arrival.unwrap();
            let ms = |ns: u64| ns / 1_000_000;
            (arrival.slot, row.place().turn, ms(arrival.intended_ns), ms(arrival.sent_ns.unwrap()))
        })
        .collect();
    times.sort_unstable();
    let expected = [
        (0, 1, 0, 0),
        (0, 2, 150, 150),
        (0, 3, 300, 300),
        (1, 1, 10, 10),
        (2, 1, 20, 20),
        (2, 2, 170, 170),
        (2, 3, 320, 320),
    ];
    assert_eq!(times, expected);
    assert_eq!(ran.summary, RunSummary { rows: 7, failures: 0, interrupted: false });
    let places: std::collections::BTreeSet<_> = ran.rows.iter().map(RequestRecord::place).collect();
    assert_eq!(places.len(), 7);
}

#[tokio::test(start_paused = true)]
async fn turns_after_one_without_an_answer_are_rows_that_say_so() {
    let stack = scripted(vec![Script::new().text("half"), answered("x", 10)]);
    let ran = run_preset(&chat(100), &[arm("a", &stack)], &CancellationToken::new()).await;
    assert_eq!(turns(&ran.rows), [("a", 1), ("a", 2), ("a", 3), ("b", 1)]);
    for row in &ran.rows[1..3] {
        assert!(
            matches!(&row.outcome, Outcome::Failed { kind: FailureKind::GivenUp, detail, .. }
            if detail.contains("turn 1 of its conversation was not answered")),
            "{:?}",
            row.outcome
        );
    }
    assert_eq!(ran.summary, RunSummary { rows: 4, failures: 3, interrupted: false });
    assert_eq!(stack.requests().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_given_up_leaves_a_row_of_every_turn() {
    let mut preset = open(chat(100), Arrivals::Constant { rate: 100.0 }, 3, None);
    preset.run.max_restarts = 0;
    let gone = Script::refuse(StackError::Exited(Box::new(death())));
    let stack = Arc::new(ScriptedStack::new(vec![gone]).with_revivals(vec![Ok(Revival::Dead)]));
    let ran = run_preset(&preset, &[arm("a", &stack)], &CancellationToken::new()).await;
    assert_eq!(turns(&ran.rows), [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("a", 1), ("a", 2), ("a", 3)]);
    assert!(!ran.summary.interrupted);
}

#[tokio::test(start_paused = true)]
async fn cancelling_wakes_a_user_who_thinks_and_sends_nothing_more() {
    let stack = scripted(vec![answered("x", 10)]);
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_secs(30)).await;
        stop.cancel();
    });
    let began = tokio::time::Instant::now();
    let ran = run_preset(&chat(3_600_000), &[arm("a", &stack)], &cancel).await;
    assert_eq!(ran.summary, RunSummary { rows: 1, failures: 0, interrupted: true });
    assert_eq!(began.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn warm_up_asks_first_turns_alone() {
    let mut preset = chat(100);
    preset.run.warmup_requests = 3;
    let stack = scripted(vec![answered("x", 10)]);
    let ran = run_preset(&preset, &[arm("a", &stack)], &CancellationToken::new()).await;
    let warm: Vec<_> = ran.rows.iter().filter(|row| row.phase == Phase::Warmup).cloned().collect();
    assert_eq!(turns(&warm), [("a", 1), ("b", 1), ("a", 1)]);
    assert_eq!(ran.summary, RunSummary { rows: 7, failures: 0, interrupted: false });
}

proptest! {
    /// What begins when is a function of preset, block and part, and the parts are the whole.
    #[test]
    fn shards_of_conversations_are_the_whole(
        of in 1_u32..6, requests in 1_u32..40, seed: u64, block in 0_u32..9,
        later in proptest::collection::vec(0_usize..4, 2),
    ) {
        let mut preset = open(chat(7), Arrivals::Poisson { rate: 20.0 }, requests, None);
        preset.sampling.seed = seed;
        for (prompt, later) in preset.workload.prompts.iter_mut().zip(later) {
            prompt.later_turns = vec!["more".to_owned(); later];
        }
        let Load::Open(load) = preset.run.load.clone() else { unreachable!("it was made open") };
        let starts = |shard| super::super::open_loop::starts(&preset, &load, block, shard);
        let whole = starts(None);
        prop_assert_eq!(&whole, &starts(None));
        let of = NonZeroU32::new(of).unwrap();
        let mut parts: Vec<_> = (0..of.get()).flat_map(|index| starts(Some(Shard { index, of }))).collect();
        parts.sort_by_key(|start| start.asked.slot);
        prop_assert_eq!(&parts, &whole);
        let turns = |start: &super::super::conversation::Start| {
            u64::from(preset.workload.prompts[start.asked.prompt].turns())
        };
        let owed = |shard| {
            let plan = RunPlan { run_id: "run", preset: &preset, first_request_index: 0, shard, start_at: None };
            closed_loop::requests_of_pass(&plan, block)
        };
        prop_assert_eq!(owed(None), whole.iter().map(turns).sum::<u64>());
        let of_parts: u64 = (0..of.get()).map(|index| owed(Some(Shard { index, of }))).sum();
        prop_assert_eq!(of_parts, owed(None));
    }
}
