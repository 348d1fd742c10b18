//! NVIDIA's management library, looked for at run time: names, clocks, power, temperature, throttle reasons, memory and
//! processes of GPUs. Reads only; changes no setting.
//!
//! NVML is not CUDA: it makes no context and takes no memory of the GPU, so it may be read beside any stack. The binary
//! starts without it, and then says why. A function that a driver lacks, and a value that a GPU does not have, is `None`.
//! Signatures are those of `nvml.h`.

#![expect(unsafe_code, reason = "calls of a C library that is loaded at run time")]

use std::collections::BTreeSet;
use std::error::Error;
use std::ffi::{CStr, OsStr, c_char, c_int, c_uint};

use libloading::Library;

use super::gpu::GpuProbe;
use super::{GpuDevice, GpuSample};

/// Names that the library is looked for by, in this order.
pub const NVML_LIBRARIES: [&str; 3] = ["libnvidia-ml.so.1", "libnvidia-ml.so", "nvml.dll"];

/// The open library and the GPUs that it sees.
#[derive(Debug)]
pub struct Nvml {
    library: Library,
    devices: Vec<Handle>,
}

/// `nvmlDevice_t`: an opaque pointer into the library, valid until it is shut down.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
struct Handle(*mut std::ffi::c_void);

/// Values that NVML writes through a pointer: plain C data, for which all zero bits are valid.
trait Plain: Copy + Default {}
impl Plain for u32 {}
impl Plain for u64 {}
impl Plain for Memory {}
impl Plain for Utilization {}

/// `nvmlMemory_t`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Memory {
    total: u64,
    free: u64,
    used: u64,
}

/// `nvmlUtilization_t`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Utilization {
    gpu: c_uint,
    memory: c_uint,
}

/// `nvmlProcessInfo_t` of the `_v3` functions.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct ProcessInfo {
    pid: c_uint,
    used_memory: u64,
    gpu_instance: c_uint,
    compute_instance: c_uint,
}

const CLOCK_SM: c_uint = 1;
const CLOCK_MEMORY: c_uint = 2;
const TEMPERATURE_GPU: c_uint = 0;
/// Longest string of `nvml.h` (96 for a UUID), and room.
const TEXT_LEN: usize = 256;
/// More processes than this on one GPU are counted as unknown.
const MOST_PROCESSES: usize = 64;

impl Nvml {
    /// Opens the first library of [`NVML_LIBRARIES`] that is there.
    ///
    /// # Errors
    ///
    /// Why it cannot be used, in the system's words: there is none, or it refuses to start.
    pub fn open() -> Result<Self, String> {
        let mut first = None;
        for name in NVML_LIBRARIES {
            match Self::load(OsStr::new(name)) {
                Err(Refusal::NotFound(why)) => first = first.or(Some(why)),
                Err(Refusal::Unusable(why)) => return Err(why),
                Ok(nvml) => return Ok(nvml),
            }
        }
        Err(first.unwrap_or_default())
    }

