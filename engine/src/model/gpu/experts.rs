//! The mixture of experts of a layer on the device.
//!
//! Router and experts see the stream that the dense block sees, each through a norm of its own; what they make joins the
//! dense block's output before that enters the stream. Weights of all experts are on the device, and a pass reads those
//! that its rows chose.

use std::sync::Arc;

use super::layer::Pass;
use super::weights::{FileMatrix, Products, Weights};
use crate::backend::cuda::{
    Activations, Buffer, CudaError, Device, DeviceMatrix, ExpertJoin, ExpertProduct, ExpertRoutes,
    ExpertShape, ResidualNorm, Rows,
};
use crate::model::config::{DecoderConfig, ExpertConfig};
use crate::model::weights::{ExpertWeights, GateUp};

/// Weights of a layer's router and experts.
#[derive(Debug)]
pub(super) struct CudaExperts {
    config: ExpertConfig,
    router: Weights,
    /// Norm of the router's input, `1 / sqrt(hidden)` in it.
    router_norm: Buffer<f32>,
    pre_norm: Buffer<f32>,
    dense_post_norm: Buffer<f32>,
    post_norm: Buffer<f32>,
    /// Gate and up, together or one after the other.
    gate_up: Vec<Stack>,
    down: Stack,
    down_scale: Buffer<f32>,
}

/// One matrix of every expert.
#[derive(Debug)]
struct Stack {
    matrix: DeviceMatrix,
    product: Arc<ExpertProduct>,
}

/// Buffers of a pass.
#[derive(Debug)]
pub(super) struct ExpertScratch {
    routes: ExpertRoutes,
    join: ExpertJoin,
    /// The stream, normed for the router, then for the experts.
    x: Activations,
    /// `[rows][count]`
    logits: Buffer<f32>,
    /// `[rows][used][2 width]`
    gate_up: Buffer<f32>,
    /// `[rows * used][width]`
    gated: Activations,
    /// `[rows][used][hidden]`
    out: Buffer<f32>,
}

impl Stack {
    fn bytes(&self) -> usize {
        self.matrix.bytes()
    }
}

impl ExpertScratch {
    /// For passes of `rows` rows.
    pub(super) fn new(
        device: &Device,
        hidden: usize,
        config: ExpertConfig,
        rows: usize,
    ) -> Result<Self, CudaError> {
        let ExpertConfig { count, used, width } = config;
        let (what, pairs) = ("buffers of experts", rows * used);
        Ok(Self {
            routes: ExpertRoutes::new(device, ExpertShape { count, used, most_rows: rows })?,
            join: ExpertJoin::new(device)?,
            x: Activations::new(device, rows, hidden)?,
            logits: device.zeros(what, rows * count)?,
            gate_up: device.zeros(what, pairs * 2 * width)?,
            gated: Activations::new(device, pairs, width)?,
            out: device.zeros(what, pairs * hidden)?,
        })
    }
}

impl CudaExperts {
    /// Brings router and experts onto the device.
    pub(super) fn upload(
        device: &Device,
        products: &mut Products,
        weights: &ExpertWeights<FileMatrix<'_>>,
        config: ExpertConfig,
    ) -> Result<Self, CudaError> {
        let vector = |values: &[f32]| device.upload("norm weights", values);
        let scale = 1.0 / (weights.router_scale.len() as f32).sqrt();
        let router_norm: Vec<f32> = weights.router_scale.iter().map(|weight| weight * scale).collect();
        let router = Weights::stack(device, products, &[weights.router])?;
        let mut stack = |matrix: &FileMatrix<'_>| {
            Ok::<_, CudaError>(Stack {
                matrix: matrix.upload(device)?,
                product: products.of_experts(device, matrix.ty())?,
            })
        };
        Ok(Self {
            config,
            router,
            router_norm: vector(&router_norm)?,
            pre_norm: vector(&weights.pre_norm)?,
            dense_post_norm: vector(&weights.dense_post_norm)?,
            post_norm: vector(&weights.post_norm)?,
            gate_up: match &weights.gate_up {
                GateUp::Fused(both) => vec![stack(both)?],
                GateUp::Apart { gate, up } => vec![stack(gate)?, stack(up)?],
            },
            down: stack(&weights.down)?,
            down_scale: vector(&weights.down_scale)?,
        })
    }

    /// Bytes on the device.
    pub(super) fn bytes(&self) -> usize {
        self.router.bytes() + self.gate_up.iter().chain([&self.down]).map(Stack::bytes).sum::<usize>()
    }

    /// Bytes of weights that one row reads.
    pub(super) fn bytes_of_row(&self) -> usize {
        let experts = self.bytes() - self.router.bytes();
        self.router.bytes() + experts / self.config.count * self.config.used
    }

    /// Queues router and experts for the rows of `stream`, and joins what they make to `y`, the dense block's output.
    pub(super) fn run(
        &self,
        pass: &Pass<'_>,
        stream: Rows<'_>,
        y: &mut Buffer<f32>,
        s: &mut ExpertScratch,
    ) -> Result<(), CudaError> {
        let Pass { device, ops, decoder, rows, .. } = *pass;
        let DecoderConfig { hidden_size, rms_eps: eps, .. } = *decoder;
        let ExpertConfig { used, width, .. } = self.config;
        let normed = |weight| ResidualNorm::stream(stream, Some(weight), eps);
        ops.residual_norm(device, rows, &normed(&self.router_norm), &mut s.x)?;
        self.router.launch(device, &s.x, rows, &mut s.logits)?;
        s.routes.launch(device, rows, &s.logits, &self.down_scale)?;
        ops.residual_norm(device, rows, &normed(&self.pre_norm), &mut s.x)?;
        let step = 2 * width / self.gate_up.len();
        for (i, Stack { matrix, product }) in self.gate_up.iter().enumerate() {
            let place = (i * step, 2 * width);
            product.launch(device, &s.routes, rows, matrix, (&s.x, used), &mut s.gate_up, place)?;
        }
        let gate = Rows::of(&s.gate_up, 2 * width);
        let pairs = rows.saturating_mul(u32::try_from(used).unwrap_or(u32::MAX));
        ops.gelu_multiply(device, pairs, width, [gate, Rows { from: width, ..gate }], &mut s.gated)?;
        let Stack { matrix, product } = &self.down;
        product.launch(device, &s.routes, rows, matrix, (&s.gated, 1), &mut s.out, (0, hidden_size))?;
        let dense = (y, &self.dense_post_norm);
        s.join.launch(device, &s.routes, rows, dense, (&s.out, &self.post_norm), (hidden_size, eps))
    }
}
