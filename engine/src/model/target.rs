//! The target model: tokens in, logits and hidden rows out, with the caches of one sequence.
//!
//! Prefill goes in chunks of bounded memory, and rows whose logits nobody wants stop as soon as their keys and values
//! are stored: they skip the layers that share caches. Invariant: a row's bits depend on the tokens before it alone,
//! not on chunks, threads or the number of rows verified together.

use std::ops::Range;
use std::sync::Arc;

use super::config::TargetConfig;
use super::layer::{Layer, PleRows, Positions, Scratch, ScratchSize, embed, project};
use super::tree::DraftTree;
use super::weights::{LayerExtras, LayerWeights, Loader, Matrix, Tensors};
use crate::EngineError;
use crate::attention::TreeMask;
use crate::backend::cpu::{Cpu, Isa, Job, Pool, Q8Buffer, rms_norm, rms_norm_in_place};
use crate::gguf::Gguf;
use crate::kv_cache::{AttentionKind, CellFormat, KvCache, KvLimits, KvTypes};
use crate::spec::sampler::margin;
use crate::spec::{LogitRows, Target};

/// Rows of a prefill chunk: enough to use the weights well, few enough to stay in the caches.
const PREFILL_ROWS: usize = 128;

/// How to load a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadOptions {
    /// Most tokens of a sequence, prompt and output.
    pub context_tokens: usize,
    /// How keys and values are stored.
    pub kv_type: KvTypes,
    /// Threads that compute, the caller included.
    pub threads: usize,
    /// Most rows whose logits one forward pass gives: the drafts and one more.
    pub max_verify_rows: usize,
}

/// Memory that a loaded target takes besides the mapped file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Keys and values.
    pub kv_bytes: usize,
    /// Buffers of a pass.
    pub scratch_bytes: usize,
    /// Logits and hidden rows.
    pub output_bytes: usize,
}

/// A Gemma 4 target on the CPU.
#[derive(Debug)]
pub struct CpuTarget {
    config: TargetConfig,
    pub(super) cpu: Cpu,
    layers: Vec<Layer>,
    embedding: Matrix,
    /// Absent where the embedding table is the head.
    head: Option<Matrix>,
    output_norm: Vec<f32>,
    ple: Option<PleModel>,
    pub(super) kv: KvCache,
    /// Tokens of the sequence. Longer than the caches only after a rollback beyond the ring: the next pass computes
    /// the missing rows again.
    pub(super) tokens: Vec<u32>,
    /// What the last pass was over, if that was a tree of drafts none of which stands yet.
    pub(super) tree: Option<DraftTree>,
    options: LoadOptions,
    buffers: Buffers,
}

/// Per-layer embeddings: one narrow vector a layer and token.
#[derive(Debug)]
struct PleModel {
    /// `[vocab][layers * width]`
    table: Matrix,
    /// `[layers * width][hidden]`
    proj: Matrix,
    norm: Vec<f32>,
}

/// All that a pass writes.
#[derive(Debug)]
struct Buffers {
    positions: Positions,
    scratch: Scratch,
    /// Residual stream `[rows][hidden]`.
    h: Vec<f32>,
    /// `[rows][layers * width]`
    ple: Vec<f32>,
    /// One table row.
    ple_row: Vec<f32>,
    /// Rows after the output norm `[max_verify_rows][hidden]`.
    hidden: Vec<f32>,
    /// `[max_verify_rows][vocab]`
    logits: Vec<f32>,
    q8: Q8Buffer,
    /// Rows of `hidden` and `logits` that the last forward pass filled.
    rows: usize,
}

/// What a pass is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Only the caches.
    Nothing,
    /// Hidden state and logits of the last row.
    LastRow,
    /// Of every row.
    EveryRow,
}

impl LoadOptions {
    fn rows(&self) -> usize {
        PREFILL_ROWS.min(self.context_tokens).max(self.max_verify_rows)
    }

    fn limits(&self, config: &TargetConfig) -> KvLimits {
        let window = config.decoder.window;
        KvLimits { context_tokens: self.context_tokens, window, max_rows: self.rows() }
    }

    fn scratch_size(&self, config: &TargetConfig) -> ScratchSize {
        let Self { context_tokens, threads, .. } = *self;
        ScratchSize { rows: self.rows(), threads, context_tokens, ple_width: config.ple_width }
    }

