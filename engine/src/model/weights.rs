//! Tensors of a file as the forward pass uses them.
//!
//! Matrices stay where they are in the mapped file; only one-dimensional tensors (norms, scales) are copied.
//! Invariant: every name, shape and type is checked here, so the forward pass indexes without asking.

use std::sync::Arc;

use super::config::{DecoderConfig, ExpertConfig, LayerConfig, bad_model};
use crate::EngineError;
use crate::backend::cpu::{Element, Q8_BLOCK, Weights};
use crate::gguf::{GgmlType, Gguf, TensorView};
use crate::kv_cache::AttentionKind;

/// A matrix in the file: `[rows][cols]`, one row an output feature.
#[derive(Debug, Clone)]
pub(super) struct Matrix {
    file: Arc<Gguf>,
    /// Bytes of the file.
    range: std::ops::Range<usize>,
    element: Element,
    rows: usize,
    cols: usize,
}

impl Matrix {
    /// The view that products take.
    pub(super) fn weights(&self) -> Weights<'_> {
        Weights::new(&self.file.bytes()[self.range.clone()], self.element, self.rows, self.cols)
    }

    /// Bytes that a product with it reads.
    pub(super) const fn bytes(&self) -> usize {
        self.range.end - self.range.start
    }

    /// The view of `rows` rows from `first` on: one expert of a stack.
    pub(super) fn part(&self, first: usize, rows: usize) -> Weights<'_> {
        let bytes = self.element.row_bytes(self.cols);
        let start = self.range.start + first * bytes;
        Weights::new(&self.file.bytes()[start..start + rows * bytes], self.element, rows, self.cols)
    }

    /// Output features.
    pub(super) const fn rows(&self) -> usize {
        self.rows
    }
}

/// Finds and checks tensors.
#[derive(Debug)]
pub(super) struct Loader<'a> {
    file: &'a Arc<Gguf>,
}

impl<'a> Loader<'a> {
    pub(super) const fn new(file: &'a Arc<Gguf>) -> Self {
        Self { file }
    }

    /// The file.
    #[cfg(feature = "cuda")]
    pub(super) const fn file(&self) -> &'a Arc<Gguf> {
        self.file
    }

    /// A tensor of these dimensions.
    pub(super) fn tensor(&self, name: &str, dims: &[usize]) -> Result<TensorView<'a>, EngineError> {
        self.optional(name, dims)?.ok_or_else(|| missing(name, dims))
    }

    /// A tensor that may be absent.
    pub(super) fn optional(&self, name: &str, dims: &[usize]) -> Result<Option<TensorView<'a>>, EngineError> {
        let Some(tensor) = self.file.tensor(name) else { return Ok(None) };
        if tensor.dims.iter().map(|d| usize::try_from(*d).ok()).eq(dims.iter().map(|d| Some(*d))) {
            return Ok(Some(tensor));
        }
        let got = format!("shape {:?}", tensor.dims);
        Err(bad_model(format!("tensor `{name}`"), got, &format!("shape {dims:?}")))
    }

    fn view(
        &self,
        name: &str,
        tensor: &TensorView<'_>,
        cols: usize,
        rows: usize,
    ) -> Result<Matrix, EngineError> {
        let element = element_of(name, tensor.ty)?;
        if element == Element::Q8_0 && !cols.is_multiple_of(Q8_BLOCK) {
            let expected = format!("a multiple of {Q8_BLOCK} for Q8_0");
            return Err(bad_model(format!("row length of tensor `{name}`"), cols, &expected));
        }
        let start = tensor.data.as_ptr().addr() - self.file.bytes().as_ptr().addr();
        let range = start..start + tensor.data.len();
        if tensor.data.len() != rows * element.row_bytes(cols) {
            let expected = format!("{} bytes", rows * element.row_bytes(cols));
            return Err(bad_model(format!("size of tensor `{name}`"), tensor.data.len(), &expected));
        }
        Ok(Matrix { file: Arc::clone(self.file), range, element, rows, cols })
    }

    /// Integers of a tensor of `len` entries that may be absent.
    pub(super) fn optional_ids(&self, name: &str, len: usize) -> Result<Option<Vec<u32>>, EngineError> {
        let Some(tensor) = self.file.tensor(name) else { return Ok(None) };
        let bad = |got: String, expected: &str| bad_model(format!("tensor `{name}`"), got, expected);
        if tensor.dims.iter().try_fold(1_u64, |n, d| n.checked_mul(*d)) != Some(len as u64) {
            return Err(bad(format!("shape {:?}", tensor.dims), &format!("{len} entries")));
        }
        if tensor.ty != GgmlType::I32 {
            return Err(bad(format!("type {:?}", tensor.ty), "type I32").hint_with(
                "the token order is a table of ids and must not be quantised; convert the file again",
            ));
        }
        let id = |bytes: &[u8; 4]| {
            let id = i32::from_le_bytes(*bytes);
            u32::try_from(id).ok().ok_or_else(|| bad(format!("id {id}"), "ids of at least 0"))
        };
        tensor.data.as_chunks::<4>().0.iter().map(id).collect::<Result<_, _>>().map(Some)
    }

    /// Columns and rows of a matrix, if it is there.
    pub(super) fn shape(&self, name: &str) -> Option<(usize, usize)> {
        match self.file.tensor(name)?.dims {
            [cols, rows] => Some((usize::try_from(*cols).ok()?, usize::try_from(*rows).ok()?)),
            _ => None,
        }
    }
}

