//! What every layer of a synthetic model has, target and assistant alike.

use super::fill::Tensor;
use crate::gguf::GgmlType;

/// `per_layer_model_proj` is never quantised.
pub(super) fn float_type(weights: GgmlType) -> GgmlType {
    if weights == GgmlType::Q8_0 { GgmlType::Bf16 } else { weights }
}

/// Size and scale of what every layer has, in both models.
pub(super) struct BlockShape {
    pub(super) layer: usize,
    pub(super) hidden: usize,
    pub(super) heads: usize,
    pub(super) head_dim: usize,
    pub(super) ffn: usize,
    /// Weight of the q norm.
    pub(super) q_norm: f32,
    /// Weight of the post-norms.
    pub(super) post_norm: f32,
    pub(super) weights: GgmlType,
}

/// The eleven tensors that a layer has in target and assistant alike.
pub(super) fn block(b: &BlockShape) -> Vec<Tensor<'static>> {
    let at = |name: &str| format!("blk.{}.{name}.weight", b.layer);
    let query_width = b.heads * b.head_dim;
    vec![
        Tensor::constant(at("attn_norm"), b.hidden, 1.0),
        Tensor::matrix(at("attn_q"), b.hidden, query_width, b.weights),
        Tensor::constant(at("attn_q_norm"), b.head_dim, b.q_norm),
        Tensor::matrix(at("attn_output"), query_width, b.hidden, b.weights),
        Tensor::constant(at("post_attention_norm"), b.hidden, b.post_norm),
        Tensor::constant(at("ffn_norm"), b.hidden, 1.0),
        Tensor::matrix(at("ffn_gate"), b.hidden, b.ffn, b.weights),
        Tensor::matrix(at("ffn_up"), b.hidden, b.ffn, b.weights),
        Tensor::matrix(at("ffn_down"), b.ffn, b.hidden, b.weights),
        Tensor::constant(at("post_ffw_norm"), b.hidden, b.post_norm),
        Tensor::constant(at("layer_output_scale"), 1, 1.0),
    ]
}