    fn check(&self, config: &TargetConfig) -> Result<(), EngineError> {
        let check = |what, got: usize, max: usize| {
            let expected = format!("1 to {max}");
            let fits = (1..=max).contains(&got);
            fits.then_some(()).ok_or(EngineError::InvalidArgument { what, got: got.to_string(), expected })
        };
        check("context_tokens", self.context_tokens, config.context_length)?;
        check("threads", self.threads, 1024)?;
        check("max_verify_rows", self.max_verify_rows, self.context_tokens)?;
        let refused = |got: String, expected: String| {
            Err(EngineError::InvalidArgument { what: "kv_type", got, expected })
        };
        let name = self.kv_type.name();
        let Some(formats) = self.kv_type.cells() else {
            let expected = "f32, f16, q8_0, turbo2 to 4 or turbo4-atomic there, or a GPU";
            return refused(format!("{name} on the CPU"), expected.to_owned());
        };
        let [k, v] = formats.map(CellFormat::block);
        // Each is 1, 32 or 128: the greater one is a multiple of the other.
        let block = k.max(v);
        match config.decoder.layers.iter().find(|layer| layer.head_dim % block != 0) {
            Some(layer) => refused(
                format!("{name} with a head_dim of {}", layer.head_dim),
                format!("a head_dim that is a multiple of {block}, or f16"),
            ),
            None => Ok(()),
        }
    }
}

impl MemoryPlan {
    /// What [`CpuTarget::load`] will allocate.
    ///
    /// # Errors
    /// [`EngineError::InvalidArgument`] for sizes beyond any memory.
    pub fn new(config: &TargetConfig, options: &LoadOptions) -> Result<Self, EngineError> {
        let decoder = &config.decoder;
        let kv = KvCache::bytes(&config.kv_shapes(), options.kv_type, &options.limits(config));
        let row = decoder.hidden_size + decoder.layers.len() * config.ple_width;
        let scratch = Scratch::bytes(decoder, options.scratch_size(config))
            .and_then(|bytes| bytes.checked_add(row.checked_mul(options.rows())?.checked_mul(4)?));
        let output = (decoder.hidden_size + decoder.vocab_size).checked_mul(options.max_verify_rows);
        match (kv, scratch, output.and_then(|n| n.checked_mul(4))) {
            (Some(kv_bytes), Some(scratch_bytes), Some(output_bytes)) => {
                Ok(Self { kv_bytes, scratch_bytes, output_bytes })
            }
            _ => Err(EngineError::InvalidArgument {
                what: "context_tokens",
                got: options.context_tokens.to_string(),
                expected: "a context whose caches fit into memory".to_owned(),
            }),
        }
    }

    /// All of it.
    #[must_use]
    pub const fn total_bytes(&self) -> usize {
        self.kv_bytes.saturating_add(self.scratch_bytes).saturating_add(self.output_bytes)
    }
}

impl CpuTarget {
    /// Loads a `gemma4` file; matrices stay in the mapped file.
    ///
    /// # Errors
    /// [`EngineError::Model`] for what is wrong with the file, [`EngineError::InvalidArgument`] for the options,
    /// [`EngineError::OutOfMemory`] and [`EngineError::Threads`] for what the system refuses.
    #[expect(clippy::needless_pass_by_value, reason = "the target keeps the file mapped; taking it says so")]
    pub fn load(gguf: Arc<Gguf>, options: &LoadOptions) -> Result<Self, EngineError> {
        let config = TargetConfig::read(&gguf)?;
        options.check(&config)?;
        let plan = MemoryPlan::new(&config, options)?;
        probe_memory(plan.total_bytes())?;
        let loader = Loader::new(&gguf);
        let decoder = &config.decoder;
        let layers = (0..decoder.layers.len()).map(|index| {
            let owns_kv = index < config.first_shared;
            let extras = LayerExtras { owns_kv, ple_width: config.ple_width, scale_required: false };
            Ok(Layer::new(decoder, index, LayerWeights::load(&loader, index, decoder, extras)?))
        });
        let layers = layers.collect::<Result<_, EngineError>>()?;
        let half = decoder.head_dim(AttentionKind::Full) / 2;
        let factors = if half == 0 { Vec::new() } else { loader.vector("rope_freqs.weight", half)? };
        let (hidden, vocab) = (decoder.hidden_size, decoder.vocab_size);
        let pool = Pool::new(options.threads)
            .map_err(|source| EngineError::Threads { threads: options.threads, source })?;
        Ok(Self {
            layers,
            embedding: loader.matrix("token_embd.weight", hidden, vocab)?,
            head: loader.optional_matrix("output.weight", hidden, vocab)?,
            output_norm: loader.vector("output_norm.weight", hidden)?,
            ple: PleModel::load(&loader, &config)?,
            kv: KvCache::new(&config.kv_shapes(), options.kv_type, options.limits(&config))?,
            tokens: Vec::with_capacity(options.context_tokens),
            tree: None,
            options: *options,
            buffers: Buffers::new(&config, options, &factors),
            cpu: Cpu { isa: Isa::detect(), pool },
            config,
        })
    }

