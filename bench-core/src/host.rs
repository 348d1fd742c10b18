//! The machine a run is made on. Reads once, before anything is measured; what cannot be read is `None`.

use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

use crate::environment::{GpuProbe, Nvml};
use crate::record::HostInfo;

/// Reads the machine. Call it before servers start, so that the load average does not hold our own work.
#[must_use]
pub fn read_host() -> HostInfo {
    let refresh = RefreshKind::nothing()
        .with_cpu(CpuRefreshKind::nothing())
        .with_memory(MemoryRefreshKind::everything());
    let system = System::new_with_specifics(refresh);
    let brand = system.cpus().first().map(|cpu| cpu.brand().trim().to_owned());
    HostInfo {
        os: System::long_os_version(),
        kernel: System::kernel_version(),
        cpu: brand.filter(|brand| !brand.is_empty()),
        cpu_count: u32::try_from(system.cpus().len()).ok().filter(|&count| count > 0),
        cpu_features: cpu_features(),
        memory_bytes: Some(system.total_memory()).filter(|&bytes| bytes > 0),
        gpus: gpu_names(),
        // Only Unix keeps a load average; elsewhere the crate answers 0, which would be a claim.
        load_before: cfg!(unix).then(|| System::load_average().one),
    }
}

/// A GPU without a name is told, too: two and one are not the same machine.
fn gpu_names() -> Vec<String> {
    let devices = Nvml::open().map(|nvml| nvml.devices()).unwrap_or_default();
    devices.into_iter().map(|device| device.name.unwrap_or_else(|| "unknown".to_owned())).collect()
}

/// Instruction sets our CPU kernels choose between.
fn cpu_features() -> Vec<String> {
    #[cfg(target_arch = "x86_64")]
    let found = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("f16c", is_x86_feature_detected!("f16c")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
    ];
    #[cfg(target_arch = "aarch64")]
    let found = [
        ("neon", std::arch::is_aarch64_feature_detected!("neon")),
        ("fp16", std::arch::is_aarch64_feature_detected!("fp16")),
        ("dotprod", std::arch::is_aarch64_feature_detected!("dotprod")),
    ];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let found: [(&str, bool); 0] = [];
    found.into_iter().filter(|(_, present)| *present).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_cpus_and_memory() {
        let host = read_host();
        assert!(host.cpu_count.is_some_and(|count| count >= 1), "{host:?}");
        assert!(host.memory_bytes.is_some_and(|bytes| bytes > 64 << 20), "{host:?}");
        assert_eq!(host.load_before.is_some(), cfg!(unix));
    }
}
