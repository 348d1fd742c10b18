//! The target model on the device: tokens in, ids of the greatest logits out, with the caches of one sequence.
//!
//! Up to [`VERIFY_ROWS`] rows are one graph, captured when that many rows first occur; longer prefills are queued launch
//! by launch. Invariant: as [`CpuTarget`](crate::model::CpuTarget), a row's bits depend on the tokens before it alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::attention::{Attentions, CachePlan, LayerAttention, LayerKv};
use super::layer::{CudaLayer, Frequencies, LayerPlace, Next, Pass, Scratch};
use super::weights::{DeviceTensors, FileMatrix, Products, Weights};
use crate::EngineError;
use crate::attention::{AttnShape, KvFormat, VERIFY_ROWS};
use crate::backend::cuda::{
    Activations, Argmax, Buffer, CudaError, Device, Graph, LayerInputs, NO_TOKEN, Ops, ResidualNorm,
    RowGather, RowSampler, Rows, VERDICT,
};
use crate::gguf::Gguf;
use crate::kv_cache::{AttentionKind, KvCache, KvLimits, KvType};
use crate::model::config::TargetConfig;
use crate::model::weights::{LayerExtras, LayerWeights, Loader, Tensors};
use crate::spec::accept::{self, ExactRule, Verdict};
use crate::spec::sampler::{self, Sampler};
use crate::spec::{Draft, LogitRows, Target};

/// Rows of a prefill pass.
const PREFILL_ROWS: usize = 512;
/// Rows of a graph.
const GRAPH_ROWS: usize = VERIFY_ROWS as usize;

/// How to load a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CudaLoadOptions {
    /// Most tokens of a sequence, prompt and output.
    pub context_tokens: usize,
    /// How keys are stored.
    pub k: KvFormat,
    /// How values are stored.
    pub v: KvFormat,
    /// Most rows whose logits one forward pass gives: the drafts and one more.
    pub max_verify_rows: usize,
}

/// A Gemma 4 target on a GPU.
pub struct CudaTarget {
    pub(super) device: Arc<Device>,
    pub(super) ops: Arc<Ops>,
    config: TargetConfig,
    layers: Vec<CudaLayer>,
    embedding: Weights,
    gather: RowGather,
    /// Absent where the embedding table is the head.
    head: Option<Weights>,
    output_norm: Buffer<f32>,
    frequencies: Frequencies,
    ple: Option<PleModel>,
    pub(super) caches: Vec<Option<LayerKv>>,
    pub(super) cache_plan: CachePlan,
    /// What is cached where; it holds no cells itself.
    positions: KvCache,
    tokens: Vec<u32>,
    pub(super) buffers: Buffers,
    graphs: BTreeMap<usize, Graph>,
    routes: Vec<String>,
}

/// Per-layer embeddings: one narrow vector a layer and token.
#[derive(Debug)]
struct PleModel {
    table: Weights,
    gather: RowGather,
    proj: Weights,
    norm: Buffer<f32>,
    /// `[rows][layers][width]`: looked up, and the result.
    looked_up: Buffer<f32>,
    values: Buffer<f32>,
}

/// All that a pass reads and writes besides weights and caches.
#[derive(Debug)]
pub(super) struct Buffers {
    scratch: Scratch,
    ids: Buffer<u32>,
    /// `[kv_len, first_pos]` of a pass, and of its last row.
    state: Buffer<i32>,
    last_state: Buffer<i32>,
    /// Rows after the output norm.
    hidden: Activations,
    /// `[rows][vocab]`
    pub(super) logits: Buffer<f32>,
    argmax: Argmax,
    /// The greatest logits' ids, and the verdict over the last pass's tokens as greedy drafts.
    pub(super) best: Buffer<u32>,
    /// The same on the host, for the rows of the last forward pass; the verdict only where that was one pass.
    chosen: Vec<u32>,
    verdict: Option<Verdict>,
    /// Rows that the last pass gave.
    pass_rows: usize,
    /// Logits on the host; empty until asked for.
    fetched: Vec<f32>,
    /// Made when a token is first sampled.
    pub(super) sampler: Option<RowSampler>,
    kept: Kept,
}

