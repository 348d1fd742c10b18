//! A tiny Gemma-4 pair with a planted rule.
//!
//! How the rule gets in: what a layer adds to the residual stream is small (`noise`), so the last hidden state stays
//! close to the embedding of the last token. The target has an untied head whose row v is the embedding of the token
//! before v on the cycle. The assistant maps the target's embeddings into its own width with a fixed random matrix R
//! (which nearly keeps angles), and row v of its head is R times the embedding of the token it believes precedes v.
//! Everything else of the architecture is really computed: both head sizes, windows, shared KV, per-layer
//! embeddings, experts, proportional RoPE, softcap.

use std::path::{Path, PathBuf};

use super::block::{BlockShape, block, float_type};
use super::experts::Experts;
use super::fill::{self, Fill, Tensor, keeping};
use super::metadata::{Shape, int};
use super::random::Random;
use super::rule::PlantedRule;
use super::vocabulary::{self, Vocabulary};
use crate::EngineError;
use crate::gguf::{GgmlType, GgufError, Value};
use crate::model::ExpertConfig;

/// Shape and rule of a tiny pair. The default has the real head sizes (256 and 512).
#[derive(Debug, Clone, PartialEq)]
pub struct TinyPair {
    /// Seed of everything random.
    pub seed: u64,
    /// Share of tokens whose successor the assistant knows, 0 to 1.
    pub acceptance: f32,
    /// Length of the cycles the target walks; `None`: one over all ordinary tokens.
    pub cycle: Option<usize>,
    /// Type of the matrices.
    pub weights: GgmlType,
    /// Tokens, at least 359.
    pub vocab: usize,
    /// Width of the target.
    pub hidden: usize,
    /// Layers of the target, a multiple of 3: sliding, sliding, full, repeated.
    pub layers: usize,
    /// Last layers that reuse earlier KV, a multiple of 3 below `layers`.
    pub shared_kv: usize,
    /// Query heads of the target.
    pub heads: usize,
    /// KV heads of both, a divisor of both head counts.
    pub kv_heads: usize,
    /// Head size of sliding layers.
    pub head_dim_swa: usize,
    /// Head size of full layers, a multiple of 8.
    pub head_dim_full: usize,
    /// FFN width of the target.
    pub ffn: usize,
    /// Width of the per-layer embeddings, 0 for none.
    pub ple: usize,
    /// A mixture of experts beside every FFN of the target.
    pub experts: Option<Experts>,
    /// Sliding window.
    pub window: usize,
    /// Context both were "trained" for.
    pub context: usize,
    /// Full layers have no V projection and use K.
    pub k_eq_v: bool,
    /// Width of the assistant; differs from `hidden`.
    pub assistant_hidden: usize,
    /// Layers of the assistant, the last one full.
    pub assistant_layers: usize,
    /// Query heads of the assistant.
    pub assistant_heads: usize,
    /// FFN width of the assistant.
    pub assistant_ffn: usize,
    /// Give the assistant a centroid head with this many centroids, a divisor of `vocab`. With two tokens a centroid
    /// the planted acceptance holds; in a sum of many the right one can drown.
    pub centroids: Option<usize>,
    /// Weight of every post-norm: the size of what a layer adds.
    pub noise: f32,
    /// Scale of the target's head; below 1 gives softer distributions.
    pub logit_scale: f32,
}

impl Default for TinyPair {
    fn default() -> Self {
        Self {
            seed: 1,
            acceptance: 0.7,
            cycle: None,
            weights: GgmlType::F16,
            vocab: 2048,
            hidden: 256,
            layers: 6,
            shared_kv: 3,
            heads: 4,
            kv_heads: 1,
            head_dim_swa: 256,
            head_dim_full: 512,
            ffn: 512,
            ple: 32,
            experts: None,
            window: 128,
            context: 8192,
            k_eq_v: false,
            assistant_hidden: 128,
            assistant_layers: 4,
            assistant_heads: 4,
            assistant_ffn: 256,
            centroids: None,
            noise: 0.05,
            logit_scale: 1.0,
        }
    }
}

