//! Every stack over HTTP against a scripted server on loopback: real recorded answers, and every way in which one can
//! break, each through the runner to the row that is stored.
//!
//! [`stacks`] and [`faults`] are the tables, [`scripts`] is what the server does for a fault, and `docs/faults.md` is
//! the tables in words (`BLESS=1` writes it). No row is taken from a run: a case fails if a stack changes its mind.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests, which clippy does not take for tests"
)]

mod document;
mod faults;
mod rows;
mod scripts;
mod server;
mod stacks;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering;

use bench_core::record::RequestRecord;
use bench_core::stack::StreamEvent;
use futures_util::StreamExt;
use futures_util::future::join_all;

use faults::{FAULTS, Fault, Row};
use rows::{LIMIT, detail, play, word};
use scripts::Scenario;
use server::{Seen, Server};
use stacks::{CASES, Case};

/// The last row of a fault on a stack, and what the server saw.
async fn last_row(case: &Case, scenario: Scenario) -> (RequestRecord, std::sync::Arc<Seen>) {
    let requests = scenario.requests;
    let (mut rows, seen) = play(case, scenario).await;
    assert_eq!(rows.len(), requests, "one row for each request");
    let last = rows.pop().unwrap();
    assert!(rows.iter().all(|row| word(row) == case.ordinary), "{}: the requests before it", case.label);
    (last, seen)
}

/// What differs from the table, in words.
async fn difference(fault: &Fault, case: &Case) -> Option<String> {
    let (words, says) = fault.row_of(case).words(case)?;
    let (row, _) = last_row(case, (fault.script)(case)).await;
    let (got, detail) = (word(&row), detail(&row));
    let differs = got != words || !detail.contains(says);
    differs.then(|| {
        format!(
            "{} on {}\n  expected: {words} ({says})\n  got:      {got} ({detail})",
            fault.name, case.label
        )
    })
}

#[tokio::test]
async fn every_fault_on_every_stack_gives_the_row_of_the_table() {
    let mut differences = Vec::new();
    for fault in FAULTS {
        let all = join_all(CASES.iter().map(|case| difference(fault, case))).await;
        differences.extend(all.into_iter().flatten());
    }
    assert!(differences.is_empty(), "{} rows differ:\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn the_document_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/faults.md");
    let document = document::render();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &document).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == document, "docs/faults.md is not the table: run this test with BLESS=1");
}

#[test]
fn the_tables_have_no_dead_entries() {
    let names: BTreeSet<_> = FAULTS.iter().map(|fault| fault.name).collect();
    let labels: BTreeSet<_> = CASES.iter().map(|case| case.label).collect();
    assert_eq!((names.len(), labels.len()), (FAULTS.len(), CASES.len()), "names are unique");
    for fault in FAULTS {
        let of: Vec<_> = CASES.iter().map(|case| fault.row_of(case)).collect();
        for (label, row) in fault.but {
            assert!(of.contains(row), "{}: no stack begins with `{label}`", fault.name);
        }
        assert!(of.iter().any(|row| *row != Row::Never), "{} happens nowhere", fault.name);
    }
    assert!(CASES.iter().all(|case| case.events().len() > stacks::KEPT_EVENTS));
}

#[tokio::test]
async fn recorded_streams_give_every_count_they_hold() {
    for case in CASES {
        let (row, _) = last_row(case, scripts::ordinary(case)).await;
        let (prompt_tokens, cached_tokens, model) = case.prompt;
        assert_eq!(row.usage.prompt_tokens, Some(prompt_tokens), "{}", case.label);
        assert_eq!(row.usage.cached_tokens, cached_tokens, "{}", case.label);
        assert_eq!(row.readback.unwrap().model.as_deref(), Some(model), "{}", case.label);
        let per_chunk = row.timing.chunks.iter().map(|chunk| chunk.tokens);
        let known: Vec<_> = per_chunk.clone().flatten().collect();
        assert_eq!(known, case.per_chunk, "{}", case.label);
        assert_eq!(per_chunk.count(), usize::try_from(case.chunks).unwrap(), "{}", case.label);
        if let Some(ids) = row.token_ids {
            assert_eq!((ids.len(), &ids[..3]), (12, &[1979, 1790, 2018][..]), "{}", case.label);
        }
        assert!(row.stack_timings.is_some(), "{}", case.label);
    }
}

