//! The forward pass of one layer, the same for target and assistant.
//!
//! A layer runs in three steps with the caller between them: [`Layer::project`] makes queries (and keys and values, if
//! it has its own), the caller stores those, [`Layer::attend`] reads a cache, [`Layer::finish`] brings attention and
//! feed-forward into the residual stream. All buffers belong to [`Scratch`] and are made once.

use std::num::NonZeroU32;
use std::ops::Range;

use super::config::{DecoderConfig, LayerConfig};
use super::experts::ExpertScratch;
use super::rope::Rope;
use super::weights::{KvWeights, LayerWeights, Matrix, PleWeights};
use crate::attention::TreeMask;
use crate::backend::cpu::{
    AttentionScratch, Cpu, Input, Job, Q8Buffer, Queries, TreeCells, add_rms_norm, attend, matmul, multiply,
    rms_norm, rms_norm_in_place, rms_norm_unweighted,
};
use crate::kv_cache::{AttentionKind, LayerCache};

/// One layer: sizes and weights.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) config: LayerConfig,
    pub(super) weights: LayerWeights,
    heads: usize,
    rms_eps: f32,
}

/// Rotations and visible cells of the rows of a pass, for both kinds of layer.
#[derive(Debug)]
pub(super) struct Positions {
    sliding: RowPositions,
    full: RowPositions,
    /// Cell of the first row, where the rows are a tree.
    tree_from: Option<usize>,
}

/// The same for one kind of layer.
#[derive(Debug)]
struct RowPositions {
    rope: Rope,
    visible: Vec<Range<usize>>,
    /// Of a tree: the newest cells that each row sees, as bits.
    seen: Vec<u32>,
}

/// Per-layer embeddings of the rows of a pass: row r of layer l starts at `r * stride + l * width`.
#[derive(Debug, Clone, Copy)]
pub(super) struct PleRows<'a> {
    /// From the first row's slice of this layer on.
    pub(super) values: &'a [f32],
    /// From one row to the next.
    pub(super) stride: usize,
}

/// Buffers of a pass, `[rows][...]` each.
#[derive(Debug)]
pub(super) struct Scratch {
    normed: Vec<f32>,
    q: Vec<f32>,
    pub(super) k: Vec<f32>,
    pub(super) v: Vec<f32>,
    attended: Vec<f32>,
    output: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    experts: Option<ExpertScratch>,
    attention: AttentionScratch,
    q8: Q8Buffer,
    /// Row of the pass that `q` starts with.
    projected_from: usize,
}

/// What [`Scratch`] must have room for.
#[derive(Debug, Clone, Copy)]
pub(super) struct ScratchSize {
    /// Most rows of a pass.
    pub(super) rows: usize,
    /// Threads that attend.
    pub(super) threads: usize,
    /// Longest sequence.
    pub(super) context_tokens: usize,
    /// Width of the per-layer embeddings, 0 = none.
    pub(super) ple_width: usize,
}

impl Positions {
    /// For a model; `factors` are the full layers' frequency factors.
    pub(super) fn new(decoder: &DecoderConfig, factors: &[f32], max_rows: usize) -> Self {
        let sliding =
            Rope::new(decoder.head_dim(AttentionKind::Sliding), decoder.rope_base_sliding, None, max_rows);
        let full =
            Rope::new(decoder.head_dim(AttentionKind::Full), decoder.rope_base_full, Some(factors), max_rows);
        let of = |rope| RowPositions { rope, visible: Vec::with_capacity(max_rows), seen: Vec::new() };
        Self { sliding: of(sliding), full: of(full), tree_from: None }
    }

    /// Rows at `positions`, each seeing itself and what lies before it, sliding layers `window` of it.
    pub(super) fn causal(&mut self, positions: Range<usize>, window: usize) {
        self.place(positions.clone(), positions.map(|p| (p + 1).saturating_sub(window)..p + 1), |p| 0..p.end);
    }

