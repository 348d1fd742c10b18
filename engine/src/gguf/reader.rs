//! Reads a GGUF file: header, metadata and tensor directory at once, tensor data on demand from the map.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::{Mmap, MmapOptions};

use super::cursor::Cursor;
use super::value::{Array, Value};
use super::{ALIGNMENT_KEY, DEFAULT_ALIGNMENT, GgmlType, GgufError, MAGIC, MAX_DIMS, VERSION};

/// An open GGUF file.
#[derive(Debug)]
pub struct Gguf {
    path: Option<PathBuf>,
    bytes: Backing,
    metadata: Vec<(String, Value)>,
    key_index: HashMap<String, usize>,
    tensors: Vec<TensorInfo>,
    tensor_index: HashMap<String, usize>,
}

/// One tensor of an open file.
#[derive(Debug, Clone, Copy)]
pub struct TensorView<'a> {
    /// Its name.
    pub name: &'a str,
    /// Dimensions, the contiguous one (ne0, a row's elements) first; 1 to 4 of them, none 0.
    pub dims: &'a [u64],
    /// Element type.
    pub ty: GgmlType,
    /// Its bytes, exactly as many as shape and type ask for.
    pub data: &'a [u8],
}

impl TensorView<'_> {
    /// Elements of a row.
    #[must_use]
    pub fn ne0(&self) -> u64 {
        self.dims[0]
    }

    /// Rows, over all further dimensions.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.dims[1..].iter().product()
    }

    /// Elements.
    #[must_use]
    pub fn n_elements(&self) -> u64 {
        self.dims.iter().product()
    }
}

#[derive(Debug)]
enum Backing {
    Map { map: Mmap, file: File },
    Memory(Vec<u8>),
}

impl Backing {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Map { map, .. } => map,
            Self::Memory(bytes) => bytes,
        }
    }
}

#[derive(Debug)]
struct TensorInfo {
    name: String,
    dims: Vec<u64>,
    ty: GgmlType,
    /// Where its entry stands, for messages.
    entry_at: u64,
    /// Relative to the data section until `place` has run, then absolute.
    start: u64,
    len: u64,
}

