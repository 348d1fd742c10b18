//! The shape of a Gemma 4 text model or assistant, and from it every tensor and every metadata key.
//!
//! Dimensions are in ggml's order, the contiguous one first. No values are made here.

use crate::gguf::{Array, GgmlType, GgufWriter, Value, Width};

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The model that is sped up; architecture `gemma4`.
    Target,
    /// The MTP drafter; architecture `gemma4-assistant`. Has no keys and values of its own.
    Assistant {
        /// The target's hidden size.
        backbone: u64,
        /// Centroids of the two-stage head; 0 = none.
        centroids: u64,
    },
}

/// One layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerShape {
    /// Sliding or full attention.
    pub sliding: bool,
    /// Key and value heads.
    pub kv_heads: u64,
    /// Width of the feed-forward block.
    pub ffn: u64,
    /// Whether the file has `attn_k` and `attn_k_norm`.
    pub has_k: bool,
    /// Whether the file has `attn_v`.
    pub has_v: bool,
}

/// Experts, the same in every layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MoeShape {
    /// How many.
    pub experts: u64,
    /// How many a token goes through.
    pub used: u64,
    /// Width of one.
    pub width: u64,
}

/// Sizes of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelShape {
    /// Target or assistant.
    pub role: Role,
    /// Tokens.
    pub vocab: u64,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Query heads.
    pub heads: u64,
    /// Elements of a head in sliding layers.
    pub head_dim_sliding: u64,
    /// Elements of a head in full layers.
    pub head_dim_full: u64,
    /// Positions a sliding layer sees.
    pub window: u64,
    /// Positions of the longest sequence.
    pub context: u64,
    /// Last layers that read the keys and values of earlier ones.
    pub shared_kv: u64,
    /// Width of the per-layer embeddings; 0 = none.
    pub ple: u64,
    /// Whether the head is a table of its own.
    pub untied_head: bool,
    /// Experts, where there are any.
    pub moe: Option<MoeShape>,
    /// From the first to the last.
    pub layers: Vec<LayerShape>,
}

/// How the values of a tensor are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fill {
    /// All the same.
    Constant(f32),
    /// Random of this standard deviation.
    Random(f32),
    /// The divisors of the rotation frequencies: 1 for the rotated quarter, 1e30 for the rest.
    RopeFreqs,
    /// All ids in a random order.
    Ordering,
}

/// A tensor to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedTensor {
    /// Its name in the file.
    pub name: String,
    /// Its dimensions, the contiguous one first.
    pub dims: Vec<u64>,
    /// Its type.
    pub ty: GgmlType,
    pub(super) fill: Fill,
}

impl PlannedTensor {
    /// Number of its elements.
    #[must_use]
    pub fn n_elements(&self) -> u64 {
        self.dims.iter().product()
    }

    /// Number of its rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.dims[1..].iter().product()
    }
}

/// Weights of norms that are not 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Gains {
    /// Norm of the queries.
    pub(super) q_norm: f32,
    /// Norm of the keys. The attention scale of Gemma 4 is 1, so this decides how peaked the softmax is.
    pub(super) k_norm: f32,
    /// The norms behind each block: how much a block adds to the residual stream.
    pub(super) block: f32,
}

