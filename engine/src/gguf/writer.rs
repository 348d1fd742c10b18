//! Writes a GGUF file without holding its tensors in memory.
//!
//! First all metadata and tensor shapes are declared, then the bytes follow in the declared order, in pieces of any
//! size. The file appears under its name only when it is complete.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::value::{Value, put_str};
use super::{DEFAULT_ALIGNMENT, GgmlType, GgufError, MAGIC, VERSION};

/// A file whose header is being declared.
#[derive(Debug, Default)]
pub struct GgufWriter {
    metadata: Vec<(String, Value)>,
    tensors: Vec<Declared>,
}

#[derive(Debug, Clone)]
struct Declared {
    name: String,
    dims: Vec<u64>,
    ty: GgmlType,
    len: u64,
}

impl GgufWriter {
    /// Nothing declared yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a metadata value.
    pub fn set(&mut self, key: &str, value: Value) {
        self.metadata.push((key.to_owned(), value));
    }

    /// Declares the next tensor, `dims` with the contiguous one first.
    ///
    /// # Errors
    /// If a row is no whole number of the type's blocks.
    pub fn declare(&mut self, name: &str, dims: &[u64], ty: GgmlType) -> Result<(), GgufError> {
        let rows: u64 = dims[1..].iter().product();
        let len = ty.row_bytes(dims[0]).and_then(|bytes| bytes.checked_mul(rows));
        let len = len.ok_or_else(|| GgufError::Misuse {
            what: format!("tensor `{name}` of {dims:?} as {ty}"),
            got: format!("rows of {}", dims[0]),
            expected: format!("a multiple of {}", ty.block_len()),
        })?;
        self.tensors.push(Declared { name: name.to_owned(), dims: dims.to_vec(), ty, len });
        Ok(())
    }

    /// Name, shape and type of everything declared, in order.
    pub fn declared(&self) -> impl Iterator<Item = (&str, &[u64], GgmlType)> {
        self.tensors.iter().map(|t| (t.name.as_str(), t.dims.as_slice(), t.ty))
    }

    /// Size of the file to be, in bytes.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        let data: u64 = self.tensors.iter().map(|t| t.len.next_multiple_of(DEFAULT_ALIGNMENT)).sum();
        self.header().len() as u64 + data
    }

    /// Writes the header to a temporary file beside `path`; the tensors' bytes come next.
    ///
    /// # Errors
    /// What the system refuses, with the path.
    pub fn begin(self, path: &Path) -> Result<TensorSink, GgufError> {
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let io = |source| GgufError::Io { verb: "create", path: partial.clone(), source };
        let file = BufWriter::with_capacity(1 << 20, File::create(&partial).map_err(io)?);
        let header = self.header();
        let mut sink = TensorSink {
            path: path.to_owned(),
            partial,
            file,
            tensors: self.tensors,
            current: 0,
            written_of_current: 0,
            complete: false,
        };
        sink.put(&header)?;
        Ok(sink)
    }

    /// Everything before the first tensor's bytes.
    pub(crate) fn header(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            put_str(&mut out, key);
            value.write(&mut out);
        }
        let mut offset = 0_u64;
        for tensor in &self.tensors {
            put_str(&mut out, &tensor.name);
            let n_dims = u32::try_from(tensor.dims.len()).unwrap_or(u32::MAX);
            out.extend(n_dims.to_le_bytes());
            tensor.dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
            out.extend(tensor.ty.id().to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset += tensor.len.next_multiple_of(DEFAULT_ALIGNMENT);
        }
        pad(&mut out);
        out
    }
}

fn pad(out: &mut Vec<u8>) {
    let aligned = (out.len() as u64).next_multiple_of(DEFAULT_ALIGNMENT);
    out.resize(usize::try_from(aligned).unwrap_or(usize::MAX), 0);
}

/// Takes the declared tensors' bytes in order. Dropped before [`TensorSink::finish`], it removes what it wrote.
#[derive(Debug)]
pub struct TensorSink {
    path: PathBuf,
    partial: PathBuf,
    file: BufWriter<File>,
    tensors: Vec<Declared>,
    current: usize,
    written_of_current: u64,
    complete: bool,
}

impl TensorSink {
    /// The next bytes of the tensor `name`, which must be the one whose turn it is.
    ///
    /// # Errors
    /// What the system refuses, bytes for another tensor, or more than were declared.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), GgufError> {
        let misuse = |got: String, expected: String| GgufError::Misuse {
            what: format!("bytes of tensor `{name}`"),
            got,
            expected,
        };
        let Some(tensor) = self.tensors.get(self.current) else {
            return Err(misuse(format!("{} more", bytes.len()), "none, all tensors are written".to_owned()));
        };
        if tensor.name != name {
            return Err(misuse(format!("`{name}`"), format!("`{}`", tensor.name)));
        }
        let (len, total) = (tensor.len, self.written_of_current + bytes.len() as u64);
        if total > len {
            return Err(misuse(format!("{total} bytes"), format!("{len} bytes")));
        }
        self.put(bytes)?;
        self.written_of_current = total;
        if total == len {
            let padding = len.next_multiple_of(DEFAULT_ALIGNMENT) - len;
            self.put(&[0; 32][..usize::try_from(padding).unwrap_or(0)])?;
            self.current += 1;
            self.written_of_current = 0;
        }
        Ok(())
    }

    /// Completes the file and gives it its name.
    ///
    /// # Errors
    /// What the system refuses, or if a declared tensor is not written whole.
    pub fn finish(mut self) -> Result<(), GgufError> {
        if let Some(tensor) = self.tensors.get(self.current) {
            return Err(GgufError::Misuse {
                what: format!("bytes of tensor `{}`", tensor.name),
                got: format!("{} bytes", self.written_of_current),
                expected: format!("{} bytes", tensor.len),
            });
        }
        self.file.flush().map_err(|source| self.write_error(source))?;
        std::fs::rename(&self.partial, &self.path).map_err(|source| GgufError::Io {
            verb: "write",
            path: self.path.clone(),
            source,
        })?;
        self.complete = true;
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), GgufError> {
        self.file.write_all(bytes).map_err(|source| self.write_error(source))
    }

    fn write_error(&self, source: std::io::Error) -> GgufError {
        GgufError::Io { verb: "write", path: self.partial.clone(), source }
    }
}

impl Drop for TensorSink {
    fn drop(&mut self) {
        if !self.complete {
            // Best effort on the way out of an error that is already being reported.
            drop(std::fs::remove_file(&self.partial));
        }
    }
}
