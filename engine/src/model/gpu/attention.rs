//! The attention of a model's layers: one plan for each shape that occurs, made when the model is loaded.

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::attention::{AttnShape, KvFormat, Mask, plan_among, plan_verify};
use crate::backend::cuda::{
    Activations, Attention, AttentionBuffers, AttentionOutput, Buffer, CudaError, Device, Disabled, KvRows,
    KvWriter, checked_plan,
};
use crate::kv_cache::{AttentionKind, KvLimits};
use crate::model::config::{DecoderConfig, LayerConfig};

/// Keys and values of one layer.
#[derive(Debug)]
pub(super) struct LayerKv {
    pub(super) k: Buffer<u8>,
    pub(super) v: Buffer<u8>,
}

/// Kernels of one shape of layers.
#[derive(Debug)]
pub(super) struct LayerAttention {
    shape: AttnShape,
    /// Decode, verify and draft steps.
    verify: Attention,
    /// Prefill, where the model has any.
    prefill: Option<Attention>,
    writer: KvWriter,
}

/// The kernels of a model, shared by layers of equal shape.
#[derive(Debug, Default)]
pub(super) struct Attentions {
    made: Vec<Arc<LayerAttention>>,
    disabled: Vec<Disabled>,
}

/// How a model's caches are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct CachePlan {
    pub(super) k: KvFormat,
    pub(super) v: KvFormat,
    pub(super) limits: KvLimits,
    /// Rows of a prefill pass; 0 for a model that has none.
    pub(super) prefill_rows: usize,
}

impl CachePlan {
    /// What attention of a layer is asked for.
    pub(super) fn shape(&self, decoder: &DecoderConfig, layer: &LayerConfig) -> AttnShape {
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        AttnShape {
            head_dim: small(layer.head_dim),
            heads: small(decoder.heads),
            kv_heads: small(layer.kv_heads),
            q_rows: 1,
            k: self.k,
            v: self.v,
            window: match layer.kind {
                AttentionKind::Sliding => NonZeroU32::new(small(decoder.window)),
                AttentionKind::Full => None,
            },
            mask: Mask::Causal,
            cells: small(self.limits.cells(layer.kind)),
        }
    }
}

impl Attentions {
    /// The kernels of a layer.
    pub(super) fn of(
        &mut self,
        device: &Device,
        cache: &CachePlan,
        shape: AttnShape,
    ) -> Result<Arc<LayerAttention>, CudaError> {
        if let Some(same) = self.made.iter().find(|attention| attention.shape == shape) {
            return Ok(Arc::clone(same));
        }
        let (caps, disabled) = (device.caps(), &mut self.disabled);
        let verify = checked_plan(device, |allowed| plan_verify(&shape, caps, allowed), disabled)?;
        let prefill = (cache.prefill_rows > 0).then(|| {
            let rows = u32::try_from(cache.prefill_rows).unwrap_or(u32::MAX);
            let shape = AttnShape { q_rows: rows, ..shape };
            let plan = checked_plan(device, |allowed| plan_among(&shape, caps, allowed), disabled)?;
            Attention::new(device, plan, 1.0)
        });
        let made = Arc::new(LayerAttention {
            shape,
            verify: Attention::new(device, verify, 1.0)?,
            prefill: prefill.transpose()?,
            writer: KvWriter::new(device, shape)?,
        });
        self.made.push(Arc::clone(&made));
        Ok(made)
    }

    /// Every route in force, in words, and what was passed over.
    pub(super) fn routes(&mut self) -> Vec<String> {
        let words = |attention: &Arc<LayerAttention>| {
            let shape = &attention.shape;
            let kind = if shape.window.is_some() { "sliding" } else { "full" };
            let prefill =
                attention.prefill.as_ref().map(|prefill| format!("; prefill {}", prefill.plan().route()));
            let (dim, ratio, verify) = (shape.head_dim, shape.gqa_ratio(), attention.verify.plan().route());
            format!("{kind} d{dim} x{ratio}: {verify}{}", prefill.unwrap_or_default())
        };
        self.disabled.dedup();
        self.made.iter().map(words).chain(self.disabled.iter().map(ToString::to_string)).collect()
    }
}

impl LayerKv {
    /// Zeroed cells of a layer.
    pub(super) fn new(device: &Device, shape: &AttnShape) -> Result<Self, CudaError> {
        let bytes = |format: KvFormat| {
            shape.kv_heads as usize * shape.cells as usize * format.row_bytes(shape.head_dim as usize)
        };
        let what = "the KV cache of a layer";
        Ok(Self { k: device.zeros(what, bytes(shape.k))?, v: device.zeros(what, bytes(shape.v))? })
    }

    /// Bytes that [`Self::new`] takes.
    pub(super) fn bytes(shape: &AttnShape) -> usize {
        let row = |format: KvFormat| format.row_bytes(shape.head_dim as usize);
        shape.kv_heads as usize * shape.cells as usize * (row(shape.k) + row(shape.v))
    }
}

impl LayerAttention {
    /// Appends the rows of `k` and `v` at the position that `state` tells.
    pub(super) fn write(
        &self,
        device: &Device,
        rows: u32,
        (k, v): (&Buffer<f32>, &Buffer<f32>),
        state: &Buffer<i32>,
        cache: &mut LayerKv,
    ) -> Result<(), CudaError> {
        let LayerKv { k: k_cache, v: v_cache } = cache;
        self.writer.launch(device, KvRows { k, v, rows, state, k_cache, v_cache })
    }

    /// Attention of `rows` queries over a cache.
    pub(super) fn attend(
        &self,
        device: &Device,
        rows: u32,
        q: &Buffer<f32>,
        state: &Buffer<i32>,
        cache: &LayerKv,
        out: &mut Activations,
    ) -> Result<(), CudaError> {
        let kernels = match &self.prefill {
            Some(prefill) if rows > crate::attention::VERIFY_ROWS => prefill,
            Some(_) | None => &self.verify,
        };
        let by_head = self.shape.head_dim.is_multiple_of(32);
        let target = if by_head {
            AttentionOutput::Activations(&mut *out)
        } else {
            AttentionOutput::Values(out.values_mut())
        };
        kernels.launch(device, rows, AttentionBuffers { q, k: &cache.k, v: &cache.v, state, out: target })?;
        if by_head { Ok(()) } else { out.quantize(device, rows) }
    }

    /// Whether a pass of `rows` from `first` divides the keys as each of its rows would alone.
    pub(super) fn divides_alike(&self, first: usize, rows: usize) -> bool {
        let chunk =
            |position: usize| self.verify.plan().chunk(u32::try_from(position).unwrap_or(u32::MAX - 1));
        chunk(first) == chunk(first + rows - 1)
    }
}
