//! Launching what stands between products: norms, rotations, gates, the choice of a token.
//!
//! Each function queues one kernel on whole rows; a row's result depends on no other row. Sizes are checked against the
//! buffers before anything is queued.

use std::sync::Arc;

use super::activations::{ActivationRows, Activations};
use super::kernel::{Kernel, KernelArgs};
use super::{Buffer, CudaError, Device, KernelSource};

/// Blocks that go through the logits of one row.
const ARGMAX_PARTS: u32 = 128;
/// Longest row that [`Ops::residual_norm`] takes.
const LONGEST_NORM: usize = 8192;
/// Longest head that [`Ops::heads`] takes.
const LONGEST_HEAD: usize = 768;
/// Widest per-layer embedding that [`Ops::layer_inputs`] takes.
const WIDEST_LAYER_INPUT: usize = 1024;
/// What [`Ops::argmax`] writes where no token can be chosen.
pub const NO_TOKEN: u32 = u32::MAX;

/// Ids that [`Ops::argmax`] writes behind those of rows where it decides over drafts.
pub const VERDICT: usize = 2;

/// The compiled kernels.
#[derive(Debug)]
pub struct Ops {
    residual_norm: Arc<Kernel>,
    heads: Arc<Kernel>,
    gelu_multiply: Arc<Kernel>,
    layer_inputs: Arc<Kernel>,
    argmax: Arc<Kernel>,
    join_rows: Arc<Kernel>,
}

/// Part of a buffer, from an element on.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// The buffer.
    pub buffer: &'a Buffer<f32>,
    /// First element.
    pub from: usize,
    /// Elements from one row to the next.
    pub stride: usize,
}

/// Residual stream and norm; see `residual_norm.cu`.
#[derive(Debug)]
pub struct ResidualNorm<'a> {
    /// The stream, from the first row on; rows of `n` lie `n` apart.
    pub h: Rows<'a>,
    /// A block's output with its norm's weight, which joins the stream.
    pub y: Option<(&'a Buffer<f32>, &'a Buffer<f32>)>,
    /// Factor of the stream after that.
    pub scale: f32,
    /// Weight of the norm whose result goes to `x`; none: the stream itself.
    pub weight: Option<&'a Buffer<f32>>,
    /// Length of a row.
    pub n: usize,
    /// Added to the mean square.
    pub eps: f32,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct ResidualNormArgs {
    x: ActivationRows,
    h: u64,
    y: u64,
    y_weight: u64,
    x_weight: u64,
    scale: f32,
    eps: f32,
    n: i32,
}

// SAFETY: equal to the kernel's, field for field.
unsafe impl KernelArgs for ResidualNormArgs {}

/// Norm and rotation of heads; see `heads.cu`.
#[derive(Debug)]
pub struct Heads<'a> {
    /// Queries, and keys and values behind them where the layer has its own.
    pub raw: Rows<'a>,
    /// Queries out.
    pub q: &'a mut Buffer<f32>,
    /// Norm of queries `[head_dim]`.
    pub q_weight: &'a Buffer<f32>,
    /// Keys and values out, and the norm of keys.
    pub kv: Option<HeadsKv<'a>>,
    /// `[head_dim / 2]`
    pub frequencies: &'a Buffer<f32>,
    /// `[kv_len, first_pos]`
    pub state: &'a Buffer<i32>,
    /// Query heads.
    pub heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Added to the mean square.
    pub eps: f32,
}

/// The part of [`Heads`] that a layer without keys of its own does not have.
#[derive(Debug)]
pub struct HeadsKv<'a> {
    /// Keys out.
    pub k: &'a mut Buffer<f32>,
    /// Values out.
    pub v: &'a mut Buffer<f32>,
    /// Norm of keys `[head_dim]`.
    pub weight: &'a Buffer<f32>,
    /// Whether values are the keys before norm and rotation.
    pub v_is_k: bool,
    /// Key and value heads.
    pub heads: usize,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct HeadsArgs {
    raw: u64,
    q: u64,
    k: u64,
    v: u64,
    q_weight: u64,
    k_weight: u64,
    frequencies: u64,
    state: u64,
    raw_stride: i64,
    k_from: i32,
    v_from: i32,
    heads: i32,
    kv_heads: i32,
    head_dim: i32,
    eps: f32,
}

