//! The target model on the device: tokens in, ids of the greatest logits out, with the caches of one sequence.
//!
//! Up to [`VERIFY_ROWS`] rows are one graph, captured when that many rows first occur; longer prefills are queued launch
//! by launch. Invariant: as [`CpuTarget`](crate::model::CpuTarget), a row's bits depend on the tokens before it alone.

mod buffers;
mod memory;
mod passes;
mod ple;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) use buffers::Buffers;
use memory::place_table;
use passes::Wanted;
use ple::PleModel;

use super::attention::{Attentions, CachePlan, LayerAttention, LayerKv};
use super::layer::{CudaLayer, Frequencies, LayerPlace};
use super::weights::{DeviceTensors, Products, Weights};
use crate::EngineError;
use crate::attention::{AttnShape, KvFormat, VERIFY_ROWS};
use crate::backend::cuda::{Activations, Buffer, CudaError, Device, Graph, NO_TOKEN, Ops, RowGather};
use crate::gguf::Gguf;
use crate::kv_cache::{AttentionKind, KvCache, KvLimits, KvType};
use crate::model::config::TargetConfig;
use crate::model::placement::PleTable;
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
    /// Where the table of per-layer embeddings goes, of a model that has one.
    pub ple_table: PleTable,
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
        let place = place_table(&device, gguf, &config, &shapes, options.ple_table)?;
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
            ple: PleModel::load(&device, &tensors, &mut products, &config, rows, place)?,
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

    /// Where the table of per-layer embeddings lies, in words; `None` for a model without.
    #[must_use]
    pub fn ple_table(&self) -> Option<String> {
        self.ple.as_ref().map(PleModel::table_place)
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

    fn margin(&self, row: usize, chosen: u32) -> Option<f32> {
        let Buffers { chosen: ids, margins, .. } = &self.buffers;
        // Of another token than the greatest logit's, only the logits could tell.
        margins.get(row).copied().filter(|_| chosen != NO_TOKEN && ids.get(row) == Some(&chosen))
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

impl std::fmt::Debug for CudaTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CudaTarget").field("routes", &self.routes).finish_non_exhaustive()
    }
}
