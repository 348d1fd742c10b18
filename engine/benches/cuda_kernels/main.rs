//! Kernels of the GPU by criterion, timed by events on the stream: `cargo bench -p bench-engine --bench cuda_kernels`.
//! Without a GPU or NVRTC it says so and measures nothing.
//!
//! A measured iteration is the replay of a graph of launches which rotate among more data than the L2 holds, so that the
//! floor is the memory: bytes of cache rows or weights over what a streaming read of the card reaches. Criterion prints the
//! time of a replay and the bytes a second, and keeps both to compare the next version of a kernel with; `bench kernels`
//! measures the same graphs once, against the card's own read bandwidth.

#![expect(clippy::expect_used, reason = "a benchmark that cannot start has nothing to report")]
#![expect(clippy::print_stderr, reason = "says why it measures nothing")]

mod events;

use std::num::NonZeroU32;
use std::time::Duration;

use bench_engine::attention::{AttnShape, KvFormat, Mask, plan};
use bench_engine::backend::cuda::{
    CacheCopies, Device, MatrixCopies, Product, driver_present, nvrtc_present,
};
use bench_engine::gguf::GgmlType;
use bench_engine::kv_cache::turbo::TurboType;
use criterion::{Criterion, Throughput};
use events::GpuTime;

fn main() {
    if !driver_present() || !nvrtc_present() {
        let found = |present| if present { "found" } else { "not found" };
        eprintln!("SKIP: driver {}, NVRTC {}", found(driver_present()), found(nvrtc_present()));
        return;
    }
    let device = Device::open(0).expect("the first GPU opens");
    let mut criterion = Criterion::default()
        .with_measurement(GpuTime { device: &device })
        .without_plots()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400))
        .configure_from_args();
    attention(&mut criterion, &device);
    products(&mut criterion, &device);
    criterion.final_summary();
}

/// Name, head dimension, heads, KV heads, window.
type Layer = (&'static str, u32, u32, u32, Option<u32>);

/// Layers of Gemma 4, and the lengths at which they are measured.
const LAYERS: [(Layer, &[u32]); 3] = [
    (("e4b full", 512, 8, 2, None), &[2048, 32_768]),
    (("e4b sliding", 256, 8, 2, Some(512)), &[8192]),
    (("31b full", 512, 32, 4, None), &[32_768]),
];

fn attention(criterion: &mut Criterion<GpuTime<'_>>, device: &Device) {
    let formats = [KvFormat::F16, KvFormat::Bf16, KvFormat::Q8_0, KvFormat::Turbo(TurboType::Turbo3)];
    for ((layer, head_dim, heads, kv_heads, window), lengths) in LAYERS {
        let mut group = criterion.benchmark_group(format!("attention/{layer}"));
        for (&kv_len, format) in
            lengths.iter().flat_map(|len| formats.iter().map(move |format| (len, *format)))
        {
            let window = window.and_then(NonZeroU32::new);
            let cells = window.map_or(kv_len, |window| window.get() + 16);
            let shape = AttnShape {
                head_dim,
                heads,
                kv_heads,
                q_rows: 1,
                k: format,
                v: format,
                window,
                mask: Mask::Causal,
                cells,
            };
            let caches = CacheCopies::new(device, &shape).expect("the caches fit");
            let keys = u64::from(shape.keys().min(kv_len));
            let bytes = keys * u64::from(kv_heads) * 2 * format.row_bytes(head_dim as usize) as u64;
            for q_rows in [1, 4, 8] {
                let plan =
                    plan(&AttnShape { q_rows, ..shape }, device.caps()).expect("every shape has a plan");
                let graph = caches.graph(device, plan, q_rows, kv_len).expect("every row compiles");
                let read = bytes * graph.launches() as u64;
                group.throughput(Throughput::BytesDecimal(read)).sample_size(20);
                group.bench_function(format!("{}/kv {kv_len}/q {q_rows}", format.name()), |bencher| {
                    bencher.iter(|| graph.launch().expect("a captured graph launches"));
                });
            }
        }
        group.finish();
    }
}

fn products(criterion: &mut Criterion<GpuTime<'_>>, device: &Device) {
    // E4B's feed-forward network, there and back.
    for (rows, cols) in [(10_240, 2560), (2560, 10_240)] {
        let mut group = criterion.benchmark_group(format!("product/{rows} x {cols}"));
        for ty in [GgmlType::Q8_0, GgmlType::Q4_0, GgmlType::Q4K, GgmlType::Q6K, GgmlType::Bf16] {
            let matrices = MatrixCopies::new(device, ty, rows, cols).expect("the matrices fit");
            let product = Product::new(device, ty).expect("every type has a kernel");
            for m in [1_u32, 4, 8] {
                let graph = matrices.graph(device, &product, m).expect("launches are captured");
                let read = matrices.bytes() * graph.launches();
                group.throughput(Throughput::BytesDecimal(read as u64)).sample_size(20);
                group.bench_function(format!("{}/m {m}", ty.name()), |bencher| {
                    bencher.iter(|| graph.launch().expect("a captured graph launches"));
                });
            }
        }
        group.finish();
    }
}
