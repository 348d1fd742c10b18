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

#[cfg(test)]
mod tests {
    use super::*;

    const NEED: MemoryNeed = MemoryNeed { weights_bytes: 5_000, ple_table_bytes: 3_000, kv_bytes: 100 };

    #[test]
    fn too_little_memory_says_what_is_needed_either_way_and_what_helps() {
        let error = too_large(&NEED, 6_000, 9_000);
        assert_eq!(
            error.to_string(),
            "no memory on the GPU for weights and KV cache: 8100 bytes, or 5100 with the table of per-layer embeddings \
             in the host's memory; 6000 of 9000 are free"
        );
        assert!(error.hint().is_some_and(|hint| hint.contains("serving.ple_table = \"host\"")));
        let error = too_large(&NEED, 5_000, 9_000);
        assert!(error.hint().is_some_and(|hint| hint.contains("smaller context")));
        let dense = too_large(&MemoryNeed { ple_table_bytes: 0, ..NEED }, 5_000, 9_000);
        assert!(matches!(dense, CudaError::OutOfMemory { bytes: 5_100, free: 5_000, .. }), "{dense}");
    }
}