// SAFETY: equal to the kernel's, field for field.
unsafe impl KernelArgs for HeadsArgs {}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct GeluMultiplyArgs {
    x: ActivationRows,
    gate: u64,
    up: u64,
    gate_stride: i64,
    up_stride: i64,
    n: i32,
}

// SAFETY: equal to the kernel's, field for field.
unsafe impl KernelArgs for GeluMultiplyArgs {}

/// Per-layer embeddings; see `layer_inputs.cu`.
#[derive(Debug)]
pub struct LayerInputs<'a> {
    /// Projections in, results out, `[rows][layers][width]`.
    pub p: &'a mut Buffer<f32>,
    /// Looked-up vectors, alike.
    pub e: &'a Buffer<f32>,
    /// Weight of the norm `[width]`.
    pub weight: &'a Buffer<f32>,
    /// Factor of the projections.
    pub scale: f32,
    /// Layers of the model.
    pub layers: usize,
    /// Width of an embedding.
    pub width: usize,
    /// Added to the mean square.
    pub eps: f32,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct LayerInputsArgs {
    p: u64,
    e: u64,
    weight: u64,
    scale: f32,
    eps: f32,
    width: i32,
}

// SAFETY: equal to the kernel's, field for field.
unsafe impl KernelArgs for LayerInputsArgs {}

/// Soft cap and choice; see `argmax.cu`.
#[derive(Debug)]
pub struct Argmax {
    /// Three words each.
    parts: Buffer<u32>,
    arrived: Buffer<u32>,
    rows_done: Buffer<u32>,
    rows: usize,
    /// Place among the ids from which on margins are written.
    margins_at: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct ArgmaxArgs {
    logits: u64,
    parts: u64,
    arrived: u64,
    ids: u64,
    margins: u64,
    next: u64,
    names: u64,
    drafts: u64,
    verdict: u64,
    rows_done: u64,
    stride: i64,
    n: i32,
    cap: f32,
}

// SAFETY: equal to the kernel's, field for field.
unsafe impl KernelArgs for ArgmaxArgs {}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct JoinRowsArgs {
    x: ActivationRows,
    embedding: u64,
    hidden: u64,
    row: u64,
    hidden_stride: i64,
    n: i32,
}

// SAFETY: equal to the kernel's, field for field.
unsafe impl KernelArgs for JoinRowsArgs {}

impl<'a> ResidualNorm<'a> {
    /// A block's output `y` with its norm's weight joins the stream, which is then normed with `weight`, if any.
    #[must_use]
    pub const fn block(
        h: Rows<'a>,
        y: (&'a Buffer<f32>, &'a Buffer<f32>),
        weight: Option<&'a Buffer<f32>>,
        eps: f32,
    ) -> Self {
        Self { h, y: Some(y), scale: 1.0, weight, n: h.stride, eps }
    }

    /// The stream as it is, normed with `weight`, if any.
    #[must_use]
    pub const fn stream(h: Rows<'a>, weight: Option<&'a Buffer<f32>>, eps: f32) -> Self {
        Self { h, y: None, scale: 1.0, weight, n: h.stride, eps }
    }
}

impl Argmax {
    /// Room for `rows` rows.
    ///
    /// # Errors
    /// No memory.
    pub fn new(device: &Device, rows: usize) -> Result<Self, CudaError> {
        let what = "parts of the greatest logit";
        Ok(Self {
            parts: device.zeros(what, 3 * rows * ARGMAX_PARTS as usize)?,
            arrived: device.zeros(what, rows)?,
            rows_done: device.zeros(what, 1)?,
            rows,
            margins_at: None,
        })
    }