/// Results of the passes of one forward pass that had to be several.
#[derive(Debug)]
struct Kept {
    hidden: Buffer<f32>,
    logits: Buffer<f32>,
    best: Buffer<u32>,
}

/// What a pass is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// Only the caches.
    Nothing,
    /// The last row's logits.
    LastRow,
    /// Every row's.
    EveryRow,
}

impl CudaTarget {
    /// Loads a `gemma4` file onto a device. `progress` is told the bytes of weights that are there by now.
    ///
    /// # Errors
    /// [`EngineError::Model`] for what is wrong with the file, [`EngineError::InvalidArgument`] for the options,
    /// [`EngineError::Cuda`] for what the device cannot do, too little memory among it.
    pub fn load(
        device: Arc<Device>,
        gguf: &Arc<Gguf>,
        options: &CudaLoadOptions,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Self, EngineError> {
        let config = TargetConfig::read(gguf)?;
        if !(1..=config.context_length).contains(&options.context_tokens) {
            return Err(EngineError::InvalidArgument {
                what: "context_tokens",
                got: options.context_tokens.to_string(),
                expected: format!("1 to {}", config.context_length),
            });
        }
        let decoder = &config.decoder;
        let rows = PREFILL_ROWS.min(options.context_tokens).max(GRAPH_ROWS);
        let limits =
            KvLimits { context_tokens: options.context_tokens, window: decoder.window, max_rows: rows };
        let cache_plan = CachePlan { k: options.k, v: options.v, limits, prefill_rows: rows };
        let shapes: Vec<AttnShape> =
            decoder.layers.iter().map(|layer| cache_plan.shape(decoder, layer)).collect();
        check_memory(&device, gguf, &config, &shapes)?;
        let ops = Arc::new(Ops::new(&device)?);
        let mut attentions = Attentions::default();
        let attention: Vec<Arc<LayerAttention>> = shapes
            .iter()
            .map(|shape| attentions.of(&device, &cache_plan, *shape))
            .collect::<Result<_, _>>()?;
        let caches = (0..decoder.layers.len())
            .map(|i| (i < config.first_shared).then(|| LayerKv::new(&device, &shapes[i])).transpose())
            .collect::<Result<_, _>>()?;
        let tensors = DeviceTensors { loader: Loader::new(gguf) };
        let mut products = Products::default();
        let (hidden, vocab) = (decoder.hidden_size, decoder.vocab_size);
        let table = tensors.matrix("token_embd.weight", hidden, vocab)?;
        let embedding = Weights::stack(&device, &mut products, &[table])?;
        let mut loaded = embedding.bytes();
        progress(loaded);
        let mut layers = Vec::with_capacity(decoder.layers.len());
        for (index, attention) in attention.into_iter().enumerate() {
            let owns_kv = index < config.first_shared;
            let extras = LayerExtras { owns_kv, ple_width: config.ple_width, scale_required: false };
            let weights = LayerWeights::load(&tensors, index, decoder, extras)?;
            let place = LayerPlace { decoder, index, attention, kv_source: config.kv_source[index] };
            let layer = CudaLayer::upload(&device, &mut products, &weights, place)?;
            loaded += layer.bytes();
            progress(loaded);
            layers.push(layer);
        }
        let head = tensors.optional_matrix("output.weight", hidden, vocab)?;
        let head = head.map(|head| Weights::stack(&device, &mut products, &[head])).transpose()?;
        let half = decoder.head_dim(AttentionKind::Full) / 2;
        let factors = if half == 0 { Vec::new() } else { tensors.vector("rope_freqs.weight", half)? };
        Ok(Self {
            layers,
            gather: RowGather::new(&device, table.ty())?,
            embedding,
            head,
            output_norm: device.upload("norm weights", &tensors.vector("output_norm.weight", hidden)?)?,
            frequencies: Frequencies::new(&device, decoder, &factors)?,
            ple: PleModel::load(&device, &tensors, &mut products, &config, rows)?,
            caches,
            cache_plan,
            positions: KvCache::new(&[], KvType::F16, limits)?,
            tokens: Vec::with_capacity(options.context_tokens),
            buffers: Buffers::new(&device, &config, rows, options.max_verify_rows)?,
            graphs: BTreeMap::new(),
            routes: attentions.routes(),
            ops,
            device,
            config,
        })
    }

    /// What the file says about the model.
    #[must_use]
    pub const fn config(&self) -> &TargetConfig {
        &self.config
    }

    /// The attention kernels in force, in words.
    #[must_use]
    pub fn routes(&self) -> &[String] {
        &self.routes
    }

    /// Bytes of weights that a decode step reads.
    #[must_use]
    pub fn step_bytes(&self) -> usize {
        let layers: usize = self.layers.iter().map(CudaLayer::bytes_of_row).sum();
        let ple = self.ple.as_ref().map_or(0, |ple| ple.proj.bytes());
        layers + ple + self.head_weights().bytes()
    }

    /// Rows that the last forward pass gives.
    pub(super) const fn rows(&self) -> usize {
        self.buffers.chosen.len()
    }

    /// Rows after the output norm, one for each row of the last forward pass.
    pub(super) const fn hidden(&self) -> &Activations {
        &self.buffers.hidden
    }

    /// Hidden rows of the last pass on the host, `[rows][hidden]`: for tests.
    ///
    /// # Errors
    /// The driver's.
    pub fn download_hidden(&self) -> Result<Vec<f32>, EngineError> {
        let mut values = self.device.download(self.buffers.hidden.values())?;
        values.truncate(self.rows() * self.config.decoder.hidden_size);
        Ok(values)
    }

    /// Queues the scaled embeddings of ids on the device.
    pub(super) fn embed(&self, ids: &Buffer<u32>, rows: u32, out: &mut Buffer<f32>) -> Result<(), CudaError> {
        let n = self.config.decoder.hidden_size;
        self.gather.launch(&self.device, self.embedding.table(), ids, rows, (n as f32).sqrt(), out, n)
    }

    /// Computes again what a rollback beyond the ring has lost; nothing in the ordinary course.
    pub(super) fn restore_caches(&mut self) -> Result<(), EngineError> {
        while self.positions.len() < self.tokens.len() {
            let first = self.positions.len();
            let count = (self.tokens.len() - first).min(self.cache_plan.prefill_rows);
            let tokens = self.tokens[first..first + count].to_vec();
            self.pass(&tokens, Wanted::Nothing)?;
        }
        Ok(())
    }

    const fn head_weights(&self) -> &Weights {
        match &self.head {
            Some(head) => head,
            None => &self.embedding,
        }
    }

    fn check_tokens(&self, tokens: &[u32]) -> Result<(), EngineError> {
        if tokens.is_empty() {
            return Err(EngineError::InvalidArgument {
                what: "tokens",
                got: "none".to_owned(),
                expected: "at least one".to_owned(),
            });
        }
        let (needed, capacity) = (self.tokens.len() + tokens.len(), self.capacity());
        if needed > capacity {
            return Err(EngineError::ContextFull { needed, capacity });
        }
        let vocab_size = self.vocab_size();
        match tokens.iter().find(|id| **id as usize >= vocab_size) {
            Some(id) => Err(EngineError::UnknownToken { id: *id, vocab_size }),
            None => Ok(()),
        }
    }

    /// One pass over the weights.
    fn pass(&mut self, tokens: &[u32], wanted: Wanted) -> Result<(), EngineError> {
        let (first, rows) = (self.positions.len(), tokens.len());
        let state = |first: usize| {
            let position = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
            [position(self.positions.len() + rows), position(first)]
        };
        let (all, last) = (state(first), state(first + rows - 1));
        self.device.write(&mut self.buffers.ids, tokens)?;
        self.device.write(&mut self.buffers.state, &all)?;
        self.device.write(&mut self.buffers.last_state, &last)?;
        if wanted == Wanted::EveryRow {
            self.replay(rows)?;
        } else {
            self.queue(rows, wanted)?;
        }
        self.positions.advance(rows);
        self.buffers.pass_rows = if wanted == Wanted::EveryRow { rows } else { 1 };
        Ok(())
    }

    /// Launches the graph of a pass over `rows` rows, captured when it is first needed.
    fn replay(&mut self, rows: usize) -> Result<(), EngineError> {
        if !self.graphs.contains_key(&rows) {
            let device = Arc::clone(&self.device);
            let mut queued = Ok(());
            let graph = device.capture(|| {
                queued = self.queue(rows, Wanted::EveryRow);
                Ok(())
            });
            queued?;
            self.graphs.insert(rows, graph?);
        }
        Ok(self.graphs[&rows].launch()?)
    }

    /// Queues every launch of a pass over the rows whose ids and positions are on the device.
    fn queue(&mut self, rows: usize, wanted: Wanted) -> Result<(), EngineError> {
        let Self {
            device,
            ops,
            config,
            layers,
            caches,
            buffers,
            ple,
            frequencies,
            output_norm,
            gather,
            embedding,
            ..
        } = self;
        let Buffers { scratch, state, last_state, ids, hidden, .. } = buffers;
        let (decoder, count) = (&config.decoder, as_u32(rows));
        let n = decoder.hidden_size;
        let scale = (n as f32).sqrt();
        gather.launch(device, embedding.table(), ids, count, scale, &mut scratch.h, n)?;
        let (stream, eps) = (Rows::of(&scratch.h, n), decoder.rms_eps);
        if let Some(ple) = ple {
            ops.residual_norm(device, count, &ResidualNorm::stream(stream, None, eps), &mut scratch.x)?;
            ple.run(device, ops, config, ids, count, &scratch.x)?;
        }
        let first_norm = layers.first().map(|layer| &layer.attn_norm);
        ops.residual_norm(device, count, &ResidualNorm::stream(stream, first_norm, eps), &mut scratch.x)?;
        let ple = ple.as_ref().map(|ple| (&ple.values, config.ple_width));
        let mut pass = Pass { device, ops, decoder, frequencies, state, rows: count, first_row: 0, ple };
        let last_own = config.first_shared - 1;
        for (index, layer) in layers.iter().enumerate() {
            let ends_own = index == last_own && wanted != Wanted::EveryRow;
            let next = match layers.get(index + 1) {
                _ if ends_own && wanted == Wanted::Nothing => Next::Nobody,
                Some(next) if ends_own => Next::LastRow(&next.attn_norm),
                Some(next) => Next::Layer(&next.attn_norm),
                // Prefill of a model whose layers all have their own keys: every row got here.
                None if wanted == Wanted::LastRow && pass.rows > 1 => Next::LastRow(output_norm),
                None => Next::Output(output_norm, hidden),
            };
            let (is_output, alone) = (matches!(next, Next::Output(..)), matches!(next, Next::LastRow(_)));
            layer.run(&pass, index, caches, scratch, next)?;
            if ends_own && wanted == Wanted::Nothing {
                return Ok(());
            }
            if alone {
                pass = Pass { rows: 1, first_row: rows - 1, state: last_state, ..pass };
            }
            if index + 1 == layers.len() && !is_output {
                // The stream of the last row is normed into its place.
                let h = Rows { buffer: &scratch.h, from: pass.first_row * n, stride: n };
                ops.residual_norm(device, 1, &ResidualNorm::stream(h, Some(output_norm), eps), hidden)?;
            }
        }
        self.choose(if wanted == Wanted::LastRow { 1 } else { rows })
    }

    /// Head, soft cap and the greatest logit of the first `rows` hidden rows.
    fn choose(&mut self, rows: usize) -> Result<(), EngineError> {
        let count = as_u32(rows);
        let head = match &self.head {
            Some(head) => head,
            None => &self.embedding,
        };
        let Buffers { hidden, logits, argmax, best, ids, .. } = &mut self.buffers;
        head.launch(&self.device, hidden, count, logits)?;
        let (n, cap) = (self.config.decoder.vocab_size, self.config.softcap.unwrap_or(0.0));
        Ok(self.ops.argmax(
            &self.device,
            count,
            (n, cap),
            logits,
            argmax,
            (best, 0),
            None,
            None,
            Some(ids),
        )?)
    }

    /// Every row of `tokens`: in one pass, or where that would change a row's bits, or there are more rows than a graph
    /// has, in several.
    fn verify(&mut self, tokens: &[u32]) -> Result<usize, EngineError> {
        let (n, vocab) = (self.config.decoder.hidden_size, self.vocab_size());
        let mut done = 0;
        while done < tokens.len() {
            let rows = self.rows_alike(self.positions.len(), tokens.len() - done);
            self.pass(&tokens[done..done + rows], Wanted::EveryRow)?;
            if rows < tokens.len() {
                let Buffers { hidden, logits, best, kept, .. } = &mut self.buffers;
                let stride = hidden.stride();
                self.device.copy(hidden.values(), 0..rows * stride, &mut kept.hidden, done * stride)?;
                self.device.copy(logits, 0..rows * vocab, &mut kept.logits, done * vocab)?;
                self.device.copy(best, 0..rows, &mut kept.best, done)?;
            }
            done += rows;
            if done == tokens.len() && rows < tokens.len() {
                let Buffers { hidden, logits, best, kept, .. } = &mut self.buffers;
                let stride = n.next_multiple_of(32);
                self.device.copy(&kept.hidden, 0..done * stride, hidden.values_mut(), 0)?;
                self.device.copy(&kept.logits, 0..done * vocab, logits, 0)?;
                self.device.copy(&kept.best, 0..done, best, 0)?;
            }
        }
        Ok(done)
    }

    /// Ids of the first `rows` rows, and the verdict of the last pass, to the host; waits for the device.
    fn take_choice(&mut self, rows: usize) -> Result<(), EngineError> {
        let ids = self.device.download(&self.buffers.best)?;
        let (ids, verdict) = ids.split_at(self.buffers.outputs());
        self.buffers.chosen.clear();
        self.buffers.chosen.extend_from_slice(&ids[..rows]);
        self.buffers.verdict = match *verdict {
            [accepted, next] if next != NO_TOKEN && rows == self.buffers.pass_rows => {
                Some(Verdict { accepted: accepted as usize, next })
            }
            _ => None,
        };
        self.buffers.fetched.clear();
        Ok(())
    }

    /// The device's verdict over `drafts` as greedy ones, if those are what the last forward pass, in one piece, was over.
    fn greedy_verdict(&self, drafts: &[u32]) -> Option<Verdict> {
        let whole = drafts.len() + 1 == self.rows() && self.tokens.ends_with(drafts);
        self.buffers.verdict.filter(|_| whole)
    }

    /// Most rows from position `first` on that one pass may have so that each gets the bits it would have alone.
    fn rows_alike(&self, first: usize, rows: usize) -> usize {
        let alike =
            |rows: &usize| self.layers.iter().all(|layer| layer.attention().divides_alike(first, *rows));
        (1..=rows.min(GRAPH_ROWS)).rev().find(alike).unwrap_or(1)
    }
}

impl Target for CudaTarget {
    fn vocab_size(&self) -> usize {
        self.config.decoder.vocab_size
    }