impl Tensors for Loader<'_> {
    type Matrix = Matrix;

    fn matrix(&self, name: &str, cols: usize, rows: usize) -> Result<Matrix, EngineError> {
        let tensor = self.tensor(name, &[cols, rows])?;
        self.view(name, &tensor, cols, rows)
    }

    fn optional_matrix(&self, name: &str, cols: usize, rows: usize) -> Result<Option<Matrix>, EngineError> {
        self.optional(name, &[cols, rows])?.map(|tensor| self.view(name, &tensor, cols, rows)).transpose()
    }

    fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, EngineError> {
        let tensor = self.tensor(name, &[len])?;
        widen(name, &tensor, len)
    }

    fn optional_vector(&self, name: &str, len: usize) -> Result<Option<Vec<f32>>, EngineError> {
        self.optional(name, &[len])?.map(|tensor| widen(name, &tensor, len)).transpose()
    }

    fn optional_stack(
        &self,
        name: &str,
        cols: usize,
        rows: usize,
        count: usize,
    ) -> Result<Option<Matrix>, EngineError> {
        let tensor = self.optional(name, &[cols, rows, count])?;
        tensor.map(|tensor| self.view(name, &tensor, cols, rows * count)).transpose()
    }
}

fn missing(name: &str, dims: &[usize]) -> EngineError {
    bad_model(format!("tensor `{name}`"), "nothing", &format!("a tensor of shape {dims:?}"))
        .hint_with("the file is incomplete or was made for another architecture")
}

fn element_of(name: &str, ty: GgmlType) -> Result<Element, EngineError> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other types are refused alike")]
    match ty {
        GgmlType::F32 => Ok(Element::F32),
        GgmlType::F16 => Ok(Element::F16),
        GgmlType::Bf16 => Ok(Element::Bf16),
        GgmlType::Q8_0 => Ok(Element::Q8_0),
        other => {
            Err(bad_model(format!("type of tensor `{name}`"), format!("{other:?}"), "F32, F16, BF16 or Q8_0")
                .hint_with("take the F16, BF16 or Q8_0 file of this model"))
        }
    }
}

fn widen(name: &str, tensor: &TensorView<'_>, len: usize) -> Result<Vec<f32>, EngineError> {
    let element = element_of(name, tensor.ty)?;
    if element == Element::Q8_0 || tensor.data.len() != element.row_bytes(len) {
        return Err(bad_model(format!("tensor `{name}`"), format!("{:?}", tensor.ty), "unquantised numbers"));
    }
    let mut values = vec![0.0; len];
    crate::backend::cpu::Isa::detect().widen(element, tensor.data, &mut values);
    Ok(values)
}

/// Where the tensors of a model come from, and as what: each backend has matrices of its own.
pub(super) trait Tensors {
    /// A matrix as products take it.
    type Matrix;

    /// A matrix of `rows` rows of `cols`.
    fn matrix(&self, name: &str, cols: usize, rows: usize) -> Result<Self::Matrix, EngineError>;

    /// A matrix that may be absent.
    fn optional_matrix(
        &self,
        name: &str,
        cols: usize,
        rows: usize,
    ) -> Result<Option<Self::Matrix>, EngineError>;

    /// Matrices of `rows` rows of `cols`, `count` of them one after the other, as one; may be absent.
    fn optional_stack(
        &self,
        name: &str,
        cols: usize,
        rows: usize,
        count: usize,
    ) -> Result<Option<Self::Matrix>, EngineError>;

    /// The same, but it has to be there.
    fn stack(&self, name: &str, cols: usize, rows: usize, count: usize) -> Result<Self::Matrix, EngineError> {
        self.optional_stack(name, cols, rows, count)?.ok_or_else(|| missing(name, &[cols, rows, count]))
    }