impl ModelShape {
    /// Architecture name.
    #[must_use]
    pub const fn architecture(&self) -> &'static str {
        match self.role {
            Role::Target => "gemma4",
            Role::Assistant { .. } => "gemma4-assistant",
        }
    }

    const fn head_dim(&self, layer: &LayerShape) -> u64 {
        if layer.sliding { self.head_dim_sliding } else { self.head_dim_full }
    }

    /// Every tensor, in file order.
    pub(super) fn plan(&self, weights: GgmlType, gains: Gains) -> Vec<PlannedTensor> {
        let mut plan = Plan { weights, gains, tensors: Vec::new() };
        self.plan_globals(&mut plan);
        for (index, layer) in self.layers.iter().enumerate() {
            self.plan_attention(&mut plan, index, layer);
            self.plan_feed_forward(&mut plan, index, layer);
            if self.moe.is_some() {
                self.plan_experts(&mut plan, index);
            }
            if self.ple > 0 {
                let name = |part: &str| format!("blk.{index}.{part}.weight");
                plan.matrix(name("inp_gate"), &[self.hidden, self.ple]);
                plan.matrix(name("proj"), &[self.ple, self.hidden]);
                plan.vector(name("post_norm"), self.hidden, gains.block);
            }
            plan.vector(format!("blk.{index}.layer_output_scale.weight"), 1, 1.0);
        }
        plan.tensors
    }

    fn plan_globals(&self, plan: &mut Plan) {
        let (hidden, vocab) = (self.hidden, self.vocab);
        plan.matrix("token_embd.weight".to_owned(), &[hidden, vocab]);
        if self.untied_head {
            plan.matrix("output.weight".to_owned(), &[hidden, vocab]);
        }
        plan.vector("output_norm.weight".to_owned(), hidden, 1.0);
        let freqs = &[self.head_dim_full / 2];
        plan.push("rope_freqs.weight".to_owned(), freqs, GgmlType::F32, Fill::RopeFreqs);
        if self.ple > 0 {
            let width = self.ple * self.layers.len() as u64;
            // The model multiplies a row by sqrt(ple).
            let fill = Fill::Random(std_for(self.ple));
            plan.matrix_of("per_layer_token_embd.weight".to_owned(), &[width, vocab], plan.weights, fill);
            let kept = if plan.weights == GgmlType::Q8_0 { GgmlType::Bf16 } else { plan.weights };
            let name = "per_layer_model_proj.weight".to_owned();
            plan.matrix_of(name, &[hidden, width], kept, Fill::Random(std_for(hidden)));
            plan.vector("per_layer_proj_norm.weight".to_owned(), self.ple, 1.0);
        }
        if let Role::Assistant { backbone, centroids } = self.role {
            plan.matrix("nextn.pre_projection.weight".to_owned(), &[2 * backbone, hidden]);
            plan.matrix("nextn.post_projection.weight".to_owned(), &[hidden, backbone]);
            if centroids > 0 {
                plan.matrix("masked_embd_centroids.weight".to_owned(), &[hidden, centroids]);
                plan.push("masked_embd_ordering".to_owned(), &[vocab], GgmlType::I32, Fill::Ordering);
            }
        }
    }

    fn plan_attention(&self, plan: &mut Plan, index: usize, layer: &LayerShape) {
        let name = |part: &str| format!("blk.{index}.{part}.weight");
        let (hidden, head_dim) = (self.hidden, self.head_dim(layer));
        let (q_width, kv_width) = (self.heads * head_dim, layer.kv_heads * head_dim);
        plan.vector(name("attn_norm"), hidden, 1.0);
        plan.matrix(name("attn_q"), &[hidden, q_width]);
        if layer.has_k {
            plan.matrix(name("attn_k"), &[hidden, kv_width]);
            plan.vector(name("attn_k_norm"), head_dim, plan.gains.k_norm);
        }
        if layer.has_v {
            plan.matrix(name("attn_v"), &[hidden, kv_width]);
        }
        plan.vector(name("attn_q_norm"), head_dim, plan.gains.q_norm);
        plan.matrix(name("attn_output"), &[q_width, hidden]);
        plan.vector(name("post_attention_norm"), hidden, plan.gains.block);
    }

    fn plan_feed_forward(&self, plan: &mut Plan, index: usize, layer: &LayerShape) {
        let name = |part: &str| format!("blk.{index}.{part}.weight");
        plan.vector(name("ffn_norm"), self.hidden, 1.0);
        plan.matrix(name("ffn_gate"), &[self.hidden, layer.ffn]);
        plan.matrix(name("ffn_up"), &[self.hidden, layer.ffn]);
        plan.matrix(name("ffn_down"), &[layer.ffn, self.hidden]);
        plan.vector(name("post_ffw_norm"), self.hidden, plan.gains.block);
    }

    fn plan_experts(&self, plan: &mut Plan, index: usize) {
        let Some(MoeShape { experts, width, .. }) = self.moe else { return };
        let name = |part: &str| format!("blk.{index}.{part}");
        let hidden = self.hidden;
        // The router is never quantised.
        let router = Fill::Random(std_for(hidden));
        plan.push(name("ffn_gate_inp.weight"), &[hidden, experts], GgmlType::F32, router);
        plan.vector(name("ffn_gate_inp.scale"), hidden, 1.0);
        plan.vector(name("pre_ffw_norm_2.weight"), hidden, 1.0);
        plan.vector(name("post_ffw_norm_1.weight"), hidden, 1.0);
        plan.vector(name("post_ffw_norm_2.weight"), hidden, 1.0);
        plan.matrix(name("ffn_gate_up_exps.weight"), &[hidden, 2 * width, experts]);
        plan.matrix(name("ffn_down_exps.weight"), &[width, hidden, experts]);
        plan.vector(name("ffn_down_exps.scale"), experts, 1.0);
    }

    /// Adds the model's metadata; the tokenizer's is not among it.
    pub(super) fn describe(&self, writer: &mut GgufWriter, name: &str, weights: GgmlType) {
        let arch = self.architecture();
        let key = |part: &str| format!("{arch}.{part}");
        writer.set("general.architecture", Value::str(arch));
        writer.set("general.name", Value::str(name));
        writer.set("general.file_type", Value::u32(file_type(weights)));
        writer.set("general.quantization_version", Value::u32(2));
        let mut sizes = vec![
            ("context_length", self.context),
            ("embedding_length", self.hidden),
            ("block_count", self.layers.len() as u64),
            ("vocab_size", self.vocab),
            ("attention.head_count", self.heads),
            ("attention.key_length", self.head_dim_full),
            ("attention.value_length", self.head_dim_full),
            ("attention.key_length_swa", self.head_dim_sliding),
            ("attention.value_length_swa", self.head_dim_sliding),
            ("attention.sliding_window", self.window),
            ("attention.shared_kv_layers", self.shared_kv),
            ("embedding_length_per_layer_input", self.ple),
            ("rope.dimension_count", self.head_dim_full),
            ("rope.dimension_count_swa", self.head_dim_sliding),
        ];
        if let Role::Assistant { backbone, .. } = self.role {
            sizes.extend([
                ("embedding_length_out", backbone),
                ("nextn_predict_layers", self.layers.len() as u64),
            ]);
        }
        if let Some(moe) = self.moe {
            sizes.extend([("expert_count", moe.experts), ("expert_used_count", moe.used)]);
            sizes.push(("expert_feed_forward_length", moe.width));
        }
        for (part, size) in sizes {
            writer.set(&key(part), Value::Unsigned(size, Width::W32));
        }
        writer.set(&key("attention.head_count_kv"), self.per_layer(|layer| layer.kv_heads));
        writer.set(&key("feed_forward_length"), self.per_layer(|layer| layer.ffn));
        let pattern = self.layers.iter().map(|layer| layer.sliding).collect();
        writer.set(&key("attention.sliding_window_pattern"), Value::Array(Array::Bool(pattern)));
        writer.set(&key("attention.layer_norm_rms_epsilon"), Value::F32(1e-6));
        writer.set(&key("rope.freq_base"), Value::F32(1e6));
        writer.set(&key("rope.freq_base_swa"), Value::F32(1e4));
        if self.role == Role::Target {
            writer.set(&key("final_logit_softcapping"), Value::F32(30.0));
        }
    }

    /// One number where all layers agree, otherwise one for each, as the converter does it.
    fn per_layer(&self, of: impl Fn(&LayerShape) -> u64) -> Value {
        let values: Vec<u64> = self.layers.iter().map(of).collect();
        if values.windows(2).all(|pair| pair[0] == pair[1]) {
            return Value::Unsigned(values.first().copied().unwrap_or(0), Width::W32);
        }
        Value::Array(Array::Signed(values.into_iter().map(u64::cast_signed).collect(), Width::W32))
    }
}

