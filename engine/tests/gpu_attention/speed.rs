//! How fast: microseconds of attention with its combine step, by events around replays of a graph.
//!
//! Cold: launches rotate among enough copies of the cache that none is still in L2. Bytes are those of the cache rows,
//! once a KV head; the ceiling is a streaming read, measured in the same process.

use std::num::NonZeroU32;

use bench_engine::attention::{AttnPlan, AttnShape, INSTANCES, KvFormat, Mask, Path, plan, plan_among};
use bench_engine::backend::cuda::{Buffer, CacheCopies, Device, read_bandwidth};
use bench_engine::kernels::Times;
use bench_engine::kv_cache::turbo::TurboType;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

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
    let ceiling = read_bandwidth(device).unwrap();
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
                let caches = CacheCopies::new(device, &shape).unwrap();
                for q_rows in [1, 4, 8] {
                    let plan = plan(&AttnShape { q_rows, ..shape }, device.caps()).unwrap();
                    records.push(one(device, ceiling, layer, plan, kv_len, &caches));
                }
            }
        }
    }
    json!({"device": device.name(), "read_ceiling_bytes_per_s": ceiling, "records": records})
}

/// Every row that serves a shape against the others: what the order of the table rests on.
pub(crate) fn compare_rows(device: &Device) -> Value {
    let ceiling = read_bandwidth(device).unwrap();
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
                let caches = CacheCopies::new(device, &shape).unwrap();
                for q_rows in [1, 2, 4, 8] {
                    for row in
                        INSTANCES.iter().filter(|row| ![Path::Tile, Path::MmaPrefill].contains(&row.path))
                    {
                        let shape = AttnShape { q_rows, ..shape };
                        if let Ok(plan) = plan_among(&shape, device.caps(), |other| std::ptr::eq(other, row))
                        {
                            records.push(one(device, ceiling, layer, plan, kv_len, &caches));
                        }
                    }
                }
            }
        }
    }
    json!({"device": device.name(), "read_ceiling_bytes_per_s": ceiling, "records": records})
}

fn one(
    device: &Device,
    ceiling: f64,
    layer: &str,
    plan: AttnPlan,
    kv_len: u32,
    caches: &CacheCopies,
) -> Value {
    let shape = plan.shape();
    let dim = shape.head_dim as usize;
    let cell_bytes = shape.k.row_bytes(dim) + shape.v.row_bytes(dim);
    let graph = caches.graph(device, plan, shape.q_rows, kv_len).unwrap();
    let times = Times::of(graph.us_per_launch(15).unwrap()).unwrap();
    let keys = u64::from(shape.keys().min(kv_len));
    let bytes = keys * u64::from(shape.kv_heads) * cell_bytes as u64;
    let (median, gb_per_s) = (times.us_median, times.gb_per_s(bytes));
    let share = gb_per_s * 1e9 / ceiling;
    println!(
        "{layer:<18} kv {kv_len:>6} q {} {:<7} {median:>8.2} us  {:>5.2} TB/s  {:>5.1} %  {}",
        shape.q_rows,
        shape.k.name(),
        gb_per_s / 1e3,
        100.0 * share,
        plan.route()
    );
    json!({"layer": layer, "kv_len": kv_len, "q_rows": shape.q_rows, "format": shape.k.name(), "route": plan.route(),
        "us_median": median, "us_p95": times.us_p95, "cache_bytes": bytes, "share_of_read_ceiling": share})
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
