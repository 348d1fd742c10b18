//! Our own cost: folding the events of a request, storing its row, and the bootstrap of a report.

use std::hint::black_box;
use std::time::Duration;

use bench_core::runner::Collector;
use bench_core::stack::{FinishReason, Readback, StreamEvent, Usage};
use bench_core::stats::{BootstrapConfig, PairSample, paired_ratio};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tokio::time::Instant;

const TOKENS: u32 = 256;

/// One chunk a token, as a server without speculation sends them.
fn events(sent: Instant) -> Vec<StreamEvent> {
    let at = |index: u32| sent + Duration::from_micros(u64::from(index) * 100);
    let chunk = |index| StreamEvent::Tokens {
        at: at(index),
        count: Some(1),
        text: "word".to_owned(),
        token_ids: Some(vec![index]),
    };
    let usage = Usage { prompt_tokens: Some(32), cached_tokens: Some(0), output_tokens: Some(TOKENS) };
    let finish = StreamEvent::Finished {
        readback: Readback::default(),
        split: Box::new(bench_core::thinking::Split::untold()),
        at: at(TOKENS),
        reason: FinishReason::Length,
        usage,
        spec: None,
        stack_timings: None,
    };
    (0..TOKENS).map(chunk).chain([finish]).collect()
}

fn fold(c: &mut Criterion) {
    let mut group = c.benchmark_group("fold");
    group.throughput(Throughput::Elements(u64::from(TOKENS)));
    let sent = Instant::now();
    group.bench_function("events_of_256_tokens", |bencher| {
        bencher.iter_batched(
            || (Collector::new(sent, TOKENS), events(sent)),
            |(mut collector, events)| {
                for event in events {
                    assert!(collector.push(event).is_ok(), "stamps rise");
                }
                black_box(collector.finish(sent))
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn bootstrap(c: &mut Criterion) {
    let cells = (0..10_u32).flat_map(|block| (0..6_u32).map(move |prompt| (block, prompt)));
    let pairs: Vec<_> = cells
        .map(|(block, prompt)| PairSample {
            block,
            prompt,
            a_num: 95.0,
            a_den: 1.0 + f64::from(block * 7 % 5) / 50.0,
            b_num: 95.0,
            b_den: 0.8 + f64::from(prompt * 3 % 7) / 50.0,
        })
        .collect();
    c.bench_function("bootstrap/paired_10_blocks_6_prompts_10k", |bencher| {
        bencher.iter(|| paired_ratio(black_box(&pairs), &BootstrapConfig::default()));
    });
}

criterion_group! {
    name = benches;
    // Charts want a font of the system, which servers do not have.
    config = Criterion::default().without_plots();
    targets = fold, bootstrap
}
criterion_main!(benches);