impl Gguf {
    /// Opens and checks a file. Its tensors are mapped, not read.
    ///
    /// # Errors
    /// Anything about the file that is not as the format says, with the file's name.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let io = |verb| move |source| GgufError::Io { verb, path: path.to_owned(), source };
        let file = File::open(path).map_err(io("open"))?;
        #[expect(unsafe_code, reason = "a memory map is how a model larger than memory is read")]
        // SAFETY: the map is private and read-only. Another process that truncates the file while it is mapped could
        // end ours with SIGBUS; every engine that maps models takes that risk, copying gigabytes is the alternative.
        let map = unsafe { Mmap::map(&file) }.map_err(io("map"))?;
        let mut gguf = Self::from_backing(Backing::Map { map, file })
            .map_err(|source| GgufError::InFile { path: path.to_owned(), source: Box::new(source) })?;
        gguf.path = Some(path.to_owned());
        Ok(gguf)
    }

    /// A tensor's bytes mapped once more, for whoever must have them to itself; `None` where they are no file's, or the
    /// system maps no more.
    #[must_use]
    pub fn map_again(&self, tensor: &TensorView<'_>) -> Option<Mmap> {
        let Backing::Map { map, file } = &self.bytes else { return None };
        let offset = (tensor.data.as_ptr() as usize).checked_sub(map.as_ptr() as usize)?;
        #[expect(unsafe_code, reason = "as in `open`")]
        // SAFETY: as in `open`; the range lies in the file, which has not been closed since.
        unsafe { MmapOptions::new().offset(offset as u64).len(tensor.data.len()).map(file) }.ok()
    }

    /// Checks a file's bytes.
    ///
    /// # Errors
    /// As [`Gguf::open`], without a name.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, GgufError> {
        Self::from_backing(Backing::Memory(bytes))
    }

    fn from_backing(bytes: Backing) -> Result<Self, GgufError> {
        let all = bytes.as_slice();
        let mut cursor = Cursor::new(all);
        let (tensor_count, key_count) = header(&mut cursor)?;
        let metadata = metadata(&mut cursor, key_count)?;
        let key_index = index(metadata.iter().map(|(key, _)| key), "metadata key")?;
        let alignment = alignment(&metadata, &key_index)?;
        let mut tensors = directory(&mut cursor, tensor_count)?;
        let tensor_index = index(tensors.iter().map(|tensor| &tensor.name), "tensor")?;
        place(&mut tensors, cursor.at().next_multiple_of(alignment), alignment, all.len() as u64)?;
        Ok(Self { path: None, bytes, metadata, key_index, tensors, tensor_index })
    }

    /// The file, if it was opened from one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Size of the file in bytes.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.bytes.as_slice().len() as u64
    }

    /// The whole file; what [`TensorView::data`] is a part of.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// All metadata in file order.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.metadata.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// All tensors in file order.
    pub fn tensors(&self) -> impl Iterator<Item = TensorView<'_>> {
        self.tensors.iter().map(|info| self.view(info))
    }

    /// A tensor by name.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        self.tensor_index.get(name).map(|&i| self.view(&self.tensors[i]))
    }

    fn view<'a>(&'a self, info: &'a TensorInfo) -> TensorView<'a> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "inside the file, which is in memory: see `place`"
        )]
        let range = info.start as usize..(info.start + info.len) as usize;
        TensorView { name: &info.name, dims: &info.dims, ty: info.ty, data: &self.bytes.as_slice()[range] }
    }

    /// A metadata value by key.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.key_index.get(key).map(|&i| &self.metadata[i].1)
    }

    /// `general.architecture`.
    ///
    /// # Errors
    /// If it is missing or no text.
    pub fn architecture(&self) -> Result<&str, GgufError> {
        self.str("general.architecture")
    }

    /// A text.
    ///
    /// # Errors
    /// If it is missing or no text.
    pub fn str(&self, key: &str) -> Result<&str, GgufError> {
        self.opt_str(key)?.ok_or_else(|| missing(key, "text"))
    }

    /// A text, if the key is there.
    ///
    /// # Errors
    /// If it is there and no text.
    pub fn opt_str(&self, key: &str) -> Result<Option<&str>, GgufError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Str(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(key, other, "text")),
        }
    }

    /// An integer that fits into 32 bits.
    ///
    /// # Errors
    /// If it is missing or none.
    pub fn u32(&self, key: &str) -> Result<u32, GgufError> {
        self.opt_u32(key)?.ok_or_else(|| missing(key, "an integer"))
    }

    /// An integer that fits into 32 bits, if the key is there.
    ///
    /// # Errors
    /// If it is there and none.
    pub fn opt_u32(&self, key: &str) -> Result<Option<u32>, GgufError> {
        const EXPECTED: &str = "an integer from 0 to 4294967295";
        let Some(value) = self.value(key) else { return Ok(None) };
        let fits = match value {
            Value::Unsigned(v, _) => u32::try_from(*v).ok(),
            Value::Signed(v, _) => u32::try_from(*v).ok(),
            Value::F32(_) | Value::F64(_) | Value::Bool(_) | Value::Str(_) | Value::Array(_) => None,
        };
        fits.map(Some).ok_or_else(|| wrong(key, value, EXPECTED))
    }

    /// A 32-bit float.
    ///
    /// # Errors
    /// If it is missing or none.
    pub fn f32(&self, key: &str) -> Result<f32, GgufError> {
        self.opt_f32(key)?.ok_or_else(|| missing(key, "a float"))
    }

    /// A 32-bit float, if the key is there.
    ///
    /// # Errors
    /// If it is there and none.
    pub fn opt_f32(&self, key: &str) -> Result<Option<f32>, GgufError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::F32(v)) => Ok(Some(*v)),
            Some(other) => Err(wrong(key, other, "a 32-bit float")),
        }
    }

    /// A boolean, if the key is there.
    ///
    /// # Errors
    /// If it is there and none.
    pub fn opt_bool(&self, key: &str) -> Result<Option<bool>, GgufError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Bool(v)) => Ok(Some(*v)),
            Some(other) => Err(wrong(key, other, "a boolean")),
        }
    }

    /// One integer a layer: an array of `layers`, or one value for all.
    ///
    /// # Errors
    /// If it is missing, negative, or an array of another length.
    pub fn u32_per_layer(&self, key: &str, layers: usize) -> Result<Vec<u32>, GgufError> {
        let value = self.value(key).ok_or_else(|| missing(key, "an integer, or one for each layer"))?;
        let Value::Array(array) = value else { return Ok(vec![self.u32(key)?; layers]) };
        let expected = || format!("{layers} integers from 0 to 4294967295, one for each layer");
        let values: Option<Vec<u32>> = match array {
            Array::Unsigned(values, _) => values.iter().map(|&v| u32::try_from(v).ok()).collect(),
            Array::Signed(values, _) => values.iter().map(|&v| u32::try_from(v).ok()).collect(),
            Array::F32(_) | Array::F64(_) | Array::Bool(_) | Array::Str(_) => None,
        };
        values.filter(|values| values.len() == layers).ok_or_else(|| wrong(key, value, &expected()))
    }

    /// An array of booleans.
    ///
    /// # Errors
    /// If it is missing or none.
    pub fn bool_array(&self, key: &str) -> Result<&[bool], GgufError> {
        match self.value(key) {
            Some(Value::Array(Array::Bool(values))) => Ok(values),
            Some(other) => Err(wrong(key, other, "an array of booleans")),
            None => Err(missing(key, "an array of booleans")),
        }
    }

    /// An array of texts.
    ///
    /// # Errors
    /// If it is missing or none.
    pub fn str_array(&self, key: &str) -> Result<&[String], GgufError> {
        match self.value(key) {
            Some(Value::Array(Array::Str(values))) => Ok(values),
            Some(other) => Err(wrong(key, other, "an array of texts")),
            None => Err(missing(key, "an array of texts")),
        }
    }

    /// An array of signed integers, if the key is there.
    ///
    /// # Errors
    /// If it is there and none.
    pub fn opt_i64_array(&self, key: &str) -> Result<Option<&[i64]>, GgufError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Array(Array::Signed(values, _))) => Ok(Some(values)),
            Some(other) => Err(wrong(key, other, "an array of signed integers")),
        }
    }
}

