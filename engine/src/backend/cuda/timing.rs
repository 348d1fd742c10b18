//! Time of single kernels on the device: graphs of launches between two events, over more data than the L2 holds.
//!
//! Launches of a graph rotate among copies of what they read, so that each finds it in memory, as the layers of a model
//! do, and not in the L2. What a ceiling is held against is [`read_bandwidth`] of the same process, not a data sheet.
//! Used by `kernels` (for `bench kernels`), by the benchmarks and by the GPU tests' speed tables.

#![expect(clippy::cast_possible_truncation, reason = "sizes of buffers on a device fit its addresses")]

use std::any::Any;
use std::fmt;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::kernel::KernelArgs;
use super::{
    Activations, Attention, AttentionBuffers, AttentionOutput, Buffer, CudaError, Device, DeviceMatrix,
    Graph, KernelSource, Product,
};
use crate::attention::{AttnPlan, AttnShape, KvFormat};
use crate::gguf::GgmlType;

/// Bytes among which launches rotate: several times the L2 of any card.
const ROTATION_BYTES: usize = 400 << 20;
/// Launches of a graph: enough that its start does not show.
const LAUNCHES: usize = 20;
/// Bytes that the probe reads: what the L2 holds of them is a few per cent.
const PROBE_BYTES: usize = 1 << 30;
/// Random rows that a cache or a matrix repeats: what they hold does not matter to the time, but to the power.
const DISTINCT_ROWS: usize = 97;

/// Launches as one graph, with everything they read and write but the rotating copies.
pub struct TimedGraph<'a> {
    device: &'a Device,
    graph: Graph,
    launches: usize,
    _held: Box<dyn Any>,
}

/// Copies of a KV cache of one shape, among which launches rotate.
#[derive(Debug)]
pub struct CacheCopies {
    copies: Vec<[Buffer<u8>; 2]>,
}

/// Copies of a matrix, among which launches rotate.
#[derive(Debug)]
pub struct MatrixCopies {
    copies: Vec<DeviceMatrix>,
}

/// `ProbeArgs` of `read_probe.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct ProbeArgs {
    from: u64,
    out: u64,
    words: i64,
    never: u32,
}

// SAFETY: equal to the kernel's, field for field.
unsafe impl KernelArgs for ProbeArgs {}

impl TimedGraph<'_> {
    /// Microseconds of one launch in each of `replays` replays, after two that are not counted.
    ///
    /// # Errors
    /// The driver's.
    pub fn us_per_launch(&self, replays: usize) -> Result<Vec<f64>, CudaError> {
        for _ in 0..2 {
            self.graph.launch()?;
        }
        let replay = |_| {
            let start = self.device.record()?;
            self.graph.launch()?;
            let end = self.device.record()?;
            Ok(f64::from(start.elapsed_ms(&end)?) * 1e3 / self.launches as f64)
        };
        (0..replays).map(replay).collect()
    }

    /// Queues all launches once.
    ///
    /// # Errors
    /// The driver's.
    pub fn launch(&self) -> Result<(), CudaError> {
        self.graph.launch()
    }

    /// Launches of a replay.
    #[must_use]
    pub const fn launches(&self) -> usize {
        self.launches
    }
}

impl fmt::Debug for TimedGraph<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimedGraph").field("launches", &self.launches).finish_non_exhaustive()
    }
}

impl CacheCopies {
    /// Caches of random rows with the shape's cells and formats.
    ///
    /// # Errors
    /// No memory.
    pub fn new(device: &Device, shape: &AttnShape) -> Result<Self, CudaError> {
        let rows = shape.kv_heads as usize * shape.cells as usize;
        let [k, v] = [shape.k, shape.v].map(|format| cache_bytes(shape.head_dim as usize, rows, format));
        let count = copies(k.len() + v.len());
        let first = [device.upload("cache", &k)?, device.upload("cache", &v)?];
        let mut all = Vec::with_capacity(count);
        for _ in 1..count {
            all.push([twin(device, &first[0])?, twin(device, &first[1])?]);
        }
        all.push(first);
        Ok(Self { copies: all })
    }

    /// Attention and combine of `rows` rows at the end of `kv_len` tokens.
    ///
    /// # Errors
    /// A kernel that does not compile or load, no memory, or the driver's.
    pub fn graph<'a>(
        &'a self,
        device: &'a Device,
        plan: AttnPlan,
        rows: u32,
        kv_len: u32,
    ) -> Result<TimedGraph<'a>, CudaError> {
        let shape = *plan.shape();
        let values = random(rows as usize * shape.heads as usize * shape.head_dim as usize, 0.05, 1);
        let (q, mut out) = (device.upload("queries", &values)?, device.upload("output", &values)?);
        let places = [kv_len, kv_len.saturating_sub(rows)].map(u32::cast_signed);
        let state = device.upload("state", &places)?;
        let attention = Attention::new(device, plan, 1.0)?;
        let launches = LAUNCHES.max(self.copies.len());
        let graph = device.capture(|| {
            self.copies.iter().cycle().take(launches).try_for_each(|[k, v]| {
                let out = AttentionOutput::Values(&mut out);
                attention.launch(device, rows, AttentionBuffers { q: &q, k, v, state: &state, out })
            })
        })?;
        Ok(TimedGraph { device, graph, launches, _held: Box::new((q, out, state, attention)) })
    }
}