/// Where a tiny pair was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TinyPairFiles {
    /// The target's GGUF.
    pub target: PathBuf,
    /// The assistant's GGUF.
    pub assistant: PathBuf,
    /// The rule as JSON ([`PlantedRule`]).
    pub rule: PathBuf,
}

/// Writes target, assistant and rule into `dir`, which is created.
///
/// # Errors
/// Parameters that make no model, and what the system refuses.
pub fn write_tiny_pair(dir: &Path, pair: &TinyPair) -> Result<TinyPairFiles, EngineError> {
    check(pair)?;
    fill::make_dir(dir)?;
    let name = |part: &str| dir.join(format!("tiny-{part}.gguf"));
    let files = TinyPairFiles {
        target: name("target"),
        assistant: name("assistant"),
        rule: dir.join("tiny-rule.json"),
    };
    let planted = Planted::new(pair);
    planted.write_target(&files.target)?;
    planted.write_assistant(&files.assistant)?;
    let io = |source| GgufError::Io { verb: "write", path: files.rule.clone(), source };
    let json = serde_json::to_vec(&planted.rule).map_err(|error| io(error.into()))?;
    std::fs::write(&files.rule, json).map_err(io)?;
    Ok(files)
}

/// The rule of a pair, without writing it.
///
/// # Errors
/// Parameters that make no model.
pub fn planted_rule(pair: &TinyPair) -> Result<PlantedRule, EngineError> {
    check(pair)?;
    Ok(Planted::new(pair).rule)
}

fn check(pair: &TinyPair) -> Result<(), EngineError> {
    let refuse = |what, got: String, expected: &str| {
        Err(EngineError::InvalidArgument { what, got, expected: expected.to_owned() })
    };
    if !(0.0..=1.0).contains(&pair.acceptance) {
        return refuse("acceptance", pair.acceptance.to_string(), "0 to 1");
    }
    if pair.vocab < vocabulary::SMALLEST {
        let expected = format!("at least {}", vocabulary::SMALLEST);
        return refuse("vocab", pair.vocab.to_string(), &expected);
    }
    if pair.cycle.is_some_and(|tokens| tokens < 2) {
        return refuse("cycle", format!("{:?}", pair.cycle), "at least 2 tokens");
    }
    if pair.layers == 0 || !pair.layers.is_multiple_of(3) {
        return refuse("layers", pair.layers.to_string(), "a multiple of 3");
    }
    if !pair.shared_kv.is_multiple_of(3) || pair.shared_kv >= pair.layers {
        return refuse("shared_kv", pair.shared_kv.to_string(), "a multiple of 3 below the number of layers");
    }
    if pair.hidden == pair.assistant_hidden {
        return refuse(
            "assistant_hidden",
            pair.assistant_hidden.to_string(),
            "another width than the target's",
        );
    }
    if pair.assistant_layers < 2 {
        return refuse("assistant_layers", pair.assistant_layers.to_string(), "at least 2");
    }
    for (what, heads) in [("heads", pair.heads), ("assistant_heads", pair.assistant_heads)] {
        if pair.kv_heads == 0 || !heads.is_multiple_of(pair.kv_heads) {
            return refuse(what, heads.to_string(), "a multiple of kv_heads");
        }
    }
    if let Some(Experts { count, used, ffn }) = pair.experts {
        if used == 0 || used > count.min(ExpertConfig::MOST_USED) {
            let expected = format!("1 to {} of {count} experts", count.min(ExpertConfig::MOST_USED));
            return refuse("experts.used", used.to_string(), &expected);
        }
        if ffn == 0 {
            return refuse("experts.ffn", ffn.to_string(), "at least 1");
        }
    }
    match pair.centroids {
        Some(n) if n == 0 || !pair.vocab.is_multiple_of(n) => {
            refuse("centroids", n.to_string(), "a divisor of vocab")
        }
        _ => Ok(()),
    }
}

