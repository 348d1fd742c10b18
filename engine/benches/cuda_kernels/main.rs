//! Kernels of the GPU by criterion, timed by events on the stream: `cargo bench -p bench-engine --bench cuda_kernels`.
//! Without a GPU or NVRTC it says so and measures nothing.
//!
//! A measured iteration is the replay of a graph of [`LAUNCHES`] launches which rotate among more data than the L2 holds, so
//! that the floor is the memory: bytes of cache rows or weights over what a streaming read of the card reaches. Criterion
//! prints the time of a replay and the bytes a second.

#![expect(clippy::expect_used, reason = "a benchmark that cannot start has nothing to report")]
#![expect(clippy::print_stderr, reason = "says why it measures nothing")]

mod events;

use std::num::NonZeroU32;
use std::time::Duration;

use bench_engine::attention::{AttnShape, KvFormat, Mask, plan};
use bench_engine::backend::cuda::{
    Activations, Attention, AttentionBuffers, AttentionOutput, Buffer, Device, DeviceMatrix, Graph, Product,
    driver_present, nvrtc_present,
};
use bench_engine::gguf::GgmlType;
use bench_engine::kv_cache::turbo::TurboType;
use criterion::{Criterion, Throughput};
use events::GpuTime;

/// Launches in a graph.
const LAUNCHES: usize = 20;
/// Bytes among which they rotate: several times the L2 of any card.
const ROTATION: usize = 400 << 20;

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
            let caches = caches(device, &shape);
            let keys = u64::from(shape.keys().min(kv_len));
            let bytes = keys * u64::from(kv_heads) * 2 * format.row_bytes(head_dim as usize) as u64;
            group.throughput(Throughput::BytesDecimal(bytes * LAUNCHES as u64)).sample_size(20);
            for q_rows in [1, 4, 8] {
                let (graph, _held) = attention_graph(device, &AttnShape { q_rows, ..shape }, kv_len, &caches);
                group.bench_function(format!("{}/kv {kv_len}/q {q_rows}", format.name()), |bencher| {
                    bencher.iter(|| graph.launch().expect("a captured graph launches"));
                });
            }
        }
        group.finish();
    }
}

/// Copies of a cache, of one row repeated: what it holds does not matter to the time.
fn caches(device: &Device, shape: &AttnShape) -> Vec<[Buffer<u8>; 2]> {
    let dim = shape.head_dim as usize;
    let values: Vec<f32> = (0..dim).map(|i| (i as f32 * 0.37).sin()).collect();
    let row = shape.k.encode(&values);
    let cache = row.repeat(shape.kv_heads as usize * shape.cells as usize);
    let copies = (ROTATION / (2 * cache.len())).clamp(2, LAUNCHES);
    let upload = || device.upload("cache", &cache).expect("the caches fit");
    (0..copies).map(|_| [upload(), upload()]).collect()
}

/// What a graph reads and writes, for as long as it is launched.
type Held = (Buffer<f32>, Buffer<f32>, Buffer<i32>, Attention);

fn attention_graph(
    device: &Device,
    shape: &AttnShape,
    kv_len: u32,
    caches: &[[Buffer<u8>; 2]],
) -> (Graph, Held) {
    let values = vec![0.01_f32; shape.q_rows as usize * shape.heads as usize * shape.head_dim as usize];
    let upload = || device.upload("rows", &values).expect("rows fit");
    let (q, mut out) = (upload(), upload());
    let places = [kv_len, kv_len - shape.q_rows].map(u32::cast_signed);
    let state = device.upload("state", &places).expect("two words fit");
    let plan = plan(shape, device.caps()).expect("every shape has a plan");
    let attention = Attention::new(device, plan, 1.0).expect("every row compiles");
    let graph = device.capture(|| {
        caches.iter().cycle().take(LAUNCHES).try_for_each(|[k, v]| {
            let out = AttentionOutput::Values(&mut out);
            attention.launch(device, shape.q_rows, AttentionBuffers { q: &q, k, v, state: &state, out })
        })
    });
    (graph.expect("launches are captured"), (q, out, state, attention))
}

fn products(criterion: &mut Criterion<GpuTime<'_>>, device: &Device) {
    // E4B's feed-forward network, there and back.
    for (rows, cols) in [(10_240, 2560), (2560, 10_240)] {
        let mut group = criterion.benchmark_group(format!("product/{rows} x {cols}"));
        for ty in [GgmlType::Q8_0, GgmlType::Q4_0, GgmlType::Q4K, GgmlType::Q6K, GgmlType::Bf16] {
            let matrices = matrices(device, ty, rows, cols);
            let product = Product::new(device, ty).expect("every type has a kernel");
            let bytes = matrices[0].bytes() * LAUNCHES;
            group.throughput(Throughput::BytesDecimal(bytes as u64)).sample_size(20);
            for m in [1_u32, 4, 8] {
                let x = Activations::new(device, m as usize, cols).expect("activations fit");
                let mut out: Buffer<f32> = device.zeros("output", m as usize * rows).expect("an output fits");
                let graph = device.capture(|| {
                    matrices
                        .iter()
                        .cycle()
                        .take(LAUNCHES)
                        .try_for_each(|matrix| product.launch(device, matrix, &x, m, &mut out, 0, rows))
                });
                let graph = graph.expect("launches are captured");
                group.bench_function(format!("{}/m {m}", ty.name()), |bencher| {
                    bencher.iter(|| graph.launch().expect("a captured graph launches"));
                });
            }
        }
        group.finish();
    }
}

/// Copies of a matrix of zeros, which cost what others cost: nothing in the kernels looks at the values.
fn matrices(device: &Device, ty: GgmlType, rows: usize, cols: usize) -> Vec<DeviceMatrix> {
    let row_bytes = ty.row_bytes(cols as u64).expect("blocks of every type divide these columns");
    let data = vec![0_u8; rows * usize::try_from(row_bytes).expect("a row fits in memory")];
    let copies = ROTATION.div_ceil(data.len()).clamp(2, LAUNCHES);
    let upload = |_| DeviceMatrix::upload(device, ty, rows, cols, &data).expect("the matrices fit");
    (0..copies).map(upload).collect()
}
