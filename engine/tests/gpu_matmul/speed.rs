//! How fast: microseconds of a product, by events around replays of a graph.
//!
//! Cold: launches rotate among enough copies of the matrix that none is still in L2. The floor is the bytes of the packed
//! matrix over a streaming read of 4.48 TB/s, measured on the same kind of card.

use bench_engine::backend::cuda::{Activations, Buffer, Device, DeviceMatrix, Product};
use bench_engine::gguf::GgmlType;
use serde_json::{Value, json};

/// Bytes a second that a streaming read reaches.
const READ_CEILING: f64 = 4.48e12;
/// Bytes among which launches rotate: several times the L2.
const ROTATION: usize = 400 << 20;

/// Rows and columns: E4B's feed-forward, its head, attention's, the per-layer gates.
const SIZES: [(usize, usize); 9] = [
    (10_240, 2560),
    (2560, 10_240),
    (262_144, 2560),
    (4096, 2560),
    (2560, 4096),
    (2048, 2560),
    (512, 2560),
    (256, 2560),
    (2560, 256),
];

pub(crate) fn measure(device: &Device) -> Value {
    let mut records = Vec::new();
    let only = std::env::var("BENCH_TYPES").ok();
    let wanted =
        |ty: &GgmlType| only.as_ref().is_none_or(|only| only.split(',').any(|name| name == ty.name()));
    for ty in super::case::TYPES.into_iter().filter(wanted) {
        let product = Product::new(device, ty).unwrap();
        let all = ty == GgmlType::Q8_0;
        for (rows, cols) in SIZES {
            if !all && rows == 262_144 && ty != GgmlType::Q6K || !all && (rows, cols) == (2048, 2560) {
                continue;
            }
            let matrices = copies(device, ty, rows, cols);
            let counts: &[u32] = if all { &[1, 2, 3, 4, 5, 6, 7, 8, 64, 512] } else { &[1, 4, 8, 512] };
            for &m in counts {
                if m > 8 && rows == 262_144 {
                    continue;
                }
                records.push(one(device, &product, &matrices, ty, m));
            }
        }
    }
    json!({"device": device.name(), "read_ceiling_bytes_per_s": READ_CEILING, "records": records})
}

fn copies(device: &Device, ty: GgmlType, rows: usize, cols: usize) -> Vec<DeviceMatrix> {
    // Rows repeat: what they hold does not matter to the time.
    let few = super::case::weights(ty, rows.min(256), cols, 4);
    let data = few.repeat(rows.div_ceil(256));
    let bytes = few.len() / rows.min(256) * rows;
    let count = ROTATION.div_ceil(bytes).clamp(2, 100);
    (0..count).map(|_| DeviceMatrix::upload(device, ty, rows, cols, &data[..bytes]).unwrap()).collect()
}

fn one(device: &Device, product: &Product, matrices: &[DeviceMatrix], ty: GgmlType, m: u32) -> Value {
    let (rows, cols, bytes) = (matrices[0].rows(), matrices[0].cols(), matrices[0].bytes());
    let values: Vec<f32> = (0..m as usize * cols).map(|i| (i as f32 * 0.37).sin()).collect();
    let x: Activations = super::case::activations(device, &values, m as usize, cols);
    let mut out: Buffer<f32> = device.zeros("output", m as usize * rows).unwrap();
    let launches = if bytes > 100 << 20 || m > 8 { 6 } else { 40.max(matrices.len()) };
    let graph = device
        .capture(|| {
            (0..launches).try_for_each(|i| {
                product.launch(device, &matrices[i % matrices.len()], &x, m, &mut out, 0, rows)
            })
        })
        .unwrap();
    for _ in 0..2 {
        graph.launch().unwrap();
    }
    let mut times: Vec<f64> = (0..9)
        .map(|_| {
            let start = device.record().unwrap();
            graph.launch().unwrap();
            let end = device.record().unwrap();
            f64::from(start.elapsed_ms(&end).unwrap()) * 1e3 / launches as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let (median, slow) = (times[times.len() / 2], times[times.len() - 1]);
    let floor = bytes as f64 / READ_CEILING * 1e6;
    println!(
        "{:<5} [{rows:>6} x {cols:>5}] m {m:>3}: {median:>8.2} us, floor {floor:>7.2}, {:>5.1} %",
        ty.name(),
        100.0 * floor / median
    );
    json!({"type": ty.name(), "rows": rows, "cols": cols, "m": m, "us_median": median, "us_slowest": slow,
        "weight_bytes": bytes, "us_floor": floor, "share_of_read_ceiling": floor / median})
}
