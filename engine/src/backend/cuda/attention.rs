//! Launching what `attention::plan` chose: attention with its combine step, and the write of new keys and values.
//!
//! The lengths are read on the device from `state` = `[kv_len, first_pos]`, and so are the rows of a tree behind them
//! (`TreeMask::state`): a captured graph serves every length and every tree.

use std::sync::Arc;

use super::activations::{ActivationRows, Activations};
use super::kernel::{Kernel, KernelArgs};
use super::{Buffer, CudaError, Device, KernelSource};
use crate::attention::{AttnPlan, AttnShape, KvFormat, Mask, VERIFY_ROWS};

/// One layer's attention, ready to launch.
#[derive(Debug)]
pub struct Attention {
    plan: AttnPlan,
    kernel: Arc<Kernel>,
    combine: Arc<Kernel>,
    partial: Buffer<f32>,
    statistics: Buffer<f32>,
    scale: f32,
}

/// What one launch reads and writes.
#[derive(Debug)]
pub struct AttentionBuffers<'a> {
    /// `[q_rows][heads][head_dim]`, normed and rotated by position.
    pub q: &'a Buffer<f32>,
    /// `[kv_heads][cells]` rows of the plan's key format.
    pub k: &'a Buffer<u8>,
    /// `[kv_heads][cells]` rows of the plan's value format.
    pub v: &'a Buffer<u8>,
    /// `[kv_len, first_pos]`: keys cached, and the position of query row 0; with a tree mask
    /// [`TreeMask::state`](crate::attention::TreeMask::state).
    pub state: &'a Buffer<i32>,
    /// `[q_rows][heads][head_dim]`
    pub out: AttentionOutput<'a>,
}

/// Where the output of attention goes.
#[derive(Debug)]
pub enum AttentionOutput<'a> {
    /// In f32.
    Values(&'a mut Buffer<f32>),
    /// As a product reads it: a row has all heads. `head_dim` must be a multiple of 32.
    Activations(&'a mut Activations),
}

/// `AttentionArgs` of the kernels.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct AttentionArgs {
    q: u64,
    k: u64,
    v: u64,
    part_out: u64,
    part_stat: u64,
    state: u64,
    k_head_stride: i64,
    v_head_stride: i64,
    k_table: [u32; 4],
    v_table: [u32; 4],
    q_rows: u32,
    ratio: u32,
    kv_heads: u32,
    cells: u32,
    window: u32,
    head_dim: u32,
    k_format: u32,
    v_format: u32,
    scale_log2: f32,
    ratio_inverse: u32,
    chunk: u32,
}

// SAFETY: equal to `AttentionArgs` of attention_common.cuh, field for field; u32 stands for its ints, which are small.
unsafe impl KernelArgs for AttentionArgs {}

/// `CombineArgs` of `attention_combine.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct CombineArgs {
    part_out: u64,
    part_stat: u64,
    out: u64,
    x: ActivationRows,
    columns: u32,
    splits: u32,
    width: u32,
    head_dim: u32,
    rotated: u32,
    heads: u32,
}

// SAFETY: equal to the kernel's, field for field.
unsafe impl KernelArgs for CombineArgs {}

impl Attention {
    /// Compiles (or finds) the plan's kernels and makes room for partial results.
    ///
    /// # Errors
    /// A kernel that does not compile or load, or no memory.
    pub fn new(device: &Device, plan: AttnPlan, scale: f32) -> Result<Self, CudaError> {
        let (row, shape) = (plan.instance(), plan.shape());
        let source = KernelSource::attention(row.path);
        let (dynamic, _) = row.shared_bytes(shape.k, shape.v);
        let (outputs, statistics) = plan.scratch();
        let combine = if few_splits(&plan) { vec!["-DFEW_SPLITS".to_owned()] } else { Vec::new() };
        let mut defines = row.defines(shape.k, shape.v);
        defines.extend(shape.mask.define().map(str::to_owned));
        Ok(Self {
            plan,
            kernel: device.kernel(source, defines, dynamic)?,
            combine: device.kernel(KernelSource::AttentionCombine, combine, 0)?,
            partial: device.zeros("partial results of attention", outputs)?,
            statistics: device.zeros("partial results of attention", statistics)?,
            scale,
        })
    }

