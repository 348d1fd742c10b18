//! The machine's state before, during and after a run: `environment.jsonl`, and what it says of a span of time.
//!
//! Samples hold counters as the system counts them, since its start, and never ratios: what happened in a span is the
//! difference of two readings, for any span. What the system does not tell is `None`, never 0. The sampler reads at a
//! low rate on a thread of its own, and never in the path of a stream.

mod file;
mod gpu;
mod nvml;
mod proc;
mod sampler;
mod span;

use serde::{Deserialize, Serialize};

pub use self::file::{EnvironmentRead, parse_environment, read_environment};
pub use self::gpu::{GpuProbe, throttle_words};
pub use self::nvml::{NVML_LIBRARIES, Nvml};
pub use self::sampler::{Sampler, SamplerSettings};
pub use self::span::{GpuSpan, Span, Timeline};

/// Version of `environment.jsonl`, raised when a field changes its meaning.
pub const ENVIRONMENT_SCHEMA: u32 = 1;

/// One line of `environment.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum EnvironmentLine {
    /// What does not change; once.
    Head(EnvironmentHead),
    /// One reading.
    Sample(Box<EnvironmentSample>),
}

/// What does not change while a run lasts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnvironmentHead {
    /// Always [`ENVIRONMENT_SCHEMA`].
    pub schema: u32,
    /// Time between two readings at first; it doubles after every hour's worth of them.
    pub interval_ms: u64,
    /// Logical CPUs.
    pub cpu_count: Option<u32>,
    /// The GPUs, or why none can be read.
    pub gpu: GpuHost,
}

/// What NVML says of the machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "nvml", rename_all = "snake_case")]
pub enum GpuHost {
    /// It answers.
    Present {
        /// Version of the driver.
        driver: Option<String>,
        /// CUDA version that the driver offers: `12.8`.
        cuda: Option<String>,
        /// All GPUs that are visible here.
        devices: Vec<GpuDevice>,
    },
    /// It does not.
    Absent {
        /// Why, as the system words it.
        reason: String,
    },
}

/// One GPU, as far as it does not change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GpuDevice {
    /// Its name.
    pub name: Option<String>,
    /// Its UUID.
    pub uuid: Option<String>,
    /// Its memory.
    pub memory_bytes: Option<u64>,
    /// The highest clock of its multiprocessors.
    pub sm_clock_max_mhz: Option<u32>,
}

/// When a reading was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// Before the first request.
    Before,
    /// From the first request to the last.
    During,
    /// After the last.
    After,
}

/// One reading. Counters run since the machine started, unless said otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnvironmentSample {
    /// Milliseconds since 1970, the clock of the rows.
    pub at_unix_ms: u64,
    /// Before, during or after the requests.
    pub moment: Moment,
    /// CPU time of all CPUs.
    pub cpu: Option<CpuTimes>,
    /// CPU time of this process and of all that it started, since their starts.
    pub ours_cpu_ms: Option<u64>,
    /// Memory of the same, resident.
    pub ours_memory_bytes: Option<u64>,
    /// Mean clock of the CPUs; of a virtual machine it may be a constant.
    pub cpu_mhz: Option<f64>,
    /// Load average of one minute.
    pub load_1m: Option<f64>,
    /// Memory that could be had without swapping.
    pub memory_available_bytes: Option<u64>,
    /// Context switches of the machine.
    pub context_switches: Option<u64>,
    /// Times this process had to give its CPU away, since its start.
    pub ours_preempted: Option<u64>,
    /// Stalls of the machine.
    pub pressure: Option<Pressure>,
    /// Stalls of our control group, where it is not the root.
    pub group_pressure: Option<Pressure>,
    /// Time in which our control group was kept from running by its quota.
    pub group_throttled_us: Option<u64>,
    /// The GPUs in the order of [`GpuHost::Present`]; `None` where NVML is absent or not open yet.
    pub gpus: Option<Vec<GpuSample>>,
}

/// CPU time of all CPUs, summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuTimes {
    /// Anything but idle and stolen.
    pub busy_ms: u64,
    /// Idle, waiting for disks included.
    pub idle_ms: u64,
    /// Taken by the hypervisor.
    pub steal_ms: u64,
}

/// Pressure stall information: time in which some task waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pressure {
    /// Some task waited for a CPU, microseconds.
    pub cpu_some_us: Option<u64>,
    /// Some task waited for memory.
    pub memory_some_us: Option<u64>,
    /// Some task waited for a disk.
    pub io_some_us: Option<u64>,
}

/// One reading of one GPU.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GpuSample {
    /// Clock of the multiprocessors.
    pub sm_clock_mhz: Option<u32>,
    /// Clock of the memory.
    pub memory_clock_mhz: Option<u32>,
    /// Power drawn.
    pub power_mw: Option<u32>,
    /// The power cap in force.
    pub power_limit_mw: Option<u32>,
    /// Energy since the driver was loaded.
    pub energy_mj: Option<u64>,
    /// Temperature of the chip.
    pub temperature_c: Option<u32>,
    /// NVML's bit mask of reasons not to run at full clock; [`throttle_words`] reads it.
    pub throttle_reasons: Option<u64>,
    /// Memory in use, by anybody.
    pub memory_used_bytes: Option<u64>,
    /// Share of the last moment in which a kernel ran, per cent.
    pub busy_percent: Option<u32>,
    /// Compute processes on it.
    pub processes: Option<u32>,
    /// Those that are not ours; `None` if some process is of a name space that cannot be seen from here.
    pub foreign_processes: Option<u32>,
}
