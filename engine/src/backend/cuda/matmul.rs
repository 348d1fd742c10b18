//! Products of a packed matrix with rows of activations.
//!
//! Up to [`SMALL_M`] rows go through one pass over the weights, in which a row's bits depend neither on how many rows
//! there are nor on the others. A launch allocates nothing and asks the host nothing, so it can be captured.

#![expect(clippy::cast_possible_truncation, reason = "sizes of matrices are checked when they are uploaded")]

use std::sync::Arc;

use super::activations::Activations;
use super::kernel::{Kernel, KernelArgs};
use super::packed::{PackedLayout, TILE_ROWS};
use super::{Buffer, CudaError, Device, DeviceMatrix, KernelSource};
use crate::attention::DeviceCaps;
use crate::gguf::GgmlType;

/// Rows of activations that share one pass over the weights.
pub const SMALL_M: u32 = 8;
/// Warps of a block of the small kernel, at most.
const MOST_WARPS: usize = 10;
/// Depth of the ring of blocks with many tiles.
const SHALLOW: usize = 2;

/// Blocks of the small kernel on a multiprocessor: their weights under way are more than the memory needs to be busy.
pub(super) const SMALL_BLOCKS: u32 = 2;
/// Rows of weights and of activations of a block of the tiled kernel.
const TILED_ROWS: u32 = 128;
const TILED_COLUMNS: u32 = 64;

/// The compiled kernels of one type of weights.
#[derive(Debug)]
pub struct Product {
    layout: PackedLayout,
    /// For blocks with many tiles, of which the next fills the gap that one leaves.
    shallow: Small,
    /// For blocks with one long tile.
    deep: Small,
    tiled: Arc<Kernel>,
}

/// How a product of up to [`SMALL_M`] rows is launched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SmallPlan {
    /// Blocks.
    pub blocks: u32,
    /// Warps of a block.
    pub warps: u32,
    /// Groups of weights that a warp has under way.
    pub depth: usize,
    /// Shared memory of a block, in bytes.
    pub shared_bytes: u32,
}

/// The plan of a matrix `[rows][cols]` on a device, as [`Product::launch`] makes it.
///
/// # Errors
/// A type without a product, or a device older than compute capability 8.0.
pub fn plan_small(ty: GgmlType, rows: usize, cols: usize, caps: &DeviceCaps) -> Result<SmallPlan, CudaError> {
    let layout = PackedLayout::of(ty)?;
    supported(caps)?;
    Ok(layout.plan_small(rows, cols.div_ceil(layout.group_cols), caps))
}

impl PackedLayout {
    fn plan_small(&self, rows: usize, groups: usize, caps: &DeviceCaps) -> SmallPlan {
        let tiles = rows.div_ceil(TILE_ROWS) as u32;
        let blocks = tiles.min(SMALL_BLOCKS * caps.multiprocessors.max(1));
        let warps = warps(groups) as u32;
        // Depth changes no order of sums, so it may depend on the device.
        let one_long_tile = tiles == blocks && groups.div_ceil(warps as usize) > SHALLOW;
        let depth = if one_long_tile { self.ring_depth(caps.shared_per_block, MOST_WARPS) } else { SHALLOW };
        SmallPlan { blocks, warps, depth, shared_bytes: warps * self.ring_bytes(depth) }
    }
}

/// Kernels of products need asynchronous copies and tensor cores for codes.
fn supported(caps: &DeviceCaps) -> Result<(), CudaError> {
    if caps.compute < 80 { Err(CudaError::TooOld { compute: caps.compute }) } else { Ok(()) }
}

/// The small kernel with rings of one depth.
#[derive(Debug)]
pub(super) struct Small {
    pub(super) kernel: Arc<Kernel>,
    /// Shared memory of a warp.
    pub(super) ring_bytes: u32,
}

/// `ProductArgs` of `matmul_common.cuh`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct ProductArgs {
    pub(super) groups_at: u64,
    pub(super) supers_at: u64,
    pub(super) values: u64,
    pub(super) codes: u64,
    pub(super) scales: u64,
    pub(super) sums: u64,
    pub(super) out: u64,
    pub(super) stride: i64,
    pub(super) out_stride: i64,
    pub(super) rows: u32,
    pub(super) groups: u32,
    pub(super) m: u32,
}

// SAFETY: equal to the kernels', field for field; u32 stands for their ints, which are small.
unsafe impl KernelArgs for ProductArgs {}

impl Product {
    /// Compiles (or finds) the kernels of a type.
    ///
    /// # Errors
    /// A type without a product, a GPU older than compute capability 8.0, or a kernel that does not compile or load.
    pub fn new(device: &Device, ty: GgmlType) -> Result<Self, CudaError> {
        let layout = PackedLayout::of(ty)?;
        supported(device.caps())?;
        let most = layout.ring_depth(device.caps().shared_per_block, MOST_WARPS);
        let small = |depth| Small::new(device, &layout, depth, &[]);
        let (shallow, deep) = (small(SHALLOW)?, small(most)?);
        let tiled =
            device.kernel(KernelSource::MatmulTiled, vec![layout.define()], layout.tiled_shared_bytes())?;
        Ok(Self { layout, shallow, deep, tiled })
    }

