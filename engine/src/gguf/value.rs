//! Metadata values.

use super::GgufError;
use super::cursor::Cursor;

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Unsigned integers of 8, 16, 32 and 64 bits.
    Unsigned(u64, Width),
    /// Signed integers of 8, 16, 32 and 64 bits.
    Signed(i64, Width),
    /// 32-bit float.
    F32(f32),
    /// 64-bit float.
    F64(f64),
    /// Boolean.
    Bool(bool),
    /// Text.
    Str(String),
    /// Many of one scalar type.
    Array(Array),
}

/// Bits of an integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// 8 bits.
    W8,
    /// 16 bits.
    W16,
    /// 32 bits.
    W32,
    /// 64 bits.
    W64,
}

/// Many values of one scalar type.
#[derive(Debug, Clone, PartialEq)]
pub enum Array {
    /// Unsigned integers of any width.
    Unsigned(Vec<u64>, Width),
    /// Signed integers of any width.
    Signed(Vec<i64>, Width),
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit floats.
    F64(Vec<f64>),
    /// Booleans.
    Bool(Vec<bool>),
    /// Texts.
    Str(Vec<String>),
}

/// Type ids of the format.
mod id {
    pub(super) const U8: u32 = 0;
    pub(super) const I8: u32 = 1;
    pub(super) const U16: u32 = 2;
    pub(super) const I16: u32 = 3;
    pub(super) const U32: u32 = 4;
    pub(super) const I32: u32 = 5;
    pub(super) const F32: u32 = 6;
    pub(super) const BOOL: u32 = 7;
    pub(super) const STR: u32 = 8;
    pub(super) const ARRAY: u32 = 9;
    pub(super) const U64: u32 = 10;
    pub(super) const I64: u32 = 11;
    pub(super) const F64: u32 = 12;
}

impl Value {
    /// A `u32`, the usual integer of metadata.
    #[must_use]
    pub fn u32(value: u32) -> Self {
        Self::Unsigned(u64::from(value), Width::W32)
    }

    /// Text.
    #[must_use]
    pub fn str(value: &str) -> Self {
        Self::Str(value.to_owned())
    }

    /// The type in words: `u32`, `array of str`.
    #[must_use]
    pub fn type_name(&self) -> String {
        if let Self::Array(array) = self {
            return format!("an array of {}", scalar_name(array.type_id()));
        }
        scalar_name(self.type_id()).to_owned()
    }

    /// The value in one short line: long texts and arrays by their length.
    #[must_use]
    pub fn summary(&self) -> String {
        const LONG: usize = 60;
        match self {
            Self::Unsigned(value, _) => value.to_string(),
            Self::Signed(value, _) => value.to_string(),
            Self::F32(value) => value.to_string(),
            Self::F64(value) => value.to_string(),
            Self::Bool(value) => value.to_string(),
            Self::Str(text) if text.chars().count() > LONG => format!("text of {} bytes", text.len()),
            Self::Str(text) => text.replace('\n', "\\n"),
            Self::Array(array) => {
                format!("{} of {}", array.len(), scalar_name(array.type_id()))
            }
        }
    }

    pub(super) fn read(cursor: &mut Cursor<'_>, what: &str) -> Result<Self, GgufError> {
        let at = cursor.at();
        let type_id = cursor.u32(what)?;
        if type_id == id::ARRAY {
            Ok(Self::Array(Array::read(cursor, what)?))
        } else {
            scalar(cursor, type_id, at, what)
        }
    }

    pub(super) fn type_id(&self) -> u32 {
        match self {
            Self::Unsigned(_, width) => unsigned_id(*width),
            Self::Signed(_, width) => signed_id(*width),
            Self::F32(_) => id::F32,
            Self::F64(_) => id::F64,
            Self::Bool(_) => id::BOOL,
            Self::Str(_) => id::STR,
            Self::Array(_) => id::ARRAY,
        }
    }

