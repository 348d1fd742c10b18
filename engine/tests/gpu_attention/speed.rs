//! How fast: microseconds of attention with its combine step, by events around replays of a graph.
//!
//! Cold: launches rotate among enough copies of the cache that none is still in L2. Bytes are those of the cache rows,
//! once a KV head; the ceiling is a streaming read of 4.48 TB/s, measured on the same kind of card.

use std::num::NonZeroU32;

use bench_engine::attention::{AttnPlan, AttnShape, INSTANCES, KvFormat, Mask, Path, plan, plan_among};
use bench_engine::backend::cuda::{Attention, AttentionBuffers, AttentionOutput, Buffer, Device};
use bench_engine::kv_cache::turbo::TurboType;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

/// Bytes a second that a streaming read reaches.
const READ_CEILING: f64 = 4.48e12;
/// Bytes among which launches rotate: several times the L2.
const ROTATION: usize = 400 << 20;
const LAUNCHES: usize = 20;

/// Name, head dimension, heads, KV heads, window.
const LAYERS: [(&str, u32, u32, u32, Option<u32>); 5] = [
    ("one KV head, full", 512, 8, 1, None),
    ("E4B full", 512, 8, 2, None),
    ("E4B sliding", 256, 8, 2, Some(512)),
    ("31B full", 512, 32, 4, None),
    ("31B sliding", 256, 32, 16, Some(1024)),
];

pub(crate) fn measure(device: &Device) -> Value {
    let formats: Vec<KvFormat> = KvFormat::ALL
        .into_iter()
        .filter(|format| *format != KvFormat::Turbo(TurboType::Turbo4Atomic))
        .collect();
    let mut records = Vec::new();
    for (layer, head_dim, heads, kv_heads, window) in LAYERS {
        let lengths: &[u32] = if window.is_some() { &[8192] } else { &[512, 2048, 8192, 32_768, 131_072] };
        for &kv_len in lengths {
            for &format in &formats {
                let window = window.and_then(NonZeroU32::new);
                let cells = window.map_or(kv_len, |w| w.get() + 16);
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
                for q_rows in [1, 4, 8] {
                    let plan = plan(&AttnShape { q_rows, ..shape }, device.caps()).unwrap();
                    records.push(one(device, layer, plan, kv_len, &caches));
                }
            }
        }
    }
    json!({"device": device.name(), "read_ceiling_bytes_per_s": READ_CEILING, "records": records})
}

/// Every row that serves a shape against the others: what the order of the table rests on.
pub(crate) fn compare_rows(device: &Device) -> Value {
    let mut records = Vec::new();
    for (layer, head_dim, heads, kv_heads, window) in LAYERS {
        let lengths: &[u32] = if window.is_some() { &[8192] } else { &[512, 8192, 32_768] };
        for &kv_len in lengths {
            for format in [KvFormat::Bf16, KvFormat::Q8_0, KvFormat::Turbo(TurboType::Turbo3)] {
                let window = window.and_then(NonZeroU32::new);
                let cells = window.map_or(kv_len, |w| w.get() + 16);
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
                for q_rows in [1, 2, 4, 8] {
                    for row in
                        INSTANCES.iter().filter(|row| ![Path::Tile, Path::MmaPrefill].contains(&row.path))
                    {
                        let shape = AttnShape { q_rows, ..shape };
                        if let Ok(plan) = plan_among(&shape, device.caps(), |other| std::ptr::eq(other, row))
                        {
                            records.push(one(device, layer, plan, kv_len, &caches));
                        }
                    }
                }
            }
        }
    }
    json!({"device": device.name(), "records": records})
}

/// Copies of a cache among which launches rotate.
fn caches(device: &Device, shape: &AttnShape) -> Vec<(Buffer<u8>, Buffer<u8>)> {
    let row_bytes = |format: KvFormat| format.row_bytes(shape.head_dim as usize);
    let bytes = shape.kv_heads as usize * shape.cells as usize * (row_bytes(shape.k) + row_bytes(shape.v));
    let copies = (ROTATION / bytes).clamp(2, LAUNCHES);
    (0..copies).map(|_| (fill(device, shape, shape.k), fill(device, shape, shape.v))).collect()
}

fn one(
    device: &Device,
    layer: &str,
    plan: AttnPlan,
    kv_len: u32,
    caches: &[(Buffer<u8>, Buffer<u8>)],
) -> Value {
    let shape = plan.shape();
    let dim = shape.head_dim as usize;
    let cell_bytes = shape.k.row_bytes(dim) + shape.v.row_bytes(dim);
    let mut rng = StdRng::seed_from_u64(1);
    let q = super::case::normal(&mut rng, shape.q_rows as usize * shape.heads as usize * dim, 0.05);
    let (q, mut out) = (device.upload("queries", &q).unwrap(), device.upload("output", &q).unwrap());
    let state = device.upload("state", &[kv_len as i32, (kv_len - shape.q_rows) as i32]).unwrap();
    let attention = Attention::new(device, plan, 1.0).unwrap();
    let graph = device
        .capture(|| {
            (0..LAUNCHES).try_for_each(|i| {
                let (k, v) = &caches[i % caches.len()];
                attention.launch(
                    device,
                    shape.q_rows,
                    AttentionBuffers { q: &q, k, v, state: &state, out: AttentionOutput::Values(&mut out) },
                )
            })
        })
        .unwrap();
    for _ in 0..3 {
        graph.launch().unwrap();
    }
    let mut times: Vec<f64> = (0..15)
        .map(|_| {
            let start = device.record().unwrap();
            graph.launch().unwrap();
            let end = device.record().unwrap();
            f64::from(start.elapsed_ms(&end).unwrap()) * 1e3 / LAUNCHES as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let (median, slow) = (times[times.len() / 2], times[times.len() - 1]);
    let keys = u64::from(shape.keys().min(kv_len));
    let bytes = keys as f64 * f64::from(shape.kv_heads) * cell_bytes as f64;
    let share = bytes / (median * 1e-6) / READ_CEILING;
    println!(
        "{layer:<18} kv {kv_len:>6} q {} {:<7} {median:>8.2} us  {:>5.2} TB/s  {:>5.1} %  {}",
        shape.q_rows,
        shape.k.name(),
        bytes / median / 1e6,
        100.0 * share,
        plan.route()
    );
    json!({"layer": layer, "kv_len": kv_len, "q_rows": shape.q_rows, "format": shape.k.name(), "route": plan.route(),
        "us_median": median, "us_slowest": slow, "cache_bytes": bytes, "share_of_read_ceiling": share})
}

/// A cache of random rows, repeated.
pub(crate) fn fill(device: &Device, shape: &AttnShape, format: KvFormat) -> Buffer<u8> {
    let mut rng = StdRng::seed_from_u64(2);
    let dim = shape.head_dim as usize;
    let rows: Vec<u8> =
        (0..97).flat_map(|_| format.encode(&super::case::normal(&mut rng, dim, 1.0))).collect();
    let bytes = shape.kv_heads as usize * shape.cells as usize * format.row_bytes(dim);
    let mut cache = rows.repeat(bytes.div_ceil(rows.len()));
    cache.truncate(bytes);
    device.upload("cache", &cache).unwrap()
}
