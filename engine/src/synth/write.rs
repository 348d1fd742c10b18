//! Writes a planned model, row by row: memory stays at a few rows whatever the model's size.

use std::path::Path;

use super::random::Stream;
use super::shape::{Fill, ModelShape, PlannedTensor};
use super::vocab::Vocab;
use crate::EngineError;
use crate::gguf::{GgmlType, GgufError, GgufWriter, TensorSink};
use crate::quant::{Q8_0_BYTES, quantize_row};

/// Bytes handed to the file at once, at least.
const PIECE_BYTES: usize = 1 << 18;

/// Rows whose values are not random: `Some` if the tensor `name` has them, in order.
pub(super) type PlantedRows<'a> = &'a dyn Fn(&str) -> Option<&'a [f32]>;

/// Everything declared, nothing written.
pub(super) fn declare(
    shape: &ModelShape,
    name: &str,
    weights: GgmlType,
    vocab: Vocab,
    tensors: &[PlannedTensor],
) -> Result<GgufWriter, EngineError> {
    let mut writer = GgufWriter::new();
    shape.describe(&mut writer, name, weights);
    vocab.describe(&mut writer);
    for tensor in tensors {
        writer.declare(&tensor.name, &tensor.dims, tensor.ty)?;
    }
    Ok(writer)
}

/// Makes and writes all tensors; `progress` hears of the bytes since the last call.
pub(super) fn write(
    writer: GgufWriter,
    path: &Path,
    seed: u64,
    tensors: &[PlannedTensor],
    planted: PlantedRows<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<(), EngineError> {
    let mut sink = writer.begin(path)?;
    for tensor in tensors {
        TensorWriter { tensor, seed, sink: &mut sink, piece: Vec::new() }.write(planted, progress)?;
    }
    Ok(sink.finish()?)
}

/// The directory, made if need be.
pub(super) fn make_dir(dir: &Path) -> Result<(), GgufError> {
    std::fs::create_dir_all(dir).map_err(|source| GgufError::Io {
        verb: "create",
        path: dir.to_owned(),
        source,
    })
}

struct TensorWriter<'a> {
    tensor: &'a PlannedTensor,
    seed: u64,
    sink: &'a mut TensorSink,
    piece: Vec<u8>,
}

impl TensorWriter<'_> {
    fn write(&mut self, planted: PlantedRows<'_>, progress: &mut dyn FnMut(u64)) -> Result<(), EngineError> {
        let tensor = self.tensor;
        if tensor.fill == Fill::Ordering {
            let bytes = ordering(self.seed, tensor.dims[0]).iter().flat_map(|id| id.to_le_bytes()).collect();
            self.piece = bytes;
            return self.flush(progress);
        }
        let width = usize::try_from(tensor.dims[0]).unwrap_or(usize::MAX);
        let row_bytes = tensor.ty.row_bytes(tensor.dims[0]).unwrap_or(0);
        let row_bytes = usize::try_from(row_bytes).unwrap_or(usize::MAX);
        let rows = planted(&tensor.name);
        let mut values = vec![0.0; width];
        for row in 0..tensor.rows() {
            let from = self.piece.len();
            self.piece.resize(from + row_bytes, 0);
            let out = &mut self.piece[from..];
            let mut stream = Stream::new(self.seed, &tensor.name, row);
            match (rows, tensor.fill) {
                (Some(rows), _) => {
                    let at = usize::try_from(row).unwrap_or(usize::MAX) * width;
                    quantize_row(tensor.ty, &rows[at..at + width], out)?;
                }
                (None, Fill::Random(std)) if tensor.ty == GgmlType::Q8_0 => {
                    random_q8_0(&mut stream, std, out)
                }
                (None, fill) => {
                    make_row(fill, &mut stream, &mut values);
                    quantize_row(tensor.ty, &values, out)?;
                }
            }
            if self.piece.len() >= PIECE_BYTES {
                self.flush(progress)?;
            }
        }
        self.flush(progress)
    }

    fn flush(&mut self, progress: &mut dyn FnMut(u64)) -> Result<(), EngineError> {
        if !self.piece.is_empty() {
            self.sink.write(&self.tensor.name, &self.piece)?;
            progress(self.piece.len() as u64);
            self.piece.clear();
        }
        Ok(())
    }
}

fn make_row(fill: Fill, stream: &mut Stream, out: &mut [f32]) {
    match fill {
        Fill::Constant(value) => out.fill(value),
        Fill::Random(std) => stream.fill(out, std),
        Fill::RopeFreqs => {
            let rotated = out.len() / 4;
            out[..rotated].fill(1.0);
            out[rotated..].fill(1e30);
        }
        Fill::Ordering => {}
    }
}

/// Blocks straight from random bits: one scale for all, values uniform over -127 to 127.
fn random_q8_0(stream: &mut Stream, std: f32, out: &mut [u8]) {
    let scale = half::f16::from_f32(std * 3.0_f32.sqrt() / 127.0).to_le_bytes();
    for block in out.chunks_exact_mut(Q8_0_BYTES) {
        block[..2].copy_from_slice(&scale);
        for eight in block[2..].chunks_exact_mut(8) {
            eight.copy_from_slice(&stream.bits().to_le_bytes());
            // ggml never writes -128.
            eight.iter_mut().filter(|byte| **byte == 0x80).for_each(|byte| *byte = 0);
        }
    }
}

/// All ids in the random order of the seed.
pub(super) fn ordering(seed: u64, vocab: u64) -> Vec<i32> {
    let mut ids: Vec<i32> = (0..i32::try_from(vocab).unwrap_or(i32::MAX)).collect();
    Stream::new(seed, "masked_embd_ordering", 0).shuffle(&mut ids);
    ids
}
