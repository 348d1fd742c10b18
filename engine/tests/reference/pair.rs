//! Small random targets and assistants of every shape that the forward pass must get right.

use std::path::Path;
use std::sync::Arc;

use bench_engine::gguf::{Array, GgmlType, Gguf, GgufWriter, Value, Width};
use bench_engine::quant::quantize_row;

pub(crate) const VOCAB: usize = 96;
const HIDDEN: usize = 64;
const HEADS: usize = 4;
const FFN: usize = 96;
const HEAD_SLIDING: usize = 32;
const HEAD_FULL: usize = 64;
const ASSISTANT_HIDDEN: usize = 32;
pub(crate) const CENTROIDS: usize = 48;

/// Experts of a layer, those that a row goes to, and their width.
const EXPERTS: [usize; 3] = [8, 3, 32];

/// How a file has the experts' gates and factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Experts {
    /// Gate and up in one tensor, with a scale for each expert.
    Fused,
    /// A tensor each and no scales.
    Apart,
}

/// What varies between the pairs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair {
    pub(crate) ty: GgmlType,
    /// Layers of (sliding, sliding, full).
    pub(crate) periods: usize,
    pub(crate) shared: usize,
    pub(crate) kv_heads: [usize; 2],
    pub(crate) ple: usize,
    pub(crate) window: usize,
    pub(crate) k_eq_v: bool,
    pub(crate) centroids: bool,
    pub(crate) experts: Option<Experts>,
    /// Next token of x is x * 5 + 1 (mod vocabulary), for target and assistant, and the head is not tied.
    pub(crate) planted: bool,
}

pub(crate) const EVERYTHING: Pair = Pair {
    ty: GgmlType::F32,
    periods: 2,
    shared: 3,
    kv_heads: [2, 1],
    ple: 32,
    window: 12,
    k_eq_v: false,
    centroids: false,
    experts: None,
    planted: false,
};

pub(crate) fn successor(token: u32) -> u32 {
    (token * 5 + 1) % VOCAB as u32
}

/// One file in the making.
pub(crate) struct File {
    pub(crate) keys: Vec<(String, Value)>,
    pub(crate) tensors: Vec<(String, Vec<usize>, GgmlType, Vec<u8>)>,
    ty: GgmlType,
    seed: u64,
}

impl File {
    fn noise(&mut self, len: usize, size: f32) -> Vec<f32> {
        let mut next = || {
            self.seed ^= self.seed << 13;
            self.seed ^= self.seed >> 7;
            self.seed ^= self.seed << 17;
            ((self.seed >> 40) as f32 / (1 << 23) as f32 - 1.0) * size * 3.0_f32.sqrt()
        };
        (0..len).map(|_| next()).collect()
    }

    fn matrix(&mut self, name: &str, rows: usize, cols: usize, values: &[f32]) {
        let ty = self.ty;
        let bytes: usize = ty.row_bytes(cols as u64).unwrap().try_into().unwrap();
        let mut out = vec![0; rows * bytes];
        for (row, out) in values.chunks_exact(cols).zip(out.chunks_exact_mut(bytes)) {
            quantize_row(ty, row, out).unwrap();
        }
        self.tensors.push((name.to_owned(), vec![cols, rows], ty, out));
    }

    fn random(&mut self, name: &str, rows: usize, cols: usize) {
        let values = self.noise(rows * cols, 1.0 / (cols as f32).sqrt());
        self.matrix(name, rows, cols, &values);
    }

    fn vector(&mut self, name: &str, values: &[f32]) {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensors.push((name.to_owned(), vec![values.len()], GgmlType::F32, bytes));
    }

    fn norm(&mut self, name: &str, len: usize, size: f32) {
        let values: Vec<f32> = self.noise(len, 0.1).iter().map(|v| (1.0 + v) * size).collect();
        self.vector(name, &values);
    }

    pub(crate) fn write(&self, path: &Path) -> Arc<Gguf> {
        let mut writer = GgufWriter::new();
        for (key, value) in &self.keys {
            writer.set(key, value.clone());
        }
        for (name, dims, ty, _) in &self.tensors {
            let dims: Vec<u64> = dims.iter().map(|d| *d as u64).collect();
            writer.declare(name, &dims, *ty).unwrap();
        }
        let mut sink = writer.begin(path).unwrap();
        for (name, _, _, bytes) in &self.tensors {
            sink.write(name, bytes).unwrap();
        }
        sink.finish().unwrap();
        Arc::new(Gguf::open(path).unwrap())
    }