    /// The plan.
    #[must_use]
    pub const fn plan(&self) -> &AttnPlan {
        &self.plan
    }

    /// Queues attention and combine of the first `rows` query rows, at most the shape's.
    ///
    /// # Errors
    /// More rows, a buffer that is too small for the shape, or the driver's.
    pub fn launch(&self, device: &Device, rows: u32, buffers: AttentionBuffers<'_>) -> Result<(), CudaError> {
        let AttentionBuffers { q, k, v, state, out } = buffers;
        at_least("query rows of the plan", self.plan.shape().q_rows as usize, rows as usize)?;
        let shape = AttnShape { q_rows: rows, ..*self.plan.shape() };
        let values = shape.q_rows as usize * shape.heads as usize * shape.head_dim as usize;
        at_least("queries", q.len(), values)?;
        let (out, x) = match out {
            AttentionOutput::Values(out) => {
                at_least("output of attention", out.len(), values)?;
                (out.address(), ActivationRows::NONE)
            }
            AttentionOutput::Activations(x) => {
                let row = shape.heads as usize * shape.head_dim as usize;
                at_least("rows of activations", x.rows(), rows as usize)?;
                if x.stride() != row || !shape.head_dim.is_multiple_of(32) {
                    let (what, got) = ("row of activations", x.stride());
                    return Err(CudaError::BufferSize { what, got, expected: row.next_multiple_of(32) });
                }
                (0, x.arg())
            }
        };
        let of_rows = match shape.mask {
            Mask::Causal => 0,
            Mask::Tree => 2 * shape.q_rows as usize,
        };
        at_least("state", state.len(), 2 + of_rows)?;
        let (k_bytes, v_bytes) = (head_bytes(&shape, shape.k), head_bytes(&shape, shape.v));
        at_least("bytes of the key cache", k.len(), k_bytes * shape.kv_heads as usize)?;
        at_least("bytes of the value cache", v.len(), v_bytes * shape.kv_heads as usize)?;
        let args = AttentionArgs {
            q: q.address(),
            k: k.address(),
            v: v.address(),
            part_out: self.partial.address(),
            part_stat: self.statistics.address(),
            state: state.address(),
            k_head_stride: k_bytes as i64,
            v_head_stride: v_bytes as i64,
            k_table: shape.k.table(),
            v_table: shape.v.table(),
            q_rows: shape.q_rows,
            ratio: shape.gqa_ratio(),
            kv_heads: shape.kv_heads,
            cells: shape.cells,
            window: shape.window.map_or(0, std::num::NonZeroU32::get),
            head_dim: shape.head_dim,
            k_format: shape.k.code(),
            v_format: shape.v.code(),
            scale_log2: self.scale * std::f32::consts::LOG2_E,
            ratio_inverse: inverse(shape.gqa_ratio()),
            chunk: self.plan.least_chunk(),
        };
        let threads = self.plan.instance().threads();
        // SAFETY: sizes were checked above, and the scratch is the plan's own.
        unsafe { self.kernel.launch(device, self.plan.grid(rows), threads, true, &args) }?;
        let combine = CombineArgs {
            part_out: self.partial.address(),
            part_stat: self.statistics.address(),
            out,
            x,
            columns: shape.q_rows * shape.heads,
            splits: self.plan.splits(),
            width: self.plan.partial_width(),
            head_dim: shape.head_dim,
            rotated: u32::from(shape.v.is_turbo()),
            heads: shape.heads,
        };
        let groups = self.plan.partial_width().div_ceil(128);
        let (grid, threads) = if few_splits(&self.plan) {
            ([(combine.columns * groups).div_ceil(8), 1, 1], 256)
        } else {
            ([combine.columns, groups, 1], 512)
        };
        // SAFETY: as above.
        unsafe { self.combine.launch(device, grid, threads, true, &combine) }
    }
}

/// Writes new keys and values of one layer into its cache.
#[derive(Debug)]
pub struct KvWriter {
    kernel: Arc<Kernel>,
    shape: AttnShape,
}

