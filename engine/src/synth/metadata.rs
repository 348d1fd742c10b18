//! The metadata keys of a target or an assistant.

use crate::gguf::{Array, GgmlType, GgufWriter, Value, Width};

/// What both architectures say about themselves.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) context: usize,
    pub(super) hidden: usize,
    /// FFN width of each layer.
    pub(super) ffn: Vec<usize>,
    pub(super) heads: usize,
    /// KV heads of each layer.
    pub(super) kv_heads: Vec<usize>,
    pub(super) head_dim_swa: usize,
    pub(super) head_dim_full: usize,
    pub(super) window: usize,
    /// Per layer: whether its attention slides.
    pub(super) sliding: Vec<bool>,
    pub(super) shared_kv_layers: usize,
    /// Width of the per-layer embeddings, 0 for none.
    pub(super) ple: usize,
}

impl Shape {
    /// Head size of a layer.
    pub(super) fn head_dim(&self, layer: usize) -> usize {
        if self.sliding[layer] { self.head_dim_swa } else { self.head_dim_full }
    }

    /// Starts a file of this architecture.
    pub(super) fn header(&self, arch: &str, name: &str, weights: GgmlType, vocab: usize) -> GgufWriter {
        let mut header = GgufWriter::new();
        header.set("general.architecture", Value::str(arch));
        header.set("general.name", Value::str(name));
        header.set("general.file_type", Value::u32(file_type(weights)));
        header.set("general.quantization_version", Value::u32(2));
        let mut set = |key: &str, value| header.set(&format!("{arch}.{key}"), value);
        set("vocab_size", int(vocab));
        set("context_length", int(self.context));
        set("embedding_length", int(self.hidden));
        set("block_count", int(self.sliding.len()));
        set("feed_forward_length", one_or_each(&self.ffn));
        set("attention.head_count", int(self.heads));
        set("attention.head_count_kv", one_or_each(&self.kv_heads));
        for side in ["key", "value"] {
            set(&format!("attention.{side}_length"), int(self.head_dim_full));
            set(&format!("attention.{side}_length_swa"), int(self.head_dim_swa));
        }
        set("attention.layer_norm_rms_epsilon", Value::F32(1e-6));
        set("attention.sliding_window", int(self.window));
        set("attention.sliding_window_pattern", Value::Array(Array::Bool(self.sliding.clone())));
        set("attention.shared_kv_layers", int(self.shared_kv_layers));
        set("embedding_length_per_layer_input", int(self.ple));
        set("rope.freq_base", Value::F32(1e6));
        set("rope.freq_base_swa", Value::F32(1e4));
        set("rope.dimension_count", int(self.head_dim_full));
        set("rope.dimension_count_swa", int(self.head_dim_swa));
        header
    }
}

/// An integer of the usual width.
pub(super) fn int(value: usize) -> Value {
    Value::u32(u32::try_from(value).unwrap_or(u32::MAX))
}

/// One integer where all layers agree, else one for each.
fn one_or_each(values: &[usize]) -> Value {
    match values.first() {
        Some(first) if values.iter().all(|value| value == first) => int(*first),
        _ => Value::Array(Array::Signed(
            values.iter().map(|&value| i64::try_from(value).unwrap_or(i64::MAX)).collect(),
            Width::W32,
        )),
    }
}

/// `llama_ftype` of llama.cpp.
fn file_type(weights: GgmlType) -> u32 {
    const MOSTLY_BF16: u32 = 32;
    let known = [(GgmlType::F32, 0), (GgmlType::F16, 1), (GgmlType::Q8_0, 7)];
    known.into_iter().find(|(ty, _)| *ty == weights).map_or(MOSTLY_BF16, |(_, id)| id)
}