#[tokio::test]
async fn events_come_in_order_and_stamps_never_go_back() {
    for case in CASES {
        let server = Server::start(scripts::ordinary(case).site).await;
        let events = case.attach(&server.url).unwrap().generate(case.request()).await.unwrap();
        let events: Vec<_> = tokio::time::timeout(LIMIT, events.collect()).await.expect("the stream ends");
        let events: Vec<_> = events.into_iter().map(Result::unwrap).collect();
        let at = |event: &StreamEvent| match event {
            StreamEvent::Opened { at }
            | StreamEvent::Tokens { at, .. }
            | StreamEvent::Finished { at, .. } => *at,
        };
        assert!(events.windows(2).all(|pair| at(&pair[0]) <= at(&pair[1])), "{}", case.label);
        let (first, last) = (events.first().unwrap(), events.last().unwrap());
        assert!(matches!(first, StreamEvent::Opened { .. }), "{}: {first:?}", case.label);
        assert!(matches!(last, StreamEvent::Finished { .. }), "{}: {last:?}", case.label);
        let between = &events[1..events.len() - 1];
        assert!(between.iter().all(|event| matches!(event, StreamEvent::Tokens { .. })), "{}", case.label);
    }
}

#[tokio::test]
async fn two_events_of_one_read_share_their_stamp() {
    for case in CASES {
        let (row, _) = last_row(case, scripts::two_in_one_read(case)).await;
        let stamps: Vec<_> = row.timing.chunks.iter().map(|chunk| chunk.at_ns).collect();
        let shared = stamps.windows(2).any(|pair| pair[0] == pair[1]);
        assert!(shared, "{}: {stamps:?}", case.label);
        assert_eq!(word(&row), case.ordinary, "{}", case.label);
    }
}

#[tokio::test]
async fn a_pause_inside_an_event_is_before_its_stamp() {
    for case in CASES {
        let (row, _) = last_row(case, scripts::long_pause_in_first_output(case)).await;
        let first = row.timing.first_token_ns.unwrap();
        assert!(first >= scripts::LONG_PAUSE_MS * 1_000_000, "{}: {first} ns", case.label);
    }
}

#[tokio::test]
async fn loading_messages_are_no_first_token() {
    let case = CASES.iter().find(|case| case.label == "llama-swap /v1/chat/completions").unwrap();
    let (row, _) = last_row(case, scripts::loading_state(case)).await;
    assert_eq!(row.timing.chunks.len(), 8, "eight tokens, and none of llama-swap's own");
    assert!(!row.text.contains("Done!"), "{}", row.text);
}

#[tokio::test]
async fn memory_stays_bounded_while_an_event_goes_on() {
    for case in CASES {
        let (_, seen) = last_row(case, scripts::endless_event(case)).await;
        // The server cannot send much more than was read: what it sent beyond that lies in the system's buffers.
        let sent = seen.sent_bytes.load(Ordering::Relaxed);
        assert!(sent < 40 << 20, "{}: {sent} of 64 MB were taken", case.label);
    }
}

#[tokio::test]
async fn a_stopped_or_late_request_closes_its_connection() {
    for script in [scripts::cancelled, scripts::silence, scripts::slow_event] {
        join_all(CASES.iter().map(async |case| {
            let (_, seen) = last_row(case, script(case)).await;
            tokio::time::timeout(LIMIT, seen.left.notified()).await.expect("the server sees the end");
            assert_eq!(seen.requests(case.path), 1, "{}: nothing is sent again", case.label);
        }))
        .await;
    }
}
