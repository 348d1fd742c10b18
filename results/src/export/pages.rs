//! Pages of Parquet: the table of chunks is millions of rows of which nearly all is known beforehand.
//!
//! What a request's chunks have in common (run, arm, number) is one run of a dictionary's index, and stamps rise in small
//! steps, which is what these encodings are for: `RLE_DICTIONARY` and `DELTA_BINARY_PACKED` of the Parquet format's
//! `Encodings.md`. Made here from packed chunks: polars would be given 13 million texts and would hash each. It writes the
//! file around the pages, and its schema. Pages are not compressed: little is left to.

use polars_parquet::parquet::CowBuffer;
use polars_parquet::parquet::compression::Compression;
use polars_parquet::parquet::metadata::Descriptor;
use polars_parquet::parquet::page::{
    CompressedDataPage, CompressedDictPage, CompressedPage, DataPageHeader, DataPageHeaderV1, FormatEncoding,
};

use crate::error::ResultsError;

/// Values of a block of deltas, and of each of its four parts.
const BLOCK: usize = 128;
const MINIBLOCK: usize = 32;

/// Bytes of a varying number of values, and how many.
#[derive(Debug, Default)]
pub(super) struct Runs {
    bytes: Vec<u8>,
    count: usize,
}

impl Runs {
    /// Adds a value, of as many bytes as the column's width asks for, that is there `times` times.
    pub(super) fn push(&mut self, value: usize, width_bytes: usize, times: usize) {
        if times > 0 {
            put(&mut self.bytes, (times as u64) << 1);
            self.bytes.extend_from_slice(&value.to_le_bytes()[..width_bytes]);
            self.count += times;
        }
    }
}

/// Which values of a column are there: 1, or 0 for null, as runs.
pub(super) fn levels(is_there: impl Iterator<Item = bool>) -> Runs {
    let mut runs = Runs::default();
    let (mut last, mut times) = (true, 0);
    for is_there in is_there {
        if is_there != last {
            runs.push(usize::from(last), 1, times);
            (last, times) = (is_there, 0);
        }
        times += 1;
    }
    runs.push(usize::from(last), 1, times);
    runs
}

/// A column without nulls of few distinct `values` (each as PLAIN has it), of which each row names one; `times` tells how
/// many rows in a row do.
pub(super) fn dictionary(
    of: &Descriptor,
    values: &[Vec<u8>],
    rows: impl Iterator<Item = (usize, usize)>,
) -> Result<Vec<CompressedPage>, ResultsError> {
    let width = usize::BITS - values.len().saturating_sub(1).leading_zeros();
    let width_bytes = (width as usize).div_ceil(8);
    let mut indices = Runs::default();
    rows.for_each(|(value, times)| indices.push(value, width_bytes, times));
    let mut there = Runs::default();
    there.push(1, 1, indices.count);
    let [low, ..] = width.to_le_bytes();
    let body = [vec![low], indices.bytes].concat();
    let bytes = values.concat();
    let (length, count) = (bytes.len(), values.len());
    let dictionary =
        CompressedDictPage::new(CowBuffer::Owned(bytes), Compression::Uncompressed, length, count, false);
    let data = data_page(of, &there, &body, FormatEncoding::RLE_DICTIONARY)?;
    Ok(vec![CompressedPage::Dict(dictionary), data])
}

/// A column of whole numbers, those that are there.
pub(super) fn deltas(
    of: &Descriptor,
    there: &Runs,
    values: impl Iterator<Item = u64>,
) -> Result<Vec<CompressedPage>, ResultsError> {
    let mut body = Vec::new();
    pack_deltas(&mut body, &values.collect::<Vec<_>>());
    Ok(vec![data_page(of, there, &body, FormatEncoding::DELTA_BINARY_PACKED)?])
}

fn data_page(
    of: &Descriptor,
    there: &Runs,
    values: &[u8],
    encoding: FormatEncoding,
) -> Result<CompressedPage, ResultsError> {
    let too_long = |_| ResultsError::Table(format!("{} rows are too many for one page", there.count));
    let header = DataPageHeaderV1 {
        num_values: i32::try_from(there.count).map_err(too_long)?,
        encoding,
        definition_level_encoding: FormatEncoding::RLE,
        repetition_level_encoding: FormatEncoding::RLE,
        statistics: None,
    };
    let levels = u32::try_from(there.bytes.len()).map_err(too_long)?;
    let buffer = [&levels.to_le_bytes(), &*there.bytes, values].concat();
    let length = buffer.len();
    i32::try_from(length).map_err(too_long)?;
    Ok(CompressedPage::Data(CompressedDataPage::new(
        DataPageHeader::V1(header),
        CowBuffer::Owned(buffer),
        Compression::Uncompressed,
        length,
        of.clone(),
        there.count,
    )))
}

/// `DELTA_BINARY_PACKED`: the first value, then in blocks of 128 the least step, and every step above it in as few bits as
/// the largest of its 32 needs.
fn pack_deltas(bytes: &mut Vec<u8>, values: &[u64]) {
    put(bytes, BLOCK as u64);
    put(bytes, (BLOCK / MINIBLOCK) as u64);
    put(bytes, values.len() as u64);
    put(bytes, folded(values.first().copied().unwrap_or_default().cast_signed()));
    let steps: Vec<i64> = values.array_windows().map(|[a, b]| b.wrapping_sub(*a).cast_signed()).collect();
    for block in steps.chunks(BLOCK) {
        let least = block.iter().copied().min().unwrap_or_default();
        put(bytes, folded(least));
        let above: Vec<u64> = block.iter().map(|step| step.wrapping_sub(least).cast_unsigned()).collect();
        let width = |part: &[u64]| {
            part.iter().fold(0, |all, step| all | step).checked_ilog2().map_or(0, |top| top + 1)
        };
        let widths: Vec<u32> = above.chunks(MINIBLOCK).map(width).collect();
        bytes.extend(
            (0..BLOCK / MINIBLOCK).map(|nth| widths.get(nth).map_or(0, |width| width.to_le_bytes()[0])),
        );
        for (part, &width) in above.chunks(MINIBLOCK).zip(&widths) {
            pack_bits(bytes, part, width);
        }
    }
}

/// 32 numbers of so many bits each, the first in the lowest bits; those that are missing are 0.
fn pack_bits(bytes: &mut Vec<u8>, numbers: &[u64], width: u32) {
    let end = bytes.len() + MINIBLOCK * width as usize / 8;
    let (mut held, mut bits) = (0_u128, 0);
    for &number in numbers {
        held |= u128::from(number) << bits;
        bits += width;
        while bits >= 8 {
            bytes.push(held.to_le_bytes()[0]);
            (held, bits) = (held >> 8, bits - 8);
        }
    }
    if bits > 0 {
        bytes.push(held.to_le_bytes()[0]);
    }
    bytes.resize(end, 0);
}

fn folded(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}
