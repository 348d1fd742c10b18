//! Products on a GPU: every type of weights against f64 products of what the file says, and their speed.
//!
//! Without a GPU or NVRTC every test prints SKIP with the reason and passes. `OUT=DIR` writes the results as JSON,
//! `BENCH_KERNEL_SOURCES=DIR` takes kernel sources from a folder, `BENCH_SWEEP=quick` shortens the sweep for a
//! sanitizer, `BENCH_TYPES=q8_0,q4_K` measures some types only.

#![cfg(feature = "cuda")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests, which clippy does not take for tests"
)]

#[path = "gpu_matmul/case.rs"]
mod case;
#[path = "gpu_matmul/experts.rs"]
mod experts;
#[path = "gpu_matmul/speed.rs"]
mod speed;

use bench_engine::backend::cuda::{
    CudaError, Device, DeviceMatrix, KernelCache, Product, RowGather, SMALL_M, driver_present, nvrtc_present,
};
use bench_engine::gguf::GgmlType;
use bench_engine::quant::dequantize_row;
use case::{Case, TYPES};
use serde_json::json;

/// The GPU, or why there is none.
pub(crate) fn device() -> Option<Device> {
    if !driver_present() || !nvrtc_present() {
        println!(
            "SKIP: driver {}, NVRTC {}",
            if driver_present() { "found" } else { "not found" },
            if nvrtc_present() { "found" } else { "not found" }
        );
        return None;
    }
    let cache = std::env::var_os("BENCH_KERNEL_CACHE")
        .map_or_else(KernelCache::of_user, |folder| KernelCache::in_folder(folder.into()));
    let cache = match std::env::var_os("BENCH_KERNEL_SOURCES") {
        Some(folder) => cache.with_sources_from(folder.into()),
        None => cache,
    };
    Some(Device::with_cache(0, cache).unwrap())
}

fn publish(file: &str, value: &serde_json::Value) {
    if let Some(folder) = std::env::var_os("OUT") {
        let path = std::path::Path::new(&folder).join(file);
        std::fs::write(path, serde_json::to_string_pretty(value).unwrap() + "\n").unwrap();
    }
}

fn quick() -> bool {
    std::env::var("BENCH_SWEEP").is_ok_and(|sweep| sweep == "quick")
}

/// Rows and columns at which every type is tried; columns that a type's blocks do not divide are left out.
fn sizes() -> Vec<(usize, usize)> {
    let (rows, cols): (&[usize], &[usize]) =
        if quick() { (&[1, 33], &[32, 256, 704]) } else { (&[1, 7, 33, 512, 2560], &[32, 256, 704, 2560]) };
    rows.iter().flat_map(|rows| cols.iter().map(|cols| (*rows, *cols))).collect()
}

#[test]
fn products_agree_with_f64() {
    let Some(device) = device() else { return };
    let (mut records, mut failures) = (Vec::new(), Vec::new());
    for ty in TYPES {
        let product = Product::new(&device, ty).unwrap();
        let (mut worst, mut cases) = (0.0_f64, 0);
        for (rows, cols) in
            sizes().into_iter().filter(|(_, cols)| (*cols as u64).is_multiple_of(ty.block_len()))
        {
            let case = Case::new(&device, ty, rows, cols, 130);
            let counts: &[u32] = if quick() { &[1, 5, 9] } else { &[1, 2, 3, 4, 5, 6, 7, 8, 9, 33, 130] };
            for &m in counts {
                let error = case.error(&device, &product, m);
                cases += 1;
                worst = worst.max(error);
                // NaN is a failure too.
                if error.is_nan() || error > 1.0 {
                    failures.push(format!("{ty} [{rows} x {cols}] m {m}: {error:.3} of the bound"));
                }
            }
        }
        println!("{ty:<5} {worst:.3} of the bound over {cases} products");
        records.push(json!({"type": ty.name(), "products": cases, "worst_share_of_bound": worst}));
    }
    publish("accuracy.json", &json!({"device": device.name(), "types": records}));
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// What speculation rests on: a row's bits are the same alone and beside any others.
#[test]
fn a_rows_bits_do_not_depend_on_the_others() {
    let Some(device) = device() else { return };
    for ty in TYPES {
        let product = Product::new(&device, ty).unwrap();
        for (rows, cols) in [(33, 256), (48, 2560), (16, 10_240)] {
            let mut case = Case::new(&device, ty, rows, cols, 8);
            let together = case.output(&device, &product, SMALL_M);
            for m in 1..SMALL_M {
                let fewer = case.output(&device, &product, m);
                assert!(fewer[..] == together[..m as usize * rows], "{ty} [{rows} x {cols}], {m} rows");
            }
            for row in [0, 3, 7] {
                case.bring_to_front(&device, row);
                let alone = case.output(&device, &product, 1);
                assert!(alone[..] == together[row * rows..][..rows], "{ty} [{rows} x {cols}], row {row}");
            }
        }
    }
}

#[test]
fn gathered_rows_are_what_the_file_says() {
    let Some(device) = device() else { return };
    for ty in TYPES {
        let gather = RowGather::new(&device, ty).unwrap();
        let (rows, cols) = (37, 512);
        let data = case::weights(ty, rows, cols, 3);
        let table = DeviceMatrix::upload(&device, ty, rows, cols, &data).unwrap();
        assert_eq!((table.rows(), table.cols()), (rows, cols));
        let ids = [0_u32, 36, 8, 15, 16, 9, u32::MAX];
        let device_ids = device.upload("ids", &ids).unwrap();
        let mut out = device.upload("rows", &vec![f32::INFINITY; ids.len() * 600]).unwrap();
        gather.launch(&device, &table, &device_ids, 7, 2.0, &mut out, 600).unwrap();
        let out = device.download(&out).unwrap();
        let row_bytes = data.len() / rows;
        for (id, got) in ids.iter().zip(out.chunks_exact(600)) {
            if *id == u32::MAX {
                assert!(got[..cols].iter().all(|x| x.is_nan()), "{ty}");
                continue;
            }
            let mut expected = vec![0.0; cols];
            dequantize_row(ty, &data[*id as usize * row_bytes..][..row_bytes], &mut expected).unwrap();
            for (i, (x, y)) in expected.iter().zip(got).enumerate() {
                let allowed = 1e-6 * x.abs().max(case::block_magnitude(&expected, i));
                assert!((2.0 * x - y).abs() <= allowed, "{ty} row {id} column {i}: {y} for {x}");
            }
            assert!(got[cols..].iter().all(|x| *x == f32::INFINITY), "{ty}: written beyond the row");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(device) = device() else { return };
    let error = DeviceMatrix::upload(&device, GgmlType::Iq4Nl, 1, 32, &[0; 18]).map(|_| ()).unwrap_err();
    assert!(matches!(error, CudaError::WeightType { .. }), "{error}");
    let error = DeviceMatrix::upload(&device, GgmlType::Q8_0, 2, 32, &[0; 67]).map(|_| ()).unwrap_err();
    assert!(matches!(error, CudaError::BufferSize { got: 67, expected: 68, .. }), "{error}");
    let product = Product::new(&device, GgmlType::Q8_0).unwrap();
    let other = Case::new(&device, GgmlType::F16, 16, 32, 1);
    assert!(other.try_output(&device, &product, 1).is_err());
    let case = Case::new(&device, GgmlType::Q8_0, 16, 32, 1);
    assert!(case.try_output(&device, &product, 2).is_err(), "more rows than there are");
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