    /// What the file says about the model.
    #[must_use]
    pub const fn config(&self) -> &TargetConfig {
        &self.config
    }

    /// Bytes of weights that a decode step reads: every matrix of the layers and the head, which may be the embedding
    /// table, and of a mixture the experts of one row; tables of which a step reads a row are left out, and so are norms,
    /// thousandths of it.
    #[must_use]
    pub fn step_bytes(&self) -> usize {
        let used = self.config.decoder.experts.map_or(0, |experts| experts.used);
        let layers: usize = self.layers.iter().map(|layer| layer.weights.bytes_of_row(used)).sum();
        let ple = self.ple.as_ref().map_or(0, |ple| ple.proj.bytes());
        layers + ple + self.head.as_ref().unwrap_or(&self.embedding).bytes()
    }

    /// Width of a hidden row.
    #[must_use]
    pub const fn hidden_size(&self) -> usize {
        self.config.decoder.hidden_size
    }

    /// Tokens of the sequence so far.
    #[must_use]
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Rows that the last forward pass gives through [`Target::logits`] and [`Self::hidden`].
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.buffers.rows
    }

    /// Row `row` of the last forward pass after the output norm: what heads and assistants read.
    ///
    /// # Panics
    /// When `row` is not below [`Self::rows`].
    #[must_use]
    pub fn hidden(&self, row: usize) -> &[f32] {
        assert!(row < self.buffers.rows, "row {row} of {}", self.buffers.rows);
        let width = self.hidden_size();
        &self.buffers.hidden[row * width..(row + 1) * width]
    }

    /// The scaled embedding of a token, as layers and assistants see it.
    pub(super) fn embed(&self, token: u32, out: &mut [f32]) {
        embed(&self.cpu, &self.embedding, &[token], self.embedding_scale(), out);
    }

    fn embedding_scale(&self) -> f32 {
        (self.config.decoder.hidden_size as f32).sqrt()
    }

    /// Computes again what a rollback beyond the ring has lost; nothing in the ordinary course.
    pub(super) fn restore_caches(&mut self) {
        while self.kv.len() < self.tokens.len() {
            let first = self.kv.len();
            let chunk = (self.tokens.len() - first).min(PREFILL_ROWS);
            let tokens = self.tokens[first..first + chunk].to_vec();
            self.pass(&tokens, Wanted::Nothing, None);
        }
    }

    pub(super) fn check_tokens(&self, tokens: &[u32], rows: LogitRows) -> Result<(), EngineError> {
        let invalid =
            |got: String, expected: String| EngineError::InvalidArgument { what: "tokens", got, expected };
        if tokens.is_empty() {
            return Err(invalid("none".to_owned(), "at least one".to_owned()));
        }
        let (needed, capacity) = (self.tokens.len() + tokens.len(), self.options.context_tokens);
        if needed > capacity {
            return Err(EngineError::ContextFull { needed, capacity });
        }
        if rows == LogitRows::All && tokens.len() > self.options.max_verify_rows {
            let expected =
                format!("at most max_verify_rows = {} with all logits", self.options.max_verify_rows);
            return Err(invalid(format!("{} tokens", tokens.len()), expected));
        }
        let vocab_size = self.vocab_size();
        match tokens.iter().find(|id| **id as usize >= vocab_size) {
            Some(id) => Err(EngineError::UnknownToken { id: *id, vocab_size }),
            None => Ok(()),
        }
    }

    /// One pass over the weights: appends the tokens' keys and values, computes what is wanted. The rows of a tree take
    /// a cell each and stand where their depths say.
    pub(super) fn pass(&mut self, tokens: &[u32], wanted: Wanted, tree: Option<&TreeMask>) {
        let hidden = self.hidden_size();
        let (rows, first) = (tokens.len(), self.kv.len());
        let mut h = std::mem::take(&mut self.buffers.h);
        embed(&self.cpu, &self.embedding, tokens, self.embedding_scale(), &mut h[..rows * hidden]);
        self.per_layer_inputs(tokens, &h[..rows * hidden]);
        let window = self.config.decoder.window;
        match tree {
            None => self.buffers.positions.causal(first..first + rows, window),
            Some(tree) => self.buffers.positions.tree(first, tree, window),
        }
        let keep_from = match wanted {
            Wanted::Nothing => rows,
            Wanted::LastRow => rows - 1,
            Wanted::EveryRow => 0,
        };
        // Rows that nobody wants are done once the last layer with a cache of its own has their keys and values.
        let last_own = self.config.first_shared - 1;
        for index in 0..self.layers.len() {
            let first_row = if index <= last_own { 0 } else { keep_from };
            let finish_from = if index < last_own { 0 } else { keep_from };
            if first_row < rows {
                self.layer(index, first, first_row..finish_from, &mut h[..rows * hidden]);
            }
        }
        self.kv.advance(rows);
        self.finish(&h[keep_from * hidden..rows * hidden]);
        self.buffers.h = h;
    }

    /// One layer of a pass that starts at position `first`: keys and values for the rows from `skipped.start` on, the
    /// rest only for those from `skipped.end` on.
    fn layer(&mut self, index: usize, first: usize, skipped: Range<usize>, h: &mut [f32]) {
        let Self { layers, cpu, kv, buffers, config, .. } = self;
        let Buffers { positions, scratch, ple, .. } = buffers;
        let (layer, hidden) = (&layers[index], config.decoder.hidden_size);
        layer.project(cpu, positions, skipped.start, &h[skipped.start * hidden..], scratch);
        if let (Some(cache), Some(weights)) = (kv.layer_mut(index), &layer.weights.kv) {
            let width = (h.len() / hidden - skipped.start) * weights.k.rows();
            cache.write(cpu.isa, first + skipped.start, &scratch.k[..width], &scratch.v[..width]);
        }
        let h = &mut h[skipped.end * hidden..];
        let Some(cache) = kv.layer(config.kv_source[index]).filter(|_| !h.is_empty()) else { return };
        layer.attend(cpu, positions, skipped.end, cache, scratch);
        let stride = config.decoder.layers.len() * config.ple_width;
        let start = skipped.end * stride + index * config.ple_width;
        let ple = (stride > 0).then(|| PleRows { values: &ple[start..], stride });
        layer.finish(cpu, ple, h, scratch);
    }

    /// `(norm(proj * h / sqrt(hidden)) + table[token] * sqrt(width)) / sqrt(2)` for every layer at once.
    fn per_layer_inputs(&mut self, tokens: &[u32], h: &[f32]) {
        let Some(model) = &self.ple else { return };
        let width = self.config.ple_width;
        let stride = self.config.decoder.layers.len() * width;
        let values = &mut self.buffers.ple[..tokens.len() * stride];
        let job = Job { weights: model.proj.weights(), out: &mut *values };
        project(&mut self.cpu, &mut self.buffers.q8, h, tokens.len(), &mut [job]);
        let scale = 1.0 / (self.config.decoder.hidden_size as f32).sqrt();
        values.iter_mut().for_each(|v| *v *= scale);
        rms_norm_in_place(values, &model.norm, self.config.decoder.rms_eps);
        let row = &mut self.buffers.ple_row;
        for (token, values) in tokens.iter().zip(values.chunks_exact_mut(stride)) {
            embed(&self.cpu, &model.table, &[*token], (width as f32).sqrt(), row);
            for (value, e) in values.iter_mut().zip(&*row) {
                *value = (*value + e) * std::f32::consts::FRAC_1_SQRT_2;
            }
        }
    }

    /// Output norm, head and soft cap of the rows `h`.
    fn finish(&mut self, h: &[f32]) {
        let rows = h.len() / self.config.decoder.hidden_size;
        if rows == 0 {
            return;
        }
        let hidden = &mut self.buffers.hidden[..h.len()];
        rms_norm(h, &self.output_norm, self.config.decoder.rms_eps, hidden);
        let logits = &mut self.buffers.logits[..rows * self.config.decoder.vocab_size];
        let head = self.head.as_ref().unwrap_or(&self.embedding);
        let job = Job { weights: head.weights(), out: &mut *logits };
        project(&mut self.cpu, &mut self.buffers.q8, hidden, rows, &mut [job]);
        if let Some(cap) = self.config.softcap {
            self.cpu.isa.softcap(logits, cap);
        }
        self.buffers.rows = rows;
    }
}

