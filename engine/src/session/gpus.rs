//! Which GPUs the engine could run on, for those who ask before they load anything.

/// One GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuInfo {
    /// The vendor's name.
    pub name: String,
    /// Compute capability times ten: 90 for 9.0.
    pub compute: u32,
    /// Multiprocessors.
    pub multiprocessors: u32,
    /// Memory in all.
    pub memory_bytes: u64,
    /// Memory that nobody uses.
    pub free_bytes: u64,
}

/// What there is, or what is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GpuState {
    /// Everything is there.
    Ready {
        /// The GPUs.
        gpus: Vec<GpuInfo>,
        /// Version of the run-time compiler.
        nvrtc: (i32, i32),
    },
    /// Something is missing; models run on the CPU.
    Missing {
        /// What.
        what: String,
        /// How to get it.
        hint: Option<String>,
    },
}

/// Looks for driver, run-time compiler and GPUs, in this order.
#[must_use]
pub fn gpu_state() -> GpuState {
    #[cfg(feature = "cuda")]
    {
        look().unwrap_or_else(|error| GpuState::Missing { what: error.to_string(), hint: error.hint() })
    }
    #[cfg(not(feature = "cuda"))]
    {
        GpuState::Missing { what: "this program was built without CUDA".to_owned(), hint: None }
    }
}

#[cfg(feature = "cuda")]
fn look() -> Result<GpuState, crate::backend::cuda::CudaError> {
    use crate::backend::cuda::{Device, nvrtc_version};

    let count = Device::count()?;
    let nvrtc = nvrtc_version()?;
    let mut gpus = Vec::with_capacity(count);
    for ordinal in 0..count {
        let device = Device::open(ordinal)?;
        let (free, total) = device.memory()?;
        gpus.push(GpuInfo {
            name: device.name().to_owned(),
            compute: device.caps().compute,
            multiprocessors: device.caps().multiprocessors,
            memory_bytes: total as u64,
            free_bytes: free as u64,
        });
    }
    Ok(GpuState::Ready { gpus, nvrtc })
}