/// Everything the two files share.
struct Planted<'a> {
    pair: &'a TinyPair,
    rule: PlantedRule,
    /// `[vocab][hidden]`, rows of length about 1.
    embedding: Vec<f32>,
    /// Token before each token on the cycle.
    before: Vec<Option<usize>>,
    /// The token that the assistant believes to be there.
    believed: Vec<Option<usize>>,
}

/// Places of the random streams that are not tensors.
const CYCLE: u64 = 1 << 32;
const EMBEDDING: u64 = CYCLE + 1;
const PROJECTION: u64 = CYCLE + 2;
/// The assistant's tensors draw from other streams than the target's.
const ASSISTANT: u64 = 0xA551_57A7;

impl<'a> Planted<'a> {
    fn new(pair: &'a TinyPair) -> Self {
        let mut random = Random::new(pair.seed, CYCLE);
        let mut ordinary = Vocabulary::new(pair.vocab).ordinary();
        random.shuffle(&mut ordinary);
        let mut before = vec![None; pair.vocab];
        let mut successor = vec![None; pair.vocab];
        for cycle in ordinary.chunks(pair.cycle.unwrap_or(ordinary.len())) {
            for (i, &token) in cycle.iter().enumerate() {
                let next = cycle[(i + 1) % cycle.len()];
                before[next] = Some(token);
                successor[token] = u32::try_from(next).ok();
            }
        }
        let wrong = wrong_tokens(pair.acceptance, &ordinary, &mut random);
        let mut known: Vec<bool> = successor.iter().map(Option::is_some).collect();
        let mut believed = before.clone();
        // The wrong ones swap their successors in a ring, so that each is sure of a token, and it is not the right one.
        for (i, &token) in wrong.iter().enumerate() {
            known[token] = false;
            let right_next = successor[token].map(|next| next as usize);
            if let Some(next) = right_next {
                believed[next] = Some(wrong[(i + wrong.len() - 1) % wrong.len()]);
            }
        }
        let scale = keeping(pair.hidden);
        let mut random = Random::new(pair.seed, EMBEDDING);
        let embedding = (0..pair.vocab * pair.hidden).map(|_| scale * random.unit()).collect();
        Self { pair, rule: PlantedRule { successor, known }, embedding, before, believed }
    }

    fn embedding_of(&self, token: usize) -> &[f32] {
        &self.embedding[token * self.pair.hidden..][..self.pair.hidden]
    }

    fn target_shape(&self) -> Shape {
        let p = self.pair;
        Shape {
            context: p.context,
            hidden: p.hidden,
            ffn: vec![p.ffn; p.layers],
            heads: p.heads,
            kv_heads: vec![p.kv_heads; p.layers],
            head_dim_swa: p.head_dim_swa,
            head_dim_full: p.head_dim_full,
            window: p.window,
            sliding: (0..p.layers).map(|layer| layer % 3 != 2).collect(),
            shared_kv_layers: p.shared_kv,
            ple: p.ple,
        }
    }

    fn write_target(&self, path: &Path) -> Result<(), EngineError> {
        let p = self.pair;
        let shape = self.target_shape();
        let mut header =
            shape.header("gemma4", "tiny random Gemma 4 with a planted cycle", p.weights, p.vocab);
        header.set("gemma4.final_logit_softcapping", Value::F32(30.0));
        if let Some(experts) = &p.experts {
            experts.set_keys(&mut header);
        }
        Vocabulary::new(p.vocab).write(&mut header);
        let mut tensors = self.target_globals();
        for layer in 0..p.layers {
            tensors.extend(self.target_layer(&shape, layer));
        }
        fill::write(path, header, tensors, p.seed, &mut |_, _| ())
    }

