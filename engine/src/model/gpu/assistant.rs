//! The MTP assistant on the device: a chain of draft steps that needs the host only once.
//!
//! A step embeds a token, joins it with a hidden row, goes through the assistant's layers, which read the target's
//! caches, and chooses the next token; the next step begins with both on the device. Drafts stand at position n
//! (llama.cpp's convention). Tokens are the likeliest here, or drawn (`super::drafts`). Invariant: a step writes nothing into
//! the target but what its drafts were drawn from.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::attention::Attentions;
use super::drafts::DrawnGraphs;
use super::layer::{CudaLayer, Frequencies, LayerPlace, Next, Pass, Scratch};
use super::target::CudaTarget;
use super::weights::{DeviceTensors, Products, Weights};
use crate::EngineError;
use crate::backend::cuda::{
    Activations, Argmax, Buffer, CandidateScores, CentroidShape, Device, Drawing, Graph, NO_TOKEN, Ops,
    ResidualNorm, Rows,
};
use crate::gguf::Gguf;
use crate::kv_cache::AttentionKind;
use crate::model::assistant::{CENTROIDS, CENTROIDS_KEPT, CentroidOrder, DraftHead};
use crate::model::config::AssistantConfig;
use crate::model::weights::{LayerExtras, LayerWeights, Loader, Tensors};
use crate::spec::Target;
use crate::spec::sampler::SamplingParams;

/// An assistant that fits one target.
pub struct CudaAssistant {
    config: AssistantConfig,
    pub(super) device: Arc<Device>,
    layers: Vec<CudaLayer>,
    pre_projection: Weights,
    post_projection: Weights,
    output_norm: Buffer<f32>,
    /// The assistant's own table, here only a head.
    head: Weights,
    centroids: Option<Centroids>,
    frequencies: Frequencies,
    pub(super) buffers: Buffers,
    /// By the steps of a round.
    graphs: BTreeMap<usize, Graph>,
    pub(super) drawn: DrawnGraphs,
    routes: Vec<String>,
}

/// The tokens of the nearest centroids are scored, and no others.
struct Centroids {
    weights: Weights,
    scores: Buffer<f32>,
    chosen: CandidateScores,
}

pub(super) struct Buffers {
    scratch: Scratch,
    /// `[n, n]`: keys that are cached, and where the queries stand.
    state: Buffer<i32>,
    /// Row of the target's hidden rows that the first step begins with.
    row: Buffer<i32>,
    /// The token that the next step embeds.
    token: Buffer<u32>,
    embedding: Buffer<f32>,
    joined: Activations,
    y: Activations,
    hidden: Buffer<f32>,
    logits: Buffer<f32>,
    argmax: Argmax,
    /// The likeliest token, where the draft is drawn.
    best: Buffer<u32>,
    /// A draft a step.
    pub(super) drafts: Buffer<u32>,
}

/// What a step begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// The target's hidden row.
    Target,
    /// The step before.
    Step,
}

