//! A tiny pair of real architecture that follows a planted rule, so that greedy output and acceptance are known.
//!
//! The target walks one cycle through all word tokens. The residual stream stays close to the token's embedding,
//! because the norms behind each block let it add little (`noise`); row v of the target's head is the embedding of
//! the token that v follows. The assistant projects the target's embedding with a random matrix R, and its head holds
//! R times the embedding of the token it believes v follows. For a chosen share of tokens that belief is right, the
//! others have their successors swapped. Tokens off the cycle (special ones, bytes, the newline) share the embedding
//! of a token on it, so whatever the prompt ends with, the next token is known.
//!
//! What this does not show: that hidden state and shared keys carry information; it shows that they are plumbed.

use std::path::{Path, PathBuf};

use super::random::Stream;
use super::shape::{Gains, LayerShape, ModelShape, Role};
use super::vocab::{MIN_VOCAB, Vocab};
use super::write;
use crate::EngineError;
use crate::gguf::{GgmlType, GgufError};

mod rule;

pub use rule::{PlantedRule, Prediction};

/// Parameters of a tiny pair. The default has the real head sizes, 256 and 512.
#[derive(Debug, Clone, PartialEq)]
pub struct TinyPair {
    /// Seed of everything random.
    pub seed: u64,
    /// Share of tokens whose successor the assistant knows, 0 to 1.
    pub acceptance: f32,
    /// Type of the matrices: F32, F16, BF16 or `Q8_0` (F16 where rows are no whole blocks).
    pub weights: GgmlType,
    /// Tokens, at least 384.
    pub vocab: usize,
    /// Width of the target's residual stream.
    pub hidden: usize,
    /// Layers of the target: sliding, sliding, full, and again; a multiple of 3.
    pub layers: usize,
    /// Last layers that reuse earlier keys and values; a multiple of 3, less than `layers`.
    pub shared_kv: usize,
    /// Query heads of the target.
    pub heads: usize,
    /// Key and value heads of sliding layers, in both models.
    pub kv_heads: usize,
    /// Key and value heads of full layers, in both models.
    pub kv_heads_full: usize,
    /// Whether full layers take their values from their keys (no `attn_v`).
    pub k_eq_v: bool,
    /// Elements of a head in sliding layers.
    pub head_dim_swa: usize,
    /// Elements of a head in full layers.
    pub head_dim_full: usize,
    /// Width of the target's feed-forward block.
    pub ffn: usize,
    /// Width of the per-layer embeddings; 0 = none.
    pub ple: usize,
    /// Positions a sliding layer sees.
    pub window: usize,
    /// Positions of the longest sequence.
    pub context: usize,
    /// Width of the assistant's residual stream; must differ from `hidden`.
    pub assistant_hidden: usize,
    /// Layers of the assistant, the last one full; at least 2.
    pub assistant_layers: usize,
    /// Query heads of the assistant.
    pub assistant_heads: usize,
    /// Width of the assistant's feed-forward block.
    pub assistant_ffn: usize,
    /// Centroids of the assistant's head, a divisor of `vocab`; 0 = a dense head. A head that looks into the best 32
    /// of them finds the planted token.
    pub centroids: usize,
    /// Weight of the norms behind each block: how much the layers disturb the rule.
    pub noise: f32,
    /// Scale of the target's head; below 1 gives softer distributions.
    pub logit_scale: f32,
}

impl Default for TinyPair {
    fn default() -> Self {
        Self {
            seed: 1,
            acceptance: 0.7,
            weights: GgmlType::F16,
            vocab: 2048,
            hidden: 256,
            layers: 6,
            shared_kv: 3,
            heads: 4,
            kv_heads: 1,
            kv_heads_full: 1,
            k_eq_v: false,
            head_dim_swa: 256,
            head_dim_full: 512,
            ffn: 512,
            ple: 32,
            window: 128,
            context: 8192,
            assistant_hidden: 128,
            assistant_layers: 4,
            assistant_heads: 4,
            assistant_ffn: 256,
            centroids: 0,
            noise: 0.05,
            logit_scale: 1.0,
        }
    }
}

/// What [`write_tiny_pair`] wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TinyPairFiles {
    /// The target.
    pub target: PathBuf,
    /// The assistant.
    pub assistant: PathBuf,
    /// The planted rule as JSON, a [`PlantedRule`].
    pub rule: PathBuf,
}