    fn layer(&mut self, i: usize, hidden: usize, head_dim: usize, scale: f32, added: f32) {
        let name = |part: &str| format!("blk.{i}.{part}.weight");
        let q_width = HEADS * head_dim;
        self.norm(&name("attn_norm"), hidden, 1.0);
        self.random(&name("attn_q"), q_width, hidden);
        self.norm(&name("attn_q_norm"), head_dim, 0.5);
        self.random(&name("attn_output"), hidden, q_width);
        self.norm(&name("post_attention_norm"), hidden, added);
        self.norm(&name("ffn_norm"), hidden, 1.0);
        self.random(&name("ffn_gate"), FFN, hidden);
        self.random(&name("ffn_up"), FFN, hidden);
        self.random(&name("ffn_down"), hidden, FFN);
        self.norm(&name("post_ffw_norm"), hidden, added);
        self.vector(&name("layer_output_scale"), &[scale]);
    }

    /// `count` matrices of `rows`, one after the other.
    fn stack(&mut self, name: &str, rows: usize, cols: usize, count: usize) {
        self.random(name, rows * count, cols);
        let dims = self.tensors.last_mut().map(|tensor| &mut tensor.1).unwrap();
        *dims = vec![cols, rows, count];
    }

    fn experts(&mut self, i: usize, experts: Experts) {
        let name = |part: &str| format!("blk.{i}.{part}");
        let [count, _, width] = EXPERTS;
        let ty = std::mem::replace(&mut self.ty, GgmlType::F32);
        self.random(&name("ffn_gate_inp.weight"), count, HIDDEN);
        self.ty = ty;
        // Up to the size that a trained scale makes up for: logits of about 1.
        self.norm(&name("ffn_gate_inp.scale"), HIDDEN, (HIDDEN as f32).sqrt());
        self.norm(&name("pre_ffw_norm_2.weight"), HIDDEN, 1.0);
        self.norm(&name("post_ffw_norm_1.weight"), HIDDEN, 0.8);
        self.norm(&name("post_ffw_norm_2.weight"), HIDDEN, 1.2);
        self.stack(&name("ffn_down_exps.weight"), HIDDEN, width, count);
        match experts {
            Experts::Fused => {
                self.stack(&name("ffn_gate_up_exps.weight"), 2 * width, HIDDEN, count);
                let scales = self.noise(count, 0.5).iter().map(|v| 1.0 + v).collect::<Vec<_>>();
                self.vector(&name("ffn_down_exps.scale"), &scales);
            }
            Experts::Apart => {
                self.stack(&name("ffn_gate_exps.weight"), width, HIDDEN, count);
                self.stack(&name("ffn_up_exps.weight"), width, HIDDEN, count);
            }
        }
    }

    fn keys(&mut self, arch: &str, pair: &Pair, pattern: &[bool], hidden: usize) {
        let kv_heads = pattern.iter().map(|s| pair.kv_heads[usize::from(!s)] as i64).collect();
        let number = |value: usize| Value::u32(u32::try_from(value).unwrap());
        let entries = [
            ("context_length", number(4096)),
            ("embedding_length", number(hidden)),
            ("block_count", number(pattern.len())),
            ("feed_forward_length", number(FFN)),
            ("attention.head_count", number(HEADS)),
            ("attention.head_count_kv", Value::Array(Array::Signed(kv_heads, Width::W32))),
            ("attention.layer_norm_rms_epsilon", Value::F32(1e-6)),
            ("attention.key_length", number(HEAD_FULL)),
            ("attention.value_length", number(HEAD_FULL)),
            ("attention.key_length_swa", number(HEAD_SLIDING)),
            ("attention.value_length_swa", number(HEAD_SLIDING)),
            ("attention.sliding_window", number(pair.window)),
            ("attention.sliding_window_pattern", Value::Array(Array::Bool(pattern.to_vec()))),
            ("rope.freq_base", Value::F32(1e6)),
            ("rope.freq_base_swa", Value::F32(1e4)),
            ("rope.dimension_count", number(HEAD_FULL)),
            ("rope.dimension_count_swa", number(HEAD_SLIDING)),
        ];
        self.keys.push(("general.architecture".to_owned(), Value::str(arch)));
        self.keys.extend(entries.map(|(key, value)| (format!("{arch}.{key}"), value)));
        let factors: Vec<f32> =
            (0..HEAD_FULL / 2).map(|j| if j < HEAD_FULL / 8 { 1.0 } else { 1e30 }).collect();
        self.vector("rope_freqs.weight", &factors);
        self.norm("output_norm.weight", hidden, 1.0);
    }
}

impl Pair {
    fn file(&self, seed: u64) -> File {
        File { keys: Vec::new(), tensors: Vec::new(), ty: self.ty, seed }
    }

    /// What a layer adds: little where a rule is planted in the embeddings.
    fn added(&self) -> f32 {
        if self.planted { 0.03 } else { 0.7 }
    }

    fn embeddings(&self) -> Vec<f32> {
        self.file(77).noise(VOCAB * HIDDEN, 1.0 / (HIDDEN as f32).sqrt())
    }

    /// Row v is the embedding of the token that v follows.
    fn rule_rows(&self) -> Vec<f32> {
        let embeddings = self.embeddings();
        let mut rows = vec![0.0; embeddings.len()];
        for token in 0..VOCAB {
            let next = successor(token as u32) as usize;
            rows[next * HIDDEN..][..HIDDEN].copy_from_slice(&embeddings[token * HIDDEN..][..HIDDEN]);
        }
        rows
    }

