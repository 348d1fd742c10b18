//! Whether a target fits into the device's memory, and where its table of per-layer embeddings goes.

use super::super::attention::LayerKv;
use super::ple::TABLE;
use crate::EngineError;
use crate::attention::AttnShape;
use crate::backend::cuda::{CudaError, Device};
use crate::gguf::Gguf;
use crate::model::config::TargetConfig;
use crate::model::placement::{MemoryNeed, PlePlace, PleTable};

/// Weights and caches against the free memory, before anything is copied.
pub(super) fn place_table(
    device: &Device,
    gguf: &Gguf,
    config: &TargetConfig,
    shapes: &[AttnShape],
    asked: PleTable,
) -> Result<PlePlace, EngineError> {
    let all: usize = gguf.tensors().map(|tensor| tensor.data.len()).sum();
    let table = gguf.tensor(TABLE).filter(|_| config.ple_width > 0).map_or(0, |tensor| tensor.data.len());
    let need = MemoryNeed {
        weights_bytes: all - table,
        ple_table_bytes: table,
        kv_bytes: shapes[..config.first_shared].iter().map(LayerKv::bytes).sum(),
    };
    let (free, total) = device.memory()?;
    let place = need.place(asked, free).ok_or_else(|| too_large(&need, free, total))?;
    Ok(place)
}

fn too_large(need: &MemoryNeed, free: usize, total: usize) -> CudaError {
    let bytes = need.bytes(PlePlace::Device);
    if need.ple_table_bytes == 0 {
        return CudaError::OutOfMemory { what: "weights and KV cache", bytes, free, total };
    }
    CudaError::ModelTooLarge { bytes, with_table_on_host: need.bytes(PlePlace::Host), free, total }
}
