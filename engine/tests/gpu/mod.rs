//! What every test on a GPU needs: the device, or the reason why there is none, and a place for results.

use bench_engine::backend::cuda::{Device, KernelCache, driver_present, nvrtc_present};

/// The GPU, or why there is none. `BENCH_KERNEL_SOURCES=DIR` takes kernel sources from a folder,
/// `BENCH_KERNEL_CACHE=DIR` keeps compiled ones there.
pub(crate) fn device() -> Option<Device> {
    if !driver_present() || !nvrtc_present() {
        let word = |found: bool| if found { "found" } else { "not found" };
        println!("SKIP: driver {}, NVRTC {}", word(driver_present()), word(nvrtc_present()));
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

/// Writes a result to `$OUT`, if that is set.
pub(crate) fn publish(file: &str, value: &serde_json::Value) {
    if let Some(folder) = std::env::var_os("OUT") {
        let text = serde_json::to_string_pretty(value).unwrap() + "\n";
        std::fs::write(std::path::Path::new(&folder).join(file), text).unwrap();
    }
}
