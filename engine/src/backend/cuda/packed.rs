//! Matrices of weights on the device, in the order in which the tensor cores take them.
//!
//! What is stored is what the file says, to the bit: codes, scales and minima are moved, never rounded. The layout is
//! described in `kernels/matmul_common.cuh`; packing runs on the device, some rows at a time, so an upload needs little
//! more memory than the matrix. Invariant: rows and columns beyond the matrix are zero codes with zero scales.

#![expect(clippy::cast_possible_truncation, reason = "sizes are checked before anything is uploaded")]

use super::kernel::KernelArgs;
use super::{Buffer, CudaError, Device, KernelSource};
use crate::gguf::GgmlType;

/// Rows of a tile.
pub(super) const TILE_ROWS: usize = 16;
/// Bytes of a file's rows that are on the device at a time.
const STAGING_BYTES: usize = 64 << 20;

/// Shared memory of a block of the small kernel, at most: two of them fit a Hopper multiprocessor.
const MOST_RINGS_BYTES: usize = 112 * 1024;
/// Partial sums of a warp, of even and of odd tiles.
const PARTS_BYTES: usize = 1024;

/// Types with a product.
const TYPES: [GgmlType; 11] = [
    GgmlType::F32,
    GgmlType::F16,
    GgmlType::Bf16,
    GgmlType::Q4_0,
    GgmlType::Q4_1,
    GgmlType::Q5_0,
    GgmlType::Q5_1,
    GgmlType::Q8_0,
    GgmlType::Q4K,
    GgmlType::Q5K,
    GgmlType::Q6K,
];

/// A matrix `[rows][cols]`, a row an output feature.
#[derive(Debug)]
pub struct DeviceMatrix {
    layout: PackedLayout,
    rows: usize,
    cols: usize,
    bytes: Buffer<u8>,
}

/// Sizes of a packed matrix of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PackedLayout {
    /// Type of the weights.
    pub(super) ty: GgmlType,
    /// Columns of a group.
    pub(super) group_cols: usize,
    /// Bytes of a group of a tile.
    pub(super) group_bytes: usize,
    /// Bytes of the scales of 256 columns of a tile, which lie behind all groups.
    super_bytes: usize,
}

/// `PackArgs` of `matmul_pack.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct PackArgs {
    raw: u64,
    groups_at: u64,
    supers_at: u64,
    row_bytes: i64,
    ty: u32,
    rows: u32,
    columns: u32,
    groups: u32,
}

// SAFETY: equal to the kernel's, field for field; u32 stands for its ints, which are small.
unsafe impl KernelArgs for PackArgs {}

impl DeviceMatrix {
    /// Copies a file's rows to the device and packs them.
    ///
    /// # Errors
    /// A type without a product, `data` that is not `rows` rows of `cols`, or no memory.
    pub fn upload(
        device: &Device,
        ty: GgmlType,
        rows: usize,
        cols: usize,
        data: &[u8],
    ) -> Result<Self, CudaError> {
        PackedLayout::of(ty)?;
        let row_bytes = file_row_bytes(ty, cols);
        if row_bytes == 0 || row_bytes.checked_mul(rows) != Some(data.len()) {
            return Err(CudaError::BufferSize {
                what: "bytes of a matrix",
                got: data.len(),
                expected: row_bytes.saturating_mul(rows),
            });
        }
        let matrix = Self::empty(device, ty, rows, cols)?;
        matrix.pack(device, row_bytes, data)?;
        Ok(matrix)
    }

    /// Zeros, to be packed into.
    pub(super) fn empty(device: &Device, ty: GgmlType, rows: usize, cols: usize) -> Result<Self, CudaError> {
        let layout = PackedLayout::of(ty)?;
        for (what, got) in [("rows of a matrix", rows), ("columns of a matrix", cols)] {
            let most = 1 << 30;
            if got > most {
                return Err(CudaError::TooLarge { what, got, most });
            }
        }
        let bytes = device.zeros("weights", layout.bytes(rows, cols))?;
        Ok(Self { layout, rows, cols, bytes })
    }

