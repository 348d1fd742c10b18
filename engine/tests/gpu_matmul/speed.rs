//! How fast: microseconds of a product, by events around replays of a graph.
//!
//! Cold: launches rotate among enough copies of the matrix that none is still in L2. The floor is the bytes of the packed
//! matrix over a streaming read, measured in the same process.

use bench_engine::backend::cuda::{Device, MatrixCopies, Product, read_bandwidth};
use bench_engine::gguf::GgmlType;
use bench_engine::kernels::Times;
use serde_json::{Value, json};

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
    let ceiling = read_bandwidth(device).unwrap();
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
            let matrices = MatrixCopies::new(device, ty, rows, cols).unwrap();
            let counts: &[u32] = if all { &[1, 2, 3, 4, 5, 6, 7, 8, 64, 512] } else { &[1, 4, 8, 512] };
            for &m in counts {
                if m > 8 && rows == 262_144 {
                    continue;
                }
                records.push(one(device, ceiling, &product, &matrices, [rows, cols], (ty, m)));
            }
        }
    }
    json!({"device": device.name(), "read_ceiling_bytes_per_s": ceiling, "records": records})
}

fn one(
    device: &Device,
    ceiling: f64,
    product: &Product,
    matrices: &MatrixCopies,
    [rows, cols]: [usize; 2],
    (ty, m): (GgmlType, u32),
) -> Value {
    let bytes = matrices.bytes();
    let graph = matrices.graph(device, product, m).unwrap();
    let times = Times::of(graph.us_per_launch(9).unwrap()).unwrap();
    let median = times.us_median;
    let floor = bytes as f64 / ceiling * 1e6;
    println!(
        "{:<5} [{rows:>6} x {cols:>5}] m {m:>3}: {median:>8.2} us, floor {floor:>7.2}, {:>5.1} %",
        ty.name(),
        100.0 * floor / median
    );
    json!({"type": ty.name(), "rows": rows, "cols": cols, "m": m, "us_median": median, "us_p95": times.us_p95,
        "weight_bytes": bytes, "us_floor": floor, "share_of_read_ceiling": floor / median})
}