    /// Appends type id and value.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.type_id().to_le_bytes());
        match self {
            Self::Unsigned(value, width) => put_int(out, &value.to_le_bytes(), *width),
            Self::Signed(value, width) => put_int(out, &value.to_le_bytes(), *width),
            Self::F32(value) => out.extend(value.to_le_bytes()),
            Self::F64(value) => out.extend(value.to_le_bytes()),
            Self::Bool(value) => out.push(u8::from(*value)),
            Self::Str(text) => put_str(out, text),
            Self::Array(array) => array.write(out),
        }
    }
}

impl Array {
    /// How many values.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Unsigned(values, _) => values.len(),
            Self::Signed(values, _) => values.len(),
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
            Self::Bool(values) => values.len(),
            Self::Str(values) => values.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn read(cursor: &mut Cursor<'_>, what: &str) -> Result<Self, GgufError> {
        let at = cursor.at();
        let type_id = cursor.u32(what)?;
        let Some(min_bytes) = scalar_min_bytes(type_id) else {
            return Err(GgufError::Invalid {
                what: format!("{what}, element type"),
                at,
                got: type_id.to_string(),
                expected: "a scalar type, 0 to 8 or 10 to 12".to_owned(),
            });
        };
        let count = cursor.count(what, min_bytes)?;
        let c = cursor;
        Ok(match integer(type_id) {
            Some((Sign::Unsigned, width)) => Self::Unsigned(many(count, || unsigned(c, width, what))?, width),
            Some((Sign::Signed, width)) => Self::Signed(many(count, || signed(c, width, what))?, width),
            None => match type_id {
                id::F32 => Self::F32(many(count, || c.array(what).map(f32::from_le_bytes))?),
                id::F64 => Self::F64(many(count, || c.array(what).map(f64::from_le_bytes))?),
                id::BOOL => Self::Bool(many(count, || boolean(c, what))?),
                _ => Self::Str(many(count, || c.string(what).map(str::to_owned))?),
            },
        })
    }

    fn type_id(&self) -> u32 {
        match self {
            Self::Unsigned(_, width) => unsigned_id(*width),
            Self::Signed(_, width) => signed_id(*width),
            Self::F32(_) => id::F32,
            Self::F64(_) => id::F64,
            Self::Bool(_) => id::BOOL,
            Self::Str(_) => id::STR,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.type_id().to_le_bytes());
        out.extend((self.len() as u64).to_le_bytes());
        match self {
            Self::Unsigned(values, width) => {
                values.iter().for_each(|v| put_int(out, &v.to_le_bytes(), *width))
            }
            Self::Signed(values, width) => values.iter().for_each(|v| put_int(out, &v.to_le_bytes(), *width)),
            Self::F32(values) => values.iter().for_each(|v| out.extend(v.to_le_bytes())),
            Self::F64(values) => values.iter().for_each(|v| out.extend(v.to_le_bytes())),
            Self::Bool(values) => values.iter().for_each(|v| out.push(u8::from(*v))),
            Self::Str(values) => values.iter().for_each(|v| put_str(out, v)),
        }
    }
}

fn scalar(cursor: &mut Cursor<'_>, type_id: u32, at: u64, what: &str) -> Result<Value, GgufError> {
    match integer(type_id) {
        Some((Sign::Unsigned, width)) => return Ok(Value::Unsigned(unsigned(cursor, width, what)?, width)),
        Some((Sign::Signed, width)) => return Ok(Value::Signed(signed(cursor, width, what)?, width)),
        None => {}
    }
    match type_id {
        id::F32 => Ok(Value::F32(f32::from_le_bytes(cursor.array(what)?))),
        id::F64 => Ok(Value::F64(f64::from_le_bytes(cursor.array(what)?))),
        id::BOOL => Ok(Value::Bool(boolean(cursor, what)?)),
        id::STR => Ok(Value::Str(cursor.string(what)?.to_owned())),
        other => Err(GgufError::Invalid {
            what: format!("{what}, value type"),
            at,
            got: other.to_string(),
            expected: "0 to 12".to_owned(),
        }),
    }
}