impl CudaAssistant {
    /// Loads a `gemma4-assistant` file for `target`, which up to `draft_max` tokens are drafted for in a round.
    ///
    /// # Errors
    /// [`EngineError::Model`] for what is wrong with the file or does not fit the target, [`EngineError::Cuda`].
    pub fn load(
        gguf: &Arc<Gguf>,
        target: &CudaTarget,
        head: DraftHead,
        draft_max: usize,
    ) -> Result<Self, EngineError> {
        let config = AssistantConfig::read(gguf, target.config())?;
        let device = Arc::clone(&target.device);
        let tensors = DeviceTensors { loader: Loader::new(gguf) };
        let (decoder, mut products) = (&config.decoder, Products::default());
        let mut attentions = Attentions::default();
        let extras = LayerExtras { owns_kv: false, ple_width: 0, scale_required: true };
        let mut plan = target.cache_plan;
        plan.prefill_rows = 0;
        let mut layers = Vec::with_capacity(decoder.layers.len());
        for (index, layer) in decoder.layers.iter().enumerate() {
            let attention = attentions.of(&device, &plan, plan.shape(decoder, layer))?;
            let weights = LayerWeights::load(&tensors, index, decoder, extras)?;
            let place = LayerPlace { decoder, index, attention, kv_source: config.kv_source[index] };
            layers.push(CudaLayer::upload(&device, &mut products, &weights, place)?);
        }
        let half = decoder.head_dim(AttentionKind::Full) / 2;
        let factors = if half == 0 { Vec::new() } else { tensors.vector("rope_freqs.weight", half)? };
        let (hidden, backbone, vocab) = (decoder.hidden_size, config.backbone_size, decoder.vocab_size);
        let mut matrix = |name: &str, cols, rows| {
            let matrix = tensors.matrix(name, cols, rows)?;
            Ok::<_, EngineError>(Weights::stack(&device, &mut products, &[matrix])?)
        };
        let pre_projection = matrix("nextn.pre_projection.weight", 2 * backbone, hidden)?;
        let post_projection = matrix("nextn.post_projection.weight", hidden, backbone)?;
        let head_weights = matrix("token_embd.weight", hidden, vocab)?;
        let order = match head {
            DraftHead::Auto => CentroidOrder::load(&tensors.loader, vocab)?,
            DraftHead::Dense => None,
        };
        let centroids = match order {
            None => None,
            Some(CentroidOrder { count, order }) => {
                let head = tensors.matrix("token_embd.weight", hidden, vocab)?.ty();
                let shape = CentroidShape { centroids: count, kept: CENTROIDS_KEPT.min(count), hidden, head };
                Some(Centroids {
                    weights: matrix(CENTROIDS, hidden, count)?,
                    scores: device.zeros("scores of centroids", count)?,
                    chosen: CandidateScores::new(&device, &order, shape)?,
                })
            }
        };
        Ok(Self {
            output_norm: device.upload("norm weights", &tensors.vector("output_norm.weight", hidden)?)?,
            frequencies: Frequencies::new(&device, decoder, &factors)?,
            buffers: Buffers::new(&device, &config, draft_max)?,
            layers,
            pre_projection,
            post_projection,
            head: head_weights,
            centroids,
            graphs: BTreeMap::new(),
            drawn: DrawnGraphs::default(),
            routes: attentions.routes(),
            device,
            config,
        })
    }

    /// What the file says about the assistant.
    #[must_use]
    pub const fn config(&self) -> &AssistantConfig {
        &self.config
    }

    /// The head in force, in words.
    #[must_use]
    pub fn draft_head(&self) -> String {
        self.centroids.as_ref().map_or_else(
            || "dense".to_owned(),
            |head| format!("centroid {} of {}", head.chosen.kept(), head.chosen.centroids()),
        )
    }

    /// The attention kernels in force, in words.
    #[must_use]
    pub fn routes(&self) -> &[String] {
        &self.routes
    }

    /// Drafts `steps` tokens after `token`, whose hidden row is row `hidden_row` of the target's last forward pass.
    ///
    /// # Errors
    /// [`EngineError::BadLogit`], or the driver's.
    pub fn draft(
        &mut self,
        target: &mut CudaTarget,
        token: u32,
        hidden_row: usize,
        steps: usize,
        drafts: &mut Vec<u32>,
    ) -> Result<(), EngineError> {
        self.begin(target, token, hidden_row)?;
        if !self.graphs.contains_key(&steps) {
            let graph = self.capture(target, steps, None)?;
            self.graphs.insert(steps, graph);
        }
        self.graphs[&steps].launch()?;
        let ids = self.device.download(&self.buffers.drafts)?;
        drafts.extend_from_slice(&ids[..steps]);
        match drafts.iter().find(|id| **id == NO_TOKEN) {
            Some(_) => Err(EngineError::BadLogit { id: 0, value: f32::NAN }),
            None => Ok(()),
        }
    }

