//! The centroid head of an assistant: only the tokens of the centroids nearest to the output are scored.

use std::sync::Arc;

use super::kernel::{Kernel, KernelArgs};
use super::matmul::ProductArgs;
use super::ops::{at_least, at_most, size};
use super::packed::PackedLayout;
use super::{Buffer, CudaError, Device, DeviceMatrix, KernelSource};
use crate::gguf::GgmlType;

/// Most centroids, eight a thread.
const MOST_CENTROIDS: usize = 8192;
/// Blocks that fill a row over the vocabulary.
const FILLING_BLOCKS: u32 = 32;
/// Most centroids whose tokens are scored.
const MOST_KEPT: usize = 1024;

/// Candidates of a draft step and their scores.
#[derive(Debug)]
pub struct CandidateScores {
    select: Arc<Kernel>,
    score: Arc<Kernel>,
    layout: PackedLayout,
    /// Token ids by centroid.
    order: Buffer<u32>,
    candidates: Buffer<u32>,
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
    logits: u64,
    count: i32,
    kept: i32,
    width: i32,
    vocab: i32,
}

// SAFETY: equal to the kernel's, field for field.
unsafe impl KernelArgs for CentroidSelectArgs {}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct CandidateScoresArgs {
    matrix: ProductArgs,
    ids: u64,
    x: u64,
    scores: u64,
    logits: u64,
    count: i32,
    columns: i32,
}

// SAFETY: equal to the kernel's, field for field.
unsafe impl KernelArgs for CandidateScoresArgs {}

impl CandidateScores {
    /// For token ids by centroid, `order` `[centroids][vocab / centroids]`.
    ///
    /// # Errors
    /// More centroids than the kernel takes, no memory, or a kernel that does not compile.
    pub fn new(device: &Device, order: &[u32], shape: CentroidShape) -> Result<Self, CudaError> {
        let CentroidShape { centroids, kept, hidden, head } = shape;
        at_most("number of centroids", centroids, MOST_CENTROIDS)?;
        at_most("number of centroids that are kept", kept, MOST_KEPT)?;
        let layout = PackedLayout::of(head)?;
        let (what, count) = ("candidates of a draft", kept * (order.len() / centroids.max(1)));
        Ok(Self {
            select: device.kernel(KernelSource::CentroidSelect, Vec::new(), 0)?,
            score: device.kernel(KernelSource::CandidateScores, vec![layout.define()], 0)?,
            layout,
            order: device.upload(what, order)?,
            candidates: device.zeros(what, count)?,
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

    /// Queues the choice of candidates by `centroid_scores` and their scores as rows of `head` times `x`. `logits`, where
    /// there are some, get the scores at the candidates' ids and -inf at every other.
    ///
    /// # Errors
    /// A buffer too small, or the driver's.
    pub fn launch(
        &mut self,
        device: &Device,
        centroid_scores: &Buffer<f32>,
        head: &DeviceMatrix,
        x: &Buffer<f32>,
        logits: Option<&mut Buffer<f32>>,
    ) -> Result<(), CudaError> {
        at_least("scores of centroids", centroid_scores.len(), self.centroids)?;
        at_least("hidden row", x.len(), self.hidden)?;
        at_least("row of the head", head.cols(), self.hidden)?;
        if head.layout() != &self.layout {
            let (got, expected) = (head.layout().ty, self.layout.ty.to_string());
            return Err(CudaError::WeightType { got, expected });
        }
        let count = self.candidates.len();
        let (logits, vocab) = logits.map_or((0, 0), |logits| (logits.address(), logits.len()));
        at_least("logits", if logits == 0 { head.rows() } else { vocab }, head.rows())?;
        let select = CentroidSelectArgs {
            scores: centroid_scores.address(),
            order: self.order.address(),
            candidates: self.candidates.address(),
            logits,
            count: size(self.centroids),
            kept: size(self.kept),
            width: size(count / self.kept.max(1)),
            vocab: size(vocab),
        };
        let blocks = 1 + if logits == 0 { 0 } else { FILLING_BLOCKS };
        // SAFETY: sizes were checked above, the other buffers are this type's own.
        unsafe { self.select.launch(device, [blocks, 1, 1], 1024, true, &select) }?;
        let rows = u32::try_from(count).unwrap_or(u32::MAX);
        let score = CandidateScoresArgs {
            matrix: ProductArgs::of_table(head),
            ids: self.candidates.address(),
            x: x.address(),
            scores: self.scores.address(),
            logits,
            count: size(count),
            columns: size(self.hidden),
        };
        // SAFETY: as above.
        unsafe { self.score.launch(device, [rows.div_ceil(32), 1, 1], 128, true, &score) }
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
