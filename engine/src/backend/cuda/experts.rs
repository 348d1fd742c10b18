//! Mixtures of experts: which experts a row goes to, their products, and what becomes of them.
//!
//! Everything that depends on the choice is read on the device, so a pass has the same launches whatever is chosen and
//! can be captured. Invariant: as with [`Product`](super::Product), a row's bits depend neither on how many rows there
//! are nor on the others.

#![expect(clippy::cast_possible_truncation, reason = "sizes are checked when a shape is made")]

use std::sync::Arc;

use super::activations::Activations;
use super::kernel::{Kernel, KernelArgs};
use super::matmul::{ProductArgs, SMALL_BLOCKS, SMALL_M, Small, warps};
use super::ops::{at_least, at_most, size};
use super::packed::{PackedLayout, TILE_ROWS};
use super::{Buffer, CudaError, Device, DeviceMatrix, KernelSource};
use crate::gguf::GgmlType;

/// Most experts of a layer: a thread of the router each.
const MOST_EXPERTS: usize = 1024;
/// Most experts of a row: a lane each.
const MOST_USED: usize = 32;
/// 32-bit words of an `ExpertEntry`.
const ENTRY_WORDS: usize = 2 + SMALL_M as usize;
/// Most tiles that a block takes one after the other.
const MOST_TILES: usize = 8;
/// Longest row that experts are joined to.
const LONGEST_ROW: usize = 8192;

/// Sizes of a mixture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpertShape {
    /// Experts of a layer.
    pub count: usize,
    /// Experts of a row.
    pub used: usize,
    /// Most rows of a pass.
    pub most_rows: usize,
}

/// The router's kernel and what it decides for the rows of a pass.
#[derive(Debug)]
pub struct ExpertRoutes {
    kernel: Arc<Kernel>,
    shape: ExpertShape,
    /// `[rows][used]`
    weights: Buffer<f32>,
    /// `[rows][used]`
    choices: Buffer<i32>,
    /// `ExpertEntry` of `experts.cuh`.
    entries: Buffer<i32>,
}

/// The product of one type of weights with the rows that chose each expert.
#[derive(Debug)]
pub struct ExpertProduct {
    layout: PackedLayout,
    small: Small,
}

/// Joins the dense block and the experts.
#[derive(Debug)]
pub struct ExpertJoin {
    kernel: Arc<Kernel>,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct RouteExpertsArgs {
    logits: u64,
    scale: u64,
    weights: u64,
    choices: u64,
    entries: u64,
    rows: i32,
    experts: i32,
    used: i32,
    most_entries: i32,
}

// SAFETY: equal to the kernel's, field for field.
unsafe impl KernelArgs for RouteExpertsArgs {}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct ExpertsArgs {
    product: ProductArgs,
    entries: u64,
    choices_of_row: i32,
}

// SAFETY: equal to the kernel's, field for field.
unsafe impl KernelArgs for ExpertsArgs {}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct JoinExpertsArgs {
    dense: u64,
    dense_weight: u64,
    experts: u64,
    weights: u64,
    experts_weight: u64,
    y: u64,
    n: i32,
    used: i32,
    eps: f32,
}

// SAFETY: equal to the kernel's, field for field.
unsafe impl KernelArgs for JoinExpertsArgs {}

impl ExpertShape {
    /// Pairs of a row and one of its experts.
    const fn pairs(&self, rows: usize) -> usize {
        rows * self.used
    }

    /// Most entries that the rows of a pass make: one an expert that was chosen, and one for each eight pairs.
    fn entries(&self, rows: usize) -> usize {
        let pairs = self.pairs(rows);
        pairs.min(pairs / SMALL_M as usize + self.count.min(pairs))
    }
}

impl ExpertRoutes {
    /// Compiles (or finds) the kernel and makes room.
    ///
    /// # Errors
    /// A shape beyond the kernel, or the driver's.
    pub fn new(device: &Device, shape: ExpertShape) -> Result<Self, CudaError> {
        at_most("number of experts", shape.count, MOST_EXPERTS)?;
        at_most("experts of a row", shape.used, MOST_USED.min(shape.count))?;
        at_least("experts of a row", shape.used, 1)?;
        at_most("rows of a pass", shape.most_rows, 1 << 20)?;
        let (what, pairs) = ("routes of experts", shape.pairs(shape.most_rows));
        let per_lane = format!("-DPER_LANE={}", shape.count.div_ceil(32));
        Ok(Self {
            kernel: device.kernel(KernelSource::RouteExperts, vec![per_lane], 0)?,
            shape,
            weights: device.zeros(what, pairs)?,
            choices: device.zeros(what, pairs)?,
            entries: device.zeros(what, shape.entries(shape.most_rows) * ENTRY_WORDS)?,
        })
    }

