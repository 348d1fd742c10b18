//! A model as a list of tensors with what is in them, and the loop that writes such a list.

use std::path::Path;

use super::random::Random;
use crate::EngineError;
use crate::gguf::{GgmlType, GgufError, GgufWriter};
use crate::quant::{self, Q8_0_BYTES};

/// Fills the row of this index.
pub(super) type RowValues<'a> = Box<dyn FnMut(usize, &mut [f32]) + 'a>;

/// What is in a tensor.
pub(super) enum Fill<'a> {
    /// One value everywhere.
    Constant(f32),
    /// Uniform with this standard deviation.
    Random(f32),
    /// Given values, row by row.
    Rows(RowValues<'a>),
    /// Given integers.
    Ids(Vec<u32>),
}

/// One tensor to be written.
pub(super) struct Tensor<'a> {
    pub(super) name: String,
    /// The contiguous dimension first.
    pub(super) dims: Vec<u64>,
    pub(super) ty: GgmlType,
    pub(super) fill: Fill<'a>,
}

impl<'a> Tensor<'a> {
    pub(super) fn new(name: impl Into<String>, dims: &[usize], ty: GgmlType, fill: Fill<'a>) -> Self {
        Self { name: name.into(), dims: dims.iter().map(|&d| d as u64).collect(), ty, fill }
    }

    /// A vector of one value, F32 as all 1-D tensors are.
    pub(super) fn constant(name: impl Into<String>, len: usize, value: f32) -> Self {
        Self::new(name, &[len], GgmlType::F32, Fill::Constant(value))
    }

    /// A random matrix `[inputs, outputs]` that keeps the size of its input.
    pub(super) fn matrix(name: impl Into<String>, inputs: usize, outputs: usize, ty: GgmlType) -> Self {
        Self::new(name, &[inputs, outputs], ty, Fill::Random(keeping(inputs)))
    }

    pub(super) fn elements(&self) -> u64 {
        self.dims.iter().product()
    }
}

/// Standard deviation of weights over `inputs` that keeps the size of a vector.
pub(super) fn keeping(inputs: usize) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "widths are far below 2^24")]
    let inputs = inputs as f32;
    1.0 / inputs.sqrt()
}

/// The table that makes RoPE proportional: the first quarter of a head's pairs rotates, the others stand still.
pub(super) fn rope_freqs(head_dim_full: usize) -> Tensor<'static> {
    let rotated = head_dim_full / 8;
    let rows = move |_: usize, row: &mut [f32]| {
        for (pair, factor) in row.iter_mut().enumerate() {
            *factor = if pair < rotated { 1.0 } else { 1e30 };
        }
    };
    Tensor::new("rope_freqs.weight", &[head_dim_full / 2], GgmlType::F32, Fill::Rows(Box::new(rows)))
}

/// Writes a model; `progress` hears bytes written and bytes in all.
pub(super) fn write(
    path: &Path,
    mut header: GgufWriter,
    tensors: Vec<Tensor<'_>>,
    seed: u64,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), EngineError> {
    for tensor in &tensors {
        header.declare(&tensor.name, &tensor.dims, tensor.ty)?;
    }
    let total = header.file_bytes();
    let mut sink = header.begin(path)?;
    let mut done = 0_u64;
    for (place, mut tensor) in (1..).zip(tensors) {
        let mut random = Random::new(seed, place);
        let mut rows = Rows::new(&tensor)?;
        for row in 0..rows.count {
            let bytes = rows.next(row, &mut tensor, &mut random)?;
            sink.write(&tensor.name, bytes)?;
            done += bytes.len() as u64;
            progress(done, total);
        }
    }
    sink.finish()?;
    Ok(())
}

/// Makes the rows of one tensor, one after another, in buffers that are used again.
struct Rows {
    count: usize,
    values: Vec<f32>,
    bytes: Vec<u8>,
}

