//! The MTP assistant: drafts the next token from the target's last hidden row and the target's own caches.
//!
//! It has no keys and values of its own: its layers read the caches of the target's last sliding and last full layer
//! that have some. One step turns (token, hidden) into (logits, hidden); the next step takes that hidden row.
//! Does not choose tokens (see [`super::MtpProposer`]). Invariant: a step writes nothing into the target.

use std::sync::Arc;

use super::config::{AssistantConfig, bad_model};
use super::layer::{Layer, Positions, Scratch, ScratchSize, project};
use super::target::{CpuTarget, probe_memory};
use super::weights::{LayerExtras, LayerWeights, Loader, Matrix, Tensors};
use crate::EngineError;
use crate::backend::cpu::{Cpu, Input, Job, Q8Buffer, matmul_rows, rms_norm};
use crate::gguf::Gguf;
use crate::kv_cache::AttentionKind;
use crate::spec::Target;

/// Centroids whose tokens are scored, unless there are fewer.
pub(super) const CENTROIDS_KEPT: usize = 32;

/// The tensor of the centroids, `[count][hidden]`.
pub(super) const CENTROIDS: &str = "masked_embd_centroids.weight";

/// Where the query of a draft step stands, n being the number of cached tokens. It sees the cache `0..n` from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DraftPosition {
    /// At n for every draft, as llama.cpp and transformers.
    #[default]
    AtN,
    /// At n - 1 for every draft, as vLLM.
    NMinus1,
    /// At n, n + 1, ...: what early forks did; for comparisons.
    Increasing,
}

impl DraftPosition {
    /// Position of draft `step` (from 0) behind `cached` tokens.
    #[must_use]
    pub const fn of(self, cached: usize, step: usize) -> usize {
        match self {
            Self::AtN => cached,
            Self::NMinus1 => cached.saturating_sub(1),
            Self::Increasing => cached + step,
        }
    }
}

/// Which tokens a draft is chosen from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DraftHead {
    /// The tokens of the nearest centroids where the file has centroids, else all.
    #[default]
    Auto,
    /// All: centroids in the file are not read.
    Dense,
}

/// An assistant that fits one target's config.
#[derive(Debug)]
pub struct Assistant {
    config: AssistantConfig,
    layers: Vec<Layer>,
    pre_projection: Matrix,
    post_projection: Matrix,
    output_norm: Vec<f32>,
    /// The assistant's own table, here only a head.
    head: Matrix,
    centroids: Option<CentroidHead>,
    buffers: Buffers,
    /// Sizes that the buffers were made for.
    context_tokens: usize,
    threads: usize,
}

/// Finds the tokens worth scoring: those of the centroids nearest to the output.
#[derive(Debug)]
struct CentroidHead {
    /// `[centroids][hidden]`
    centroids: Matrix,
    /// `[centroids][vocab / centroids]` of token ids
    order: Vec<u32>,
    scores: Vec<f32>,
    ranking: Vec<u32>,
}

#[derive(Debug)]
struct Buffers {
    positions: Positions,
    scratch: Scratch,
    /// Embedding, then hidden row `[2 * backbone]`.
    joined: Vec<f32>,
    z: Vec<f32>,
    y: Vec<f32>,
    q8: Q8Buffer,
}

impl Assistant {
    /// Loads a `gemma4-assistant` file for `target`.
    ///
    /// # Errors
    /// [`EngineError::Model`] for what is wrong with the file or does not fit the target.
    pub fn load(gguf: &Arc<Gguf>, target: &CpuTarget, head: DraftHead) -> Result<Self, EngineError> {
        let config = AssistantConfig::read(gguf, target.config())?;
        let loader = Loader::new(gguf);
        let decoder = &config.decoder;
        let extras = LayerExtras { owns_kv: false, ple_width: 0, scale_required: true };
        let load =
            |index| Ok(Layer::new(decoder, index, LayerWeights::load(&loader, index, decoder, extras)?));
        let layers = (0..decoder.layers.len()).map(load).collect::<Result<_, EngineError>>()?;
        let half = decoder.head_dim(AttentionKind::Full) / 2;
        let factors = if half == 0 { Vec::new() } else { loader.vector("rope_freqs.weight", half)? };
        let (hidden, backbone) = (decoder.hidden_size, config.backbone_size);
        let (threads, context_tokens) = (target.cpu.pool.threads(), target.capacity());
        let size = ScratchSize { rows: 1, threads, context_tokens, ple_width: 0 };
        probe_memory(Scratch::bytes(decoder, size).unwrap_or(usize::MAX))?;
        Ok(Self {
            layers,
            pre_projection: loader.matrix("nextn.pre_projection.weight", 2 * backbone, hidden)?,
            post_projection: loader.matrix("nextn.post_projection.weight", hidden, backbone)?,
            output_norm: loader.vector("output_norm.weight", hidden)?,
            head: loader.matrix("token_embd.weight", hidden, decoder.vocab_size)?,
            centroids: match head {
                DraftHead::Auto => CentroidHead::load(&loader, hidden, decoder.vocab_size)?,
                DraftHead::Dense => None,
            },
            buffers: Buffers {
                positions: Positions::new(decoder, &factors, 1),
                scratch: Scratch::new(decoder, size),
                joined: vec![0.0; 2 * backbone],
                z: vec![0.0; hidden],
                y: vec![0.0; hidden],
                q8: Q8Buffer::with_capacity(2 * backbone),
            },
            context_tokens,
            threads,
            config,
        })
    }