    /// Has margins written too, as bits of f32, from a place of the ids on: how far a row's greatest logit is above the
    /// runner-up.
    #[must_use]
    pub fn with_margins_at(self, at: usize) -> Self {
        Self { margins_at: Some(at), ..self }
    }
}

impl Ops {
    /// Compiles (or finds) the kernels.
    ///
    /// # Errors
    /// A kernel that does not compile or load.
    pub fn new(device: &Device) -> Result<Self, CudaError> {
        let kernel = |source| device.kernel(source, Vec::new(), 0);
        Ok(Self {
            residual_norm: kernel(KernelSource::ResidualNorm)?,
            heads: kernel(KernelSource::Heads)?,
            gelu_multiply: kernel(KernelSource::GeluMultiply)?,
            layer_inputs: kernel(KernelSource::LayerInputs)?,
            argmax: kernel(KernelSource::Argmax)?,
            join_rows: kernel(KernelSource::JoinRows)?,
        })
    }

    /// Adds a block's output to the stream and norms the stream into `x`.
    ///
    /// # Errors
    /// A row too long, a buffer too small, or the driver's.
    pub fn residual_norm(
        &self,
        device: &Device,
        rows: u32,
        op: &ResidualNorm<'_>,
        x: &mut Activations,
    ) -> Result<(), CudaError> {
        let ResidualNorm { h, y, scale, weight, n, eps } = *op;
        at_most("row of a norm", n, LONGEST_NORM)?;
        whole("row of a norm", [n, h.from, h.stride, n])?;
        fits(&h, n, rows)?;
        y.map_or(Ok(()), |(y, w)| both(("output of a block", y, n * rows as usize), ("norm weight", w, n)))?;
        weight.map_or(Ok(()), |w| at_least("norm weight", w.len(), n))?;
        activations(x, n, rows)?;
        let args = ResidualNormArgs {
            x: x.arg(),
            h: h.address(),
            y: y.map_or(0, |(y, _)| y.address()),
            y_weight: y.map_or(0, |(_, weight)| weight.address()),
            x_weight: weight.map_or(0, Buffer::address),
            scale,
            eps,
            n: size(n),
        };
        let fours = u32::try_from(x.stride() / 4).unwrap_or(u32::MAX);
        let threads = if fours > 1024 { fours.div_ceil(2) } else { fours }.next_multiple_of(32);
        // SAFETY: sizes were checked above; two times 1024 threads of 4 elements are the longest row.
        unsafe { self.residual_norm.launch(device, [rows, 1, 1], threads, true, &args) }
    }

    /// Norms and turns heads.
    ///
    /// # Errors
    /// A head too long, a buffer too small, or the driver's.
    pub fn heads(&self, device: &Device, rows: u32, op: Heads<'_>) -> Result<(), CudaError> {
        let Heads { raw, q, q_weight, kv, frequencies, state, heads, head_dim, eps } = op;
        at_most("elements of a head", head_dim, LONGEST_HEAD)?;
        let kv_heads = kv.as_ref().map_or(0, |kv| kv.heads);
        let (q_width, kv_width) = (heads * head_dim, kv_heads * head_dim);
        let v_from = kv.as_ref().map_or(0, |kv| if kv.v_is_k { q_width } else { q_width + kv_width });
        fits(&raw, if kv.is_some() { v_from + kv_width } else { q_width }, rows)?;
        at_least("queries", q.len(), rows as usize * q_width)?;
        both(("norm weight", q_weight, head_dim), ("frequencies", frequencies, head_dim / 2))?;
        at_least("state", state.len(), 2)?;
        if let Some(kv) = &kv {
            let values = rows as usize * kv_width;
            both(("keys", kv.k, values), ("values", kv.v, values))?;
            at_least("norm weight", kv.weight.len(), head_dim)?;
        }
        let args = HeadsArgs {
            raw: raw.address(),
            q: q.address(),
            k: kv.as_ref().map_or(0, |kv| kv.k.address()),
            v: kv.as_ref().map_or(0, |kv| kv.v.address()),
            q_weight: q_weight.address(),
            k_weight: kv.as_ref().map_or(0, |kv| kv.weight.address()),
            frequencies: frequencies.address(),
            state: state.address(),
            raw_stride: raw.stride as i64,
            k_from: size(q_width),
            v_from: size(v_from),
            heads: size(heads),
            kv_heads: size(kv_heads),
            head_dim: size(head_dim),
            eps,
        };
        let slots = u32::try_from(heads + 2 * kv_heads).unwrap_or(u32::MAX);
        // SAFETY: sizes were checked above.
        unsafe { self.heads.launch(device, [slots, rows, 1], 128, true, &args) }
    }

