//! Any bytes as a streamed answer: the first byte picks the stack and route, the second how the rest is cut. How it is
//! cut changes nothing, the finish comes once and last, and no count is more than what was told.

#![no_main]

use bench_adapters::fuzzing::read;
use bench_core::runner::Collector;
use bench_core::stack::StreamEvent;
use libfuzzer_sys::fuzz_target;

/// Everything of a reading but the moment it was made.
fn shown(dialect: u8, body: &[u8], size: usize) -> Vec<String> {
    let (events, error) = read(dialect, body.chunks(size));
    let finishes = events.iter().filter(|event| matches!(event, StreamEvent::Finished { .. })).count();
    assert_eq!(finishes, usize::from(error.is_none()), "a finish or an error, never both, never neither");
    if finishes == 1 {
        assert!(matches!(events.last(), Some(StreamEvent::Finished { .. })), "and it is the last");
    }
    let mut shown: Vec<_> = events.iter().map(show).collect();
    shown.extend(error.map(|error| error.to_string()));
    collect(events);
    shown
}

fn show(event: &StreamEvent) -> String {
    match event {
        StreamEvent::Opened { .. } => "opened".to_owned(),
        StreamEvent::Tokens { count, text, token_ids, .. } => {
            if let (Some(count), Some(ids)) = (count, token_ids) {
                assert_eq!(
                    u32::try_from(ids.len()).ok(),
                    Some(*count),
                    "ids are the tokens that were counted"
                );
            }
            assert!(!text.is_empty() || count.is_some_and(|count| count > 0), "a chunk carries output");
            format!("{count:?} {text:?} {token_ids:?}")
        }
        StreamEvent::Finished { reason, usage, spec, stack_timings, readback, split, .. } => {
            assert_eq!(split.unknown.is_some(), split.thinking_tokens.zip(split.answer_tokens).is_none());
            if let Some(spec) = spec {
                assert!(spec.accepted <= spec.drafted, "{spec:?}");
            }
            let split = (split.thinking_tokens, split.answer_tokens, split.source, split.unknown);
            format!("{reason:?} {usage:?} {spec:?} {stack_timings:?} {readback:?} {split:?}")
        }
    }
}

/// The runner takes whatever a stack tells.
fn collect(events: Vec<StreamEvent>) {
    let stamps = events.iter().map(|event| match event {
        StreamEvent::Opened { at } | StreamEvent::Tokens { at, .. } | StreamEvent::Finished { at, .. } => *at,
    });
    let Some(sent) = stamps.min() else { return };
    let mut collector = Collector::new(sent, 8);
    for event in events {
        collector.push(event).expect("stamps do not go back");
    }
    std::hint::black_box(collector.finish(sent));
}

fuzz_target!(|bytes: &[u8]| {
    let [dialect, size, body @ ..] = bytes else { return };
    let whole = shown(*dialect, body, body.len().max(1));
    assert_eq!(shown(*dialect, body, usize::from(*size).max(1)), whole);
    assert_eq!(shown(*dialect, body, 1), whole);
});