    pub(crate) fn target(&self) -> File {
        let mut f = self.file(0x1234_5678);
        let pattern = [true, true, false].repeat(self.periods);
        let number = |value: usize| Value::u32(u32::try_from(value).unwrap());
        f.keys("gemma4", self, &pattern, HIDDEN);
        f.keys.push(("gemma4.attention.shared_kv_layers".to_owned(), number(self.shared)));
        f.keys.push(("gemma4.embedding_length_per_layer_input".to_owned(), number(self.ple)));
        f.keys.push(("gemma4.final_logit_softcapping".to_owned(), Value::F32(30.0)));
        if self.experts.is_some() {
            for (key, value) in ["count", "used_count", "feed_forward_length"].iter().zip(EXPERTS) {
                f.keys.push((format!("gemma4.expert_{key}"), number(value)));
            }
        }
        f.matrix("token_embd.weight", VOCAB, HIDDEN, &self.embeddings());
        if self.planted {
            f.matrix("output.weight", VOCAB, HIDDEN, &self.rule_rows());
        }
        if self.ple > 0 {
            let width = self.ple * pattern.len();
            f.random("per_layer_token_embd.weight", VOCAB, width);
            f.random("per_layer_model_proj.weight", width, HIDDEN);
            f.norm("per_layer_proj_norm.weight", self.ple, 1.0);
        }
        for (i, sliding) in pattern.iter().enumerate() {
            let name = |part: &str| format!("blk.{i}.{part}.weight");
            let head_dim = if *sliding { HEAD_SLIDING } else { HEAD_FULL };
            let width = self.kv_heads[usize::from(!sliding)] * head_dim;
            let scale = if self.planted { 1.0 } else { 0.9 };
            f.layer(i, HIDDEN, head_dim, scale, self.added());
            if i < pattern.len() - self.shared {
                f.random(&name("attn_k"), width, HIDDEN);
                f.norm(&name("attn_k_norm"), head_dim, 0.4);
                if *sliding || !self.k_eq_v {
                    f.random(&name("attn_v"), width, HIDDEN);
                }
            }
            if self.ple > 0 {
                f.random(&name("inp_gate"), self.ple, HIDDEN);
                f.random(&name("proj"), HIDDEN, self.ple);
                f.norm(&name("post_norm"), HIDDEN, self.added());
            }
            if let Some(experts) = self.experts {
                f.experts(i, experts);
            }
        }
        f
    }

    pub(crate) fn assistant(&self) -> File {
        let mut f = self.file(0x9876_5432);
        let pattern = [true, true, true, false];
        let number = |value: usize| Value::u32(u32::try_from(value).unwrap());
        f.keys("gemma4-assistant", self, &pattern, ASSISTANT_HIDDEN);
        f.keys.push(("gemma4-assistant.embedding_length_out".to_owned(), number(HIDDEN)));
        let r = f.noise(ASSISTANT_HIDDEN * HIDDEN, 1.0 / (ASSISTANT_HIDDEN as f32).sqrt());
        let project = |row: &[f32]| -> Vec<f32> {
            r.chunks_exact(HIDDEN).map(|r| r.iter().zip(row).map(|(a, b)| a * b).sum()).collect()
        };
        let head: Vec<f32> = self.rule_rows().chunks_exact(HIDDEN).flat_map(project).collect();
        f.matrix("token_embd.weight", VOCAB, ASSISTANT_HIDDEN, &head);
        let from_hidden = f.noise(ASSISTANT_HIDDEN * HIDDEN, if self.planted { 0.002 } else { 0.1 });
        let pre: Vec<f32> = r
            .chunks_exact(HIDDEN)
            .zip(from_hidden.chunks_exact(HIDDEN))
            .flat_map(|(a, b)| [a, b].concat())
            .collect();
        f.matrix("nextn.pre_projection.weight", ASSISTANT_HIDDEN, 2 * HIDDEN, &pre);
        f.random("nextn.post_projection.weight", HIDDEN, ASSISTANT_HIDDEN);
        for (i, sliding) in pattern.iter().enumerate() {
            let head_dim = if *sliding { HEAD_SLIDING } else { HEAD_FULL };
            f.layer(i, ASSISTANT_HIDDEN, head_dim, 1.0, self.added());
        }
        if self.centroids {
            f.random("masked_embd_centroids.weight", CENTROIDS, ASSISTANT_HIDDEN);
            // Any order will do; this one scatters the ids (35 and 96 have no common divisor).
            let order = (0..VOCAB).flat_map(|i| (((i * 35 + 7) % VOCAB) as i32).to_le_bytes()).collect();
            f.tensors.push(("masked_embd_ordering".to_owned(), vec![VOCAB], GgmlType::I32, order));
        }
        f
    }
}
