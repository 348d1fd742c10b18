//! The mixture of experts of a synthetic target: keys and tensors, the same in tiny models and in real shapes.
//!
//! Expert weights are random and all factors 1, so a random router spreads rows over experts more evenly than a trained
//! one. Gate and up lie in one tensor, as in the released files.

use super::fill::{Fill, Tensor, keeping};
use super::metadata::int;
use crate::gguf::{GgmlType, GgufWriter};

/// Experts beside the dense feed-forward block of every layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Experts {
    /// Experts of a layer.
    pub count: usize,
    /// Experts that each row goes to, at most `count`.
    pub used: usize,
    /// Width of an expert.
    pub ffn: usize,
}

impl Experts {
    pub(super) fn set_keys(&self, header: &mut GgufWriter) {
        header.set("gemma4.expert_count", int(self.count));
        header.set("gemma4.expert_used_count", int(self.used));
        header.set("gemma4.expert_feed_forward_length", int(self.ffn));
    }

    /// What a layer has besides its dense block. The router is never quantised.
    pub(super) fn tensors(&self, layer: usize, hidden: usize, weights: GgmlType) -> Vec<Tensor<'static>> {
        let at = |name: &str| format!("blk.{layer}.{name}");
        let Self { count, ffn, .. } = *self;
        let stack = |name: &str, inputs: usize, outputs: usize| {
            Tensor::new(at(name), &[inputs, outputs, count], weights, Fill::Random(keeping(inputs)))
        };
        vec![
            Tensor::matrix(at("ffn_gate_inp.weight"), hidden, count, GgmlType::F32),
            Tensor::constant(at("ffn_gate_inp.scale"), hidden, 1.0),
            Tensor::constant(at("pre_ffw_norm_2.weight"), hidden, 1.0),
            Tensor::constant(at("post_ffw_norm_1.weight"), hidden, 1.0),
            Tensor::constant(at("post_ffw_norm_2.weight"), hidden, 1.0),
            stack("ffn_gate_up_exps.weight", hidden, 2 * ffn),
            stack("ffn_down_exps.weight", ffn, hidden),
            Tensor::constant(at("ffn_down_exps.scale"), count, 1.0),
        ]
    }
}