    /// What the file says about the assistant.
    #[must_use]
    pub const fn config(&self) -> &AssistantConfig {
        &self.config
    }

    /// Whether logits come from the centroid head: then tokens outside its candidates have -inf.
    #[must_use]
    pub const fn has_centroids(&self) -> bool {
        self.centroids.is_some()
    }

    /// The head in force, in words: `centroid 32 of 2048` or `dense`.
    #[must_use]
    pub fn draft_head(&self) -> String {
        self.centroids.as_ref().map_or_else(
            || "dense".to_owned(),
            |head| format!("centroid {} of {}", head.kept(), head.scores.len()),
        )
    }

    /// One draft step: `token` was the last one, `hidden_in` `[backbone]` the target's (or the last step's) hidden row
    /// before it, `position` where the query stands. Fills `hidden_out` `[backbone]` and `logits` `[vocab]`.
    ///
    /// # Errors
    /// [`EngineError::UnknownToken`], or [`EngineError::InvalidArgument`] for slices of another length, for an empty
    /// cache (there is nothing to attend to), or for a target that this assistant was not loaded for.
    pub fn step(
        &mut self,
        target: &mut CpuTarget,
        token: u32,
        hidden_in: &[f32],
        position: usize,
        hidden_out: &mut [f32],
        logits: &mut [f32],
    ) -> Result<(), EngineError> {
        self.check_step(target, token, hidden_in, hidden_out, logits)?;
        target.restore_caches();
        let Buffers { joined, z, q8, positions, .. } = &mut self.buffers;
        let (embedding, hidden) = joined.split_at_mut(self.config.backbone_size);
        target.embed(token, embedding);
        hidden.copy_from_slice(hidden_in);
        let cached = target.len();
        let oldest = (position + 1).saturating_sub(self.config.decoder.window).min(cached - 1);
        positions.drafting(position, oldest..cached, cached);
        let cpu = &mut target.cpu;
        project(cpu, q8, joined, 1, &mut [Job { weights: self.pre_projection.weights(), out: z }]);
        for (layer, source) in self.layers.iter().zip(&self.config.kv_source) {
            let Buffers { positions, scratch, z, .. } = &mut self.buffers;
            let cache = target.kv.layer(*source).ok_or_else(|| wrong_target("a layer without a cache"))?;
            layer.project(cpu, positions, 0, z, scratch);
            layer.attend(cpu, positions, 0, cache, scratch);
            layer.finish(cpu, None, z, scratch);
        }
        self.heads(cpu, hidden_out, logits);
        Ok(())
    }

    fn check_step(
        &self,
        target: &CpuTarget,
        token: u32,
        hidden_in: &[f32],
        hidden_out: &[f32],
        logits: &[f32],
    ) -> Result<(), EngineError> {
        let vocab_size = self.config.decoder.vocab_size;
        if token as usize >= vocab_size {
            return Err(EngineError::UnknownToken { id: token, vocab_size });
        }
        let backbone = self.config.backbone_size;
        let sizes = [
            ("hidden_in", hidden_in.len(), backbone),
            ("hidden_out", hidden_out.len(), backbone),
            ("logits", logits.len(), vocab_size),
        ];
        for (what, got, expected) in sizes {
            if got != expected {
                return Err(EngineError::InvalidArgument {
                    what,
                    got: format!("{got} values"),
                    expected: format!("{expected}"),
                });
            }
        }
        if target.is_empty() {
            return Err(EngineError::InvalidArgument {
                what: "target",
                got: "no cached token".to_owned(),
                expected: "at least one to attend to".to_owned(),
            });
        }
        let same = self.config.fits(target.config())
            && target.capacity() <= self.context_tokens
            && target.cpu.pool.threads() <= self.threads;
        same.then_some(()).ok_or_else(|| wrong_target("another model, a longer context or more threads"))
    }