    fn capacity(&self) -> usize {
        self.cache_plan.limits.context_tokens
    }

    fn len(&self) -> usize {
        self.tokens.len()
    }

    fn forward(&mut self, tokens: &[u32], rows: LogitRows) -> Result<(), EngineError> {
        self.check_tokens(tokens)?;
        let most = self.buffers.outputs();
        if rows == LogitRows::All && tokens.len() > most {
            return Err(EngineError::InvalidArgument {
                what: "tokens",
                got: format!("{} tokens", tokens.len()),
                expected: format!("at most max_verify_rows = {most} with all logits"),
            });
        }
        self.restore_caches()?;
        let given = match rows {
            LogitRows::All => self.verify(tokens)?,
            LogitRows::Last if tokens.len() == 1 => self.verify(tokens)?,
            LogitRows::Last => {
                let mut chunks = tokens.chunks(self.cache_plan.prefill_rows).peekable();
                while let Some(chunk) = chunks.next() {
                    let wanted = if chunks.peek().is_some() { Wanted::Nothing } else { Wanted::LastRow };
                    self.pass(chunk, wanted)?;
                }
                1
            }
        };
        self.take_choice(given)?;
        self.tokens.extend_from_slice(tokens);
        Ok(())
    }

    fn argmax(&mut self, row: usize) -> Result<u32, EngineError> {
        match self.buffers.chosen.get(row) {
            Some(&id) if id != NO_TOKEN => Ok(id),
            // The host says which logit is none, or that there is no such row.
            Some(_) | None => {
                self.fetch_logits()?;
                sampler::argmax(self.logits(row))
            }
        }
    }