impl Target for CpuTarget {
    fn vocab_size(&self) -> usize {
        self.config.decoder.vocab_size
    }

    fn capacity(&self) -> usize {
        self.options.context_tokens
    }

    fn len(&self) -> usize {
        self.tokens.len()
    }

    fn forward(&mut self, tokens: &[u32], rows: LogitRows) -> Result<(), EngineError> {
        self.check_tokens(tokens, rows)?;
        self.tree = None;
        self.restore_caches();
        match rows {
            LogitRows::All => self.pass(tokens, Wanted::EveryRow, None),
            LogitRows::Last => {
                let mut chunks = tokens.chunks(PREFILL_ROWS).peekable();
                while let Some(chunk) = chunks.next() {
                    let wanted = if chunks.peek().is_some() { Wanted::Nothing } else { Wanted::LastRow };
                    self.pass(chunk, wanted, None);
                }
            }
        }
        self.tokens.extend_from_slice(tokens);
        Ok(())
    }

    fn logits(&self, row: usize) -> &[f32] {
        assert!(row < self.buffers.rows, "row {row} of {}", self.buffers.rows);
        let vocab = self.vocab_size();
        &self.buffers.logits[row * vocab..(row + 1) * vocab]
    }

    fn margin(&self, row: usize, chosen: u32) -> Option<f32> {
        margin(self.logits(row), chosen)
    }

