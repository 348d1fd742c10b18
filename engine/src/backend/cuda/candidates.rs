//! The centroid head of an assistant: only the tokens of the centroids nearest to the output are scored.

use std::sync::Arc;

use super::kernel::{Kernel, KernelArgs};
use super::ops::{at_least, at_most, size};
use super::{Buffer, CudaError, Device, DeviceMatrix, KernelSource, RowGather};
use crate::gguf::GgmlType;

/// Most centroids, whose scores lie in shared memory.
const MOST_CENTROIDS: usize = 8192;
/// Most centroids whose tokens are scored.
const MOST_KEPT: usize = 1024;

/// Candidates of a draft step and their scores.
#[derive(Debug)]
pub struct CandidateScores {
    select: Arc<Kernel>,
    dots: Arc<Kernel>,
    gather: RowGather,
    /// Token ids by centroid.
    order: Buffer<u32>,
    candidates: Buffer<u32>,
    /// Rows of the head, `[candidates][hidden]`.
    rows: Buffer<f32>,
    scores: Buffer<f32>,
    centroids: usize,
    kept: usize,
    hidden: usize,
}

/// Sizes of a centroid head.
#[derive(Debug, Clone, Copy)]
pub struct CentroidShape {
    /// Centroids.
    pub centroids: usize,
    /// Centroids whose tokens are scored.
    pub kept: usize,
    /// Length of a row of the head.
    pub hidden: usize,
    /// Type of the head.
    pub head: GgmlType,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct CentroidSelectArgs {
    scores: u64,
    order: u64,
    candidates: u64,
    count: i32,
    kept: i32,
    width: i32,
}

// SAFETY: equal to the kernel's, field for field.
unsafe impl KernelArgs for CentroidSelectArgs {}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct RowDotsArgs {
    rows: u64,
    x: u64,
    scores: u64,
    count: i32,
    n: i32,
}

// SAFETY: equal to the kernel's, field for field.
unsafe impl KernelArgs for RowDotsArgs {}

impl CandidateScores {
    /// For token ids by centroid, `order` `[centroids][vocab / centroids]`.
    ///
    /// # Errors
    /// More centroids than the kernel takes, no memory, or a kernel that does not compile.
    pub fn new(device: &Device, order: &[u32], shape: CentroidShape) -> Result<Self, CudaError> {
        let CentroidShape { centroids, kept, hidden, head } = shape;
        at_most("number of centroids", centroids, MOST_CENTROIDS)?;
        at_most("number of centroids that are kept", kept, MOST_KEPT)?;
        let shared = u32::try_from(4 * centroids).unwrap_or(u32::MAX);
        let (what, count) = ("candidates of a draft", kept * (order.len() / centroids.max(1)));
        Ok(Self {
            select: device.kernel(KernelSource::CentroidSelect, Vec::new(), shared)?,
            dots: device.kernel(KernelSource::RowDots, Vec::new(), 0)?,
            gather: RowGather::new(device, head)?,
            order: device.upload(what, order)?,
            candidates: device.zeros(what, count)?,
            rows: device.zeros(what, count * hidden)?,
            scores: device.zeros(what, count)?,
            centroids,
            kept,
            hidden,
        })
    }

    /// Centroids.
    #[must_use]
    pub const fn centroids(&self) -> usize {
        self.centroids
    }

    /// Centroids whose tokens are scored.
    #[must_use]
    pub const fn kept(&self) -> usize {
        self.kept
    }

    /// Queues the choice of candidates by `centroid_scores` and their scores as rows of `head` times `x`.
    ///
    /// # Errors
    /// A buffer too small, or the driver's.
    pub fn launch(
        &mut self,
        device: &Device,
        centroid_scores: &Buffer<f32>,
        head: &DeviceMatrix,
        x: &Buffer<f32>,
    ) -> Result<(), CudaError> {
        at_least("scores of centroids", centroid_scores.len(), self.centroids)?;
        at_least("hidden row", x.len(), self.hidden)?;
        let count = self.candidates.len();
        let select = CentroidSelectArgs {
            scores: centroid_scores.address(),
            order: self.order.address(),
            candidates: self.candidates.address(),
            count: size(self.centroids),
            kept: size(self.kept),
            width: size(count / self.kept.max(1)),
        };
        // SAFETY: sizes were checked above, the other buffers are this type's own.
        unsafe { self.select.launch(device, [1, 1, 1], 1024, true, &select) }?;
        let rows = u32::try_from(count).unwrap_or(u32::MAX);
        self.gather.launch(device, head, &self.candidates, rows, 1.0, &mut self.rows, self.hidden)?;
        let dots = RowDotsArgs {
            rows: self.rows.address(),
            x: x.address(),
            scores: self.scores.address(),
            count: size(count),
            n: size(self.hidden),
        };
        // SAFETY: as above.
        unsafe { self.dots.launch(device, [rows.div_ceil(8), 1, 1], 256, true, &dots) }
    }

    /// Ids and scores of the last launch, for the choice on the device.
    pub const fn ids_and_scores(&mut self) -> (&Buffer<u32>, &mut Buffer<f32>) {
        (&self.candidates, &mut self.scores)
    }

    /// Ids and scores of the last launch on the host.
    ///
    /// # Errors
    /// The driver's.
    pub fn download(&self, device: &Device) -> Result<(Vec<u32>, Vec<f32>), CudaError> {
        Ok((device.download(&self.candidates)?, device.download(&self.scores)?))
    }
}
