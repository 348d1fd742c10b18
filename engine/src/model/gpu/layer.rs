//! One layer on the device, the same for target and assistant.
//!
//! A layer begins with its input already normed in [`Scratch::x`] and ends with the stream normed for whoever comes
//! next: the norms stand where residual and norm can be one launch.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::attention::{LayerAttention, LayerKv};
use super::experts::{CudaExperts, ExpertScratch};
use super::weights::{FileMatrix, Products, Weights};
use crate::EngineError;
use crate::backend::cuda::{Activations, Buffer, CudaError, Device, Heads, HeadsKv, Ops, ResidualNorm, Rows};
use crate::kv_cache::AttentionKind;
use crate::model::config::{DecoderConfig, LayerConfig};
use crate::model::weights::LayerWeights;

/// Weights of a layer, its attention, and where its keys are.
#[derive(Debug)]
pub(super) struct CudaLayer {
    config: LayerConfig,
    attention: Arc<LayerAttention>,
    /// Layer whose cache is read.
    kv_source: usize,
    pub(super) attn_norm: Buffer<f32>,
    /// Queries, and keys and values behind them where the layer has its own.
    qkv: Weights,
    q_norm: Buffer<f32>,
    kv: Option<OwnKv>,
    attn_output: Weights,
    post_attention_norm: Buffer<f32>,
    ffn_norm: Buffer<f32>,
    gate_up: Weights,
    down: Weights,
    post_ffw_norm: Buffer<f32>,
    experts: Option<CudaExperts>,
    ple: Option<LayerPle>,
    output_scale: f32,
}

#[derive(Debug)]
struct OwnKv {
    k_norm: Buffer<f32>,
    /// Whether values are the keys before norm and rotation.
    v_is_k: bool,
}

#[derive(Debug)]
struct LayerPle {
    gate: Weights,
    proj: Weights,
    norm: Buffer<f32>,
}

/// Where a layer stands in its model.
#[derive(Debug)]
pub(super) struct LayerPlace<'a> {
    pub(super) decoder: &'a DecoderConfig,
    pub(super) index: usize,
    pub(super) attention: Arc<LayerAttention>,
    /// Layer whose cache is read.
    pub(super) kv_source: usize,
}

/// What is the same for every layer of a pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass<'a> {
    pub(super) device: &'a Device,
    pub(super) ops: &'a Ops,
    pub(super) decoder: &'a DecoderConfig,
    pub(super) frequencies: &'a Frequencies,
    /// `[kv_len, first_pos]` of the rows.
    pub(super) state: &'a Buffer<i32>,
    /// Rows, from `first_row` of the stream on.
    pub(super) rows: u32,
    /// Row of [`Scratch::h`] that the pass begins with.
    pub(super) first_row: usize,
    /// Per-layer embeddings `[rows][layers][width]` and their width.
    pub(super) ple: Option<(&'a Buffer<f32>, usize)>,
}

/// Inverse frequencies of both kinds of layers, `[head_dim / 2]`.
#[derive(Debug)]
pub(super) struct Frequencies {
    pub(super) sliding: Buffer<f32>,
    pub(super) full: Buffer<f32>,
}

