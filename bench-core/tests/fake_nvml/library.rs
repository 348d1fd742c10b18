//! A small NVML with two planted GPUs, compiled by the test `nvml` into a dynamic library: the first tells everything,
//! the second nothing but its name. No crate: `rustc` alone makes it.

use std::ffi::{c_char, c_int, c_uint, c_void};

const SUCCESS: c_int = 0;
const NOT_SUPPORTED: c_int = 3;

#[repr(C)]
pub struct Memory {
    total: u64,
    free: u64,
    used: u64,
}

#[repr(C)]
pub struct Utilization {
    gpu: c_uint,
    memory: c_uint,
}

#[repr(C)]
pub struct ProcessInfo {
    pid: c_uint,
    used_memory: u64,
    gpu_instance: c_uint,
    compute_instance: c_uint,
}

fn is_first(device: *mut c_void) -> bool {
    device as usize == 1
}

fn copy(text: &str, to: *mut c_char, length: c_uint) -> c_int {
    assert!(text.len() < length as usize);
    for (index, byte) in text.bytes().chain([0]).enumerate() {
        unsafe { *to.add(index) = byte as c_char };
    }
    SUCCESS
}

fn put<T>(device: *mut c_void, to: *mut T, value: T) -> c_int {
    if !is_first(device) {
        return NOT_SUPPORTED;
    }
    unsafe { to.write(value) };
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit_v2() -> c_int {
    if std::env::var_os("FAKE_NVML_REFUSES").is_some() { 9 } else { SUCCESS }
}
#[unsafe(no_mangle)]
pub extern "C" fn nvmlShutdown() -> c_int {
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn nvmlErrorString(code: c_int) -> *const c_char {
    if code == 9 { c"Driver Not Loaded".as_ptr() } else { c"?".as_ptr() }
}
#[unsafe(no_mangle)]
pub extern "C" fn nvmlSystemGetDriverVersion(to: *mut c_char, length: c_uint) -> c_int {
    copy("570.86.15", to, length)
}
#[unsafe(no_mangle)]
pub extern "C" fn nvmlSystemGetCudaDriverVersion_v2(to: *mut c_int) -> c_int {
    unsafe { to.write(12080) };
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetCount_v2(to: *mut c_uint) -> c_int {
    unsafe { to.write(2) };
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, to: *mut *mut c_void) -> c_int {
    unsafe { to.write((index as usize + 1) as *mut c_void) };
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetName(device: *mut c_void, to: *mut c_char, length: c_uint) -> c_int {
    copy(if is_first(device) { "Planted GPU" } else { "Silent GPU" }, to, length)
}
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetUUID(device: *mut c_void, to: *mut c_char, length: c_uint) -> c_int {
    if is_first(device) { copy("GPU-1234", to, length) } else { NOT_SUPPORTED }
}
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetMemoryInfo(device: *mut c_void, to: *mut Memory) -> c_int {
    put(device, to, Memory { total: 1 << 37, free: (1 << 37) - (1 << 30), used: 1 << 30 })
}
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetMaxClockInfo(device: *mut c_void, kind: c_uint, to: *mut c_uint) -> c_int {
    put(device, to, if kind == 1 { 1980 } else { 0 })
}
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetClockInfo(device: *mut c_void, kind: c_uint, to: *mut c_uint) -> c_int {
    put(device, to, if kind == 1 { 1755 } else { 3201 })
}
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetPowerUsage(device: *mut c_void, to: *mut c_uint) -> c_int {
    put(device, to, 412_500)
}
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetEnforcedPowerLimit(device: *mut c_void, to: *mut c_uint) -> c_int {
    put(device, to, 700_000)
}
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetTotalEnergyConsumption(device: *mut c_void, to: *mut u64) -> c_int {
    put(device, to, 5_000_000_000)
}
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetTemperature(device: *mut c_void, _sensor: c_uint, to: *mut c_uint) -> c_int {
    put(device, to, 61)
}
/// The older name: newer drivers have both, and this one lacks the newer.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetCurrentClocksThrottleReasons(device: *mut c_void, to: *mut u64) -> c_int {
    put(device, to, 0x4)
}
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetUtilizationRates(device: *mut c_void, to: *mut Utilization) -> c_int {
    put(device, to, Utilization { gpu: 97, memory: 55 })
}
/// Process 1 exists everywhere and is not the test's; the second is the test itself.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetComputeRunningProcesses_v3(
    device: *mut c_void,
    count: *mut c_uint,
    infos: *mut ProcessInfo,
) -> c_int {
    if !is_first(device) {
        return NOT_SUPPORTED;
    }
    assert!(unsafe { *count } >= 2);
    for (index, pid) in [1, std::process::id()].into_iter().enumerate() {
        let info = ProcessInfo { pid, used_memory: 1 << 20, gpu_instance: 0, compute_instance: 0 };
        unsafe { infos.add(index).write(info) };
    }
    unsafe { *count = 2 };
    SUCCESS
}