    /// Opens this library.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn open_at(path: &std::path::Path) -> Result<Self, String> {
        Self::load(path.as_os_str()).map_err(|refusal| match refusal {
            Refusal::NotFound(why) | Refusal::Unusable(why) => why,
        })
    }

    fn load(name: &OsStr) -> Result<Self, Refusal> {
        // SAFETY: loading runs the library's initialisers. It is NVIDIA's, found by the system's own rules, or one that
        // the caller names.
        let library = unsafe { Library::new(name) }.map_err(|error| Refusal::NotFound(in_words(&error)))?;
        let mut nvml = Self { library, devices: Vec::new() };
        match nvml.call(c"nvmlInit_v2") {
            Some(0) => {}
            Some(code) => {
                return Err(Refusal::Unusable(format!("nvmlInit_v2 returned {}", nvml.error(code))));
            }
            None => return Err(Refusal::Unusable("the library has no nvmlInit_v2".to_owned())),
        }
        let count: u32 = nvml.global(c"nvmlDeviceGetCount_v2").unwrap_or_default();
        nvml.devices = (0..count).filter_map(|index| nvml.handle(index)).collect();
        Ok(nvml)
    }

    /// A function without arguments; its return code, `None` if there is no such function.
    fn call(&self, name: &CStr) -> Option<c_int> {
        type Call = unsafe extern "C" fn() -> c_int;
        // SAFETY: nvml.h declares the functions called here with this signature.
        let function = unsafe { self.library.get::<Call>(name) }.ok()?;
        // SAFETY: they take nothing and may be called at any time.
        Some(unsafe { function() })
    }

    /// A function that writes one value.
    fn global<T: Plain>(&self, name: &CStr) -> Option<T> {
        type Global<T> = unsafe extern "C" fn(*mut T) -> c_int;
        // SAFETY: nvml.h declares the functions called here with this signature for this T.
        let function = unsafe { self.library.get::<Global<T>>(name) }.ok()?;
        let mut value = T::default();
        // SAFETY: the library is initialised, and writes at most one T.
        let code = unsafe { function(&raw mut value) };
        (code == 0).then_some(value)
    }

    fn handle(&self, index: u32) -> Option<Handle> {
        type ByIndex = unsafe extern "C" fn(c_uint, *mut Handle) -> c_int;
        // SAFETY: the signature is that of nvml.h.
        let function = unsafe { self.library.get::<ByIndex>(c"nvmlDeviceGetHandleByIndex_v2") }.ok()?;
        let mut handle = Handle(std::ptr::null_mut());
        // SAFETY: the library is initialised, and writes one pointer.
        let code = unsafe { function(index, &raw mut handle) };
        (code == 0).then_some(handle)
    }

    /// A function that writes one value of a device.
    fn of<T: Plain>(&self, device: Handle, name: &CStr) -> Option<T> {
        type Of<T> = unsafe extern "C" fn(Handle, *mut T) -> c_int;
        // SAFETY: nvml.h declares the functions called here with this signature for this T.
        let function = unsafe { self.library.get::<Of<T>>(name) }.ok()?;
        let mut value = T::default();
        // SAFETY: the handle is the library's own, and it writes at most one T.
        let code = unsafe { function(device, &raw mut value) };
        (code == 0).then_some(value)
    }

    /// A function that writes one number of a device, chosen by `which`.
    fn of_kind(&self, device: Handle, name: &CStr, which: c_uint) -> Option<u32> {
        type OfKind = unsafe extern "C" fn(Handle, c_uint, *mut c_uint) -> c_int;
        // SAFETY: nvml.h declares the functions called here with this signature; C enumerations are unsigned ints there.
        let function = unsafe { self.library.get::<OfKind>(name) }.ok()?;
        let mut value = 0;
        // SAFETY: the handle is the library's own, and it writes one unsigned int.
        let code = unsafe { function(device, which, &raw mut value) };
        (code == 0).then_some(value)
    }

    fn text_of(&self, device: Handle, name: &CStr) -> Option<String> {
        type TextOf = unsafe extern "C" fn(Handle, *mut c_char, c_uint) -> c_int;
        // SAFETY: nvml.h declares the functions called here with this signature.
        let function = unsafe { self.library.get::<TextOf>(name) }.ok()?;
        let mut text = [0_u8; TEXT_LEN];
        // SAFETY: the handle is the library's own, and it writes at most the length that it is told.
        let code = unsafe { function(device, text.as_mut_ptr().cast(), u32::try_from(TEXT_LEN).ok()?) };
        (code == 0).then(|| until_nul(&text)).flatten()
    }

    fn driver(&self) -> Option<String> {
        type Text = unsafe extern "C" fn(*mut c_char, c_uint) -> c_int;
        // SAFETY: the signature is that of nvml.h.
        let function = unsafe { self.library.get::<Text>(c"nvmlSystemGetDriverVersion") }.ok()?;
        let mut text = [0_u8; TEXT_LEN];
        // SAFETY: the library writes at most the length that it is told.
        let code = unsafe { function(text.as_mut_ptr().cast(), u32::try_from(TEXT_LEN).ok()?) };
        (code == 0).then(|| until_nul(&text)).flatten()
    }

    /// `12.8`: NVML says 12080.
    fn cuda(&self) -> Option<String> {
        let version: u32 = self.global(c"nvmlSystemGetCudaDriverVersion_v2")?;
        Some(format!("{}.{}", version / 1000, version % 1000 / 10))
    }

    /// Process ids of compute processes; `None` where it does not tell, or there are too many.
    fn processes(&self, device: Handle) -> Option<Vec<u32>> {
        type Processes = unsafe extern "C" fn(Handle, *mut c_uint, *mut ProcessInfo) -> c_int;
        // SAFETY: the signature is that of nvml.h.
        let function =
            unsafe { self.library.get::<Processes>(c"nvmlDeviceGetComputeRunningProcesses_v3") }.ok()?;
        let mut infos = [ProcessInfo::default(); MOST_PROCESSES];
        let mut count = c_uint::try_from(MOST_PROCESSES).ok()?;
        // SAFETY: the handle is the library's own, and it writes at most `count` infos.
        let code = unsafe { function(device, &raw mut count, infos.as_mut_ptr()) };
        let infos = infos.get(..usize::try_from(count).ok()?)?;
        (code == 0).then(|| infos.iter().map(|info| info.pid).collect())
    }

    /// The library's word for a return code.
    fn error(&self, code: c_int) -> String {
        type Words = unsafe extern "C" fn(c_int) -> *const c_char;
        // SAFETY: the signature is that of nvml.h.
        let Ok(function) = (unsafe { self.library.get::<Words>(c"nvmlErrorString") }) else {
            return code.to_string();
        };
        // SAFETY: any code may be asked for.
        let words = unsafe { function(code) };
        if words.is_null() {
            return code.to_string();
        }
        // SAFETY: a string of the library that ends with a zero and lives as long as it is loaded.
        let words = unsafe { CStr::from_ptr(words) };
        format!("{code} ({})", words.to_string_lossy())
    }

    fn sample(&self, device: Handle, ours: &BTreeSet<u32>) -> GpuSample {
        let processes = self.processes(device);
        // Newer drivers renamed the function; both are there for now.
        let reasons = self
            .of(device, c"nvmlDeviceGetCurrentClocksEventReasons")
            .or_else(|| self.of(device, c"nvmlDeviceGetCurrentClocksThrottleReasons"));
        GpuSample {
            sm_clock_mhz: self.of_kind(device, c"nvmlDeviceGetClockInfo", CLOCK_SM),
            memory_clock_mhz: self.of_kind(device, c"nvmlDeviceGetClockInfo", CLOCK_MEMORY),
            power_mw: self.of(device, c"nvmlDeviceGetPowerUsage"),
            power_limit_mw: self.of(device, c"nvmlDeviceGetEnforcedPowerLimit"),
            energy_mj: self.of(device, c"nvmlDeviceGetTotalEnergyConsumption"),
            temperature_c: self.of_kind(device, c"nvmlDeviceGetTemperature", TEMPERATURE_GPU),
            throttle_reasons: reasons,
            memory_used_bytes: self.memory(device).map(|memory| memory.used),
            busy_percent: self
                .of::<Utilization>(device, c"nvmlDeviceGetUtilizationRates")
                .map(|utilization| utilization.gpu),
            processes: processes.as_ref().and_then(|pids| u32::try_from(pids.len()).ok()),
            foreign_processes: processes.and_then(|pids| foreign(&pids, ours)),
        }
    }

    fn memory(&self, device: Handle) -> Option<Memory> {
        // A driver that hands out more than there is was not understood.
        self.of::<Memory>(device, c"nvmlDeviceGetMemoryInfo").filter(|memory| memory.used <= memory.total)
    }
}

