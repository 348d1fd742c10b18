//! The attention kernels on a GPU: each row of the table against the f64 oracle, and their speed.
//!
//! Without a GPU or NVRTC every test prints SKIP with the reason and passes. `OUT=DIR` writes the results as JSON,
//! `BENCH_KERNEL_SOURCES=DIR` takes kernel sources from a folder, `BENCH_SWEEP=quick` shortens the sweep for a
//! sanitizer.

#![cfg(feature = "cuda")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests, which clippy does not take for tests"
)]

#[path = "gpu_attention/case.rs"]
mod case;
mod gpu;
#[path = "gpu_attention/prefill.rs"]
mod prefill;
#[path = "gpu_attention/speed.rs"]
mod speed;
#[path = "gpu_attention/tree.rs"]
mod tree;

use std::num::NonZeroU32;

use bench_engine::attention::{
    AttnShape, DeviceCaps, HeadDims, INSTANCES, Instance, KvFormat, Mask, Path, plan,
};
use bench_engine::backend::cuda::Device;
use bench_engine::kv_cache::turbo::TurboType;
use case::{Case, run};
use gpu::{device, publish};
use serde_json::json;

const TURBO3: KvFormat = KvFormat::Turbo(TurboType::Turbo3);

fn quick() -> bool {
    std::env::var("BENCH_SWEEP").is_ok_and(|sweep| sweep == "quick")
}

/// Lengths, rows and windows at which every row of the table is tried.
fn conditions(row: &Instance) -> Vec<(u32, u32, u32, Option<u32>, u32)> {
    let (keys, columns) = (row.keys, row.columns);
    // (kv_len, q_rows, ratio, window, splits)
    let mut all = vec![
        (1, 1, 1, None, 1),
        (keys + 1, 1, 4, None, 1),
        (257, columns.div_ceil(4), 4, None, 3),
        (700, 3, 5, Some(64), 7),
    ];
    if !quick() {
        all.extend([
            (keys - 1, 1, 8, None, 2),
            (keys, 2, 3, None, 200),
            (255, 1, 7, None, 5),
            (256, 5, 1, None, 16),
            (1000, 1, 2, Some(512), 16),
            (513, 6, 9, Some(512), 4),
            (3000, columns, 1, None, 100),
            (130, 130, 2, None, 2),
        ]);
    }
    all
}

/// Bounds of the relative squared error: 16-bit P and Q decide, whatever the cache holds.
fn bound(k: KvFormat, v: KvFormat, path: Path) -> f64 {
    match path {
        // Codebooks are looked up in f16, the codec's are f32.
        _ if k.is_turbo() || v.is_turbo() => 3e-6,
        Path::Tile => 1e-9,
        Path::MmaPrefill | Path::MmaDecode | Path::MmaDecodeTurbo => {
            if k == KvFormat::Bf16 || v == KvFormat::Bf16 { 2e-5 } else { 1e-6 }
        }
    }
}