    /// A one-dimensional tensor.
    fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, EngineError>;

    /// A one-dimensional tensor that may be absent.
    fn optional_vector(&self, name: &str, len: usize) -> Result<Option<Vec<f32>>, EngineError>;

    /// A single number that may be absent.
    fn optional_scalar(&self, name: &str) -> Result<Option<f32>, EngineError> {
        Ok(self.optional_vector(name, 1)?.and_then(|values| values.first().copied()))
    }
}

/// Weights of one layer. An assistant's layers have no `kv` and no `ple`.
#[derive(Debug)]
pub(super) struct LayerWeights<M = Matrix> {
    pub(super) attn_norm: Vec<f32>,
    pub(super) q: M,
    pub(super) q_norm: Vec<f32>,
    pub(super) kv: Option<KvWeights<M>>,
    pub(super) attn_output: M,
    pub(super) post_attention_norm: Vec<f32>,
    pub(super) ffn_norm: Vec<f32>,
    pub(super) gate: M,
    pub(super) up: M,
    pub(super) down: M,
    pub(super) post_ffw_norm: Vec<f32>,
    pub(super) ple: Option<PleWeights<M>>,
    pub(super) experts: Option<ExpertWeights<M>>,
    /// Factor of the whole residual stream after the layer.
    pub(super) output_scale: f32,
}

/// Projections of a layer that has keys and values of its own.
#[derive(Debug)]
pub(super) struct KvWeights<M = Matrix> {
    pub(super) k: M,
    /// Absent where values are the keys before norm and rotation.
    pub(super) v: Option<M>,
    pub(super) k_norm: Vec<f32>,
}

/// The gate through which per-layer embeddings enter.
#[derive(Debug)]
pub(super) struct PleWeights<M = Matrix> {
    pub(super) gate: M,
    pub(super) proj: M,
    pub(super) norm: Vec<f32>,
}

/// The mixture of experts of a layer.
#[derive(Debug)]
pub(super) struct ExpertWeights<M = Matrix> {
    /// `[count][hidden]`
    pub(super) router: M,
    /// Of the router's input, `[hidden]`.
    pub(super) router_scale: Vec<f32>,
    /// Norm of the experts' input.
    pub(super) pre_norm: Vec<f32>,
    /// Norm of the dense block's output.
    pub(super) dense_post_norm: Vec<f32>,
    /// Norm of the experts' output.
    pub(super) post_norm: Vec<f32>,
    pub(super) gate_up: GateUp<M>,
    /// `[count * hidden][width]`
    pub(super) down: M,
    /// Factor of each expert, `[count]`.
    pub(super) down_scale: Vec<f32>,
}

/// Gate and up of all experts, as the file has them.
#[derive(Debug)]
pub(super) enum GateUp<M> {
    /// `[count * 2 width][hidden]`: of each expert the gate's rows, then those of up.
    Fused(M),
    /// `[count * width][hidden]` each.
    Apart {
        /// Gates.
        gate: M,
        /// Factors of the gates.
        up: M,
    },
}

/// What a layer has besides the common part.
#[derive(Debug, Clone, Copy)]
pub(super) struct LayerExtras {
    /// Keys and values of its own.
    pub(super) owns_kv: bool,
    /// Width of the per-layer embeddings, 0 = none.
    pub(super) ple_width: usize,
    /// Whether a missing output scale is an error (assistant) or 1 (target).
    pub(super) scale_required: bool,
}

impl<M> LayerWeights<M> {
    pub(super) fn load(
        loader: &impl Tensors<Matrix = M>,
        index: usize,
        decoder: &DecoderConfig,
        extras: LayerExtras,
    ) -> Result<Self, EngineError> {
        let LayerConfig { head_dim, ffn_width, .. } = decoder.layers[index];
        let hidden = decoder.hidden_size;
        let q_width = decoder.heads * head_dim;
        let name = |part: &str| format!("blk.{index}.{part}.weight");
        let scale_name = name("layer_output_scale");
        let output_scale = match loader.optional_scalar(&scale_name)? {
            Some(scale) => scale,
            None if extras.scale_required => {
                return Err(bad_model(format!("tensor `{scale_name}`"), "nothing", "one number"));
            }
            None => 1.0,
        };
        Ok(Self {
            attn_norm: loader.vector(&name("attn_norm"), hidden)?,
            q: loader.matrix(&name("attn_q"), hidden, q_width)?,
            q_norm: loader.vector(&name("attn_q_norm"), head_dim)?,
            kv: if extras.owns_kv { Some(KvWeights::load(loader, index, decoder)?) } else { None },
            attn_output: loader.matrix(&name("attn_output"), q_width, hidden)?,
            post_attention_norm: loader.vector(&name("post_attention_norm"), hidden)?,
            ffn_norm: loader.vector(&name("ffn_norm"), hidden)?,
            gate: loader.matrix(&name("ffn_gate"), hidden, ffn_width)?,
            up: loader.matrix(&name("ffn_up"), hidden, ffn_width)?,
            down: loader.matrix(&name("ffn_down"), ffn_width, hidden)?,
            post_ffw_norm: loader.vector(&name("post_ffw_norm"), hidden)?,
            ple: match extras.ple_width {
                0 => None,
                width => Some(PleWeights {
                    gate: loader.matrix(&name("inp_gate"), hidden, width)?,
                    proj: loader.matrix(&name("proj"), width, hidden)?,
                    norm: loader.vector(&name("post_norm"), hidden)?,
                }),
            },
            experts: match decoder.experts {
                None => None,
                Some(experts) => Some(ExpertWeights::load(loader, index, hidden, experts)?),
            },
            output_scale,
        })
    }
}