    /// Output norm, the hidden row for the next step, and the logits.
    fn heads(&mut self, cpu: &mut Cpu, hidden_out: &mut [f32], logits: &mut [f32]) {
        let Buffers { z, y, q8, .. } = &mut self.buffers;
        rms_norm(z, &self.output_norm, self.config.decoder.rms_eps, y);
        let post = Job { weights: self.post_projection.weights(), out: hidden_out };
        match &mut self.centroids {
            None => {
                let head = Job { weights: self.head.weights(), out: logits };
                project(cpu, q8, y, 1, &mut [post, head]);
            }
            Some(centroids) => {
                project(cpu, q8, y, 1, &mut [post]);
                centroids.logits(cpu, q8, &self.head, y, logits);
            }
        }
    }
}

/// Which tokens each centroid stands for.
#[derive(Debug)]
pub(super) struct CentroidOrder {
    /// Centroids.
    pub(super) count: usize,
    /// `[count][vocab / count]` of token ids, each once.
    pub(super) order: Vec<u32>,
}

impl CentroidOrder {
    /// The order of a file that has centroids.
    pub(super) fn load(loader: &Loader<'_>, vocab: usize) -> Result<Option<Self>, EngineError> {
        let (centroids_name, order_name) = (CENTROIDS, "masked_embd_ordering");
        let order = match loader.optional_ids(order_name, vocab)? {
            Some(order) => Some(order),
            None => loader.optional_ids("masked_embd_ordering.weight", vocab)?,
        };
        let (shape, order) = match (loader.shape(centroids_name), order) {
            (None, None) => return Ok(None),
            (Some(shape), Some(order)) => (shape, order),
            (None, Some(_)) => {
                return Err(bad_model(
                    format!("tensor `{centroids_name}`"),
                    "nothing",
                    "the centroids of the order",
                ));
            }
            (Some(_), None) => {
                return Err(bad_model(
                    format!("tensor `{order_name}`"),
                    "nothing",
                    "the token order of the centroids",
                ));
            }
        };
        let count = shape.1;
        if count == 0 || !vocab.is_multiple_of(count) {
            let expected = format!("a divisor of the vocabulary of {vocab}");
            return Err(bad_model(format!("rows of tensor `{centroids_name}`"), count, &expected));
        }
        let mut seen = vec![false; vocab];
        for id in &order {
            match seen.get_mut(*id as usize) {
                Some(seen) if !*seen => *seen = true,
                _ => {
                    return Err(bad_model(
                        format!("tensor `{order_name}`"),
                        format!("id {id}"),
                        "every token id once",
                    )
                    .hint_with("the token order was damaged on conversion; convert the file again"));
                }
            }
        }
        Ok(Some(Self { count, order }))
    }
}

impl CentroidHead {
    fn load(loader: &Loader<'_>, hidden: usize, vocab: usize) -> Result<Option<Self>, EngineError> {
        let Some(CentroidOrder { count, order }) = CentroidOrder::load(loader, vocab)? else {
            return Ok(None);
        };
        let centroids = loader.matrix(CENTROIDS, hidden, count)?;
        Ok(Some(Self { centroids, order, scores: vec![0.0; count], ranking: Vec::with_capacity(count) }))
    }

    /// Centroids whose tokens are scored.
    fn kept(&self) -> usize {
        CENTROIDS_KEPT.min(self.scores.len())
    }

    /// Scores the tokens of the nearest centroids; all others are impossible.
    fn logits(&mut self, cpu: &mut Cpu, q8: &mut Q8Buffer, head: &Matrix, y: &[f32], logits: &mut [f32]) {
        let job = Job { weights: self.centroids.weights(), out: &mut self.scores };
        project(cpu, q8, y, 1, &mut [job]);
        let (kept, scores, count) = (self.kept(), &self.scores, self.scores.len());
        self.ranking.clear();
        self.ranking.extend((0..).take(count));
        if kept < count {
            let better =
                |a: &u32, b: &u32| scores[*b as usize].total_cmp(&scores[*a as usize]).then_with(|| a.cmp(b));
            self.ranking.select_nth_unstable_by(kept - 1, better);
        }
        logits.fill(f32::NEG_INFINITY);
        let weights = head.weights();
        let input = Input::new(cpu.isa, y, 1, weights.is_q8(), q8);
        let width = self.order.len() / count;
        for centroid in &self.ranking[..kept] {
            let first = *centroid as usize * width;
            matmul_rows(cpu.isa, &weights, input, &self.order[first..first + width], logits);
        }
    }
}

fn wrong_target(got: &str) -> EngineError {
    EngineError::InvalidArgument {
        what: "target",
        got: got.to_owned(),
        expected: "the target that the assistant was loaded for".to_owned(),
    }
}
