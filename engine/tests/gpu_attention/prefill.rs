//! Passes of more rows than a verify step has: every row of the prefill path against the oracle, and its speed against
//! the paths that served such passes before it.
//!
//! Speed is that of attention with its combine step, in floating-point operations that the causal mask and the window
//! leave (4 x `head_dim` for each query head and key seen), beside what the card's tensor cores reach.

use std::num::NonZeroU32;

use bench_engine::attention::{
    AttnPlan, AttnShape, DeviceCaps, INSTANCES, Instance, KvFormat, Mask, Path, plan_among,
};
use bench_engine::backend::cuda::{Attention, AttentionBuffers, AttentionOutput, Buffer, Device};
use bench_engine::kv_cache::turbo::TurboType;
use serde_json::{Value, json};

use super::case::{self, Case, nmse, normal};

/// Operations a second of bf16 products on tensor cores, as a product of large matrices reaches on an H200.
const TENSOR_CEILING: f64 = 795e12;

/// (`kv_len`, `q_rows`, ratio, window)
const CASES: [(u32, u32, u32, Option<u32>); 16] = [
    (9, 9, 1, None),
    (63, 63, 1, None),
    (64, 64, 2, None),
    (65, 65, 4, None),
    (200, 200, 4, None),
    (255, 20, 3, None),
    (256, 64, 8, None),
    (257, 63, 5, None),
    (512, 512, 2, None),
    (1300, 1000, 1, None),
    (1300, 100, 7, None),
    (3000, 33, 4, None),
    (600, 65, 8, Some(64)),
    (700, 200, 2, Some(512)),
    (1500, 90, 9, Some(512)),
    (2100, 100, 4, Some(1024)),
];

/// Rows of the path by what they serve.
fn rows(head_dim: u32, k: KvFormat, v: KvFormat) -> impl Iterator<Item = &'static Instance> {
    let serves = move |row: &&Instance| row.serves(head_dim) && row.formats.contains(&(k, v));
    INSTANCES.iter().filter(|row| row.path == Path::MmaPrefill).filter(serves)
}

/// Every row of these formats on each case, or each `every`-th: records, and what is over its bound.
pub(crate) fn accuracy(
    device: &Device,
    every: usize,
    formats: &[(KvFormat, KvFormat)],
    bound: impl Fn(KvFormat, KvFormat) -> f64,
) -> (Vec<Value>, Vec<String>) {
    let (mut records, mut failures) = (Vec::new(), Vec::new());
    for head_dim in [64, 128, 256, 512] {
        for &(k, v) in formats.iter().filter(|(k, v)| rows(head_dim, *k, *v).next().is_some()) {
            for (kv_len, q_rows, ratio, window) in CASES.into_iter().skip(every - 1).step_by(every) {
                let window = window.and_then(NonZeroU32::new);
                // A ring that has wrapped, or a few cells that are never used.
                let cells = window.map_or(kv_len, |window| (window.get() + q_rows).min(kv_len)) + 3;
                let shape = AttnShape {
                    head_dim,
                    heads: 2 * ratio,
                    kv_heads: 2,
                    q_rows,
                    k,
                    v,
                    window,
                    mask: Mask::Causal,
                    cells,
                };
                let plans = rows(head_dim, k, v).filter_map(|row| case::plan_on(row, &shape, device.caps()));
                let mut known = None;
                for plan in plans.flat_map(|plan| [1, 5].map(|splits| plan.with_splits(splits))) {
                    let case = Case::new(plan, kv_len);
                    let (inputs, expected) = known.get_or_insert_with(|| {
                        let inputs = case::inputs(&case);
                        let expected = case::oracle(&case, &inputs);
                        (inputs, expected)
                    });
                    let error = nmse(&case::launch(device, &case, inputs), expected);
                    // NaN is a failure too.
                    if error.is_nan() || error > bound(k, v) {
                        failures.push(format!("{} {shape:?} kv {kv_len}: {error:e}", plan.route()));
                    }
                    let row = plan.instance().name();
                    records.push(
                        json!({"row": row, "k": k.name(), "v": v.name(), "kv_len": kv_len, "q_rows": q_rows,
                        "ratio": ratio, "window": window, "splits": plan.splits(), "nmse": error}),
                    );
                }
            }
            let (k, v) = (k.name(), v.name());
            println!("d{head_dim} {k}/{v}: {} launches, {} failures", records.len(), failures.len());
        }
    }
    (records, failures)
}

/// Name, head dimension, heads, KV heads, window.
const LAYERS: [(&str, u32, u32, u32, Option<u32>); 6] = [
    ("d512 x2", 512, 4, 2, None),
    ("E4B full, d512 x4", 512, 8, 2, None),
    ("E4B sliding, d256 x4", 256, 8, 2, Some(512)),
    ("31B sliding, d256 x2", 256, 32, 16, Some(1024)),
    ("d128 x4", 128, 32, 8, None),
    ("d64 x4", 64, 32, 8, None),
];

const FORMATS: [KvFormat; 3] = [KvFormat::Bf16, KvFormat::Q8_0, KvFormat::Turbo(TurboType::Turbo3)];

/// Rows of a pass and keys behind them: whole prompts in one pass, and the engine's passes at depth.
const PASSES: [(u32, u32); 4] = [(4096, 4096), (16_384, 16_384), (512, 4096), (512, 16_384)];