/// `count` values; grows as they come, since a count is only known to be possible.
fn many<T>(count: usize, mut read: impl FnMut() -> Result<T, GgufError>) -> Result<Vec<T>, GgufError> {
    (0..count).map(|_| read()).collect()
}

#[derive(Debug, Clone, Copy)]
enum Sign {
    Unsigned,
    Signed,
}

/// Sign and width of an integer type; `None` for what is none.
fn integer(type_id: u32) -> Option<(Sign, Width)> {
    const WIDTHS: [Width; 4] = [Width::W8, Width::W16, Width::W32, Width::W64];
    WIDTHS.into_iter().find_map(|width| match type_id {
        ty if ty == unsigned_id(width) => Some((Sign::Unsigned, width)),
        ty if ty == signed_id(width) => Some((Sign::Signed, width)),
        _ => None,
    })
}

fn unsigned(cursor: &mut Cursor<'_>, width: Width, what: &str) -> Result<u64, GgufError> {
    Ok(match width {
        Width::W8 => u64::from(u8::from_le_bytes(cursor.array(what)?)),
        Width::W16 => u64::from(u16::from_le_bytes(cursor.array(what)?)),
        Width::W32 => u64::from(cursor.u32(what)?),
        Width::W64 => cursor.u64(what)?,
    })
}

fn signed(cursor: &mut Cursor<'_>, width: Width, what: &str) -> Result<i64, GgufError> {
    Ok(match width {
        Width::W8 => i64::from(i8::from_le_bytes(cursor.array(what)?)),
        Width::W16 => i64::from(i16::from_le_bytes(cursor.array(what)?)),
        Width::W32 => i64::from(i32::from_le_bytes(cursor.array(what)?)),
        Width::W64 => i64::from_le_bytes(cursor.array(what)?),
    })
}

fn boolean(cursor: &mut Cursor<'_>, what: &str) -> Result<bool, GgufError> {
    let at = cursor.at();
    match cursor.array::<1>(what)?[0] {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(GgufError::Invalid {
            what: what.to_owned(),
            at,
            got: other.to_string(),
            expected: "a boolean, 0 or 1".to_owned(),
        }),
    }
}

/// Bytes of a scalar, for a string of its length field; `None` for what is no scalar.
fn scalar_min_bytes(type_id: u32) -> Option<u64> {
    match type_id {
        id::U8 | id::I8 | id::BOOL => Some(1),
        id::U16 | id::I16 => Some(2),
        id::U32 | id::I32 | id::F32 => Some(4),
        id::U64 | id::I64 | id::F64 | id::STR => Some(8),
        _ => None,
    }
}

fn scalar_name(type_id: u32) -> &'static str {
    const NAMES: [&str; 13] =
        ["u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "str", "array", "u64", "i64", "f64"];
    NAMES.get(type_id as usize).copied().unwrap_or("unknown")
}

fn unsigned_id(width: Width) -> u32 {
    match width {
        Width::W8 => id::U8,
        Width::W16 => id::U16,
        Width::W32 => id::U32,
        Width::W64 => id::U64,
    }
}

fn signed_id(width: Width) -> u32 {
    match width {
        Width::W8 => id::I8,
        Width::W16 => id::I16,
        Width::W32 => id::I32,
        Width::W64 => id::I64,
    }
}

/// The low bytes of a little-endian integer.
fn put_int(out: &mut Vec<u8>, bytes: &[u8; 8], width: Width) {
    let len = match width {
        Width::W8 => 1,
        Width::W16 => 2,
        Width::W32 => 4,
        Width::W64 => 8,
    };
    out.extend(&bytes[..len]);
}

pub(super) fn put_str(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}