    fn truncate(&mut self, len: usize) {
        self.tree = None;
        self.tokens.truncate(len);
        let len = self.tokens.len();
        self.kv.truncate(if self.kv.can_truncate(len) { len } else { 0 });
    }
}

impl PleModel {
    fn load(loader: &Loader<'_>, config: &TargetConfig) -> Result<Option<Self>, EngineError> {
        if config.ple_width == 0 {
            return Ok(None);
        }
        let width = config.ple_width * config.decoder.layers.len();
        Ok(Some(Self {
            table: loader.matrix("per_layer_token_embd.weight", width, config.decoder.vocab_size)?,
            proj: loader.matrix("per_layer_model_proj.weight", config.decoder.hidden_size, width)?,
            norm: loader.vector("per_layer_proj_norm.weight", config.ple_width)?,
        }))
    }
}

impl Buffers {
    fn new(config: &TargetConfig, options: &LoadOptions, factors: &[f32]) -> Self {
        let (decoder, rows) = (&config.decoder, options.rows());
        let ple = decoder.layers.len() * config.ple_width;
        Self {
            positions: Positions::new(decoder, factors, rows),
            scratch: Scratch::new(decoder, options.scratch_size(config)),
            h: vec![0.0; rows * decoder.hidden_size],
            ple: vec![0.0; rows * ple],
            ple_row: vec![0.0; ple],
            hidden: vec![0.0; options.max_verify_rows * decoder.hidden_size],
            logits: vec![0.0; options.max_verify_rows * decoder.vocab_size],
            q8: Q8Buffer::with_capacity(rows * decoder.hidden_size),
            rows: 0,
        }
    }
}

/// Asks the system for the memory and gives it back, so that a context too long fails here and not half way.
pub(super) fn probe_memory(bytes: usize) -> Result<(), EngineError> {
    let mut probe = Vec::<u8>::new();
    probe.try_reserve_exact(bytes).map_err(|source| EngineError::OutOfMemory {
        what: "caches and buffers",
        bytes,
        source,
    })
}
