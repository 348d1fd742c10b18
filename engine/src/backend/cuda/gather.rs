//! Rows of a packed table as floats: embeddings.

#![expect(clippy::cast_possible_truncation, reason = "sizes of matrices are checked when they are uploaded")]

use std::sync::Arc;

use super::kernel::{Kernel, KernelArgs};
use super::matmul::ProductArgs;
use super::packed::PackedLayout;
use super::{Buffer, CudaError, Device, DeviceMatrix, KernelSource};
use crate::gguf::GgmlType;

/// Groups of columns that a block takes.
const BLOCK_GROUPS: u32 = 32;

/// The compiled kernel of one type of table.
#[derive(Debug)]
pub struct RowGather {
    layout: PackedLayout,
    kernel: Arc<Kernel>,
}

/// `GatherArgs` of `gather_rows.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct GatherArgs {
    matrix: ProductArgs,
    ids: u64,
    out: u64,
    out_stride: i64,
    columns: u32,
    scale: f32,
}

// SAFETY: equal to the kernel's, field for field.
unsafe impl KernelArgs for GatherArgs {}

impl RowGather {
    /// Compiles (or finds) the kernel of a type.
    ///
    /// # Errors
    /// A type without a product, or a kernel that does not compile or load.
    pub fn new(device: &Device, ty: GgmlType) -> Result<Self, CudaError> {
        let layout = PackedLayout::of(ty)?;
        let kernel = device.kernel(KernelSource::GatherRows, vec![layout.define()], 0)?;
        Ok(Self { layout, kernel })
    }

    /// Queues `out[i * out_stride + c] = scale * table[ids[i]][c]` for the first `n` ids. An id that is no row of the
    /// table gives a row of NaN.
    ///
    /// # Errors
    /// A table of another type, sizes that do not fit, or the driver's.
    #[expect(clippy::too_many_arguments, reason = "a gather has this many operands and sizes")]
    pub fn launch(
        &self,
        device: &Device,
        table: &DeviceMatrix,
        ids: &Buffer<u32>,
        n: u32,
        scale: f32,
        out: &mut Buffer<f32>,
        out_stride: usize,
    ) -> Result<(), CudaError> {
        if table.layout() != &self.layout {
            let (got, expected) = (table.layout().ty, self.layout.ty.to_string());
            return Err(CudaError::WeightType { got, expected });
        }
        let size = |what, got, expected| Err(CudaError::BufferSize { what, got, expected });
        if ids.len() < n as usize {
            return size("ids of rows", ids.len(), n as usize);
        }
        let last = (n as usize).saturating_sub(1) * out_stride + table.cols();
        if out.len() < last {
            return size("output of a gather", out.len(), last);
        }
        if n == 0 {
            return Ok(());
        }
        let args = GatherArgs {
            matrix: ProductArgs::of_table(table),
            ids: ids.address(),
            out: out.address(),
            out_stride: out_stride as i64,
            columns: table.cols() as u32,
            scale,
        };
        let grid = [n, args.matrix.groups.div_ceil(BLOCK_GROUPS), 1];
        // SAFETY: sizes were checked above, and the kernel checks the ids.
        unsafe { self.kernel.launch(device, grid, 128, true, &args) }
    }
}