    fn fetch_logits(&mut self) -> Result<(), EngineError> {
        if self.buffers.fetched.is_empty() {
            let mut logits = self.device.download(&self.buffers.logits)?;
            logits.truncate(self.rows() * self.vocab_size());
            self.buffers.fetched = logits;
        }
        Ok(())
    }

    fn accept(
        &mut self,
        draft: &Draft,
        rule: ExactRule,
        sampler: &mut Sampler,
        probs: &mut Vec<f32>,
    ) -> Result<Verdict, EngineError> {
        let rejection = match rule {
            ExactRule::Greedy => {
                return match self.greedy_verdict(&draft.tokens) {
                    Some(verdict) => Ok(verdict),
                    // Of several passes, or of a row that gives no token: the ids came with the rows.
                    None => accept::on_host(self, draft, rule, sampler, probs),
                };
            }
            ExactRule::SampleAndCompare => false,
            ExactRule::Rejection => true,
        };
        match self.decide(draft, rejection, sampler)? {
            Some(verdict) => Ok(verdict),
            // The host says which logit is none.
            None => self.decide_on_host(draft, rule, sampler, probs),
        }
    }

    fn draw(&mut self, row: usize, sampler: &mut Sampler, probs: &mut Vec<f32>) -> Result<u32, EngineError> {
        match self.draw_row(row, sampler)? {
            Some(token) => Ok(token),
            None => {
                self.fetch_logits()?;
                sampler.distribution(self.logits(row), probs)?;
                sampler.draw(probs)
            }
        }
    }

