//! Memory of the device.

use cudarc::driver::{CudaSlice, DevicePtr, DeviceRepr, ValidAsZeroBits};

/// Elements on the device; freed when dropped, after the work that is queued on the device's stream.
#[derive(Debug)]
pub struct Buffer<T>(pub(super) CudaSlice<T>);

impl<T: DeviceRepr + ValidAsZeroBits> Buffer<T> {
    /// Elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    /// Where the kernels find it.
    pub(super) fn address(&self) -> u64 {
        // One stream a device: the order of work on it is what keeps this valid, not the guard.
        self.0.device_ptr(self.0.stream()).0
    }
}
