//! One GPU: its context, its stream, its kernels.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::sys::{
    CUdevice_attribute as Attribute, CUevent_flags, CUgraphInstantiate_flags, CUresult, CUstreamCaptureMode,
};
use cudarc::driver::{
    CudaContext, CudaEvent, CudaGraph, CudaStream, DeviceRepr, DriverError, ValidAsZeroBits,
};

use super::error::Doing;
use super::kernel::Kernel;
use super::{Buffer, CudaError, KernelCache, KernelSource, architecture, driver_present, nvrtc_present};
use crate::attention::DeviceCaps;

/// Loaded kernels by source and options.
type Kernels = HashMap<(KernelSource, Vec<String>), Arc<Kernel>>;

/// An open GPU.
pub struct Device {
    pub(super) context: Arc<CudaContext>,
    pub(super) stream: Arc<CudaStream>,
    caps: DeviceCaps,
    name: String,
    cache: KernelCache,
    kernels: Mutex<Kernels>,
    /// Kernels queued, captured ones once.
    pub(super) queued: AtomicU64,
}

/// A point in the stream, with its time.
#[derive(Debug)]
pub struct Event(CudaEvent);

/// Work that was captured and can be launched again as a whole.
pub struct Graph(CudaGraph);

// SAFETY: handles of the driver, which belong to the graph alone and may be used from any one thread at a time; a launch
// binds the context first.
unsafe impl Send for Graph {}

