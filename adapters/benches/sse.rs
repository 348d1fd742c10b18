//! What reading an event stream costs: it runs between two stamps of a request, so it has to be far below the time of
//! a token.

use std::hint::black_box;

use bench_adapters::sse::Splitter;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const CAPTURE: &str = include_str!("../tests/fixtures/llama-server/completion_stream_timings.txt");

fn split(criterion: &mut Criterion) {
    let body = CAPTURE.split_once("\n\n").map_or(CAPTURE, |(_, body)| body).as_bytes();
    let mut group = criterion.benchmark_group("sse");
    group.throughput(Throughput::Bytes(body.len() as u64));
    for size in [64, 1460, body.len()] {
        group.bench_function(format!("pieces of {size} bytes"), |bencher| {
            bencher.iter(|| {
                let (mut splitter, mut events) = (Splitter::default(), 0);
                for piece in body.chunks(size) {
                    drop(black_box(splitter.push(piece, |_| events += 1)));
                }
                black_box(events)
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    // Charts want a font of the system, which servers do not have.
    config = Criterion::default().without_plots();
    targets = split
}
criterion_main!(benches);