    /// One row at `position` that is not cached itself and sees the `cached` tokens: all, or in sliding layers those
    /// of `sliding`.
    pub(super) fn drafting(&mut self, position: usize, sliding: Range<usize>, cached: usize) {
        self.place(position..position + 1, std::iter::once(sliding), |_| 0..cached);
    }

    /// The rows of `tree`, in cells `first..`: each at its depth, seeing the past and its ancestors.
    pub(super) fn tree(&mut self, first: usize, tree: &TreeMask, window: usize) {
        let depths = || tree.rows().iter().map(|row| row.depth as usize);
        let sliding = u32::try_from(window).ok().and_then(NonZeroU32::new);
        for (kind, window) in [(&mut self.sliding, sliding), (&mut self.full, None)] {
            kind.rope.prepare(depths().map(|depth| first + depth));
            let start =
                |depth: usize| window.map_or(0, |w| (first + depth + 1).saturating_sub(w.get() as usize));
            kind.visible.clear();
            kind.visible
                .extend(depths().enumerate().map(|(i, depth)| start(depth).min(first)..first + i + 1));
            kind.seen.clear();
            kind.seen.extend((0..tree.rows().len()).map(|row| tree.seen_rows(row, window)));
        }
        self.tree_from = Some(first);
    }

    fn place(
        &mut self,
        positions: Range<usize>,
        sliding: impl Iterator<Item = Range<usize>>,
        full: impl Fn(&Range<usize>) -> Range<usize>,
    ) {
        self.tree_from = None;
        self.sliding.rope.prepare(positions.clone());
        self.full.rope.prepare(positions);
        self.sliding.visible.clear();
        self.sliding.visible.extend(sliding);
        self.full.visible.clear();
        self.full.visible.extend(self.sliding.visible.iter().map(full));
    }

    const fn of(&self, kind: AttentionKind) -> &RowPositions {
        match kind {
            AttentionKind::Sliding => &self.sliding,
            AttentionKind::Full => &self.full,
        }
    }
}

impl Scratch {
    /// Bytes that [`Self::new`] will allocate; `None` beyond any address space.
    pub(super) fn bytes(decoder: &DecoderConfig, size: ScratchSize) -> Option<usize> {
        let Widths { q, kv, ffn, head_dim } = Widths::of(decoder, size);
        let experts = decoder.experts.map_or(0, |e| ExpertScratch::values_of_row(e, decoder.hidden_size));
        let row = 2 * (decoder.hidden_size + q + kv + ffn) + experts;
        let quantized = q.max(ffn).max(decoder.hidden_size);
        let attention = AttentionScratch::bytes(size.threads, size.context_tokens, head_dim);
        row.checked_mul(4)?.checked_add(2 * quantized)?.checked_mul(size.rows)?.checked_add(attention)
    }

    pub(super) fn new(decoder: &DecoderConfig, size: ScratchSize) -> Self {
        let Widths { q, kv, ffn, head_dim } = Widths::of(decoder, size);
        let zeros = |width: usize| vec![0.0; size.rows * width];
        Self {
            normed: zeros(decoder.hidden_size),
            q: zeros(q),
            k: zeros(kv),
            v: zeros(kv),
            attended: zeros(q),
            output: zeros(decoder.hidden_size),
            gate: zeros(ffn),
            up: zeros(ffn),
            experts: decoder.experts.map(|e| ExpertScratch::new(e, decoder.hidden_size, size.rows)),
            attention: AttentionScratch::new(size.threads, size.context_tokens, head_dim),
            q8: Q8Buffer::with_capacity(size.rows * q.max(ffn).max(decoder.hidden_size)),
            projected_from: 0,
        }
    }
}

/// The widest row of each buffer.
struct Widths {
    q: usize,
    kv: usize,
    ffn: usize,
    head_dim: usize,
}

