//! A loaded kernel and how it is launched.

use std::ffi::{CString, c_void};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cudarc::driver::{CudaContext, result, sys};

use super::error::Doing;
use super::{CudaError, Device};

/// An entry of a loaded cubin; unloaded when dropped.
pub(super) struct Kernel {
    context: Arc<CudaContext>,
    module: sys::CUmodule,
    function: sys::CUfunction,
    shared_bytes: u32,
}

// SAFETY: handles of the driver, which may be used from any thread that has bound the context.
unsafe impl Send for Kernel {}
// SAFETY: as above; the driver locks what it has to.
unsafe impl Sync for Kernel {}

/// Arguments of a kernel: one plain struct, the same in CUDA and here.
///
/// # Safety
/// The type is `repr(C)`, and equal in layout to the kernel's only parameter.
pub(super) unsafe trait KernelArgs: Copy {}

impl Kernel {
    pub(super) fn load(
        context: &Arc<CudaContext>,
        cubin: &[u8],
        entry: &str,
        shared_bytes: u32,
    ) -> Result<Self, CudaError> {
        context.bind_to_thread().doing("binding the context")?;
        // SAFETY: the image is a cubin, either from NVRTC or kept with its own length.
        let module = unsafe { result::module::load_data(cubin.as_ptr().cast::<c_void>()) }
            .doing("loading a kernel")?;
        let mut kernel =
            Self { context: Arc::clone(context), module, function: std::ptr::null_mut(), shared_bytes };
        let name = CString::new(entry).unwrap_or_default();
        // SAFETY: the module is loaded.
        kernel.function =
            unsafe { result::module::get_function(module, name) }.doing("finding a kernel's entry")?;
        // All kernels ask for the same division of L1: one that differs from its neighbours makes the device drain first.
        let carveout = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT;
        // SAFETY: the function is of a loaded module.
        unsafe { result::function::set_function_attribute(kernel.function, carveout, 100) }
            .doing("asking for a division of L1")?;
        if shared_bytes > 48 * 1024 {
            let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let bytes = i32::try_from(shared_bytes).unwrap_or(i32::MAX);
            // SAFETY: the function is of a loaded module.
            unsafe { result::function::set_function_attribute(kernel.function, attribute, bytes) }
                .doing("asking for a kernel's shared memory")?;
        }
        Ok(kernel)
    }

    /// Queues a launch. `overlap` lets it start while the kernel before it ends; it then waits by itself.
    ///
    /// # Safety
    /// Every address in `args` is of device memory of the size that the kernel's header states, and lives until the
    /// work is done.
    pub(super) unsafe fn launch<A: KernelArgs>(
        &self,
        device: &Device,
        grid: [u32; 3],
        threads: u32,
        overlap: bool,
        args: &A,
    ) -> Result<(), CudaError> {
        // SAFETY: the caller's.
        unsafe { self.launch_with(device, grid, threads, self.shared_bytes, overlap, args) }
    }

    /// [`Self::launch`] with less dynamic shared memory than the kernel was loaded for.
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn launch_with<A: KernelArgs>(
        &self,
        device: &Device,
        grid: [u32; 3],
        threads: u32,
        shared_bytes: u32,
        overlap: bool,
        args: &A,
    ) -> Result<(), CudaError> {
        self.context.bind_to_thread().doing("binding the context")?;
        // SAFETY: plain integers and pointers, for which zero is valid.
        let mut attribute: sys::CUlaunchAttribute = unsafe { std::mem::zeroed() };
        attribute.id = sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
        attribute.value.programmaticStreamSerializationAllowed = 1;
        let config = sys::CUlaunchConfig {
            gridDimX: grid[0],
            gridDimY: grid[1],
            gridDimZ: grid[2],
            blockDimX: threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: shared_bytes.min(self.shared_bytes),
            hStream: device.stream.cu_stream(),
            attrs: &raw mut attribute,
            // The attribute is known from Hopper on.
            numAttrs: u32::from(overlap && device.caps().compute >= 90),
        };
        let mut params = [std::ptr::from_ref(args).cast_mut().cast::<c_void>()];
        // SAFETY: the configuration and the one parameter outlive the call, which copies them; the rest is the caller's.
        let outcome = unsafe {
            sys::cuLaunchKernelEx(&raw const config, self.function, params.as_mut_ptr(), std::ptr::null_mut())
        };
        device.queued.fetch_add(1, Ordering::Relaxed);
        outcome.result().doing("launching a kernel")
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        if self.context.bind_to_thread().is_ok() {
            // SAFETY: loaded by `load` and unloaded once. A failure here leaks a module, nothing else.
            let _leaked = unsafe { result::module::unload(self.module) };
        }
    }
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel").field("shared_bytes", &self.shared_bytes).finish_non_exhaustive()
    }
}