    /// Output features.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Input features.
    #[must_use]
    pub const fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes on the device.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether products of it read codes of activations, else their values.
    #[must_use]
    pub fn reads_codes(&self) -> bool {
        !is_float(self.layout.ty)
    }

    /// Its layout.
    pub(super) const fn layout(&self) -> &PackedLayout {
        &self.layout
    }

    /// Groups of a tile.
    pub(super) const fn groups(&self) -> usize {
        self.cols.div_ceil(self.layout.group_cols)
    }

    /// Addresses of groups and of scales of super blocks.
    pub(super) fn addresses(&self) -> [u64; 2] {
        let groups = self.rows.div_ceil(TILE_ROWS) * self.groups() * self.layout.group_bytes;
        [self.bytes.address(), self.bytes.address() + groups as u64]
    }

    fn pack(&self, device: &Device, row_bytes: usize, data: &[u8]) -> Result<(), CudaError> {
        // A grid has at most 65535 tiles.
        let tiles = (STAGING_BYTES / (TILE_ROWS * row_bytes)).clamp(1, 32_768);
        let step = tiles * TILE_ROWS;
        let mut staging =
            device.zeros("rows of weights on their way", step.min(self.rows.max(1)) * row_bytes)?;
        for (i, rows) in data.chunks(step * row_bytes).enumerate() {
            device.write(&mut staging, rows)?;
            self.pack_rows(device, &staging, i * tiles, rows.len() / row_bytes)?;
        }
        Ok(())
    }

    /// Queues the packing of the first `count` rows of `raw`, in the file's layout, into the tiles from `first` on. It
    /// asks the host nothing, so it can be captured.
    pub(super) fn pack_rows(
        &self,
        device: &Device,
        raw: &Buffer<u8>,
        first: usize,
        count: usize,
    ) -> Result<(), CudaError> {
        let row_bytes = file_row_bytes(self.layout.ty, self.cols);
        let (end, tiles) = (first * TILE_ROWS + count, count.div_ceil(TILE_ROWS));
        for (what, got, expected) in
            [("rows to pack", raw.len(), count * row_bytes), ("rows of a matrix", self.rows, end)]
        {
            if got < expected {
                return Err(CudaError::BufferSize { what, got, expected });
            }
        }
        let kernel = device.kernel(KernelSource::MatmulPack, Vec::new(), 0)?;
        let [groups_at, supers_at] = self.addresses();
        let (tile_bytes, tile_supers) =
            (self.groups() * self.layout.group_bytes, self.layout.super_bytes(self.cols));
        let args = PackArgs {
            raw: raw.address(),
            groups_at: groups_at + (first * tile_bytes) as u64,
            supers_at: supers_at + (first * tile_supers) as u64,
            row_bytes: row_bytes as i64,
            ty: self.layout.ty.id(),
            rows: count as u32,
            columns: self.cols as u32,
            groups: self.groups() as u32,
        };
        let grid = [args.groups.div_ceil(8), tiles as u32, 1];
        // SAFETY: the grid covers the rows of `raw`, and their tiles lie in the matrix.
        unsafe { kernel.launch(device, grid, 256, false, &args) }
    }
}

impl PackedLayout {
    /// The layout of a type.
    ///
    /// # Errors
    /// [`CudaError::WeightType`] for types without a product.
    pub(super) fn of(ty: GgmlType) -> Result<Self, CudaError> {
        let sizes = |group_cols, group_bytes, super_bytes| Self { ty, group_cols, group_bytes, super_bytes };
        let known = [
            sizes(32, 2048, 0),
            sizes(64, 2048, 0),
            sizes(64, 2048, 0),
            sizes(128, 1152, 0),
            sizes(128, 1280, 0),
            sizes(128, 1408, 0),
            sizes(128, 1536, 0),
            sizes(128, 2176, 0),
            sizes(128, 1152, 64),
            sizes(128, 1408, 64),
            sizes(128, 1664, 32),
        ];
        let place = TYPES.iter().position(|known| *known == ty);
        place
            .map(|place| known[place])
            .ok_or_else(|| CudaError::WeightType { got: ty, expected: TYPES.map(GgmlType::name).join(", ") })
    }