/// Writes `target.gguf`, `assistant.gguf` and `rule.json` into `dir`, which is made if need be.
///
/// # Errors
/// Parameters that make no model, and what the system refuses.
pub fn write_tiny_pair(dir: &Path, pair: &TinyPair) -> Result<TinyPairFiles, EngineError> {
    pair.check()?;
    write::make_dir(dir)?;
    let files = TinyPairFiles {
        target: dir.join("target.gguf"),
        assistant: dir.join("assistant.gguf"),
        rule: dir.join("rule.json"),
    };
    let rule = PlantedRule::new(pair.seed, pair.acceptance, pair.vocab, &Vocab::new(pair.vocab).words());
    let planted = Planted::new(pair, &rule);
    let gains = Gains { q_norm: 0.3, k_norm: 0.3, block: pair.noise };

    let write_one = |shape: &ModelShape, name: &str, path: &Path, seed: u64| {
        let tensors = shape.plan(pair.weights, gains);
        let writer = write::declare(shape, name, pair.weights, Vocab::new(pair.vocab), &tensors)?;
        let assistant = shape.role != Role::Target;
        write::write(writer, path, seed, &tensors, &|tensor| planted.rows(assistant, tensor), &mut |_| {})
    };
    write_one(&pair.target(), "tiny synthetic Gemma 4 target", &files.target, pair.seed)?;
    write_one(&pair.assistant(), "tiny synthetic Gemma 4 assistant", &files.assistant, !pair.seed)?;
    rule.save(&files.rule)?;
    Ok(files)
}

impl TinyPair {
    /// Shape of the target.
    #[must_use]
    pub fn target(&self) -> ModelShape {
        let own_kv = self.layers - self.shared_kv;
        let layer = |i: usize| LayerShape {
            sliding: i % 3 != 2,
            kv_heads: if i % 3 == 2 { self.kv_heads_full } else { self.kv_heads } as u64,
            ffn: self.ffn as u64,
            has_k: i < own_kv,
            has_v: i < own_kv && (i % 3 != 2 || !self.k_eq_v),
        };
        ModelShape {
            role: Role::Target,
            vocab: self.vocab as u64,
            hidden: self.hidden as u64,
            heads: self.heads as u64,
            head_dim_sliding: self.head_dim_swa as u64,
            head_dim_full: self.head_dim_full as u64,
            window: self.window as u64,
            context: self.context as u64,
            shared_kv: self.shared_kv as u64,
            ple: self.ple as u64,
            untied_head: true,
            moe: None,
            layers: (0..self.layers).map(layer).collect(),
        }
    }

    /// Shape of the assistant.
    #[must_use]
    pub fn assistant(&self) -> ModelShape {
        let last = self.assistant_layers - 1;
        let layer = |i: usize| LayerShape {
            sliding: i != last,
            kv_heads: if i == last { self.kv_heads_full } else { self.kv_heads } as u64,
            ffn: self.assistant_ffn as u64,
            has_k: false,
            has_v: false,
        };
        ModelShape {
            role: Role::Assistant { backbone: self.hidden as u64, centroids: self.centroids as u64 },
            hidden: self.assistant_hidden as u64,
            heads: self.assistant_heads as u64,
            shared_kv: self.assistant_layers as u64,
            ple: 0,
            untied_head: false,
            layers: (0..self.assistant_layers).map(layer).collect(),
            ..self.target()
        }
    }

    fn check(&self) -> Result<(), EngineError> {
        let require = |holds: bool, what: &'static str, got: String, expected: &str| {
            let error = || EngineError::InvalidArgument { what, got, expected: expected.to_owned() };
            if holds { Ok(()) } else { Err(error()) }
        };
        let size = |ok: bool, what, got: usize, expected: &str| require(ok, what, got.to_string(), expected);
        let kv_ok =
            |kv: usize| kv > 0 && self.heads.is_multiple_of(kv) && self.assistant_heads.is_multiple_of(kv);
        let share = self.acceptance;
        require((0.0..=1.0).contains(&share), "acceptance", share.to_string(), "0 to 1")?;
        let computed =
            matches!(self.weights, GgmlType::F32 | GgmlType::F16 | GgmlType::Bf16 | GgmlType::Q8_0);
        require(computed, "weights", self.weights.to_string(), "f32, f16, bf16 or q8_0")?;
        size((MIN_VOCAB..=1 << 20).contains(&self.vocab), "vocab", self.vocab, "384 to 1048576")?;
        size(self.layers > 0 && self.layers.is_multiple_of(3), "layers", self.layers, "a multiple of 3")?;
        let shared_ok = self.shared_kv.is_multiple_of(3) && self.shared_kv < self.layers;
        size(shared_ok, "shared_kv", self.shared_kv, "a multiple of 3 less than layers")?;
        for kv in [self.kv_heads, self.kv_heads_full] {
            size(kv_ok(kv), "kv_heads", kv, "a divisor of heads and assistant_heads")?;
        }
        for dim in [self.head_dim_swa, self.head_dim_full] {
            size(dim > 0 && dim % 8 == 0, "head_dim", dim, "a multiple of 8")?;
        }
        let sizes = [
            ("hidden", self.hidden),
            ("heads", self.heads),
            ("ffn", self.ffn),
            ("context", self.context),
            ("assistant_hidden", self.assistant_hidden),
            ("assistant_heads", self.assistant_heads),
            ("assistant_ffn", self.assistant_ffn),
        ];
        for (what, got) in sizes {
            size(got > 0, what, got, "at least 1")?;
        }
        size(self.window > 1, "window", self.window, "at least 2")?;
        size(self.assistant_layers > 1, "assistant_layers", self.assistant_layers, "at least 2")?;
        let differs = self.assistant_hidden != self.hidden;
        size(differs, "assistant_hidden", self.assistant_hidden, "another width than the target's")?;
        let divides = self.centroids == 0 || self.vocab.is_multiple_of(self.centroids);
        size(divides, "centroids", self.centroids, "0 or a divisor of vocab")?;
        let finite = self.noise.is_finite() && self.logit_scale.is_finite();
        require(finite, "noise, logit_scale", format!("{}, {}", self.noise, self.logit_scale), "finite")
    }
}

