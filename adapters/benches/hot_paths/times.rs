//! Times of our hot paths by criterion, of the very cases whose instructions are counted: `cargo bench --workspace --bench
//! hot_paths`. Counts gate a change, times tell what it is worth on this machine: they see memory, caches and SIMD width,
//! and scatter with whatever else runs here, so nothing is failed by them.

#[expect(clippy::expect_used, reason = "a benchmark of fixed, valid input")]
mod cases;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

use crate::cases::CASES;

fn hot_paths(criterion: &mut Criterion) {
    for case in CASES.iter().filter(|case| (case.runs_here)()) {
        // Prepared afresh: some cases use their input up.
        criterion.bench_function(case.name, |bencher| {
            bencher.iter_batched(case.prepare, |mut hot| hot(), BatchSize::LargeInput);
        });
    }
}

criterion_group! {
    name = benches;
    // Charts want a font of the system, which servers do not have.
    config = Criterion::default().without_plots();
    targets = hot_paths
}
criterion_main!(benches);
