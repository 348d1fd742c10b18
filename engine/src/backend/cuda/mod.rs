//! The CUDA backend: driver and NVRTC loaded at run time, kernels compiled on first use and kept on disk.
//!
//! Nothing here is touched before the libraries are known to be there, so a program that has this built in starts and
//! works without a GPU, a driver or a toolkit. Every failure is a [`CudaError`]; nothing panics, nothing aborts.
//! Invariant: a [`Device`] has one stream, on which all its work is in order; graphs are captured from it.

#![expect(unsafe_code, reason = "calls of the CUDA driver and of NVRTC")]

mod activations;
mod attention;
mod buffer;
mod candidates;
mod device;
mod drafts;
mod error;
mod experts;
mod gather;
mod host_table;
mod kernel;
mod matmul;
mod nvrtc;
mod ops;
mod packed;
mod sampling;
mod self_check;
mod timing;

pub use activations::Activations;
pub use attention::{Attention, AttentionBuffers, AttentionOutput, KvRows, KvWriter};
pub use buffer::Buffer;
pub use candidates::{CandidateScores, CentroidShape};
pub use device::{Device, Event, Graph};
pub use error::CudaError;
pub use experts::{ExpertJoin, ExpertProduct, ExpertRoutes, ExpertShape};
pub use gather::RowGather;
pub use host_table::{HostPages, HostTable};
pub use matmul::{Product, SMALL_M, SmallPlan, plan_small};
pub use nvrtc::{Compiled, KernelCache, KernelSource, architecture, compile, nvrtc_version};
pub use ops::{Argmax, Heads, HeadsKv, LayerInputs, NO_TOKEN, Ops, ResidualNorm, Rows, VERDICT};
pub use packed::DeviceMatrix;
pub use sampling::{Drawing, Outcome, RowSampler};
pub use self_check::{Disabled, checked_plan};
pub use timing::{CacheCopies, MatrixCopies, TimedGraph, read_bandwidth};

/// Whether the driver's library can be loaded.
#[must_use]
pub fn driver_present() -> bool {
    // SAFETY: opens and closes a library of known name; its initialisers are the driver's.
    unsafe { cudarc::driver::sys::is_culib_present() }
}

/// Whether NVRTC's library can be loaded.
#[must_use]
pub fn nvrtc_present() -> bool {
    // SAFETY: as for the driver.
    unsafe { cudarc::nvrtc::sys::is_culib_present() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_an_error_with_a_hint() {
        if !driver_present() {
            let error = Device::open(0).map(|_| ()).unwrap_err();
            assert!(matches!(error, CudaError::NoDriver));
            assert!(error.hint().is_some());
        }
        if !nvrtc_present() {
            let error = nvrtc_version().unwrap_err();
            assert!(matches!(error, CudaError::NoNvrtc));
            assert!(error.hint().is_some_and(|hint| hint.contains("nvidia-cuda-nvrtc")));
        }
    }
}