impl Rows {
    fn new(tensor: &Tensor<'_>) -> Result<Self, EngineError> {
        let too_large = || EngineError::InvalidArgument {
            what: "tensor shape",
            got: format!("{:?} of {}", tensor.dims, tensor.ty),
            expected: "whole blocks, rows that fit into memory".to_owned(),
        };
        let row_bytes = tensor.ty.row_bytes(tensor.dims[0]).and_then(|n| usize::try_from(n).ok());
        let columns = usize::try_from(tensor.dims[0]).ok();
        let count = usize::try_from(tensor.dims[1..].iter().product::<u64>()).ok();
        match (row_bytes, columns, count) {
            (Some(row_bytes), Some(columns), Some(count)) => {
                Ok(Self { count, values: vec![0.0; columns], bytes: vec![0; row_bytes] })
            }
            _ => Err(too_large()),
        }
    }

    fn next(
        &mut self,
        row: usize,
        tensor: &mut Tensor<'_>,
        random: &mut Random,
    ) -> Result<&[u8], EngineError> {
        match &mut tensor.fill {
            Fill::Random(deviation) if tensor.ty == GgmlType::Q8_0 => {
                random_q8_0(random, *deviation, &mut self.bytes);
                return Ok(&self.bytes);
            }
            Fill::Ids(ids) => {
                for (out, id) in self.bytes.chunks_exact_mut(4).zip(ids) {
                    out.copy_from_slice(&id.to_le_bytes());
                }
                return Ok(&self.bytes);
            }
            Fill::Constant(value) => self.values.fill(*value),
            Fill::Random(deviation) => {
                self.values.iter_mut().for_each(|value| *value = *deviation * random.unit());
            }
            Fill::Rows(rows) => rows(row, &mut self.values),
        }
        quant::quantize_row(tensor.ty, &self.values, &mut self.bytes)?;
        Ok(&self.bytes)
    }
}

/// `Q8_0` blocks straight from the generator: quantising floats would take ten times as long, and a model of 30 B
/// weights is written this way.
fn random_q8_0(random: &mut Random, deviation: f32, bytes: &mut [u8]) {
    /// Standard deviation of a byte that is uniform from -128 to 127.
    const BYTE_DEVIATION: f32 = 73.9;
    let scale = half::f16::from_f32(deviation / BYTE_DEVIATION).to_le_bytes();
    for block in bytes.chunks_exact_mut(Q8_0_BYTES) {
        let (head, values) = block.split_at_mut(2);
        head.copy_from_slice(&scale);
        for eight in values.chunks_exact_mut(8) {
            eight.copy_from_slice(&random.next_u64().to_le_bytes());
        }
    }
}

/// Token ids in the order of their centroids: equally many each, at random.
pub(super) fn token_ordering(seed: u64, vocab: usize) -> Vec<u32> {
    const ORDERING: u64 = 1 << 40;
    let mut ids: Vec<u32> = (0..u32::try_from(vocab).unwrap_or(u32::MAX)).collect();
    Random::new(seed, ORDERING).shuffle(&mut ids);
    ids
}

/// Refuses to begin what the disk cannot hold.
pub(super) fn check_space(dir: &Path, needed: u64) -> Result<(), EngineError> {
    let Some(free) = free_bytes(dir)? else { return Ok(()) };
    if needed > free {
        return Err(EngineError::NoSpace { dir: dir.to_owned(), needed, free });
    }
    Ok(())
}

/// Free bytes where `dir` lies; `None` on systems that we cannot ask.
#[cfg(unix)]
fn free_bytes(dir: &Path) -> Result<Option<u64>, GgufError> {
    let stat = rustix::fs::statvfs(dir).map_err(|error| GgufError::Io {
        verb: "look at",
        path: dir.to_owned(),
        source: error.into(),
    })?;
    Ok(Some(stat.f_bavail.saturating_mul(stat.f_frsize)))
}

/// Free bytes where `dir` lies; `None` on systems that we cannot ask.
#[cfg(not(unix))]
fn free_bytes(_dir: &Path) -> Result<Option<u64>, GgufError> {
    Ok(None)
}

/// Makes a directory for models.
pub(super) fn make_dir(dir: &Path) -> Result<(), GgufError> {
    std::fs::create_dir_all(dir).map_err(|source| GgufError::Io {
        verb: "create",
        path: dir.to_owned(),
        source,
    })
}