    /// Queues the choice for `rows` rows of router logits `[rows][count]`; `scale` `[count]` is a factor of each expert.
    ///
    /// # Errors
    /// A buffer too small, or the driver's.
    pub fn launch(
        &mut self,
        device: &Device,
        rows: u32,
        logits: &Buffer<f32>,
        scale: &Buffer<f32>,
    ) -> Result<(), CudaError> {
        at_most("rows of a pass", rows as usize, self.shape.most_rows)?;
        at_least("logits of a router", logits.len(), rows as usize * self.shape.count)?;
        at_least("scales of experts", scale.len(), self.shape.count)?;
        let args = RouteExpertsArgs {
            logits: logits.address(),
            scale: scale.address(),
            weights: self.weights.address(),
            choices: self.choices.address(),
            entries: self.entries.address(),
            rows: rows as i32,
            experts: size(self.shape.count),
            used: size(self.shape.used),
            most_entries: size(self.shape.entries(rows as usize)),
        };
        // SAFETY: sizes were checked above, the other buffers are this type's own.
        unsafe { self.kernel.launch(device, [1, 1, 1], 1024, true, &args) }
    }

    /// Experts chosen last, `[rows][used]`, for tests.
    #[must_use]
    pub const fn choices(&self) -> &Buffer<i32> {
        &self.choices
    }

    /// Their weights, `[rows][used]`, for tests.
    #[must_use]
    pub const fn weights(&self) -> &Buffer<f32> {
        &self.weights
    }
}

impl ExpertProduct {
    /// Compiles (or finds) the kernel of a type.
    ///
    /// # Errors
    /// A type without a product, a GPU older than compute capability 8.0, or a kernel that does not compile or load.
    pub fn new(device: &Device, ty: GgmlType) -> Result<Self, CudaError> {
        let layout = PackedLayout::of(ty)?;
        let compute = device.caps().compute;
        if compute < 80 {
            return Err(CudaError::TooOld { compute });
        }
        Ok(Self { layout, small: Small::new(device, &layout, 2, &["-DEXPERTS"])? })
    }