fn missing(key: &str, expected: &'static str) -> GgufError {
    GgufError::MissingKey { key: key.to_owned(), expected }
}

fn wrong(key: &str, value: &Value, expected: &str) -> GgufError {
    let got = format!("{} ({})", value.type_name(), value.summary());
    GgufError::WrongValue { key: key.to_owned(), got, expected: expected.to_owned() }
}

/// Magic, version, counts.
fn header(cursor: &mut Cursor<'_>) -> Result<(usize, usize), GgufError> {
    let magic: [u8; 4] = cursor.array("magic")?;
    if &magic != MAGIC {
        let got = format!("{:?}", String::from_utf8_lossy(&magic));
        return Err(GgufError::Invalid {
            what: "magic".to_owned(),
            at: 0,
            got,
            expected: "\"GGUF\"".to_owned(),
        });
    }
    let version = cursor.u32("version")?;
    if version != VERSION {
        return Err(GgufError::Invalid {
            what: "version".to_owned(),
            at: 4,
            got: version.to_string(),
            expected: VERSION.to_string(),
        });
    }
    // A directory entry takes a name length, a dimension count, one dimension, a type and an offset at least; a
    // metadata entry a key length and a type.
    let tensors = cursor.count("tensor count", 8 + 4 + 8 + 4 + 8)?;
    let keys = cursor.count("metadata count", 8 + 4)?;
    Ok((tensors, keys))
}

fn metadata(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<(String, Value)>, GgufError> {
    let mut all = Vec::new();
    for index in 0..count {
        let key = cursor.string(&format!("metadata key {index}"))?;
        let value = Value::read(cursor, &format!("metadata `{key}`"))?;
        all.push((key.to_owned(), value));
    }
    Ok(all)
}

/// Name to index; a name that occurs twice is an error.
fn index<'a>(
    names: impl Iterator<Item = &'a String>,
    what: &str,
) -> Result<HashMap<String, usize>, GgufError> {
    let mut map = HashMap::new();
    for (position, name) in names.enumerate() {
        if map.insert(name.clone(), position).is_some() {
            return Err(GgufError::WrongValue {
                key: name.clone(),
                got: "there twice".to_owned(),
                expected: format!("each {what} once"),
            });
        }
    }
    Ok(map)
}