    fn logits(&self, row: usize) -> &[f32] {
        let vocab = self.vocab_size();
        &self.buffers.fetched[row * vocab..(row + 1) * vocab]
    }

    fn truncate(&mut self, len: usize) {
        self.tokens.truncate(len);
        let len = self.tokens.len();
        self.positions.truncate(if self.positions.can_truncate(len) { len } else { 0 });
    }
}

impl PleModel {
    fn load(
        device: &Device,
        tensors: &DeviceTensors<'_>,
        products: &mut Products,
        config: &TargetConfig,
        rows: usize,
    ) -> Result<Option<Self>, EngineError> {
        if config.ple_width == 0 {
            return Ok(None);
        }
        let width = config.ple_width * config.decoder.layers.len();
        let table: FileMatrix<'_> =
            tensors.matrix("per_layer_token_embd.weight", width, config.decoder.vocab_size)?;
        let proj = tensors.matrix("per_layer_model_proj.weight", config.decoder.hidden_size, width)?;
        let norm = tensors.vector("per_layer_proj_norm.weight", config.ple_width)?;
        Ok(Some(Self {
            gather: RowGather::new(device, table.ty())?,
            table: Weights::stack(device, products, &[table])?,
            proj: Weights::stack(device, products, &[proj])?,
            norm: device.upload("norm weights", &norm)?,
            looked_up: device.zeros("per-layer embeddings", rows * width)?,
            values: device.zeros("per-layer embeddings", rows * width)?,
        }))
    }