#[test]
fn every_row_agrees_with_the_oracle() {
    let Some(device) = device() else { return };
    let caps = *device.caps();
    let (mut records, mut failures, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
    for row in INSTANCES.iter().filter(|row| row.path != Path::MmaPrefill) {
        let dims: &[u32] = match &row.head_dims {
            HeadDims::One(dim) => std::slice::from_ref(dim),
            HeadDims::MultiplesOf8UpTo(_) => &[8, 72, 256, 320, 512, 576],
        };
        for &head_dim in dims {
            for &(k, v) in row.formats {
                // The path that takes every pair is tried with equal pairs and some mixed ones.
                if row.path == Path::Tile && k != v && (k, v) != (KvFormat::Q8_0, TURBO3) {
                    continue;
                }
                let (mut worst, mut cases) = (0.0_f64, 0);
                for (kv_len, q_rows, ratio, window, splits) in conditions(row) {
                    let shape = AttnShape {
                        head_dim,
                        heads: 2 * ratio,
                        kv_heads: 2,
                        q_rows,
                        k,
                        v,
                        window: window.and_then(NonZeroU32::new),
                        mask: Mask::Causal,
                        cells: kv_len.max(q_rows) + 5,
                    };
                    let Some(plan) = case::plan_on(row, &shape, &caps) else {
                        skipped.push(row.name());
                        continue;
                    };
                    let case = Case::new(plan.with_splits(splits), kv_len);
                    let error = run(&device, &case);
                    cases += 1;
                    worst = worst.max(error);
                    // NaN is a failure too.
                    if error.is_nan() || error > bound(k, v, row.path) {
                        failures.push(format!("{} {shape:?} kv {kv_len}: {error:e}", plan.route()));
                    }
                }
                println!(
                    "{:<28} d{head_dim} {}/{}: {worst:.2e} over {cases}",
                    row.name(),
                    k.name(),
                    v.name()
                );
                records.push(json!({"row": row.name(), "head_dim": head_dim, "k": k.name(), "v": v.name(),
                    "cases": cases, "worst_nmse": worst, "bound": bound(k, v, row.path)}));
            }
        }
    }
    skipped.sort();
    skipped.dedup();
    println!("skipped on this device: {skipped:?}");
    publish("accuracy.json", &json!({"device": device.name(), "rows": records, "skipped": skipped}));
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn every_row_of_prefill_agrees_with_the_oracle() {
    let Some(device) = device() else { return };
    let formats = [(KvFormat::F16, KvFormat::F16), (KvFormat::Bf16, KvFormat::Bf16)];
    prefill_agrees(&device, if quick() { 4 } else { 1 }, &formats, "prefill-accuracy.json");
}

#[test]
fn every_row_of_prefill_agrees_with_the_oracle_on_codes() {
    let Some(device) = device() else { return };
    let sixteen = |format| [KvFormat::F16, KvFormat::Bf16, KvFormat::F32].contains(&format);
    let pairs = KvFormat::ALL.into_iter().flat_map(|k| KvFormat::ALL.map(|v| (k, v)));
    let coded: Vec<_> = pairs.filter(|(k, v)| !sixteen(*k) || !sixteen(*v)).collect();
    prefill_agrees(&device, 4, &coded, "prefill-accuracy-codes.json");
}

fn prefill_agrees(device: &Device, every: usize, formats: &[(KvFormat, KvFormat)], file: &str) {
    let (records, failures) = prefill::accuracy(device, every, formats, |k, v| bound(k, v, Path::MmaPrefill));
    publish(file, &json!({"device": device.name(), "records": records}));
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn prefill_speed() {
    let Some(device) = device() else { return };
    if quick() || std::env::var_os("OUT").is_none() {
        println!("SKIP: speed is measured where OUT names a folder, and not in a quick sweep");
        return;
    }
    publish("prefill-speed.json", &prefill::speed(&device));
}

/// The seed report on a GPU: 512 with odd and small ratios in turbo3, a ring, a draft whose own key is missing.
#[test]
fn issue_dkq512_ratio2_runs_and_is_right() {
    let Some(device) = device() else { return };
    for ratio in [2, 3, 5, 7, 9] {
        for q_rows in 1..=6 {
            let shape = AttnShape {
                head_dim: 512,
                heads: 2 * ratio,
                kv_heads: 2,
                q_rows,
                k: TURBO3,
                v: TURBO3,
                window: None,
                mask: Mask::Causal,
                cells: 600,
            };
            let plan = plan(&shape, device.caps()).unwrap();
            let error = run(&device, &Case::new(plan, 517));
            assert!(error <= 1e-6, "ratio {ratio}, {q_rows} rows: {error:e}");
        }
    }
}

#[test]
fn a_ring_serves_what_its_window_sees() {
    let Some(device) = device() else { return };
    for format in [KvFormat::F16, KvFormat::Q8_0, TURBO3] {
        for kv_len in [100, 519, 520, 521, 5000, 5003] {
            for first_pos_past_end in [0, 1] {
                let shape = AttnShape {
                    head_dim: 256,
                    heads: 8,
                    kv_heads: 2,
                    q_rows: 4 - 3 * first_pos_past_end,
                    k: format,
                    v: format,
                    window: NonZeroU32::new(512),
                    mask: Mask::Causal,
                    cells: 520,
                };
                let plan = plan(&shape, device.caps()).unwrap();
                let case = Case { draft: first_pos_past_end == 1, ..Case::new(plan, kv_len) };
                let error = run(&device, &case);
                assert!(error <= 1e-6, "{} at {kv_len}: {error:e}", format.name());
            }
        }
    }
}

#[test]
fn splits_change_nothing_and_runs_repeat_bit_for_bit() {
    let Some(device) = device() else { return };
    let shape = AttnShape {
        head_dim: 512,
        heads: 8,
        kv_heads: 1,
        q_rows: 2,
        k: KvFormat::Bf16,
        v: KvFormat::Bf16,
        window: None,
        mask: Mask::Causal,
        cells: 6000,
    };
    let plan = plan(&shape, device.caps()).unwrap();
    let splits: &[u32] = if quick() { &[1, 9] } else { &[1, 2, 3, 8, 31, 64, 131, 132, 199, 200] };
    for splits in splits {
        let case = Case::new(plan.with_splits(*splits), 5500);
        let (first, again) = (case::output(&device, &case), case::output(&device, &case));
        assert!(first.0 == again.0, "{splits} splits differ from run to run");
        assert!(case::nmse(&first.0, &first.1) <= 2e-5, "{splits} splits");
    }
}

#[test]
fn the_write_kernel_writes_the_codecs_bytes() {
    let Some(device) = device() else { return };
    for head_dim in [64, 80, 128, 192, 256, 512] {
        for format in KvFormat::ALL {
            case::check_write(&device, head_dim, format);
        }
    }
}

#[test]
fn long_contexts_are_right() {
    let Some(device) = device() else { return };
    if quick() {
        println!("SKIP: a quick sweep");
        return;
    }
    for (format, bound) in
        [(KvFormat::F16, 1e-6), (KvFormat::Bf16, 2e-5), (KvFormat::Q8_0, 1e-6), (TURBO3, 1e-6)]
    {
        let shape = AttnShape {
            head_dim: 512,
            heads: 8,
            kv_heads: 1,
            q_rows: 1,
            k: format,
            v: format,
            window: None,
            mask: Mask::Causal,
            cells: 131_072,
        };
        let plan = plan(&shape, device.caps()).unwrap();
        for kv_len in [32_768, 131_072] {
            let error = run(&device, &Case::new(plan, kv_len));
            println!("{} at {kv_len}: {error:.2e}", plan.route());
            assert!(error <= bound, "{} at {kv_len}: {error:e}", plan.route());
        }
    }
}

#[test]
fn speed() {
    let Some(device) = device() else { return };
    if quick() || std::env::var_os("OUT").is_none() {
        println!("SKIP: speed is measured where OUT names a folder, and not in a quick sweep");
        return;
    }
    publish("speed.json", &speed::measure(&device));
}

#[test]
fn rows_against_each_other() {
    let Some(device) = device() else { return };
    if std::env::var_os("BENCH_ROWS").is_none() {
        println!("SKIP: rows are compared where BENCH_ROWS is set");
        return;
    }
    publish("rows.json", &speed::compare_rows(&device));
}

#[test]
fn the_plan_of_this_device_is_for_this_device() {
    let Some(device) = device() else { return };
    let caps: &DeviceCaps = device.caps();
    println!("{} {caps:?}, memory {:?}", device.name(), device.memory().unwrap());
    assert!(caps.compute >= 75 && caps.multiprocessors > 0 && caps.shared_per_block >= 48 * 1024);
}
