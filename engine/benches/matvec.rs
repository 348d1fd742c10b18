//! Row dot products: bytes of weights a second, by element type and rows of activations.
//!
//! Floor: one pass over the weights, whatever the number of rows; m rows cost what one row costs until arithmetic
//! takes longer than the memory. `cached` fits the second-level cache and shows the arithmetic, `streamed` does not
//! fit any and shows the memory.

#![expect(clippy::expect_used, reason = "a benchmark that cannot start has nothing to report")]

use std::hint::black_box;

use bench_engine::backend::cpu::{Element, Input, Isa, Job, Pool, Q8Buffer, Weights, matmul};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const COLS: usize = 2048;

fn products(c: &mut Criterion) {
    for (place, weights) in [("cached", 128 * COLS), ("streamed", 24_576 * COLS)] {
        for element in [Element::F32, Element::F16, Element::Bf16, Element::Q8_0] {
            let rows = weights / COLS;
            // Zero weights cost what others cost: nothing in the kernels looks at the values.
            let bytes = vec![0_u8; rows * element.row_bytes(COLS)];
            let mut group = c.benchmark_group(format!("{place}/{element:?}"));
            group.throughput(Throughput::Bytes(bytes.len() as u64)).sample_size(20);
            for m in [1, 2, 4, 8] {
                let x = vec![0.5; m * COLS];
                let mut out = vec![0.0; m * rows];
                let (isa, mut pool) = (Isa::detect(), Pool::new(1).expect("one thread is the caller"));
                let mut buffer = Q8Buffer::with_capacity(x.len());
                group.bench_function(format!("m={m}"), |b| {
                    b.iter(|| {
                        let input = Input::new(isa, &x, m, element == Element::Q8_0, &mut buffer);
                        let weights = Weights::new(&bytes, element, rows, COLS);
                        matmul(isa, &mut pool, input, &mut [Job { weights, out: black_box(&mut out) }]);
                    });
                });
            }
            group.finish();
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().without_plots().warm_up_time(std::time::Duration::from_millis(200))
        .measurement_time(std::time::Duration::from_millis(600));
    targets = products
}
criterion_main!(benches);