    /// Queues the per-layer embeddings of all layers; `x` is the embedded tokens.
    fn run(
        &mut self,
        device: &Device,
        ops: &Ops,
        config: &TargetConfig,
        ids: &Buffer<u32>,
        rows: u32,
        x: &Activations,
    ) -> Result<(), CudaError> {
        let (layers, width) = (config.decoder.layers.len(), config.ple_width);
        let scale = (width as f32).sqrt();
        self.gather.launch(
            device,
            self.table.table(),
            ids,
            rows,
            scale,
            &mut self.looked_up,
            layers * width,
        )?;
        self.proj.launch(device, x, rows, &mut self.values)?;
        let op = LayerInputs {
            p: &mut self.values,
            e: &self.looked_up,
            weight: &self.norm,
            scale: 1.0 / (config.decoder.hidden_size as f32).sqrt(),
            layers,
            width,
            eps: config.decoder.rms_eps,
        };
        ops.layer_inputs(device, rows, op)
    }
}

impl Buffers {
    /// Rows that a forward pass can give.
    pub(super) fn outputs(&self) -> usize {
        self.best.len() - VERDICT
    }

    /// For passes of `rows` rows, and forward passes that give up to `outputs`.
    fn new(device: &Device, config: &TargetConfig, rows: usize, outputs: usize) -> Result<Self, CudaError> {
        let decoder = &config.decoder;
        let hidden = Activations::new(device, outputs, decoder.hidden_size)?;
        // Passes are never split where there is but one row.
        let kept = if outputs > 1 { outputs } else { 0 };
        Ok(Self {
            kept: Kept {
                hidden: device.zeros("hidden rows", kept * hidden.stride())?,
                logits: device.zeros("logits", kept * decoder.vocab_size)?,
                best: device.zeros("token ids", kept)?,
            },
            scratch: Scratch::new(device, decoder, rows, config.ple_width)?,
            ids: device.zeros("token ids", rows)?,
            state: device.zeros("positions", 2)?,
            last_state: device.zeros("positions", 2)?,
            hidden,
            logits: device.zeros("logits", outputs * decoder.vocab_size)?,
            argmax: Argmax::new(device, GRAPH_ROWS)?,
            best: device.zeros("token ids", outputs + VERDICT)?,
            chosen: Vec::with_capacity(outputs),
            verdict: None,
            pass_rows: 0,
            fetched: Vec::new(),
            sampler: None,
        })
    }
}

impl std::fmt::Debug for CudaTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CudaTarget").field("routes", &self.routes).finish_non_exhaustive()
    }
}

fn as_u32(rows: usize) -> u32 {
    u32::try_from(rows).unwrap_or(u32::MAX)
}

/// Weights and caches against the free memory, before anything is copied.
fn check_memory(
    device: &Device,
    gguf: &Gguf,
    config: &TargetConfig,
    shapes: &[AttnShape],
) -> Result<(), EngineError> {
    let weights: usize = gguf.tensors().map(|tensor| tensor.data.len()).sum();
    let caches: usize = shapes[..config.first_shared].iter().map(LayerKv::bytes).sum();
    let (free, total) = device.memory()?;
    let bytes = weights.saturating_add(caches);
    if bytes > free {
        return Err(CudaError::OutOfMemory { what: "weights and KV cache", bytes, free, total }.into());
    }
    Ok(())
}