    /// The option that tells a kernel the type.
    pub(super) fn define(&self) -> String {
        format!("-DTYPE={}", self.ty.id())
    }

    /// Groups that a warp of the small kernel has under way: as many as its share of a block's shared memory holds,
    /// which is half of a multiprocessor's where that is large.
    pub(super) fn ring_depth(&self, shared_per_block: u32, warps: usize) -> usize {
        let block = (shared_per_block as usize).min(MOST_RINGS_BYTES);
        let ring = (block / warps).saturating_sub(PARTS_BYTES);
        (ring / self.slot_bytes()).clamp(2, 4)
    }

    /// Shared memory of a warp of the small kernel: its ring and its partial sums.
    pub(super) fn ring_bytes(&self, depth: usize) -> u32 {
        (depth * self.slot_bytes() + PARTS_BYTES) as u32
    }

    /// `SLOT` of `matmul_small.cu`: a group of weights and of eight rows of activations.
    fn slot_bytes(&self) -> usize {
        let codes = 8 * 128 + 4 * 8 * 4 + if self.has_minimum() { 4 * 8 * 4 } else { 0 };
        let rows = if is_float(self.ty) { 8 * 4 * self.group_cols } else { codes };
        self.group_bytes + self.super_bytes + rows
    }

    fn has_minimum(&self) -> bool {
        [GgmlType::Q4_1, GgmlType::Q5_1, GgmlType::Q4K, GgmlType::Q5K].contains(&self.ty)
    }

    /// Shared memory of the tiled kernel: `sizeof(Stage) * STAGES` of `matmul_tiled.cu`.
    pub(super) fn tiled_shared_bytes(&self) -> u32 {
        let weights = 8 * (self.group_bytes + 64);
        let (stages, rows) = if is_float(self.ty) {
            (2, 64 * (4 * self.group_cols + 64))
        } else {
            (3, 64 * (self.group_cols + 32))
        };
        // Scales and sums of four blocks of 64 rows.
        (stages * (weights + rows + 2 * 4 * 64 * 4)) as u32
    }

    /// Bytes of the scales of super blocks of a tile.
    const fn super_bytes(&self, cols: usize) -> usize {
        // Of whole pairs of groups, as the kernels count them.
        cols.div_ceil(self.group_cols).div_ceil(2) * self.super_bytes
    }

    /// Bytes of a matrix.
    const fn bytes(&self, rows: usize, cols: usize) -> usize {
        let tile = cols.div_ceil(self.group_cols) * self.group_bytes + self.super_bytes(cols);
        rows.div_ceil(TILE_ROWS) * tile
    }
}

/// Bytes of a row in a file; 0 for a length that the type does not have.
pub(super) fn file_row_bytes(ty: GgmlType, cols: usize) -> usize {
    ty.row_bytes(cols as u64).and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0)
}

fn is_float(ty: GgmlType) -> bool {
    [GgmlType::F32, GgmlType::F16, GgmlType::Bf16].contains(&ty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_costs_little_more_than_the_file() {
        for ty in TYPES {
            let (rows, cols) = (2560, 10_240);
            let file = rows * usize::try_from(ty.row_bytes(cols as u64).unwrap()).unwrap();
            let packed = PackedLayout::of(ty).unwrap().bytes(rows, cols);
            assert!(packed >= file, "{ty}: {packed} for {file}");
            // Scales of 4- and 5-bit K-quants take 8 bits instead of 6.
            assert!(packed * 100 <= file * 103, "{ty}: {packed} for {file}");
        }
    }

    #[test]
    fn other_types_are_refused_with_those_there_are() {
        let error = PackedLayout::of(GgmlType::Iq4Nl).unwrap_err();
        assert!(error.to_string().contains("iq4_nl") && error.to_string().contains("q6_K"), "{error}");
    }
}
