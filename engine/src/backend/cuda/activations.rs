//! Rows of activations on the device, in every form that a product may read.

use super::kernel::KernelArgs;
use super::{Buffer, CudaError, Device, KernelSource};

/// Values of a block of codes.
pub(super) const BLOCK: usize = 32;

/// Rows in f32, and in 8-bit blocks of 32 for quantised weights. Kernels write all forms at once.
#[derive(Debug)]
pub struct Activations {
    /// `[rows][stride]`
    pub(super) values: Buffer<f32>,
    /// `[rows][stride]`
    pub(super) codes: Buffer<i8>,
    /// `[rows][stride / 32]`
    pub(super) scales: Buffer<f32>,
    /// `[rows][stride / 32]`: scale times the sum of the block's codes.
    pub(super) sums: Buffer<f32>,
    rows: usize,
    cols: usize,
}

/// `ActivationRows` of `activations.cuh`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct ActivationRows {
    pub(super) values: u64,
    pub(super) codes: u64,
    pub(super) scales: u64,
    pub(super) sums: u64,
    pub(super) stride: i64,
}

// SAFETY: equal to the kernels' struct, field for field.
unsafe impl KernelArgs for ActivationRows {}

impl ActivationRows {
    /// No rows.
    pub(super) const NONE: Self = Self { values: 0, codes: 0, scales: 0, sums: 0, stride: 0 };
}

impl Activations {
    /// Room for `rows` rows of `cols`, all zero.
    ///
    /// # Errors
    /// No memory.
    pub fn new(device: &Device, rows: usize, cols: usize) -> Result<Self, CudaError> {
        let (what, stride) = ("activations", cols.next_multiple_of(BLOCK));
        Ok(Self {
            values: device.zeros(what, rows * stride)?,
            codes: device.zeros(what, rows * stride)?,
            scales: device.zeros(what, rows * stride / BLOCK)?,
            sums: device.zeros(what, rows * stride / BLOCK)?,
            rows,
            cols,
        })
    }

    /// Rows there is room for.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Length of a row.
    #[must_use]
    pub const fn cols(&self) -> usize {
        self.cols
    }

    /// Elements from one row to the next.
    #[must_use]
    pub const fn stride(&self) -> usize {
        self.cols.next_multiple_of(BLOCK)
    }

    /// The rows in f32, [`Self::stride`] apart.
    #[must_use]
    pub const fn values(&self) -> &Buffer<f32> {
        &self.values
    }

    /// The rows in f32, for a kernel that writes no codes: see [`Self::quantize`].
    pub const fn values_mut(&mut self) -> &mut Buffer<f32> {
        &mut self.values
    }

    /// Codes, scales and sums of the first `rows` rows from their values.
    ///
    /// # Errors
    /// More rows than there are, or the driver's.
    pub fn quantize(&mut self, device: &Device, rows: u32) -> Result<(), CudaError> {
        if rows as usize > self.rows {
            let (got, expected) = (self.rows, rows as usize);
            return Err(CudaError::BufferSize { what: "rows of activations", got, expected });
        }
        let kernel = device.kernel(KernelSource::Quantize, Vec::new(), 0)?;
        let grid = [u32::try_from(self.stride().div_ceil(256)).unwrap_or(u32::MAX), rows, 1];
        // SAFETY: the grid covers `rows` rows of the buffers, which are at least as long.
        unsafe { kernel.launch(device, grid, 256, true, &self.arg()) }
    }

    /// As kernels take them.
    pub(super) fn arg(&self) -> ActivationRows {
        ActivationRows {
            values: self.values.address(),
            codes: self.codes.address(),
            scales: self.scales.address(),
            sums: self.sums.address(),
            stride: self.stride() as i64,
        }
    }
}
