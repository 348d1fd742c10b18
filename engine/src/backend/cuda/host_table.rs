//! A table that stays in the host's memory: rows are read from there by the device, when they are looked up.
//!
//! The table is the file's own pages, mapped once more (the driver copies nothing that is locked in part, and other
//! tensors share its first and last page), locked and shown to the device, or a locked copy where the driver does not lock
//! pages of a file. Rows cross the bus as the file has them and are packed on the device, so that what a gather gives is
//! what it gives of a table on the device, to the bit. Which rows is read on the device: a graph stays good. Nothing is
//! kept of rows that were looked up. Invariant: the pages are locked as long as the device may read them.

#![expect(clippy::cast_possible_truncation, reason = "sizes are checked when a table is made")]

use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::{CudaContext, sys};
use memmap2::Mmap;

use super::error::Doing;
use super::kernel::{Kernel, KernelArgs};
use super::packed::file_row_bytes;
use super::{Buffer, CudaError, Device, DeviceMatrix, KernelSource, RowGather};
use crate::gguf::{Gguf, TensorView};

/// What pages are locked in.
const PAGE_BYTES: usize = 4096;
/// Blocks that share a row: pieces of 16 bytes of 128 threads, four each, are 8 KB.
const BLOCK_BYTES: usize = 8192;

/// A matrix of which rows are looked up, in the host's memory.
#[derive(Debug)]
pub struct HostTable {
    pages: Pages,
    rows: usize,
    row_bytes: usize,
    /// Address of row 0 for the device.
    address: u64,
    fetch: Arc<Kernel>,
    gather: RowGather,
    /// The rows of a pass: as they come, packed, and which of them are none.
    raw: Buffer<u8>,
    packed: DeviceMatrix,
    places: Buffer<u32>,
}

/// Where a table's bytes lie that the device reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostPages {
    /// The file's own pages, locked.
    File,
    /// A locked copy.
    Copy,
}

/// Locked memory; given back when dropped.
struct Pages {
    context: Arc<CudaContext>,
    start: *mut c_void,
    kind: HostPages,
    /// The pages of a file, which stay mapped while they are locked.
    _map: Option<Mmap>,
}

// SAFETY: the memory is read by the device alone, or written once before it is shared; the driver's calls bind the
// context first.
unsafe impl Send for Pages {}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct FetchArgs {
    table: u64,
    to: u64,
    ids: u64,
    places: u64,
    row_bytes: i64,
    rows: u32,
    piece: u32,
}

// SAFETY: equal to the kernel's, field for field; u32 stands for an int, which is at most 16.
unsafe impl KernelArgs for FetchArgs {}

impl HostTable {
    /// Locks the tensor `name` of a file, of `rows` rows of `cols`, for gathers of up to `most` rows.
    ///
    /// # Errors
    /// A type without a product, a tensor that is not there or of another size, or memory that the driver does not lock,
    /// neither the file's nor a copy.
    pub fn new(
        device: &Device,
        file: &Gguf,
        name: &'static str,
        (rows, cols): (usize, usize),
        most: usize,
    ) -> Result<Self, CudaError> {
        let size = |what, got, expected| CudaError::BufferSize { what, got, expected };
        let tensor = file.tensor(name).ok_or_else(|| size(name, 0, rows))?;
        let (ty, data) = (tensor.ty, tensor.data);
        let row_bytes = file_row_bytes(ty, cols);
        let expected = row_bytes.saturating_mul(rows);
        if expected == 0 || data.len() != expected || u32::try_from(rows).is_err() {
            return Err(size("bytes of a table", data.len(), expected));
        }
        let (pages, address) = Pages::lock(device, file, &tensor)?;
        Ok(Self {
            pages,
            rows,
            row_bytes,
            address,
            fetch: device.kernel(KernelSource::FetchRows, Vec::new(), 0)?,
            gather: RowGather::new(device, ty)?,
            raw: device.zeros("rows of a table", most * row_bytes)?,
            packed: DeviceMatrix::empty(device, ty, most, cols)?,
            places: device.zeros("rows of a table", most)?,
        })
    }

    /// Where its bytes lie.
    #[must_use]
    pub const fn pages(&self) -> HostPages {
        self.pages.kind
    }

