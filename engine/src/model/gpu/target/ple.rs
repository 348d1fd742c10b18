//! Per-layer embeddings of a pass: looked up in their table, and projected from the token's embedding.

use super::super::weights::{DeviceTensors, FileMatrix, Products, Weights};
use crate::EngineError;
use crate::backend::cuda::{Activations, Buffer, CudaError, Device, LayerInputs, Ops, RowGather};
use crate::model::config::TargetConfig;
use crate::model::weights::Tensors;

/// Per-layer embeddings: one narrow vector a layer and token.
#[derive(Debug)]
pub(super) struct PleModel {
    table: Weights,
    gather: RowGather,
    pub(super) proj: Weights,
    norm: Buffer<f32>,
    /// `[rows][layers][width]`: looked up, and the result.
    looked_up: Buffer<f32>,
    pub(super) values: Buffer<f32>,
}

impl PleModel {
    pub(super) fn load(
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
    pub(super) fn run(
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