impl Widths {
    fn of(decoder: &DecoderConfig, size: ScratchSize) -> Self {
        let widest = |f: &dyn Fn(&LayerConfig) -> usize| decoder.layers.iter().map(f).max().unwrap_or(0);
        Self {
            q: widest(&|l| decoder.heads * l.head_dim),
            kv: widest(&|l| l.kv_heads * l.head_dim),
            // The gate of the per-layer embeddings borrows the feed-forward's buffer; experts are quantised alike.
            ffn: widest(&|l| l.ffn_width).max(size.ple_width).max(decoder.experts.map_or(0, |e| e.width)),
            head_dim: widest(&|l| l.head_dim),
        }
    }
}

/// `out = matrix * x` for one or more matrices of the same input; `x` is `[rows][cols]`, each out `[rows][rows of it]`.
pub(super) fn project(cpu: &mut Cpu, q8: &mut Q8Buffer, x: &[f32], rows: usize, jobs: &mut [Job<'_>]) {
    let with_q8 = jobs.iter().any(|job| job.weights.is_q8());
    let input = Input::new(cpu.isa, x, rows, with_q8, q8);
    matmul(cpu.isa, &mut cpu.pool, input, jobs);
}

impl Layer {
    pub(super) fn new(decoder: &DecoderConfig, index: usize, weights: LayerWeights) -> Self {
        let DecoderConfig { heads, rms_eps, .. } = *decoder;
        Self { config: decoder.layers[index], weights, heads, rms_eps }
    }

    /// Queries of the residual rows `h` into `s`, normed and rotated; keys and values too where the layer has its own.
    /// The rows are those of `positions` from `first_row` on.
    pub(super) fn project(
        &self,
        cpu: &mut Cpu,
        positions: &Positions,
        first_row: usize,
        h: &[f32],
        s: &mut Scratch,
    ) {
        let (w, rows) = (&self.weights, h.len() / self.weights.attn_norm.len());
        s.projected_from = first_row;
        let normed = &mut s.normed[..h.len()];
        rms_norm(h, &w.attn_norm, self.rms_eps, normed);
        let rope = &positions.of(self.config.kind).rope;
        let q = &mut s.q[..rows * w.q.rows()];
        let q_job = Job { weights: w.q.weights(), out: q };
        if let Some(kv) = &w.kv {
            let width = rows * kv.k.rows();
            let (k, v) = (&mut s.k[..width], &mut s.v[..width]);
            let k_job = Job { weights: kv.k.weights(), out: k };
            match &kv.v {
                Some(matrix) => {
                    let v_job = Job { weights: matrix.weights(), out: v };
                    project(cpu, &mut s.q8, normed, rows, &mut [q_job, k_job, v_job]);
                }
                None => {
                    project(cpu, &mut s.q8, normed, rows, &mut [q_job, k_job]);
                    s.v[..width].copy_from_slice(&s.k[..width]);
                }
            }
            self.finish_keys(kv, rope, first_row, &mut s.k[..width], &mut s.v[..width]);
        } else {
            project(cpu, &mut s.q8, normed, rows, &mut [q_job]);
        }
        let q = &mut s.q[..rows * w.q.rows()];
        rms_norm_in_place(q, &w.q_norm, self.rms_eps);
        rope.apply(q, self.heads, first_row);
    }

    /// Norms and rotates keys; values are normed without a weight and not rotated.
    fn finish_keys(&self, kv: &KvWeights, rope: &Rope, first_row: usize, k: &mut [f32], v: &mut [f32]) {
        rms_norm_in_place(k, &kv.k_norm, self.rms_eps);
        rope.apply(k, self.config.kv_heads, first_row);
        rms_norm_unweighted(v, self.config.head_dim, self.rms_eps);
    }

    /// Attention of the projected queries, from row `first_row` of the pass on, over `cache`.
    pub(super) fn attend(
        &self,
        cpu: &mut Cpu,
        positions: &Positions,
        first_row: usize,
        cache: &LayerCache,
        s: &mut Scratch,
    ) {
        let rows = positions.of(self.config.kind);
        let visible = &rows.visible[first_row..];
        let tree = positions.tree_from.map(|first| TreeCells { first, seen: &rows.seen[first_row..] });
        let width = visible.len() * self.weights.q.rows();
        let skipped = (first_row - s.projected_from) * self.weights.q.rows();
        let queries = Queries { values: &s.q[skipped..skipped + width], heads: self.heads, visible, tree };
        attend(cpu.isa, &mut cpu.pool, cache, queries, &s.attention, &mut s.attended[..width]);
    }

    /// Everything after attention, into the residual rows `h`.
    pub(super) fn finish(&self, cpu: &mut Cpu, ple: Option<PleRows<'_>>, h: &mut [f32], s: &mut Scratch) {
        let w = &self.weights;
        let rows = h.len() / w.attn_norm.len();
        let output = &mut s.output[..h.len()];
        let attended = &s.attended[..rows * w.q.rows()];
        let job = Job { weights: w.attn_output.weights(), out: output };
        project(cpu, &mut s.q8, attended, rows, &mut [job]);
        add_rms_norm(h, &s.output[..h.len()], &w.post_attention_norm, self.rms_eps);
        self.feed_forward(cpu, rows, h, s);
        if let (Some(weights), Some(ple)) = (&w.ple, ple) {
            self.per_layer_input(cpu, weights, ple, rows, h, s);
        }
        if w.output_scale.to_bits() != 1.0_f32.to_bits() {
            h.iter_mut().for_each(|h| *h *= w.output_scale);
        }
    }

    fn feed_forward(&self, cpu: &mut Cpu, rows: usize, h: &mut [f32], s: &mut Scratch) {
        let w = &self.weights;
        let normed = &mut s.normed[..h.len()];
        rms_norm(h, &w.ffn_norm, self.rms_eps, normed);
        let width = rows * w.gate.rows();
        let (gate, up, output) = (&mut s.gate[..width], &mut s.up[..width], &mut s.output[..h.len()]);
        let gate_job = Job { weights: w.gate.weights(), out: &mut *gate };
        let up_job = Job { weights: w.up.weights(), out: &mut *up };
        project(cpu, &mut s.q8, normed, rows, &mut [gate_job, up_job]);
        cpu.isa.gelu(gate);
        multiply(gate, up);
        project(cpu, &mut s.q8, gate, rows, &mut [Job { weights: w.down.weights(), out: &mut *output }]);
        if let (Some(weights), Some(experts)) = (&w.experts, &mut s.experts) {
            experts.run(cpu, &mut s.q8, weights, (h, self.rms_eps), output);
        }
        add_rms_norm(h, output, &w.post_ffw_norm, self.rms_eps);
    }

    /// `h += norm(proj * (gelu(gate * h) * ple))`; the gate sees the residual stream without a norm.
    fn per_layer_input(
        &self,
        cpu: &mut Cpu,
        weights: &PleWeights,
        ple: PleRows<'_>,
        rows: usize,
        h: &mut [f32],
        s: &mut Scratch,
    ) {
        let width = weights.gate.rows();
        let (gate, output) = (&mut s.gate[..rows * width], &mut s.output[..h.len()]);
        project(cpu, &mut s.q8, h, rows, &mut [Job { weights: weights.gate.weights(), out: &mut *gate }]);
        cpu.isa.gelu(gate);
        for (gate, ple) in gate.chunks_exact_mut(width).zip(ple.values.chunks(ple.stride)) {
            multiply(gate, &ple[..width]);
        }
        project(
            cpu,
            &mut s.q8,
            gate,
            rows,
            &mut [Job { weights: weights.proj.weights(), out: &mut *output }],
        );
        add_rms_norm(h, output, &weights.norm, self.rms_eps);
    }
}

/// Looks up rows of an embedding table, times `scale`, into `out` `[ids][cols]`.
pub(super) fn embed(cpu: &Cpu, table: &Matrix, ids: &[u32], scale: f32, out: &mut [f32]) {
    let weights = table.weights();
    for (id, out) in ids.iter().zip(out.chunks_exact_mut(weights.cols())) {
        cpu.isa.widen(weights.element(), weights.row(*id as usize), out);
        out.iter_mut().for_each(|v| *v *= scale);
    }
}