    /// The steps of a round as a graph, their drafts drawn by `params` or the likeliest.
    pub(super) fn capture(
        &mut self,
        target: &mut CudaTarget,
        steps: usize,
        params: Option<&SamplingParams>,
    ) -> Result<Graph, EngineError> {
        let device = Arc::clone(&self.device);
        let mut queued = Ok(());
        let graph = device.capture(|| {
            queued = (0..steps).try_for_each(|step| self.queue(target, step, params));
            Ok(())
        });
        queued?;
        Ok(graph?)
    }

    /// Draft step `step` alone, its logits to the host: for drafts that are sampled there. The first step begins at the
    /// target's hidden row, later ones with `token` in place of the greatest logit's.
    ///
    /// # Errors
    /// The driver's.
    pub fn step(
        &mut self,
        target: &mut CudaTarget,
        token: u32,
        (hidden_row, step): (usize, usize),
        logits: &mut [f32],
    ) -> Result<(), EngineError> {
        if step == 0 {
            self.begin(target, token, hidden_row)?;
        } else {
            self.device.write(&mut self.buffers.token, &[token])?;
        }
        self.queue(target, step, None)?;
        match &self.centroids {
            None => logits.copy_from_slice(&self.device.download(&self.buffers.logits)?),
            Some(centroids) => {
                logits.fill(f32::NEG_INFINITY);
                let (ids, scores) = centroids.chosen.download(&self.device)?;
                for (id, score) in ids.into_iter().zip(scores) {
                    logits[id as usize] = score;
                }
            }
        }
        Ok(())
    }

    /// Token, hidden row and position of the first step, on the device.
    pub(super) fn begin(
        &mut self,
        target: &mut CudaTarget,
        token: u32,
        hidden_row: usize,
    ) -> Result<(), EngineError> {
        let vocab_size = self.config.decoder.vocab_size;
        if token as usize >= vocab_size {
            return Err(EngineError::UnknownToken { id: token, vocab_size });
        }
        if hidden_row >= target.rows() || target.is_empty() || !self.config.fits(target.config()) {
            return Err(EngineError::InvalidArgument {
                what: "target of a draft",
                got: format!("{} cached tokens, row {hidden_row} of {}", target.len(), target.rows()),
                expected: "the target that the assistant was loaded for, after a forward pass".to_owned(),
            });
        }
        target.restore_caches()?;
        let position = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let n = position(target.len());
        self.device.write(&mut self.buffers.state, &[n, n])?;
        self.device.write(&mut self.buffers.row, &[position(hidden_row)])?;
        Ok(self.device.write(&mut self.buffers.token, &[token])?)
    }

    /// Queues one step.
    fn queue(
        &mut self,
        target: &mut CudaTarget,
        step: usize,
        params: Option<&SamplingParams>,
    ) -> Result<(), EngineError> {
        let Self { device, config, layers, buffers, frequencies, output_norm, .. } = self;
        let (decoder, ops, backbone) = (&config.decoder, Arc::clone(&target.ops), config.backbone_size);
        let Buffers { scratch, state, row, token, embedding, joined, y, hidden, .. } = buffers;
        let from = if step == 0 { From::Target } else { From::Step };
        target.embed(token, 1, embedding)?;
        let source = match from {
            From::Target => {
                let rows = target.hidden();
                (Rows { buffer: rows.values(), from: 0, stride: rows.stride() }, Some(&*row))
            }
            From::Step => (Rows::of(hidden, backbone), None),
        };
        ops.join_rows(device, backbone, embedding, source, joined)?;
        self.pre_projection.launch(device, joined, 1, &mut scratch.h)?;
        let first_norm = layers.first().map(|layer| &layer.attn_norm);
        let start =
            ResidualNorm::stream(Rows::of(&scratch.h, decoder.hidden_size), first_norm, decoder.rms_eps);
        ops.residual_norm(device, 1, &start, &mut scratch.x)?;
        let pass = Pass { device, ops: &ops, decoder, frequencies, state, rows: 1, first_row: 0, ple: None };
        for (index, layer) in layers.iter().enumerate() {
            let next = match layers.get(index + 1) {
                Some(next) => Next::Layer(&next.attn_norm),
                None => Next::Output(output_norm, y),
            };
            layer.run(&pass, index, &mut target.caches, scratch, next)?;
        }
        self.post_projection.launch(device, y, 1, hidden)?;
        match params {
            None => self.choose(&ops, step),
            Some(params) => {
                self.find_likeliest(&ops)?;
                let Buffers { logits, best, drafts, token, .. } = &mut self.buffers;
                let drawing = Drawing { logits, best, first_row: 0, params, rejection: false };
                Ok(target.row_sampler()?.draw_draft(&self.device, &drawing, step, (drafts, token))?)
            }
        }
    }