    /// `x = gelu(gate) * up`, rows of `n`.
    ///
    /// # Errors
    /// A buffer too small, or the driver's.
    pub fn gelu_multiply(
        &self,
        device: &Device,
        rows: u32,
        n: usize,
        [gate, up]: [Rows<'_>; 2],
        x: &mut Activations,
    ) -> Result<(), CudaError> {
        fits(&gate, n, rows)?;
        fits(&up, n, rows)?;
        whole("gate", [n, gate.from, gate.stride, n])?;
        whole("factor of a gate", [n, up.from, up.stride, n])?;
        activations(x, n, rows)?;
        let args = GeluMultiplyArgs {
            x: x.arg(),
            gate: gate.address(),
            up: up.address(),
            gate_stride: gate.stride as i64,
            up_stride: up.stride as i64,
            n: size(n),
        };
        let blocks = u32::try_from(x.stride().div_ceil(512)).unwrap_or(u32::MAX);
        // SAFETY: sizes were checked above.
        unsafe { self.gelu_multiply.launch(device, [blocks, rows, 1], 128, true, &args) }
    }

    /// Per-layer embeddings of whole rows.
    ///
    /// # Errors
    /// A width too great, a buffer too small, or the driver's.
    pub fn layer_inputs(&self, device: &Device, rows: u32, op: LayerInputs<'_>) -> Result<(), CudaError> {
        let LayerInputs { p, e, weight, scale, layers, width, eps } = op;
        at_most("width of a per-layer embedding", width, WIDEST_LAYER_INPUT)?;
        let values = rows as usize * layers * width;
        both(("projections", p, values), ("looked-up embeddings", e, values))?;
        at_least("norm weight", weight.len(), width)?;
        let args = LayerInputsArgs {
            p: p.address(),
            e: e.address(),
            weight: weight.address(),
            scale,
            eps,
            width: size(width),
        };
        let layers = u32::try_from(layers).unwrap_or(u32::MAX);
        // SAFETY: sizes were checked above.
        unsafe { self.layer_inputs.launch(device, [layers, rows, 1], 256, true, &args) }
    }

    /// Caps `rows` rows of `n` logits in place (`cap` 0: not) and finds the greatest of each: ids to `ids` from a place
    /// on, row 0's also to `next`. A logit's id is its place, or what `names` says. With `drafts`, where row i's is at
    /// i + 1, the last two of `ids` ([`VERDICT`]) get how many leading drafts are their rows' ids, and the id behind them.
    ///
    /// # Errors
    /// A buffer too small, or the driver's.
    #[expect(clippy::too_many_arguments, reason = "one launch, one call")]
    pub fn argmax(
        &self,
        device: &Device,
        rows: u32,
        (n, cap): (usize, f32),
        logits: &mut Buffer<f32>,
        room: &mut Argmax,
        (ids, at): (&mut Buffer<u32>, usize),
        next: Option<&mut Buffer<u32>>,
        names: Option<&Buffer<u32>>,
        drafts: Option<&Buffer<u32>>,
    ) -> Result<(), CudaError> {
        names.map_or(Ok(()), |names| at_least("names of logits", names.len(), n))?;
        at_least("logits", logits.len(), rows as usize * n)?;
        at_least("parts of the greatest logit", room.rows, rows as usize)?;
        let verdict = drafts.map_or(0, |_| VERDICT);
        at_least("ids", ids.len(), at.max(room.margins_at.unwrap_or(0)) + rows as usize + verdict)?;
        drafts.map_or(Ok(()), |drafts| at_least("drafts", drafts.len(), rows as usize))?;
        let args = ArgmaxArgs {
            logits: logits.address(),
            parts: room.parts.address(),
            arrived: room.arrived.address(),
            ids: ids.address() + 4 * at as u64,
            margins: room.margins_at.map_or(0, |at| ids.address() + 4 * at as u64),
            next: next.map_or(0, |next| next.address()),
            names: names.map_or(0, Buffer::address),
            drafts: drafts.map_or(0, |drafts| drafts.address() + 4),
            verdict: ids.address() + 4 * (ids.len() - verdict) as u64,
            rows_done: room.rows_done.address(),
            stride: n as i64,
            n: size(n),
            cap,
        };
        // SAFETY: sizes were checked above.
        unsafe { self.argmax.launch(device, [ARGMAX_PARTS, rows, 1], 256, true, &args) }
    }

    /// `x = [embedding, hidden[row]]`, both of `n`; `row` is read on the device, absent it is 0.
    ///
    /// # Errors
    /// A buffer too small, or the driver's.
    pub fn join_rows(
        &self,
        device: &Device,
        n: usize,
        embedding: &Buffer<f32>,
        (hidden, row): (Rows<'_>, Option<&Buffer<i32>>),
        x: &mut Activations,
    ) -> Result<(), CudaError> {
        at_least("embedding", embedding.len(), n)?;
        fits(&hidden, n, 1)?;
        activations(x, 2 * n, 1)?;
        let args = JoinRowsArgs {
            x: x.arg(),
            embedding: embedding.address(),
            hidden: hidden.address(),
            row: row.map_or(0, Buffer::address),
            hidden_stride: hidden.stride as i64,
            n: size(n),
        };
        // SAFETY: sizes were checked above; `row` is below the rows of `hidden`, which whoever writes it sees to.
        unsafe { self.join_rows.launch(device, [blocks(x.stride()), 1, 1], 256, true, &args) }
    }
}

impl<'a> Rows<'a> {
    /// Rows that lie `stride` apart, from the buffer's beginning.
    #[must_use]
    pub const fn of(buffer: &'a Buffer<f32>, stride: usize) -> Self {
        Self { buffer, from: 0, stride }
    }

    fn address(&self) -> u64 {
        self.buffer.address() + 4 * self.from as u64
    }
}

/// Kernels that read four values at once need sizes and places that are multiples of 4.
fn whole(what: &'static str, sizes: [usize; 4]) -> Result<(), CudaError> {
    match sizes.iter().find(|size| !size.is_multiple_of(4)) {
        Some(&got) => Err(CudaError::BufferSize { what, got, expected: got.next_multiple_of(4) }),
        None => Ok(()),
    }
}

fn blocks(values: usize) -> u32 {
    u32::try_from(values.div_ceil(256)).unwrap_or(u32::MAX)
}

/// As kernels take it; every size was compared with a buffer's by then.
pub(super) fn size(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn fits(rows: &Rows<'_>, n: usize, count: u32) -> Result<(), CudaError> {
    let last = rows.from + rows.stride * (count as usize).saturating_sub(1) + n;
    at_least("rows", rows.buffer.len(), last)
}

fn both(
    a: (&'static str, &Buffer<f32>, usize),
    b: (&'static str, &Buffer<f32>, usize),
) -> Result<(), CudaError> {
    at_least(a.0, a.1.len(), a.2)?;
    at_least(b.0, b.1.len(), b.2)
}

fn activations(x: &Activations, n: usize, rows: u32) -> Result<(), CudaError> {
    at_least("length of a row of activations", x.cols(), n)?;
    at_least("rows of activations", x.rows(), rows as usize)
}

pub(super) const fn at_least(what: &'static str, got: usize, expected: usize) -> Result<(), CudaError> {
    if got < expected { Err(CudaError::BufferSize { what, got, expected }) } else { Ok(()) }
}

pub(super) const fn at_most(what: &'static str, got: usize, most: usize) -> Result<(), CudaError> {
    if got > most { Err(CudaError::TooLarge { what, got, most }) } else { Ok(()) }
}