    /// Bytes that cross the bus for a row.
    #[must_use]
    pub const fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// Queues what [`RowGather::launch`] does, for rows that lie here.
    ///
    /// # Errors
    /// More ids than there is room for, sizes that do not fit, or the driver's.
    pub fn gather(
        &mut self,
        device: &Device,
        ids: &Buffer<u32>,
        n: u32,
        scale: f32,
        out: &mut Buffer<f32>,
        out_stride: usize,
    ) -> Result<(), CudaError> {
        let most = ids.len().min(self.places.len());
        if n as usize > most {
            return Err(CudaError::BufferSize { what: "ids of rows", got: most, expected: n as usize });
        }
        if n == 0 {
            return Ok(());
        }
        let args = FetchArgs {
            table: self.address,
            to: self.raw.address(),
            ids: ids.address(),
            places: self.places.address(),
            row_bytes: self.row_bytes as i64,
            rows: self.rows as u32,
            piece: piece(self.row_bytes, self.address),
        };
        let grid = [n, self.row_bytes.div_ceil(BLOCK_BYTES) as u32, 1];
        // SAFETY: the table is locked and mapped, `raw` and `places` have room for `n`, and the kernel checks the ids.
        unsafe { self.fetch.launch(device, grid, 128, true, &args) }?;
        self.packed.pack_rows(device, &self.raw, 0, n as usize)?;
        self.gather.launch(device, &self.packed, &self.places, n, scale, out, out_stride)
    }
}

impl Pages {
    /// The bytes as the device can read them, and where it finds the first.
    fn lock(device: &Device, file: &Gguf, tensor: &TensorView<'_>) -> Result<(Self, u64), CudaError> {
        device.context.bind_to_thread().doing("binding the context")?;
        let made = |start, kind, map| Self { context: Arc::clone(&device.context), start, kind, _map: map };
        if let Some(map) = file.map_again(tensor) {
            let from = map.as_ptr() as usize;
            let start = from / PAGE_BYTES * PAGE_BYTES;
            let bytes = (from + map.len()).next_multiple_of(PAGE_BYTES) - start;
            let flags = sys::CU_MEMHOSTREGISTER_DEVICEMAP | sys::CU_MEMHOSTREGISTER_READ_ONLY;
            let pointer = (start as *mut u8).cast::<c_void>();
            // SAFETY: whole pages of a map of our own; the device only reads them.
            let outcome = unsafe { sys::cuMemHostRegister_v2(pointer, bytes, flags) }.result();
            if outcome.is_ok() {
                let pages = made(pointer, HostPages::File, Some(map));
                let address = pages.address()? + (from - start) as u64;
                return Ok((pages, address));
            }
            // Kernels and file systems differ in what they let a driver lock; a copy costs memory, not speed.
        }
        let data = tensor.data;
        let mut pointer = std::ptr::null_mut();
        // SAFETY: a live pointer to be set.
        let outcome =
            unsafe { sys::cuMemHostAlloc(&raw mut pointer, data.len(), sys::CU_MEMHOSTALLOC_DEVICEMAP) }
                .result();
        outcome.map_err(|source| CudaError::HostMemory { bytes: data.len(), source })?;
        let pages = made(pointer, HostPages::Copy, None);
        // SAFETY: fresh memory of that size, that nobody else knows of.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), pointer.cast::<u8>(), data.len()) };
        let address = pages.address()?;
        Ok((pages, address))
    }

    /// Where the device finds the memory.
    fn address(&self) -> Result<u64, CudaError> {
        let mut address = 0;
        // SAFETY: locked and mapped memory, and a live integer.
        unsafe { sys::cuMemHostGetDevicePointer_v2(&raw mut address, self.start, 0) }
            .result()
            .doing("asking for the device's address of locked memory")?;
        Ok(address)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // Work that reads the memory may be queued still.
        if self.context.bind_to_thread().and_then(|()| self.context.synchronize()).is_ok() {
            // A failure leaks locked memory, nothing else.
            let _leaked = match self.kind {
                // SAFETY: locked once, by `lock`.
                HostPages::File => unsafe { sys::cuMemHostUnregister(self.start) }.result(),
                // SAFETY: allocated once, by `lock`.
                HostPages::Copy => unsafe { sys::cuMemFreeHost(self.start) }.result(),
            };
        }
    }
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pages").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl HostPages {
    /// In words, as records print it.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::File => "the file's pages, locked",
            Self::Copy => "a locked copy",
        }
    }
}

/// The widest load that every row can be read with.
const fn piece(row_bytes: usize, address: u64) -> u32 {
    let both = row_bytes as u64 | address;
    if both.is_multiple_of(16) {
        16
    } else if both.is_multiple_of(8) {
        8
    } else if both.is_multiple_of(4) {
        4
    } else {
        2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_in_the_widest_pieces_that_fit_them() {
        // Rows of E4B and E2B in q8_0; q6_K rows of 210-byte blocks; the trained pair's.
        assert_eq!(piece(42 * 256 / 32 * 34, 0x7f00_0000_1000), 16);
        assert_eq!(piece(35 * 256 / 32 * 34, 0x7f00_0000_1000), 16);
        assert_eq!(piece(210, 0x7f00_0000_1000), 2);
        assert_eq!(piece(340, 0x7f00_0000_1000), 4);
        assert_eq!(piece(680, 0x7f00_0000_1000), 8);
        assert_eq!(piece(1024, 0x7f00_0000_1008), 8);
    }
}