    /// Queues `out[out_offset + r * out_stride + i] = sum_c matrix[i][c] x[r][c]` for the first `m` rows of `x`.
    ///
    /// # Errors
    /// A matrix of another type, sizes that do not fit, or the driver's.
    #[expect(clippy::too_many_arguments, reason = "a product has this many operands and sizes")]
    pub fn launch(
        &self,
        device: &Device,
        matrix: &DeviceMatrix,
        x: &Activations,
        m: u32,
        out: &mut Buffer<f32>,
        out_offset: usize,
        out_stride: usize,
    ) -> Result<(), CudaError> {
        self.check(matrix, x, m)?;
        let last = out_offset + (m as usize).saturating_sub(1) * out_stride + matrix.rows();
        if out.len() < last {
            let (got, expected) = (out.len(), last);
            return Err(CudaError::BufferSize { what: "output of a product", got, expected });
        }
        let rows = x.arg();
        let args = ProductArgs {
            values: rows.values,
            codes: rows.codes,
            scales: rows.scales,
            sums: rows.sums,
            out: out.address() + 4 * out_offset as u64,
            stride: rows.stride,
            out_stride: out_stride as i64,
            m,
            ..ProductArgs::of_table(matrix)
        };
        if m <= SMALL_M { self.launch_small(device, &args) } else { self.launch_tiled(device, &args) }
    }

    fn launch_small(&self, device: &Device, args: &ProductArgs) -> Result<(), CudaError> {
        let SmallPlan { blocks, warps, depth, shared_bytes } =
            self.layout.plan_small(args.rows as usize, args.groups as usize, device.caps());
        let small = if depth == SHALLOW { &self.shallow } else { &self.deep };
        // SAFETY: sizes were checked by `launch`.
        unsafe { small.kernel.launch_with(device, [blocks, 1, 1], 32 * warps, shared_bytes, true, args) }
    }

    fn launch_tiled(&self, device: &Device, args: &ProductArgs) -> Result<(), CudaError> {
        let grid = [args.m.div_ceil(TILED_COLUMNS), args.rows.div_ceil(TILED_ROWS), 1];
        // SAFETY: sizes were checked by `launch`.
        unsafe { self.tiled.launch(device, grid, 256, true, args) }
    }

    fn check(&self, matrix: &DeviceMatrix, x: &Activations, m: u32) -> Result<(), CudaError> {
        if matrix.layout() != &self.layout {
            let (got, expected) = (matrix.layout().ty, self.layout.ty.to_string());
            return Err(CudaError::WeightType { got, expected });
        }
        let size = |what, got, expected| Err(CudaError::BufferSize { what, got, expected });
        if x.cols() != matrix.cols() {
            return size("columns of activations", x.cols(), matrix.cols());
        }
        if x.rows() < m as usize {
            return size("rows of activations", x.rows(), m as usize);
        }
        Ok(())
    }
}

impl Small {
    /// Compiles (or finds) it; `options` are the compiler's.
    pub(super) fn new(
        device: &Device,
        layout: &PackedLayout,
        depth: usize,
        options: &[&str],
    ) -> Result<Self, CudaError> {
        let ring_bytes = layout.ring_bytes(depth);
        let mut defines = vec![layout.define(), format!("-DDEPTH={depth}")];
        defines.extend(options.iter().map(|option| (*option).to_owned()));
        let kernel = device.kernel(KernelSource::MatmulSmall, defines, MOST_WARPS as u32 * ring_bytes)?;
        Ok(Self { kernel, ring_bytes })
    }
}

impl ProductArgs {
    /// The weights, and nothing to multiply them with.
    pub(super) fn of_table(matrix: &DeviceMatrix) -> Self {
        let [groups_at, supers_at] = matrix.addresses();
        Self {
            groups_at,
            supers_at,
            values: 0,
            codes: 0,
            scales: 0,
            sums: 0,
            out: 0,
            stride: 0,
            out_stride: 0,
            rows: matrix.rows() as u32,
            groups: matrix.groups() as u32,
            m: 0,
        }
    }
}

/// Warps among which the groups of a tile are shared: as few as take no more turns than the most would.
pub(super) fn warps(groups: usize) -> usize {
    groups.div_ceil(groups.div_ceil(MOST_WARPS).max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warps_share_groups_evenly() {
        assert_eq!([1, 2, 6, 10, 11, 20, 40, 80].map(warps), [1, 2, 6, 10, 6, 10, 10, 10]);
        for groups in 1..1000 {
            let warps = warps(groups);
            assert!((1..=MOST_WARPS).contains(&warps));
            assert_eq!(groups.div_ceil(warps), groups.div_ceil(MOST_WARPS), "{groups}");
        }
    }
}