/// Every row of the path and what the plan chose before it, on every layer and pass.
pub(crate) fn speed(device: &Device) -> Value {
    let mut records = Vec::new();
    for (layer, head_dim, heads, kv_heads, window) in LAYERS {
        for format in FORMATS {
            if format != KvFormat::Bf16 && rows(head_dim, format, format).next().is_none() {
                continue;
            }
            for (q_rows, kv_len) in PASSES {
                let window = window.and_then(NonZeroU32::new);
                let cells = window.map_or(kv_len, |window| (window.get() + q_rows).min(kv_len));
                let (k, v) = (format, format);
                let shape =
                    AttnShape { head_dim, heads, kv_heads, q_rows, k, v, window, mask: Mask::Causal, cells };
                compare(device, layer, &shape, kv_len, &mut records);
            }
        }
    }
    json!({"device": device.name(), "ceiling_flops_per_s": TENSOR_CEILING, "records": records})
}

/// One pass by what the plan chose before there was this path, on this card and with 99 KB, and by every row of the path.
fn compare(device: &Device, layer: &str, shape: &AttnShape, kv_len: u32, records: &mut Vec<Value>) {
    // What a card with 99 KB would be given, on this one.
    let full = *device.caps();
    let small = DeviceCaps { shared_per_block: 99 * 1024, shared_per_multiprocessor: 100 * 1024, ..full };
    let before = |row: &Instance| row.path != Path::MmaPrefill;
    let mut plans = vec![plan_among(shape, &full, before).unwrap()];
    let other = plan_among(shape, &small, before).unwrap();
    let every = rows(shape.head_dim, shape.k, shape.v);
    let every = every.filter_map(|row| case::plan_on(row, shape, &full));
    plans.extend((other != plans[0]).then_some(other).into_iter().chain(every));
    let chosen = [full, small].map(|caps| plan_among(shape, &caps, |_| true).unwrap().instance().name());
    let memory = Memory::new(device, shape, kv_len);
    let mut first = None;
    for plan in plans {
        let (us, route, name) = (memory.time(device, plan), plan.route(), plan.instance().name());
        let (rate, speedup) = (flops(shape, kv_len) / us * 1e6, *first.get_or_insert(us) / us);
        let (here, with_99_kb) = (chosen[0] == name, chosen[1] == name);
        println!(
            "{layer:<21} {:<6} q {:>5} kv {kv_len:>5} {us:>9.1} us {:>6.1} TFLOP/s {:>5.1} % {speedup:>5.2}x  {route} {}{}",
            shape.k.name(),
            shape.q_rows,
            rate / 1e12,
            100.0 * rate / TENSOR_CEILING,
            if here { " chosen" } else { "" },
            if with_99_kb { " chosen with 99 KB" } else { "" }
        );
        records.push(
            json!({"layer": layer, "format": shape.k.name(), "q_rows": shape.q_rows, "kv_len": kv_len,
            "route": route, "us": us, "flops_per_s": rate, "share_of_ceiling": rate / TENSOR_CEILING,
            "speedup": speedup, "chosen": here, "chosen_with_99_kb": with_99_kb}),
        );
    }
}

/// Operations of a pass: two products of `head_dim` for each query head and each key that it sees.
fn flops(shape: &AttnShape, kv_len: u32) -> f64 {
    let seen = |position: u32| shape.window.map_or(position + 1, |window| window.get().min(position + 1));
    let pairs: f64 = (kv_len - shape.q_rows..kv_len).map(|position| f64::from(seen(position))).sum();
    pairs * f64::from(shape.heads) * 4.0 * f64::from(shape.head_dim)
}

/// What a pass reads.
struct Memory {
    q: Buffer<f32>,
    k: Buffer<u8>,
    v: Buffer<u8>,
    state: Buffer<i32>,
}

impl Memory {
    fn new(device: &Device, shape: &AttnShape, kv_len: u32) -> Self {
        let mut rng = rand::SeedableRng::seed_from_u64(1);
        let some: Vec<f32> = normal(&mut rng, 997 * 64, 0.05);
        let len = shape.q_rows as usize * shape.heads as usize * shape.head_dim as usize;
        let q: Vec<f32> = some.iter().copied().cycle().take(len).collect();
        let state = [kv_len, kv_len - shape.q_rows].map(u32::cast_signed);
        Self {
            q: device.upload("queries", &q).unwrap(),
            k: super::speed::fill(device, shape, shape.k),
            v: super::speed::fill(device, shape, shape.v),
            state: device.upload("state", &state).unwrap(),
        }
    }

    /// Microseconds of a launch with its combine step, median of several.
    fn time(&self, device: &Device, plan: AttnPlan) -> f64 {
        let attention = Attention::new(device, plan, 1.0).unwrap();
        let mut out = device.zeros("output", self.q.len()).unwrap();
        let mut launch = || {
            let (Self { q, k, v, state }, out) = (self, AttentionOutput::Values(&mut out));
            let buffers = AttentionBuffers { q, k, v, state, out };
            attention.launch(device, plan.shape().q_rows, buffers).unwrap();
        };
        launch();
        let mut times: Vec<f64> = (0..5)
            .map(|_| {
                let start = device.record().unwrap();
                (0..3).for_each(|_| launch());
                let end = device.record().unwrap();
                f64::from(start.elapsed_ms(&end).unwrap()) * 1e3 / 3.0
            })
            .collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }
}
