//! NVML through a real dynamic library with planted GPUs, where there is no GPU: symbols, signatures, layouts, absence.
//! With a real driver, `a_real_gpu_is_read` reads it.

#![cfg(target_os = "linux")]
#![expect(clippy::expect_used, reason = "helpers of tests, which clippy does not take for tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use bench_core::environment::{GpuProbe, GpuSample, Nvml};

/// Compiles the planted library.
fn planted(dir: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake_nvml/library.rs");
    let library = dir.join("libplanted.so");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args(["--edition", "2024", "--crate-type", "cdylib", "-o"])
        .arg(&library)
        .arg(source)
        .output()
        .expect("rustc runs: it compiled this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    library
}

#[test]
fn planted_gpus_are_read_as_planted() {
    let dir = tempfile::tempdir().unwrap();
    let nvml = Nvml::open_at(&planted(dir.path())).unwrap();
    assert_eq!(nvml.versions(), (Some("570.86.15".to_owned()), Some("12.8".to_owned())));
    let [first, silent] = &nvml.devices()[..] else { panic!("{:?}", nvml.devices()) };
    assert_eq!((first.name.as_deref(), first.uuid.as_deref()), (Some("Planted GPU"), Some("GPU-1234")));
    assert_eq!((first.memory_bytes, first.sm_clock_max_mhz), (Some(1 << 37), Some(1980)));
    assert_eq!((silent.name.as_deref(), &silent.uuid), (Some("Silent GPU"), &None));
    assert_eq!((silent.memory_bytes, silent.sm_clock_max_mhz), (None, None));

    let ours = BTreeSet::from([std::process::id()]);
    let expected = GpuSample {
        sm_clock_mhz: Some(1755),
        memory_clock_mhz: Some(3201),
        power_mw: Some(412_500),
        power_limit_mw: Some(700_000),
        energy_mj: Some(5_000_000_000),
        temperature_c: Some(61),
        throttle_reasons: Some(0x4),
        memory_used_bytes: Some(1 << 30),
        busy_percent: Some(97),
        processes: Some(2),
        foreign_processes: Some(1),
    };
    assert_eq!(nvml.read(&ours), [expected, GpuSample::default()], "what a GPU does not tell is None");
}

#[test]
fn absence_has_its_reason() {
    let missing = Nvml::open_at(Path::new("/no/such/libnvidia-ml.so.1")).unwrap_err();
    assert!(missing.contains("/no/such/libnvidia-ml.so.1"), "{missing}");
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("libtext.so");
    std::fs::write(&text, "no library").unwrap();
    assert!(Nvml::open_at(&text).is_err());
}

/// A driver that refuses is told in its own words. In a process of its own, since it is planted by a variable.
#[test]
fn a_driver_that_refuses_is_told_in_its_words() {
    if let Some(library) = std::env::var_os("PLANTED_NVML") {
        let refused = Nvml::open_at(Path::new(&library)).unwrap_err();
        assert_eq!(refused, "nvmlInit_v2 returned 9 (Driver Not Loaded)");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_driver_that_refuses_is_told_in_its_words"])
        .env("PLANTED_NVML", planted(dir.path()))
        .env("FAKE_NVML_REFUSES", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Where there is a driver: everything that a report needs is told, and plausible. `BENCH_REQUIRE_GPU=1` makes its
/// absence a failure.
#[test]
fn a_real_gpu_is_read() {
    let nvml = match Nvml::open() {
        Ok(nvml) => nvml,
        Err(reason) => {
            assert!(!reason.is_empty(), "absence has a reason");
            assert!(std::env::var_os("BENCH_REQUIRE_GPU").is_none(), "{reason}");
            return;
        }
    };
    let ours = BTreeSet::from([std::process::id()]);
    let (devices, first) = (nvml.devices(), nvml.read(&ours));
    let started = std::time::Instant::now();
    let second = nvml.read(&ours);
    println!("{:?}\n{devices:#?}\n{second:#?}\none reading: {:?}", nvml.versions(), started.elapsed());
    assert_eq!(devices.len(), first.len());
    for ((device, before), after) in devices.iter().zip(&first).zip(&second) {
        assert!(device.name.is_some() && device.uuid.is_some(), "{device:?}");
        assert!(device.memory_bytes.is_some_and(|bytes| bytes > 1 << 30), "{device:?}");
        assert!(after.memory_used_bytes <= device.memory_bytes, "{after:?}");
        assert!(after.sm_clock_mhz <= device.sm_clock_max_mhz, "{after:?}");
        assert!(after.power_mw.is_none_or(|power| power < 2_000_000), "{after:?}");
        assert!(after.temperature_c.is_none_or(|celsius| celsius < 120), "{after:?}");
        assert!(after.energy_mj >= before.energy_mj, "{before:?} {after:?}");
    }
}
