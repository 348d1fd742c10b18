//! Rows of weights to floats, and back for the types that the engine writes.
//!
//! Bit-equal with ggml: F16 and BF16 round to nearest even; a `Q8_0` block is one f16 scale d = amax / 127 and 32 bytes
//! round(x / d), halves away from zero (`quantize_row_q8_0_ref`, where 1 / d is taken before d is rounded to f16).

mod blocks;

use blocks::Blocks;
use half::{bf16, f16};

use crate::EngineError;
use crate::gguf::GgmlType;

/// Values of a `Q8_0` block.
pub const Q8_0_LEN: usize = 32;
/// Bytes of a `Q8_0` block: the f16 scale and the values.
pub const Q8_0_BYTES: usize = 34;

/// Floats of a row, `bytes` being exactly a row of `out.len()` values.
///
/// # Errors
/// A type the engine does not compute with, or sizes that do not fit.
pub fn dequantize_row(ty: GgmlType, bytes: &[u8], out: &mut [f32]) -> Result<(), EngineError> {
    if let Some(blocks) = Blocks::of(ty) {
        check_row(ty, bytes.len(), out.len())?;
        blocks.dequantize(ty, bytes, out);
        return Ok(());
    }
    check(ty, bytes.len(), out.len())?;
    match stored(ty)? {
        Stored::F32 => each(bytes, out, f32::from_le_bytes),
        Stored::F16 => each(bytes, out, |b| f16::from_le_bytes(b).to_f32()),
        Stored::Bf16 => each(bytes, out, |b| bf16::from_le_bytes(b).to_f32()),
        Stored::Q8_0 => {
            let (blocks, rows) = (bytes.as_chunks().0, out.as_chunks_mut().0);
            blocks.iter().zip(rows).for_each(|(block, values)| q8_0_values(block, values));
        }
    }
    Ok(())
}

/// Of arrays, whose lengths are known wherever this is compiled: slices were unrolled or not by what stood beside them, and
/// a row took 47 % more instructions after a change elsewhere.
#[inline]
fn q8_0_values([low, high, quants @ ..]: &[u8; Q8_0_BYTES], values: &mut [f32; Q8_0_LEN]) {
    let scale = f16::from_le_bytes([*low, *high]).to_f32();
    for (value, q) in values.iter_mut().zip(quants) {
        *value = scale * f32::from(q.cast_signed());
    }
}

/// Bytes of a row of floats, `out` being exactly a row of `values.len()` values.
///
/// # Errors
/// As [`dequantize_row`].
pub fn quantize_row(ty: GgmlType, values: &[f32], out: &mut [u8]) -> Result<(), EngineError> {
    check(ty, out.len(), values.len())?;
    match stored(ty)? {
        Stored::F32 => each_back(values, out, f32::to_le_bytes),
        Stored::F16 => each_back(values, out, |x| f16::from_f32(x).to_le_bytes()),
        Stored::Bf16 => each_back(values, out, |x| bf16::from_f32(x).to_le_bytes()),
        Stored::Q8_0 => {
            for (block, values) in out.chunks_exact_mut(Q8_0_BYTES).zip(values.chunks_exact(Q8_0_LEN)) {
                quantize_q8_0_block(values, block);
            }
        }
    }
    Ok(())
}