    fn target_globals(&self) -> Vec<Tensor<'_>> {
        let p = self.pair;
        let embedding = |token: usize, row: &mut [f32]| row.copy_from_slice(self.embedding_of(token));
        let head = |token: usize, row: &mut [f32]| match self.before[token] {
            Some(before) => {
                for (out, x) in row.iter_mut().zip(self.embedding_of(before)) {
                    *out = p.logit_scale * x;
                }
            }
            None => row.fill(0.0),
        };
        let table = [p.hidden, p.vocab];
        let mut tensors = vec![
            Tensor::new("token_embd.weight", &table, p.weights, Fill::Rows(Box::new(embedding))),
            Tensor::new("output.weight", &table, p.weights, Fill::Rows(Box::new(head))),
            Tensor::constant("output_norm.weight", p.hidden, 1.0),
            fill::rope_freqs(p.head_dim_full),
        ];
        if p.ple > 0 {
            let width = p.ple * p.layers;
            let table = Fill::Random(keeping(p.ple));
            tensors.push(Tensor::new("per_layer_token_embd.weight", &[width, p.vocab], p.weights, table));
            tensors.push(Tensor::matrix(
                "per_layer_model_proj.weight",
                p.hidden,
                width,
                float_type(p.weights),
            ));
            tensors.push(Tensor::constant("per_layer_proj_norm.weight", p.ple, 1.0));
        }
        tensors
    }

    fn target_layer(&self, shape: &Shape, layer: usize) -> Vec<Tensor<'static>> {
        let p = self.pair;
        let mut tensors = block(&block_shape(shape, layer, p.noise, p.weights));
        let at = |name: &str| format!("blk.{layer}.{name}.weight");
        let kv_width = shape.head_dim(layer) * p.kv_heads;
        if layer < p.layers - p.shared_kv {
            tensors.push(Tensor::matrix(at("attn_k"), p.hidden, kv_width, p.weights));
            if shape.sliding[layer] || !p.k_eq_v {
                tensors.push(Tensor::matrix(at("attn_v"), p.hidden, kv_width, p.weights));
            }
            tensors.push(Tensor::constant(at("attn_k_norm"), shape.head_dim(layer), QK_NORM));
        }
        if p.ple > 0 {
            tensors.push(Tensor::matrix(at("inp_gate"), p.hidden, p.ple, p.weights));
            tensors.push(Tensor::matrix(at("proj"), p.ple, p.hidden, p.weights));
            tensors.push(Tensor::constant(at("post_norm"), p.hidden, p.noise));
        }
        if let Some(experts) = &p.experts {
            tensors.extend(experts.tensors(layer, p.hidden, p.weights));
        }
        tensors
    }

    fn write_assistant(&self, path: &Path) -> Result<(), EngineError> {
        let p = self.pair;
        let shape = Shape {
            hidden: p.assistant_hidden,
            ffn: vec![p.assistant_ffn; p.assistant_layers],
            heads: p.assistant_heads,
            kv_heads: vec![p.kv_heads; p.assistant_layers],
            sliding: (1..=p.assistant_layers).map(|nth| nth != p.assistant_layers).collect(),
            shared_kv_layers: p.assistant_layers,
            ple: 0,
            ..self.target_shape()
        };
        let name = "tiny random Gemma 4 assistant with a planted cycle";
        let mut header = shape.header("gemma4-assistant", name, p.weights, p.vocab);
        header.set("gemma4-assistant.embedding_length_out", int(p.hidden));
        header.set("gemma4-assistant.nextn_predict_layers", int(p.assistant_layers));
        Vocabulary::new(p.vocab).write(&mut header);
        let projection = self.projection();
        let mut tensors = self.assistant_globals(&projection);
        for layer in 0..p.assistant_layers {
            tensors.extend(block(&block_shape(&shape, layer, p.noise, p.weights)));
        }
        fill::write(path, header, tensors, p.seed ^ ASSISTANT, &mut |_, _| ())
    }

    /// R `[assistant_hidden][hidden]`.
    fn projection(&self) -> Vec<f32> {
        let mut random = Random::new(self.pair.seed, PROJECTION);
        let scale = keeping(self.pair.assistant_hidden);
        (0..self.pair.assistant_hidden * self.pair.hidden).map(|_| scale * random.unit()).collect()
    }

    /// R times the embedding of the token that the assistant believes precedes `token`.
    fn assistant_head(&self, token: usize, projection: &[f32], row: &mut [f32]) {
        row.fill(0.0);
        let Some(believed) = self.believed[token] else { return };
        let embedding = self.embedding_of(believed);
        for (out, r) in row.iter_mut().zip(projection.chunks_exact(self.pair.hidden)) {
            *out = r.iter().zip(embedding).map(|(a, b)| a * b).sum();
        }
    }

    /// A centroid is the sum of its tokens' head rows, so that the best centroids hold the best token.
    fn centroid_head<'s>(&'s self, centroids: usize, projection: &'s [f32]) -> [Tensor<'s>; 2] {
        let p = self.pair;
        let ordering = fill::token_ordering(p.seed, p.vocab);
        let members = ordering.clone();
        let mut one = vec![0.0; p.assistant_hidden];
        let rows = move |centroid: usize, row: &mut [f32]| {
            let share = p.vocab / centroids;
            row.fill(0.0);
            for &token in &members[centroid * share..][..share] {
                self.assistant_head(token as usize, projection, &mut one);
                row.iter_mut().zip(&one).for_each(|(sum, x)| *sum += x);
            }
        };
        let dims = [p.assistant_hidden, centroids];
        [
            Tensor::new("masked_embd_centroids.weight", &dims, p.weights, Fill::Rows(Box::new(rows))),
            Tensor::new("masked_embd_ordering", &[p.vocab], GgmlType::I32, Fill::Ids(ordering)),
        ]
    }

    fn assistant_globals<'s>(&'s self, projection: &'s [f32]) -> Vec<Tensor<'s>> {
        let p = self.pair;
        let (width, hidden) = (p.assistant_hidden, p.hidden);
        let head = move |token: usize, row: &mut [f32]| self.assistant_head(token, projection, row);
        // The target's hidden state is heard too, but faintly: the rule rides on the embedding.
        let mut random = Random::new(p.seed ^ ASSISTANT, PROJECTION);
        let pre = move |row: usize, out: &mut [f32]| {
            let (from_embedding, from_hidden) = out.split_at_mut(hidden);
            from_embedding.copy_from_slice(&projection[row * hidden..][..hidden]);
            from_hidden.iter_mut().for_each(|w| *w = 0.02 * keeping(hidden) * random.unit());
        };
        let mut tensors = vec![
            Tensor::new("token_embd.weight", &[width, p.vocab], p.weights, Fill::Rows(Box::new(head))),
            Tensor::constant("output_norm.weight", width, 1.0),
            fill::rope_freqs(p.head_dim_full),
            Tensor::new(
                "nextn.pre_projection.weight",
                &[2 * hidden, width],
                p.weights,
                Fill::Rows(Box::new(pre)),
            ),
            Tensor::matrix("nextn.post_projection.weight", width, hidden, p.weights),
        ];
        if let Some(centroids) = p.centroids {
            tensors.extend(self.centroid_head(centroids, projection));
        }
        tensors
    }
}

/// Weight of q and k norms: without an attention scale, norms of 1 would make attention a hard maximum.
const QK_NORM: f32 = 0.3;

/// Tokens whose successor the assistant gets wrong; one alone could not be given a wrong one, so it is none then.
fn wrong_tokens(acceptance: f32, cycle: &[usize], random: &mut Random) -> Vec<usize> {
    let mut shuffled = cycle.to_vec();
    random.shuffle(&mut shuffled);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a vocabulary, checked to be from 0 to 1"
    )]
    let right = (acceptance * cycle.len() as f32).round() as usize;
    let wrong = shuffled.split_off(right.min(cycle.len()));
    if wrong.len() == 1 { Vec::new() } else { wrong }
}

fn block_shape(shape: &Shape, layer: usize, noise: f32, weights: GgmlType) -> BlockShape {
    BlockShape {
        layer,
        hidden: shape.hidden,
        heads: shape.heads,
        head_dim: shape.head_dim(layer),
        ffn: shape.ffn[layer],
        q_norm: QK_NORM,
        post_norm: noise,
        weights,
    }
}

#[cfg(test)]
#[path = "tiny_tests.rs"]
mod tests;