/// Where a layer leaves the normed stream.
#[derive(Debug)]
pub(super) enum Next<'a> {
    /// In [`Scratch::x`], normed with this weight, for the layer that follows.
    Layer(&'a Buffer<f32>),
    /// The same, but only of the last row.
    LastRow(&'a Buffer<f32>),
    /// Nowhere: only keys and values were wanted, and this layer's are the last.
    Nobody,
    /// In rows of their own, normed with this weight: the model's output.
    Output(&'a Buffer<f32>, &'a mut Activations),
}

/// Buffers of a pass, `[rows][...]` each.
#[derive(Debug)]
pub(super) struct Scratch {
    /// Residual stream.
    pub(super) h: Buffer<f32>,
    /// The stream, normed for the next product.
    pub(super) x: Activations,
    raw: Buffer<f32>,
    q: Buffer<f32>,
    k: Buffer<f32>,
    v: Buffer<f32>,
    y: Buffer<f32>,
    gate_up: Buffer<f32>,
    /// By width, which differs between kinds of layers.
    attended: BTreeMap<usize, Activations>,
    ffn: BTreeMap<usize, Activations>,
    experts: Option<ExpertScratch>,
    ple_gate: Buffer<f32>,
    ple: Activations,
}

impl Frequencies {
    /// As `model::rope` computes them; `factors` are the full layers'.
    pub(super) fn new(device: &Device, decoder: &DecoderConfig, factors: &[f32]) -> Result<Self, CudaError> {
        use crate::model::rope::inverse_frequencies;
        let what = "rotations";
        let sliding =
            inverse_frequencies(decoder.head_dim(AttentionKind::Sliding), decoder.rope_base_sliding, None);
        let full =
            inverse_frequencies(decoder.head_dim(AttentionKind::Full), decoder.rope_base_full, Some(factors));
        Ok(Self { sliding: device.upload(what, &sliding)?, full: device.upload(what, &full)? })
    }

    const fn of(&self, kind: AttentionKind) -> &Buffer<f32> {
        match kind {
            AttentionKind::Sliding => &self.sliding,
            AttentionKind::Full => &self.full,
        }
    }
}

impl Scratch {
    /// For `rows` rows of a model; `ple_width` 0 without per-layer embeddings.
    pub(super) fn new(
        device: &Device,
        decoder: &DecoderConfig,
        rows: usize,
        ple_width: usize,
    ) -> Result<Self, CudaError> {
        let what = "buffers of a pass";
        let zeros = |width: usize| device.zeros(what, rows * width);
        let widest =
            |f: &dyn Fn(&LayerConfig) -> usize| decoder.layers.iter().map(f).max().unwrap_or_default();
        let by_width = |f: &dyn Fn(&LayerConfig) -> usize| {
            let mut made = BTreeMap::new();
            for layer in &decoder.layers {
                if let Entry::Vacant(place) = made.entry(f(layer)) {
                    place.insert(Activations::new(device, rows, f(layer))?);
                }
            }
            Ok::<_, CudaError>(made)
        };
        let q_width = |layer: &LayerConfig| decoder.heads * layer.head_dim;
        let kv_width = |layer: &LayerConfig| layer.kv_heads * layer.head_dim;
        Ok(Self {
            h: zeros(decoder.hidden_size)?,
            x: Activations::new(device, rows, decoder.hidden_size)?,
            raw: zeros(widest(&|layer| q_width(layer) + 2 * kv_width(layer)))?,
            q: zeros(widest(&q_width))?,
            k: zeros(widest(&kv_width))?,
            v: zeros(widest(&kv_width))?,
            y: zeros(decoder.hidden_size)?,
            gate_up: zeros(widest(&|layer| 2 * layer.ffn_width))?,
            attended: by_width(&q_width)?,
            ffn: by_width(&|layer| layer.ffn_width)?,
            experts: match decoder.experts {
                None => None,
                Some(config) => Some(ExpertScratch::new(device, decoder.hidden_size, config, rows)?),
            },
            ple_gate: zeros(ple_width)?,
            ple: Activations::new(device, rows, ple_width)?,
        })
    }
}

impl CudaLayer {
    /// Brings a layer's weights onto the device.
    pub(super) fn upload(
        device: &Device,
        products: &mut Products,
        weights: &LayerWeights<FileMatrix<'_>>,
        place: LayerPlace<'_>,
    ) -> Result<Self, CudaError> {
        let LayerPlace { decoder, index, attention, kv_source } = place;
        let vector = |values: &[f32]| device.upload("norm weights", values);
        let experts = match (&weights.experts, decoder.experts) {
            (Some(experts), Some(config)) => Some(CudaExperts::upload(device, products, experts, config)?),
            (None, _) | (_, None) => None,
        };
        let mut stack = |matrices: &[FileMatrix<'_>]| Weights::stack(device, products, matrices);
        let qkv: Vec<_> = match &weights.kv {
            None => vec![weights.q],
            Some(kv) => [weights.q, kv.k].into_iter().chain(kv.v).collect(),
        };
        let own = |kv: &crate::model::weights::KvWeights<FileMatrix<'_>>| {
            Ok::<_, CudaError>(OwnKv { k_norm: vector(&kv.k_norm)?, v_is_k: kv.v.is_none() })
        };
        let ple = match &weights.ple {
            None => None,
            Some(ple) => Some(LayerPle {
                gate: stack(&[ple.gate])?,
                proj: stack(&[ple.proj])?,
                norm: vector(&ple.norm)?,
            }),
        };
        Ok(Self {
            config: decoder.layers[index],
            attention,
            kv_source,
            attn_norm: vector(&weights.attn_norm)?,
            qkv: stack(&qkv)?,
            q_norm: vector(&weights.q_norm)?,
            kv: weights.kv.as_ref().map(own).transpose()?,
            attn_output: stack(&[weights.attn_output])?,
            post_attention_norm: vector(&weights.post_attention_norm)?,
            ffn_norm: vector(&weights.ffn_norm)?,
            gate_up: stack(&[weights.gate, weights.up])?,
            down: stack(&[weights.down])?,
            post_ffw_norm: vector(&weights.post_ffw_norm)?,
            experts,
            ple,
            output_scale: weights.output_scale,
        })
    }

    /// Bytes on the device.
    pub(super) fn bytes(&self) -> usize {
        self.dense_bytes() + self.experts.as_ref().map_or(0, CudaExperts::bytes)
    }

    /// Bytes of weights that a pass over one row reads.
    pub(super) fn bytes_of_row(&self) -> usize {
        self.dense_bytes() + self.experts.as_ref().map_or(0, CudaExperts::bytes_of_row)
    }

    fn dense_bytes(&self) -> usize {
        let ple = self.ple.as_ref().map_or(0, |ple| ple.gate.bytes() + ple.proj.bytes());
        self.qkv.bytes() + self.attn_output.bytes() + self.gate_up.bytes() + self.down.bytes() + ple
    }

    /// Kernels of the layer's attention.
    pub(super) const fn attention(&self) -> &Arc<LayerAttention> {
        &self.attention
    }

    /// Queues the layer. `index` is its number in the model, whose own cache is `caches[index]`.
    pub(super) fn run(
        &self,
        pass: &Pass<'_>,
        index: usize,
        caches: &mut [Option<LayerKv>],
        s: &mut Scratch,
        next: Next<'_>,
    ) -> Result<(), EngineError> {
        self.attend(pass, index, caches, s, matches!(next, Next::Nobody))?;
        if matches!(next, Next::Nobody) {
            return Ok(());
        }
        self.feed_forward(pass, index, s, next)?;
        Ok(())
    }

    /// From the normed stream to the output of attention, in [`Scratch::y`].
    fn attend(
        &self,
        pass: &Pass<'_>,
        index: usize,
        caches: &mut [Option<LayerKv>],
        s: &mut Scratch,
        only_kv: bool,
    ) -> Result<(), EngineError> {
        let Pass { device, ops, decoder, state, rows, .. } = *pass;
        let LayerConfig { kind, head_dim, kv_heads, .. } = self.config;
        self.qkv.launch(device, &s.x, rows, &mut s.raw)?;
        let kv = self.kv.as_ref().map(|kv| HeadsKv {
            k: &mut s.k,
            v: &mut s.v,
            weight: &kv.k_norm,
            v_is_k: kv.v_is_k,
            heads: kv_heads,
        });
        let op = Heads {
            raw: Rows::of(&s.raw, self.qkv.rows()),
            q: &mut s.q,
            q_weight: &self.q_norm,
            kv,
            frequencies: pass.frequencies.of(kind),
            state,
            heads: decoder.heads,
            head_dim,
            eps: decoder.rms_eps,
        };
        ops.heads(device, rows, op)?;
        if let (Some(_), Some(cache)) = (&self.kv, caches[index].as_mut()) {
            self.attention.write(device, rows, (&s.k, &s.v), state, cache)?;
        }
        if only_kv {
            return Ok(());
        }
        let width = decoder.heads * head_dim;
        let (Some(cache), Some(attended)) = (caches[self.kv_source].as_ref(), s.attended.get_mut(&width))
        else {
            return Err(EngineError::InvalidArgument {
                what: "layer",
                got: format!("{index}, which reads the cache of layer {}", self.kv_source),
                expected: "a layer that has one".to_owned(),
            });
        };
        self.attention.attend(device, rows, &s.q, state, cache, attended)?;
        Ok(self.attn_output.launch(device, attended, rows, &mut s.y)?)
    }

    /// From the output of attention to the stream, normed for `next`.
    fn feed_forward(
        &self,
        pass: &Pass<'_>,
        index: usize,
        s: &mut Scratch,
        next: Next<'_>,
    ) -> Result<(), CudaError> {
        let Pass { device, ops, decoder, rows, first_row, .. } = *pass;
        let (n, eps, ffn) = (decoder.hidden_size, decoder.rms_eps, self.config.ffn_width);
        let stream = Rows { buffer: &s.h, from: first_row * n, stride: n };
        let attention = (&s.y, &self.post_attention_norm);
        let op = ResidualNorm::block(stream, attention, Some(&self.ffn_norm), eps);
        ops.residual_norm(device, rows, &op, &mut s.x)?;
        self.gate_up.launch(device, &s.x, rows, &mut s.gate_up)?;
        let Some(act) = s.ffn.get_mut(&ffn) else {
            return Err(CudaError::BufferSize {
                what: "width of a feed-forward block",
                got: 0,
                expected: ffn,
            });
        };
        let gate = Rows::of(&s.gate_up, 2 * ffn);
        ops.gelu_multiply(device, rows, ffn, [gate, Rows { from: ffn, ..gate }], act)?;
        self.down.launch(device, act, rows, &mut s.y)?;
        if let (Some(experts), Some(scratch)) = (&self.experts, &mut s.experts) {
            experts.run(pass, stream, &mut s.y, scratch)?;
        }
        let mut block_norm = &self.post_ffw_norm;
        if let (Some(weights), Some((ple, width))) = (&self.ple, pass.ple) {
            let op = ResidualNorm::block(stream, (&s.y, block_norm), None, eps);
            ops.residual_norm(device, rows, &op, &mut s.x)?;
            weights.gate.launch(device, &s.x, rows, &mut s.ple_gate)?;
            let stride = decoder.layers.len() * width;
            let up = Rows { buffer: ple, from: first_row * stride + index * width, stride };
            ops.gelu_multiply(device, rows, width, [Rows::of(&s.ple_gate, width), up], &mut s.ple)?;
            weights.proj.launch(device, &s.ple, rows, &mut s.y)?;
            block_norm = &weights.norm;
        }
        let last = |weight| ResidualNorm {
            scale: self.output_scale,
            ..ResidualNorm::block(stream, (&s.y, block_norm), Some(weight), eps)
        };
        match next {
            Next::Layer(weight) => ops.residual_norm(device, rows, &last(weight), &mut s.x),
            Next::LastRow(weight) => {
                // All rows join the stream; only the last one goes on.
                ops.residual_norm(device, rows, &last(weight), &mut s.x)?;
                let alone = Rows { from: (first_row + rows as usize - 1) * n, ..stream };
                ops.residual_norm(device, 1, &ResidualNorm::stream(alone, Some(weight), eps), &mut s.x)
            }
            Next::Output(weight, out) => ops.residual_norm(device, rows, &last(weight), out),
            Next::Nobody => Ok(()),
        }
    }
}