impl LayerWeights {
    /// Bytes of the matrices that a pass over one row reads, which asks `used` experts.
    pub(super) fn bytes_of_row(&self, used: usize) -> usize {
        let Self { q, attn_output, gate, up, down, .. } = self;
        let kv = self.kv.iter().flat_map(|kv| [Some(&kv.k), kv.v.as_ref()]).flatten();
        let ple = self.ple.iter().flat_map(|ple| [&ple.gate, &ple.proj]);
        let dense: usize =
            [q, attn_output, gate, up, down].into_iter().chain(kv).chain(ple).map(Matrix::bytes).sum();
        dense + self.experts.as_ref().map_or(0, |experts| experts.bytes_of_row(used))
    }
}

impl ExpertWeights {
    /// The router and `used` of all experts.
    fn bytes_of_row(&self, used: usize) -> usize {
        let gate_up = match &self.gate_up {
            GateUp::Fused(both) => both.bytes(),
            GateUp::Apart { gate, up } => gate.bytes() + up.bytes(),
        };
        self.router.bytes() + (gate_up + self.down.bytes()) / self.down_scale.len() * used
    }
}

impl<M> ExpertWeights<M> {
    fn load(
        loader: &impl Tensors<Matrix = M>,
        index: usize,
        hidden: usize,
        ExpertConfig { count, width, .. }: ExpertConfig,
    ) -> Result<Self, EngineError> {
        let name = |part: &str| format!("blk.{index}.{part}");
        let gate_up =
            match loader.optional_stack(&name("ffn_gate_up_exps.weight"), hidden, 2 * width, count)? {
                Some(both) => GateUp::Fused(both),
                None => GateUp::Apart {
                    gate: loader.stack(&name("ffn_gate_exps.weight"), hidden, width, count)?,
                    up: loader.stack(&name("ffn_up_exps.weight"), hidden, width, count)?,
                },
            };
        let down_scale = loader.optional_vector(&name("ffn_down_exps.scale"), count)?;
        Ok(Self {
            router: loader.matrix(&name("ffn_gate_inp.weight"), hidden, count)?,
            router_scale: loader.vector(&name("ffn_gate_inp.scale"), hidden)?,
            pre_norm: loader.vector(&name("pre_ffw_norm_2.weight"), hidden)?,
            dense_post_norm: loader.vector(&name("post_ffw_norm_1.weight"), hidden)?,
            post_norm: loader.vector(&name("post_ffw_norm_2.weight"), hidden)?,
            gate_up,
            down: loader.stack(&name("ffn_down_exps.weight"), width, hidden, count)?,
            down_scale: down_scale.unwrap_or_else(|| vec![1.0; count]),
        })
    }
}

impl<M> KvWeights<M> {
    fn load(
        loader: &impl Tensors<Matrix = M>,
        index: usize,
        decoder: &DecoderConfig,
    ) -> Result<Self, EngineError> {
        let LayerConfig { kind, head_dim, kv_heads, .. } = decoder.layers[index];
        let name = |part: &str| format!("blk.{index}.{part}.weight");
        let (hidden, width) = (decoder.hidden_size, kv_heads * head_dim);
        Ok(Self {
            k: loader.matrix(&name("attn_k"), hidden, width)?,
            // Only full layers may take their values from the keys.
            v: match kind {
                AttentionKind::Full => loader.optional_matrix(&name("attn_v"), hidden, width)?,
                AttentionKind::Sliding => Some(loader.matrix(&name("attn_v"), hidden, width)?),
            },
            k_norm: loader.vector(&name("attn_k_norm"), head_dim)?,
        })
    }
}
