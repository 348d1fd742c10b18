//! Whether a target fits into the device's memory.

use super::super::attention::LayerKv;
use crate::EngineError;
use crate::attention::AttnShape;
use crate::backend::cuda::{CudaError, Device};
use crate::gguf::Gguf;
use crate::model::config::TargetConfig;

/// Weights and caches against the free memory, before anything is copied.
pub(super) fn check_memory(
    device: &Device,
    gguf: &Gguf,
    config: &TargetConfig,
    shapes: &[AttnShape],
) -> Result<(), EngineError> {
    let weights: usize = gguf.tensors().map(|tensor| tensor.data.len()).sum();
    let caches: usize = shapes[..config.first_shared].iter().map(LayerKv::bytes).sum();
    let (free, total) = device.memory()?;
    let bytes = weights.saturating_add(caches);
    if bytes > free {
        return Err(CudaError::OutOfMemory { what: "weights and KV cache", bytes, free, total }.into());
    }
    Ok(())
}