impl Device {
    /// GPUs that the driver shows.
    ///
    /// # Errors
    /// No driver, or the driver's own.
    pub fn count() -> Result<usize, CudaError> {
        if !driver_present() {
            return Err(CudaError::NoDriver);
        }
        cudarc::driver::result::init().doing("starting the driver")?;
        let count = CudaContext::device_count().doing("counting devices")?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// Opens a GPU with the user's kernel cache.
    ///
    /// # Errors
    /// No driver, no such device, or the driver's own.
    pub fn open(ordinal: usize) -> Result<Self, CudaError> {
        Self::with_cache(ordinal, KernelCache::of_user())
    }

    /// Opens the first GPU; `None` where driver, compiler or GPU are missing.
    ///
    /// # Errors
    /// What is there and does not work.
    pub fn open_any() -> Result<Option<Self>, CudaError> {
        if !driver_present() || !nvrtc_present() {
            return Ok(None);
        }
        match Self::open(0) {
            Ok(device) => Ok(Some(device)),
            Err(CudaError::NoDevice { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a GPU with a kernel cache of one's own.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn with_cache(ordinal: usize, cache: KernelCache) -> Result<Self, CudaError> {
        let count = Self::count()?;
        if ordinal >= count {
            return Err(CudaError::NoDevice { ordinal, count });
        }
        let context = CudaContext::new(ordinal).doing("opening the device")?;
        // SAFETY: all work of this device goes through its one stream, so there is nothing to track between streams.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().doing("making a stream")?;
        let caps = caps(&context)?;
        let name = context.name().doing("asking the device's name")?;
        Ok(Self { context, stream, caps, name, cache, kernels: Mutex::default(), queued: AtomicU64::new(0) })
    }

    /// What kernels are chosen by.
    #[must_use]
    pub const fn caps(&self) -> &DeviceCaps {
        &self.caps
    }

    /// The vendor's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Kernels that have been queued so far; those of a graph once, when it was captured.
    #[must_use]
    pub fn kernels_queued(&self) -> u64 {
        self.queued.load(Ordering::Relaxed)
    }

    /// Free and total bytes of memory.
    ///
    /// # Errors
    /// The driver's.
    pub fn memory(&self) -> Result<(usize, usize), CudaError> {
        self.context.mem_get_info().doing("asking for free memory")
    }

    /// `len` zeros.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`] with the figures, or the driver's.
    pub fn zeros<T: DeviceRepr + ValidAsZeroBits>(
        &self,
        what: &'static str,
        len: usize,
    ) -> Result<Buffer<T>, CudaError> {
        let bytes = len.saturating_mul(size_of::<T>());
        let made = self.stream.alloc_zeros(len.max(1));
        made.map(Buffer).map_err(|error| self.allocation_error(what, bytes, error))
    }

    /// A copy of `values` on the device.
    ///
    /// # Errors
    /// As [`Self::zeros`].
    pub fn upload<T: DeviceRepr + ValidAsZeroBits>(
        &self,
        what: &'static str,
        values: &[T],
    ) -> Result<Buffer<T>, CudaError> {
        let made = self.stream.clone_htod(values);
        made.map(Buffer).map_err(|error| self.allocation_error(what, size_of_val(values), error))
    }

    /// Overwrites the beginning of a buffer.
    ///
    /// # Errors
    /// More values than the buffer holds, or the driver's.
    pub fn write<T: DeviceRepr + ValidAsZeroBits>(
        &self,
        buffer: &mut Buffer<T>,
        values: &[T],
    ) -> Result<(), CudaError> {
        self.write_at(buffer, 0, values)
    }

    /// Overwrites part of a buffer, from element `at` on.
    ///
    /// # Errors
    /// More values than the buffer holds from there on, or the driver's.
    pub fn write_at<T: DeviceRepr + ValidAsZeroBits>(
        &self,
        buffer: &mut Buffer<T>,
        at: usize,
        values: &[T],
    ) -> Result<(), CudaError> {
        let (got, expected) = (at.saturating_add(values.len()), buffer.len());
        if got > expected {
            return Err(CudaError::BufferSize { what: "values to write", got, expected });
        }
        let mut part = buffer.0.slice_mut(at..got);
        self.stream.memcpy_htod(values, &mut part).doing("copying to the device")
    }

    /// Copies elements between buffers of the device.
    ///
    /// # Errors
    /// A range outside its buffer, or the driver's.
    pub fn copy<T: DeviceRepr + ValidAsZeroBits>(
        &self,
        from: &Buffer<T>,
        range: Range<usize>,
        to: &mut Buffer<T>,
        at: usize,
    ) -> Result<(), CudaError> {
        let end = at + range.len();
        let error = |what, got, expected| Err(CudaError::BufferSize { what, got, expected });
        if range.end > from.len() {
            return error("buffer to copy from", from.len(), range.end);
        }
        if end > to.len() {
            return error("buffer to copy to", to.len(), end);
        }
        let copied = self.stream.memcpy_dtod(&from.0.slice(range), &mut to.0.slice_mut(at..end));
        copied.doing("copying on the device")
    }

    /// Waits for all work before it and copies a buffer to the host.
    ///
    /// # Errors
    /// The driver's, those of earlier launches included.
    pub fn download<T: DeviceRepr + ValidAsZeroBits>(&self, buffer: &Buffer<T>) -> Result<Vec<T>, CudaError> {
        let values = self.stream.clone_dtoh(&buffer.0).doing("copying from the device")?;
        self.synchronize()?;
        Ok(values)
    }

    /// Waits for all work.
    ///
    /// # Errors
    /// The driver's, those of earlier launches included.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        self.stream.synchronize().doing("waiting for the device")
    }

    /// Marks a point in the stream.
    ///
    /// # Errors
    /// The driver's.
    pub fn record(&self) -> Result<Event, CudaError> {
        let flags = Some(CUevent_flags::CU_EVENT_DEFAULT);
        self.stream.record_event(flags).map(Event).doing("recording an event")
    }

    /// Runs `work` without doing it, and keeps it as a graph.
    ///
    /// # Errors
    /// Those of `work`, or the driver's.
    pub fn capture(&self, work: impl FnOnce() -> Result<(), CudaError>) -> Result<Graph, CudaError> {
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.stream.begin_capture(mode).doing("beginning a graph")?;
        let outcome = work();
        let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
        let captured = self.stream.end_capture(flags).doing("ending a graph");
        outcome?;
        let nothing = DriverError(CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
        captured?.map(Graph).ok_or(nothing).doing("ending a graph")
    }

    /// A kernel of these options, compiled and loaded once.
    pub(super) fn kernel(
        &self,
        source: KernelSource,
        defines: Vec<String>,
        shared_bytes: u32,
    ) -> Result<Arc<Kernel>, CudaError> {
        let mut kernels = self.kernels.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (source, defines);
        if let Some(kernel) = kernels.get(&key) {
            return Ok(Arc::clone(kernel));
        }
        let compiled = self.cache.get(source, &key.1, &architecture(self.caps.compute))?;
        let kernel = Arc::new(Kernel::load(&self.context, &compiled.cubin, source.entry(), shared_bytes)?);
        kernels.insert(key, Arc::clone(&kernel));
        Ok(kernel)
    }

    fn allocation_error(&self, what: &'static str, bytes: usize, source: DriverError) -> CudaError {
        if source.0 != CUresult::CUDA_ERROR_OUT_OF_MEMORY {
            return CudaError::Driver { doing: "making a buffer", source };
        }
        let (free, total) = self.context.mem_get_info().unwrap_or((0, 0));
        CudaError::OutOfMemory { what, bytes, free, total }
    }
}

impl Event {
    /// Milliseconds from this event to a later one; waits for the later one.
    ///
    /// # Errors
    /// The driver's.
    pub fn elapsed_ms(&self, later: &Self) -> Result<f32, CudaError> {
        self.0.elapsed_ms(&later.0).doing("reading a time")
    }
}

impl Graph {
    /// Queues the captured work.
    ///
    /// # Errors
    /// The driver's.
    pub fn launch(&self) -> Result<(), CudaError> {
        self.0.launch().doing("launching a graph")
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").field("name", &self.name).field("caps", &self.caps).finish_non_exhaustive()
    }
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Graph").finish_non_exhaustive()
    }
}

fn caps(context: &CudaContext) -> Result<DeviceCaps, CudaError> {
    let ask = |attribute| {
        let value = context.attribute(attribute).doing("asking for an attribute")?;
        Ok::<u32, CudaError>(u32::try_from(value).unwrap_or(0))
    };
    Ok(DeviceCaps {
        compute: 10 * ask(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?
            + ask(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        multiprocessors: ask(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        shared_per_block: ask(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
        shared_per_multiprocessor: ask(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR)?,
    })
}
