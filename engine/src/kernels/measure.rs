//! Speed of cases on the GPU here, beside the read bandwidth that the same process found.
//!
//! Invariant: what a case could not be measured by is said in its row; only a lost device ends the whole.

use serde::Serialize;

use super::{Case, Planned, Times, planned};
use crate::EngineError;
use crate::attention::{AttnShape, DeviceCaps, plan_verify};
use crate::backend::cuda::{
    CacheCopies, CudaError, Device, MatrixCopies, Product, nvrtc_version, read_bandwidth,
};
use crate::gguf::GgmlType;

/// Replays of a case's graph.
const REPLAYS: usize = 20;

/// The GPU that was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MeasuredGpu {
    /// The vendor's name.
    pub name: String,
    /// Compute capability times ten: 90 for 9.0.
    pub compute: u32,
    /// Multiprocessors.
    pub multiprocessors: u32,
    /// Most shared memory of a block, in bytes.
    pub shared_per_block: u32,
    /// Version of the run-time compiler.
    pub nvrtc: (i32, i32),
    /// What a streaming read of its memory reaches, in GB/s (10^9 bytes).
    pub read_gb_per_s: f64,
}

/// One measured case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// [`Case::name`].
    pub name: String,
    /// What was measured.
    #[serde(flatten)]
    pub case: Case,
    /// Times, or why there are none.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It ran.
    Measured {
        /// The kernel that ran.
        #[serde(flatten)]
        planned: Planned,
        /// Microseconds of a launch; attention with its combine step.
        #[serde(flatten)]
        times: Times,
        /// Bytes of cache rows or weights that it cannot but read.
        bytes: u64,
        /// Those over the median.
        gb_per_s: f64,
        /// The same over [`MeasuredGpu::read_gb_per_s`]; beyond 1 where the data stays in L2.
        share_of_read: f64,
    },
    /// It did not run.
    Skipped {
        /// Why.
        why: String,
    },
}

/// An open GPU with its probe, and what the last case left on it for the next.
#[derive(Debug)]
pub struct Session {
    device: Device,
    gpu: MeasuredGpu,
    caches: Option<(AttnShape, CacheCopies)>,
    matrices: Option<Matrices>,
}

/// Type, rows, columns.
type MatrixKey = (GgmlType, usize, usize);

#[derive(Debug)]
struct Matrices {
    key: MatrixKey,
    copies: MatrixCopies,
    product: Product,
}

/// Name and abilities of the first GPU, for plans; asks the driver alone.
///
/// # Errors
/// No driver, no GPU, or the driver's.
pub fn gpu_here() -> Result<(String, DeviceCaps), EngineError> {
    let device = Device::open(0)?;
    Ok((device.name().to_owned(), *device.caps()))
}

impl Session {
    /// Opens the first GPU and probes its memory.
    ///
    /// # Errors
    /// No driver, no NVRTC, no GPU, or the driver's; hints say what to install.
    pub fn open() -> Result<Self, EngineError> {
        // A missing driver is the nearer reason where both are missing.
        Device::count()?;
        let nvrtc = nvrtc_version()?;
        let device = Device::open(0)?;
        let DeviceCaps { compute, multiprocessors, shared_per_block, .. } = *device.caps();
        let read_gb_per_s = read_bandwidth(&device)? / 1e9;
        let name = device.name().to_owned();
        let gpu = MeasuredGpu { name, compute, multiprocessors, shared_per_block, nvrtc, read_gb_per_s };
        Ok(Self { device, gpu, caches: None, matrices: None })
    }

    /// The GPU and its probe.
    #[must_use]
    pub const fn gpu(&self) -> &MeasuredGpu {
        &self.gpu
    }

    /// What the plan of a case depends on.
    #[must_use]
    pub const fn caps(&self) -> &DeviceCaps {
        self.device.caps()
    }

    /// Measures one case. Cases of the same cache or matrix, one after the other, share it.
    ///
    /// # Errors
    /// A device that answers no more; anything else is [`Outcome::Skipped`].
    pub fn measure(&mut self, case: &Case) -> Result<Measured, EngineError> {
        let outcome = match planned(case, self.caps()) {
            Err(why) => Outcome::Skipped { why },
            Ok(planned) => match self.times(case) {
                Ok((samples, bytes)) => self.outcome(planned, samples, bytes),
                Err(error) if error.is_fatal() => return Err(error.into()),
                Err(error) => Outcome::Skipped { why: error.to_string() },
            },
        };
        Ok(Measured { name: case.name(), case: case.clone(), outcome })
    }

    fn outcome(&self, planned: Planned, samples: Vec<f64>, bytes: u64) -> Outcome {
        let Some(times) = Times::of(samples) else {
            return Outcome::Skipped { why: "no repeat was measured".to_owned() };
        };
        let gb_per_s = times.gb_per_s(bytes);
        let share_of_read = gb_per_s / self.gpu.read_gb_per_s;
        Outcome::Measured { planned, times, bytes, gb_per_s, share_of_read }
    }

    /// Microseconds a launch, and the bytes that it reads.
    fn times(&mut self, case: &Case) -> Result<(Vec<f64>, u64), CudaError> {
        let device = &self.device;
        match case {
            Case::Attention(case) => {
                self.matrices = None;
                let plan = plan_verify(&case.shape, device.caps(), |_| true)?;
                // What is held goes before the next is made: both may not fit.
                let held = self.caches.take().filter(|(shape, _)| *shape == case.shape);
                let (_, copies) = match held {
                    Some(held) => self.caches.insert(held),
                    None => self.caches.insert((case.shape, CacheCopies::new(device, &case.shape)?)),
                };
                let graph = copies.graph(device, plan, case.rows, case.kv_len)?;
                Ok((graph.us_per_launch(REPLAYS)?, case.bytes()))
            }
            Case::Product(case) => {
                self.caches = None;
                let key = (case.ty, case.out_features, case.in_features);
                let held = self.matrices.take().filter(|held| held.key == key);
                let Matrices { copies, product, .. } = match held {
                    Some(held) => self.matrices.insert(held),
                    None => self.matrices.insert(Matrices::new(device, key)?),
                };
                let graph = copies.graph(device, product, case.rows)?;
                Ok((graph.us_per_launch(REPLAYS)?, copies.bytes() as u64))
            }
        }
    }
}

impl Matrices {
    fn new(device: &Device, key: MatrixKey) -> Result<Self, CudaError> {
        let (ty, rows, cols) = key;
        Ok(Self {
            key,
            copies: MatrixCopies::new(device, ty, rows, cols)?,
            product: Product::new(device, ty)?,
        })
    }
}