/// The matrices that carry the rule, row-major.
struct Planted {
    embedding: Vec<f32>,
    target_head: Vec<f32>,
    assistant_head: Vec<f32>,
    pre_projection: Vec<f32>,
    centroids: Vec<f32>,
}

impl Planted {
    fn new(pair: &TinyPair, rule: &PlantedRule) -> Self {
        let (hidden, narrow) = (pair.hidden, pair.assistant_hidden);
        let mut embedding = vec![0.0; pair.vocab * hidden];
        for (id, row) in embedding.chunks_exact_mut(hidden).enumerate() {
            // A token off the cycle looks like its stand-in on it.
            let like = rule.stand_in(id);
            Stream::new(pair.seed, "embedding", like as u64).fill(row, 1.0);
            normalise(row, 1.0);
        }
        let projection = random_matrix(pair.seed, "projection", narrow, hidden);
        let row_of = |id: usize| &embedding[id * hidden..][..hidden];
        let mut target_head = vec![0.0; pair.vocab * hidden];
        let mut assistant_head = vec![0.0; pair.vocab * narrow];
        for id in 0..pair.vocab {
            if let Some(previous) = rule.follows(id) {
                let out = &mut target_head[id * hidden..][..hidden];
                out.copy_from_slice(row_of(previous));
                normalise(out, pair.logit_scale);
            }
            if let Some(previous) = rule.believed_to_follow(id) {
                let out = &mut assistant_head[id * narrow..][..narrow];
                project(&projection, row_of(previous), out);
                normalise(out, 1.0);
            }
        }
        let pre_projection = pre_projection(pair, &projection);
        let centroids = centroids(pair, &assistant_head);
        Self { embedding, target_head, assistant_head, pre_projection, centroids }
    }

    /// The rows of a tensor of one of the files, if the rule decides them.
    fn rows(&self, assistant: bool, tensor: &str) -> Option<&[f32]> {
        match (assistant, tensor) {
            (false, "token_embd.weight") => Some(&self.embedding),
            (false, "output.weight") => Some(&self.target_head),
            (true, "token_embd.weight") => Some(&self.assistant_head),
            (true, "nextn.pre_projection.weight") => Some(&self.pre_projection),
            (true, "masked_embd_centroids.weight") => Some(&self.centroids),
            _ => None,
        }
    }
}

/// `[narrow][2 * hidden]`: the projection for the embedding half, almost nothing for the hidden-state half.
fn pre_projection(pair: &TinyPair, projection: &[f32]) -> Vec<f32> {
    let hidden_part = random_matrix(pair.seed, "hidden part", pair.assistant_hidden, pair.hidden);
    let rows = projection.chunks_exact(pair.hidden).zip(hidden_part.chunks_exact(pair.hidden));
    rows.flat_map(|(left, right)| left.iter().copied().chain(right.iter().map(|v| 0.02 * v))).collect()
}

/// `[centroids][narrow]`: each the sum of its members' head rows, members being neighbours in the ordering.
fn centroids(pair: &TinyPair, head: &[f32]) -> Vec<f32> {
    let narrow = pair.assistant_hidden;
    let mut sums = vec![0.0; pair.centroids * narrow];
    if pair.centroids == 0 {
        return sums;
    }
    // The assistant's file is written with the complement of the seed.
    let order = write::ordering(!pair.seed, pair.vocab as u64);
    for (sum, members) in sums.chunks_exact_mut(narrow).zip(order.chunks_exact(pair.vocab / pair.centroids)) {
        for &id in members {
            let row = &head[usize::try_from(id).unwrap_or(0) * narrow..][..narrow];
            sum.iter_mut().zip(row).for_each(|(s, v)| *s += v);
        }
    }
    sums
}

/// `[rows][columns]`, values of standard deviation 1 / sqrt(columns).
fn random_matrix(seed: u64, name: &str, rows: usize, columns: usize) -> Vec<f32> {
    let mut matrix = vec![0.0; rows * columns];
    for (index, row) in matrix.chunks_exact_mut(columns).enumerate() {
        Stream::new(seed, name, index as u64).fill(row, 1.0 / (columns as f32).sqrt());
    }
    matrix
}

fn project(matrix: &[f32], x: &[f32], out: &mut [f32]) {
    for (value, row) in out.iter_mut().zip(matrix.chunks_exact(x.len())) {
        *value = row.iter().zip(x).map(|(a, b)| a * b).sum();
    }
}

/// Scales to this length.
fn normalise(row: &mut [f32], length: f32) {
    let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt();
    row.iter_mut().for_each(|v| *v *= length / norm);
}

#[cfg(test)]
mod tests;
