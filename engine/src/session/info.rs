//! What a loaded engine is, for manifests and reports.

use std::collections::BTreeMap;

use crate::gguf::Gguf;
use crate::kv_cache::KvTypes;

/// What is really in force in a loaded engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// `general.architecture` of the target.
    pub architecture: String,
    /// `general.name` of the target, where the file has one.
    pub model_name: Option<String>,
    /// Layers of the target.
    pub layers: usize,
    /// Elements of all tensors of the target.
    pub parameters: u64,
    /// Tensor types of the target with their counts, the most bytes first: `q8_0 x 43, f32 x 58`.
    pub weight_types: String,
    /// Bytes of the target's tensors: what one decode step reads, were nothing sparse.
    pub weight_bytes: u64,
    /// Bytes of the assistant's tensors, where one is loaded.
    pub assistant_weight_bytes: Option<u64>,
    /// How keys and values are stored.
    pub kv_type: KvTypes,
    /// Threads that compute.
    pub threads: usize,
    /// Most tokens of a sequence.
    pub context_tokens: usize,
    /// How drafts are made, in words.
    pub speculation: String,
    /// The assistant's head in force, in words: `centroid 32 of 2048` or `dense`; `None` without an assistant.
    pub draft_head: Option<String>,
    /// Row kernels in use: `avx2` or `scalar` on the CPU, `cuda sm_90a` on a GPU.
    pub kernels: String,
    /// `cpu`, or the GPU's name.
    pub device: String,
    /// Bytes of weights that one decode step reads, where the backend counts them.
    pub step_bytes: Option<u64>,
    /// The attention kernels in force, a line a kind of layer; empty on the CPU, which has one.
    pub attention_routes: Vec<String>,
    /// Where the table of per-layer embeddings lies, in words; `None` on the CPU and for models without.
    pub ple_table: Option<String>,
}

/// Sums over a file's tensors.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Inventory {
    pub(super) parameters: u64,
    pub(super) bytes: u64,
    pub(super) types: String,
}

impl Inventory {
    pub(super) fn of(gguf: &Gguf) -> Self {
        let mut inventory = Self::default();
        let mut by_type: BTreeMap<String, (u64, usize)> = BTreeMap::new();
        for tensor in gguf.tensors() {
            let bytes = tensor.data.len() as u64;
            inventory.parameters += tensor.n_elements();
            inventory.bytes += bytes;
            let (type_bytes, count) = by_type.entry(tensor.ty.to_string()).or_default();
            *type_bytes += bytes;
            *count += 1;
        }
        let mut types: Vec<_> = by_type.into_iter().collect();
        types.sort_by_key(|(_, (bytes, _))| std::cmp::Reverse(*bytes));
        let words: Vec<String> = types.iter().map(|(name, (_, count))| format!("{name} x {count}")).collect();
        inventory.types = words.join(", ");
        inventory
    }
}