/// What one write reads and writes.
#[derive(Debug)]
pub struct KvRows<'a> {
    /// Keys of `rows` tokens, `[rows][kv_heads][head_dim]`.
    pub k: &'a Buffer<f32>,
    /// Values, alike.
    pub v: &'a Buffer<f32>,
    /// Tokens.
    pub rows: u32,
    /// `[kv_len, first_pos]`: row i goes to position `first_pos + i`.
    pub state: &'a Buffer<i32>,
    /// The layer's keys.
    pub k_cache: &'a mut Buffer<u8>,
    /// The layer's values.
    pub v_cache: &'a mut Buffer<u8>,
}

/// `KvWriteArgs` of `kv_write.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct KvWriteArgs {
    x: [u64; 2],
    cache: [u64; 2],
    state: u64,
    head_stride: [i64; 2],
    centroids: [[f32; 16]; 2],
    thresholds: [[f32; 15]; 2],
    format: [u32; 2],
    kv_heads: u32,
    head_dim: u32,
    cells: u32,
}

// SAFETY: equal to the kernel's, field for field.
unsafe impl KernelArgs for KvWriteArgs {}

impl KvWriter {
    /// Compiles (or finds) the kernel for a layer of this shape.
    ///
    /// # Errors
    /// A kernel that does not compile or load.
    pub fn new(device: &Device, shape: AttnShape) -> Result<Self, CudaError> {
        Ok(Self { kernel: device.kernel(KernelSource::KvWrite, Vec::new(), 0)?, shape })
    }

    /// Queues the write.
    ///
    /// # Errors
    /// A buffer that is too small, or the driver's.
    pub fn launch(&self, device: &Device, rows: KvRows<'_>) -> Result<(), CudaError> {
        let KvRows { k, v, rows, state, k_cache, v_cache } = rows;
        let shape = &self.shape;
        let values = rows as usize * shape.kv_heads as usize * shape.head_dim as usize;
        at_least("keys to write", k.len(), values)?;
        at_least("values to write", v.len(), values)?;
        at_least("state", state.len(), 2)?;
        let (k_bytes, v_bytes) = (head_bytes(shape, shape.k), head_bytes(shape, shape.v));
        at_least("bytes of the key cache", k_cache.len(), k_bytes * shape.kv_heads as usize)?;
        at_least("bytes of the value cache", v_cache.len(), v_bytes * shape.kv_heads as usize)?;
        let (k_levels, v_levels) = (levels(shape.k), levels(shape.v));
        let args = KvWriteArgs {
            x: [k.address(), v.address()],
            cache: [k_cache.address(), v_cache.address()],
            state: state.address(),
            head_stride: [k_bytes as i64, v_bytes as i64],
            centroids: [k_levels.0, v_levels.0],
            thresholds: [k_levels.1, v_levels.1],
            format: [shape.k.code(), shape.v.code()],
            kv_heads: shape.kv_heads,
            head_dim: shape.head_dim,
            cells: shape.cells,
        };
        // SAFETY: sizes were checked above.
        unsafe { self.kernel.launch(device, [rows, shape.kv_heads, 2], 128, false, &args) }
    }
}

/// Whether a warp a column joins the splits, instead of a block: pays where there are many columns. Steps of up to
/// [`VERIFY_ROWS`] rows sum in one order.
fn few_splits(plan: &AttnPlan) -> bool {
    plan.shape().q_rows > VERIFY_ROWS && plan.splits() <= 32
}

/// ceil(2^32 / ratio), by which the kernels divide; 0 for ratio 1.
fn inverse(ratio: u32) -> u32 {
    u32::try_from((1_u64 << 32).div_ceil(u64::from(ratio))).unwrap_or(0)
}

/// Bytes of one KV head's cells.
const fn head_bytes(shape: &AttnShape, format: KvFormat) -> usize {
    shape.cells as usize * format.row_bytes(shape.head_dim as usize)
}

/// Centroids and thresholds, filled up with zeros.
fn levels(format: KvFormat) -> ([f32; 16], [f32; 15]) {
    let (mut centroids, mut thresholds) = ([0.0; 16], [0.0; 15]);
    if let KvFormat::Turbo(ty) = format {
        centroids[..ty.centroids().len()].copy_from_slice(ty.centroids());
        thresholds[..ty.thresholds().len()].copy_from_slice(ty.thresholds());
    }
    (centroids, thresholds)
}

const fn at_least(what: &'static str, got: usize, expected: usize) -> Result<(), CudaError> {
    if got < expected { Err(CudaError::BufferSize { what, got, expected }) } else { Ok(()) }
}