    /// Queues `out[pair * out_stride + out_offset + i] = sum_c matrix[expert of pair][i][c] x[pair / choices_of_row][c]`
    /// for all pairs of `rows` rows. `matrix` has the rows of all experts one after the other.
    ///
    /// # Errors
    /// A matrix of another type, experts whose rows are no whole tiles, sizes that do not fit, or the driver's.
    #[expect(clippy::too_many_arguments, reason = "a product has this many operands and sizes")]
    pub fn launch(
        &self,
        device: &Device,
        routes: &ExpertRoutes,
        rows: u32,
        matrix: &DeviceMatrix,
        (x, choices_of_row): (&Activations, usize),
        out: &mut Buffer<f32>,
        (out_offset, out_stride): (usize, usize),
    ) -> Result<(), CudaError> {
        let (shape, pairs) = (routes.shape, routes.shape.pairs(rows as usize));
        let expert_rows = matrix.rows() / shape.count;
        if matrix.layout() != &self.layout {
            let (got, expected) = (matrix.layout().ty, self.layout.ty.to_string());
            return Err(CudaError::WeightType { got, expected });
        }
        if !matrix.rows().is_multiple_of(shape.count * TILE_ROWS) || x.cols() != matrix.cols() {
            let expected = shape.count * expert_rows.next_multiple_of(TILE_ROWS);
            return Err(CudaError::BufferSize { what: "rows of experts", got: matrix.rows(), expected });
        }
        at_most("rows of a pass", rows as usize, shape.most_rows)?;
        at_least("rows of activations", x.rows(), pairs.div_ceil(choices_of_row.max(1)))?;
        let last = out_offset + pairs.saturating_sub(1) * out_stride + expert_rows;
        at_least("output of experts", out.len(), last)?;
        let rows_of_x = x.arg();
        let product = ProductArgs {
            values: rows_of_x.values,
            codes: rows_of_x.codes,
            scales: rows_of_x.scales,
            sums: rows_of_x.sums,
            out: out.address() + 4 * out_offset as u64,
            stride: rows_of_x.stride,
            out_stride: out_stride as i64,
            rows: expert_rows as u32,
            ..ProductArgs::of_table(matrix)
        };
        let args = ExpertsArgs {
            product,
            entries: routes.entries.address(),
            choices_of_row: size(choices_of_row.max(1)),
        };
        let entries = shape.entries(rows as usize);
        let (tiles, warps) = (expert_rows / TILE_ROWS, warps(matrix.groups()) as u32);
        let at_a_time = (SMALL_BLOCKS * device.caps().multiprocessors.max(1)) as usize;
        let tiles_of_block = (tiles * entries).div_ceil(at_a_time).clamp(1, MOST_TILES);
        let grid = [tiles.div_ceil(tiles_of_block) as u32, entries as u32, 1];
        // SAFETY: sizes were checked above; entries name pairs and experts that there are.
        unsafe {
            self.small.kernel.launch_with(
                device,
                grid,
                32 * warps,
                warps * self.small.ring_bytes,
                true,
                &args,
            )
        }
    }
}

impl ExpertJoin {
    /// Compiles (or finds) the kernel.
    ///
    /// # Errors
    /// A kernel that does not compile or load.
    pub fn new(device: &Device) -> Result<Self, CudaError> {
        Ok(Self { kernel: device.kernel(KernelSource::JoinExperts, Vec::new(), 0)? })
    }

    /// Queues `y = norm(y) + norm(sum of experts by their weights)` for `rows` rows of `n`; `y`, the dense block's output, and
    /// `experts` come with the weights of their norms, experts being `[rows][used][n]`.
    ///
    /// # Errors
    /// A row too long, a buffer too small, or the driver's.
    pub fn launch(
        &self,
        device: &Device,
        routes: &ExpertRoutes,
        rows: u32,
        (y, dense_norm): (&mut Buffer<f32>, &Buffer<f32>),
        (experts, experts_norm): (&Buffer<f32>, &Buffer<f32>),
        (n, eps): (usize, f32),
    ) -> Result<(), CudaError> {
        at_most("row of experts", n, LONGEST_ROW)?;
        if !n.is_multiple_of(4) {
            return Err(CudaError::BufferSize {
                what: "row of experts",
                got: n,
                expected: n.next_multiple_of(4),
            });
        }
        at_most("rows of a pass", rows as usize, routes.shape.most_rows)?;
        let values = rows as usize * n;
        at_least("output of a block", y.len(), values)?;
        at_least("output of experts", experts.len(), values * routes.shape.used)?;
        at_least("norm weight", dense_norm.len(), n)?;
        at_least("norm weight", experts_norm.len(), n)?;
        let args = JoinExpertsArgs {
            dense: y.address(),
            dense_weight: dense_norm.address(),
            experts: experts.address(),
            weights: routes.weights.address(),
            experts_weight: experts_norm.address(),
            y: y.address(),
            n: size(n),
            used: size(routes.shape.used),
            eps,
        };
        // SAFETY: sizes were checked above.
        unsafe { self.kernel.launch(device, [rows, 1, 1], 1024, true, &args) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_every_entry() {
        let shape = ExpertShape { count: 128, used: 8, most_rows: 512 };
        assert_eq!([1, 2, 8, 512].map(|rows| shape.entries(rows)), [8, 16, 64, 640]);
        // However pairs fall: all on as few experts as can be, spread, or one more than a whole entry each.
        for rows in 1..200 {
            let pairs = shape.pairs(rows);
            for experts in shape.used..=shape.count.min(pairs) {
                let (each, rest) = (pairs / experts, pairs % experts);
                let entries = rest * (each + 1).div_ceil(8) + (experts - rest) * each.div_ceil(8);
                assert!(entries <= shape.entries(rows), "{rows} rows, {experts} experts: {entries}");
            }
        }
    }
}
