//! Per-layer embeddings of a pass: looked up in their table, and projected from the token's embedding.
//!
//! The table lies on the device, or in the host's memory, from which rows have the same bits.

use super::super::weights::{DeviceTensors, Products, Weights};
use crate::EngineError;
use crate::backend::cuda::{
    Activations, Buffer, CudaError, Device, DeviceMatrix, HostTable, LayerInputs, Ops, RowGather,
};
use crate::model::config::TargetConfig;
use crate::model::placement::PlePlace;
use crate::model::weights::Tensors;

/// The tensor that rows are looked up in.
pub(super) const TABLE: &str = "per_layer_token_embd.weight";

/// Per-layer embeddings: one narrow vector a layer and token.
#[derive(Debug)]
pub(super) struct PleModel {
    table: Table,
    pub(super) proj: Weights,
    norm: Buffer<f32>,
    /// `[rows][layers][width]`: looked up, and the result.
    looked_up: Buffer<f32>,
    pub(super) values: Buffer<f32>,
}

/// The table, where it lies.
#[derive(Debug)]
enum Table {
    Device { table: DeviceMatrix, gather: RowGather },
    Host(HostTable),
}

impl PleModel {
    /// `None` for a model without. `rows` are the most of a pass.
    pub(super) fn load(
        device: &Device,
        tensors: &DeviceTensors<'_>,
        products: &mut Products,
        config: &TargetConfig,
        rows: usize,
        place: PlePlace,
    ) -> Result<Option<Self>, EngineError> {
        if config.ple_width == 0 {
            return Ok(None);
        }
        let width = config.ple_width * config.decoder.layers.len();
        let vocab = config.decoder.vocab_size;
        let table = tensors.matrix(TABLE, width, vocab)?;
        let proj = tensors.matrix("per_layer_model_proj.weight", config.decoder.hidden_size, width)?;
        let norm = tensors.vector("per_layer_proj_norm.weight", config.ple_width)?;
        Ok(Some(Self {
            table: match place {
                PlePlace::Device => Table::Device {
                    gather: RowGather::new(device, table.ty())?,
                    table: table.upload(device)?,
                },
                PlePlace::Host => {
                    let file = tensors.loader.file();
                    Table::Host(HostTable::new(device, file, TABLE, (vocab, width), rows)?)
                }
            },
            proj: Weights::stack(device, products, &[proj])?,
            norm: device.upload("norm weights", &norm)?,
            looked_up: device.zeros("per-layer embeddings", rows * width)?,
            values: device.zeros("per-layer embeddings", rows * width)?,
        }))
    }

    /// Where the table lies, in words.
    pub(super) fn table_place(&self) -> String {
        match &self.table {
            Table::Device { .. } => "device".to_owned(),
            Table::Host(table) => {
                format!("host ({}), {} bytes a token over the bus", table.pages().words(), table.row_bytes())
            }
        }
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
        let (out, stride) = (&mut self.looked_up, layers * width);
        match &mut self.table {
            Table::Device { table, gather } => {
                gather.launch(device, table, ids, rows, scale, out, stride)?;
            }
            Table::Host(table) => table.gather(device, ids, rows, scale, out, stride)?,
        }
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
