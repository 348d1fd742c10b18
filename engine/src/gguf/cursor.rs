//! Reads little-endian fields from a slice; every read is checked against the end.

use super::GgufError;

/// A position in the file's bytes.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Byte offset from the start of the file.
    pub(super) fn at(&self) -> u64 {
        self.at as u64
    }

    /// Bytes after the position.
    pub(super) fn left(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    /// The next `len` bytes.
    pub(super) fn take(&mut self, len: u64, what: &str) -> Result<&'a [u8], GgufError> {
        let rest = &self.bytes[self.at..];
        match usize::try_from(len).ok().and_then(|len| rest.get(..len)) {
            Some(bytes) => {
                self.at += bytes.len();
                Ok(bytes)
            }
            None => Err(GgufError::Truncated {
                what: what.to_owned(),
                at: self.at(),
                needed: len,
                left: self.left(),
            }),
        }
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], GgufError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64, what)?);
        Ok(array)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, GgufError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, GgufError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A count of things that take at least `min_bytes` each: more than the rest of the file can hold is refused
    /// before anything is allocated.
    pub(super) fn count(&mut self, what: &str, min_bytes: u64) -> Result<usize, GgufError> {
        let at = self.at();
        let count = self.u64(what)?;
        let most = self.left() / min_bytes.max(1);
        if count > most {
            return Err(GgufError::Invalid {
                what: what.to_owned(),
                at,
                got: count.to_string(),
                expected: format!("at most {most}, which is what the rest of the file can hold"),
            });
        }
        // At most the length of a slice, so it fits.
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// A length-prefixed UTF-8 string.
    pub(super) fn string(&mut self, what: &str) -> Result<&'a str, GgufError> {
        let len = self.u64(what)?;
        let at = self.at();
        let bytes = self.take(len, what)?;
        std::str::from_utf8(bytes).map_err(|error| GgufError::Invalid {
            what: what.to_owned(),
            at: at + error.valid_up_to() as u64,
            got: "no UTF-8".to_owned(),
            expected: "UTF-8 text".to_owned(),
        })
    }
}