impl GpuProbe for Nvml {
    fn versions(&self) -> (Option<String>, Option<String>) {
        (self.driver(), self.cuda())
    }

    fn devices(&self) -> Vec<GpuDevice> {
        let device = |&device: &Handle| GpuDevice {
            name: self.text_of(device, c"nvmlDeviceGetName"),
            uuid: self.text_of(device, c"nvmlDeviceGetUUID"),
            memory_bytes: self.memory(device).map(|memory| memory.total),
            sm_clock_max_mhz: self.of_kind(device, c"nvmlDeviceGetMaxClockInfo", CLOCK_SM),
        };
        self.devices.iter().map(device).collect()
    }

    fn read(&self, ours: &BTreeSet<u32>) -> Vec<GpuSample> {
        self.devices.iter().map(|&device| self.sample(device, ours)).collect()
    }
}

impl Drop for Nvml {
    fn drop(&mut self) {
        // Nothing can be done about a library that does not shut down.
        self.call(c"nvmlShutdown");
    }
}

/// Why a library cannot be used.
enum Refusal {
    /// There is none of this name: the next may be tried.
    NotFound(String),
    /// It is there and does not work.
    Unusable(String),
}

/// The system's words are in the source of the error; without one, the error's own.
fn in_words(error: &libloading::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// Processes that are not ours. In a container NVML may tell ids of the host, which say nothing here: `None` then.
fn foreign(pids: &[u32], ours: &BTreeSet<u32>) -> Option<u32> {
    let seen = |pid: &u32| std::path::Path::new("/proc").join(pid.to_string()).exists();
    let foreign: Vec<_> = pids.iter().filter(|pid| !ours.contains(pid)).collect();
    foreign.iter().all(|pid| seen(pid)).then(|| u32::try_from(foreign.len()).ok()).flatten()
}

fn until_nul(text: &[u8]) -> Option<String> {
    CStr::from_bytes_until_nul(text).ok().map(|text| text.to_string_lossy().into_owned())
}