/// Standard deviation that keeps the size of what a matrix with rows of `ne0` is applied to.
fn std_for(ne0: u64) -> f32 {
    1.0 / (ne0 as f32).sqrt()
}

/// `general.file_type` as llama.cpp numbers them; 0 is F32.
fn file_type(weights: GgmlType) -> u32 {
    let types = [(GgmlType::F16, 1), (GgmlType::Q8_0, 7), (GgmlType::Bf16, 32)];
    types.into_iter().find(|(ty, _)| *ty == weights).map_or(0, |(_, id)| id)
}

/// Tensors as they are listed.
struct Plan {
    weights: GgmlType,
    gains: Gains,
    tensors: Vec<PlannedTensor>,
}

impl Plan {
    fn push(&mut self, name: String, dims: &[u64], ty: GgmlType, fill: Fill) {
        self.tensors.push(PlannedTensor { name, dims: dims.to_vec(), ty, fill });
    }

    fn vector(&mut self, name: String, len: u64, value: f32) {
        self.push(name, &[len], GgmlType::F32, Fill::Constant(value));
    }

    fn matrix(&mut self, name: String, dims: &[u64]) {
        self.matrix_of(name, dims, self.weights, Fill::Random(std_for(dims[0])));
    }

    /// Where a row is no whole number of blocks the type is F16, as in llama.cpp.
    fn matrix_of(&mut self, name: String, dims: &[u64], ty: GgmlType, fill: Fill) {
        let ty = if ty.row_bytes(dims[0]).is_some() { ty } else { GgmlType::F16 };
        self.push(name, dims, ty, fill);
    }
}