impl MatrixCopies {
    /// Matrices `[rows][cols]` of random blocks.
    ///
    /// # Errors
    /// A type without a product, columns that its blocks do not divide, or no memory.
    pub fn new(device: &Device, ty: GgmlType, rows: usize, cols: usize) -> Result<Self, CudaError> {
        let row_bytes = ty.row_bytes(cols as u64).unwrap_or(0) as usize;
        let mut few = vec![0_u8; DISTINCT_ROWS * row_bytes];
        StdRng::seed_from_u64(4).fill(&mut few[..]);
        let mut data = few.repeat(rows.div_ceil(DISTINCT_ROWS));
        data.truncate(rows * row_bytes);
        let upload = |_| DeviceMatrix::upload(device, ty, rows, cols, &data);
        Ok(Self { copies: (0..copies(data.len())).map(upload).collect::<Result<_, _>>()? })
    }

    /// Bytes of one matrix as the kernels read it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.copies.first().map_or(0, DeviceMatrix::bytes)
    }

    /// Products with `m` rows of activations.
    ///
    /// # Errors
    /// A product of another type, a kernel that does not compile or load, no memory, or the driver's.
    pub fn graph<'a>(
        &'a self,
        device: &'a Device,
        product: &Product,
        m: u32,
    ) -> Result<TimedGraph<'a>, CudaError> {
        let [rows, cols] = self.copies.first().map_or([0; 2], |one| [one.rows(), one.cols()]);
        let mut x = Activations::new(device, m as usize, cols)?;
        let values = random(x.rows() * x.stride(), 1.0, 3);
        device.write(x.values_mut(), &values)?;
        x.quantize(device, m)?;
        let mut out: Buffer<f32> = device.zeros("output", m as usize * rows)?;
        let launches = if self.bytes() > ROTATION_BYTES / 4 { 6 } else { LAUNCHES.max(self.copies.len()) };
        let graph = device.capture(|| {
            let rotating = self.copies.iter().cycle().take(launches);
            rotating.into_iter().try_for_each(|one| product.launch(device, one, &x, m, &mut out, 0, rows))
        })?;
        Ok(TimedGraph { device, graph, launches, _held: Box::new((x, out)) })
    }
}

/// Bytes a second of a streaming read of the device's memory: the best of several passes with several grids.
///
/// # Errors
/// No memory, a kernel that does not compile or load, or the driver's.
pub fn read_bandwidth(device: &Device) -> Result<f64, CudaError> {
    let (free, _) = device.memory()?;
    let bytes = PROBE_BYTES.min(free / 2);
    let (from, mut out) = (device.zeros::<u8>("memory to probe", bytes)?, device.zeros::<u32>("sum", 1)?);
    let kernel = device.kernel(KernelSource::ReadProbe, Vec::new(), 0)?;
    let multiprocessors = device.caps().multiprocessors.max(1);
    let mut best = 0.0_f64;
    for blocks in [2, 4, 8, 16, 32].map(|per| per * multiprocessors) {
        let args = ProbeArgs {
            from: from.address(),
            out: out.address(),
            words: (from.len() / 16) as i64,
            // Zeros sum to zero.
            never: 1,
        };
        // SAFETY: the kernel reads `words` words of `from` and writes at most one of `out`; both live until the end.
        let pass = || unsafe { kernel.launch(device, [blocks, 1, 1], 256, false, &args) };
        pass()?;
        for _ in 0..8 {
            let start = device.record()?;
            pass()?;
            let end = device.record()?;
            let seconds = f64::from(start.elapsed_ms(&end)?) / 1e3;
            best = best.max(bytes as f64 / seconds);
        }
    }
    // Written by nothing, read by nobody: it had to live as long as the launches.
    device.write(&mut out, &[0])?;
    Ok(best)
}

/// Copies that fill the rotation; one that is larger than it evicts itself.
fn copies(bytes: usize) -> usize {
    if bytes >= ROTATION_BYTES { 1 } else { ROTATION_BYTES.div_ceil(bytes.max(1)).clamp(2, 100) }
}

fn cache_bytes(head_dim: usize, rows: usize, format: KvFormat) -> Vec<u8> {
    let few: Vec<u8> = random(DISTINCT_ROWS * head_dim, 1.0, 2)
        .chunks(head_dim)
        .flat_map(|row| format.encode(row))
        .collect();
    let mut cache = few.repeat(rows.div_ceil(DISTINCT_ROWS));
    cache.truncate(rows * format.row_bytes(head_dim));
    cache
}

fn twin(device: &Device, of: &Buffer<u8>) -> Result<Buffer<u8>, CudaError> {
    let mut copy = device.zeros("cache", of.len())?;
    device.copy(of, 0..of.len(), &mut copy, 0)?;
    Ok(copy)
}

/// Uniform in `-size..size`.
fn random(len: usize, size: f32, seed: u64) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..len).map(|_| rng.random_range(-size..size)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_more_than_an_l2_holds_and_at_least_two_of_what_fits() {
        assert_eq!(copies(ROTATION_BYTES), 1);
        assert_eq!(copies(ROTATION_BYTES - 1), 2);
        assert_eq!(copies(ROTATION_BYTES / 10), 10);
        assert_eq!(copies(1), 100);
    }

    #[test]
    fn a_cache_has_the_bytes_of_its_rows() {
        let turbo = KvFormat::Turbo(crate::kv_cache::turbo::TurboType::Turbo3);
        assert_eq!(cache_bytes(256, 1000, turbo).len(), 1000 * turbo.row_bytes(256));
        assert_eq!(cache_bytes(256, 3, KvFormat::F16).len(), 3 * 512);
    }
}