fn quantize_q8_0_block(values: &[f32], block: &mut [u8]) {
    let amax = values.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
    let scale = amax / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    block[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
    for (q, x) in block[2..].iter_mut().zip(values) {
        #[expect(clippy::cast_possible_truncation, reason = "|x / scale| is at most 127")]
        let rounded = (x * inverse).round() as i8;
        *q = rounded.cast_unsigned();
    }
}

/// The types that are handled.
enum Stored {
    F32,
    F16,
    Bf16,
    Q8_0,
}

fn stored(ty: GgmlType) -> Result<Stored, EngineError> {
    let known = [
        (GgmlType::F32, Stored::F32),
        (GgmlType::F16, Stored::F16),
        (GgmlType::Bf16, Stored::Bf16),
        (GgmlType::Q8_0, Stored::Q8_0),
    ];
    known.into_iter().find(|(known, _)| *known == ty).map(|(_, stored)| stored).ok_or_else(|| {
        EngineError::InvalidArgument {
            what: "weight type",
            got: ty.to_string(),
            expected: "f32, f16, bf16 or q8_0".to_owned(),
        }
    })
}

fn check(ty: GgmlType, bytes: usize, len: usize) -> Result<(), EngineError> {
    stored(ty)?;
    check_row(ty, bytes, len)
}

fn check_row(ty: GgmlType, bytes: usize, len: usize) -> Result<(), EngineError> {
    let expected = ty.row_bytes(len as u64);
    if expected != Some(bytes as u64) {
        return Err(EngineError::InvalidArgument {
            what: "bytes of a row",
            got: format!("{bytes} for {len} values of {ty}"),
            expected: expected.map_or_else(|| "whole blocks".to_owned(), |n| n.to_string()),
        });
    }
    Ok(())
}

fn each<const N: usize>(bytes: &[u8], out: &mut [f32], read: impl Fn([u8; N]) -> f32) {
    for (chunk, value) in bytes.as_chunks::<N>().0.iter().zip(out) {
        *value = read(*chunk);
    }
}

fn each_back<const N: usize>(values: &[f32], out: &mut [u8], write: impl Fn(f32) -> [u8; N]) {
    for (chunk, value) in out.as_chunks_mut::<N>().0.iter_mut().zip(values) {
        *chunk = write(*value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(ty: GgmlType, values: &[f32]) -> Vec<f32> {
        let bytes = ty.row_bytes(values.len() as u64).unwrap();
        let mut row = vec![0; usize::try_from(bytes).unwrap()];
        quantize_row(ty, values, &mut row).unwrap();
        let mut back = vec![f32::NAN; values.len()];
        dequantize_row(ty, &row, &mut back).unwrap();
        back
    }

    #[test]
    fn a_q8_0_block_is_ggmls() {
        // By hand: amax 127 gives d = 1; halves go away from zero.
        let mut values = [0.0; 32];
        values[..6].copy_from_slice(&[127.0, -127.0, 0.5, -0.5, 1.4, -2.5]);
        let mut block = [0; Q8_0_BYTES];
        quantize_row(GgmlType::Q8_0, &values, &mut block).unwrap();
        assert_eq!(block[..2], f16::ONE.to_le_bytes());
        let q: Vec<i8> = block[2..8].iter().map(|b| b.cast_signed()).collect();
        assert_eq!(q, [127, -127, 1, -1, 1, -3]);
        assert_eq!(round_trip(GgmlType::Q8_0, &[0.0; 32]), [0.0; 32]);
    }

    #[test]
    fn halves_round_to_even() {
        // 1 + 2^-11 lies between two halves, 1 + 3 * 2^-11 too; even mantissas win.
        let got = round_trip(GgmlType::F16, &[1.0 + 1.0 / 2048.0, 1.0 + 3.0 / 2048.0]);
        assert_eq!(got, [1.0, 1.0 + 2.0 / 1024.0]);
        let got = round_trip(GgmlType::Bf16, &[1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0]);
        assert_eq!(got, [1.0, 1.0 + 2.0 / 128.0]);
    }

    #[test]
    fn other_types_and_sizes_are_refused() {
        let error = quantize_row(GgmlType::Q4K, &[0.0; 256], &mut [0; 144]).unwrap_err();
        assert_eq!(error.to_string(), "weight type: got q4_K, expected f32, f16, bf16 or q8_0");
        assert!(dequantize_row(GgmlType::Iq4Nl, &[0; 18], &mut [0.0; 32]).is_err());
        assert!(dequantize_row(GgmlType::Q4K, &[0; 143], &mut [0.0; 256]).is_err());
        assert!(quantize_row(GgmlType::Q8_0, &[0.0; 31], &mut [0; 34]).is_err());
        assert!(dequantize_row(GgmlType::F16, &[0; 3], &mut [0.0; 2]).is_err());
    }

    proptest! {
        #[test]
        fn q8_0_errs_by_half_a_step(values in proptest::collection::vec(-1e4_f32..1e4, 32)) {
            let amax = values.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
            for (x, y) in values.iter().zip(round_trip(GgmlType::Q8_0, &values)) {
                // Half a step, and the rounding of the scale to f16 (2^-11 relative).
                prop_assert!((x - y).abs() <= amax / 127.0 * 0.5 + amax / 2048.0 + 1e-6, "{} {}", x, y);
            }
        }

        #[test]
        fn f32_is_exact(values in proptest::collection::vec(any::<f32>().prop_filter("no NaN", |x| !x.is_nan()), 0..70)) {
            prop_assert_eq!(round_trip(GgmlType::F32, &values), values);
        }
    }
}