fn alignment(metadata: &[(String, Value)], index: &HashMap<String, usize>) -> Result<u64, GgufError> {
    /// Beyond a page nothing gains; far beyond, the arithmetic of offsets could overflow.
    const MOST: u64 = 1 << 20;
    let Some(&position) = index.get(ALIGNMENT_KEY) else { return Ok(DEFAULT_ALIGNMENT) };
    let value = &metadata[position].1;
    if let Value::Unsigned(v, _) = value
        && v.is_power_of_two()
        && *v <= MOST
    {
        return Ok(*v);
    }
    Err(wrong(ALIGNMENT_KEY, value, "a power of two up to 1048576"))
}

fn directory(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<TensorInfo>, GgufError> {
    (0..count).map(|index| entry(cursor, index)).collect()
}

/// One entry of the tensor directory; the size is computed, the place is not yet checked.
fn entry(cursor: &mut Cursor<'_>, index: usize) -> Result<TensorInfo, GgufError> {
    let entry_at = cursor.at();
    let name = cursor.string(&format!("name of tensor {index}"))?.to_owned();
    let invalid = |what: &str, at, got: String, expected: String| GgufError::Invalid {
        what: format!("{what} of tensor `{name}`"),
        at,
        got,
        expected,
    };
    let at = cursor.at();
    let n_dims = cursor.u32("dimension count")?;
    if n_dims == 0 || n_dims as usize > MAX_DIMS {
        return Err(invalid("dimension count", at, n_dims.to_string(), format!("1 to {MAX_DIMS}")));
    }
    let at = cursor.at();
    let dims = (0..n_dims).map(|_| cursor.u64("dimension")).collect::<Result<Vec<_>, _>>()?;
    let elements = dims.iter().try_fold(1_u64, |product, &dim| product.checked_mul(dim));
    let Some(elements) = elements.filter(|&n| n > 0) else {
        return Err(invalid(
            "shape",
            at,
            format!("{dims:?}"),
            "positive, with a product below 2^64".to_owned(),
        ));
    };
    let at = cursor.at();
    let id = cursor.u32("tensor type")?;
    let Some(ty) = GgmlType::from_id(id) else {
        return Err(invalid(
            "type",
            at,
            id.to_string(),
            "a type id of ggml that this version knows".to_owned(),
        ));
    };
    let row_bytes = ty.row_bytes(dims[0]);
    let Some(len) = row_bytes.and_then(|bytes| bytes.checked_mul(elements / dims[0])) else {
        let expected = format!("a multiple of {} (a block of {ty})", ty.block_len());
        return Err(invalid("row length", entry_at, dims[0].to_string(), expected));
    };
    let start = cursor.u64("tensor offset")?;
    Ok(TensorInfo { dims, ty, entry_at, start, len, name })
}

/// Turns relative offsets into checked absolute ones: aligned, inside the file, no overlap.
fn place(tensors: &mut [TensorInfo], data_at: u64, alignment: u64, file_len: u64) -> Result<(), GgufError> {
    for tensor in &mut *tensors {
        let invalid = |got: u64, expected: String| GgufError::Invalid {
            what: format!("offset of tensor `{}`", tensor.name),
            at: tensor.entry_at,
            got: got.to_string(),
            expected,
        };
        if !tensor.start.is_multiple_of(alignment) {
            return Err(invalid(tensor.start, format!("a multiple of {alignment}")));
        }
        let relative = tensor.start;
        let start = data_at.checked_add(relative);
        let fits = |start: u64| start.checked_add(tensor.len).is_some_and(|end| end <= file_len);
        let Some(start) = start.filter(|&start| fits(start)) else {
            return Err(GgufError::Truncated {
                what: format!("tensor `{}`", tensor.name),
                at: data_at.saturating_add(relative),
                needed: tensor.len,
                left: file_len.saturating_sub(data_at.saturating_add(relative)),
            });
        };
        tensor.start = start;
    }
    let mut by_start: Vec<&TensorInfo> = tensors.iter().collect();
    by_start.sort_by_key(|tensor| tensor.start);
    for pair in by_start.windows(2) {
        if pair[0].start + pair[0].len > pair[1].start {
            return Err(GgufError::Invalid {
                what: format!("place of tensor `{}`", pair[1].name),
                at: pair[1].entry_at,
                got: format!("inside tensor `{}`", pair[0].name),
                expected: "no overlap".to_owned(),
            });
        }
    }
    Ok(())
}