    /// The head, and the token of the greatest logit as the draft and as the next step's token.
    fn choose(&mut self, ops: &Ops, step: usize) -> Result<(), EngineError> {
        self.score(false)?;
        let Buffers { logits, argmax, drafts, token, .. } = &mut self.buffers;
        let (scores, names) = scored(&mut self.centroids, logits);
        let n = scores.len();
        Ok(ops.argmax(&self.device, 1, (n, 0.0), scores, argmax, (drafts, step), Some(token), names, None)?)
    }

    /// The head over the whole vocabulary, -inf where it scores nothing, and which token is the likeliest.
    fn find_likeliest(&mut self, ops: &Ops) -> Result<(), EngineError> {
        self.score(true)?;
        let Buffers { logits, argmax, best, .. } = &mut self.buffers;
        let (scores, names) = scored(&mut self.centroids, logits);
        let n = scores.len();
        Ok(ops.argmax(&self.device, 1, (n, 0.0), scores, argmax, (best, 0), None, names, None)?)
    }

    /// The head. One with centroids scores only candidates, and puts them in their places among the logits if that is
    /// wanted (`spread`).
    fn score(&mut self, spread: bool) -> Result<(), EngineError> {
        let Buffers { y, logits, .. } = &mut self.buffers;
        match &mut self.centroids {
            None => self.head.launch(&self.device, y, 1, logits)?,
            Some(Centroids { weights, scores, chosen }) => {
                weights.launch(&self.device, y, 1, scores)?;
                let logits = spread.then_some(logits);
                chosen.launch(&self.device, scores, self.head.table(), y.values(), logits)?;
            }
        }
        Ok(())
    }
}

/// What the head has scored, and the ids of it where that is not the whole vocabulary.
const fn scored<'h>(
    centroids: &'h mut Option<Centroids>,
    logits: &'h mut Buffer<f32>,
) -> (&'h mut Buffer<f32>, Option<&'h Buffer<u32>>) {
    match centroids {
        None => (logits, None),
        Some(centroids) => {
            let (ids, scores) = centroids.chosen.ids_and_scores();
            (scores, Some(ids))
        }
    }
}

impl Buffers {
    fn new(device: &Device, config: &AssistantConfig, draft_max: usize) -> Result<Self, EngineError> {
        let (decoder, backbone) = (&config.decoder, config.backbone_size);
        Ok(Self {
            scratch: Scratch::new(device, decoder, 1, 0)?,
            state: device.zeros("positions", 2)?,
            row: device.zeros("positions", 1)?,
            token: device.zeros("token ids", 1)?,
            embedding: device.zeros("embedding", backbone)?,
            joined: Activations::new(device, 1, 2 * backbone)?,
            y: Activations::new(device, 1, decoder.hidden_size)?,
            hidden: device.zeros("hidden row of a draft", backbone)?,
            logits: device.zeros("logits", decoder.vocab_size)?,
            argmax: Argmax::new(device, 1)?,
            best: device.zeros("token ids", 1)?,
            drafts: device.zeros("drafts", draft_max.max(1))?,
        })
    }
}

impl std::fmt::Debug for CudaAssistant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CudaAssistant").field("routes", &self.routes).finish_non_exhaustive()
    }
}
